"""Questions in the middle of the screen: a text, a path, yes or no."""

from __future__ import annotations

import os
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.suggester import Suggester
from textual.widgets import Button, Input, Static

from smtpscope.display import masked, text


class Typed(Input):
    """A line that is typed, or put in: it may hold what strangers wrote, and shows it masked."""

    @property
    def _value(self) -> Text:
        return Text(masked(self.value), no_wrap=True, overflow="ignore", end="")

    def action_copy(self) -> None:
        """What is copied is what is seen."""
        if self.selected_text:
            self.app.copy_to_clipboard(masked(self.selected_text))

    def action_cut(self) -> None:
        """The same, and it is gone."""
        self.action_copy()
        self.delete_selection()

    def _position_to_cell(self, position: int) -> int:
        return cell_len(masked(self.value)[:position])


class AskScreen(ModalScreen[str | None]):
    """Asks for a text; None where Esc was pressed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", show=False)
    ]
    DEFAULT_CSS = """
    AskScreen { align: center middle; }
    AskScreen > Vertical {
        width: 70; max-width: 90%; height: auto; padding: 1 2; background: $panel;
        border: round $scope-accent;
    }
    AskScreen Static { width: 100%; margin-bottom: 1; }
    AskScreen Input {
        height: 1; padding: 0 1; background: $surface;
        &, &:focus { border: none; background-tint: $foreground 0%; }
    }
    """

    hint = "Enter: go · Esc: cancel"

    def __init__(self, question: str, value: str = "") -> None:
        """`question` is shown as it is: safe text."""
        super().__init__()
        self._question = question
        self._value = value

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(self._question))
            yield self.field(self._value)
            yield Static(Content(self.hint))

    def field(self, value: str) -> Input:
        """Where the answer is typed."""
        return Typed(value, select_on_focus=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


class _Paths(Suggester):
    """The rest of a path: what there is on this machine."""

    def __init__(self, folders: bool) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._folders = folders

    async def get_suggestion(self, value: str) -> str | None:
        folder, name = os.path.split(value)
        if not name:
            return None
        try:
            with os.scandir(os.path.expanduser(folder) or ".") as entries:
                found = sorted(
                    (entry.name, entry.is_dir())
                    for entry in entries
                    if entry.name.startswith(name) and (entry.is_dir() or not self._folders)
                )
        except (OSError, ValueError):
            return None
        if not found or text(found[0][0]) != found[0][0]:
            return None
        first, is_folder = found[0]
        return os.path.join(folder, first) + ("/" if is_folder else "")


class PathInput(Typed):
    """Where a path is typed: Tab completes it, and goes on where there is nothing to complete."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("tab", "complete", "Complete", show=False)]

    def __init__(self, value: str = "", *, folders: bool = False) -> None:
        super().__init__(value, suggester=_Paths(folders), select_on_focus=bool(value))

    def action_complete(self) -> None:
        if self.cursor_position == len(self.value) and self._suggestion:
            self.value = self._suggestion
            self.cursor_position = len(self.value)
        else:
            self.screen.focus_next()


class AskPathScreen(AskScreen):
    """Asks for a path; None where Esc was pressed."""

    hint = "Enter: go · Tab: complete · Esc: cancel"

    def __init__(self, question: str, value: str = "", *, folders: bool = False) -> None:
        super().__init__(question, value)
        self._folders = folders

    def field(self, value: str) -> Input:
        return PathInput(value, folders=self._folders)


class ConfirmScreen(ModalScreen[bool | None]):
    """Asks for a yes; the way out has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "dismiss(False)", "No", show=False),
        Binding("y", "dismiss(True)", "Yes", show=False),
        Binding("left,right,tab", "app.focus_next", "Other", show=False),
    ]
    DEFAULT_CSS = """
    ConfirmScreen { align: center middle; }
    ConfirmScreen > Vertical {
        width: 64; max-width: 90%; height: auto; padding: 1 2; background: $panel;
        border: round $scope-warning;
    }
    ConfirmScreen Horizontal { height: auto; margin-top: 1; align: center middle; }
    ConfirmScreen Button { margin: 0 2; }
    """

    def __init__(self, question: str, yes: str) -> None:
        """Both are shown as they are: safe text."""
        super().__init__()
        self._question = question
        self._yes = yes

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(self._question))
            with Horizontal():
                yield Button(Content("Cancel (n)"), id="no")
                yield Button(Content(f"{self._yes} (y)"), id="yes", variant="warning")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
