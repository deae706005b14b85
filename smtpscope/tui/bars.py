"""Lines that do not scroll: the title, the keys. What stands there can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from textual import events
from textual.strip import Strip

from smtpscope.tui.paint import Painter
from smtpscope.tui.pieces import Line, Piece


class Item(NamedTuple):
    """A text of a bar behind the key that does it, and the action that a click on it runs."""

    text: str
    style: str = ""
    action: str = ""
    key: str = ""

    @property
    def size(self) -> int:
        return cell_len(self.key) + cell_len(self.text)

    @property
    def pieces(self) -> Line:
        shown = [Piece(self.key, "label")] if self.key else []
        return [*shown, Piece(self.text, self.style)]


class Bar(Painter):
    """One line: items from the left, and items at its right end.

    Where it is too short for all, items at the left give way, whole ones, the last first; only
    the first `fixed` ones stay, and are cut.
    """

    DEFAULT_CSS = """
    Bar { height: 1; width: 100%; background: $panel; color: $foreground; }
    """

    def __init__(self, *, fixed: int = 0, **named: Any) -> None:
        super().__init__(**named)
        self._fixed = fixed
        self._left: list[Item] = []
        self._right: list[Item] = []

    def show(self, left: Sequence[Item], right: Sequence[Item] = ()) -> None:
        """Show other items."""
        if (self._left, self._right) != (list(left), list(right)):
            self._left, self._right = list(left), list(right)
            self.refresh()

    def _placed(self) -> list[Item]:
        """What is shown, over the whole width."""
        whole = self.size.width - sum(item.size for item in self._right)
        # One cell keeps them apart.
        room = whole - bool(self._right)
        kept = list(self._left)
        used = sum(item.size for item in kept)
        while used > room and len(kept) > self._fixed:
            used -= kept.pop().size
        if used > room and kept:
            last = kept.pop()
            used -= last.size
            kept.append(last._replace(text=shortened(last.text, max(room - used, 0))))
            used += kept[-1].size
        return [*kept, Item(" " * (whole - used)), *self._right]

    def render_line(self, y: int) -> Strip:
        line: Line = [piece for item in self._placed() for piece in item.pieces]
        return self.strip(line, self.size.width, Style())

    async def on_click(self, event: events.Click) -> None:
        at = 0
        for item in self._placed():
            at += item.size
            if event.x < at:
                if item.action:
                    await self.run_action(item.action)
                return


def shortened(text: str, cells: int) -> str:
    """A text in so many cells at most."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1) + "…" if cells else ""
