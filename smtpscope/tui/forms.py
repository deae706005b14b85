"""What the forms that begin a recording have in common: lines to fill in, what is told of them,
and the start of a recorder while the screen goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Protocol

from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.recorder import Recorder
from smtpscope.tui.background import Newest
from smtpscope.tui.bars import Item
from smtpscope.tui.prompts import PathInput, Typed
from smtpscope.tui.views import ViewScreen

HINTS = (("back", "back"), ("start", "start"), ("next_field", "next field"))


class Interface(Protocol):
    """What a form shows of a network interface."""

    @property
    def name(self) -> str: ...
    @property
    def addresses(self) -> tuple[str, ...]: ...
    @property
    def up(self) -> bool: ...
    @property
    def loopback(self) -> bool: ...


class Starting(Protocol):
    """Who starts recorders: `refusal` says why no interface can be recorded ("": one can), `told`
    what else is to be known, `rotation` and `folder` what becomes of a recording that nobody named.
    """

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
        """Record an interface; it takes a moment. Raises `SmtpscopeError`."""

    def launch(
        self,
        name: str,
        options: Sequence[tuple[str, str]],
        more: str,
        warn: Callable[[str], None],
    ) -> Recorder:
        """Be a proxy or a server as the command of this name does with these options, and with
        `more` as it is typed there; `warn` gets what is to be known of that. It takes a moment.
        Raises `SmtpscopeError`."""


class FormScreen(ViewScreen[None]):
    """A form: Enter or its button starts what it describes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "start", "Start recording", id="start"),
        Binding("tab", "app.focus_next", "Next field", id="next_field"),
    ]
    DEFAULT_CSS = """
    FormScreen > .form { height: auto; padding: 1 2 0 2; }
    FormScreen .form Horizontal { height: 1; }
    FormScreen .form .label { width: 16; color: $scope-accent; }
    FormScreen .form .fact { width: 1fr; height: 1; color: $scope-dim; padding: 0 1; }
    FormScreen Input {
        width: 1fr; height: 1; padding: 0 1; background: $panel;
        &, &:focus { border: none; background-tint: $foreground 0%; }
        &:focus { background: $scope-cursor; }
    }
    FormScreen #told { height: auto; min-height: 1; padding: 0 2; margin-top: 1; width: 100%; }
    FormScreen #told.-wrong { color: $scope-error; }
    FormScreen .buttons { height: auto; align: right middle; padding: 0 2; }
    FormScreen Button { margin-left: 2; }
    FormScreen > .rest { height: 1fr; }
    """

    def __init__(self, starting: Starting) -> None:
        super().__init__()
        self.starting = starting
        self._starter: Newest[Recorder] = Newest(self.call_later)
        self._begun: Recorder | None = None

    def foot(self) -> Iterator[Widget]:
        """What stands below the lines of every form."""
        yield Static(id="told")
        with Horizontal(classes="buttons"):
            yield Button(Content("Cancel"), id="no")
            yield Button(Content("Start"), id="yes", variant="primary")
        yield Static(classes="rest")

    def on_unmount(self) -> None:
        self._starter.close()
        if self._begun is not None:
            # Nobody waits for it any more.
            self._begun.stop()

    def _tell_keys(self) -> None:
        self.tell_keys([Item(" ")], HINTS)

    def tell(self, words: str, *, wrong: bool = False) -> None:
        """Say something below the lines."""
        told = self.query_one("#told", Static)
        told.set_class(wrong, "-wrong")
        told.update(Content(text(words, 1_000)))

    def typed(self, id: str) -> str:
        """What stands in the line of this id."""
        return self.query_one(f"#{id}", Input).value.strip()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.action_start()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_start()
        else:
            self.action_back()

    def action_start(self) -> None:
        """Begin to record, where nothing runs that would end with it unasked."""
        problem = self.problem()
        if problem:
            self.tell(problem, wrong=True)
        elif not self._starter.busy:
            self.scope.when_nothing_is_lost(self._start)

    def problem(self) -> str:
        """Why it can't be started, "" where that is not known."""
        raise NotImplementedError

    def beginning(self) -> tuple[str, Callable[[], Recorder]]:
        """What begins now, in words that are safe to show, and what makes it begin."""
        raise NotImplementedError

    def _start(self) -> None:
        words, begin = self.beginning()

        def job(cancelled: Callable[[], bool]) -> Recorder:
            self._begun = recorder = begin()
            if cancelled():
                recorder.stop()
            return recorder

        self.tell(f"{words} …")
        self._starter.run(job, self._started, self.failed)

    def _started(self, recorder: Recorder) -> None:
        self._begun = None
        self.scope.watch_recorder(recorder)
        self.started(recorder)

    def started(self, recorder: Recorder) -> None:
        """What it records is shown now."""

    def failed(self, error: SmtpscopeError) -> None:
        """What is wrong with what was filled in."""
        self.tell(str(error), wrong=True)


def form_line(label: str, field: Widget) -> Iterator[Widget]:
    """A line of a form."""
    with Horizontal():
        yield Static(Content(label), classes="label")
        yield field


def text_field(id: str, value: str = "", placeholder: str = "") -> Typed:
    """Where something is typed."""
    return Typed(value, placeholder=placeholder, id=id, select_on_focus=False)


def path_field(id: str, placeholder: str, *, folders: bool = False) -> PathInput:
    """Where a path is typed."""
    field = PathInput(folders=folders)
    field.id = id
    field.placeholder = placeholder
    return field


def homely(folder: str) -> str:
    """A folder as its user knows it."""
    home = os.path.expanduser("~")
    return f"~{folder[len(home) :]}" if folder.startswith(f"{home}/") else folder


def new_file(folder: str) -> str:
    """Where a recording goes that nobody names."""
    return f"a new one in {text(homely(folder), 200)}"
