"""Reassembly of one direction of a TCP connection: segments become a stream without holes.

In go segments in capture order, out come the events of `stream`: data in order, every hole told
with its size and reason, overlaps resolved (the octets seen first win, and a later segment that
disagrees is noted). `connection` joins two of these. RFC 9293 §3.4 (sequence numbers), §3.8
(retransmission, keep-alives), §3.10.7 (what a segment may do); RFC 7413 (data on a SYN).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from smtpscope.capture.log import MASK, Log
from smtpscope.stream import (
    Closed,
    Defect,
    Direction,
    Gap,
    Noted,
    Span,
)

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
HALF = 1 << 31
#: The sequence number expected of a direction whose stream has not begun.
UNKNOWN = -1

#: The most octets, and the most pieces of them, that wait in one direction for a hole to fill.
WAITING_OCTETS = 1 << 20
WAITING_PIECES = 4096
#: How many octets already delivered are kept to compare retransmissions with.
HISTORY = 1 << 14
#: In how many pieces they lie before they are joined.
TAIL = 4
#: A segment farther than this from the expected sequence number is not of this connection: the
#: largest window that TCP can have (RFC 7323 §2.3).
REACH = 1 << 30
#: How many payload segments wait to learn where a stream begins whose SYN was not captured.
HELD = 3

#: packet, time (ns), forward, seq, ack, flags, start and length of the payload, octets cut off
Row = tuple[int, int, bool, int, int, int, int, int, int]


def distance(a: int, b: int) -> int:
    """How far the sequence number `b` lies behind `a`: -2**31 up to 2**31 - 1."""
    return ((b - a + HALF) & MASK) - HALF


class _Piece(NamedTuple):
    """Stream octets `start` up to `end` that came early; `data` is None where snaplen cut them."""

    start: int
    end: int
    data: bytes | None
    time: int
    packet: int


class _Segment(NamedTuple):
    seq: int
    payload: bytes
    missing: int
    fin: bool
    time: int
    packet: int


class _Fin(NamedTuple):
    offset: int
    time: int
    packet: int


class Receiver:
    """One direction: puts its segments in order, as the peer's TCP would.

    `expected` is the next sequence number, and `offset` that octet's place in the stream, which
    doesn't wrap. A stream whose SYN was not captured begins at the peer's acknowledgment if one
    was seen shortly before the first payload: the octets from there on had yet to come. Without
    one the first payload is held until the peer is heard or HELD segments are there, and the
    earliest of these begins the stream.

    `steady` is true while nothing but the next octet in order is awaited: the caller may then
    log the payload of a segment that begins at `expected` without asking `segment`.

    `waived` is an acknowledgment of octets that were not captured before it nor right behind it.

    `again` counts the segments that brought octets delivered before, `again_octets` those octets;
    `again_first` is where the first of them lie.
    """

    __slots__ = (
        "acked",
        "again",
        "again_first",
        "again_octets",
        "closed",
        "direction",
        "expected",
        "fin",
        "held",
        "isn",
        "log",
        "offset",
        "steady",
        "tail",
        "waiting",
        "waiting_octets",
        "waived",
    )

    def __init__(self, direction: Direction, log: Log) -> None:
        self.direction = direction
        self.log = log
        self.isn = UNKNOWN
        self.expected = UNKNOWN
        self.offset = 0
        self.acked = UNKNOWN
        self.waived = UNKNOWN
        self.fin: _Fin | None = None
        self.closed = False
        self.steady = False
        self.held: list[_Segment] = []
        self.waiting: list[_Piece] = []
        self.waiting_octets = 0
        self.tail: list[bytes] = []
        self.again = 0
        self.again_octets = 0
        self.again_first: Span | None = None

    def begin(self, isn: int) -> None:
        """The SYN came: the stream begins behind its sequence number `isn`."""
        self.isn = isn
        self._begin_at((isn + 1) & MASK)

    def remember(self, data: bytes) -> None:
        """`data` was delivered: it ends the `tail` that retransmissions are compared with."""
        tail = self.tail
        if len(data) >= HISTORY:
            self.tail = [data[-HISTORY:]]
        elif len(tail) < TAIL:
            tail.append(data)
        else:
            self.tail = [b"".join((*tail, data))[-HISTORY:]]

    def segment(
        self, seq: int, payload: bytes, missing: int, fin: bool, time: int, packet: int
    ) -> None:
        """Any segment with payload or FIN. `missing`: octets of it that snaplen cut off."""
        if self.closed:
            return
        if self.expected == UNKNOWN:
            if len(payload) != 1 or self.acked != (seq + 1) & MASK:
                self.held.append(_Segment(seq, payload, missing, fin, time, packet))
            if self.acked != UNKNOWN or len(self.held) >= HELD:
                self._settle()
            return
        if self.steady and seq == self.expected and not missing:
            if payload:
                self.log.append(self, payload, time, packet)
            if fin:
                self._close(_Fin(self.offset, time, packet))
            return
        ahead = distance(self.expected, seq)
        if abs(ahead) > REACH:
            return
        start = self.offset + ahead
        end = start + len(payload)
        cut = end + missing
        if fin and self.fin is None and cut >= self.offset:
            self._set_fin(_Fin(cut, time, packet))
        if self.fin is not None:
            cut = min(cut, self.fin.offset)
            end = min(end, cut)
        keepalive = len(payload) == 1 and end == (
            self.waiting[-1].end if self.waiting else self.offset
        )
        if not keepalive:
            if start < self.offset:
                self._count_again(start, min(end, self.offset))
                self._compare_delivered(start, payload, time, packet)
            begin = max(start, self.offset)
            if begin < end:
                data = payload[begin - start : end - start]
                self._insert(_Piece(begin, end, data, time, packet))
            if max(begin, end) < cut:
                self._insert(_Piece(max(begin, end), cut, None, time, packet))
        self.advance(time, packet)

    def is_next(self, seq: int) -> bool:
        """Whether the peer awaits this number: behind what was seen, or what it acknowledged.

        A FIN that takes one number may not have been captured.
        """
        seen = self.waiting[-1].end - self.offset if self.waiting else 0
        ahead = distance(self.expected, seq)
        return ahead in (0, seen, seen + 1) or seq == self.acked

    def lacks(self, ack: int) -> bool:
        """Whether the peer acknowledges octets that are still to come, if they were captured."""
        return ack != self.waived and 0 < distance(self.expected, ack) <= WAITING_OCTETS

    def advance(self, time: int, packet: int, *, ending: Receiver | None = None) -> None:
        """Deliver what is in order, and give up the holes that nothing will fill any more.

        To be called when `acked` has changed while not `steady`. `ending`: no more will come, and
        what that peer acknowledged beyond the last octet is lost.
        """
        if self.held:
            self._settle()
        if self.expected == UNKNOWN or self.closed:
            return
        while True:
            self._drain()
            if self.waiting:
                hole_end = self.waiting[0].start
            elif self.fin is not None and self.fin.offset > self.offset:
                hole_end = self.fin.offset
            else:
                break
            if ending is not None or self._acknowledged(hole_end):
                reason = "lost"
            elif self.waiting_octets > WAITING_OCTETS or len(self.waiting) > WAITING_PIECES:
                reason = "bound"
            else:
                break
            self._gap(hole_end - self.offset, time, packet, reason)
        if ending is not None and self.fin is None and self.acked != UNKNOWN:
            lost = distance(self.expected, self.acked)
            # A FIN that was not captured takes one number: this one too, where the peer sent its.
            if 1 < lost <= REACH:
                self._gap(lost - (ending.fin is not None), time, packet, "lost")
        if self.fin is not None and self.fin.offset == self.offset:
            self._close(self.fin)
        self.steady = not self.waiting and self.fin is None

    def _close(self, fin: _Fin) -> None:
        self.log.add(Closed("fin", self.direction, fin.time, fin.packet))
        self.fin = fin
        self.closed = True
        self.steady = False
        self.tail = []

    def _begin_at(self, seq: int) -> None:
        self.expected = seq
        self.steady = True
        held, self.held = self.held, []
        for early in held:
            self.segment(*early)

    def _settle(self) -> None:
        if not self.held:
            return
        first = self.held[0].seq
        lowest = (first + min(distance(first, early.seq) for early in self.held)) & MASK
        origin = lowest
        if self.acked != UNKNOWN and 0 <= distance(self.acked, lowest) <= WAITING_OCTETS:
            origin = self.acked
        self._begin_at(origin)

    def _set_fin(self, fin: _Fin) -> None:
        self.fin = fin
        kept = [piece for piece in self.waiting if piece.start < fin.offset]
        if kept and kept[-1].end > fin.offset:
            last = kept.pop()
            data = last.data and last.data[: fin.offset - last.start]
            kept.append(last._replace(end=fin.offset, data=data))
        self.waiting = kept
        self.waiting_octets = sum(len(piece.data or b"") for piece in kept)

    def _acknowledged(self, offset: int) -> bool:
        if self.acked == UNKNOWN:
            return False
        return offset - self.offset <= distance(self.expected, self.acked) <= REACH

    def _drain(self) -> None:
        waiting = self.waiting
        ready = 0
        while ready < len(waiting) and waiting[ready].start == self.offset:
            piece = waiting[ready]
            ready += 1
            if piece.data is None:
                self._gap(piece.end - piece.start, piece.time, piece.packet, "snaplen")
            else:
                self.waiting_octets -= len(piece.data)
                self.log.append(self, piece.data, piece.time, piece.packet)
        del waiting[:ready]

    def _gap(self, length: int, time: int, packet: int, reason: str) -> None:
        self.log.add(Gap(self.direction, self.offset, length, time, packet, reason))
        self.expected = (self.expected + length) & MASK
        self.offset += length
        self.tail = []

    def _insert(self, new: _Piece) -> None:
        """Put the parts of `new` that are not there yet among the waiting pieces."""
        waiting = self.waiting
        start, end, data, time, packet = new
        at = bisect_right(waiting, start, key=_end_of)
        while start < end:
            old = waiting[at] if at < len(waiting) else None
            free = end if old is None else min(end, old.start)
            if start < free:
                part = data and data[start - new.start : free - new.start]
                waiting.insert(at, _Piece(start, free, part, time, packet))
                self.waiting_octets += len(part or b"")
                at += 1
                start = free
            if old is not None and start < end:
                shared = min(end, old.end)
                if data is not None and old.data is not None:
                    theirs = old.data[start - old.start : shared - old.start]
                    ours = data[start - new.start : shared - new.start]
                    self._compare(start, theirs, ours, time, packet)
                start = shared
                at += 1

    def _count_again(self, start: int, end: int) -> None:
        # What lies before the first octet captured was not seen twice.
        start = max(start, 0)
        if start < end:
            self.again += 1
            self.again_octets += end - start
            if self.again_first is None:
                self.again_first = Span(self.direction, start, end)

    def _compare_delivered(self, start: int, payload: bytes, time: int, packet: int) -> None:
        known = b"".join(self.tail)
        if self.log.current is self:
            known += b"".join(self.log.slices)
        known = known[-HISTORY:]
        first = self.offset - len(known)
        begin = max(start, first)
        end = min(start + len(payload), self.offset)
        if begin < end:
            ours = payload[begin - start : end - start]
            self._compare(begin, known[begin - first : end - first], ours, time, packet)

    def _compare(self, offset: int, old: bytes, new: bytes, time: int, packet: int) -> None:
        """Note the octets from the first to the last one that differ."""
        if old == new:
            return
        different = int.from_bytes(old, "little") ^ int.from_bytes(new, "little")
        end = offset + (different.bit_length() + 7) // 8
        start = offset + ((different & -different).bit_length() - 1) // 8
        # The octets themselves may be a password.
        detail = f"{end - start:,} octets, by packet {packet:,}"
        defect = Defect("overlap-disagrees", Span(self.direction, start, end), detail)
        self.log.add(Noted(defect, time, packet))


def _end_of(piece: _Piece) -> int:
    return piece.end
