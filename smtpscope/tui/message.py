"""One message: its header, its parts as a tree, the text of the selected part; saving of parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import IO, Any, BinaryIO, ClassVar, NamedTuple

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.index.views import SessionRow
from smtpscope.message import Message, MessageBuilder, extract_part
from smtpscope.message.mime import Part
from smtpscope.message.text import is_charset
from smtpscope.review import Review
from smtpscope.saving import copy, save
from smtpscope.tui.background import Newest
from smtpscope.tui.pieces import Line, Piece
from smtpscope.tui.prompts import AskPathScreen
from smtpscope.tui.rowlist import Lines, RowList
from smtpscope.tui.views import ViewScreen
from smtpscope.tui.words import octets, wrap
from smtpscope.tui.wrapped import WrappedList

MAX_SHOWN = 256 << 10
"""Octets of a part that are shown."""
MAX_LINES = 5_000
MAX_LINE = 2_000
"""Characters shown of one line, and of one field."""
MAX_FIELDS = 500
BLOCK = 1 << 16

_FIRST = (b"subject", b"from", b"to", b"cc", b"date", b"message-id")


class Opened(NamedTuple):
    """A message that was decoded: what it is, and its octets."""

    message: Message
    file: IO[bytes]


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """A file from its beginning."""
    file.seek(0)
    while block := file.read(BLOCK):
        yield block


def open_message(review: Review, row: SessionRow, ordinal: int, cancelled: Any) -> Opened:
    """A message of a session, decoded again. Raises `SmtpscopeError`."""
    file = review.details(row, cancelled).message(ordinal)
    builder = MessageBuilder()
    for block in blocks(file):
        builder.feed(block)
    return Opened(builder.finish(), file)


class _Limited(BytesIO):
    """Takes as much as is shown, and lets the rest go."""

    def write(self, octets: Any) -> int:
        room = MAX_SHOWN + 1 - self.tell()
        if room > 0:
            super().write(octets[:room])
        return len(octets)


class MessageScreen(ViewScreen[tuple[int, int] | None]):
    """A message: its parts on the left, what is selected of them on the right.

    It ends with the session's id where the user wants to see its dialogue.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "save", "Save the part", id="save"),
        Binding("S", "save_all", "Save the whole message (.eml)", id="save_all"),
        Binding("v", "session", "The session of the message", id="session"),
        Binding("tab", "app.focus_next", "Other pane", id="other_pane", show=False),
    ]
    hints = (
        ("save", "save part"),
        ("save_all", "save .eml"),
        ("session", "session"),
        ("other_pane", "other pane"),
    )
    DEFAULT_CSS = """
    MessageScreen Horizontal { height: 1fr; }
    MessageScreen #parts { width: 1fr; max-width: 44; height: 100%; border-right: solid $panel; }
    MessageScreen #text { width: 2fr; height: 100%; }
    """
    heading = "Message"

    def __init__(self, review: Review, row: SessionRow, ordinal: int) -> None:
        super().__init__()
        self._review = review
        self._row = row
        self._ordinal = ordinal
        self._opened: Opened | None = None
        self._parts: list[Part | None] = []
        self._loader: Newest[Any] = Newest(self.call_later)
        self._saver: Newest[Path] = Newest(self.call_later)
        self._reading = Lock()

    def body(self) -> Iterator[Any]:
        self.tree_rows = RowList(id="parts", placeholder="decoding …")
        self.text_rows = WrappedList(id="text", beside=True)
        with Horizontal():
            yield self.tree_rows
            yield self.text_rows

    def on_mount(self) -> None:
        self.tree_rows.focus()
        self._loader.run(
            lambda cancelled: open_message(self._review, self._row, self._ordinal, cancelled),
            self._show,
            self._failed,
        )

    def on_unmount(self) -> None:
        self._loader.close()
        self._saver.close()

    def _failed(self, error: SmtpscopeError) -> None:
        self.tree_rows.tell(text(str(error), 500))

    def _show(self, opened: Opened) -> None:
        self._opened = opened
        message = opened.message
        capture = text(self._review.names[self._row.capture], 40)
        self.retitle(f"Message of session {self._row.number} of {capture}: {octets(message.size)}")
        self._parts = [None]
        lines: list[Line] = [[Piece("Header", "strong"), Piece(f"  {len(message.headers)} fields")]]
        for part, depth in message.walk():
            self._parts.append(part)
            lines.append(_part_line(part, depth))
        self.tree_rows.show(Lines(lines))

    def on_row_list_moved(self, event: RowList.Moved) -> None:
        if event.rows is not self.tree_rows or self._opened is None:
            return
        part = self._parts[event.index] if event.index < len(self._parts) else None
        if part is None:
            self._loader.cancel()
            message = self._opened.message
            self.text_rows.show_wrapped(lambda width: header_lines(message, width))
        else:
            self._read(part)

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        if event.rows is self.tree_rows:
            self.text_rows.focus()

    def _read(self, part: Part) -> None:
        opened = self._opened
        assert opened is not None

        def job(cancelled: Any) -> bytes:
            out = _Limited()
            with self._reading:
                extract_part(blocks(opened.file), part.number, out)
            return out.getvalue()

        def done(body: bytes) -> None:
            self.text_rows.show_wrapped(lambda width: body_lines(part, body, width))

        self._loader.run(job, done, self._failed)

    def action_session(self) -> None:
        """Show the dialogue in which it was sent."""
        self.dismiss((self._row.id, self._ordinal))

    # -- saving -----------------------------------------------------------------------------------

    def action_save(self) -> None:
        """Save the selected part, decoded."""
        part = self._parts[self.tree_rows.cursor] if self._parts else None
        opened = self._opened
        if opened is None:
            return
        if part is None:
            self.action_save_all()
            return
        name = part.filename or f"part-{part.number}{_suffix(part)}"

        def write(out: BinaryIO) -> None:
            extract_part(blocks(opened.file), part.number, out)

        self._save(name, write)

    def action_save_all(self) -> None:
        """Save the message as it was sent."""
        opened = self._opened
        if opened is not None:
            self._save(f"message-{self._row.number}-{self._ordinal + 1}.eml", copy(opened.file))

    def _save(self, name: str, write: Callable[[BinaryIO], None]) -> None:
        def chosen(folder: str | None) -> None:
            if folder:
                self.scope.save_folder = folder
                self._saver.run(lambda cancelled: job(folder), done, self.scope.failed)

        def job(folder: str) -> Path:
            with self._reading:
                return save(folder, name, write)

        def done(path: Path) -> None:
            self.scope.tell(f"Saved: {path}")

        self.app.push_screen(
            AskPathScreen("Save in which folder?", self.scope.save_folder, folders=True), chosen
        )


def header_lines(message: Message, width: int) -> list[Line]:
    """The fields of a message's header, those that people know first."""
    found: list[Line] = []
    if message.missing:
        found.append([Piece(f"{message.missing:,} octets are missing in the capture", "warning")])
    first = [h for name in _FIRST for h in message.fields.get(name, ())]
    others = [h for h in message.headers if h.name.lower() not in _FIRST]
    for group in (first, others):
        for name, value in group[:MAX_FIELDS]:
            label = text(name, 40)
            shown = text(" ".join(_decoded(value).split()), MAX_LINE)
            margin = cell_len(label) + 2
            for number, line in enumerate(wrap(shown, max(width - margin, 20)) or [""]):
                head = f"{label}: " if not number else " " * margin
                found.append([Piece(head, "label"), Piece(line)])
        found.append([])
    return found


def _part_line(part: Part, depth: int) -> Line:
    name = f" {text(part.filename, 100)}" if part.filename else ""
    return [
        Piece("  " * min(depth, 20)),
        Piece(text(part.content_type, 60), "message" if not part.children else "dim"),
        Piece(name, "strong"),
        Piece(f"  {octets(part.size)}", "dim"),
    ]


def body_lines(part: Part, body: bytes, width: int) -> list[Line]:
    """A part's content as text, or its first octets."""
    if part.children or not (part.content_type.startswith(("text/", "message/"))):
        kind = text(part.content_type, 80)
        found: list[Line] = [[Piece(f"{kind}, {octets(part.size)}", "dim"), Piece("  s saves it")]]
        if part.children:
            return found
        from smtpscope.tui.hexdump import dump

        return [*found, [], *dump(body[:4096], 0, 16 if width >= 76 else 8)]
    lines: list[Line] = []
    cut = len(body) > MAX_SHOWN
    for line in _charset(part, body[:MAX_SHOWN]).splitlines()[:MAX_LINES]:
        shown = text(line.expandtabs(), MAX_LINE)
        pieces = (wrap(shown, width) or [""]) if cell_len(shown) > width else [shown]
        style = "dim" if line.startswith(">") else ""
        lines += [[Piece(piece, style)] for piece in pieces]
    if cut:
        lines.append([Piece(f"… the rest of {octets(part.size)} is not shown; s saves all", "dim")])
    return lines or [[Piece("(empty)", "dim")]]


def _charset(part: Part, body: bytes) -> str:
    # Some that Python knows take quadratic time.
    charset = part.charset if part.charset and is_charset(part.charset) else "utf-8"
    try:
        return body.decode(charset, "replace")
    except (LookupError, ValueError):
        return body.decode("utf-8", "replace")


def _suffix(part: Part) -> str:
    known = {"text/plain": ".txt", "text/html": ".html", "message/rfc822": ".eml"}
    return known.get(part.content_type, ".bin")


def _decoded(value: bytes) -> str:
    from smtpscope.message.text import decode_text

    return decode_text(value)
