"""The seam between packets and protocol: what happens on one connection, as a series of events.

`capture` turns packets into these events and `smtp` turns them into exchanges; neither knows the
other. Times are nanoseconds since the epoch, offsets count octets of one direction's stream from
its first payload octet, packet numbers count from 1 as Wireshark does.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from typing import NamedTuple


class Direction(enum.IntEnum):
    """Who sent it."""

    CLIENT = 0
    SERVER = 1

    @property
    def other(self) -> Direction:
        return Direction.SERVER if self is Direction.CLIENT else Direction.CLIENT


class Span(NamedTuple):
    """Octets `start` up to `end` (exclusive) of one direction's stream."""

    direction: Direction
    start: int
    end: int

    def part(self, start: int, end: int) -> Span:
        """The octets `start` up to `end` counted from this span's own start, clipped to it."""
        return Span(
            self.direction,
            min(self.start + start, self.end),
            min(self.start + end, self.end),
        )


class Defect(NamedTuple):
    """Something observed that should not be, and where. `findings` knows what the rule means.

    `detail` may quote the wire: treat it as hostile until `display` has mapped it.
    """

    rule: str
    span: Span
    detail: str = ""


class Endpoint(NamedTuple):
    """An IP address in text form and a TCP port."""

    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class Mark(NamedTuple):
    """The octets from stream offset `offset` on came at `time` in packet number `packet`."""

    offset: int
    time: int
    packet: int


class Opened(NamedTuple):
    """A connection is seen for the first time. `handshake`: its SYN was seen."""

    time: int
    client: Endpoint
    server: Endpoint
    handshake: bool
    packet: int


class Data(NamedTuple):
    """Octets of one direction, in order, without holes.

    `marks` has one entry for each segment that brought some of them, ascending by offset; the
    first one's offset is `offset`.
    """

    direction: Direction
    offset: int
    data: bytes
    marks: tuple[Mark, ...]

    @property
    def time(self) -> int:
        return self.marks[0].time

    def mark_at(self, offset: int) -> Mark:
        """The mark of the segment that brought the octet at stream offset `offset`."""
        marks = self.marks
        if len(marks) == 1:
            return marks[0]
        return marks[max(bisect_right(marks, offset, key=_mark_offset) - 1, 0)]


class Gap(NamedTuple):
    """`length` octets from `offset` on are missing, and the stream goes on behind them.

    `reason` is "lost" (never captured), "snaplen" (cut by the capture's snap length) or "bound"
    (thrown away because too much waited for them).
    """

    direction: Direction
    offset: int
    length: int
    time: int
    packet: int
    reason: str


class Closed(NamedTuple):
    """`direction` ended the connection: `how` is "fin", "rst", or "end" when the capture ended.

    A "fin" comes once for each direction; "rst" and "end" come once and end both.
    """

    how: str
    direction: Direction
    time: int
    packet: int


class Noted(NamedTuple):
    """A defect that a capture stage saw (an overlap that disagrees, say)."""

    defect: Defect
    time: int
    packet: int


StreamEvent = Opened | Data | Gap | Closed | Noted


def _mark_offset(mark: Mark) -> int:
    return mark.offset
