"""The documented table and all registries, to be searched: the same as `smtpscope explain`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import ClassVar, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Input

from smtpscope import reference
from smtpscope.explanation import Fact
from smtpscope.findings import RULES
from smtpscope.findings.explain import dialogue, entry
from smtpscope.reference import table
from smtpscope.tui.columns import Column, ColumnList
from smtpscope.tui.pieces import Line, Piece
from smtpscope.tui.prompts import Typed
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.wrapped import WrappedList, fact_lines

COLUMNS = (
    Column("name", "name", 18, 1, priority=10),
    Column("kind", "kind", 13, priority=8),
    Column("meaning", "meaning", 20, 4, priority=9),
)
_PSEUDO = {"(greeting)": "greeting", "(auth)": "login line", ".": "end of data"}


class Known(NamedTuple):
    """A row: its name, what kind of thing it is, and what it means in short."""

    name: str
    kind: str
    meaning: str


@cache
def known() -> tuple[Known, ...]:
    """Everything that can be looked up."""
    return tuple(_known())


def _known() -> Iterator[Known]:
    for command in table.commands().values():
        yield Known(command.verb, "command", command.short or command.meaning)
    for reply in table.replies().values():
        yield Known(str(reply.code), "reply", reply.short or reply.meaning)
    for code in table.enhanced_codes():
        shown = [5 if part == "X" else int(part) for part in code.split(".")]
        yield Known(code, "enhanced code", reference.enhanced(*shown).text)
    for extension in table.extensions().values():
        yield Known(extension.keyword, "extension", extension.meaning)
    for parameter in table.parameters().values():
        yield Known(parameter.keyword, "parameter", parameter.meaning)
    for mechanism in table.mechanisms().values():
        yield Known(mechanism.name, "AUTH mechanism", mechanism.meaning)
    for limit in table.limits().values():
        yield Known(limit.name, "limit", f"{limit.value:,} {limit.unit}: {limit.meaning}")
    for documented in table.documented_rows().values():
        if table.command(documented.name) is None and not documented.name.isdigit():
            yield Known(documented.name, documented.kind, documented.documented)
    for received in table.with_keywords().values():
        yield Known(received.keyword, "received with", received.meaning)
    for rule, (_, meaning) in sorted(RULES.items()):
        yield Known(rule, "rule", meaning.summary)


def matching(words: str) -> list[Known]:
    """What has all the words, in its name or meaning; what begins with them first."""
    wanted = words.lower().split()
    if not wanted:
        return list(known())
    found = [
        each
        for each in known()
        if all(word in f"{each.name} {each.kind} {each.meaning}".lower() for word in wanted)
    ]

    def nearness(each: Known) -> int:
        name = each.name.lower()
        return 0 if name == wanted[0] else 1 if name.startswith(wanted[0]) else 2

    return sorted(found, key=nearness)


def about(each: Known, width: int) -> Iterator[Line]:
    """Everything that is known of a row, wrapped to `width` cells."""
    if each.kind == "rule":
        entries, sample = [entry(each.name)], list(dialogue(each.name))
    else:
        entries, sample = reference.explain([_PSEUDO.get(each.name, each.name)]), []
    for number, found in enumerate(entries):
        if number:
            yield []
        yield [Piece(found.title, "strong"), Piece(f"  {found.kind}", "dim")]
        yield from fact_lines([Fact(*line) for line in found.lines], width)
    if sample:
        yield []
        yield [Piece("For example", "label")]
        for line in sample:
            style = {"C:": "client", "S:": "server"}.get(line[:2], "dim")
            yield [Piece(line, style)]


class _Cells:
    def __init__(self, rows: Sequence[Known]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def marked(self, index: int) -> bool:
        return False

    def cells(self, index: int) -> Sequence[Piece]:
        each = self.rows[index]
        return [Piece(each.name, "strong"), Piece(each.kind, "dim"), Piece(each.meaning)]


class _Search(Typed):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "app.focus_next", "To the rows", show=False),
    ]


class TablePane(Container):
    """Rows, a line to search them with, and what the selected one means."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "Other pane", id="other_pane", show=False),
    ]
    DEFAULT_CSS = """
    TablePane { layout: vertical; }
    TablePane > Input {
        height: 1; border: none; padding: 0 1; background: $surface;
        &:focus { border: none; background: $panel; background-tint: $foreground 0%; }
    }
    TablePane > #known { height: 3fr; }
    TablePane > #meaning {
        height: 4fr; border-top: solid $panel; border-title-color: $scope-dim;
    }
    """

    def __init__(self) -> None:
        super().__init__(id="table-pane")
        self._rows: list[Known] = []

    def compose(self) -> ComposeResult:
        self.field = _Search(placeholder="/ searches: 550, 5.7.1, pipelining, mailbox full …")
        self.list = ColumnList(
            COLUMNS, sortable=False, id="known", placeholder="nothing is known under these words"
        )
        self.meaning = WrappedList(id="meaning", beside=True)
        self.meaning.border_title = "What it means"
        yield self.field
        yield self.list
        yield self.meaning

    def on_mount(self) -> None:
        self.field.can_focus = False

    def enter(self) -> None:
        """Show it."""
        if not self._rows:
            self._find(self.field.value)
        self.list.focus()

    def edit(self) -> None:
        """Let the user type what to look for."""
        self.field.can_focus = True
        self.field.focus()

    def back(self) -> bool:
        """One step back; whether there was one."""
        if self.field.has_focus or self.field.value:
            self.field.value = ""
            self.list.focus()
            return True
        return False

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        if event.widget is self.field:
            self.field.can_focus = False

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._find(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.list.focus()

    def _find(self, words: str) -> None:
        self._rows = matching(words)
        self.list.show_cells(_Cells(self._rows))
        if not self._rows:
            self.meaning.tell("")

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        if event.rows is self.list and event.index < len(self._rows):
            self._explain()

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        if event.rows is self.list:
            self.meaning.focus()

    def _explain(self) -> None:
        if self.list.cursor < len(self._rows):
            each = self._rows[self.list.cursor]
            self.meaning.show_wrapped(lambda width: list(about(each, width)))
