"""The sessions: their list, and below it the dialogue and the explanation of the selected line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content

from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.explanation import explain, title
from smtpscope.index.views import SESSIONS, DamagedError, SessionRow
from smtpscope.session import Session, Severity
from smtpscope.stream import Endpoint
from smtpscope.transcript import Row
from smtpscope.tui.background import Newest
from smtpscope.tui.columns import Column, ColumnList
from smtpscope.tui.dialogue import Dialogue
from smtpscope.tui.listing import Listing
from smtpscope.tui.pieces import SYMBOLS, Piece
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.words import clock, duration
from smtpscope.tui.wrapped import WrappedList, fact_lines

if TYPE_CHECKING:
    from smtpscope.tui.main import MainScreen

MAX_SHOWN = 100
"""Characters of one value in the list."""
NARROW = 100
"""Columns of the terminal below which the explanation stands under the dialogue."""

COLUMNS = (
    Column("number", "#", 5, priority=10, right=True),
    Column("capture", "capture", 10, 1, priority=4),
    Column("start", "start", 12, priority=5),
    Column("client", "client", 15, 1, priority=7),
    Column("server", "server", 14, 1, priority=3),
    Column("from", "from", 12, 2, priority=6),
    Column("to", "to", 12, 2, priority=6),
    Column("messages", "msgs", 4, priority=2, right=True),
    Column("last", "last", 9, priority=9),
    Column("tls", "tls", 5, priority=4),
    Column("duration", "time", 7, priority=5, right=True),
    Column("severity", "!", 4, priority=9),
)


class SessionCells:
    """The rows of the list of sessions."""

    def __init__(self, listing: Listing[SessionRow], main: MainScreen) -> None:
        self._listing = listing
        self._main = main

    def __len__(self) -> int:
        return len(self._listing)

    def marked(self, index: int) -> bool:
        row = self._listing.row(index)
        return row is not None and row.id in self._main.marked

    def cells(self, index: int) -> Sequence[Piece]:
        row = self._listing.row(index)
        if row is None:
            return []
        last = f"{row.last} {row.last_enhanced or ''}".rstrip() if row.last is not None else "-"
        word = Severity(row.severity).word if row.severity > 0 else ""
        return [
            Piece(str(row.number), "dim"),
            Piece(text(self._main.review.names[row.capture], MAX_SHOWN), "dim"),
            Piece(clock(row.start, utc=self._main.time_mode == "utc"), "time"),
            Piece(str(Endpoint(row.client, row.client_port))),
            Piece(str(Endpoint(row.server, row.port))),
            Piece(people(row.senders, "<>")),
            Piece(people(row.recipients)),
            Piece(str(row.messages)),
            Piece(last, f"reply{row.last // 100}" if row.last and row.last >= 400 else ""),
            _tls(row),
            Piece(duration(row.duration)),
            Piece(f"{SYMBOLS[word]}{row.findings}" if word else "", word),
        ]


def people(listed: str, nobody: str = "") -> str:
    """Addresses of an index, shortened: the first one and how many more."""
    found = json.loads(listed)
    if not found:
        return ""
    first = text(found[0], MAX_SHOWN) or nobody
    return f"{first} +{len(found) - 1}" if len(found) > 1 else first


def _tls(row: SessionRow) -> Piece:
    if row.tls is None:
        return Piece("-", "dim")
    version = (row.tls_version or "").removeprefix("TLSv").removeprefix("TLS ")
    return Piece(text(version, 8) or "yes", "tls")


class SessionsPane(Container):
    """The list, the dialogue, the explanation."""

    DEFAULT_CSS = """
    SessionsPane { layout: vertical; }
    SessionsPane > #sessions { height: 2fr; }
    SessionsPane > #said { height: 3fr; layout: horizontal; }
    SessionsPane #dialogue {
        width: 3fr; height: 100%; border-top: solid $panel; border-title-color: $scope-dim;
    }
    SessionsPane #explanation {
        width: 2fr; height: 100%; border-top: solid $panel; border-title-color: $scope-dim;
        border-left: solid $panel;
    }
    SessionsPane #dialogue:focus, SessionsPane #explanation:focus {
        border-title-color: $scope-accent;
    }
    SessionsPane.-narrow > #said { layout: vertical; height: 2fr; }
    SessionsPane.-narrow > #sessions { height: 1fr; }
    SessionsPane.-narrow #dialogue { width: 100%; height: 3fr; }
    SessionsPane.-narrow #explanation { width: 100%; height: 2fr; border-left: none; }
    SessionsPane.-full > #sessions { display: none; }
    SessionsPane.-full > #said { height: 1fr; }
    """

    def __init__(self, main: MainScreen) -> None:
        super().__init__(id="sessions-pane")
        self.main = main
        self.session: Session | None = None
        self.row: SessionRow | None = None
        self.dialogue: Dialogue | None = None
        self._loader: Newest[Dialogue] = Newest(self.call_later)
        self._entering = 0

    def compose(self) -> ComposeResult:
        columns = [each for each in COLUMNS if each.key != "capture" or self.main.several]
        self.list = ColumnList(columns, id="sessions", placeholder="no sessions yet")
        self.lines = RowList(id="dialogue")
        self.facts = WrappedList(id="explanation", beside=True)
        self.lines.border_title = "Dialogue"
        self.facts.border_title = "Explanation"
        yield self.list
        with Container(id="said"):
            yield self.lines
            yield self.facts

    def on_mount(self) -> None:
        self.listing: Listing[SessionRow] = Listing(
            self.main.review.index,
            SESSIONS,
            self.call_later,
            self._listed,
            self.main.scope.rebuild,
        )
        cells = SessionCells(self.listing, self.main)
        self.list.show_cells(_Without(cells, COLUMNS, self.list.columns))
        self.list.sorted_by = ("number", False)

    def on_unmount(self) -> None:
        self._loader.close()
        self.listing.close()

    def on_resize(self) -> None:
        self.set_class(self.size.width < NARROW, "-narrow")

    # -- the list ---------------------------------------------------------------------------------

    def grow(self) -> None:
        """Show what has been found since."""
        if self.listing.grow():
            first = self.row is None
            self.list.rows_changed()
            if first:
                self._select(self.list.cursor)

    def tell_none(self) -> None:
        """Say why there are no sessions, where there are none."""
        if self.listing.filter.text.strip():
            said = "no session is shown by this filter: f, then Esc clears it"
        elif self.main.review.reading:
            said = "no sessions yet"
        else:
            said = (
                "no SMTP session was found: on which port was it? --port names others than 25,"
                " 465, 587, 1025 and 2525"
            )
        if said != self.list.placeholder:
            self.list.placeholder = said
            self.list.rows_changed()

    def _listed(self) -> None:
        """Another list is there: the cursor stays on its session, if that is still shown."""
        position = None
        if self.row is not None:
            with self.main.scope.sound_index():
                position = self.listing.position(self.row.id)
        self.tell_none()
        self.list.sorted_by = (self.listing.sort, self.listing.descending)
        self.list.rows_changed()
        self.list.go(position or 0)
        self._select(self.list.cursor)
        self.main.listed()

    def on_column_list_sort_wanted(self, event: ColumnList.SortWanted) -> None:
        self.listing.show(sort=event.key, descending=event.descending)

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        if event.rows is self.list:
            self._select(event.index)
        elif event.rows is self.lines:
            self._explain()

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        if event.rows is self.list:
            self.add_class("-full")
            self.lines.focus()
        elif event.rows is self.lines and self.dialogue is not None:
            row = self.dialogue.row(event.index)
            if row is not None and row.kind == "message":
                self.main.action_message()
            elif self.dialogue.toggle(event.index):
                self.lines.rows_changed()
                self._explain()

    def back(self) -> bool:
        """One step back towards the list; whether there was one."""
        if self.has_class("-full"):
            self.remove_class("-full")
        elif self.list.has_focus:
            return False
        self.list.focus()
        return True

    def show_session(self, id: int) -> bool:
        """Go to a session; whether it is shown. Raises `DamagedError`."""
        position = self.listing.position(id)
        if position is None:
            return False
        if self.list.cursor == position:
            self._select(position)
        self.list.go(position)
        return True

    # -- the dialogue -----------------------------------------------------------------------------

    def _select(self, position: int) -> None:
        row = self.listing.row(position)
        self.row = row
        if row is None:
            self._loader.cancel()
            self._clear()
            return
        review, reveal = self.main.review, self.main.reveal
        self._loader.run(
            lambda cancelled: Dialogue(review.details(row, cancelled).session(), reveal=reveal),
            self._put,
            self._failed,
        )

    def reload(self) -> None:
        """Lay the dialogue out anew, with or without secrets."""
        session, reveal, cursor = self.session, self.main.reveal, self.lines.cursor
        if session is not None:
            self._loader.run(
                lambda cancelled: Dialogue(session, reveal=reveal),
                lambda dialogue: self._put(dialogue, cursor),
                self._failed,
            )

    def retime(self) -> None:
        """Show times in another way."""
        if self.dialogue is not None:
            self.dialogue.mode = self.main.time_mode
            self.lines.rows_changed()
        self.list.rows_changed()

    def _failed(self, error: SmtpscopeError) -> None:
        if isinstance(error, DamagedError):
            self.main.scope.rebuild()
        else:
            self._clear(text(str(error), 500))

    def _clear(self, problem: str = "") -> None:
        self.session = self.dialogue = None
        self.lines.border_title = Content("Dialogue")
        self.facts.border_title = Content("Explanation")
        self.lines.tell(problem)
        self.facts.tell("")

    def _put(self, dialogue: Dialogue, cursor: int = 0) -> None:
        main, session = self.main, dialogue.session
        dialogue.mode = main.time_mode
        self.session, self.dialogue = session, dialogue
        entering, self._entering = self._entering, 0
        if entering:
            start = -1 if entering > 0 else len(dialogue)
            cursor = dialogue.next_finding(start, entering) or 0
        self.lines.placeholder = "nothing was said"
        of = f" of {text(session.capture, 60)}" if main.several else ""
        self.lines.border_title = Content(f"Session {session.number}{of}")
        self.lines.show(dialogue, cursor=cursor)
        if entering:
            self.lines.focus()
        self._explain()

    @property
    def selected(self) -> Row | None:
        """The row of the dialogue on which the cursor is."""
        return self.dialogue.row(self.lines.cursor) if self.dialogue is not None else None

    def next_finding(self, way: int) -> None:
        """Go to the next (1) or previous (-1) finding: in this session, or in another one."""
        if self.dialogue is not None:
            found = self.dialogue.next_finding(
                self.lines.cursor if self.lines.has_focus or way > 0 else 0, way
            )
            if found is not None:
                self.lines.go(found)
                self.lines.focus()
                return
        self.main.next_session_with_finding(way)

    def enter_at_finding(self, position: int, way: int) -> None:
        """Go to another session, and to its first (1) or last (-1) finding."""
        self._entering = way
        self.list.go(position)

    def _explain(self) -> None:
        row = self.selected
        if row is None or self.session is None:
            self.facts.tell("")
            return
        self.facts.border_title = Content(title(self.session, row))
        facts = explain(self.session, row, reveal=self.main.reveal)
        self.facts.show_wrapped(partial(fact_lines, facts))


class _Without:
    """Cells of fewer columns than there could be."""

    def __init__(
        self, cells: SessionCells, every: Sequence[Column], kept: Sequence[Column]
    ) -> None:
        self._cells = cells
        self._kept = [index for index, column in enumerate(every) if column in kept]

    def __len__(self) -> int:
        return len(self._cells)

    def marked(self, index: int) -> bool:
        return self._cells.marked(index)

    def cells(self, index: int) -> Sequence[Piece]:
        cells = self._cells.cells(index)
        return [cells[each] for each in self._kept] if cells else []
