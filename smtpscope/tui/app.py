"""The application: which screen is shown, themes, keys, and what all screens can do."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from smtpscope.configuration import Configuration, check_keys
from smtpscope.display import masked, text
from smtpscope.errors import SmtpscopeError
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.index.views import DamagedError
from smtpscope.memory import Memory
from smtpscope.options import INTERRUPTED
from smtpscope.recorder import Recorder
from smtpscope.review import Review
from smtpscope.tui.keys import binding_keys
from smtpscope.tui.main import MainScreen
from smtpscope.tui.palette import SessionCommands, screen_commands
from smtpscope.tui.prompts import ConfirmScreen
from smtpscope.tui.themes import DARK, THEMES, theme_defaults

if TYPE_CHECKING:
    from smtpscope.tui.forms import Starting

MAX_REBUILT = 3
"""How often the index of the same captures is made anew because it is damaged."""
MAX_TOLD = 300
"""Characters of what is told in a corner of the screen."""
LASTING = 30.0
"""Seconds for which an error stays there."""


class ScopeApp(App[None]):
    """smtpscope on a terminal.

    With `review` it shows these captures, and otherwise the home screen. `starting` starts
    recordings.
    """

    TITLE = "smtpscope"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS: ClassVar = App.COMMANDS | {SessionCommands}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit", id="quit"),
        Binding("H", "home", "Home: open other captures, record", id="home"),
        Binding("question_mark", "help", "Help for where you are", id="help"),
        Binding("ctrl+c", "interrupt", "Quit at once", id="interrupt", show=False, priority=False),
    ]
    CSS = """
    Screen { background: $surface; color: $foreground; }
    ModalScreen { background: $background 60%; }
    Toast { max-width: 70; }
    """

    def __init__(
        self,
        review: Review | None,
        configuration: Configuration,
        memory: Memory,
        *,
        ports: frozenset[int] = frozenset(),
        policy: Policy = NO_POLICY,
        filter: str = "",
        reveal: bool = False,
        key_logs: tuple[str, ...] = (),
        starting: Starting | None = None,
    ) -> None:
        super().__init__()
        self.review = review
        self.starting = starting
        self.configuration = configuration
        self.memory = memory
        self._ports = ports
        self._policy = policy
        self._key_logs = key_logs
        self.first_filter = filter
        self.reveal = reveal
        self.save_folder = "."
        self._rebuilt = 0
        self._said = ("", 0.0)
        self.open_folder = ""
        for theme in THEMES:
            self.register_theme(theme)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme_defaults(self.current_theme)

    def on_mount(self) -> None:
        # A recorder ends with the screen, and the terminal is left as it was found.
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self._take_theme()
        self.theme_changed_signal.subscribe(self, lambda theme: self._keep_theme(theme.name))
        self.set_keymap(dict(self.configuration.keys))
        for problem in (
            *self.configuration.problems,
            *check_keys(self.configuration, binding_keys()),
        ):
            self.tell(problem, "warning")
        if self.review is None:
            from smtpscope.tui.home import HomeScreen

            self.push_screen(HomeScreen())
        else:
            self._show(self.review)

    def _take_theme(self) -> None:
        wanted = self.memory.theme(self.configuration.theme) or DARK.name
        if wanted in self.available_themes:
            self.theme = wanted
        else:
            self.theme = DARK.name
            self.tell(f"There is no theme {wanted}; Ctrl+P lists them.", "warning")

    def _keep_theme(self, name: str) -> None:
        self.memory.keep_theme(name, self.configuration.theme)
        self._tell_memory()

    def open(self, captures: Sequence[str]) -> None:
        """Review other captures. What is wrong with them is told."""
        self.when_nothing_is_lost(lambda: self._review(captures))

    def watch_recorder(self, recorder: Recorder) -> None:
        """Show what a recorder records, as it comes."""
        if not self._review([recorder.path], recorder):
            recorder.stop()

    def _review(self, captures: Sequence[str], recorder: Recorder | None = None) -> bool:
        try:
            review = Review(
                captures,
                ports=self._ports.union(recorder.told.get("ports", ()) if recorder else ()),
                policy=self._policy,
                cache_limit=self.configuration.cache_size,
                live=recorder is not None,
                key_logs=self._key_logs,
                recorder=recorder,
            )
        except SmtpscopeError as error:
            self.tell(str(error), "error")
            return False
        if self.review is not None:
            self.review.close()
        self.review = review
        self._rebuilt = 0
        self._show(review)
        return True

    @property
    def recording(self) -> Recorder | None:
        """The recorder that ends with what is shown."""
        recorder = self.review.recorder if self.review is not None else None
        return recorder if recorder is not None and recorder.ends_with_us else None

    def when_nothing_is_lost(self, go: Callable[[], object], what: str = "End it") -> None:
        """Do something that ends a recording, if there is one: then only after a yes."""

        def answered(sure: bool | None) -> None:
            if sure:
                go()

        recorder = self.recording
        if recorder is None:
            go()
        else:
            question = f"This ends the recording ({text(recorder.doing, 100)})."
            self.push_screen(ConfirmScreen(question, what), answered)

    def _show(self, review: Review) -> None:
        self.memory.keep_captures(review.captures)
        self._tell_memory()
        main = MainScreen(review, filter=self.first_filter, reveal=self.reveal)
        self.first_filter = ""
        self._base(main)

    def _tell_memory(self) -> None:
        if self.memory.problem is not None:
            self.tell(self.memory.problem, "warning")
            self.memory.problem = None

    def failed(self, error: SmtpscopeError) -> None:
        """Tell what went wrong; what is wrong with the index is mended without a word."""
        if isinstance(error, DamagedError):
            self.rebuild()
        else:
            self.tell(str(error), "error")

    def rebuild(self) -> None:
        """The index is damaged: make it anew."""
        review = self.review
        if review is None:
            return
        self._rebuilt += 1
        if self._rebuilt > MAX_REBUILT:
            self.tell("The index is damaged again and again: check the disk.", "error")
            return
        try:
            review.again()
        except SmtpscopeError as error:
            self.tell(str(error), "error")
            return
        self._base(MainScreen(review, reveal=self.reveal))

    def _base(self, main: MainScreen) -> None:
        """Show a main screen in place of all others."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.push_screen(main)

    @contextmanager
    def sound_index(self) -> Iterator[None]:
        """What is done within ends where the index turns out to be damaged, which is mended."""
        try:
            yield
        except DamagedError:
            self.rebuild()

    def tell(
        self, words: str, severity: Literal["information", "warning", "error"] = "information"
    ) -> None:
        """Say something in a corner of the screen; not again while it stands there."""
        timeout = LASTING if severity == "error" else self.NOTIFICATION_TIMEOUT
        said, until = self._said
        now = time.monotonic()
        if words == said and now < until:
            return
        self._said = words, now + timeout
        self.notify(text(words, MAX_TOLD), severity=severity, timeout=timeout, markup=False)

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Paste):
            # The palette's line shows what it holds as it is.
            event.text = "\n".join(map(masked, event.text.splitlines()))
        await super().on_event(event)

    async def action_quit(self) -> None:
        """Leave; a recording is not ended without a question."""
        if self.recording is None:
            self.exit()
        elif not isinstance(self.screen, ConfirmScreen):
            self.push_screen(
                ConfirmScreen("End the recording and leave?", "End and leave"), self._leave
            )

    def _leave(self, sure: bool | None) -> None:
        if sure:
            self.exit()

    def action_interrupt(self) -> None:
        """Leave as whatever runs on a terminal does."""
        self.exit(return_code=INTERRUPTED)

    def action_help(self) -> None:
        from smtpscope.tui.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def action_home(self) -> None:
        """Choose other captures."""
        from smtpscope.tui.home import HomeScreen

        if not isinstance(self.screen, HomeScreen):
            self.push_screen(HomeScreen())

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action of the screen, and what the whole program can do."""
        yield from screen_commands(screen)
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)
