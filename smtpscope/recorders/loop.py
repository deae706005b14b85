"""The event loop of `serve` and `proxy`: uvloop, or asyncio's own where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run it to its end."""
    try:
        import uvloop
    except ImportError:
        # It is for CPython on Unix; nothing but speed depends on it.
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
