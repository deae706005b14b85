"""One TCP connection: its two directions, who is the client, when it begins and ends.

In go rows of a `SegmentBatch`, out come the events of both streams in the order of the packets.
RFC 9293 §3.5 (the handshake), §3.6 (closing), §3.10.7 (what a segment may do).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from smtpscope.capture.log import MASK, Buffer, Log
from smtpscope.capture.runs import Columns
from smtpscope.capture.tcp import ACK, FIN, REACH, RST, SYN, UNKNOWN, Receiver, Row, distance
from smtpscope.capture.trail import Trail
from smtpscope.stream import Closed, Defect, Direction, Endpoint, Opened, StreamEvent

_CONTROL = FIN | SYN | RST


class _Reset(NamedTuple):
    """An RST whose sequence number is not the next one of its direction, which is `receiver`'s.

    `state` is what would change if that side went on: `Connection._state`.
    """

    receiver: Receiver
    seq: int
    state: tuple[int, bool, int]
    time: int
    packet: int


class Connection:
    """The two streams between a client and a server, from a SYN, or midstream from a payload.

    `place` is the packet with which it was recognised, by which the connections of a capture are
    put in order; `midstream` is true where the SYN was not captured. `ended` tells that no more
    event will come; `last_time` and `last_packet` are those of the newest segment seen. `trail`
    has its packets where that was asked for.
    """

    __slots__ = (
        "_backward",
        "_early",
        "_forward",
        "_log",
        "_reset",
        "client",
        "ended",
        "last_packet",
        "last_time",
        "midstream",
        "place",
        "server",
        "trail",
    )

    def __init__(self, lower: Endpoint, higher: Endpoint, forward: bool, first: Row) -> None:
        """`forward`: the lower endpoint is the client. `first`: the row that opens it, not fed."""
        packet, time, _, _, _, flags, *_ = first
        self.client, self.server = (lower, higher) if forward else (higher, lower)
        self.place = packet
        self.midstream = not flags & SYN
        self.ended = False
        self.trail: Trail | None = None
        self.last_packet = packet
        self.last_time = time
        self._reset: _Reset | None = None
        self._early: tuple[Row, Buffer] | None = None
        self._log = Log()
        client = Receiver(Direction.CLIENT, self._log)
        server = Receiver(Direction.SERVER, self._log)
        self._forward, self._backward = (client, server) if forward else (server, client)
        self._log.add(Opened(time, self.client, self.server, not self.midstream, packet))

    def feed(self, buffer: Buffer, rows: Sequence[Row], begin: int = 0) -> int:
        """Take `rows` from index `begin` on, whose payloads lie in `buffer`.

        Returns the index of the first row not taken: the end, or the row behind the one that ended
        the connection, or a SYN that opens another connection between the same endpoints.
        """
        up, down, log = self._forward, self._backward, self._log
        row = None
        taken = len(rows)
        indices = iter(range(begin, taken))
        if self._early is not None:
            for _ in range(begin, self._place_early(buffer, rows, begin)):
                row = rows[next(indices)]
        for index in indices:
            row = rows[index]
            packet, time, forward, seq, ack, flags, start, length, missing = row
            if forward:
                receiver, peer = up, down
            else:
                receiver, peer = down, up
            if flags & SYN and not self._accepts_syn(receiver, peer, seq, ack, flags):
                taken = index
                row = rows[index - 1] if index > begin else None
                break
            if flags & ACK:
                peer.acked = ack
            if not peer.steady:
                if peer.expected == UNKNOWN and flags & ACK and not peer.held:
                    self._infer_beginning(receiver, peer, ack)
                peer.advance(time, packet)
            if not flags & _CONTROL:
                if not length and not missing:
                    continue
                if receiver.steady and seq == receiver.expected and not missing:
                    if ack != peer.expected and flags & ACK and peer.steady and peer.lacks(ack):
                        self._early = row, bytes(buffer[start : start + length])
                        for _ in range(index + 1, self._place_early(buffer, rows, index + 1)):
                            row = rows[next(indices)]
                        continue
                    log.append(receiver, buffer[start : start + length], time, packet)
                    continue
            if flags & RST:
                self._take_reset(receiver, seq, time, packet)
            elif length or missing or flags & FIN:
                first = (seq + 1) & MASK if flags & SYN else seq
                payload = bytes(buffer[start : start + length])
                receiver.segment(first, payload, missing, bool(flags & FIN), time, packet)
            if self.ended or (up.closed and down.closed):
                self.ended = True
                taken = index + 1
                break
        if row is not None:
            self.last_packet, self.last_time = row[0], row[1]
        log.flush()
        return taken

    def feed_run(self, buffer: Buffer, columns: Columns) -> int:
        """Take the beginning of `columns` that runs in order, as a whole; how many rows that is.

        The same as `feed` in less time.
        """
        up, down = self._forward, self._backward
        if not (up.steady and down.steady) or self._early is not None:
            return 0
        taken = columns.in_order(up.expected, down.expected, (up.waived, down.waived))
        if not taken:
            return 0
        columns = columns.part(0, taken)
        for peer, forward in ((down, True), (up, False)):
            acked = columns.acknowledged(forward, ACK)
            if acked is not None:
                peer.acked = acked
        for run in columns.runs():
            self._log.extend(up if run.forward else down, buffer, *run[1:])
        self.last_packet, self.last_time = int(columns.packet[-1]), int(columns.time[-1])
        self._log.flush()
        return taken

    def take(self) -> list[StreamEvent]:
        """The events since the last call."""
        self._log.flush()
        events, self._log.events = self._log.events, []
        return events

    def finish(self) -> None:
        """Nothing more will come: give out what waits, and close with "end" what is still open."""
        if self._early is not None:
            self._append_early()
        reset = self._reset
        if not self.ended and reset is not None and self._stands(reset):
            self._end("rst", reset.receiver.direction, reset.time, reset.packet)
        if not self.ended:
            client_closed = self._of(Direction.CLIENT).closed
            direction = Direction.SERVER if client_closed else Direction.CLIENT
            self._end("end", direction, self.last_time, self.last_packet)

    def retransmissions(self) -> Iterator[Defect]:
        """What each side sent more than once, counted: one defect a side."""
        for receiver in (self._of(Direction.CLIENT), self._of(Direction.SERVER)):
            if receiver.again_first is not None:
                detail = f"{receiver.again:,} segments, {receiver.again_octets:,} octets"
                yield Defect("retransmissions", receiver.again_first, detail)

    @property
    def initial_numbers(self) -> tuple[int, int]:
        """The sequence numbers of the higher and the lower endpoint's SYN, UNKNOWN without one."""
        return self._backward.isn, self._forward.isn

    def _of(self, direction: Direction) -> Receiver:
        return self._forward if self._forward.direction is direction else self._backward

    @staticmethod
    def _infer_beginning(receiver: Receiver, peer: Receiver, ack: int) -> None:
        """The peer's SYN was not captured, but its acknowledgment by one that sent only its own."""
        if receiver.isn != UNKNOWN and not receiver.offset and not receiver.waiting:
            peer.begin((ack - 1) & MASK)

    def _place_early(self, buffer: Buffer, rows: Sequence[Row], at: int) -> int:
        """A segment was captured before octets that it acknowledges: take those first.

        Packets of two interfaces, or of taps that were merged, may be in such an order. What it
        awaits must be next in `rows`; the index of the first row not taken. It goes on waiting
        where there are no more.
        """
        assert self._early is not None
        _, _, early_forward, early_seq, awaited, *_ = self._early[0]
        sender, peer = self._forward, self._backward
        if not early_forward:
            sender, peer = peer, sender
        while at < len(rows) and peer.lacks(awaited):
            packet, time, forward, seq, ack, flags, start, length, missing = rows[at]
            if (
                forward is early_forward
                or flags & _CONTROL
                or not length
                or missing
                or seq != peer.expected
                or (flags & ACK and distance(early_seq, ack) > 0)
            ):
                peer.waived = awaited
                break
            if flags & ACK:
                sender.acked = ack
            self._log.append(peer, buffer[start : start + length], time, packet)
            at += 1
        if not peer.lacks(awaited):
            self._append_early()
        return at

    def _append_early(self) -> None:
        assert self._early is not None
        (packet, time, forward, *_), payload = self._early
        self._early = None
        self._log.append(self._forward if forward else self._backward, payload, time, packet)

    def _take_reset(self, receiver: Receiver, seq: int, time: int, packet: int) -> None:
        """An RST ends the connection if its number is the next one (RFC 9293 §3.10.7.4).

        With another number the peer ignores it, or asks back. But the capture may lack what came
        before it: it counts if its sender turns out to have said no more.
        """
        if receiver.expected == UNKNOWN or receiver.is_next(seq):
            self._end("rst", receiver.direction, time, packet)
        elif abs(distance(receiver.expected, seq)) <= REACH and (
            self._reset is None or not self._stands(self._reset)
        ):
            self._reset = _Reset(receiver, seq, self._state(receiver), time, packet)

    def _stands(self, reset: _Reset) -> bool:
        """Whether its sender has said no more since, or just what was missing before the RST."""
        receiver = reset.receiver
        return receiver.expected == reset.seq or self._state(receiver) == reset.state

    def _state(self, receiver: Receiver) -> tuple[int, bool, int]:
        """How far a side is: octets, whether its FIN came, and what it has acknowledged."""
        peer = self._of(receiver.direction.other)
        return receiver.offset, receiver.closed, peer.acked

    def _end(self, how: str, direction: Direction, time: int, packet: int) -> None:
        client, server = self._of(Direction.CLIENT), self._of(Direction.SERVER)
        client.advance(time, packet, ending=server)
        server.advance(time, packet, ending=client)
        if not (client.closed and server.closed):
            self._log.add(Closed(how, direction, time, packet))
        client.tail, server.tail = [], []
        self.ended = True

    def _accepts_syn(
        self, receiver: Receiver, peer: Receiver, seq: int, ack: int, flags: int
    ) -> bool:
        """Whether a SYN belongs to this connection; begins the receiver's stream if it does."""
        first = (seq + 1) & MASK
        if receiver.isn == UNKNOWN:
            if receiver.expected == UNKNOWN:
                if receiver.acked != UNKNOWN and receiver.acked != first:
                    return False
                receiver.begin(seq)
                return True
            if (receiver.expected - receiver.offset) & MASK != first:
                return False
            receiver.isn = seq
            return True
        if receiver.isn == seq:
            return True
        # A SYN answered twice with different numbers (SYN cookies): the last answer is what counts.
        again = flags & ACK and ack == (peer.isn + 1) & MASK
        if again and receiver.offset == 0 and not receiver.waiting:
            receiver.begin(seq)
            return True
        return False
