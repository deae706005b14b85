"""What all screens that show rows have in common: a title, keys, Esc, search, copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget

from smtpscope.display import text
from smtpscope.tui.bars import Bar, Item, hint
from smtpscope.tui.prompts import AskScreen
from smtpscope.tui.rowlist import RowList

if TYPE_CHECKING:
    from smtpscope.tui.app import ScopeApp

MAX_SEARCHED = 200_000
"""Rows that a search looks at."""

_T = TypeVar("_T")


def row_text(widget: Widget | None) -> str:
    """The row at the cursor of a list, as text; "" without one."""
    if not isinstance(widget, RowList) or not len(widget.source):
        return ""
    return widget.text(widget.cursor)


def search_rows(widget: Widget | None, words: str, way: int) -> bool:
    """Go to the next (1) or previous (-1) row that has the words; whether there is one."""
    if not isinstance(widget, RowList):
        return False
    wanted = words.lower()
    source, cursor = widget.source, widget.cursor
    if way > 0:
        rows = range(cursor + 1, min(len(source), cursor + 1 + MAX_SEARCHED))
    else:
        rows = range(cursor - 1, max(-1, cursor - 1 - MAX_SEARCHED), -1)
    for row in rows:
        if wanted in widget.text(row).lower():
            widget.go(row)
            return True
    return False


class ViewScreen(Screen[_T]):
    """A screen with a title above its rows, and its keys below them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", id="back"),
        Binding("slash", "search", "Search in what is shown", id="search"),
        Binding("n", "search_next(1)", "Next match", id="search_next"),
        Binding("N", "search_next(-1)", "Previous match", id="search_previous"),
        Binding("y", "copy", "Copy the line", id="copy"),
    ]
    DEFAULT_CSS = """
    ViewScreen { layout: vertical; }
    """

    heading = ""
    """What the screen shows: safe text."""
    hints: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """Keys below the rows: key, word, action."""

    def __init__(self) -> None:
        super().__init__()
        self.searched = ""

    @property
    def scope(self) -> ScopeApp:
        return cast("ScopeApp", self.app)

    def compose(self) -> ComposeResult:
        title = Bar(id="title", fixed=3)
        title.show(self._title())
        yield title
        yield from self.body()
        keys = Bar(id="keys", fixed=1)
        hints = (("/", "search", "screen.search"), ("y", "copy", "screen.copy"))
        items = [Item(" back  ", "", "screen.back", " Esc")]
        items += [hint(*each) for each in (*self.hints, *hints)]
        keys.show(items, [hint("?", "help", "app.help")])
        yield keys

    def body(self) -> Iterator[Any]:
        """The widgets between title and keys."""
        raise NotImplementedError

    def _title(self) -> list[Item]:
        return [Item(" smtpscope ", "head"), Item("▸ ", "dim"), Item(self.heading, "strong")]

    def retitle(self, heading: str) -> None:
        """Say anew what the screen shows: safe text."""
        self.heading = heading
        self.query_one("#title", Bar).show(self._title())

    def action_back(self) -> None:
        self.dismiss(None)

    def action_copy(self) -> None:
        copied = row_text(self.focused)
        if copied:
            self.app.copy_to_clipboard(copied)
            self.scope.tell("Copied.")

    def action_search(self) -> None:
        def found(words: str | None) -> None:
            if words:
                self.searched = words
                self.action_search_next(1)

        self.app.push_screen(AskScreen("Search in what is shown", self.searched), found)

    def action_search_next(self, way: int) -> None:
        if not self.searched:
            self.action_search()
        elif not search_rows(self.focused, self.searched, way):
            self.scope.tell(f"No more: {text(self.searched, 60)}")
