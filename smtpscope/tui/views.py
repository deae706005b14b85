"""What all screens that show rows have in common: a title, keys, Esc, search, copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget

from smtpscope.display import text
from smtpscope.tui.bars import Bar, Item
from smtpscope.tui.keys import hints
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


def search_rows(widget: Widget | None, words: str, way: int) -> int | None:
    """The next (1) or previous (-1) row that has the words, from the other end where it comes to
    one; None where no row has them."""
    if not isinstance(widget, RowList):
        return None
    wanted = words.lower()
    count, cursor = len(widget.source), widget.cursor
    for step in range(1, min(count, MAX_SEARCHED) + 1):
        row = (cursor + way * step) % count
        if wanted in widget.text(row).lower():
            return row
    return None


class ScopeScreen(Screen[_T]):
    """What all screens have in common: search, copy, keys at the bottom."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search in what is shown", id="search"),
        Binding("n", "search_next(1)", "Next match", id="search_next"),
        Binding("N", "search_next(-1)", "Previous match", id="search_previous"),
        Binding("y", "copy", "Copy the line", id="copy"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.searched = ""

    @property
    def scope(self) -> ScopeApp:
        return cast("ScopeApp", self.app)

    def tell_keys(self, first: Iterable[Item], wanted: Iterable[tuple[str, str]]) -> None:
        """Show keys in the last line, by their ids, behind the items that come first."""
        bar = self.query_one("#keys", Bar)
        bar.show([*first, *hints(self, wanted)], hints(self, [("help", "help")]))

    def action_copy(self) -> None:
        copied = row_text(self.focused)
        if copied:
            self.app.copy_to_clipboard(copied)
            self.scope.tell("Copied.")

    def action_search(self) -> None:
        """Ask for words, and go to the next row that has them."""

        def found(words: str | None) -> None:
            if words:
                self.searched = words
                self.action_search_next(1)

        self.app.push_screen(AskScreen("Search in what is shown", self.searched), found)

    def action_search_next(self, way: int) -> None:
        """Go to the next (1) or previous (-1) row that has what was searched for."""
        if not self.searched:
            self.action_search()
        else:
            self.search(way)

    def search(self, way: int) -> None:
        """Go to the next (1) or previous (-1) row of the list in focus."""
        rows = self.focused
        found = search_rows(rows, self.searched, way)
        self.go_to_match(rows if isinstance(rows, RowList) else None, found, way)

    def go_to_match(self, rows: RowList | None, found: int | None, way: int) -> None:
        """Go to the row where a search `found` its words, and tell where it had to begin anew."""
        words = text(self.searched, 60)
        if rows is None or found is None:
            self.scope.tell(f"Not found: {words}")
            return
        cursor = rows.cursor
        if found == cursor:
            self.scope.tell(f"No more: {words}")
        elif (found > cursor) is not (way > 0):
            self.scope.tell(f"Searched on from {'the beginning' if way > 0 else 'the end'}.")
        rows.go(found)


class ViewScreen(ScopeScreen[_T]):
    """A screen with a title above its rows, and its keys below them."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back", id="back")]
    DEFAULT_CSS = """
    ViewScreen { layout: vertical; }
    """

    heading = ""
    """What the screen shows: safe text."""
    hints: tuple[tuple[str, str], ...] = ()
    """Keys below the rows: their ids, and what they do in a word."""

    def compose(self) -> ComposeResult:
        yield Bar(id="title", fixed=3)
        yield from self.body()
        yield Bar(id="keys", fixed=2)

    def body(self) -> Iterator[Any]:
        """The widgets between title and keys."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.retitle(self.heading)
        self.call_after_refresh(self._tell_keys)

    def _tell_keys(self) -> None:
        wanted = (("back", "back"), *self.hints, ("search", "search"), ("copy", "copy"))
        self.tell_keys([Item(" ")], wanted)

    def retitle(self, heading: str) -> None:
        """Say anew what the screen shows: safe text."""
        self.heading = heading
        self.query_one("#title", Bar).show(
            [Item(" smtpscope ", "head"), Item("▸ ", "dim"), Item(heading, "strong")]
        )

    def action_back(self) -> None:
        self.dismiss(None)
