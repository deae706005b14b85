"""Message data at a server's pace: octets up to CRLF.CRLF, dot-unstuffed, a block at a time.

`framing.DataScanner` is its careful brother, which tells each odd end of data; this one only has to
find the true end, and looks at no line by itself. RFC 5321 §4.1.1.4, §4.5.2, §4.5.3.1.6.
"""

from __future__ import annotations

MAX_TEXT_LINE = 1_000
"""Octets of a line of a message with its CRLF (RFC 5321 §4.5.3.1.6)."""

_END = b"\r\n.\r\n"
_DOT = b"\r\n."
_LINE_END = b"\r\n"


class MessageScanner:
    """Reads one message behind DATA.

    `size` counts the octets of the message so far; `bare_lf` and `long_line` say that there was
    such a thing.
    """

    __slots__ = ("_held", "_skip", "_tail", "bare_lf", "long_line", "size")

    def __init__(self) -> None:
        # The CRLF that ended the DATA line serves as the one before the first line.
        self._held = _LINE_END
        self._skip = len(_LINE_END)
        self._tail = 0
        self.size = 0
        self.bare_lf = False
        self.long_line = False

    def feed(self, piece: bytes) -> tuple[bytes, int]:
        """The message octets that are certain now, and how many of `piece` the message took.

        The second number is -1 while the end was not found.
        """
        held = self._held
        data = held + piece if held else piece
        taken = -1
        stuffed = data.find(_DOT) >= 0
        end = data.find(_END) if stuffed else -1
        if end >= 0:
            stop = end + len(_LINE_END)
            taken = end + len(_END) - len(held)
            self._held = b""
        else:
            stop = len(data) - _length_of_beginning(data)
            self._held = data[stop:]
        # A CR at the very end is held back, so no pair is ever torn here.
        if not self.bare_lf and data.count(b"\n", 0, stop) != data.count(_LINE_END, 0, stop):
            self.bare_lf = True
        content = data if stop == len(data) else data[:stop]
        if stuffed:
            content = content.replace(_DOT, _LINE_END)
        if self._skip and content:
            skipped = min(self._skip, len(content))
            self._skip -= skipped
            content = content[skipped:]
        self.size += len(content)
        if not self.long_line:
            self._measure(content)
        return content, taken

    def _measure(self, content: bytes) -> None:
        """Look for a line above the limit by leaps from line end to line end."""
        at, end, room = 0, len(content), MAX_TEXT_LINE - self._tail
        while end - at > room:
            newline = content.rfind(b"\n", at, at + room)
            if newline < 0:
                self.long_line = True
                return
            at, room = newline + 1, MAX_TEXT_LINE
        newline = content.rfind(b"\n", at, end)
        self._tail = end - newline - 1 if newline >= 0 else MAX_TEXT_LINE - room + end - at


def _length_of_beginning(data: bytes) -> int:
    """How many of the last octets may be the beginning of the end of data."""
    for length in range(min(len(data), len(_END) - 1), 0, -1):
        if data.endswith(_END[:length]):
            return length
    return 0
