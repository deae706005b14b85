"""Export from the screen: this session, the marked ones or all that are shown, in some format."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, RadioButton, RadioSet, Static

from smtpscope.details import CancelledError
from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.export import jsonl
from smtpscope.export import text as plain
from smtpscope.export.capture import CaptureWriter
from smtpscope.index.views import SessionRow
from smtpscope.review import Review
from smtpscope.saving import copy, save
from smtpscope.session import Session
from smtpscope.tui.background import Newest
from smtpscope.tui.prompts import PathInput
from smtpscope.tui.words import amount

if TYPE_CHECKING:
    from smtpscope.tui.main import MainScreen

OnSession = Callable[[int], None]
"""Takes how many sessions are written."""


class Job(NamedTuple):
    """Which sessions (by their ids in the index), in which format, into which folder."""

    ids: list[int]
    format: str
    folder: str
    reveal: bool


FORMATS = {
    "text": ("annotated text", ".txt"),
    "jsonl": ("JSON lines", ".jsonl"),
    "eml": ("messages as .eml files", ".eml"),
    "pcapng": ("packets, for Wireshark", ".pcapng"),
}


def export(
    review: Review, job: Job, on_session: OnSession, cancelled: Callable[[], bool]
) -> list[Path]:
    """Write sessions; the files that were made. Raises `SmtpscopeError`."""
    if job.format == "eml":
        return list(_messages(review, job, on_session, cancelled))
    count = f"session-{_row(review, job.ids[0]).number}" if len(job.ids) == 1 else "sessions"
    name = f"{Path(review.names[0]).name.split('.')[0]}-{count}{FORMATS[job.format][1]}"

    if job.format == "pcapng":
        return [save(job.folder, name, partial(_record, review, job, on_session, cancelled))]

    def write(file: BinaryIO) -> None:
        for done, id in enumerate(job.ids):
            on_session(done)
            session = review.details(_row(review, id), cancelled).session()
            file.write(_shown(session, job).encode("utf-8", "backslashreplace"))

    return [save(job.folder, name, write)]


def _shown(session: Session, job: Job) -> str:
    if job.format == "jsonl":
        return jsonl.dumps(session, reveal=job.reveal) + "\n"
    return plain.dumps(session, reveal=job.reveal) + "\n"


def _record(
    review: Review,
    job: Job,
    on_session: OnSession,
    cancelled: Callable[[], bool],
    file: BinaryIO,
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sessions.pcapng"
        with CaptureWriter(path) as writer:
            for done, id in enumerate(job.ids):
                on_session(done)
                details = review.details(_row(review, id), cancelled)
                writer.add(details.captured(), details.secrets)
        with path.open("rb") as recorded:
            shutil.copyfileobj(recorded, file)


def _messages(
    review: Review, job: Job, on_session: OnSession, cancelled: Callable[[], bool]
) -> Iterator[Path]:
    for done, id in enumerate(job.ids):
        on_session(done)
        row = _row(review, id)
        for ordinal in review.index.ordinals(id):
            with review.details(row, cancelled).message(ordinal) as message:
                name = f"message-{row.number}-{ordinal + 1}.eml"
                yield save(job.folder, name, copy(message))


def _row(review: Review, id: int) -> SessionRow:
    row = review.index.session(id)
    if row is None:
        raise SmtpscopeError("the session is no longer in the index; open the capture again")
    return row


class _Choice(RadioButton):
    """One of several, told from the others without colour, too."""

    def on_mount(self) -> None:
        self._mark()

    def watch_value(self) -> None:
        self._mark()
        super().watch_value()

    def _mark(self) -> None:
        self.BUTTON_INNER = "●" if self.value else " "
        self.refresh()


class ExportScreen(ModalScreen[None]):
    """Which sessions, in which format, where to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Cancel", show=False),
        Binding("ctrl+s", "export", "Export", show=False),
    ]
    DEFAULT_CSS = """
    ExportScreen { align: center middle; }
    ExportScreen > Vertical {
        width: 76; max-width: 96%; height: auto; padding: 0 2; background: $panel;
        border: round $scope-accent; border-title-color: $scope-accent;
    }
    ExportScreen Horizontal { height: auto; }
    ExportScreen RadioSet {
        width: 1fr; height: auto; background: $panel; border: none; padding: 0;
        &:focus { border: none; background-tint: $foreground 0%; }
    }
    ExportScreen Input {
        height: 1; padding: 0 1; background: $surface;
        &, &:focus { border: none; background-tint: $foreground 0%; }
    }
    ExportScreen Static { width: 100%; color: $scope-dim; margin-top: 1; }
    ExportScreen RadioButton { margin-top: 0; }
    ExportScreen .buttons { align: right middle; }
    ExportScreen Button { margin-left: 2; }
    """

    def __init__(self, main: MainScreen) -> None:
        super().__init__()
        self._main = main
        self._about = next(iter(FORMATS))
        self._loader: Newest[list[Path]] = Newest(self.call_later)
        row = main.sessions.row
        self._choices: list[tuple[str, Callable[[], list[int]]]] = []
        if row is not None:
            self._choices.append((f"session {row.number}", lambda: [row.id]))
        if main.marked:
            marked = sorted(main.marked)
            self._choices.append((f"marked: {amount(len(marked), 'session')}", lambda: marked))
        shown = len(main.sessions.listing)
        if shown:
            name = f"shown: {amount(shown, 'session')}"
            self._choices.append((name, main.sessions.listing.ids))

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content("Export")
            yield Static(Content("What, and as what (Space chooses, Tab goes on)"))
            with Horizontal():
                with RadioSet(id="what"):
                    for number, (name, _) in enumerate(self._choices):
                        yield _Choice(Content(name), number == 0)
                with RadioSet(id="format"):
                    for number, (name, _) in enumerate(FORMATS.values()):
                        yield _Choice(Content(name), number == 0)
            yield Static(Content("Into which folder"))
            yield PathInput(self._main.scope.save_folder, folders=True)
            yield Static(self._secrets("text"), id="told")
            with Horizontal(classes="buttons"):
                yield Button(Content("Cancel"), id="no")
                yield Button(Content("Export"), id="yes", variant="primary")

    def _secrets(self, format: str) -> Content:
        if format == "pcapng":
            return Content("Packets are written as they are: with all secrets.")
        if self._main.reveal:
            return Content("Secrets are shown now (R), and so they are written, too.")
        return Content("Secrets are left out. Messages are written as they are.")

    def on_radio_set_changed(self, event: RadioSet.Changed) -> None:
        # The news of a choice may come behind what became of an export.
        if self._format != self._about:
            self._about = self._format
            self.query_one("#told", Static).update(self._secrets(self._about))

    @property
    def _format(self) -> str:
        return list(FORMATS)[max(self.query_one("#format", RadioSet).pressed_index, 0)]

    def on_unmount(self) -> None:
        self._loader.close()

    def action_cancel(self) -> None:
        """Leave; what is half written is thrown away."""
        self._loader.cancel()
        self.dismiss(None)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_export()
        else:
            self.action_cancel()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.action_export()

    def action_export(self) -> None:
        """Write it."""
        if not self._choices or self._loader.busy:
            return
        chosen = self._choices[max(self.query_one("#what", RadioSet).pressed_index, 0)][1]
        folder = self.query_one(PathInput).value.strip() or "."
        self._about = self._format
        job = Job([], self._about, folder, self._main.reveal)
        review = self._main.review

        def run(cancelled: Any) -> list[Path]:
            ids = chosen()

            def on_session(done: int) -> None:
                if cancelled():
                    raise CancelledError("cancelled")
                if done % 50 == 0:
                    self.app.call_later(self._tell, f"{done:,} of {len(ids):,} …")

            return export(review, job._replace(ids=ids), on_session, cancelled)

        self._tell("…")
        self._main.scope.save_folder = folder
        self._loader.run(run, self._done, self._failed)

    def _tell(self, words: str) -> None:
        if self.is_attached:
            self.query_one("#told", Static).update(Content(text(words, 300)))

    def _done(self, paths: list[Path]) -> None:
        scope = self._main.scope
        if not paths:
            self._tell("These sessions have no message: nothing was written.")
            return
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        scope.tell(f"Saved: {paths[0]}{more}")
        self.dismiss(None)

    def _failed(self, error: SmtpscopeError) -> None:
        self._tell(str(error))
