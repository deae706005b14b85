"""A list that an index gives: what is shown when, and what becomes of those that nobody wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event

import pytest
from support import screens

from smtpscope import filters
from smtpscope.filters import Filter, parse
from smtpscope.index.views import SESSIONS
from smtpscope.tui.listing import Listing


class Slow:
    """A filter that waits at the first session until it may go on."""

    def __init__(self) -> None:
        self.begun, self.go_on = Event(), Event()
        self.filter = Filter("slow", filters.Test("state", "~", ("",), self._accepts))

    def _accepts(self, values: Iterable[str | int]) -> bool:
        self.begun.set()
        assert self.go_on.wait(screens.PATIENCE)
        return True


@pytest.mark.parametrize("closed", [False, True])
def test_a_list_that_is_closed_says_nothing_any_more(tmp_path: Path, closed: bool) -> None:
    review = screens.read([screens.many(tmp_path, 20)])
    handed: list[Callable[[], None]] = []
    told = Event()

    def call(function: Callable[[], None]) -> None:
        handed.append(function)
        told.set()

    listing = Listing(review.index, SESSIONS, call, lambda: None, lambda: None)
    slow = Slow()
    listing.show(filter=slow.filter)
    assert slow.begun.wait(screens.PATIENCE)
    if closed:
        listing.close()
    slow.go_on.set()
    if closed:
        assert not told.wait(0.3)
    else:
        assert told.wait(screens.PATIENCE)
        handed[0]()
        assert len(listing) == 20
        listing.close()
    review.close()


def test_of_two_lists_the_later_one_is_shown(tmp_path: Path) -> None:
    review = screens.read([screens.many(tmp_path, 20)])
    handed: list[Callable[[], None]] = []
    both = Event()

    def call(function: Callable[[], None]) -> None:
        handed.append(function)
        if len(handed) == 2:
            both.set()

    listing = Listing(review.index, SESSIONS, call, lambda: None, lambda: None)
    slow = Slow()
    listing.show(filter=slow.filter)
    assert slow.begun.wait(screens.PATIENCE)
    listing.show(filter=parse("code == 550"))
    slow.go_on.set()
    assert both.wait(screens.PATIENCE)
    for function in handed:
        function()
    assert (len(listing), listing.filter.text, listing.busy) == (4, "code == 550", False)
    listing.close()
    review.close()
