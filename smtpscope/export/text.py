"""Sessions as plain text for people: a head line each, then every line that was said.

Layout and colour only; the words come from `transcript`. Colours are ANSI sequences of our own,
put around text that is safe already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click

from smtpscope.display import text
from smtpscope.export.jsonl import iso_time
from smtpscope.session import Session
from smtpscope.stream import Direction
from smtpscope.transcript import Row, rows

_STATES = {
    "quit": "ended by QUIT",
    "closed": "closed without QUIT",
    "reset": "reset",
    "open": "still open",
}
_COLOURS = {
    "command": "cyan",
    "message": "blue",
    "reply2": "green",
    "reply3": "green",
    "reply4": "yellow",
    "reply5": "red",
}
_SEVERITY_COLOURS = {"note": "cyan", "warning": "yellow", "error": "red"}

Paint = Callable[..., str]


def lines(
    session: Session, *, width: int = 100, colour: bool = False, reveal: bool = False
) -> Iterator[str]:
    """The lines of a session's text, without line endings, meanings from column `width`/2 on."""
    paint: Paint = click.style if colour else _plain
    yield paint(_head(session), bold=True)
    details = _details(session)
    if details:
        yield f"  {details}"
    column = max(width // 2, 40)
    for row in rows(session, reveal=reveal):
        yield _line(row, session.start, column, paint)
    yield ""


def _head(session: Session) -> str:
    messages = sum(transaction.completed for transaction in session.transactions)
    shown = [
        f"{text(session.capture)} #{session.number}",
        f"{session.client} → {session.server}",
        f"{iso_time(session.start)[:-4].replace('T', ' ')} UTC",
        f"{(session.end - session.start) / 1e9:.3f} s",
        _STATES[session.state],
        "1 message" if messages == 1 else f"{messages} messages",
    ]
    return "  ".join(shown)


def _details(session: Session) -> str:
    shown = []
    if session.tunnel is not None:
        target = f" to {text(str(session.tunnel.target))}" if session.tunnel.target else ""
        shown.append(f"through {session.tunnel.kind}{target}")
    if session.tls is not None:
        info = session.tls
        known = [info.version or info.offered or "TLS", f"({session.tls_mode})"]
        if info.sni is not None:
            known.append(f"for {text(info.sni)}")
        if info.cipher is not None:
            known.append(info.cipher)
        octets = sum(info.octets)
        shown.append(f"{' '.join(known)}: {octets:,} octets encrypted")
    return "; ".join(shown)


def _line(row: Row, start: int, column: int, paint: Paint) -> str:
    if row.kind == "finding":
        severity = row.text.split(" ", 1)[0]
        return "             ! " + paint(
            f"{row.text} ({row.meaning})", fg=_SEVERITY_COLOURS.get(severity)
        )
    time = f"{(row.time - start) / 1e9:+10.3f}" if row.time is not None else " " * 10
    side = "C" if row.direction is Direction.CLIENT else "S"
    shown = paint(row.text, fg=_COLOURS.get(row.kind))
    line = f"{time}  {side}: {shown}"
    if not row.meaning:
        return line
    padding = " " * max(column - 15 - len(row.text), 2)
    return f"{line}{padding}{paint(row.meaning, dim=True)}"


def _plain(shown: str, **_: object) -> str:
    return shown
