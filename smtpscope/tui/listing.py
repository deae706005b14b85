"""A list that an index gives: pages of it on demand, another order or filter made in a thread.

The list on the screen stays as it is until the new one is ready; rows that are written meanwhile
are added to it, or it is made anew, at most once a second.
"""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

from smtpscope.errors import SmtpscopeError
from smtpscope.filters import Filter, parse
from smtpscope.index.views import DamagedError, Index, Table, View

PAGE = 64
"""Rows that are fetched at once."""
MAX_PAGES = 32
ANEW = 1.0
"""Seconds after which a list that can't be added to is made anew while captures are read."""

_R = TypeVar("_R")


class Listing(Generic[_R]):
    """The rows of `table` by a filter, in an order.

    `call` hands a function over to the thread of the screen; there `on_change` is called whenever
    another list is shown, and `on_damage` when the index turns out to be damaged: then the list is
    empty. `busy` while one is made; `problem` says why none could be.
    """

    def __init__(
        self,
        index: Index,
        table: Table,
        call: Callable[[Callable[[], None]], object],
        on_change: Callable[[], None],
        on_damage: Callable[[], None],
    ) -> None:
        self.filter: Filter = parse("")
        self.sort = "number"
        self.descending = False
        self.busy = False
        self.problem: str | None = None
        self._index = index
        self._table = table
        self._call = call
        self._on_change = on_change
        self._on_damage = on_damage
        self._damaged = False
        self._closed = False
        self._pages: OrderedDict[int, list[_R]] = OrderedDict()
        self._made = 0.0
        self._changes = 0
        self._stale = False
        self._pending: View | None = None
        self._view = index.view(table)
        self._view.fill()

    def close(self) -> None:
        self._closed = True
        if self._pending is not None:
            self._pending.interrupt()
        self._view.close()

    def __len__(self) -> int:
        return len(self._view)

    @property
    def view(self) -> View:
        """What is shown now."""
        return self._view

    def row(self, position: int) -> _R | None:
        """The row at a position, None where there is none (any more)."""
        number, place = divmod(position, PAGE)
        page = self._pages.get(number)
        if page is None or (place >= len(page) and position < len(self)):
            page = self._page(number)
            self._pages[number] = page
            if len(self._pages) > MAX_PAGES:
                self._pages.popitem(last=False)
        else:
            self._pages.move_to_end(number)
        return page[place] if place < len(page) else None

    def _page(self, number: int) -> list[_R]:
        if self._damaged:
            return []
        try:
            return self._view.rows(number * PAGE, PAGE)
        except DamagedError:
            # This may be in the middle of painting.
            self._damaged = True
            self._call(self._on_damage)
            return []

    def position(self, id: int) -> int | None:
        """Where the row with this id is; None where it is not shown. Raises `DamagedError`."""
        return self._view.position(id)

    def ids(self) -> list[int]:
        """The ids of all rows, in order. It may take long and belongs in a thread."""
        view = self._index.view(self._table, self.filter, self.sort, descending=self.descending)
        try:
            view.fill()
            return list(view.ids())
        finally:
            view.close()

    def show(
        self,
        *,
        filter: Filter | None = None,
        sort: str | None = None,
        descending: bool | None = None,
    ) -> None:
        """Show another filter or order as soon as its list is made."""
        self.filter = self.filter if filter is None else filter
        self.sort = self.sort if sort is None else sort
        self.descending = self.descending if descending is None else descending
        self._make()

    @property
    def behind(self) -> bool:
        """There is more than what is shown."""
        return self._stale or self.busy

    def grow(self, changes: int = 0, *, last: bool = False) -> bool:
        """Take what has been written since; whether it is shown. To be called now and then while
        captures are read, and thereafter as the `last` until it is not `behind`. `changes` counts
        the rows that were written anew.
        """
        changed, self._changes = changes != self._changes, changes
        before = len(self._view)
        if self._view.grows and not (changes and self.filter.text.strip()):
            self._view.fill()
            if changed:
                self._pages.clear()
            return changed or len(self._view) != before
        # A row that has changed may have another place, or none.
        self._stale = self._stale or changed or self._view.behind
        if self._stale and not self.busy and (last or time.monotonic() - self._made > ANEW):
            self._stale = False
            self._make()
        return False

    def _make(self) -> None:
        if self._pending is not None:
            self._pending.interrupt()
        view = self._index.view(self._table, self.filter, self.sort, descending=self.descending)
        self._pending = view
        self.busy = True
        Thread(target=self._fill, args=(view,), daemon=True).start()

    def _fill(self, view: View) -> None:
        problem = None
        try:
            view.fill()
        except sqlite3.OperationalError:
            # Another one is wanted by now.
            pass
        except SmtpscopeError as error:
            problem = str(error)
        if self._closed:
            # There may be no screen any more.
            view.close()
            return
        self._call(lambda: self._filled(view, problem))

    def _filled(self, view: View, problem: str | None) -> None:
        if view is not self._pending:
            view.close()
            return
        self._pending = None
        self.busy = False
        self.problem = problem
        self._made = time.monotonic()
        if problem is None:
            self._view.close()
            self._view = view
            self._pages.clear()
        else:
            view.close()
        self._on_change()
