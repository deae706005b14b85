"""Rows of cells under a head: the list of sessions, of messages, of findings.

Columns fit the width: those of the lowest priority go first where it is short, and what is left
over goes to those that can use it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, cast

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip

from smtpscope.tui.pieces import Line, Piece
from smtpscope.tui.rowlist import RowList, Rows

MARK, NO_MARK = "*", " "
_COUNT = re.compile(r"\+[0-9]+")


class Column(NamedTuple):
    """`width` is the least, `flex` the share of what is left over (0: none). Where it is short the
    column of the lowest `priority` is left out. `right`: numbers are. `counted`: the `+2` at the
    end, how many more there are, is kept where the text is cut."""

    key: str
    title: str
    width: int
    flex: int = 0
    priority: int = 5
    right: bool = False
    counted: bool = False


class Cells(Protocol):
    """Where a `ColumnList` gets its cells from: those of a row in the order of all columns."""

    def __len__(self) -> int: ...

    def cells(self, index: int) -> Sequence[Piece]: ...

    def marked(self, index: int) -> bool: ...


class _AsRows:
    """Cells where rows are wanted: the widget lays them out itself."""

    def __init__(self, cells: Cells) -> None:
        self.all = cells

    def __len__(self) -> int:
        return len(self.all)

    def line(self, index: int) -> Line:
        return list(self.all.cells(index))


class ColumnList(RowList):
    """Rows under heads. A click on a head, or a key, posts `SortWanted` where they can be sorted:
    by a column, and by the same one again the other way round."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "sort_next", "Sort by the next column", id="sort"),
        Binding("O", "reverse", "Sort the other way round", id="reverse"),
    ]

    head_height = 1

    class SortWanted(Message):
        """Somebody wants the rows in the order of a column."""

        def __init__(self, rows: ColumnList, key: str, descending: bool) -> None:
            super().__init__()
            self.rows = rows
            self.key = key
            self.descending = descending

        @property
        def control(self) -> ColumnList:
            return self.rows

    def __init__(self, columns: Sequence[Column], *, sortable: bool = True, **named: Any) -> None:
        super().__init__(**named)
        self.columns = tuple(columns)
        self.sorted_by: tuple[str, bool] | None = None
        self._sortable = sortable
        self._layout_width = -1
        self._fitted: list[tuple[int, Column, int]] = []

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that sort are for what can be sorted."""
        return self._sortable or action not in ("sort_next", "reverse")

    def action_sort_next(self) -> None:
        keys = [column.key for column in self.columns]
        at = keys.index(self.sorted_by[0]) if self.sorted_by is not None else -1
        self.post_message(self.SortWanted(self, keys[(at + 1) % len(keys)], False))

    def action_reverse(self) -> None:
        key, descending = self.sorted_by or (self.columns[0].key, False)
        self.post_message(self.SortWanted(self, key, not descending))

    def text(self, row: int) -> str:
        """The cells of a row, with two spaces between them."""
        return "  ".join(piece.text for piece in self.source.line(row)).strip()

    def show_cells(self, cells: Cells, *, cursor: int = 0) -> None:
        """Show other rows."""
        self.show(cast(Rows, _AsRows(cells)), cursor=cursor)

    def fitted(self, width: int) -> list[tuple[int, Column, int]]:
        """The columns that fit: the index of each, and the cells that it gets."""
        if width == self._layout_width:
            return self._fitted
        kept = list(enumerate(self.columns))
        while len(kept) > 1 and sum(column.width + 1 for _, column in kept) > width:
            kept.remove(min(kept, key=lambda each: (each[1].priority, -each[0])))
        left = max(width - sum(column.width + 1 for _, column in kept), 0)
        shares = sum(column.flex for _, column in kept)
        found = []
        for index, column in kept:
            more = left * column.flex // shares if shares else 0
            left -= more
            shares -= column.flex
            found.append((index, column, column.width + more))
        self._layout_width, self._fitted = width, found
        return found

    def _line(self, row: int, width: int) -> Line:
        cells = self.source.line(row)
        marked = cast(_AsRows, self.source).all.marked(row)
        line = [Piece(MARK if marked else NO_MARK, "head")]
        for index, column, size in self.fitted(width - 1):
            text, style = cells[index] if index < len(cells) else Piece("")
            if column.counted:
                text = _shorten(text, size)
            line += [Piece(_fit(text, size, column.right), style), Piece(" ")]
        return line

    def _head(self, width: int) -> Strip:
        line = [Piece("  ")]
        for _, column, size in self.fitted(width - 2):
            title = column.title
            if self.sorted_by is not None and self.sorted_by[0] == column.key:
                title += "↓" if self.sorted_by[1] else "↑"
            line += [Piece(_fit(title, size, column.right)), Piece(" ")]
        return self.strip(line, width, self.style_of("rows--head"))

    def on_click(self, event: events.Click) -> None:
        if event.y >= self.head_height:
            super().on_click(event)
            event.prevent_default()
            return
        event.prevent_default()
        left = 2
        for _, column, size in self.fitted(self.scrollable_content_region.width - 2):
            if left <= event.x < left + size + 1 and self._sortable:
                descending = self.sorted_by == (column.key, False)
                self.post_message(self.SortWanted(self, column.key, descending))
                return
            left += size + 1


def _shorten(text: str, size: int) -> str:
    """The text in at most `size` cells, cut before the count at its end."""
    named, _, count = text.rpartition(" ")
    room = size - len(count) - 1
    if cell_len(text) <= size or not _COUNT.fullmatch(count) or room < 2:
        return text
    return f"{_fit(named, room, False).rstrip(' ')} {count}"


def _fit(text: str, size: int, right: bool) -> str:
    """The text in exactly `size` cells."""
    used = cell_len(text)
    if used > size:
        return set_cell_size(text, size - 1) + "…" if size else ""
    return " " * (size - used) + text if right else text + " " * (size - used)
