"""Finds a record of TLS again behind octets that are missing: where it begins, and its number.

In: the octets behind the hole, in any chunking. Only the keys can tell a record from what looks
like one, so what looks like one is tried under each number that it may have: how many these are
follows from the octets that are missing, and a budget bounds them all (RFC 8446 §5.2 and §5.3,
RFC 5246 §6.2.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from smtpscope.capture.tls import MAX_RECORD
from smtpscope.capture.tls_ciphers import Content, Opener
from smtpscope.capture.tunnel import cut
from smtpscope.stream import Data, Mark

HEADER = 5
"""Octets of a record's header."""
BUDGET = 1 << 15
"""What tries may cost in one direction: one each, and one more for each `_PIECE` octets."""
MAX_TRIES = 1 << 12
"""Numbers that are tried of one record under one set of keys."""

_PIECE = 1 << 12
_SMALLEST = HEADER + 17
"""Octets of the smallest record that is protected."""
_SPARE = 3
_CHAIN = 64
"""Octets before a record that may be needed to open it: a block, and the longest MAC behind it."""
# The records that are protected: alerts, handshake messages, data. Headers may overlap.
_HEADER = re.compile(rb"(?=[\x15-\x17]\x03[\x01-\x03]..)", re.DOTALL)


class Record(NamedTuple):
    """`mark` is the packet that completed it."""

    header: bytes
    payload: bytes
    mark: Mark


class Candidate(NamedTuple):
    """Keys that may open a record, the first number that it can have under them, and what the
    record before said of its own number."""

    opener: Opener
    first: int
    told: int | None


class Found(NamedTuple):
    """A record that was opened, what stands behind it, and how many octets are unaccounted for
    before it."""

    record: Record
    content: Content
    opener: Opener
    sequence: int
    missed: int
    rest: Data


class Search:
    """Looks for the next record of `data`'s direction, of which nothing is known from `begin` on.

    `held` octets are kept; it is over when the `budget` is used up.
    """

    def __init__(self, begin: int, budget: int) -> None:
        self.budget = budget
        self._begin = begin
        self.held = 0
        self._pieces: list[Data] = []
        self._at = 0
        self._tried: set[int] = set()

    def hole(self) -> None:
        """More octets are missing behind those that came."""
        self._pieces.clear()
        self.held = self._at = 0

    def feed(self, data: Data) -> None:
        """Take the next octets."""
        self._pieces.append(data)
        self.held += len(data.data)

    def look(self, candidates: Sequence[Candidate]) -> Found | None:
        """The first record that opens; None where more octets are needed."""
        if not self._pieces:
            return None
        data = _joined(self._pieces)
        octets, come = data.data, len(data.data)
        # The next header may have begun.
        next_at = max(self._at, come - HEADER + 1)
        for match in _HEADER.finditer(octets, self._at):
            start = match.start()
            length = int.from_bytes(octets[start + 3 : start + 5], "big")
            end = start + HEADER + length
            if not 0 < length <= MAX_RECORD or data.offset + start in self._tried:
                continue
            if end > come:
                next_at = min(next_at, start)
                continue
            self._tried.add(data.offset + start)
            found = self._open(data, start, end, candidates)
            if found is not None or self.budget <= 0:
                return found
        # What no record can begin in or needs is dropped.
        done = max(next_at - _CHAIN, 0)
        self._pieces = [cut(data, data.offset + done)]
        self.held, self._at = come - done, next_at - done
        return None

    def _open(
        self, data: Data, start: int, end: int, candidates: Sequence[Candidate]
    ) -> Found | None:
        octets = data.data
        header, payload = octets[start : start + HEADER], octets[start + HEADER : end]
        missed = data.offset + start - self._begin
        reach = min(missed // _SMALLEST + _SPARE, MAX_TRIES)
        for opener, first, told in candidates:
            opener.follow(octets[max(start - _CHAIN, 0) : start])
            for sequence in numbers(opener.number(payload), told, first, reach):
                self.budget -= 1 + len(payload) // _PIECE
                content = opener.open(header, payload, sequence)
                if content is not None:
                    record = Record(header, payload, data.mark_at(data.offset + end - 1))
                    rest = cut(data, data.offset + end)
                    return Found(record, content, opener, sequence, missed, rest)
                if self.budget <= 0:
                    return None
        return None


def _joined(pieces: Sequence[Data]) -> Data:
    if len(pieces) == 1:
        return pieces[0]
    marks = tuple([mark for piece in pieces for mark in piece.marks])
    return pieces[0]._replace(data=b"".join([piece.data for piece in pieces]), marks=marks)


def numbers(own: int | None, told: int | None, first: int, reach: int) -> Iterator[int]:
    """Numbers that a record may have, the likeliest one first.

    `own` is what it says of itself, `told` what the one before said: a sender may count from
    anywhere, but then by one (RFC 5288 §3).
    """
    if own is not None and told is not None and own > told:
        yield first + own - told - 1
    yield from range(first, first + reach)
