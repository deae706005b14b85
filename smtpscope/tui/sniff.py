"""The form that begins a recording: which interface, what of it, and into which file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Static

from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.reading import SMTP_PORTS
from smtpscope.recorder import Recorder
from smtpscope.tui.background import Newest
from smtpscope.tui.bars import Item
from smtpscope.tui.columns import Column, ColumnList
from smtpscope.tui.pieces import Piece
from smtpscope.tui.prompts import PathInput, Typed
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.views import ViewScreen

ANY = "any"

COLUMNS = (
    Column("name", "interface", 16, priority=10),
    Column("addresses", "addresses", 24, 1, priority=8),
    Column("state", "state", 14, priority=9),
)
HINTS = (("back", "back"), ("choose", "start"), ("next_field", "next field"))


class Interface(Protocol):
    """What the form shows of a network interface."""

    @property
    def name(self) -> str: ...
    @property
    def addresses(self) -> tuple[str, ...]: ...
    @property
    def up(self) -> bool: ...
    @property
    def loopback(self) -> bool: ...


class Sniffing(Protocol):
    """Who starts recorders: `refusal` says why there can be none ("": there can), `told` what else
    is to be known, `rotation` and `folder` what becomes of a recording that nobody named."""

    @property
    def refusal(self) -> str: ...
    @property
    def told(self) -> str: ...
    @property
    def rotation(self) -> str: ...
    @property
    def folder(self) -> str: ...

    def interfaces(self) -> Sequence[Interface]:
        """The interfaces of this machine. It takes a moment."""

    def start(self, interface: str, filter: str, path: str) -> Recorder:
        """Begin to record; it takes a moment. Raises `SmtpscopeError`."""


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


class SniffScreen(ViewScreen[None]):
    """Sniff: record a network interface."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "start", "Start recording", id="start"),
        Binding("tab", "app.focus_next", "Next field", id="next_field"),
    ]
    DEFAULT_CSS = """
    SniffScreen > ColumnList { height: 7; max-height: 50%; min-height: 4; margin-top: 1; }
    SniffScreen > .form { height: auto; padding: 1 2 0 2; }
    SniffScreen .form Horizontal { height: 1; }
    SniffScreen .form .label { width: 16; color: $scope-accent; }
    SniffScreen .form .fact { width: 1fr; color: $scope-dim; padding: 0 1; }
    SniffScreen Input {
        width: 1fr; height: 1; padding: 0 1; background: $panel;
        &, &:focus { border: none; background-tint: $foreground 0%; }
        &:focus { background: $scope-cursor; }
    }
    SniffScreen #told { height: auto; min-height: 1; padding: 0 2; margin-top: 1; width: 100%; }
    SniffScreen #told.-wrong { color: $scope-error; }
    SniffScreen .buttons { height: auto; align: right middle; padding: 0 2; }
    SniffScreen Button { margin-left: 2; }
    SniffScreen > .rest { height: 1fr; }
    SniffScreen.-low > ColumnList { margin-top: 0; max-height: 8; }
    """
    heading = "Sniff: record a network interface"

    def __init__(self, sniffing: Sniffing) -> None:
        super().__init__()
        self._sniffing = sniffing
        self._finder: Newest[Sequence[Interface]] = Newest(self.call_later)
        self._starter: Newest[Recorder] = Newest(self.call_later)
        self._cells = _Cells(())
        self._begun: Recorder | None = None

    def body(self) -> Iterator[Any]:
        self.list = ColumnList(COLUMNS, sortable=False, id="interfaces")
        yield self.list
        ports = ", ".join(map(str, sorted(SMTP_PORTS)))
        folder = _homely(self._sniffing.folder)
        with Vertical(classes="form"):
            with Horizontal():
                yield Static(Content("Capture filter"), classes="label")
                yield Typed(placeholder=f"the SMTP ports: {ports}", id="filter")
            with Horizontal():
                yield Static(Content("File"), classes="label")
                yield _File(placeholder=f"a new one in {text(folder, 200)}")
            with Horizontal():
                yield Static(Content("Rotation"), classes="label")
                yield Static(classes="fact")
        yield Static(id="told")
        with Horizontal(classes="buttons"):
            yield Button(Content("Cancel"), id="no")
            yield Button(Content("Start"), id="yes", variant="primary")
        yield Static(classes="rest")

    def on_mount(self) -> None:
        self.list.show_cells(self._cells)
        self.list.focus()
        self._tell_rotation()
        if self._sniffing.refusal:
            self._tell(self._sniffing.refusal, wrong=True)
        else:
            self._tell("")
        self._finder.run(lambda cancelled: self._sniffing.interfaces(), self._found, self._failed)

    def on_unmount(self) -> None:
        self._finder.close()
        self._starter.close()
        if self._begun is not None:
            # Nobody waits for it any more.
            self._begun.stop()

    def on_resize(self) -> None:
        self.set_class(self.size.height < 30, "-low")

    def _tell_keys(self) -> None:
        self.tell_keys([Item(" ")], HINTS)

    def _found(self, interfaces: Sequence[Interface]) -> None:
        self._cells = _Cells(interfaces)
        self.list.styles.height = len(self._cells) + 1
        self.list.show_cells(self._cells, cursor=self.list.cursor)

    def _tell(self, words: str, *, wrong: bool = False) -> None:
        told = self.query_one("#told", Static)
        told.set_class(wrong, "-wrong")
        told.update(Content(text(words, 1_000)))

    def _tell_rotation(self) -> None:
        named = self.query_one(_File).value.strip()
        told = "none: a file that you name grows" if named else self._sniffing.rotation
        self.query_one(".fact", Static).update(Content(told))

    def on_input_changed(self, event: Input.Changed) -> None:
        self._tell_rotation()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.action_start()

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        self.action_start()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_start()
        else:
            self.action_back()

    def action_start(self) -> None:
        """Begin to record, where nothing runs that would end with it unasked."""
        if self._sniffing.refusal:
            self._tell(self._sniffing.refusal, wrong=True)
        elif not self._starter.busy:
            self.scope.when_nothing_is_lost(self._start)

    def _start(self) -> None:
        sniffing, interface = self._sniffing, self._cells.name(self.list.cursor)
        filter, path = self.query_one("#filter", Input).value, self.query_one(_File).value

        def job(cancelled: Callable[[], bool]) -> Recorder:
            self._begun = recorder = sniffing.start(interface, filter, path)
            if cancelled():
                recorder.stop()
            return recorder

        self._tell(f"starting to record {text(interface, 60)} …")
        self._starter.run(job, self._started, self._failed)

    def _started(self, recorder: Recorder) -> None:
        self._begun = None
        self.scope.watch_recorder(recorder)

    def _failed(self, error: SmtpscopeError) -> None:
        self._tell(str(error), wrong=True)


class _File(PathInput):
    """The file to record into."""

    def __init__(self, *, placeholder: str) -> None:
        super().__init__()
        self.placeholder = placeholder


def _homely(folder: str) -> str:
    """A folder as its user knows it."""
    home = os.path.expanduser("~")
    return f"~{folder[len(home) :]}" if folder.startswith(f"{home}/") else folder
