"""The forms that begin a proxy and a server: what their commands take, the usual filled in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.options import PROXY_LISTENER, SERVE_LISTENER
from smtpscope.places import recordings_folder
from smtpscope.recorder import Recorder
from smtpscope.tui.forms import (
    FormScreen,
    Starting,
    form_line,
    new_file,
    path_field,
    text_field,
)


class Line(NamedTuple):
    """A line of a form: what is typed there is said to the command with `option`.

    `value` stands there at first; `hint` says what may stand there while nothing does, and `fact`
    below it what else is to be known. `path` is "file" or "folder" where one is wanted; a
    `several` is typed with blanks between. All of it is safe text.
    """

    option: str
    label: str
    value: str = ""
    hint: str = ""
    fact: str = ""
    path: str = ""
    several: bool = False


class Form(NamedTuple):
    """What is asked for a recorder of this `name`; `wanted` says so where a line is left empty
    that may not be: the first one. `told` is what its user should know before."""

    name: str
    heading: str
    lines: tuple[Line, ...]
    wanted: str
    told: str


PROXY = Form(
    "proxy",
    "Proxy: stand between mail clients and a server",
    (
        Line(
            "--upstream",
            "Server",
            hint="smtp://mx.example.org:25",
            fact="KIND://HOST:PORT; with starttls and smtps always by TLS",
        ),
        Line(
            "--listen",
            "Clients come to",
            PROXY_LISTENER,
            hint=PROXY_LISTENER,
            fact="HOST:PORT, smtps://HOST:PORT (TLS first); or several",
            several=True,
        ),
        Line(
            "--starttls",
            "STARTTLS",
            "intercept",
            hint="intercept",
            fact="intercept (read what is under TLS), pass, strip, refuse",
        ),
    ),
    "Name the server that clients are to be led to, such as smtp://mx.example.org:25.",
    "Point a mail client to where clients come. For it to take TLS from here it has to trust our"
    " CA: smtpscope ca export.",
)

SERVE = Form(
    "serve",
    "Serve: be a mail server that shows every dialogue",
    (
        Line(
            "--listen",
            "Clients come to",
            SERVE_LISTENER,
            hint=SERVE_LISTENER,
            fact="smtp:// no TLS, starttls:// offers it, smtps:// TLS first",
            several=True,
        ),
        Line(
            "--auth",
            "Logging in",
            "off",
            hint="off",
            fact="off, any (whoever tries), users (of the configuration)",
        ),
        Line("--maildir", "Messages go to", hint="mail in the state folder", path="folder"),
        Line(
            "--config",
            "Configuration",
            hint="none; smtpscope serve --sample-config prints one",
            path="file",
        ),
    ),
    "",
    "Nothing leaves this machine: messages go into a Maildir, and there they stay.",
)


class LaunchScreen(FormScreen):
    """Proxy and Serve: record what passes here."""

    DEFAULT_CSS = """
    LaunchScreen .form .below { padding-left: 17; }
    LaunchScreen.-low > .form { padding: 0 2; }
    """

    def __init__(self, starting: Starting, form: Form) -> None:
        super().__init__(starting)
        self.heading = form.heading
        self._form = form
        self._warnings: list[str] = []

    def body(self) -> Iterator[Any]:
        command = f"smtpscope {self._form.name}"
        with Vertical(classes="form"):
            for line in self._form.lines:
                yield from form_line(line.label, _field(line))
                if line.fact:
                    yield Static(Content(line.fact), classes="fact below")
            yield from form_line("Record into", path_field("write", _usual_file()))
            more = f"as behind `{command}`; `{command} --help` lists them"
            yield from form_line("More options", text_field("more", placeholder=more))
        yield from self.foot()

    def on_mount(self) -> None:
        self.query(Input).first().focus()
        self.tell(self._form.told)

    def on_resize(self) -> None:
        self.set_class(self.size.height < 30, "-low")

    def problem(self) -> str:
        form = self._form
        return form.wanted if not self.typed(_id(form.lines[0])) else ""

    def beginning(self) -> tuple[str, Callable[[], Recorder]]:
        options = []
        for line in self._form.lines:
            typed = self.typed(_id(line))
            if line.path:
                typed = os.path.expanduser(typed)
            words = typed.split() if line.several else [typed]
            options += [(line.option, word) for word in words if word]
        file = os.path.expanduser(self.typed("write"))
        if file:
            options.append(("--write", file))
        self._warnings.clear()
        begin = partial(
            self.starting.launch,
            self._form.name,
            options,
            self.typed("more"),
            self._warnings.append,
        )
        return "starting", begin

    def started(self, recorder: Recorder) -> None:
        self.scope.tell(f"{text(recorder.doing, 200)}: what passes there is shown here.")
        for warning in self._warnings:
            self.scope.tell(warning, "warning")


def _id(line: Line) -> str:
    return line.option.removeprefix("--")


def _usual_file() -> str:
    try:
        return new_file(str(recordings_folder()))
    except SmtpscopeError:
        return "a new one"


def _field(line: Line) -> Widget:
    if line.path:
        return path_field(_id(line), line.hint, folders=line.path == "folder")
    return text_field(_id(line), line.value, line.hint)
