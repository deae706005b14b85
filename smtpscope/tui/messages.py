"""The messages of the captures, as a mailbox: date, sender, recipients, subject, size, outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from smtpscope.display import text
from smtpscope.index.views import MESSAGES, MessageRow
from smtpscope.tui.columns import Column, ColumnList
from smtpscope.tui.listing import Listing
from smtpscope.tui.message import MessageScreen
from smtpscope.tui.pieces import Piece
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.sessionlist import people
from smtpscope.tui.words import date, octets

if TYPE_CHECKING:
    from smtpscope.tui.main import MainScreen

COLUMNS = (
    Column("number", "#", 5, priority=2, right=True),
    Column("date", "received", 19, priority=4),
    Column("from", "from", 16, 2, priority=8),
    Column("to", "to", 16, 2, priority=7, counted=True),
    Column("subject", "subject", 16, 4, priority=9),
    Column("parts", "parts", 5, priority=1, right=True),
    Column("size", "size", 9, priority=5, right=True),
    Column("outcome", "outcome", 12, priority=6),
)

_OUTCOMES = {2: "accepted", 4: "deferred", 5: "refused"}


class MessageCells:
    """The rows of the mailbox."""

    def __init__(self, listing: Listing[MessageRow], main: MainScreen) -> None:
        self._listing = listing
        self._main = main

    def __len__(self) -> int:
        return len(self._listing)

    def marked(self, index: int) -> bool:
        row = self._listing.row(index)
        return row is not None and row.session in self._main.marked

    def cells(self, index: int) -> Sequence[Piece]:
        row = self._listing.row(index)
        if row is None:
            return []
        return [
            Piece(str(row.id), "dim"),
            Piece(date(row.time, utc=self._main.time_mode == "utc"), "time"),
            Piece("-" if row.sender is None else text(row.sender, 100) or "<>"),
            Piece(people(row.recipients)),
            Piece(text(row.subject, 300) if row.subject else "(no subject)", "message"),
            Piece(str(row.parts)),
            Piece(octets(row.size)),
            _outcome(row),
        ]


def _outcome(row: MessageRow) -> Piece:
    if row.code is None:
        return Piece("no answer", "warning")
    if 0 < row.taken < row.wanted:
        return Piece(f"{row.taken}/{row.wanted} accepted", "warning")
    klass = row.code // 100
    style = f"reply{klass}" if klass in _OUTCOMES else "warning"
    return Piece(f"{row.code} {_OUTCOMES.get(klass, '')}", style)


class MessagesPane(Container):
    """The mailbox; Enter opens a message."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "message", "Message", id="message"),
        Binding("v", "session", "The session of the message", id="session"),
    ]
    DEFAULT_CSS = """
    MessagesPane > ColumnList { height: 1fr; }
    """

    def __init__(self, main: MainScreen) -> None:
        super().__init__(id="messages-pane", classes="-follows-filter -tells-times")
        self._main = main
        self.listing: Listing[MessageRow] | None = None
        self._at: int | None = None
        self._shown: tuple[str, str, bool] | None = None

    def compose(self) -> ComposeResult:
        self.list = ColumnList(COLUMNS, id="messages", placeholder="no messages")
        yield self.list

    def on_unmount(self) -> None:
        if self.listing is not None:
            self.listing.close()

    def enter(self) -> None:
        """Show it: with the filter of the sessions."""
        if self.listing is None:
            scope, index = self._main.scope, self._main.review.index
            with scope.sound_index():
                self.listing = Listing(
                    index, MESSAGES, self.call_later, self._listed, scope.rebuild
                )
                self.list.show_cells(MessageCells(self.listing, self._main))
        self.refilter()
        self.list.focus()

    def refilter(self) -> None:
        """Show the messages of the sessions that are shown."""
        if self.listing is not None:
            self.listing.show(filter=self._main.filter)

    def freshen(self) -> None:
        """Show what has been found since."""
        if (
            self.listing is not None
            and self.display
            and self.listing.grow(self._main.review.progress().changes)
        ):
            self.list.rows_changed()

    def retime(self) -> None:
        """Show times in another way."""
        self.list.rows_changed()

    def _listed(self) -> None:
        """Another list is there: the cursor stays on its message, if that is still shown."""
        listing = self.listing
        assert listing is not None
        self.list.placeholder = self._main.none("no messages")
        shown = (listing.filter.text, listing.sort, listing.descending)
        asked, self._shown = shown != self._shown, shown
        position = None
        if self._at is not None:
            with self._main.scope.sound_index():
                position = listing.position(self._at)
        self.list.sorted_by = (listing.sort, listing.descending)
        if asked:
            self.list.rows_changed()
            self.list.go(position or 0)
        else:
            self.list.keep(self.list.cursor if position is None else position)
        self._remember(self.list.cursor)

    def _remember(self, position: int) -> None:
        row = self.listing.row(position) if self.listing is not None else None
        self._at = row.id if row is not None else None

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        self._remember(event.index)

    def on_column_list_sort_wanted(self, event: ColumnList.SortWanted) -> None:
        assert self.listing is not None
        self.listing.show(sort=event.key, descending=event.descending)

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        self.action_message()

    def action_message(self) -> None:
        """Open the message at the cursor."""
        row = self.listing.row(self.list.cursor) if self.listing is not None else None
        if row is None:
            return
        with self._main.scope.sound_index():
            session = self._main.review.index.session(row.session)
            if session is not None:
                screen = MessageScreen(self._main.review, session, row.ordinal)
                self.app.push_screen(screen, self._main.from_message)

    def action_session(self) -> None:
        """Show the dialogue in which the message was sent."""
        row = self.listing.row(self.list.cursor) if self.listing is not None else None
        if row is not None:
            self._main.from_message((row.session, row.ordinal))

    def enter_at_finding(self) -> bool:
        """Go to what is wrong with the message at the cursor; whether there is a message."""
        row = self.listing.row(self.list.cursor) if self.listing is not None else None
        if row is None:
            return False
        ordinal = row.ordinal
        self._main.show_session(row.session, lambda dialogue: dialogue.finding_of_message(ordinal))
        return True
