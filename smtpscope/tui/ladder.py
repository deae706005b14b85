"""A session's dialogue as a ladder: client and server as two lines, what they say as arrows.

Rows of the transcript go in, lines of pieces come out, an arrow each and made only when asked for.
The further lines of a reply are folded into its arrow; a finding stands below the arrow that it is
about.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from textual.binding import BindingType

from smtpscope.display import text
from smtpscope.session import Session
from smtpscope.stream import Direction
from smtpscope.transcript import Row
from smtpscope.tui.bars import Bar, Item
from smtpscope.tui.pieces import SYMBOLS, Line, Piece
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.views import ViewScreen
from smtpscope.tui.words import duration

MIN_WIDTH = 40
"""Cells below which the ladder gets no narrower."""

PAUSE = 1_000_000_000
"""Nanoseconds from which on the time between two lines stands out."""

_TIME_WIDTH = 9
_LIFELINE = "│"


class Ladder:
    """The rungs of a session's `rows`, for `width` cells; `shown` are the indexes (in `rows`) of
    those that have one."""

    def __init__(self, session: Session, rows: Sequence[Row], width: int) -> None:
        self.session = session
        self.rows = rows
        self.width = width
        self.shown: list[int] = []
        self._lines: list[int] = []
        self._gaps: list[int | None] = []
        before = session.start
        for index, row in enumerate(rows):
            if row.part:
                self._lines[-1] += 1
                continue
            self.shown.append(index)
            self._lines.append(1)
            self._gaps.append(None if row.time is None else row.time - before)
            before = max(before, row.time or before)

    def __len__(self) -> int:
        return len(self.shown)

    def row(self, position: int) -> Row | None:
        """The row of the transcript that a rung is about."""
        return self.rows[self.shown[position]] if 0 <= position < len(self) else None

    def position(self, index: int) -> int:
        """The rung of a row, also of one that is folded into it."""
        return max(bisect_right(self.shown, index) - 1, 0)

    def head(self) -> Line:
        """Who is who, above the two lines."""
        inner = self._inner() + 2
        client, server = str(self.session.client), str(self.session.server)
        if cell_len(client) + cell_len(server) + 2 > inner:
            client, server = _cut(client, inner // 2 - 1), _cut(server, inner // 2 - 1)
        between = inner - cell_len(client) - cell_len(server)
        return [
            Piece(" " * _TIME_WIDTH),
            Piece(client, "head"),
            Piece(" " * between),
            Piece(server, "head"),
        ]

    def line(self, position: int) -> Line:
        """The pieces of a rung."""
        row = self.rows[self.shown[position]]
        room = self._inner()
        return [
            self._time(self._gaps[position]),
            Piece(_LIFELINE, "dim"),
            *_rung(row, self._lines[position], room),
            Piece(_LIFELINE, "dim"),
        ]

    def plain(self, position: int) -> str:
        """A rung as text, to be copied or searched."""
        return "".join(piece.text for piece in self.line(position))

    def _inner(self) -> int:
        """Cells between the two lines."""
        return max(self.width, MIN_WIDTH) - _TIME_WIDTH - 2

    def _time(self, gap: int | None) -> Piece:
        if gap is None:
            return Piece(" " * _TIME_WIDTH)
        # Pipelined: it was said before the answers to what stands above it.
        shown = duration(gap) if gap >= 0 else "earlier"
        return Piece(f"{shown:>{_TIME_WIDTH - 1}} ", "strong" if gap >= PAUSE else "time")


def _rung(row: Row, lines: int, room: int) -> Line:
    if row.finding is not None:
        severity = row.finding.severity.word
        return [Piece(_filled(f"  {SYMBOLS[severity]} {row.text}", room), severity)]
    if row.kind == "tls":
        said = _cut(row.text, room - 6)
        shaft = "═" * (room - 5 - cell_len(said))
        return [Piece(f"◀═ {said} {shaft}▶", "tls")]
    more = f" (+{lines - 1} lines)" if lines > 1 else ""
    said = _cut(row.text, room - 6 - len(more)) + more
    shaft = ("═" if row.kind == "message" else "─") * (room - 4 - cell_len(said))
    if row.direction is Direction.CLIENT:
        style = "message" if row.kind == "message" else "client"
        return [Piece(f"{shaft[:1]} ", style), Piece(said, style), Piece(f" {shaft}▶", style)]
    style = row.kind
    return [Piece(f"◀{shaft} ", style), Piece(said, style), Piece(f" {shaft[:1]}", style)]


def _filled(text: str, room: int) -> str:
    text = _cut(text, room)
    return text + " " * (room - cell_len(text))


def _cut(text: str, room: int) -> str:
    """As much of the text as there is room for, in cells."""
    if len(text) <= room // 2 or cell_len(text) <= room:
        return text
    return set_cell_size(text, room - 1).rstrip(" ") + "…"


class LadderScreen(ViewScreen[int | None]):
    """The ladder of a session; Enter leads to the line in the dialogue."""

    BINDINGS: ClassVar[list[BindingType]] = []
    hints = (("choose", "to the line"),)
    DEFAULT_CSS = """
    LadderScreen RowList { height: 1fr; }
    LadderScreen .ends { height: 1; padding-left: 1; background: $surface; }
    """

    def __init__(self, session: Session, rows: Sequence[Row], index: int) -> None:
        """`index`: the row of the dialogue at which the cursor is."""
        super().__init__()
        self._session = session
        self._rows = rows
        self._index = index
        self._ladder = Ladder(session, rows, MIN_WIDTH)
        self.heading = f"Ladder of session {session.number} of {text(session.capture, 40)}"

    def body(self) -> Iterator[Any]:
        yield Bar(classes="ends")
        self.rungs = RowList(placeholder="nothing was said")
        yield self.rungs

    def on_mount(self) -> None:
        self.rungs.focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._lay)

    def _lay(self) -> None:
        width = self.rungs.scrollable_content_region.width - 1
        self._ladder = Ladder(self._session, self._rows, width)
        self.query_one(".ends", Bar).show([Item(*piece) for piece in self._ladder.head()])
        self.rungs.show(self._ladder, cursor=self._ladder.position(self._index))

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        if event.index < len(self._ladder):
            self._index = self._ladder.shown[event.index]

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        self.action_choose()

    def action_choose(self) -> None:
        """Back to the dialogue, at this line."""
        if len(self._ladder):
            self.dismiss(self._index)
