"""The sessions: their list, and below it the dialogue and the explanation of the selected line."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content

from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.explanation import explain, title
from smtpscope.index.views import SESSIONS, DamagedError, SessionRow
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
from smtpscope.tui.paint import steady
from smtpscope.tui.prompts import ConfirmScreen
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.sessionlist import COLUMNS, SessionCells, Without
from smtpscope.tui.wrapped import WrappedList, fact_lines

if TYPE_CHECKING:
    from smtpscope.tui.main import MainScreen

SHARE = 5
"""A session that grows is decoded again after so many times what it took last."""

NARROW = 100
"""Columns of the terminal below which the explanation stands under the dialogue."""


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
        self.session: Session | None = None
        self.row: SessionRow | None = None
        self.dialogue: Dialogue | None = None
        self._loader: Newest[Dialogue] = Newest(self.call_later)
        self._comparer: Newest[Comparison] = Newest(self.call_later)
        self._compared: int | None = None
        self._due = 0.0
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
        self.list.show_cells(Without(cells, COLUMNS, self.list.columns))
        self.list.sorted_by = ("number", False)

    def on_unmount(self) -> None:
        self._loader.close()
        self._comparer.close()
        self.listing.close()

    def on_resize(self) -> None:
        self.set_class(self.size.width < NARROW, "-narrow")

    def enter(self) -> None:
        """Show it."""
        self.list.focus()

    # -- the list ---------------------------------------------------------------------------------

    def grow(self, changes: int = 0) -> None:
        """Show what has been found since; rows that were there have changed so many times."""
        if self.listing.grow(changes):
            first = self.row is None
            self.list.rows_changed()
            if first:
                self._select(self.list.cursor)
        if changes:
            self._grow_dialogue()

    def _grow_dialogue(self) -> None:
        """Show more of the session under the cursor, where there is more."""
        row = self.listing.row(self.list.cursor)
        if row is None or self.row is None or row == self.row or row.id != self.row.id:
            return
        began = time.monotonic()
        if self._loader.busy or began < self._due:
            return
        self.row = row
        review, reveal = self.main.review, self.main.reveal

        def done(dialogue: Dialogue) -> None:
            now = time.monotonic()
            self._due = now + SHARE * (now - began)
            before, cursor = self.dialogue, self.lines.cursor
            if before is not None:
                dialogue.take_folds(before)
                # Who reads the end sees what comes.
                if len(before) and cursor == len(before) - 1:
                    cursor = len(dialogue) - 1
            self._put(dialogue, cursor)

        self._loader.run(
            lambda cancelled: Dialogue(review.details(row, cancelled).session(), reveal=reveal),
            done,
            self._failed,
        )

    def tell_none(self) -> None:
        """Say why there are no sessions, where there are none."""
        if self.listing.filter.text.strip():
            said = "no session is shown by this filter: f, then Esc clears it"
        elif self.main.review.live and self.main.review.reading:
            said = "no session yet: what is said on the ports of SMTP is shown as it comes"
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
                self.action_message()
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
        self.lines.border_title = Content(steady(f"Session {session.number}{of}"))
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
        self.facts.border_title = Content(steady(title(self.session, row)))
        facts = explain(self.session, row, reveal=self.main.reveal)
        self.facts.show_wrapped(partial(fact_lines, facts))

    # -- what can be done with a session ----------------------------------------------------------

    def action_follow(self) -> None:
        rows = self.list
        rows.follow = not rows.follow
        if rows.follow:
            rows.action_bottom()
        self.main.scope.tell("Following the newest session." if rows.follow else "Not following.")

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
            self.main.scope.tell("This session has no message.")
            return
        self.app.push_screen(MessageScreen(self.main.review, row, ordinal), self.main.from_message)

    def action_bytes(self) -> None:
        line, row = self.selected, self.row
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
        """Remember a session; with the second one show both side by side."""
        row = self.row
        if row is None:
            return
        if self._compared is None or self._compared == row.id:
            self._compared = row.id
            self.main.scope.tell(f"Session {row.number} is remembered; press d on another one.")
            return
        other, compared, self._compared = None, self._compared, None
        with self.main.scope.sound_index():
            other = self.main.review.index.session(compared)
        if other is None:
            return
        review, reveal = self.main.review, self.main.reveal

        def job(cancelled: Callable[[], bool]) -> Comparison:
            sessions = [review.details(each, cancelled).session() for each in (other, row)]
            return Comparison.of(*sessions, reveal=reveal)

        def done(comparison: Comparison) -> None:
            self.app.push_screen(CompareScreen(comparison))

        self._comparer.run(job, done, self.main.scope.failed)

    def action_reveal(self) -> None:
        def confirmed(sure: bool | None) -> None:
            if sure:
                self.main.reveal = True
                self.reload()

        if self.main.reveal:
            self.main.reveal = False
            self.reload()
            self.main.scope.tell("Secrets are hidden.")
        else:
            question = "Show passwords and tokens on this screen, until R is pressed again?"
            self.app.push_screen(ConfirmScreen(question, "Show them"), confirmed)


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
