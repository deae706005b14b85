"""Where somebody begins who named no capture: recent ones and recordings, a file to open, a form
that begins to record, the demonstration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from smtpscope import __version__
from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.memory import Recent
from smtpscope.places import bundled_captures
from smtpscope.recordings import with_recordings
from smtpscope.tui.columns import Column, ColumnList
from smtpscope.tui.launch import PROXY, SERVE, Form, LaunchScreen
from smtpscope.tui.pieces import Piece
from smtpscope.tui.prompts import AskPathScreen
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.sniff import SniffScreen
from smtpscope.tui.views import ViewScreen
from smtpscope.tui.words import date, octets

COLUMNS = (
    Column("name", "captures and recordings", 30, 3, priority=10),
    Column("folder", "folder", 16, 3, priority=5),
    Column("size", "size", 9, priority=7, right=True),
    Column("opened", "opened, recorded", 19, priority=6),
)


class Kept(NamedTuple):
    """A capture that was open before, or a recording; `size` is None where it has gone."""

    recent: Recent
    size: int | None


class _Cells:
    def __init__(self, rows: list[Kept]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def marked(self, index: int) -> bool:
        return False

    def cells(self, index: int) -> list[Piece]:
        (captures, opened), size = self.rows[index]
        first = Path(captures[0])
        more = f" +{len(captures) - 1}" if len(captures) > 1 else ""
        gone = size is None
        return [
            Piece(text(first.name, 200) + more, "dim" if gone else "strong"),
            Piece(text(str(first.parent), 300), "dim"),
            Piece(
                octets(size) if size is not None else "gone", "" if size is not None else "warning"
            ),
            Piece(date(int(opened * 1e9)), "time"),
        ]


class HomeScreen(ViewScreen[None]):
    """Home: choose what to review."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "open", "Open a capture", id="open"),
        Binding("s", "sniff", "Sniff: record a network interface", id="sniff"),
        Binding("p", "proxy", "Proxy: stand between clients and a server", id="proxy"),
        Binding("v", "serve", "Serve: be a mail server", id="serve"),
        Binding("d", "demo", "The captures that come with smtpscope", id="demo"),
    ]
    hints = (
        ("choose", "review"),
        ("open", "open a file"),
        ("sniff", "sniff"),
        ("proxy", "proxy"),
        ("serve", "serve"),
        ("demo", "demo"),
    )
    DEFAULT_CSS = """
    HomeScreen > Vertical { height: auto; padding: 1 2; }
    HomeScreen Static { width: 100%; height: auto; }
    HomeScreen ColumnList { height: 1fr; }
    """
    heading = "Home"

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Kept] = []

    def body(self) -> Iterator[Any]:
        with Vertical():
            yield Static(
                Content.from_markup(
                    "[bold $scope-accent]smtpscope[/] $version\n"
                    "See what mail clients and servers really said to each other.\n\n"
                    "[bold $scope-accent]o[/]  open a capture (pcap, pcapng; also gzip, zstd)\n"
                    "[bold $scope-accent]s[/]  sniff: record a network interface\n"
                    "[bold $scope-accent]p[/]  proxy: stand between mail clients and a server\n"
                    "[bold $scope-accent]v[/]  serve: be a mail server that shows every dialogue\n"
                    "[bold $scope-accent]d[/]  demo: the captures that come with smtpscope\n"
                    "[bold $scope-accent]?[/]  help: keys, signs, filters",
                    version=__version__,
                )
            )
        self.list = ColumnList(
            COLUMNS, sortable=False, placeholder="none yet: press o to open one, d for the demo"
        )
        yield self.list

    def on_mount(self) -> None:
        self.list.focus()
        starting = self.scope.starting
        if starting is not None and starting.told:
            self.scope.tell(starting.told)

    def on_screen_resume(self) -> None:
        """Recordings may have come since."""
        listed = with_recordings(self.scope.memory.recent)
        self._rows = [Kept(each, _size(each)) for each in listed]
        self.list.show_cells(_Cells(self._rows), cursor=self.list.cursor)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Esc leads back to where there is something."""
        return action != "back" or self.scope.review is not None

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        self.action_choose()

    def action_choose(self) -> None:
        """Review the captures of the row."""
        if self.list.cursor < len(self._rows):
            self.scope.open(self._rows[self.list.cursor].recent.captures)

    def action_open(self) -> None:
        """Ask for a path."""

        def named(path: str | None) -> None:
            if path and path.strip():
                self.scope.open([os.path.expanduser(path.strip())])

        self.app.push_screen(AskPathScreen("Which capture?", self.scope.open_folder), named)

    def action_sniff(self) -> None:
        """Ask what is to be recorded."""
        if self.scope.starting is None:
            self.scope.tell("Recording begins with `smtpscope sniff`.")
        else:
            self.app.push_screen(SniffScreen(self.scope.starting))

    def action_proxy(self) -> None:
        """Ask whom to stand between."""
        self._launch(PROXY)

    def action_serve(self) -> None:
        """Ask what to be."""
        self._launch(SERVE)

    def _launch(self, form: Form) -> None:
        if self.scope.starting is None:
            self.scope.tell(f"That begins with `smtpscope {form.name}`.")
        else:
            self.app.push_screen(LaunchScreen(self.scope.starting, form))

    def action_demo(self) -> None:
        """Review the captures that come with smtpscope."""
        try:
            self.scope.open([str(path) for path in bundled_captures()])
        except SmtpscopeError as error:
            self.scope.tell(str(error), "error")


def _size(recent: Recent) -> int | None:
    try:
        return sum(os.stat(capture).st_size for capture in recent.captures)
    except OSError:
        return None
