"""What was said in the selected session: its dialogue, and the explanation of the selected line.

A session that goes on is decoded again as it grows; whoever reads it stays on the same line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Container
from textual.content import Content

from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.explanation import Fact, explain, title
from smtpscope.index.views import DamagedError, SessionRow
from smtpscope.session import Session
from smtpscope.transcript import Row
from smtpscope.tui.background import Job, Newest
from smtpscope.tui.dialogue import Dialogue
from smtpscope.tui.paint import steady
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.wrapped import WrappedList, fact_lines

if TYPE_CHECKING:
    from smtpscope.tui.main import MainScreen

Aim = Callable[[Dialogue], int]
"""Where somebody wants to be in a dialogue, as a position in it."""

CONTEXT = 3
"""Lines of a dialogue that are seen before and behind the selected one."""

SHARE = 5
"""A session that grows is decoded again after so many times what it took last."""


class Said(Container):
    """The dialogue and the explanation of one session."""

    DEFAULT_CSS = """
    Said > #dialogue {
        width: 3fr; height: 100%; border-top: solid $panel; border-title-color: $scope-dim;
    }
    Said > #explanation {
        width: 2fr; height: 100%; border-top: solid $panel; border-title-color: $scope-dim;
        border-left: solid $panel;
    }
    Said > #dialogue:focus, Said > #explanation:focus { border-title-color: $scope-accent; }
    """

    def __init__(self, main: MainScreen) -> None:
        super().__init__(id="said")
        self.session: Session | None = None
        self.dialogue: Dialogue | None = None
        self.row: SessionRow | None = None
        self._main = main
        self._loader: Newest[Dialogue] = Newest(self.call_later)
        self._went_on = False
        self._due = 0.0
        self._aim: Aim | None = None
        self._explained: tuple[str, list[Fact]] | None = None

    def compose(self) -> ComposeResult:
        self.lines = RowList(id="dialogue", context=CONTEXT)
        self.facts = WrappedList(id="explanation", beside=True)
        self.lines.border_title = "Dialogue"
        self.facts.border_title = "Explanation"
        yield self.lines
        yield self.facts

    def on_unmount(self) -> None:
        self._loader.close()

    # -- which session ----------------------------------------------------------------------------

    def show(self, row: SessionRow | None, aim: Aim | None = None) -> None:
        """Show a session, and one that is shown as far as it has come; with an `aim` go there."""
        before = self.row
        if row is None:
            self.row = None
            self._loader.cancel()
            self._clear()
        elif before is None or before.id != row.id or aim is not None or self._is_bare:
            self.row = row
            self._aim = aim
            self._load(row)
        else:
            self.grow(row)

    @property
    def _is_bare(self) -> bool:
        """Nothing is shown, nor asked for."""
        return self.dialogue is None and not self._loader.busy

    def _load(self, row: SessionRow) -> None:
        self._went_on = self._main.review.reading
        self._loader.run(self._decoding(row), self._put, self._failed)

    def _decoding(self, row: SessionRow) -> Job[Dialogue]:
        review, reveal, filter = self._main.review, self._main.reveal, self._main.filter

        def job(cancelled: Callable[[], bool]) -> Dialogue:
            session = review.details(row, cancelled).session()
            return Dialogue(session, reveal=reveal, filter=filter)

        return job

    def refilter(self) -> None:
        """Go to what another filter asks for."""
        if self.dialogue is not None:
            self.dialogue.ask(self._main.filter)
            self.lines.go(self.dialogue.position(self.dialogue.opens_at))

    def behind(self, row: SessionRow | None) -> bool:
        """Whether a row says more of the session than what is shown."""
        return self._loader.busy or self._has_more(row)

    def _has_more(self, row: SessionRow | None) -> bool:
        shown = self.row
        if row is None or shown is None or row.id != shown.id:
            return False
        # What goes on when nothing more comes has ended.
        ended = row.state == "open" and self._went_on and not self._main.review.reading
        return row != shown or (ended and self._main.review.live)

    def grow(self, row: SessionRow, *, last: bool = False) -> None:
        """Show more of the session, where there is more; not too often but for the `last` time."""
        if not self._has_more(row) or self._loader.busy:
            return
        began = time.monotonic()
        if began < self._due and not last:
            return
        self.row = row
        self._went_on = self._main.review.reading

        def done(dialogue: Dialogue) -> None:
            now = time.monotonic()
            self._due = now + SHARE * (now - began)
            before = self.dialogue
            if before is None:
                self._put(dialogue)
                return
            dialogue.mode = self._main.time_mode
            dialogue.take_folds(before)
            cursor, opened = self.lines.cursor, before.position(before.opens_at)
            self.session, self.dialogue = dialogue.session, dialogue
            self.lines.source = dialogue
            self.lines.keep(dialogue.same_line(before, cursor))
            if cursor == opened and before.opens_at != dialogue.opens_at and not self._is_read:
                # Nobody reads it yet, and now there is something that broke the mail.
                self.lines.go(dialogue.position(dialogue.opens_at))
            self.explain()

        self._loader.run(self._decoding(row), done, self._failed)

    @property
    def _is_read(self) -> bool:
        return self.lines.has_focus or self.facts.has_focus

    # -- what is shown ----------------------------------------------------------------------------

    def reload(self) -> None:
        """Lay the dialogue out anew, with or without secrets."""
        session, reveal, cursor = self.session, self._main.reveal, self.lines.cursor
        filter = self._main.filter
        if session is not None:
            self._loader.run(
                lambda cancelled: Dialogue(session, reveal=reveal, filter=filter),
                lambda dialogue: self._put(dialogue, cursor),
                self._failed,
            )

    def retime(self) -> None:
        """Show times in another way."""
        if self.dialogue is not None:
            self.dialogue.mode = self._main.time_mode
            self.lines.rows_changed()

    def _failed(self, error: SmtpscopeError) -> None:
        if isinstance(error, DamagedError):
            self._main.scope.rebuild()
        else:
            self._clear(text(str(error), 500))

    def _clear(self, problem: str = "") -> None:
        self.session = self.dialogue = None
        self._explained = None
        self.lines.border_title = Content("Dialogue")
        self.facts.border_title = Content("Explanation")
        self.lines.tell(problem)
        self.facts.tell("")

    def _put(self, dialogue: Dialogue, cursor: int | None = None) -> None:
        main, session = self._main, dialogue.session
        dialogue.mode = main.time_mode
        self.session, self.dialogue = session, dialogue
        aim, self._aim = self._aim, None
        if aim is not None:
            cursor = aim(dialogue)
        elif cursor is None:
            cursor = dialogue.position(dialogue.opens_at)
        self.lines.placeholder = "nothing was said"
        of = f" of {text(session.capture, 60)}" if main.several else ""
        self.lines.border_title = Content(steady(f"Session {session.number}{of}"))
        self.lines.show(dialogue, cursor=cursor)
        if aim is not None:
            self.lines.focus()
        self._explained = None
        self.explain()

    @property
    def selected(self) -> Row | None:
        """The row of the dialogue on which the cursor is."""
        return self.dialogue.row(self.lines.cursor) if self.dialogue is not None else None

    def next_finding(self, way: int) -> bool:
        """Go to the next (1) or previous (-1) finding of the session; whether there is one."""
        if self.dialogue is None:
            return False
        # Who comes from the list has seen none yet.
        here = self.lines.cursor if self.lines.has_focus else -1 if way > 0 else 0
        found = self.dialogue.next_finding(here, way)
        if found is None:
            return False
        self.lines.go(found)
        self.lines.focus()
        return True

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        event.stop()
        if event.rows is self.lines:
            self.explain()

    def toggle(self, position: int) -> bool:
        """Fold or unfold a reply; whether there is one to fold."""
        if self.dialogue is None or not self.dialogue.toggle(position):
            return False
        self.lines.rows_changed()
        self.explain()
        return True

    def explain(self) -> None:
        """Explain the selected line."""
        row = self.selected
        if row is None or self.session is None:
            self._explained = None
            self.facts.tell("")
            return
        name = title(self.session, row)
        facts = list(explain(self.session, row, reveal=self._main.reveal))
        if self._explained == (name, facts):
            # Whoever reads it stays where they are.
            return
        self._explained = (name, facts)
        self.facts.border_title = Content(steady(name))
        self.facts.show_wrapped(partial(fact_lines, facts))
