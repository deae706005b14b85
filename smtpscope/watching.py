"""Prints a capture that is still being written, while it grows: each line as soon as it is known.

Text and events come exchange by exchange, `jsonl` when a session ends. A filter shows a session
from the moment on at which it holds, with all that was said before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TextIO

from smtpscope.export import jsonl
from smtpscope.export.events import Events
from smtpscope.filters import Filter
from smtpscope.following import Follower, Judged, Watched

MAX_COMMENT = 500
"""Octets told of a recorder's comment."""


class Printed(NamedTuple):
    """What was printed: how many sessions that ended, and the severity of the worst finding, -1
    without one."""

    sessions: int
    worst: int


class Sessions:
    """One JSON object a session, when it ends."""

    def __init__(self, *, reveal: bool = False) -> None:
        self._dumps = partial(jsonl.dumps, reveal=reveal)

    def exchanges(self, watched: Watched, new: list[Judged]) -> Iterator[str]:
        yield from ()

    def end(self, watched: Watched) -> Iterator[str]:
        yield self._dumps(watched.session)


class Silent:
    """Nothing at all: sessions are only counted and judged."""

    def exchanges(self, watched: Watched, new: list[Judged]) -> Iterator[str]:
        yield from ()

    def end(self, watched: Watched) -> Iterator[str]:
        yield from ()


def print_live(
    follower: Follower,
    events: Events,
    out: TextIO,
    *,
    filter: Filter | None = None,
    tell: Callable[[str], None],
    sessions: int | None = None,
    watch: Callable[[], None] = lambda: None,
) -> Printed:
    """Print what `follower` gives until it ends, or has ended so many `sessions`.

    `tell` takes what is to be told beside it, and `watch` is called all the time: it may stop the
    follower.
    """
    shown: set[int] = set()
    held: dict[int, list[Judged]] = {}
    comments = ended = 0
    worst = -1
    for touched in follower:
        watch()
        for watched in touched:
            number = watched.number
            new = watched.take()
            if filter is not None and number not in shown:
                new = held.pop(number, []) + new
                if not filter.matches(watched.snapshot()):
                    if not watched.ended:
                        held[number] = new
                    continue
                shown.add(number)
            out.writelines(f"{line}\n" for line in events.exchanges(watched, new))
            if watched.ended:
                shown.discard(number)
                out.writelines(f"{line}\n" for line in events.end(watched))
                severities = (finding.severity for finding in watched.session.findings)
                worst = max(worst, max(severities, default=-1))
                ended += 1
                if ended == sessions:
                    # More may have ended in the same moment: they are not wanted.
                    out.flush()
                    return Printed(ended, worst)
        if touched:
            out.flush()
        for comment in follower.reader.comments[comments:]:
            if not comment.packet:
                tell(comment.text[:MAX_COMMENT].decode("utf-8", "replace"))
        comments = len(follower.reader.comments)
    out.flush()
    return Printed(ended, worst)
