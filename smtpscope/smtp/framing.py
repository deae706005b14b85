"""From octets to lines and message data: the framing of SMTP, which keeps every odd octet.

`Octets` holds what one direction has sent and nobody has taken yet, and cuts lines off it;
`DataScanner` reads what follows DATA up to CRLF.CRLF and undoes dot-stuffing. Both work in linear
time however the octets are chunked. RFC 5321 §2.3.8, §4.1.1.4, §4.5.2.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from smtpscope.stream import Data, Defect, Direction, Mark, Span

MAX_LINE = 65_536
"""Octets of one line that are kept; far beyond RFC 5321 §4.5.3.1 and RFC 4954's 12,288."""

MAX_ODD_ENDS = 16
"""Odd ends of data that are told of one message."""

MAX_FOLLOWING = 100
"""Octets behind an odd end of data that are looked at: are they a command?"""


class Line(NamedTuple):
    """One line: `text` without its ending, `ending` CRLF or LF, and its place in the stream."""

    text: bytes
    ending: bytes
    start: int
    end: int


# A NamedTuple's own constructor takes twice as long, and there is one for every line.
_new = tuple.__new__


class Octets:
    """The octets of one direction that nobody has taken yet.

    `overlong`: the last call of `line` found no LF within `MAX_LINE` octets.
    """

    __slots__ = ("_data", "_index", "_marks", "_searched", "base", "overlong")

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""
        self._index = 0
        self._searched = 0
        self._marks: Sequence[Mark] = ()
        self.base = 0
        self.overlong = False

    def __len__(self) -> int:
        return len(self._data) - self._index

    @property
    def offset(self) -> int:
        """The stream offset of the next octet."""
        return self.base + self._index

    def feed(self, data: Data) -> None:
        if self._index == len(self._data):
            self._data = data.data
            self.base = data.offset
            self._index = self._searched = 0
            self._marks = data.marks
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        if self._index > MAX_LINE:
            del self._data[: self._index]
            self.base += self._index
            self._searched = max(self._searched - self._index, 0)
            self._index = 0
            self._marks = self._marks[self._mark_index(self.base) :]
        self._data += data.data
        if not isinstance(self._marks, list):
            self._marks = [*self._marks]
        self._marks.extend(data.marks)

    def pass_over(self, data: Data) -> None:
        """`data` comes next, and its octets were taken elsewhere; nothing may be left here."""
        self._data = b""
        self.base = data.offset + len(data.data)
        self._index = self._searched = 0
        self._marks = data.marks

    def peek(self, count: int) -> bytes:
        return bytes(self._data[self._index : self._index + count])

    def take(self, count: int) -> bytes:
        """The next `count` octets, or all there are."""
        piece = bytes(self._data[self._index : self._index + count])
        self._index += len(piece)
        return piece

    def line(self) -> Line | None:
        """The next line, if its LF is there within `MAX_LINE` octets."""
        index, data = self._index, self._data
        self.overlong = False
        if index == len(data):
            return None
        newline = data.find(b"\n", max(index, self._searched), index + MAX_LINE)
        if newline < 0:
            self._searched = min(len(data), index + MAX_LINE)
            self.overlong = self._searched - index >= MAX_LINE
            return None
        self._index = end = newline + 1
        ending = b"\n"
        if newline > index and data[newline - 1] == 0x0D:
            newline -= 1
            ending = b"\r\n"
        base = self.base
        return _new(Line, (bytes(data[index:newline]), ending, base + index, base + end))

    def give_back(self, count: int) -> None:
        """Undo the last `count` octets of `take`."""
        self._index -= count

    def skip_line(self) -> bool:
        """Take octets up to and with the next LF; False where all are taken and none was there."""
        newline = self._data.find(b"\n", self._index)
        self._index = newline + 1 if newline >= 0 else len(self._data)
        return newline >= 0

    def mark(self, offset: int) -> Mark:
        """The mark of the segment that brought the octet at stream offset `offset`."""
        if len(self._marks) == 1:
            return self._marks[0]
        return self._marks[self._mark_index(offset)]

    def rest(self, direction: Direction) -> Data | None:
        """What is left, as the event that it came in; afterwards nothing is."""
        offset = self.offset
        octets = self.take(len(self))
        if not octets:
            return None
        marks = self._marks[self._mark_index(offset) :]
        first = Mark(offset, marks[0].time, marks[0].packet)
        return Data(direction, offset, octets, (first, *marks[1:]))

    def _mark_index(self, offset: int) -> int:
        return max(bisect_right(self._marks, offset, key=_offset) - 1, 0)


def _offset(mark: Mark) -> int:
    return mark.offset


_END = b"\r\n.\r\n"
# Some servers throw NULs away before they look for the end.
_ANY_END = re.compile(rb"(?:\r\n|\n|\r)\0?\.\0?(?:\r\n|\n|\r)")
_ODD_TAIL = re.compile(_ANY_END.pattern + rb"\Z")
_CONTEXT = len(_END) - 1
_BEFORE_DOT = b"\r\n\0"
_DOTS = 64
"""Dots that are looked at one by one: finding one octet is a hundred times as quick as finding two,
and few messages have many dots, but some are nothing else."""
_LONGEST_ODD_END = len(b"\r\n\0.\0\r\n")
_ENVELOPE_COMMAND = re.compile(
    rb"""\s*((?:MAIL[ ]+FROM[ ]?: | RCPT[ ]+TO[ ]?: | (?:EHLO|HELO|LHLO)[ ] | BDAT[ ]+[0-9]
    | (?:DATA|STARTTLS)[ ]*[\r\n] | (?:AUTH|XCLIENT|XFORWARD|VRFY|EXPN|ETRN)[ ]+\S)[^\r\n]*)""",
    re.IGNORECASE | re.VERBOSE,
)
"""Commands that do something: a lone QUIT behind an odd end says only that the client is sloppy."""


class _OddEnd:
    """An odd end of data and the first octets behind it."""

    __slots__ = ("following", "octets", "span")

    def __init__(self, span: Span, octets: bytes, following: bytes) -> None:
        self.span = span
        self.octets = octets
        self.following = following

    def defect(self) -> Defect:
        spelled = (
            self.octets.decode("ascii")
            .replace("\r", "CR")
            .replace("\n", "LF")
            .replace("\0", " NUL ")
        )
        if command := _ENVELOPE_COMMAND.match(self.following):
            span = Span(self.span.direction, self.span.start, self.span.end + command.end())
            hidden = command[1].decode("utf-8", "backslashreplace").rstrip()
            if hidden[:4].upper() == "AUTH":
                # What follows may be a secret.
                hidden = "AUTH"
            return Defect("smuggling-attempt", span, f"{spelled} and then {hidden}")
        return Defect("odd-end-of-data", self.span, spelled)


class DataScanner:
    """Reads message data up to CRLF.CRLF and undoes the dot-stuffing (RFC 5321 §4.5.2).

    The data begins at a line's start, so an empty message is just `.CRLF`. The last octets stay
    held back while they may be the beginning of the end. Endings that only some servers take for
    the end (LF.LF and its kin) are data, and told in `defects`, as are commands behind them.
    """

    __slots__ = (
        "_before",
        "_direction",
        "_held",
        "_noted",
        "_odd_ends",
        "_offset",
        "_skip",
        "_unfilled",
    )

    def __init__(self, direction: Direction, offset: int) -> None:
        self._direction = direction
        # The CRLF that ended the DATA line serves as the one before the first line.
        self._held = b"\r\n"
        self._skip = len(self._held)
        self._offset = offset - len(self._held)
        self._before = b""
        self._noted = 0
        self._odd_ends: list[_OddEnd] = []
        self._unfilled: list[_OddEnd] = []

    @property
    def defects(self) -> list[Defect]:
        """The odd ends seen so far, with what was hidden behind them."""
        return [odd_end.defect() for odd_end in self._odd_ends]

    def feed(self, piece: bytes) -> tuple[bytes, int]:
        """The message octets that are certain now, and how many of `piece` the data took.

        The second number is -1 while the end was not found.
        """
        data = self._held + piece
        dot = _first_dot(data)
        end = data.find(_END, max(dot - 2, 0)) if dot >= 0 else -1
        if end >= 0:
            used = end + len(_END)
            taken = used - len(self._held)
            self._fill(piece[:taken])
            self._note_odd_ends(data[:used], dot)
            self._held = b""
            return self._release(data[: end + 2]), taken
        self._fill(piece)
        self._note_odd_ends(data, dot)
        keep = min(len(data), _CONTEXT)
        while keep and not _END.startswith(data[-keep:]):
            keep -= 1
        self._held = data[len(data) - keep :]
        return self._release(data[: len(data) - keep]), -1

    def gap(self, length: int) -> bytes:
        """`length` octets are missing here: what was held back comes out, for it ends nothing."""
        released = self._release(self._held)
        self._held = self._before = b""
        self._unfilled.clear()
        self._offset += length
        return released

    @property
    def has_odd_end(self) -> bool:
        """There is something in the data that some servers take for its end."""
        return bool(self._odd_ends)

    @property
    def at_odd_end(self) -> bool:
        """What was read so far ends in something that some servers take for the end of data."""
        return _ODD_TAIL.search(self._before + self._held) is not None

    def _release(self, raw: bytes) -> bytes:
        self._offset += len(raw)
        known = raw if len(raw) >= _LONGEST_ODD_END else self._before + raw
        self._before = known[-_LONGEST_ODD_END:]
        dot = _first_dot(raw)
        content = raw
        if dot >= 0 and raw.find(b"\r\n.", max(dot - 2, 0)) >= 0:
            content = raw.replace(b"\r\n.", b"\r\n")
        if self._skip and content:
            skipped = min(self._skip, len(content))
            self._skip -= skipped
            content = content[skipped:]
        return content

    def _note_odd_ends(self, data: bytes, dot: int) -> None:
        """`dot` is the `_first_dot` of `data`."""
        before = self._before
        if b"." in before:
            position = 0
        elif dot >= 0:
            # The pattern takes ten times as long as `find`: begin where a dot may begin a line.
            position = max(len(before) + dot - 3, 0)
        else:
            return
        data = before + data
        start = self._offset - len(before)
        while match := _ANY_END.search(data, position):
            # The line ending behind the dot may be the one before the next.
            position = match.start() + 2
            undecided = match.end() == len(data) and match.group().endswith(b"\r")
            if match.group() == _END or undecided or start + match.end() <= self._noted:
                continue
            self._noted = start + match.end()
            if len(self._odd_ends) < MAX_ODD_ENDS:
                span = Span(self._direction, max(start + match.start(), 0), start + match.end())
                following = data[match.end() : match.end() + MAX_FOLLOWING]
                odd_end = _OddEnd(span, match.group(), following)
                self._odd_ends.append(odd_end)
                self._unfilled.append(odd_end)

    def _fill(self, piece: bytes) -> None:
        if not self._unfilled:
            return
        for odd_end in self._unfilled:
            odd_end.following += piece[: MAX_FOLLOWING - len(odd_end.following)]
        self._unfilled = [each for each in self._unfilled if len(each.following) < MAX_FOLLOWING]


def _first_dot(data: bytes) -> int:
    """Where the first dot is that may begin a line, or ends one that a NUL begins; -1 without one.

    What is before `data` is not known, and so a dot at its beginning is one.
    """
    at = data.find(b".")
    for _ in range(_DOTS):
        if at <= 0 or data[at - 1] in _BEFORE_DOT:
            return at
        at = data.find(b".", at + 1)
    if at < 0:
        return at
    found = [data.find(octet, at - 1) for octet in (b"\r.", b"\n.", b"\0.")]
    return min([each + 1 for each in found if each >= 0], default=-1)
