"""One session in full, decoded again from its own packets: what is said, the octets, the packets.

The index says where a session's packets lie; nothing else of the capture is read. What comes out
is the same as when the whole capture is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple

from smtpscope.capture.connection import Connection
from smtpscope.capture.dissect import Dissector
from smtpscope.capture.flows import StreamAssembler
from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.layers import Field, dissect_packet
from smtpscope.capture.packets import segments
from smtpscope.capture.parts import Part, Parts
from smtpscope.capture.pcap import PacketBatch
from smtpscope.capture.trail import batches, unpack
from smtpscope.decode import SessionDecoder
from smtpscope.errors import SmtpscopeError
from smtpscope.findings import join
from smtpscope.findings.across import Joined
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.session import Content, Session
from smtpscope.stream import Data, Defect, Direction, Opened, Span, StreamEvent
from smtpscope.timing import Percentiles, ServerTiming

IN_MEMORY = 4 << 20
"""Octets of a message that are held in memory; beyond, it lies in a temporary file."""
MAX_OCTETS = 1 << 20
"""Octets of a span that are shown."""


class CancelledError(SmtpscopeError):
    """Somebody no longer wants to know."""


class Piece(NamedTuple):
    """Octets of one direction's stream from `offset` on, and the packet (and time) that had
    them."""

    offset: int
    octets: bytes
    packet: int
    time: int


class Packet(NamedTuple):
    """A packet as it was captured; `original` octets were on the wire."""

    number: int
    time: int
    linktype: int
    frame: bytes
    original: int


class Place(NamedTuple):
    """What the index knows of a session: the files of its capture, its number there, where its
    packets lie (`Trail.packed`), what it shows `beside` the others, the server's port, the
    `secrets` of its TLS (lines of a key log), and whether it may still go `on`."""

    parts: Sequence[Part]
    name: str
    number: int
    port: int
    packets: bytes
    beside: str
    secrets: bytes = b""
    on: bool = False


class Details:
    """The details of one session. All methods raise `SmtpscopeError` where the capture can't be
    read, and `CancelledError` once `cancelled` says so."""

    def __init__(
        self,
        place: Place,
        policy: Policy = NO_POLICY,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._place = place
        self._policy = policy
        self._cancelled = cancelled
        try:
            self._columns = unpack(place.packets)
        except ValueError as error:
            raise SmtpscopeError(f"{error}; open the capture again") from None

    @property
    def packets(self) -> list[int]:
        """The numbers of its packets."""
        found: list[int] = self._columns[0].tolist()
        return found

    def session(self) -> Session:
        """The session as the whole capture shows it."""
        return self._decode(Content)

    def message(self, ordinal: int) -> IO[bytes]:
        """The octets of a transaction's message, as the server got them less the dot-stuffing.

        `ordinal` counts the session's transactions from 0. The file is at its beginning.
        """
        copies: list[_Copy] = []

        def copy() -> _Copy:
            copies.append(_Copy())
            return copies[-1]

        transactions = self._decode(copy).transactions
        wanted = transactions[ordinal].content if ordinal < len(transactions) else None
        for each in copies:
            if each is not wanted:
                each.file.close()
        if not isinstance(wanted, _Copy):
            raise SmtpscopeError(f"transaction {ordinal + 1} has no message")
        wanted.file.seek(0)
        return wanted.file

    def octets(self, span: Span, limit: int = MAX_OCTETS) -> list[Piece]:
        """The octets of a span as they were on the wire, by the packets that brought them."""
        found: list[Piece] = []
        end = min(span.end, span.start + limit)

        def take(event: StreamEvent) -> None:
            if isinstance(event, Data) and event.direction is span.direction:
                found.extend(_pieces(event, span.start, end))

        if self._place.secrets:
            # What TLS hid is known where it is decoded alone.
            self._decode(Content, take)
        else:
            for event in self._events():
                take(event)
        return found

    def packet(self, number: int) -> Packet:
        """One of its packets."""
        row = (self._columns[0] == number).nonzero()[0]
        if not len(row):
            raise SmtpscopeError(f"packet {number} is not of this session")
        columns = self._columns[:, row[:1]]
        with Parts(self._place.parts) as parts:
            (batch,) = batches(parts, columns)
        return Packet(
            number, int(columns[4, 0]), int(columns[5, 0]), batch.buffer, int(columns[3, 0])
        )

    @property
    def secrets(self) -> bytes:
        """The lines of a key log that open its TLS."""
        return self._place.secrets

    def captured(self) -> Iterator[PacketBatch]:
        """All its packets."""
        with Parts(self._place.parts) as parts:
            for batch in batches(parts, self._columns):
                if self._cancelled():
                    raise CancelledError("cancelled")
                yield batch

    def layers(self, packet: Packet) -> list[Field]:
        """Every layer and field of a packet."""
        return dissect_packet(packet.linktype, packet.frame)

    def _decode(
        self,
        content: Callable[[], Content],
        tap: Callable[[StreamEvent], object] | None = None,
    ) -> Session:
        place = self._place
        key_log = KeyLog()
        key_log.add(place.secrets)
        decoder: SessionDecoder | None = None
        for event in self._events():
            if decoder is None:
                assert isinstance(event, Opened)
                decoder = SessionDecoder(
                    event, place.name, self._policy, content, key_log=key_log, tap=tap
                )
            else:
                decoder.feed(event)
        if decoder is None:
            raise SmtpscopeError("the capture no longer has this session; open it again")
        decoder.note(*self._retransmissions)
        session = decoder.finish(ended=not place.on)
        server, *beside = json.loads(place.beside or "[null]")
        timing = ServerTiming(Percentiles(*server[:3]), server[3]) if server else None
        defects = [
            Defect(rule, Span(Direction(direction), start, end), detail)
            for rule, (direction, start, end), detail in beside
        ]
        join(session, place.number, Joined(timing, defects))
        return session

    def _events(self) -> Iterator[StreamEvent]:
        assembler = StreamAssembler(frozenset({self._place.port}))
        dissector = Dissector()
        self._retransmissions: list[Defect] = []
        for batch in self.captured():
            yield from self._taken(assembler.feed(segments(batch, dissector)))
        if not self._place.on:
            yield from self._taken(assembler.finish())

    def _taken(self, touched: list[tuple[Connection, list[StreamEvent]]]) -> Iterator[StreamEvent]:
        # All packets are of one connection.
        for connection, events in touched[:1]:
            yield from events
            if connection.ended:
                self._retransmissions = list(connection.retransmissions())


class _Copy(Content):
    """Keeps a message's octets, too."""

    __slots__ = ("file",)

    def __init__(self) -> None:
        super().__init__()
        self.file: IO[bytes] = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115

    def feed(self, data: bytes) -> None:
        super().feed(data)
        self.file.write(data)


def _pieces(event: Data, start: int, end: int) -> Iterator[Piece]:
    marks = event.marks
    behind = [mark.offset for mark in marks[1:]] + [event.offset + len(event.data)]
    for mark, until in zip(marks, behind, strict=True):
        first, last = max(mark.offset, start), min(until, end)
        if first < last:
            octets = event.data[first - event.offset : last - event.offset]
            yield Piece(first, octets, mark.packet, mark.time)
