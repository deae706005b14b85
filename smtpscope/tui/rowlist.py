"""The one widget for rows: sessions, dialogues, octets, findings; a line of the terminal each.

It paints only what is visible, so that a million rows cost no more than forty. `RowList` asks its
source for lines of pieces; `ColumnList` (in `columns`) puts cells under heads.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar, Protocol

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from smtpscope.tui.paint import Painter
from smtpscope.tui.pieces import Line, Piece
from smtpscope.tui.words import wrap

MAX_STRIPS = 1_000
"""Painted lines that are remembered."""
SHIFT = 8
"""Columns by which left and right move what is wider than the screen."""

CURSOR, NO_CURSOR = "▌", " "


class Rows(Protocol):
    """Where a `RowList` gets its lines from; it asks for those that are visible alone."""

    def __len__(self) -> int: ...

    def line(self, index: int) -> Line:
        """The pieces of a row, of any width."""


class NoRows:
    """A source without rows."""

    def __len__(self) -> int:
        return 0

    def line(self, index: int) -> Line:
        return []


class Lines:
    """A source that has all its lines already."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines

    def __len__(self) -> int:
        return len(self.lines)

    def line(self, index: int) -> Line:
        return self.lines[index]


class RowList(Painter, ScrollView, can_focus=True):
    """Rows with a cursor."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "rows--cursor",
        "rows--cursor-blurred",
        "rows--marker",
        "rows--head",
        "rows--placeholder",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Down", id="down", show=False),
        Binding("up,k", "move(-1)", "Up", id="up", show=False),
        Binding("home,g", "top", "First row", id="top", show=False),
        Binding("end,G", "bottom", "Last row", id="bottom", show=False),
        Binding("pagedown", "page(1)", "Page down", id="page_down", show=False),
        Binding("pageup", "page(-1)", "Page up", id="page_up", show=False),
        Binding("left", "shift(-1)", "Scroll left", id="left", show=False),
        Binding("right", "shift(1)", "Scroll right", id="right", show=False),
        Binding("enter", "choose", "Open", id="choose", show=False),
    ]
    DEFAULT_CSS = """
    RowList {
        background: $surface; color: $foreground; scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0; overflow-x: hidden; overflow-y: scroll;
        scrollbar-background: $surface; scrollbar-color: $panel;
        scrollbar-background-hover: $surface; scrollbar-background-active: $surface;
    }
    RowList .rows--cursor { background: $scope-cursor; }
    RowList .rows--cursor-blurred { background: $scope-cursor-blurred; }
    RowList .rows--marker { color: $scope-accent; }
    RowList .rows--head { color: $scope-dim; text-style: bold; }
    RowList .rows--placeholder { color: $scope-dim; }
    """

    cursor: reactive[int] = reactive(0, init=False, repaint=False)
    """The row on which the cursor is."""

    head_height = 0

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, rows: RowList, index: int) -> None:
            super().__init__()
            self.rows = rows
            self.index = index

        @property
        def control(self) -> RowList:
            return self.rows

    class Chosen(Moved):
        """Enter, or a double click."""

    def __init__(
        self,
        source: Rows | None = None,
        *,
        placeholder: str = "",
        beside: bool = False,
        context: int = 0,
        **named: Any,
    ) -> None:
        """`beside`: it only tells of what is selected elsewhere, and its cursor is seen only while
        it has the focus. So many rows around the one that is gone to are seen, too: its
        `context`."""
        super().__init__(**named)
        self._beside = beside
        self._around = context
        self.source: Rows = NoRows() if source is None else source
        self.placeholder = placeholder
        self.follow = False
        self._shift = 0
        self._strips: OrderedDict[tuple[object, ...], Strip] = OrderedDict()

    # -- what is shown ----------------------------------------------------------------------------

    def show(self, source: Rows, *, cursor: int = 0) -> None:
        """Show other rows."""
        self.source = source
        self._shift = 0
        self.rows_changed()
        if self.cursor == cursor:
            self._scroll_to_cursor()
            self.post_message(self.Moved(self, self.cursor))
        else:
            self.go(cursor)

    def tell(self, words: str) -> None:
        """Show no rows but these words: safe text."""
        self.placeholder = words
        self.show(NoRows())

    def rows_changed(self) -> None:
        """The source has other rows, or more of them: the cursor stays where it is, if it can; at
        the end, with `follow`, it stays at the end."""
        at_end = self.at_end
        self._strips.clear()
        self._measure()
        count = len(self.source)
        if self.follow and at_end and count:
            self.go(count - 1)
        elif self.cursor >= count:
            self.cursor = max(count - 1, 0)
        self.refresh()

    def go(self, index: int) -> None:
        """Put the cursor on a row, as near as there is one."""
        self.cursor = max(min(index, len(self.source) - 1), 0)
        self._scroll_to_cursor()

    def keep(self, index: int) -> None:
        """The source has other rows, and what was at the cursor is in this one now: it stays on
        its line of the screen, or out of sight, if it can."""
        line = self.cursor - round(self.scroll_y)
        visible = 0 <= line < self._page_height()
        self._strips.clear()
        self._measure()
        now = max(min(index, len(self.source) - 1), 0)
        self.scroll_to(y=now - line, animate=False, immediate=True)
        self.cursor = now
        if visible:
            self._scroll_to_cursor(0)
        self.refresh()

    def text(self, row: int) -> str:
        """A row as it is copied and searched."""
        return "".join(piece.text for piece in self.source.line(row)).strip()

    @property
    def below(self) -> int:
        """How many rows are below what is visible."""
        visible = round(self.scroll_y) + self._page_height()
        return max(len(self.source) - visible, 0)

    @property
    def at_end(self) -> bool:
        """The cursor is on the last of the rows that are shown."""
        return self.cursor >= self.virtual_size.height - self.head_height - 1

    def watch_cursor(self, before: int, now: int) -> None:
        for row in (before, now):
            self._refresh_row(row)
        self.post_message(self.Moved(self, now))

    def on_mount(self) -> None:
        self._measure()

    def on_resize(self) -> None:
        self._strips.clear()
        self._measure()
        self._scroll_to_cursor()

    def on_focus(self) -> None:
        self._refresh_row(self.cursor)

    def on_blur(self) -> None:
        self._refresh_row(self.cursor)

    def notify_style_update(self) -> None:
        self._strips.clear()
        super().notify_style_update()

    def _measure(self) -> None:
        before = self.virtual_size
        width = self.scrollable_content_region.width
        size = Size(width, len(self.source) + self.head_height)
        if self.show_vertical_scrollbar and width == before.width and size.height > before.height:
            # More rows move nothing but the bar; the usual way lays out and paints all widgets.
            self.set_reactive(RowList.virtual_size, size)
            self.vertical_scrollbar.window_virtual_size = size.height
        else:
            self.virtual_size = size

    def _page_height(self) -> int:
        return max(self.scrollable_content_region.height - self.head_height, 1)

    def _refresh_row(self, row: int) -> None:
        y = row - round(self.scroll_y) + self.head_height
        self.refresh(Region(0, y, self.size.width, 1))

    def _scroll_to_cursor(self, context: int | None = None) -> None:
        top, height = round(self.scroll_y), self._page_height()
        around = min(self._around if context is None else context, (height - 1) // 2)
        if self.cursor - around < top:
            self.scroll_to(y=max(self.cursor - around, 0), animate=False, immediate=True)
        elif self.cursor + around >= top + height:
            self.scroll_to(y=self.cursor + around - height + 1, animate=False, immediate=True)

    # -- painting ---------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y < self.head_height:
            return self._head(width)
        row = y - self.head_height + round(self.scroll_y)
        if row >= len(self.source):
            told = [] if len(self.source) else wrap(self.placeholder, max(width - 2, 10))
            text = f" {told[row]}" if row < len(told) else ""
            return self.strip([Piece(text)], width, self.style_of("rows--placeholder"))
        focus = self.has_focus
        at_cursor = row == self.cursor and (focus or not self._beside)
        key = (row, width, at_cursor, at_cursor and focus)
        strip = self._strips.get(key)
        if strip is None:
            strip = self._row(row, width, at_cursor, focus)
            self._strips[key] = strip
            if len(self._strips) > MAX_STRIPS:
                self._strips.popitem(last=False)
        return strip

    def _head(self, width: int) -> Strip:
        return Strip.blank(width, self.rich_style)

    def _row(self, row: int, width: int, at_cursor: bool, focus: bool) -> Strip:
        base = Style()
        if at_cursor:
            base = self.style_of("rows--cursor" if focus else "rows--cursor-blurred")
        marker = self.style_of("rows--marker")
        sign = Segment(CURSOR if at_cursor else NO_CURSOR, self.rich_style + base + marker)
        strip = self.strip(self._line(row, width - 1), width - 1, base)
        return Strip([sign, *strip], width)

    def _line(self, row: int, width: int) -> Line:
        line = self.source.line(row)
        return _shifted(line, self._shift) if self._shift else line

    # -- keys and mouse ---------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        self.go(self.cursor + by)

    def action_top(self) -> None:
        self.go(0)

    def action_bottom(self) -> None:
        self.go(len(self.source) - 1)

    def action_page(self, way: int) -> None:
        self.go(self.cursor + way * self._page_height())

    def action_shift(self, way: int) -> None:
        self._shift = max(self._shift + way * SHIFT, 0)
        self._strips.clear()
        self.refresh()

    def action_choose(self) -> None:
        if len(self.source):
            self.post_message(self.Chosen(self, self.cursor))

    def row_at(self, y: int) -> int | None:
        """The row at a line of the widget, None where there is none."""
        row = y - self.head_height + round(self.scroll_y)
        return row if y >= self.head_height and row < len(self.source) else None

    def on_click(self, event: events.Click) -> None:
        row = self.row_at(event.y)
        if row is None:
            return
        # It is seen already, and stays where it is for a second click.
        self.cursor = row
        if event.chain == 2:
            self.post_message(self.Chosen(self, row))


def _shifted(line: Line, columns: int) -> Line:
    """What is left of a line when so many columns at its beginning are out of sight."""
    left: Line = []
    for text, style in line:
        if columns:
            kept = text
            while kept and columns > 0:
                columns -= cell_len(kept[0])
                kept = kept[1:]
            columns = max(columns, 0)
            if kept:
                left.append(Piece(kept, style))
        else:
            left.append(Piece(text, style))
    return left
