"""The main screen: title, filter, five views of the same captures, keys.

It asks the index for news fifteen times a second while captures are read, and nothing is pushed
to it.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import ContentSwitcher, Static

from smtpscope.display import text
from smtpscope.filters import Filter, parse
from smtpscope.index.rows import Progress
from smtpscope.index.views import View
from smtpscope.review import Review
from smtpscope.tui.background import Newest
from smtpscope.tui.bars import Bar, Item
from smtpscope.tui.dialogue import TIME_MODES
from smtpscope.tui.exporting import ExportScreen
from smtpscope.tui.filterbar import FilterBar
from smtpscope.tui.findings import FindingsPane
from smtpscope.tui.keys import named_key
from smtpscope.tui.messages import MessagesPane
from smtpscope.tui.opening import rules_of
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.said import Aim
from smtpscope.tui.sessions import NARROW, SessionsPane
from smtpscope.tui.statistics import StatisticsPane
from smtpscope.tui.table import TablePane
from smtpscope.tui.title import title
from smtpscope.tui.views import ScopeScreen

RATE = 15
"""How often a second the index is asked for news while captures are read."""
FIGURES = 1.0
"""Seconds from one count of what is wrong to the next."""
SMALLEST = (60, 16)
"""Columns and lines below which nothing useful fits."""

NOTHING_FOUND = -1
"""Where the next finding is if there is none at all."""
MAX_RULES = 50
"""Rules that a filter asks for and `e` looks for in other sessions."""
MAX_NARROWED = 20
"""Filters of other views that Esc takes back."""

TABS = (
    ("sessions-pane", "Sessions"),
    ("messages-pane", "Messages"),
    ("findings-pane", "Findings"),
    ("statistics-pane", "Statistics"),
    ("table-pane", "Table"),
)
MESSAGES, FINDINGS, TABLE = 1, 2, 4
HINTS = (
    ("finding_next", "finding"),
    ("filter", "filter"),
    ("message", "message"),
    ("search", "search"),
    ("bytes", "bytes"),
    ("export", "export"),
    ("ladder", "ladder"),
)
LIVE_HINTS = (*HINTS[:1], ("follow", "follow"), ("pause", "pause"), *HINTS[1:])


class _Narrowed(NamedTuple):
    """A filter that a row of another view has brought; Esc leads back to `before` and `tab`."""

    filter: str
    before: str
    tab: int


class MainScreen(ScopeScreen[None]):
    """Captures under review."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "tab(0)", "Sessions", id="sessions", show=False),
        Binding("2", "tab(1)", "Messages", id="messages", show=False),
        Binding("3", "tab(2)", "Findings", id="findings", show=False),
        Binding("4", "tab(3)", "Statistics", id="statistics", show=False),
        Binding("5", "tab(4)", "Table", id="table", show=False),
        Binding("f", "filter", "Filter", id="filter"),
        Binding("e", "finding(1)", "Next finding", id="finding_next"),
        Binding("E", "finding(-1)", "Previous finding", id="finding_previous"),
        Binding("t", "time", "Time: relative, delta, clock, UTC", id="time"),
        Binding("x", "export", "Export", id="export"),
        Binding("p", "pause", "Pause the view while it is read", id="pause"),
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
        self.paused = False
        self.reveal = reveal
        self._first_filter = filter
        self.time_mode = TIME_MODES[0]
        self._worst = 0
        self._figures: Newest[int] = Newest(self.call_later)
        self._searcher: Newest[int | None] = Newest(self.call_later)
        self._told = 0
        self._counted: Progress | None = None
        self._ended = False
        self._wanted: tuple[int, Aim | None] | None = None
        self._entering = False
        self._came_from: int | None = None
        self._narrowed: list[_Narrowed] = []

    def none(self, words: str) -> str:
        """What is said where nothing is to be shown: `words`, and whether the filter has to do
        with it."""
        if not self.filter.text.strip():
            return words
        return f"{words} with this filter: {self.filter_key}, then Esc clears it"

    @property
    def filter_key(self) -> str:
        """The key that leads to the filter."""
        return named_key(self.scope.configuration.keys.get("filter", "f"))

    def compose(self) -> ComposeResult:
        # Before anything is shown.
        self.time_mode = self.scope.configuration.time
        self.sessions = SessionsPane(self)
        self.messages = MessagesPane(self)
        self.table = TablePane()
        self.findings = FindingsPane(self)
        self.statistics = StatisticsPane(self)
        self._panes = (self.sessions, self.messages, self.findings, self.statistics, self.table)
        yield Bar(id="title", fixed=3)
        yield FilterBar(self.filter_key)
        # The other views are mounted when they are first looked at.
        with ContentSwitcher(initial=TABS[0][0]):
            yield self.sessions
        yield Bar(id="keys", fixed=len(TABS))
        yield Static(classes="cover")

    def on_mount(self) -> None:
        bar = self.query_one(FilterBar)
        bar.history = list(self.scope.memory.filters)
        if self._first_filter:
            bar.put(self._first_filter)
        self.sessions.list.focus()
        self._clock = self.set_interval(1 / RATE, self.news)
        self._counter = self.set_interval(FIGURES, self._count)
        self.call_after_refresh(self._keys)
        for problem in self.review.problems:
            self.scope.tell(problem, "warning")
        self.news()
        self._count()

    def on_unmount(self) -> None:
        self._figures.close()
        self._searcher.close()

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        small = width < SMALLEST[0] or height < SMALLEST[1]
        self.set_class(small, "-small")
        self.call_after_refresh(self._keys)
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
        if self.scope.review is not self.review:
            # Something else is shown by now, and this index is closed.
            return
        with self.scope.sound_index():
            self.review.watch()
            # In this order: what is read last is shown, too.
            reading = self.review.reading
            progress = self.review.progress()
            if not self.paused:
                self.sessions.grow(progress.changes, last=not reading)
            self._title(reading)
            if not reading:
                self._end()

    def _end(self) -> None:
        """Nothing more comes: tell why, and rest as soon as all is shown."""
        if not self._ended:
            self._ended = True
            failure = self.review.failure()
            if failure is not None:
                self.scope.tell(failure, "error")
            self._tell_notes()
        self._count()
        if not self.paused and not self.sessions.behind and self._counted == self._figures_of():
            self._clock.stop()
            self._counter.stop()
            self.sessions.tell_none()
            for pane in self.query(".-follows-filter"):
                pane.refilter()  # type: ignore[attr-defined]

    def _tell_notes(self) -> None:
        """Tell what has been noted since: an interface may go down more than once."""
        notes = list(self.review.notes())
        new, self._told = notes[self._told :], len(notes)
        for note in new:
            self.scope.tell(note, _weight(note))

    def _title(self, reading: bool) -> None:
        left, right = title(
            self.review,
            self.review.progress(),
            reading=reading,
            paused=self.paused,
            wrong=self._worst,
        )
        self.query_one("#title", Bar).show(left, right)
        self.tell_filter()

    def _count(self) -> None:
        """Count the sessions with something wrong, in a thread."""
        if self.scope.review is not self.review:
            return

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

        with self.scope.sound_index():
            progress = self._figures_of()
            if progress == self._counted or self._figures.busy:
                return
            self._counted = progress
            if self.review.reading:
                if self.review.live:
                    self._tell_notes()
                if not self.paused:
                    for pane in self.query(".-follows-filter"):
                        pane.freshen()  # type: ignore[attr-defined]
            self._figures.run(job, done, lambda error: None)

    def _figures_of(self) -> Progress:
        """What changes only where there is something to count."""
        return self.review.progress()._replace(seconds=0)

    def tell_filter(self) -> None:
        """Say how much is shown, or marked."""
        listing = self.sessions.listing
        bar = self.query_one(FilterBar)
        if listing.problem is not None:
            bar.tell(text(listing.problem, 200))
            return
        # A list that grows is made anew all the time.
        busy = "…" if listing.busy and not self.review.live else ""
        told = []
        if listing.filter.text.strip():
            total = self.review.progress().sessions
            told.append(f"{busy and '… '}{len(listing):,} of {total:,}")
        elif busy:
            told.append(busy)
        elif self.marked:
            told.append(f"{len(self.marked):,} marked")
        if self.reveal:
            # Somebody may look over a shoulder.
            told.append("secrets are shown")
        bar.tell(" · ".join([*told, *self.sessions.told]))

    @property
    def filter(self) -> Filter:
        """What the sessions are filtered by."""
        return self.sessions.listing.filter

    def listed(self) -> None:
        """Another list of sessions is shown."""
        self.tell_filter()
        if self._wanted is not None:
            (id, aim), self._wanted = self._wanted, None
            self.sessions.show_session(id, aim)
        if self._entering:
            self._entering = False
            self.sessions.enter_at_finding(self.sessions.list.cursor, 1)

    # -- tabs and keys ----------------------------------------------------------------------------

    @property
    def tab(self) -> int:
        current = self.query_one(ContentSwitcher).current
        return next(index for index, (id, _) in enumerate(TABS) if id == current)

    async def action_tab(self, index: int) -> None:
        """Show one of the five views."""
        pane = self._panes[index]
        if not pane.is_attached:
            pane.display = False
            await self.query_one(ContentSwitcher).mount(pane)
        self._show_tab(index)

    def show_sessions(self) -> None:
        """Show the first view."""
        self._show_tab(0)

    def _show_tab(self, index: int) -> None:
        self.query_one(ContentSwitcher).current = TABS[index][0]
        self._panes[index].enter()
        self.call_after_refresh(self._keys)

    def _keys(self) -> None:
        if not self.is_attached or not self.sessions.is_attached:
            # Another screen has taken this one's place before it was shown.
            return
        items = []
        # Where there is little room, a key behind them is worth more than what keeps them apart.
        apart = " " if self.size.width >= NARROW else ""
        for index, (_, name) in enumerate(TABS):
            style = "head" if index == self.tab else ""
            items.append(Item(f" {name}{apart}", style, f"screen.tab({index})", f" {index + 1}"))
        items.append(Item("│ " if apart else " │ ", "dim"))
        self.tell_keys(items, LIVE_HINTS if self.review.live else HINTS)

    async def action_back(self) -> None:
        """One step back; where there is none, the reading is stopped."""
        if self.tab == TABLE and self.table.back():
            return
        if self.tab != 0:
            self.show_sessions()
        elif self.sessions.back():
            return
        elif self._came_from is not None:
            tab, self._came_from = self._came_from, None
            await self.action_tab(tab)
        elif self._narrowed and self._narrowed[-1].filter == self.query_one(FilterBar).field.value:
            narrowed = self._narrowed.pop()
            self.query_one(FilterBar).put(narrowed.before)
            await self.action_tab(narrowed.tab)
        elif self.review.reading and not self.review.live:
            self.review.stop()
            self.news()
            self.scope.tell("The reading was stopped; what has been read stays.")

    # -- filter and search ------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Let the view stand still while reading goes on; show what came since."""
        self.paused = not self.paused
        self.scope.tell("The view stands still: p lets it go on." if self.paused else "Going on.")
        self.news()

    def action_filter(self) -> None:
        self.query_one(FilterBar).edit()

    def narrow(self, words: str, *, enter: bool = False) -> None:
        """Show the sessions for which this holds, too; `enter` the first one, at a finding."""
        before = self.filter.text.strip()
        self._entering = enter
        if words == before:
            self.show_sessions()
            self.listed()
            return
        wanted = f"({before}) and {words}" if before else words
        self._narrowed.append(_Narrowed(wanted, before, self.tab))
        del self._narrowed[:-MAX_NARROWED]
        self.query_one(FilterBar).put(wanted)
        self.show_sessions()

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        self.sessions.listing.show(filter=event.filter)
        for pane in self.query(".-follows-filter"):
            pane.refilter()  # type: ignore[attr-defined]

    def on_filter_bar_left(self, event: FilterBar.Left) -> None:
        if event.kept:
            self.scope.memory.keep_filter(event.kept)
            self.query_one(FilterBar).history = list(self.scope.memory.filters)
        self._show_tab(self.tab)

    def action_search(self) -> None:
        if self.tab == TABLE:
            self.table.edit()
        else:
            super().action_search()

    def search(self, way: int) -> None:
        panes: tuple[SessionsPane | MessagesPane, ...] = (self.sessions, self.messages)
        pane = panes[self.tab] if self.tab < len(panes) else None
        if pane is not None and pane.list.has_focus and pane.listing is not None:
            self._search(pane.list, pane.listing.view, way)
            return
        super().search(way)

    def _search(self, rows: RowList, view: View, way: int) -> None:
        words, cursor = self.searched, rows.cursor
        before_all = -1 if way > 0 else len(view)

        def job(cancelled: object) -> int | None:
            found = view.search_words(words, cursor, backwards=way < 0)
            if found is None:
                found = view.search_words(words, before_all, backwards=way < 0)
            return found

        self._searcher.run(job, lambda found: self.go_to_match(rows, found, way), self.scope.failed)

    def action_finding(self, way: int) -> None:
        """Go to the next (1) or previous (-1) finding, or to one of what is selected."""
        if self.tab == MESSAGES and self.messages.enter_at_finding():
            return
        if self.tab == FINDINGS and self.findings.enter_at_finding():
            return
        self.show_sessions()
        self.sessions.next_finding(way)

    def next_session_with_finding(self, way: int) -> None:
        """Go to the next (1) or previous (-1) session with something wrong, and into it; where all
        are well, to one that has a finding of note."""
        view, cursor = self.sessions.listing.view, self.sessions.list.cursor

        def done(position: int | None) -> None:
            if position == NOTHING_FOUND:
                self.scope.tell("Nothing was found to be wrong in what is shown.")
            elif position is None:
                self.scope.tell("No more findings.")
            else:
                self.sessions.enter_at_finding(position, way)

        rules = rules_of(self.filter)

        def job(cancelled: object) -> int | None:
            wanted = ["severity >= warning", "severity >= note"]
            if rules:
                wanted = [f"finding in ({', '.join(sorted(rules)[:MAX_RULES])})"]
            for words in wanted:
                found = view.search(parse(words), cursor, backwards=way < 0)
                if found is not None or view.search(parse(words), -1) is not None:
                    return found
            return NOTHING_FOUND

        self._searcher.run(job, done, self.scope.failed)

    def show_session(self, id: int, aim: Aim | None = None) -> None:
        """Go to a session, and there to what is aimed at, wherever it is asked for; without the
        filter where that hides it. Esc leads back."""
        self._came_from = self.tab or None
        self.show_sessions()
        with self.scope.sound_index():
            if not self.sessions.show_session(id, aim):
                self._wanted = (id, aim)
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

    def from_message(self, message: tuple[int, int] | None) -> None:
        """Go where a message that was open leads: to its line in its session, or nowhere."""
        if message is not None:
            session, ordinal = message
            self.show_session(session, lambda dialogue: dialogue.message(ordinal))

    def action_export(self) -> None:
        self.app.push_screen(ExportScreen(self))


def _weight(note: str) -> Literal["information", "warning"]:
    """How grave it is what a recorder or a reader noted."""
    return "information" if note.endswith(" is up again") else "warning"
