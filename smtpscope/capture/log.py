"""The events of a connection as packets bring them: octets of one side in a row become one event.

In go payloads that are in order and whatever else happened, one by one (`append`, `add`) or many
segments at once (`extend`); out come the `StreamEvent`s that `tcp` and `connection` give out.
"""

from __future__ import annotations

from mmap import mmap
from typing import TYPE_CHECKING

import numpy as np

from smtpscope.capture.records import Longs
from smtpscope.stream import Data, Mark, StreamEvent

if TYPE_CHECKING:
    from smtpscope.capture.tcp import Receiver

MASK = 0xFFFFFFFF
#: The most octets of one Data event.
DATA_LIMIT = 1 << 20

Buffer = bytes | bytearray | memoryview | mmap

# A NamedTuple's own constructor takes twice as long, and a mark is made for every segment.
_new = tuple.__new__


class Log:
    """The events of one connection, in the order in which packets brought them.

    The octets of one receiver, `current`, may not be an event yet: they lie in `slices`, with a
    mark for each, and begin at stream offset `run`. Any other event goes behind them.
    """

    __slots__ = ("current", "events", "marks", "run", "slices")

    def __init__(self) -> None:
        self.events: list[StreamEvent] = []
        self.current: Receiver | None = None
        self.run = 0
        self.slices: list[Buffer] = []
        self.marks: list[Mark] = []

    def add(self, event: StreamEvent) -> None:
        if self.current is not None:
            self.flush()
        self.events.append(event)

    def append(self, receiver: Receiver, payload: Buffer, time: int, packet: int) -> None:
        """Octets of `receiver`, in order; it moves on behind them."""
        offset = receiver.offset
        length = len(payload)
        mark = _new(Mark, (offset, time, packet))
        if self.current is receiver and offset + length - self.run <= DATA_LIMIT:
            self.slices.append(payload)
            self.marks.append(mark)
        else:
            if self.current is not None:
                self.flush()
            self.current = receiver
            self.run = offset
            self.slices = [payload]
            self.marks = [mark]
        receiver.offset = offset + length
        receiver.expected = (receiver.expected + length) & MASK

    def extend(
        self,
        receiver: Receiver,
        buffer: Buffer,
        start: Longs,
        length: Longs,
        time: Longs,
        packet: Longs,
    ) -> None:
        """Octets of many segments of `receiver`, in order: the same as `append` for each."""
        ends = np.cumsum(length)
        done = 0
        while done < len(ends):
            base = int(ends[done - 1]) if done else 0
            if self.current is not receiver:
                self.flush()
                self.current, self.run = receiver, receiver.offset
            room = DATA_LIMIT - (receiver.offset - self.run)
            until = int(np.searchsorted(ends, base + room, side="right"))
            if until <= done:
                if receiver.offset > self.run:
                    self.flush()
                    continue
                # One segment is larger than an event should be.
                until = done + 1
            some = slice(done, until)
            places = zip(start[some].tolist(), (start + length)[some].tolist(), strict=True)
            self.slices += [buffer[begin:end] for begin, end in places]
            offsets = receiver.offset - base + ends[some] - length[some]
            marks = zip(offsets.tolist(), time[some].tolist(), packet[some].tolist(), strict=True)
            self.marks += [_new(Mark, mark) for mark in marks]
            octets = int(ends[until - 1]) - base
            receiver.offset += octets
            receiver.expected = (receiver.expected + octets) & MASK
            done = until

    def flush(self) -> None:
        """Make one Data event of the octets that are waiting to be one."""
        receiver = self.current
        if receiver is None:
            return
        data = b"".join(self.slices)
        marks = tuple(self.marks)
        self.events.append(_new(Data, (receiver.direction, self.run, data, marks)))
        self.current = None
        # Let go, for a connection may be silent for long.
        self.slices = []
        self.marks = []
        receiver.remember(data)
