"""The application with a clock in it: how long its callbacks keep the event loop busy, and when a
frame is shown.

Headless, Textual leaves out what a terminal would cost: `WatchedApp` makes the octets of every
frame nevertheless, and throws them away.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual import events
from textual._compositor import CompositorUpdate
from textual.keys import _character_to_key

from smtpscope.configuration import Configuration
from smtpscope.memory import Memory
from smtpscope.review import Review
from smtpscope.tui.app import ScopeApp
from smtpscope.tui.background import Newest
from smtpscope.tui.listing import Listing
from smtpscope.tui.main import MainScreen

SIZE = (120, 40)
PATIENCE = 120.0
"""Seconds after which what does not come is a failure."""


class Meter:
    """Measures all callbacks of all event loops, from `install` on; seconds."""

    def __init__(self) -> None:
        self._busy = 0.0
        self._longest = 0.0
        self._began: float | None = None

    def install(self) -> None:
        run = asyncio.Handle._run

        def timed(handle: Any) -> None:
            self._began = time.perf_counter()
            try:
                run(handle)
            finally:
                took = time.perf_counter() - self._began
                self._began = None
                self._busy += took
                self._longest = max(self._longest, took)

        asyncio.Handle._run = timed  # type: ignore[method-assign]

    def reset(self) -> None:
        self._busy = self._longest = 0.0

    @property
    def _now(self) -> float:
        return time.perf_counter() - self._began if self._began is not None else 0.0

    @property
    def busy(self) -> float:
        """What all callbacks took since `reset`, with what the one that runs took as yet."""
        return self._busy + self._now

    @property
    def longest(self) -> float:
        """What the longest of them took."""
        return max(self._longest, self._now)


class WatchedApp(ScopeApp):
    """Calls `on_frame` when a frame would have gone to the terminal."""

    on_frame: Callable[[], None] | None = None

    def __init__(self, review: Review) -> None:
        super().__init__(review, Configuration(), Memory())
        self.taken = 0
        """Keys that have come."""
        self.meter = Meter()
        self.meter.install()

    @property
    def main(self) -> MainScreen:
        """The main screen, which need not be on top."""
        return next(each for each in self.screen_stack if isinstance(each, MainScreen))

    async def on_event(self, event: events.Event) -> None:
        await super().on_event(event)
        self.taken += isinstance(event, events.Key)

    def _display(self, screen: Any, renderable: Any) -> None:
        super()._display(screen, renderable)
        if isinstance(renderable, CompositorUpdate) and not self._batch_count:
            renderable.render_segments(self.console)
            if self.on_frame is not None:
                self.on_frame()

    def hit(self, key: str) -> None:
        """A key, or the key of a character, as the terminal's driver sends it."""
        character = key if len(key) == 1 else None
        event = events.Key(_character_to_key(key) if character else key, character)
        event.set_sender(self)
        assert self._driver is not None
        self._driver.send_message(event)

    async def frame(
        self, shows: Callable[[], bool], patience: float = PATIENCE
    ) -> tuple[float, float]:
        """Waits for the first frame when this holds: when it came (`perf_counter`), and what the
        callbacks had taken until then. Raises TimeoutError after `patience` seconds."""
        shown: asyncio.Future[tuple[float, float]] = asyncio.get_running_loop().create_future()

        def look() -> None:
            if not shown.done() and shows():
                shown.set_result((time.perf_counter(), self.meter.busy))

        self.on_frame = look
        try:
            until = time.monotonic() + patience
            while not (await asyncio.wait({shown}, timeout=min(patience, 1)))[0]:
                if self._exception is not None or time.monotonic() > until:
                    raise self._exception or TimeoutError("a frame does not come")
            return shown.result()
        finally:
            self.on_frame = None

    async def rest(self) -> None:
        """Waits until nothing is asked for that is not shown."""
        main = self.screen
        panes = (main, *main.query("SessionsPane, MessagesPane, FindingsPane, StatisticsPane"))
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(0.02)
            workers = [each for pane in panes for each in vars(pane).values()]
            busy = any(each.busy for each in workers if isinstance(each, Newest | Listing))
            quiet = 0 if busy else quiet + 1


def megabytes(what: str = "VmRSS", process: int | str = "self") -> float:
    """What a process has in memory; `VmHWM` is the most that it had."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(what)) / 1e6


def descendants(process: int | None = None) -> list[int]:
    """The processes that a process has started, and theirs."""
    process = process or os.getpid()
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, children) for each in (child, *descendants(child))]
