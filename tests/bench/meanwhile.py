"""A user who does not wait: keys of all kinds while a capture is being read for the first time.

`late` is by how much a task that wants to run every 10 ms comes too late: what a key would have to
wait for. `stall` is the longest single callback of the event loop.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from watching import SIZE, WatchedApp, descendants, megabytes

from smtpscope.review import Review
from smtpscope.tui.filterbar import FilterBar
from smtpscope.tui.main import MainScreen

_TICK = 0.01
_KEYS = (
    "j",
    "j",
    "pagedown",
    "k",
    "G",
    "g",
    "enter",
    "j",
    "tab",
    "escape",
    "2",
    "j",
    "3",
    "4",
    "1",
)
_FILTERS = ("code >= 500", "reader", "")
_PAUSE = 0.1
"""Seconds from one key to the next."""


def measure(capture: Path, began: float) -> None:
    """Open `capture` without an index, and print what the screen was like meanwhile.

    `began` (`time.monotonic`) is when the benchmark was about to start this process.
    """
    review = Review([str(capture)])
    try:
        asyncio.run(_use(review, capture, began))
    finally:
        review.close()


async def _use(review: Review, capture: Path, began: float) -> None:
    opened = time.monotonic()
    app = WatchedApp(review)
    late: list[float] = []
    keys = 0
    others = 0.0
    async with app.run_test(size=SIZE):
        screen = app.screen
        assert isinstance(screen, MainScreen)
        while not len(screen.sessions.listing):
            await asyncio.sleep(0.001)
        first = time.monotonic()
        app.meter.reset()
        ticking = asyncio.create_task(_tick(late))
        while review.reading:
            app.hit(_KEYS[keys % len(_KEYS)])
            keys += 1
            if keys % len(_KEYS) == 0:
                words = _FILTERS[keys // len(_KEYS) % len(_FILTERS)]
                screen.query_one(FilterBar).put(words)
            await asyncio.sleep(_PAUSE)
            others = max(others, sum(megabytes(process=each) for each in descendants()))
        done = time.monotonic()
        stall = app.meter.longest
        ticking.cancel()
        sessions = review.progress().sessions
    late.sort()
    size = capture.stat().st_size / 1e6
    print(f"{size:,.0f} MB, {sessions:,} sessions")
    print(
        f"first rows       {first - opened:8.2f} s after opening,"
        f" {first - began:.2f} s after starting Python"
    )
    print(f"all is read      {done - opened:8.1f} s")
    print(f"keys             {keys:8,}")
    shown = "  ".join(f"{name} {_rank(late, share) * 1e3:.1f}" for name, share in _SHARES.items())
    print(f"late             {shown} ms")
    print(f"longest stall    {stall * 1e3:8.1f} ms")
    print(
        f"memory           {megabytes('VmHWM'):8.0f} MB at most for the screen,"
        f" {others:.0f} MB for the processes that read"
    )


_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def _rank(values: list[float], share: float) -> float:
    return values[min(int(len(values) * share), len(values) - 1)] if values else 0.0


async def _tick(late: list[float]) -> None:
    while True:
        wanted = time.perf_counter() + _TICK
        await asyncio.sleep(_TICK)
        late.append(max(time.perf_counter() - wanted, 0.0))
