"""The screen under test: opened on captures made here, with keys pressed as a user would.

`opened` waits until the captures are read, and `settled` until whatever was asked for is shown:
tests wait for what they need, never for a time.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.conversation import START, connection
from support.packets import pcap
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from smtpscope.configuration import Configuration
from smtpscope.findings.walk import NO_POLICY
from smtpscope.index.store import Store, key_of
from smtpscope.index.writer import Task, _Writer
from smtpscope.memory import Memory
from smtpscope.places import bundled_captures
from smtpscope.review import Review
from smtpscope.tui.app import ScopeApp
from smtpscope.tui.background import Newest
from smtpscope.tui.listing import Listing
from smtpscope.tui.main import MainScreen
from smtpscope.tui.rowlist import RowList

PATIENCE = 30.0
"""Seconds after which something that does not come is a failure."""

SIZE = (120, 40)

MESSAGE = (
    b"From: Ann <ann@example.net>\r\nTo: bob@example.org\r\nSubject: Lunch\r\n"
    b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1@example.net>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello Bob,\r\nlunch at noon?\r\n"
    b"--b\r\nContent-Type: application/pdf; name=menu.pdf\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n--b--\r\n"
)


def turns(text: str, message: bytes = MESSAGE) -> Iterator[tuple[str, bytes]]:
    """ "S: 220 mx" and "C: QUIT" as turns; "C: MESSAGE" stands for a message and its end."""
    for line in text.strip().splitlines():
        side, _, said = line.strip().partition(": ")
        if said == "MESSAGE":
            yield side, message + b".\r\n"
        else:
            yield side, said.encode("utf-8", "surrogateescape") + b"\r\n"


SENT = """
S: 220 mx.example.org ESMTP
C: EHLO client.example.net
S: 250-mx.example.org
S: 250-SIZE 1000000
S: 250 PIPELINING
C: MAIL FROM:<{sender}>
S: 250 2.1.0 Ok
C: RCPT TO:<{recipient}>
S: 250 2.1.5 Ok
C: DATA
S: 354 go ahead
C: MESSAGE
S: 250 2.0.0 Ok: queued
C: QUIT
S: 221 2.0.0 Bye
"""
REFUSED = """
S: 220 mx.example.org ESMTP
C: EHLO client.example.net
S: 250 mx.example.org
C: MAIL FROM:<{sender}>
S: 250 2.1.0 Ok
C: RCPT TO:<{recipient}>
S: 550 5.1.1 no such user
C: QUIT
S: 221 2.0.0 Bye
"""
LOGIN = """
S: 220 mx.example.org ESMTP
C: EHLO client.example.net
S: 250-mx.example.org
S: 250 AUTH PLAIN
C: AUTH PLAIN AGFubgBob3BlZnVs
S: 235 2.7.0 welcome
C: QUIT
S: 221 2.0.0 Bye
"""


def capture(path: Path, dialogues: Iterable[str], message: bytes = MESSAGE) -> Path:
    """A capture of these dialogues, a minute apart, each from a port of its own."""
    packets = [
        packet
        for number, dialogue in enumerate(dialogues)
        for packet in connection(
            turns(dialogue, message),
            client=40_000 + number,
            start=START + number * 60_000_000_000,
        )
    ]
    path.write_bytes(pcap(packets))
    return path


def mixed(folder: Path) -> Path:
    """Three sessions: one that sends, one that is refused, one that logs in."""
    return capture(
        folder / "mixed.pcap",
        [
            SENT.format(sender="ann@example.net", recipient="bob@example.org"),
            REFUSED.format(sender="eve@example.net", recipient="nobody@example.org"),
            LOGIN,
        ],
    )


def many(folder: Path, count: int = 200) -> Path:
    """So many sessions, every fifth of which is refused."""
    return capture(
        folder / "many.pcap",
        [
            (SENT if number % 5 else REFUSED).format(
                sender=f"s{number}@example.net", recipient=f"r{number}@example.org"
            )
            for number in range(count)
        ],
    )


def read(captures: Sequence[str | Path], **options: Any) -> Review:
    """A review whose captures were read before, by this process: starting another one takes its
    time."""
    paths = tuple(os.path.abspath(each) for each in captures)
    store = Store()
    key = key_of(paths, frozenset(), NO_POLICY)
    found = store.find(key, [Path(path).name for path in paths])
    if found is not None:
        found.close()
    else:
        writer = _Writer(Task(store.new(key), paths, frozenset(), NO_POLICY, 1))
        writer.fill()
        writer.close()
    return Review(paths, **options)


def bundled(*names: str) -> list[Path]:
    """Captures that come with smtpscope, all or some of them."""
    known = {path.name: path for path in bundled_captures()}
    return [known[name] for name in names] if names else list(known.values())


def _workers(screen: Screen[Any]) -> Iterator[Newest[Any] | Listing[Any]]:
    for widget in (screen, *screen.query("*")):
        for value in vars(widget).values():
            if isinstance(value, Newest | Listing):
                yield value


async def settled(pilot: Pilot[Any]) -> None:
    """Everything that was asked for is shown."""
    app = pilot.app
    until = time.monotonic() + PATIENCE
    quiet = 0
    while quiet < 2:
        await pilot.pause()
        busy = any(each.busy for screen in app.screen_stack for each in _workers(screen))
        quiet = 0 if busy else quiet + 1
        assert time.monotonic() < until, "the screen does not come to rest"
        await asyncio.sleep(0)
    for field in app.screen.query(Input):
        field.cursor_blink = False


async def press(pilot: Pilot[Any], *keys: str) -> None:
    """Press keys one after the other, each when what the one before asked for is shown."""
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


async def write(pilot: Pilot[Any], words: str) -> None:
    """Type words into what has the focus."""
    field = pilot.app.focused
    assert isinstance(field, Input)
    for character in words:
        field.insert_text_at_cursor(character)
    await settled(pilot)


@asynccontextmanager
async def opened(
    review: Review | None,
    *,
    size: tuple[int, int] = SIZE,
    configuration: Configuration | None = None,
    **options: Any,
) -> AsyncIterator[Pilot[None]]:
    """The application on a review that has read its captures."""
    app = ScopeApp(review, configuration or Configuration(), Memory(), **options)
    try:
        async with app.run_test(size=size) as pilot:
            await settled(pilot)
            yield pilot
    finally:
        if app.review is not None:
            app.review.close()


def main(pilot: Pilot[Any]) -> MainScreen:
    """The main screen, which need not be on top."""
    return next(each for each in pilot.app.screen_stack if isinstance(each, MainScreen))


def lines(pilot: Pilot[Any]) -> list[str]:
    """What is on the screen, a line each."""
    screen = pilot.app.screen
    return [
        "".join(segment.text for segment in strip).rstrip()
        for strip in screen._compositor.render_strips(screen.size)
    ]


def shown(pilot: Pilot[Any]) -> str:
    """What is on the screen, as one text."""
    return "\n".join(lines(pilot))


def rows(widget: RowList) -> list[str]:
    """All rows of a list."""
    return [widget.text(index) for index in range(len(widget.source))]


async def point(pilot: Pilot[Any], widget: RowList, words: str) -> None:
    """Put the cursor of a list on the first row with these words."""
    found = [index for index, row in enumerate(rows(widget)) if words in row]
    assert found, f"no row has {words}"
    widget.focus()
    widget.go(found[0])
    await settled(pilot)


def told(pilot: Pilot[Any]) -> list[str]:
    """What was told in the corner of the screen, in order."""
    return [note.message for note in pilot.app._notifications]
