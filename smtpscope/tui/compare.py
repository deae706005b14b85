"""Two sessions side by side, their differences coloured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len, set_cell_size
from textual.binding import Binding, BindingType

from smtpscope.compare import CHANGED, LEFT, RIGHT, SAME, Pair, Range, compare
from smtpscope.display import text
from smtpscope.session import Session
from smtpscope.stream import Direction
from smtpscope.transcript import Row, rows
from smtpscope.tui.dialogue import CLIENT, SERVER
from smtpscope.tui.pieces import SYMBOLS, Line, Piece
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.views import ViewScreen

_SIGNS = {SAME: " ", CHANGED: "≠", LEFT: "<", RIGHT: ">"}


def pair_line(pair: Pair, width: int) -> Line:
    """A pair as a row of `width` cells."""
    half = (width - 3) // 2
    ours, theirs = pair.differences
    return [
        *_side(pair.left, half, ours, "removed" if pair.kind == LEFT else ""),
        Piece(f" {_SIGNS[pair.kind]} ", "label" if pair.kind != SAME else "dim"),
        *_side(pair.right, half, theirs, "added" if pair.kind == RIGHT else ""),
    ]


def _side(row: Row | None, width: int, ranges: list[Range], style: str) -> Line:
    if row is None:
        return [Piece(" " * width)]
    usual = style or ("client" if row.kind == "command" else row.kind)
    sign = CLIENT if row.direction is Direction.CLIENT else SERVER
    if row.finding is not None:
        word = row.finding.severity.word
        usual, sign = style or word, SYMBOLS[word]
    line: Line = [Piece(f"{sign} ", "dim")]
    room = width - 2
    at = _first_shown(row.text, ranges, room)
    if at:
        line.append(Piece("…", "dim"))
        room -= 1
    for start, end in [*ranges, (len(row.text), len(row.text))]:
        for part, look in ((row.text[at:start], usual), (row.text[max(start, at) : end], "match")):
            if part and room > 0:
                behind = start + len(part) < len(row.text) if look == "match" else True
                fits = cell_len(part) < room or (cell_len(part) == room and not behind)
                shown = part if fits else set_cell_size(part, room - 1) + "…"
                line.append(Piece(shown, look))
                room -= cell_len(shown)
        at = max(end, at)
    return [*line, Piece(" " * room)]


def _first_shown(said: str, ranges: list[Range], room: int) -> int:
    """Where a line begins to be shown, so that its first difference is."""
    first = ranges[0][0] if ranges else 0
    if cell_len(said) <= room or cell_len(said[:first]) < room * 2 // 3:
        return 0
    return max(first - room // 3, 0)


class Comparison(NamedTuple):
    """Two dialogues side by side; making it may take long and belongs in a thread."""

    heading: str
    pairs: list[Pair]

    @classmethod
    def of(cls, left: Session, right: Session, *, reveal: bool = False) -> Comparison:
        pairs = compare(*(list(rows(each, reveal=reveal)) for each in (left, right)))
        names = [f"session {each.number}" for each in (left, right)]
        if left.capture != right.capture:
            captures = (text(each.capture, 40) for each in (left, right))
            names = [f"{name} of {capture}" for name, capture in zip(names, captures, strict=True)]
        return cls(f"S{names[0][1:]} and {names[1]}", pairs)


class _Pairs:
    """Pairs as rows of some width, made when they are looked at."""

    def __init__(self, pairs: list[Pair], width: int) -> None:
        self._pairs = pairs
        self._width = width

    def __len__(self) -> int:
        return len(self._pairs)

    def line(self, index: int) -> Line:
        return pair_line(self._pairs[index], self._width)


class CompareScreen(ViewScreen[None]):
    """Two dialogues, one beside the other; n goes to the next difference."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "search_next(1)", "Next difference, or match", id="search_next"),
        Binding("N", "search_next(-1)", "Previous difference, or match", id="search_previous"),
    ]
    hints = (("search_next", "next difference"),)
    DEFAULT_CSS = """
    CompareScreen RowList { height: 1fr; }
    """

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self._pairs = comparison.pairs
        differ = sum(pair.kind != SAME for pair in self._pairs)
        self.heading = f"{comparison.heading}: {differ:,} of {len(self._pairs):,} lines differ"

    def body(self) -> Iterator[Any]:
        self.rows = RowList(placeholder="neither says anything")
        yield self.rows

    def on_mount(self) -> None:
        self.rows.focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._lay)

    def _lay(self) -> None:
        width = self.rows.scrollable_content_region.width - 1
        self.rows.show(_Pairs(self._pairs, width), cursor=self.rows.cursor)

    def action_search_next(self, way: int) -> None:
        if self.searched:
            super().action_search_next(way)
            return
        at = self.rows.cursor
        order = range(at + 1, len(self._pairs)) if way > 0 else range(at - 1, -1, -1)
        found = next((row for row in order if self._pairs[row].kind != SAME), None)
        if found is None:
            self.scope.tell("No more differences.")
        else:
            self.rows.go(found)
