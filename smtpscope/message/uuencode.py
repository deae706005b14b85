"""Files that stand in a text as uuencode: `begin 644 name`, lines of data, `end`.

`UuScanner` takes the octets of a body in any pieces and tells its `Files` where one begins, what is
in it and where it ends. POSIX uuencode, historical format.
"""

from __future__ import annotations

import binascii
import re
from typing import Protocol

_BEGIN = re.compile(
    rb"(?<=[\r\n])begin [0-7]{3,4} ([^\r\n]{1,255}+)\r?\n"
    rb"(?=(?:M[ -`]{58,62}|[!-L][ -`]{3,62})\r?\n)"
)
# The letters of begin and end are none of the data's.
_LINES = re.compile(rb"(?:[ -`]{1,98}\r?\n)*+")
_WINDOW = 400
"""Octets in which a begin line and the first line of data have room."""
_MAX_LINE = 100


class Files(Protocol):
    """Takes the files that are found; offsets are those of the body's octets."""

    def begin(self, name: bytes, start: int, body: int) -> bool:
        """A file's data begin at `body`. False: no more files are wanted."""

    def data(self, octets: bytes) -> None:
        """Octets of the file, decoded."""

    def end(self, offset: int, broken: bool) -> None:
        """The file ends; `broken` is one without an end line."""


class UuScanner:
    """Looks for files in one body, which begins at `offset`."""

    __slots__ = ("_base", "_buffer", "_files", "_inside", "_wanted")

    def __init__(self, files: Files, offset: int) -> None:
        self._files = files
        self._inside = False
        self._wanted = True
        # A line end in front, for a begin line that is the first one.
        self._buffer = b"\n"
        self._base = offset - 1

    def feed(self, octets: bytes) -> None:
        if not self._wanted:
            return
        buffer = self._buffer + octets
        position = 0
        while True:
            if not self._inside:
                begin = buffer.find(b"begin ", position)
                match = _BEGIN.search(buffer, begin) if begin >= 0 else None
                if match is None:
                    position = max(position, len(buffer) - _WINDOW)
                    break
                where = self._base + match.start(), self._base + match.end()
                if not self._files.begin(match[1], *where):
                    self._wanted = False
                    break
                self._inside = True
                position = match.end()
            position = self._read_lines(buffer, position)
            if self._inside:
                break
        self._buffer = buffer[position:]
        self._base += position

    def finish(self) -> None:
        if self._inside:
            self._read_lines(self._buffer + b"\n", 0)
        if self._inside:
            self._files.end(self._base + len(self._buffer), True)

    def _read_lines(self, buffer: bytes, position: int) -> int:
        """Read whole lines of data; the file goes on where the next line is not whole."""
        lines = _LINES.match(buffer, position)
        assert lines is not None
        decoded, used = _decode(lines[0])
        self._files.data(decoded)
        position += used
        if position < lines.end():
            self._end(position, True)
        elif b"\n" in buffer[position : position + _MAX_LINE]:
            self._end(position, not buffer.startswith(b"end", position))
        elif len(buffer) - position > _MAX_LINE:
            self._end(position, True)
        return position

    def _end(self, position: int, broken: bool) -> None:
        self._files.end(self._base + position, broken)
        self._inside = False


def _decode(lines: bytes) -> tuple[bytes, int]:
    """What whole lines hold, and how many octets of them are such lines."""
    split = lines.replace(b"\r\n", b"\n").split(b"\n")[:-1]
    try:
        return b"".join(map(binascii.a2b_uu, split)), len(lines)
    except binascii.Error:
        pass
    decoded: list[bytes] = []
    used = 0
    for line in split:
        try:
            decoded.append(binascii.a2b_uu(line))
        except binascii.Error:
            break
        used = lines.index(b"\n", used) + 1
    return b"".join(decoded), used
