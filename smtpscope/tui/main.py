"""The main screen: title, filter, five views of the same captures, keys.

It asks the index for news fifteen times a second while captures are read, and nothing is pushed
to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Static

from smtpscope.display import text
from smtpscope.filters import parse
from smtpscope.index.views import View
from smtpscope.review import Review
from smtpscope.tui.background import Newest
from smtpscope.tui.bars import Bar, Item, hint
from smtpscope.tui.compare import CompareScreen, Comparison
from smtpscope.tui.dialogue import TIME_MODES
from smtpscope.tui.exporting import ExportScreen
from smtpscope.tui.filterbar import FilterBar
from smtpscope.tui.findings import FindingsPane
from smtpscope.tui.ladder import LadderScreen
from smtpscope.tui.message import MessageScreen
from smtpscope.tui.messages import MessagesPane
from smtpscope.tui.octets import OctetsScreen
from smtpscope.tui.pieces import SYMBOLS
from smtpscope.tui.prompts import AskScreen, ConfirmScreen
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.sessions import SessionsPane
from smtpscope.tui.statistics import StatisticsPane
from smtpscope.tui.table import TablePane
from smtpscope.tui.views import row_text, search_rows
from smtpscope.tui.words import amount, left, octets

if TYPE_CHECKING:
    from smtpscope.tui.app import ScopeApp

RATE = 15
"""How often a second the index is asked for news while captures are read."""
FIGURES = 1.0
"""Seconds from one count of what is wrong to the next."""
SMALLEST = (60, 16)
"""Columns and lines below which nothing useful fits."""

TABS = (
    ("sessions-pane", "Sessions"),
    ("messages-pane", "Messages"),
    ("findings-pane", "Findings"),
    ("statistics-pane", "Statistics"),
    ("table-pane", "Table"),
)
MESSAGES, TABLE = 1, 4
OF_SESSIONS = ("bytes", "ladder", "compare", "mark", "follow", "reveal")
"""What can be done where sessions are shown."""
OF_MESSAGES = ("message",)
"""The same for what messages have, too."""
HINTS = (
    ("/", "search", "screen.search"),
    ("f", "filter", "screen.filter"),
    ("e", "next finding", "screen.finding(1)"),
    ("m", "message", "screen.message"),
    ("h", "bytes", "screen.bytes"),
    ("x", "export", "screen.export"),
    ("l", "ladder", "screen.ladder"),
)


class MainScreen(Screen[None]):
    """Captures under review."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "tab(0)", "Sessions", id="sessions", show=False),
        Binding("2", "tab(1)", "Messages", id="messages", show=False),
        Binding("3", "tab(2)", "Findings", id="findings", show=False),
        Binding("4", "tab(3)", "Statistics", id="statistics", show=False),
        Binding("5", "tab(4)", "Table", id="table", show=False),
        Binding("f", "filter", "Filter", id="filter"),
        Binding("slash", "search", "Search in what is shown", id="search"),
        Binding("n", "search_next(1)", "Next match", id="search_next"),
        Binding("N", "search_next(-1)", "Previous match", id="search_previous"),
        Binding("e", "finding(1)", "Next finding", id="finding_next"),
        Binding("E", "finding(-1)", "Previous finding", id="finding_previous"),
        Binding("m", "message", "Message", id="message"),
        Binding("h", "bytes", "Octets and packets of the line", id="bytes"),
        Binding("l", "ladder", "Ladder", id="ladder"),
        Binding("d", "compare", "Compare with another session", id="compare"),
        Binding("t", "time", "Time: relative, delta, clock, UTC", id="time"),
        Binding("space", "mark", "Mark", id="mark"),
        Binding("x", "export", "Export", id="export"),
        Binding("y", "copy", "Copy the line", id="copy"),
        Binding("R", "reveal", "Reveal or hide secrets", id="reveal"),
        Binding("F", "follow", "Follow the newest", id="follow"),
        Binding("escape", "back", "Back; stop reading", id="back"),
    ]

    DEFAULT_CSS = """
    MainScreen { layout: vertical; layers: base cover; }
    MainScreen > ContentSwitcher { height: 1fr; }
    MainScreen > .cover {
        layer: cover; width: 100%; height: 100%; display: none; background: $surface;
        content-align: center middle; text-align: center;
    }
    MainScreen.-small > .cover { display: block; }
    """

    def __init__(self, review: Review, *, filter: str = "", reveal: bool = False) -> None:
        super().__init__()
        self.review = review
        self.several = len(review.captures) > 1
        self.marked: set[int] = set()
        self.reveal = reveal
        self._first_filter = filter
        self.time_mode = TIME_MODES[0]
        self.searched = ""
        self._compared: int | None = None
        self._worst = 0
        self._figures: Newest[int] = Newest(self.call_later)
        self._searcher: Newest[int | None] = Newest(self.call_later)
        self._comparer: Newest[Comparison] = Newest(self.call_later)
        self._told: set[str] = set()
        self._wanted: int | None = None

    @property
    def scope(self) -> ScopeApp:
        return cast("ScopeApp", self.app)

    def compose(self) -> ComposeResult:
        self.sessions = SessionsPane(self)
        self.messages = MessagesPane(self)
        self.table = TablePane()
        yield Bar(id="title", fixed=3)
        yield FilterBar()
        with ContentSwitcher(initial=TABS[0][0]):
            yield self.sessions
            yield self.messages
            yield FindingsPane(self)
            yield StatisticsPane(self)
            yield self.table
        yield Bar(id="keys", fixed=len(TABS))
        yield Static(classes="cover")

    def on_mount(self) -> None:
        bar = self.query_one(FilterBar)
        bar.history = list(self.scope.memory.filters)
        self.time_mode = self.scope.configuration.time
        if self._first_filter:
            bar.put(self._first_filter)
        self.sessions.list.focus()
        self._clock = self.set_interval(1 / RATE, self.news)
        self._counter = self.set_interval(FIGURES, self._count)
        self._keys()
        for problem in self.review.problems:
            self.scope.tell(problem, "warning")
        self.news()
        self._count()

    def on_unmount(self) -> None:
        self._figures.close()
        self._searcher.close()
        self._comparer.close()

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        small = width < SMALLEST[0] or height < SMALLEST[1]
        self.set_class(small, "-small")
        if small:
            self.query_one(".cover", Static).update(
                Content(
                    f"The terminal has {width}×{height}.\n"
                    f"Make it {SMALLEST[0]}×{SMALLEST[1]} at least."
                )
            )

    # -- news -------------------------------------------------------------------------------------

    def news(self) -> None:
        """Show what has been read since."""
        with self.scope.sound_index():
            reading = self.review.reading
            self.sessions.grow()
            self._title(reading)
            if not reading:
                self.sessions.tell_none()
                self._clock.stop()
                self._counter.stop()
                self._count()
                self._finish()

    def _finish(self) -> None:
        failure = self.review.failure()
        for problem in (*([failure] if failure else []), *self.review.notes()):
            if problem not in self._told:
                self._told.add(problem)
                self.scope.tell(problem, "warning")
        for pane in self.query(".-follows-filter"):
            pane.refilter()  # type: ignore[attr-defined]

    def _title(self, reading: bool) -> None:
        progress = self.review.progress()
        names = self.review.names
        name = text(names[0], 60) if len(names) == 1 else f"{len(names)} captures"
        shown = [Item(" smtpscope ", "head"), Item("▸ ", "dim"), Item(name, "strong")]
        right = [Item(amount(progress.sessions, "session"))]
        if self._worst:
            right.append(Item(f" · {self._worst:,} {SYMBOLS['warning']}", "warning"))
        right.append(Item(f" · {octets(progress.size)}", "dim"))
        if reading:
            part = progress.consumed / progress.size if progress.size else 0
            right.append(Item(f" · {part:.0%}", "label"))
            if 0 < part < 1 and progress.seconds > 0.5:
                right.append(Item(f" · {left(progress.seconds * (1 - part) / part)} left"))
            right.append(Item(" · Esc stops", "dim"))
        elif self.review.stopped:
            right.append(Item(" · stopped", "warning"))
        right.append(Item(" "))
        self.query_one("#title", Bar).show(shown, right)
        self._tell_filter()

    def _count(self) -> None:
        """Count the sessions with something wrong, in a thread."""

        def job(cancelled: object) -> int:
            view = self.review.index.view()
            try:
                view.fill()
                ((count,),) = view.query("SELECT count(*) FROM {sessions} WHERE severity >= 2")
                return int(count)
            finally:
                view.close()

        def done(count: int) -> None:
            self._worst = count
            self._title(self.review.reading)

        if self.review.reading:
            with self.scope.sound_index():
                for pane in self.query(".-follows-filter"):
                    pane.freshen()  # type: ignore[attr-defined]
        if not self._figures.busy:
            self._figures.run(job, done, lambda error: None)

    def _tell_filter(self) -> None:
        listing = self.sessions.listing
        bar = self.query_one(FilterBar)
        if listing.problem is not None:
            bar.tell(text(listing.problem, 200))
        elif listing.filter.text.strip():
            total = self.review.progress().sessions
            bar.tell(f"{'… ' if listing.busy else ''}{len(listing):,} of {total:,}")
        else:
            marks = f"{len(self.marked):,} marked" if self.marked else ""
            bar.tell("…" if listing.busy else marks)

    def listed(self) -> None:
        """Another list of sessions is shown."""
        self._tell_filter()
        if self._wanted is not None:
            id, self._wanted = self._wanted, None
            self.sessions.show_session(id)

    # -- tabs and keys ----------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys are for what is shown."""
        tab = self.tab if self.is_mounted else 0
        if action in OF_SESSIONS:
            return tab == 0
        return action not in OF_MESSAGES or tab <= MESSAGES

    @property
    def tab(self) -> int:
        current = self.query_one(ContentSwitcher).current
        return next(index for index, (id, _) in enumerate(TABS) if id == current)

    def action_tab(self, index: int) -> None:
        """Show one of the five views."""
        self.query_one(ContentSwitcher).current = TABS[index][0]
        pane = self.query_one(f"#{TABS[index][0]}")
        if index == 0:
            self.sessions.list.focus()
        else:
            pane.enter()  # type: ignore[attr-defined]
        self._keys()

    def _keys(self) -> None:
        items = []
        for index, (_, name) in enumerate(TABS):
            style = "head" if index == self.tab else ""
            items.append(Item(f" {name} ", style, f"screen.tab({index})", f" {index + 1}"))
        items.append(Item("│ ", "dim"))
        items += [hint(*each) for each in HINTS]
        self.query_one("#keys", Bar).show(items, [hint("?", "help", "app.help")])

    def action_back(self) -> None:
        """One step back; where there is none, the reading is stopped."""
        if self.tab == TABLE and self.table.back():
            return
        if self.tab != 0:
            self.action_tab(0)
        elif not self.sessions.back() and self.review.reading:
            self.review.stop()
            self.news()
            self.scope.tell("The reading was stopped; what has been read stays.")

    # -- filter and search ------------------------------------------------------------------------

    def action_filter(self) -> None:
        self.query_one(FilterBar).edit()

    def narrow(self, words: str) -> None:
        """Show the sessions for which this holds, too."""
        before = self.sessions.listing.filter.text.strip()
        self.query_one(FilterBar).put(f"({before}) and {words}" if before else words)
        self.action_tab(0)

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        self.sessions.listing.show(filter=event.filter)
        for pane in self.query(".-follows-filter"):
            pane.refilter()  # type: ignore[attr-defined]

    def on_filter_bar_left(self, event: FilterBar.Left) -> None:
        if event.kept:
            self.scope.memory.keep_filter(event.kept)
            self.query_one(FilterBar).history = list(self.scope.memory.filters)
        self.action_tab(self.tab)

    def action_search(self) -> None:
        if self.tab == TABLE:
            self.table.edit()
            return

        def found(words: str | None) -> None:
            if words:
                self.searched = words
                self.action_search_next(1)

        self.app.push_screen(AskScreen("Search in what is shown", self.searched), found)

    def action_search_next(self, way: int) -> None:
        """Go to the next (1) or previous (-1) row that has what was searched for."""
        if not self.searched:
            self.action_search()
            return
        for rows, listing in (
            (self.sessions.list, self.sessions.listing),
            (self.messages.list, self.messages.listing),
        ):
            if rows.has_focus and listing is not None:
                self._search(rows, listing.view, way)
                return
        if not search_rows(self.focused, self.searched, way):
            self.scope.tell(f"No more: {text(self.searched, 60)}")

    def _search(self, rows: RowList, view: View, way: int) -> None:
        words, cursor = self.searched, rows.cursor

        def done(position: int | None) -> None:
            if position is None:
                self.scope.tell(f"No more: {text(words, 60)}")
            else:
                rows.go(position)

        self._searcher.run(
            lambda cancelled: view.search_words(words, cursor, backwards=way < 0),
            done,
            self.scope.failed,
        )

    def action_finding(self, way: int) -> None:
        self.action_tab(0)
        self.sessions.next_finding(way)

    def next_session_with_finding(self, way: int) -> None:
        """Go to the next (1) or previous (-1) session that has a finding of note, and into it."""
        view, cursor = self.sessions.listing.view, self.sessions.list.cursor

        def done(position: int | None) -> None:
            if position is None:
                self.scope.tell("No more findings.")
                return
            self.sessions.enter_at_finding(position, way)

        self._searcher.run(
            lambda cancelled: view.search(parse("severity >= note"), cursor, backwards=way < 0),
            done,
            self.scope.failed,
        )

    def show_session(self, id: int) -> None:
        """Go to a session, wherever it is asked for; without the filter where that hides it."""
        self.action_tab(0)
        with self.scope.sound_index():
            if not self.sessions.show_session(id):
                self._wanted = id
                self.query_one(FilterBar).put("")
                self.sessions.listing.show(filter=parse(""))

    # -- what can be done with a session ----------------------------------------------------------

    def action_time(self) -> None:
        modes = TIME_MODES
        self.time_mode = modes[(modes.index(self.time_mode) + 1) % len(modes)]
        self.sessions.retime()
        for pane in self.query(".-tells-times"):
            pane.retime()  # type: ignore[attr-defined]
        self.scope.tell(f"Times: {self.time_mode}")

    def action_follow(self) -> None:
        rows = self.sessions.list
        rows.follow = not rows.follow
        if rows.follow:
            rows.action_bottom()
        self.scope.tell("Following the newest session." if rows.follow else "Not following.")

    def action_mark(self) -> None:
        row = self.sessions.row
        if row is None:
            return
        self.marked ^= {row.id}
        self.sessions.list.rows_changed()
        self.sessions.list.action_move(1)
        self._tell_filter()

    def action_message(self) -> None:
        """Open the message of the selected line, or the first one of the session."""
        if self.tab == MESSAGES:
            self.messages.open_selected()
            return
        session, row = self.sessions.session, self.sessions.row
        if session is None or row is None:
            return
        ordinal = _message_at(self.sessions)
        if ordinal is None:
            self.scope.tell("This session has no message.")
            return
        self.app.push_screen(MessageScreen(self.review, row, ordinal), self.from_message)

    def from_message(self, session: int | None) -> None:
        """Go where a message that was open leads: to a session, or nowhere."""
        if session is not None:
            self.show_session(session)

    def action_bytes(self) -> None:
        line, row = self.sessions.selected, self.sessions.row
        if row is None or line is None or line.span is None or self.sessions.session is None:
            self.scope.tell("Select a line of a dialogue first.")
            return
        self.app.push_screen(
            OctetsScreen(self.review, row, self.sessions.session, line, self.reveal)
        )

    def action_ladder(self) -> None:
        dialogue = self.sessions.dialogue
        if dialogue is not None:
            index = dialogue.shown[self.sessions.lines.cursor] if len(dialogue) else 0
            self.app.push_screen(
                LadderScreen(dialogue.session, dialogue.rows, index), self._from_ladder
            )

    def _from_ladder(self, index: int | None) -> None:
        dialogue = self.sessions.dialogue
        if index is not None and dialogue is not None:
            self.sessions.lines.go(dialogue.position(index))
            self.sessions.lines.focus()

    def action_compare(self) -> None:
        """Remember a session; with the second one show both side by side."""
        row = self.sessions.row
        if row is None:
            return
        if self._compared is None or self._compared == row.id:
            self._compared = row.id
            self.scope.tell(f"Session {row.number} is remembered; press d on another one.")
            return
        other, compared, self._compared = None, self._compared, None
        with self.scope.sound_index():
            other = self.review.index.session(compared)
        if other is None:
            return
        review, reveal = self.review, self.reveal

        def job(cancelled: Callable[[], bool]) -> Comparison:
            sessions = [review.details(each, cancelled).session() for each in (other, row)]
            return Comparison.of(*sessions, reveal=reveal)

        def done(comparison: Comparison) -> None:
            self.app.push_screen(CompareScreen(comparison))

        self._comparer.run(job, done, self.scope.failed)

    def action_export(self) -> None:
        self.app.push_screen(ExportScreen(self))

    def action_copy(self) -> None:
        copied = row_text(self.focused)
        if copied:
            self.app.copy_to_clipboard(copied)
            self.scope.tell("Copied.")

    def action_reveal(self) -> None:
        def confirmed(sure: bool | None) -> None:
            if sure:
                self.reveal = True
                self.sessions.reload()

        if self.reveal:
            self.reveal = False
            self.sessions.reload()
            self.scope.tell("Secrets are hidden.")
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
