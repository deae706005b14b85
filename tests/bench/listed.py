"""A user of a long list, who scrolls, jumps, sorts, filters, and opens the other views.

`work` is what the event loop was busy with from the key to the frame that shows what was asked for,
`stall` the longest single callback until the screen is at rest again, `shown` the time from the key
to that frame. "…, all of it" is the frame where the figures are, which follows that of the view.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

from textual.widget import Widget
from textual.widgets import ContentSwitcher
from watching import SIZE, WatchedApp, megabytes

from smtpscope.review import Review
from smtpscope.tui.columns import ColumnList
from smtpscope.tui.filterbar import FilterBar
from smtpscope.tui.listing import Listing
from smtpscope.tui.main import MainScreen

_FILTERS = {
    "filter: numbers": ("duration > 1s and port == 25", "messages == 0", "number < 500000"),
    "filter: shared texts": ("code >= 500", "severity >= warning", "verb == STARTTLS"),
    "filter: a word": ("office17", "user42", "nothing-like-it"),
    "filter: equal texts": ("from == user7@mail3.example", "tls.version == TLSv1.2"),
    "filter: patterns": ('to ~ "user7.*@example"', 'subject ~ "^invoice.*77"'),
    "filter: several": ('not tls and to ~ "ann1.*@shop" and code >= 400 and duration > 100ms',),
}
_TYPED = "to ~ office17 and code >= 500"
_PAUSE = 0.1
"""Seconds between two letters."""


class Taken(NamedTuple):
    """What an action took, in seconds."""

    work: float
    stall: float
    shown: float


def measure(capture: Path, rounds: int) -> None:
    """Print what it is like to use the index of `capture`: each action `rounds` times, those that
    take long a tenth of it with each filter."""
    review = Review([str(capture)])
    try:
        assert not review.reading, "there is no index"
        asyncio.run(_use(review, rounds))
    finally:
        review.close()


async def _use(review: Review, rounds: int) -> None:
    app = WatchedApp(review)
    async with app.run_test(size=SIZE):
        await app.rest()
        user = _User(app, rounds)
        print(f"{review.progress().sessions:,} sessions; memory in MB   now  peak")
        _tell_memory("opened")
        for use in (
            user.scroll,
            user.sort,
            user.filter,
            user.type,
            user.open_views,
            user.sort_messages,
        ):
            await use()
            _tell_memory(use.__name__)
        gc.collect()
        _tell_memory("the end")
    _report(user.taken)


def _tell_memory(what: str) -> None:
    print(f"{what:>36} {megabytes('VmRSS'):6.0f}{megabytes('VmHWM'):6.0f}", flush=True)


def _report(taken: dict[str, list[Taken]]) -> None:
    print(f"\n{'milliseconds':25} {'':>4}", end="")
    print("".join(f" {name:-^23}" for name in Taken._fields))
    print(f"{'':25} {'n':>4}" + f" {'p50':>7} {'p95':>7} {'max':>7}" * 3)
    for kind, actions in taken.items():
        print(f"{kind:25} {len(actions):4}", end="")
        for column in zip(*actions, strict=True):
            values = sorted(column)
            ranks = (-(-len(values) * part // 100) - 1 for part in (50, 95, 100))
            print("".join(f" {values[rank] * 1000:7.1f}" for rank in ranks), end="")
        print()


class _User:
    def __init__(self, app: WatchedApp, rounds: int) -> None:
        self.taken: dict[str, list[Taken]] = defaultdict(list)
        self._app = app
        self._main = cast(MainScreen, app.screen)
        self._bar = self._main.query_one(FilterBar)
        self._sessions = self._main.sessions.listing
        self._rounds = rounds
        self._few = max(rounds // 10, 1)

    async def _act(
        self,
        kind: str,
        start: Callable[[], object],
        shows: Callable[[], bool],
        complete: Callable[[], bool] | None = None,
    ) -> None:
        app = self._app
        await app.rest()
        app.meter.reset()
        began = time.perf_counter()
        start()
        frames = {kind: await app.frame(shows)}
        if complete is not None:
            whole = frames[kind] if complete() else await app.frame(complete)
            frames[f"{kind}, all of it"] = whole
        await app.rest()
        for each, (at, work) in frames.items():
            self.taken[each].append(Taken(work, app.meter.longest, at - began))

    async def _press(self, kind: str, key: str, shows: Callable[[], bool]) -> None:
        await self._act(kind, lambda: self._app.hit(key), shows)

    async def scroll(self) -> None:
        rows = self._main.sessions.list
        last = len(rows.source) - 1
        places = random.Random(1)
        for _ in range(self._rounds):
            for key in ("down", "up", "pagedown", "pageup"):
                # From where nothing has been painted yet.
                rows.go(places.randrange(100, last - 100))
                before = rows.cursor
                await self._press(
                    f"scroll: {key}", key, lambda before=before: rows.cursor != before
                )
            await self._press("jump: G", "G", lambda: rows.cursor == last)
            await self._press("jump: g", "g", lambda: rows.cursor == 0)

    async def sort(self) -> None:
        await self._sort_by_all("sort", self._main.sessions.list, self._sessions)

    async def filter(self) -> None:
        for _ in range(self._few):
            for kind, filters in _FILTERS.items():
                for words in filters:
                    await self._put(kind, words)
                    await self._put("filter: none", "")

    async def _put(self, kind: str, words: str) -> None:
        def shows() -> bool:
            return self._sessions.filter.text == words and not self._sessions.busy

        await self._act(kind, lambda: self._bar.put(words), shows)

    async def type(self) -> None:
        app, field = self._app, self._bar.field
        for _ in range(self._few):
            await self._press("type: f", "f", lambda: field.has_focus)
            for end, letter in enumerate(_TYPED, 1):
                app.meter.reset()
                began = time.perf_counter()
                app.hit(letter)
                at, work = await app.frame(lambda end=end: field.value == _TYPED[:end])
                if end < len(_TYPED):
                    await asyncio.sleep(_PAUSE)
                self.taken["type: a letter"].append(Taken(work, app.meter.longest, at - began))
            # What the letters before asked for is not to be in the way of the last one.
            at, work = await app.frame(lambda: not self._sessions.busy)
            self.taken["type: the list"].append(Taken(work, app.meter.longest, at - began))
            await app.rest()
            assert self._sessions.filter.text == _TYPED
            await self._press("type: Esc", "escape", lambda: not self._sessions.filter.text)

    async def open_views(self) -> None:
        main = self._main
        messages, findings, statistics = main.messages, main.findings, main.statistics
        for words in ("", "port == 25"):
            if words:
                await self._put("filter: numbers", words)
            for _ in range(self._few if words else self._rounds):
                await self._open("2", messages, lambda: _rests(messages.listing))
            for _ in range(self._few):
                await self._open("3", findings, lambda: not findings._loader.busy)
                await self._open("4", statistics, lambda: not statistics._loader.busy)
        await self._put("filter: none", "")

    async def _open(self, key: str, pane: Widget, complete: Callable[[], bool]) -> None:
        tabs = self._main.query_one(ContentSwitcher)
        hit = self._app.hit
        await self._act(f"open: {key}", lambda: hit(key), lambda: tabs.current == pane.id, complete)
        await self._press("open: 1", "1", lambda: self._main.tab == 0)

    async def sort_messages(self) -> None:
        pane = self._main.messages
        await self._main.action_tab(1)
        assert pane.listing is not None
        await self._sort_by_all("sort messages", pane.list, pane.listing)
        await self._press("open: 1", "1", lambda: self._main.tab == 0)

    async def _sort_by_all(self, kind: str, rows: ColumnList, listing: Listing[Any]) -> None:
        """By each column, up and down, and in the end as it was."""
        columns = [column.key for column in rows.columns]
        for number in range(1, max(self._rounds // 2, len(columns)) + 1):
            sort = columns[number % len(columns)]
            # What the cursor is on has to be found again, wherever it is then.
            rows.go(number * 31_337 % len(listing))
            for way, key in (("up", "o"), ("down", "O")):
                wanted = (sort, way == "down")

                def shows(wanted: tuple[str, bool] = wanted) -> bool:
                    return not listing.busy and (listing.sort, listing.descending) == wanted

                await self._press(f"{kind}: {way}", key, shows)
        listing.show(sort=columns[0], descending=False)


def _rests(listing: Listing[Any] | None) -> bool:
    return listing is not None and not listing.busy
