"""What the octets of a message are like, counted as they pass: odd line ends, NUL, 8-bit, length.

`OctetCounter` takes the octets as `MessageBuilder` does, in any pieces and with gaps, and looks at
none twice. RFC 5321 §2.3.8 and §4.5.3.1.6, RFC 5322 §2.1.1 and §2.3, RFC 6152, RFC 6531.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE = 998
"""Octets of a line without its ending (RFC 5322 §2.1.1)."""

_LARGE = 8 * 1024
"""Octets of a piece that are worth being looked at as a column."""

_CR, _LF = 0x0D, 0x0A
_BARE_LF = re.compile(rb"(?<!\r)\n")
_BARE_CR = re.compile(rb"\r(?!\n)")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")
_HEADER_END = re.compile(rb"\n\r?\n")
_EMPTY_HEADER = re.compile(rb"\r?\n")


@dataclass(slots=True)
class OctetCounts:
    """Counts of what a message's lines should not hold; offsets count its octets from 0.

    `bare_lf`, `bare_cr`, `nul` and `long_lines` (of more than `MAX_LINE` octets) are counts, and
    `first_…` the offset of the first one, -1 where there is none. `longest` is the length of the
    longest of the long lines. `eight_bit_header` and `eight_bit_body` are the offsets of the first
    octet above 127 in the header section and behind it, -1 where there is none; where a gap hides
    which is which, nothing behind it counts.
    """

    bare_lf: int = 0
    first_bare_lf: int = -1
    bare_cr: int = 0
    first_bare_cr: int = -1
    nul: int = 0
    first_nul: int = -1
    long_lines: int = 0
    first_long_line: int = -1
    longest: int = 0
    eight_bit_header: int = -1
    eight_bit_body: int = -1


NOTHING_ODD = OctetCounts()
"""The counts of all messages whose lines hold nothing odd; not to be changed."""


def count_octets(content: bytes) -> OctetCounts:
    """The counts of a message that is at hand as a whole."""
    if not content.isascii() or b"\0" in content or _has_odd_lines(content):
        counter = OctetCounter()
        counter.feed(content)
        return counter.counts
    return NOTHING_ODD


def _has_odd_lines(content: bytes) -> bool:
    """Whether a line ends in no CRLF, or may be too long."""
    size = len(content)
    start = 0
    while size - start > MAX_LINE:
        end = content.rfind(b"\n", start, start + MAX_LINE)
        if end < 0:
            return True
        start = end + 1
    # To take both out together is quicker than to count each.
    return size - len(content.translate(None, b"\r\n")) != 2 * content.count(b"\r\n")


class OctetCounter:
    """Takes a message's octets in any pieces; `counts` is what they were so far."""

    __slots__ = (
        "_after_cr",
        "_after_gap",
        "_in_header",
        "_line_start",
        "_size",
        "_tail",
        "counts",
    )

    def __init__(self) -> None:
        self.counts = OctetCounts()
        self._size = 0
        self._line_start = 0
        self._after_cr = self._after_gap = False
        self._in_header: bool | None = True
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """The next octets."""
        if not data:
            return
        if len(data) < _LARGE or not self._is_regular(data):
            self._measure_lines(data)
            self._count_line_ends(data)
        if b"\0" in data:
            if not self.counts.nul:
                self.counts.first_nul = self._size + data.index(b"\0")
            self.counts.nul += data.count(b"\0")
        if self._in_header:
            self._read_header(data)
        elif not data.isascii():
            self._note_eight_bit(data, 0, len(data))
        self._size += len(data)

    def gap(self) -> None:
        """Octets are missing here: the line that was begun, and a header section, are lost."""
        self._line_start = self._size
        self._after_cr = False
        self._after_gap = True
        if self._in_header:
            self._in_header = None

    def _is_regular(self, data: bytes) -> bool:
        """Whether `data` begins in a line and has but CRLFs, none of them too far apart: then all
        of its lines are taken."""
        # Who reads as much as this has loaded it; who explains a code never does.
        import numpy as np

        if self._after_cr or self._after_gap or data[0] == _LF or data[-1] == _CR:
            return False
        octets = np.frombuffer(data, np.uint8)
        feeds = octets == _LF
        count = int(np.count_nonzero(feeds))
        if not count or count != np.count_nonzero(octets == _CR):
            return False
        first = data.index(b"\n")
        width = data.find(b"\n", first + 1) - first
        last = first + (count - 1) * width
        if width > 0 and np.count_nonzero(feeds[first : last + 1 : width]) == count:
            # Lines that are equally long, as those of base64 are, end at known places.
            returns = octets[first - 1 : last : width]
            longest = width
        else:
            ends = np.flatnonzero(feeds)
            returns = octets[ends - 1]
            longest = int(np.diff(ends).max(initial=0))
            last = int(ends[-1])
        if longest > MAX_LINE or first - (self._line_start - self._size) > MAX_LINE:
            return False
        if not (returns == _CR).all():
            return False
        self._line_start = self._size + last + 1
        return True

    def _count_line_ends(self, data: bytes) -> None:
        pairs = data.count(b"\r\n")
        bare_lf = bare_cr = 0
        # To take both out together is quicker than to count each.
        if len(data) - len(data.translate(None, b"\r\n")) != 2 * pairs:
            bare_lf = data.count(b"\n") - pairs
            bare_cr = data.count(b"\r") - pairs
        if data[0] == _LF:
            # Its CR came before, or may have been lost.
            if self._after_cr or self._after_gap:
                bare_lf -= 1
        elif self._after_cr:
            self._note_bare_cr(1, self._size - 1)
        self._after_gap = False
        self._after_cr = data[-1] == _CR
        if self._after_cr:
            bare_cr -= 1
        if bare_lf:
            if not self.counts.bare_lf:
                excused = data.count(b"\n") - pairs - bare_lf
                match = _BARE_LF.search(data, excused)
                assert match is not None
                self.counts.first_bare_lf = self._size + match.start()
            self.counts.bare_lf += bare_lf
        if bare_cr:
            match = _BARE_CR.search(data)
            assert match is not None
            self._note_bare_cr(bare_cr, self._size + match.start())

    def _note_bare_cr(self, count: int, first: int) -> None:
        if not self.counts.bare_cr:
            self.counts.first_bare_cr = first
        self.counts.bare_cr += count

    def _read_header(self, data: bytes) -> None:
        held = len(self._tail)
        text = self._tail + data
        match = _EMPTY_HEADER.match(text) if held == self._size else None
        if match is None:
            match = _HEADER_END.search(text)
        end = len(data) if match is None else match.end() - held
        if not data.isascii():
            self._note_eight_bit(data, 0, end)
        if match is None:
            self._tail = text[-2:]
            return
        self._in_header = False
        self._tail = b""
        if end < len(data) and not data.isascii():
            self._note_eight_bit(data, end, len(data))

    def _note_eight_bit(self, data: bytes, start: int, end: int) -> None:
        if self._in_header is None:
            return
        known = self.counts.eight_bit_header if self._in_header else self.counts.eight_bit_body
        match = _EIGHT_BIT.search(data, start, end) if known < 0 else None
        if match is None:
            return
        if self._in_header:
            self.counts.eight_bit_header = self._size + match.start()
        else:
            self.counts.eight_bit_body = self._size + match.start()

    def _measure_lines(self, data: bytes) -> None:
        base = self._size
        start = self._line_start - base
        while True:
            # Lines that end within MAX_LINE octets are short, however many they are.
            end = data.rfind(b"\n", max(start, 0), max(start + MAX_LINE, 0))
            if end < 0:
                end = data.find(b"\n", max(start + MAX_LINE, 0))
                if end < 0:
                    break
                self._note_long_line(data, start, end)
            start = end + 1
        self._line_start = base + start

    def _note_long_line(self, data: bytes, start: int, end: int) -> None:
        length = end - start - (data[end - 1] == _CR if end else self._after_cr)
        if length <= MAX_LINE:
            return
        if not self.counts.long_lines:
            self.counts.first_long_line = self._size + start
        self.counts.long_lines += 1
        self.counts.longest = max(self.counts.longest, length)
