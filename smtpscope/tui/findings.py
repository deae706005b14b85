"""What is wrong in all sessions that are shown, grouped by rule: Enter leads to the sessions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from textual.app import ComposeResult
from textual.containers import Container

from smtpscope.explanation import Fact
from smtpscope.filters import Filter
from smtpscope.findings import RULES
from smtpscope.index.views import SESSIONS, Index
from smtpscope.session import Severity
from smtpscope.tui.background import Newest
from smtpscope.tui.columns import Column, ColumnList
from smtpscope.tui.pieces import SYMBOLS, Piece
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.words import date
from smtpscope.tui.wrapped import WrappedList, fact_lines

if TYPE_CHECKING:
    from smtpscope.tui.main import MainScreen

COLUMNS = (
    Column("severity", "severity", 10, priority=9),
    Column("rule", "rule", 22, 1, priority=10),
    Column("summary", "what", 24, 3, priority=8),
    Column("group", "group", 9, priority=3),
    Column("count", "findings", 8, priority=4, right=True),
    Column("sessions", "sessions", 8, priority=7, right=True),
    Column("first", "first", 19, priority=5),
    Column("last", "last", 19, priority=2),
)


class Told(NamedTuple):
    """A rule: how many findings, in how many sessions, and when the first and the last began."""

    rule: str
    times: int
    sessions: int
    first: int
    last: int

    @property
    def severity(self) -> Severity:
        return Severity[RULES[self.rule][1].severity.upper()]


def told(index: Index, filter: Filter) -> list[Told]:
    """The rules that the sessions of a filter broke, the worst and most frequent first."""
    view = index.view(SESSIONS, filter)
    try:
        view.fill()
        rows = view.query(
            "SELECT t.text, s.n, s.first, s.last FROM"
            " (SELECT rules, count(*) AS n, min(start) AS first, max(start) AS last"
            " FROM {sessions} GROUP BY rules) s JOIN texts t ON t.id = s.rules"
        )
    finally:
        view.close()
    found: dict[str, Told] = {}
    for listed, sessions, first, last in rows:
        for rule, count in json.loads(listed).items():
            before = found.get(rule, Told(rule, 0, 0, first, last))
            found[rule] = Told(
                rule,
                before.times + count * sessions,
                before.sessions + sessions,
                min(before.first, first),
                max(before.last, last),
            )
    return sorted(found.values(), key=lambda each: (-each.severity, -each.sessions, each.rule))


_ORDERS: dict[str, Callable[[Told], object]] = {
    "severity": lambda each: each.severity,
    "rule": lambda each: each.rule,
    "summary": lambda each: RULES[each.rule][1].summary,
    "group": lambda each: RULES[each.rule][0],
    "count": lambda each: each.times,
    "sessions": lambda each: each.sessions,
    "first": lambda each: each.first,
    "last": lambda each: each.last,
}


class _Cells:
    def __init__(self, rows: list[Told], utc: bool) -> None:
        self.rows = rows
        self._utc = utc

    def __len__(self) -> int:
        return len(self.rows)

    def marked(self, index: int) -> bool:
        return False

    def cells(self, index: int) -> Sequence[Piece]:
        each = self.rows[index]
        group, rule = RULES[each.rule]
        word = each.severity.word
        return [
            Piece(f"{SYMBOLS[word]} {word}", word),
            Piece(each.rule, "strong"),
            Piece(rule.summary),
            Piece(group, "dim"),
            Piece(f"{each.times:,}"),
            Piece(f"{each.sessions:,}"),
            Piece(date(each.first, utc=self._utc), "time"),
            Piece(date(each.last, utc=self._utc), "time"),
        ]


class FindingsPane(Container):
    """The rules, and below them what the selected one means."""

    DEFAULT_CSS = """
    FindingsPane { layout: vertical; }
    FindingsPane > #findings { height: 3fr; }
    FindingsPane > #rule {
        height: 2fr; border-top: solid $panel; border-title-color: $scope-dim;
    }
    """

    def __init__(self, main: MainScreen) -> None:
        super().__init__(id="findings-pane", classes="-follows-filter -tells-times")
        self._main = main
        self._rows: list[Told] = []
        self._sort = ("severity", True)
        self._loader: Newest[list[Told]] = Newest(self.call_later)

    def compose(self) -> ComposeResult:
        self.list = ColumnList(COLUMNS, id="findings", placeholder="nothing was found")
        self.about = WrappedList(id="rule", beside=True)
        self.about.border_title = "What it means"
        yield self.list
        yield self.about

    def on_unmount(self) -> None:
        self._loader.close()

    def enter(self) -> None:
        """Show it: with the filter of the sessions."""
        self.refilter()
        self.list.focus()

    def refilter(self) -> None:
        """Count what is in the sessions that are shown."""
        if not self.display:
            return
        filter, index = self._main.filter, self._main.review.index
        self._loader.run(lambda cancelled: told(index, filter), self._show, self._main.scope.failed)

    def freshen(self) -> None:
        """Count what has been found since."""
        if not self._loader.busy:
            self.refilter()

    def retime(self) -> None:
        """Show times in another way."""
        self._show(self._rows)

    def _show(self, rows: list[Told]) -> None:
        self._rows = rows
        self.list.placeholder = self._main.none("nothing was found")
        key, descending = self._sort
        rows.sort(key=_ORDERS[key], reverse=descending)  # type: ignore[arg-type]
        cursor = self.list.cursor
        self.list.sorted_by = self._sort
        self.list.show_cells(_Cells(rows, self._main.time_mode == "utc"), cursor=cursor)

    def on_column_list_sort_wanted(self, event: ColumnList.SortWanted) -> None:
        self._sort = (event.key, event.descending)
        self._show(self._rows)

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        if event.rows is self.list and event.index < len(self._rows):
            each = self._rows[event.index]
            group, rule = RULES[each.rule]
            facts = [
                Fact("Finding", f"{each.severity.word} {each.rule}", each.severity.word),
                Fact("What", rule.summary),
                Fact("To do", rule.advice),
                Fact("Source", rule.spec),
                Fact("Group", group),
                Fact("Enter", "shows the sessions, each at the line; e goes to the first one"),
            ]
            self.about.show_wrapped(partial(fact_lines, facts))

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        if event.rows is self.list and event.index < len(self._rows):
            self._main.narrow(f"finding == {self._rows[event.index].rule}")

    def enter_at_finding(self) -> bool:
        """Go to the first finding by the rule at the cursor; whether there is one."""
        if self.list.cursor >= len(self._rows):
            return False
        self._main.narrow(f"finding == {self._rows[self.list.cursor].rule}", enter=True)
        return True
