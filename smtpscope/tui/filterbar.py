"""Where the display filter is typed: coloured while it is wrong, completed, with a history.

It posts `Changed` with every filter that can be read; what cannot be read changes nothing.
"""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input, Static

from smtpscope import display
from smtpscope.filters import Filter, FilterError, complete, parse
from smtpscope.tui.prompts import Typed

MAX_HINTS = 12


class _Completion(Suggester):
    """The rest of the word that is being typed."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        found = complete(value)
        if not found or not value.strip():
            return None
        typed = _typed(value)
        return value + found[0][len(typed) :] if typed or value.endswith((" ", "(")) else None


def _typed(value: str) -> str:
    """What of the last word is there: what every completion begins with."""
    for length in range(min(len(value), 40), 0, -1):
        tail = value[-length:].lower()
        if all(each.isalnum() or each in ".-_" for each in tail):
            before = value[:-length]
            if not before or not (before[-1].isalnum() or before[-1] in ".-_"):
                return tail
    return ""


class _Field(Typed):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "Complete", show=False),
        Binding("up", "earlier(1)", "Earlier filter", show=False),
        Binding("down", "earlier(-1)", "Later filter", show=False),
        Binding("escape", "clear_filter", "No filter", show=False),
    ]

    def action_complete(self) -> None:
        if self.cursor_position == len(self.value) and self._suggestion:
            self.value = self._suggestion
            self.cursor_position = len(self.value)

    def action_earlier(self, by: int) -> None:
        bar = self.parent
        assert isinstance(bar, FilterBar)
        bar.recall(by)

    def action_clear_filter(self) -> None:
        bar = self.parent
        assert isinstance(bar, FilterBar)
        bar.clear()


class FilterBar(Container):
    """One line: the filter, and what it shows or what is wrong with it."""

    DEFAULT_CSS = """
    FilterBar { height: 1; layout: horizontal; background: $surface; }
    FilterBar > .prompt { width: 3; color: $scope-accent; }
    FilterBar > Input {
        width: 1fr; height: 1; border: none; padding: 0; background: $surface;
        &:focus { border: none; background: $panel; background-tint: $foreground 0%; }
        &.-unreadable { color: $scope-error; text-style: underline; }
    }
    FilterBar > .told { width: auto; max-width: 65%; color: $scope-dim; padding: 0 1; }
    FilterBar.-wrong > .told { color: $scope-error; }
    """

    class Changed(Message):
        """Another filter can be read."""

        def __init__(self, filter: Filter) -> None:
            super().__init__()
            self.filter = filter

    class Left(Message):
        """The filter is done: `kept` where it is to be remembered."""

        def __init__(self, kept: str) -> None:
            super().__init__()
            self.kept = kept

    def __init__(self, key: str) -> None:
        """`key` is the one that leads here."""
        super().__init__()
        self._key = key
        self.history: list[str] = []
        self._recalled = -1
        self._told = ""
        self._shown = ""

    def compose(self) -> ComposeResult:
        yield Static(Content(" ▸ "), classes="prompt")
        field = _Field(
            placeholder=f"{self._key} filters: code >= 500 and to ~ example.org",
            suggester=_Completion(),
            select_on_focus=False,
        )
        field.can_focus = False
        yield field
        yield Static(classes="told")

    @property
    def field(self) -> Input:
        return self.query_one(Input)

    def edit(self) -> None:
        """Let the user type."""
        self.field.can_focus = True
        # At once: the next key may be there already.
        self.screen.set_focus(self.field)
        self._hint()

    def on_click(self) -> None:
        if self.screen.focused is not self.field:
            self.edit()

    def put(self, text: str) -> None:
        """Put a filter in as if it were typed."""
        self.field.value = text
        self.field.cursor_position = len(text)

    def clear(self) -> None:
        self.put("")
        self._leave("")

    def recall(self, by: int) -> None:
        """Show an earlier (1) or a later (-1) filter."""
        found = self._recalled + by
        if -1 <= found < len(self.history):
            self._recalled = found
            self.put(self.history[found] if found >= 0 else "")

    def tell(self, text: str) -> None:
        """Show how much the filter shows."""
        self._told = text
        if not self.has_class("-wrong"):
            self._hint()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        try:
            filter = parse(event.value)
        except FilterError as error:
            self.field.add_class("-unreadable")
            self.add_class("-wrong")
            self._show(f"column {error.column}: expected {error.expected}")
            return
        self.field.remove_class("-unreadable")
        self.remove_class("-wrong")
        self._hint()
        self.post_message(self.Changed(filter))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not self.has_class("-wrong"):
            self._leave(event.value.strip())

    def _leave(self, kept: str) -> None:
        self._recalled = -1
        self.field.can_focus = False
        self._show(self._told)
        self.post_message(self.Left(kept))

    def _hint(self) -> None:
        typing = self.screen.focused is self.field
        found = complete(self.field.value) if typing else []
        self._show("  ".join(found[:MAX_HINTS]) if found else self._told)

    def _show(self, text: str) -> None:
        # Each update has everything laid out anew.
        if text != self._shown:
            self._shown = text
            self.query_one(".told", Static).update(Content(display.text(text)))
