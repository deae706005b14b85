"""Sessions as plain text for people: a head line each, then every line that was said.

Layout and colour only; the words come from `transcript`. Colours are ANSI sequences of our own,
put around text that is safe already.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator

import click

from smtpscope.display import text
from smtpscope.export.jsonl import iso_time
from smtpscope.session import Session
from smtpscope.smtp.transaction import Recipient, Transaction
from smtpscope.smtp.values import Path
from smtpscope.stream import Direction
from smtpscope.transcript import Row, rows

MAX_TRANSACTIONS = 10
"""Transactions that a session's head tells of, and below that recipients of each."""
MAX_RECIPIENTS = 3

SLOW = 1_000_000_000
"""Latency in nanoseconds from which on a session's head tells of it."""

STATES = {
    "quit": "ended by QUIT",
    "closed": "closed without a goodbye",
    "reset": "reset",
    "open": "still open",
}
_COLOURS = {
    "command": "cyan",
    "message": "blue",
    "tls": "magenta",
    "reply2": "green",
    "reply3": "green",
    "reply4": "yellow",
    "reply5": "red",
}
_SEVERITY_COLOURS = {"note": "cyan", "warning": "yellow", "error": "red"}

_SAID_AT = 15
"""The column at which what was said begins."""

Paint = Callable[..., str]


def dumps(
    session: Session, *, width: int | None = None, colour: bool = False, reveal: bool = False
) -> str:
    """The session's text, `lines` of it; the last one is empty."""
    return "\n".join(lines(session, width=width, colour=colour, reveal=reveal))


def lines(
    session: Session, *, width: int | None = None, colour: bool = False, reveal: bool = False
) -> Iterator[str]:
    """The lines of a session's text, without line endings.

    With a `width` (columns of a terminal), meanings are wrapped beside what was said; without one
    every line that was said is one line.
    """
    paint: Paint = click.style if colour else plain
    yield paint(_head(session), bold=True)
    for detail in _details(session):
        yield f"  {detail}"
    layout = Layout(width, paint, session.start)
    for row in rows(session, reveal=reveal):
        yield from layout.lines(row)
    yield ""


def _head(session: Session) -> str:
    return f"{text(session.capture)} #{session.number}  {session.client} → {session.server}"


def how_it_ended(session: Session) -> str:
    """In a few words."""
    last = session.exchanges[-1].command if session.exchanges else None
    if session.state == "closed" and last is not None and last.verb == "QUIT":
        return "closed behind QUIT, no 221 seen"
    return STATES[session.state]


def _details(session: Session) -> Iterator[str]:
    date = iso_time(session.start)[:-4].replace("T", " ")
    duration = (session.end - session.start) / 1e9
    yield f"{date} UTC, {duration:.3f} s, {how_it_ended(session)}"
    took = session.timing.percentiles
    if took is not None and took.p95 >= SLOW:
        yield f"replies took {took.p50 / 1e9:.3f} s (median) and {took.p95 / 1e9:.3f} s (p95)"
    if session.tunnel is not None:
        target = f" to {text(str(session.tunnel.target))}" if session.tunnel.target else ""
        yield f"through {session.tunnel.kind}{target}"
    for transaction in session.transactions[:MAX_TRANSACTIONS]:
        yield _envelope(transaction)
    more = len(session.transactions) - MAX_TRANSACTIONS
    if more > 0:
        yield f"and {more} more transactions"


def _envelope(transaction: Transaction) -> str:
    sender = _address(transaction.reverse_path)
    taken = [each for each in transaction.recipients if not each.left_out]
    refused = [each for each in transaction.recipients if each.left_out]
    shown = f"mail from {sender}"
    if taken:
        shown += f" to {_recipients(taken)}"
    if refused:
        shown += f", refused for {_recipients(refused)}"
    return f"{shown}: {_outcome(transaction)}"


def _outcome(transaction: Transaction) -> str:
    if transaction.completed:
        return "accepted"
    if transaction.reply is not None:
        return "not accepted"
    return "no message sent" if transaction.content is None else "no answer seen"


def _recipients(recipients: list[Recipient]) -> str:
    shown = ", ".join(_address(each.path) for each in recipients[:MAX_RECIPIENTS])
    more = len(recipients) - MAX_RECIPIENTS
    return f"{shown} and {more} more" if more > 0 else shown


def _address(path: Path | None) -> str:
    if path is None:
        return "(unknown)"
    return text(path.address, 100) if path.address else "<>"


class Layout:
    """Puts rows into columns: time, side, what was said, what it means."""

    def __init__(
        self, width: int | None, paint: Paint, start: int, advised: set[str] | None = None
    ) -> None:
        """`advised`: the advice that was given before, and so is not again."""
        self._width = width
        self._paint = paint
        self._start = start
        self._advised = {""} if advised is None else advised
        self._meaning_at = min(max((width or 110) // 2, 40), 64)

    def lines(self, row: Row) -> Iterator[str]:
        if row.kind == "finding":
            yield from self._finding(row)
            return
        time = f"{(row.time - self._start) / 1e9:+10.3f}" if row.time is not None else " " * 10
        side = "C" if row.direction is Direction.CLIENT else "S"
        said = self._paint(row.text, fg=_COLOURS.get(row.kind))
        line = f"{time}  {side}: {said}"
        used = _SAID_AT + len(row.text)
        meaning = self._wrapped(row.meaning, self._meaning_at)
        if not meaning:
            yield line
            return
        if self._width is None or used + 2 <= self._meaning_at:
            padding = " " * max(self._meaning_at - used, 2)
            yield line + padding + self._paint(meaning.pop(0), dim=True)
        else:
            yield line
        for more in meaning:
            yield " " * self._meaning_at + self._paint(more, dim=True)

    def _finding(self, row: Row) -> Iterator[str]:
        colour = _SEVERITY_COLOURS.get(row.text.split(" ", 1)[0])
        shown = self._wrapped(f"{row.text} ({row.meaning})", _SAID_AT + 2)
        for number, line in enumerate(shown):
            mark = " " if number else "!"
            yield " " * (_SAID_AT - 2) + f"{mark} " + self._paint(line, fg=colour)
        if row.advice not in self._advised:
            # Once is enough.
            self._advised.add(row.advice)
            for line in self._wrapped(row.advice, _SAID_AT + 2):
                yield " " * _SAID_AT + self._paint(line, dim=True)

    def _wrapped(self, shown: str, column: int) -> list[str]:
        if self._width is None or not shown:
            return [shown] if shown else []
        return textwrap.wrap(shown, max(self._width - column, 20))


def plain(shown: str, **_: object) -> str:
    """Without colour."""
    return shown
