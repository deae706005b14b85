"""Lines that do not scroll: the title, the keys. What stands there can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from textual import events
from textual.strip import Strip

from smtpscope.tui.paint import Painter
from smtpscope.tui.pieces import Line, Piece


class Item(NamedTuple):
    """A text of a bar, and the action that a click on it runs ("" for none)."""

    text: str
    style: str = ""
    action: str = ""


class Bar(Painter):
    """One line: items from the left, and items at its right end where there is room."""

    DEFAULT_CSS = """
    Bar { height: 1; width: 100%; background: $panel; color: $foreground; }
    """

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._left: list[Item] = []
        self._right: list[Item] = []

    def show(self, left: Sequence[Item], right: Sequence[Item] = ()) -> None:
        """Show other items."""
        if (self._left, self._right) != (list(left), list(right)):
            self._left, self._right = list(left), list(right)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        line: Line = [Piece(item.text, item.style) for item in self._left]
        room = self.size.width - sum(cell_len(item.text) for item in self._left)
        wanted = sum(cell_len(item.text) for item in self._right)
        if 0 < wanted <= room:
            line.append(Piece(" " * (room - wanted)))
            line += [Piece(item.text, item.style) for item in self._right]
        return self.strip(line, self.size.width, Style())

    async def on_click(self, event: events.Click) -> None:
        at = 0
        for item in self._left:
            at += cell_len(item.text)
            if event.x < at:
                if item.action:
                    await self.run_action(item.action)
                return
