"""The event loop of `serve` and `proxy`, and how they hear their owner meanwhile.

It is uvloop, or asyncio's own where there is none.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from smtpscope.recorders.owner import Owner


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


def allow_descriptors() -> None:
    """Each connection needs one; what is usual on Linux is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems call more than they allow infinite.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def attend(owner: Owner, loop: asyncio.AbstractEventLoop, end: Callable[[], object]) -> None:
    """Call `end` when the owner says so."""

    def hear(descriptor: int) -> None:
        if owner.listen(lambda each: each == descriptor):
            for each in (*owner.descriptors, descriptor):
                loop.remove_reader(each)
            end()
        elif descriptor not in owner.descriptors:
            loop.remove_reader(descriptor)

    for descriptor in owner.descriptors:
        loop.add_reader(descriptor, hear, descriptor)
    if owner.left != float("inf"):
        loop.call_later(max(owner.left, 0), end)
