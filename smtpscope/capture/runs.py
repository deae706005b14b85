"""Segments of one flow as columns, and how far they run in order: those need no look each.

In go the columns of a `SegmentBatch`, out come `Row`s for what needs a look, and `Run`s, payloads
that one side sent without the other's saying anything, for what does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from smtpscope.capture.log import MASK
from smtpscope.capture.records import Longs, Mask, Octets
from smtpscope.capture.tcp import ACK, FIN, RST, SYN, WAITING_OCTETS, Row

WORTHWHILE = 64
"""Segments of a flow from which on columns are quicker than a look at each."""

_CONTROL = FIN | SYN | RST


class Run(NamedTuple):
    """Payloads of one direction (`forward` as in a `Row`), a row of each column for each."""

    forward: bool
    start: Longs
    length: Longs
    time: Longs
    packet: Longs


class Columns(NamedTuple):
    """The fields of a `Row`, a column each."""

    packet: Longs
    time: Longs
    forward: Mask
    seq: Longs
    ack: Longs
    flags: Octets
    start: Longs
    length: Longs
    missing: Longs

    def part(self, begin: int, end: int | None = None) -> Columns:
        """The rows from `begin` up to `end`."""
        return Columns._make(column[begin:end] for column in self)

    def rows(self) -> list[Row]:
        """The rows one by one."""
        return list(zip(*(column.tolist() for column in self), strict=True))

    def in_order(self, forward: int, backward: int, waived: tuple[int, int]) -> int:
        """How many rows bring nothing but the next octets of their direction, or none.

        `forward` and `backward` are the sequence numbers with which these begin. Octets that
        acknowledge others which were not there yet are out of order, but for the numbers `waived`
        of each direction.
        """
        plain = (self.flags & _CONTROL == 0) & (self.missing == 0)
        sent = self.length > 0
        ways = []
        for expected, way in ((forward, self.forward), (backward, ~self.forward)):
            rows = np.flatnonzero(way & sent)
            ends = expected + np.cumsum(self.length[rows])
            plain[rows] &= self.seq[rows] == (ends - self.length[rows]) & MASK
            ways.append((rows, np.concatenate(([expected], ends))))
        for (rows, _), (others, ends), known in zip(ways, ways[::-1], waived[::-1], strict=True):
            ack = self.ack[rows]
            beyond = (ack - ends[np.searchsorted(others, rows)]) & MASK
            early = (beyond > 0) & (beyond <= WAITING_OCTETS) & (ack != known)
            plain[rows[early & (self.flags[rows] & ACK > 0)]] = False
        return len(plain) if plain.all() else int(plain.argmin())

    def acknowledged(self, forward: bool, flag: int) -> int | None:
        """What a direction acknowledged last, None where nothing was."""
        rows = np.flatnonzero((self.forward == forward) & (self.flags & flag > 0))
        return int(self.ack[rows[-1]]) if len(rows) else None

    def runs(self) -> Iterator[Run]:
        """The payloads, which must be in order."""
        rows = np.flatnonzero(self.length > 0)
        if not len(rows):
            return
        forward = self.forward[rows]
        bounds = [0, *(np.flatnonzero(forward[1:] != forward[:-1]) + 1).tolist(), len(rows)]
        columns = (self.start[rows], self.length[rows], self.time[rows], self.packet[rows])
        for begin, end in pairwise(bounds):
            yield Run(bool(forward[begin]), *(column[begin:end] for column in columns))
