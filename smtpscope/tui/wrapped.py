"""Lines that are wrapped to the width of their list, and anew when that changes; facts as lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from smtpscope.explanation import Fact
from smtpscope.tui.pieces import SYMBOLS, Line, Piece
from smtpscope.tui.rowlist import Lines, RowList
from smtpscope.tui.words import wrap

MIN_WIDTH = 30
"""Cells below which lines get no shorter."""
MAX_LABEL = 16

Wrap = Callable[[int], list[Line]]
"""Makes lines of so many cells at most."""


class WrappedList(RowList):
    """A list of lines that something makes for its width."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._wrap: Wrap | None = None
        self._wrapped = 0

    def show_wrapped(self, wrap: Wrap, *, cursor: int = 0) -> None:
        """Show other lines."""
        self._wrap = wrap
        self._wrapped = self.scrollable_content_region.width
        self.show(Lines(wrap(max(self._wrapped - 2, MIN_WIDTH))), cursor=cursor)

    def tell(self, words: str) -> None:
        """Show no lines but these words: safe text."""
        self._wrap = None
        super().tell(words)

    def on_resize(self) -> None:
        if self._wrap is not None and self.scrollable_content_region.width != self._wrapped:
            self.show_wrapped(self._wrap, cursor=self.cursor)


def fact_lines(facts: Sequence[Fact], width: int) -> list[Line]:
    """Facts in two columns, the texts wrapped to `width` cells in all."""
    label_width = min(max((cell_len(fact.label) for fact in facts), default=0), MAX_LABEL) + 1
    found: list[Line] = []
    for label, words, style in facts:
        said = f"{SYMBOLS[style]} {words}" if style else words
        for number, line in enumerate(wrap(said, max(width - label_width, 20)) or [""]):
            head = "" if number else label
            found.append(
                [Piece(set_cell_size(head, label_width - 1) + " ", "label"), Piece(line, style)]
            )
    return found
