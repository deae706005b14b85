"""The form that begins to record a network interface: which one, what of it, into which file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from smtpscope.display import text
from smtpscope.reading import SMTP_PORTS
from smtpscope.recorder import Recorder
from smtpscope.tui.background import Newest
from smtpscope.tui.columns import Column, ColumnList
from smtpscope.tui.forms import (
    FormScreen,
    Interface,
    Starting,
    form_line,
    new_file,
    path_field,
    text_field,
)
from smtpscope.tui.pieces import Piece
from smtpscope.tui.rowlist import RowList

ANY = "any"

COLUMNS = (
    Column("name", "interface", 16, priority=10),
    Column("addresses", "addresses", 24, 1, priority=8),
    Column("state", "state", 14, priority=9),
)


class _Cells:
    """The interfaces, behind the word for all of them."""

    def __init__(self, interfaces: Sequence[Interface]) -> None:
        self._interfaces = interfaces

    def __len__(self) -> int:
        return len(self._interfaces) + 1

    def marked(self, index: int) -> bool:
        return False

    def name(self, index: int) -> str:
        return self._interfaces[index - 1].name if index else ANY

    def cells(self, index: int) -> list[Piece]:
        if not index:
            return [Piece(ANY, "strong"), Piece("all interfaces that are up")]
        found = self._interfaces[index - 1]
        state = f"{'up' if found.up else 'down'}{', loopback' if found.loopback else ''}"
        return [
            Piece(text(found.name, 60), "strong" if found.up else "dim"),
            Piece(text(", ".join(found.addresses), 300) or "no address", "" if found.up else "dim"),
            Piece(state, "reply2" if found.up else "dim"),
        ]


class SniffScreen(FormScreen):
    """Sniff: record a network interface."""

    DEFAULT_CSS = """
    SniffScreen > ColumnList { height: 7; max-height: 50%; min-height: 4; margin-top: 1; }
    SniffScreen.-low > ColumnList { margin-top: 0; max-height: 8; }
    """
    heading = "Sniff: record a network interface"

    def __init__(self, starting: Starting) -> None:
        super().__init__(starting)
        self._finder: Newest[Sequence[Interface]] = Newest(self.call_later)
        self._cells = _Cells(())

    def body(self) -> Iterator[Any]:
        self.list = ColumnList(COLUMNS, sortable=False, id="interfaces")
        yield self.list
        ports = ", ".join(map(str, sorted(SMTP_PORTS)))
        with Vertical(classes="form"):
            filter = text_field("filter", placeholder=f"the SMTP ports: {ports}")
            yield from form_line("Capture filter", filter)
            yield from form_line("File", path_field("file", new_file(self.starting.folder)))
            yield from form_line("Rotation", Static(classes="fact"))
        yield from self.foot()

    def on_mount(self) -> None:
        self.list.show_cells(self._cells)
        self.list.focus()
        self._tell_rotation()
        self.tell(self.starting.refusal, wrong=True)
        self._finder.run(lambda cancelled: self.starting.interfaces(), self._found, self.failed)

    def on_unmount(self) -> None:
        self._finder.close()

    def on_resize(self) -> None:
        self.set_class(self.size.height < 30, "-low")

    def _found(self, interfaces: Sequence[Interface]) -> None:
        self._cells = _Cells(interfaces)
        self.list.styles.height = len(self._cells) + 1
        self.list.show_cells(self._cells, cursor=self.list.cursor)

    def _tell_rotation(self) -> None:
        named = self.typed("file")
        told = "none: a file that you name grows" if named else self.starting.rotation
        self.query_one(".fact", Static).update(Content(told))

    def on_input_changed(self, event: Input.Changed) -> None:
        self._tell_rotation()

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        self.action_start()

    def problem(self) -> str:
        return self.starting.refusal

    def beginning(self) -> tuple[str, Callable[[], Recorder]]:
        interface = self._cells.name(self.list.cursor)
        begin = partial(self.starting.start, interface, self.typed("filter"), self.typed("file"))
        return f"starting to record {text(interface, 60)}", begin
