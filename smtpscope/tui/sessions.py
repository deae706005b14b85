"""The sessions: their list, and below it the dialogue and the explanation of the selected line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from smtpscope.index.views import SESSIONS, SessionRow
from smtpscope.session import Session
from smtpscope.transcript import Row
from smtpscope.tui.background import Newest
from smtpscope.tui.columns import ColumnList
from smtpscope.tui.compare import CompareScreen, Comparison
from smtpscope.tui.dialogue import Dialogue
from smtpscope.tui.ladder import LadderScreen
from smtpscope.tui.listing import Listing
from smtpscope.tui.message import MessageScreen
from smtpscope.tui.octets import OctetsScreen
from smtpscope.tui.prompts import ConfirmScreen
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.said import Aim, Said
from smtpscope.tui.sessionlist import COLUMNS, SessionCells, Without
from smtpscope.tui.wrapped import WrappedList

if TYPE_CHECKING:
    from smtpscope.tui.main import MainScreen

IN_TIME = ("number", "start")
"""The orders in which the newest session is at one end."""

SEALED = (
    "What was said under TLS can't be read: --tls-keylog FILE or SSLKEYLOGFILE opens it, or let the"
    " client go through smtpscope proxy."
)

NARROW = 100
"""Columns of the terminal below which the explanation stands under the dialogue."""


class SessionsPane(Container):
    """The list, the dialogue, the explanation."""

    DEFAULT_CSS = """
    SessionsPane { layout: vertical; }
    SessionsPane > #sessions { height: 2fr; }
    SessionsPane > #said { height: 3fr; layout: horizontal; }
    SessionsPane.-narrow > #said { layout: vertical; height: 2fr; }
    SessionsPane.-narrow > #sessions { height: 1fr; }
    SessionsPane.-narrow #dialogue { width: 100%; height: 3fr; }
    SessionsPane.-narrow #explanation { width: 100%; height: 2fr; border-left: none; }
    SessionsPane.-full > #sessions { display: none; }
    SessionsPane.-full > #said { height: 1fr; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "message", "Message", id="message"),
        Binding("h", "bytes", "Octets and packets of the line", id="bytes"),
        Binding("l", "ladder", "Ladder", id="ladder"),
        Binding("d", "compare", "Compare with another session", id="compare"),
        Binding("space", "mark", "Mark", id="mark"),
        Binding("R", "reveal", "Reveal or hide secrets", id="reveal"),
        Binding("F", "follow", "Follow the newest", id="follow"),
    ]

    def __init__(self, main: MainScreen) -> None:
        super().__init__(id="sessions-pane")
        self.main = main
        self.said = Said(main)
        self._comparer: Newest[Comparison] = Newest(self.call_later)
        self._compared: int | None = None
        self._aim: Aim | None = None
        self._shown = ("", "number", False)
        self._seen = 0

    def compose(self) -> ComposeResult:
        columns = [each for each in COLUMNS if each.key != "capture" or self.main.several]
        self.list = ColumnList(columns, id="sessions", placeholder="no sessions yet")
        yield self.list
        yield self.said

    def on_mount(self) -> None:
        self.listing: Listing[SessionRow] = Listing(
            self.main.review.index,
            SESSIONS,
            self.call_later,
            self._listed,
            self.main.scope.rebuild,
        )
        cells = SessionCells(self.listing, self.main)
        self.list.show_cells(Without(cells, COLUMNS, self.list.columns))
        self.list.sorted_by = ("number", False)
        if self.main.review.live:
            self.tell_none()

    def on_unmount(self) -> None:
        self._comparer.close()
        self.listing.close()

    @property
    def lines(self) -> RowList:
        return self.said.lines

    @property
    def facts(self) -> WrappedList:
        return self.said.facts

    @property
    def session(self) -> Session | None:
        """The session that is shown."""
        return self.said.session

    @property
    def dialogue(self) -> Dialogue | None:
        return self.said.dialogue

    @property
    def row(self) -> SessionRow | None:
        """The session under the cursor, as it is shown."""
        return self.said.row

    @property
    def selected(self) -> Row | None:
        """The row of the dialogue on which the cursor is."""
        return self.said.selected

    def on_resize(self) -> None:
        self.set_class(self.size.width < NARROW, "-narrow")

    def enter(self) -> None:
        """Show it."""
        self.list.focus()

    # -- the list ---------------------------------------------------------------------------------

    def grow(self, changes: int = 0, *, last: bool = False) -> None:
        """Show what has been found since; rows that were there have changed so many times. As the
        `last` until nothing is `behind`."""
        if self.listing.grow(changes, last=last):
            first = self.row is None
            self.list.rows_changed()
            if first:
                self._select(self.list.cursor)
        row = self.listing.row(self.list.cursor) if changes else None
        if row is not None:
            self.said.grow(row, last=last)

    @property
    def behind(self) -> bool:
        """There is more than what is shown."""
        return self.listing.behind or self.said.behind(self.listing.row(self.list.cursor))

    @property
    def told(self) -> list[str]:
        """What came while somebody looks elsewhere, and whether the newest is followed."""
        rows, count = self.list, len(self.listing)
        way = self._newest_way()
        if not (self.main.review.live or rows.follow) or not way:
            return []
        hidden = rows.below if way > 0 else round(rows.scroll_y)
        if not hidden:
            self._seen = count
        if self._is_at_newest():
            return ["following"] if rows.follow else []
        new = min(count - self._seen, hidden)
        return [f"{new:,} new {'↓' if way > 0 else '↑'}"] if new > 0 else []

    def _newest_way(self) -> int:
        """Where the newest session is: at the end (1), at the beginning (-1), anywhere (0)."""
        if self.listing.view.sort not in IN_TIME:
            return 0
        return -1 if self.listing.view.descending else 1

    def _newest(self) -> int:
        return 0 if self._newest_way() < 0 else max(len(self.listing) - 1, 0)

    def _is_at_newest(self) -> bool:
        return self._newest_way() != 0 and self.list.cursor == self._newest()

    def tell_none(self) -> None:
        """Say why there are no sessions, where there are none."""
        if self.listing.filter.text.strip():
            said = f"no session is shown by this filter: {self.main.filter_key}, then Esc clears it"
        elif self.main.review.live and self.main.review.reading:
            where = "here" if self.main.review.serves else "on the ports of SMTP"
            said = f"no session yet: what is said {where} is shown as it comes"
        elif self.main.review.reading:
            said = "no sessions yet"
        elif self.main.review.stopped:
            said = "the reading was stopped before there was a session"
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
        listing, rows = self.listing, self.list
        shown = (listing.filter.text, listing.sort, listing.descending)
        asked, self._shown = shown != self._shown, shown
        way = self._newest_way()
        # What is asked for begins at its beginning.
        position = 0 if asked else rows.cursor
        with self.main.scope.sound_index():
            found = listing.position(self.row.id) if self.row is not None else None
            position = position if found is None else found
        at_newest = asked or (rows.cursor == 0 if way < 0 else rows.at_end)
        if rows.follow and way and at_newest:
            position = self._newest()
        self.tell_none()
        rows.sorted_by = (listing.sort, listing.descending)
        if asked:
            self._seen = len(listing)
            rows.follow = rows.follow and way != 0
            rows.rows_changed()
            rows.go(position)
        else:
            rows.keep(position)
        shown_before = self.row
        self._select(rows.cursor)
        if asked and shown_before is not None and shown_before == self.row:
            self.said.refilter()
        self.main.listed()

    def on_column_list_sort_wanted(self, event: ColumnList.SortWanted) -> None:
        self.listing.show(sort=event.key, descending=event.descending)

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        if event.rows is self.list:
            self._select(event.index)

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        if event.rows is self.list:
            self.add_class("-full")
            self.lines.focus()
        elif event.rows is self.lines:
            row = self.selected
            if row is not None and row.kind == "message":
                self.action_message()
            elif not self.said.toggle(event.index):
                self.add_class("-full")

    def back(self) -> bool:
        """One step back towards the list; whether there was one."""
        if self.has_class("-full"):
            self.remove_class("-full")
        elif self.list.has_focus:
            return False
        self.list.focus()
        return True

    def show_session(self, id: int, aim: Aim | None = None) -> bool:
        """Go to a session, and there to what is aimed at; whether it is shown. Raises
        `DamagedError`."""
        position = self.listing.position(id)
        if position is None:
            return False
        self._go(position, aim)
        return True

    def _go(self, position: int, aim: Aim | None) -> None:
        self._aim = aim
        if self.list.cursor == position:
            self._select(position)
        self.list.go(position)

    def _select(self, position: int) -> None:
        aim, self._aim = self._aim, None
        self.said.show(self.listing.row(position), aim)

    def retime(self) -> None:
        """Show times in another way."""
        self.said.retime()
        self.list.rows_changed()

    def next_finding(self, way: int) -> None:
        """Go to the next (1) or previous (-1) finding: in this session, or in another one."""
        if not self.said.next_finding(way):
            self.main.next_session_with_finding(way)

    def enter_at_finding(self, position: int, way: int) -> None:
        """Go to a session, and to its first (1) or last (-1) finding."""

        def finding(dialogue: Dialogue) -> int:
            return dialogue.next_finding(-1 if way > 0 else len(dialogue), way) or 0

        self._go(position, finding)

    # -- what can be done with a session ----------------------------------------------------------

    def action_follow(self) -> None:
        """Stay at the newest session; there already, no more."""
        rows = self.list
        rows.follow = not (rows.follow and self._is_at_newest())
        if rows.follow and self._newest_way():
            rows.go(self._newest())
        elif rows.follow:
            self.listing.show(sort="number", descending=False)
        self.main.scope.tell("Following the newest session." if rows.follow else "Not following.")
        self.main.tell_filter()

    def action_mark(self) -> None:
        row = self.row
        if row is None:
            return
        self.main.marked ^= {row.id}
        self.list.rows_changed()
        self.list.action_move(1)
        self.main.tell_filter()

    def action_message(self) -> None:
        """Open the message of the selected line, or the first one of the session."""
        session, row = self.session, self.row
        if session is None or row is None:
            return
        ordinal = _message_at(self)
        if ordinal is None:
            tls = session.tls
            sealed = tls is not None and tls.established and not tls.decrypted
            self.main.scope.tell(SEALED if sealed else "This session has no message.")
            return
        self.app.push_screen(MessageScreen(self.main.review, row, ordinal), self.main.from_message)

    def action_bytes(self) -> None:
        line, row = self.selected, self.row
        if line is not None and line.kind == "tls":
            self.main.scope.tell("The octets of TLS are not kept: only what was said under it is.")
            return
        if row is None or line is None or line.span is None or self.session is None:
            self.main.scope.tell("Select a line of a dialogue first.")
            return
        self.app.push_screen(
            OctetsScreen(self.main.review, row, self.session, line, self.main.reveal)
        )

    def action_ladder(self) -> None:
        dialogue = self.dialogue
        if dialogue is not None:
            index = dialogue.shown[self.lines.cursor] if len(dialogue) else 0
            self.app.push_screen(
                LadderScreen(dialogue.session, dialogue.rows, index), self._from_ladder
            )

    def _from_ladder(self, index: int | None) -> None:
        dialogue = self.dialogue
        if index is not None and dialogue is not None:
            self.lines.go(dialogue.position(index))
            self.lines.focus()

    def action_compare(self) -> None:
        """Show the two that are marked side by side; else remember a session, and with the second
        one show both."""
        row, marked = self.row, sorted(self.main.marked)
        if len(marked) == 2:
            self._compare(*marked)
        elif row is not None and self._compared in (None, row.id):
            self._compared = row.id
            self.main.scope.tell(f"Session {row.number} is remembered; press d on another one.")
        elif row is not None and self._compared is not None:
            compared, self._compared = self._compared, None
            self._compare(compared, row.id)

    def _compare(self, *ids: int) -> None:
        rows: list[SessionRow] = []
        with self.main.scope.sound_index():
            found = map(self.main.review.index.session, ids)
            rows = [row for row in found if row is not None]
        review, reveal = self.main.review, self.main.reveal

        def job(cancelled: Callable[[], bool]) -> Comparison:
            left, right = (review.details(row, cancelled).session() for row in rows)
            return Comparison.of(left, right, reveal=reveal)

        def done(comparison: Comparison) -> None:
            self.app.push_screen(CompareScreen(comparison))

        if len(rows) == len(ids):
            self._comparer.run(job, done, self.main.scope.failed)

    def action_reveal(self) -> None:
        def confirmed(sure: bool | None) -> None:
            if sure:
                self._reveal(True)

        if self.main.reveal:
            self._reveal(False)
            self.main.scope.tell("Secrets are hidden.")
        else:
            question = "Show passwords and tokens on this screen, until R is pressed again?"
            self.app.push_screen(ConfirmScreen(question, "Show them"), confirmed)

    def _reveal(self, reveal: bool) -> None:
        self.main.reveal = reveal
        self.said.reload()
        self.main.tell_filter()


def _message_at(pane: SessionsPane) -> int | None:
    """The transaction whose message the selected line is of, or else the first with a message."""
    session, row = pane.session, pane.selected
    assert session is not None
    content = None
    if row is not None and row.exchange < len(session.exchanges):
        content = session.exchanges[row.exchange].content
    with_message = [
        (ordinal, each.content)
        for ordinal, each in enumerate(session.transactions)
        if each.content is not None
    ]
    for ordinal, each in with_message:
        if each is content:
            return ordinal
    return with_message[0][0] if with_message else None
