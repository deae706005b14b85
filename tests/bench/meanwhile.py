"""A user who does not wait: keys of all kinds while a capture is being read for the first time.

`late` is by how much a task that wants to run every 10 ms comes too late, which is what a key may
have to wait for; `stall` the longest single callback of the event loop; `answered` the time from a
key to the next frame behind it.
"""

from __future__ import annotations

import asyncio
import time
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from smtpscope.review import Review

if TYPE_CHECKING:
    from watching import WatchedApp

_TICK = 0.01
_KEYS = (
    *("j", "j", "pagedown", "k", "G", "k", "g", "enter", "j", "j", "escape"),
    *("2", "j", "G", "g", "3", "j", "4", "pagedown", "1"),
)
_FILTERS = ("code >= 500", "reader", "to ~ 'reader.*net'", "size > 100k", "")
_PAUSE = 0.05
"""Seconds from an answer to the next key."""
_ENOUGH = 1.0
"""Seconds after which a key changes nothing, and so is not answered."""


def measure(capture: Path, began: float) -> None:
    """Open `capture` without an index, and print what the screen was like meanwhile.

    `began` (`time.monotonic`) is when this process was about to be started.
    """
    opened = time.monotonic()
    # Before the application, as the command line does.
    review = Review([str(capture)])
    try:
        asyncio.run(_use(review, capture, began, opened))
    finally:
        review.close()


async def _use(review: Review, capture: Path, began: float, opened: float) -> None:
    from watching import SIZE, WatchedApp, descendants, megabytes

    from smtpscope.tui.filterbar import FilterBar

    app = WatchedApp(review)
    others = 0.0
    async with app.run_test(size=SIZE):
        sessions = app.main.sessions
        await app.frame(lambda: len(sessions.listing) > 0)
        first = time.monotonic()
        app.meter.reset()
        late: list[float] = []
        ticking = asyncio.create_task(_tick(late))
        answered: list[float] = []
        keys = 0
        words = cycle(_FILTERS)
        for key in cycle(_KEYS):
            if not review.reading:
                break
            if key == _KEYS[0]:
                app.main.query_one(FilterBar).put(next(words))
            if key == "escape" and not sessions.has_class("-full"):
                # There it would end the reading.
                continue
            keys += 1
            if (took := await _answer(app, key)) is not None:
                answered.append(took)
            others = max(others, sum(megabytes(process=each) for each in descendants()))
            await asyncio.sleep(_PAUSE)
        done = time.monotonic()
        stall = app.meter.longest
        ticking.cancel()
        found = review.progress().sessions
    print(f"{capture.stat().st_size / 1e6:,.0f} MB, {found:,} sessions")
    print(f"first rows     {first - opened:9.2f} s after opening, {first - began:.2f} s in all")
    print(f"all is read    {done - opened:9.1f} s after opening")
    print(f"keys           {keys:9,}, of which a frame answered {len(answered):,}")
    print(f"answered       {_percentiles(answered)}")
    print(f"late           {_percentiles(late)}")
    print(f"longest stall  {stall * 1000:9.1f} ms")
    print(
        f"memory         {megabytes('VmHWM'):9.0f} MB at most, {others:.0f} MB for those that read"
    )


async def _answer(app: WatchedApp, key: str) -> float | None:
    """Press a key; seconds to the next frame."""
    taken = app.taken
    began = time.perf_counter()
    app.hit(key)
    try:
        at, _ = await app.frame(lambda: app.taken > taken, _ENOUGH)
    except TimeoutError:
        return None
    return at - began


def _percentiles(values: list[float]) -> str:
    values = sorted(values) or [0.0]
    ranks = {part: values[-(-len(values) * part // 100) - 1] for part in (50, 95, 99, 100)}
    shown = "  ".join(
        f"p{part} {value * 1000:.1f}" if part < 100 else f"max {value * 1000:.1f}"
        for part, value in ranks.items()
    )
    return f"{shown} ms"


async def _tick(late: list[float]) -> None:
    while True:
        wanted = time.perf_counter() + _TICK
        await asyncio.sleep(_TICK)
        late.append(max(time.perf_counter() - wanted, 0.0))
