"""From a capture to sessions: wires the stages, packets → TCP → tunnel → TLS → SMTP.

`read_sessions` reads a capture file and yields its sessions; `SessionDecoder` is the part behind
TCP, for one connection. Nothing here raises on what the packets hold; `NoCaptureError` comes where
the input is no capture.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from smtpscope.capture.connection import Connection
from smtpscope.capture.dissect import Dissector
from smtpscope.capture.flows import StreamAssembler
from smtpscope.capture.packets import segments
from smtpscope.capture.pcap import CaptureReader, PacketBatch, open_capture
from smtpscope.capture.tls_stage import TlsStage
from smtpscope.capture.tunnel import TunnelStripper
from smtpscope.findings import finding, judge
from smtpscope.findings.across import Across
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.session import Content, Session, SessionBuilder, message_of
from smtpscope.smtp.dialogue import Dialogue
from smtpscope.smtp.values import Exchange
from smtpscope.stream import (
    Closed,
    Data,
    Defect,
    Direction,
    Gap,
    Noted,
    Opened,
    Span,
    StreamEvent,
)
from smtpscope.timing import measure

SMTP_PORTS = frozenset({25, 465, 587, 1025, 2525})
"""Ports on which every connection is taken for SMTP; on others its content must show it."""

MAX_HELD_SESSIONS = 1_000
"""Finished sessions that wait for an earlier one so that they come in the order of their start."""

MAX_DEFECTS = 10_000
"""Defects told of one session."""

CLOCK_STEP = 100_000_000
"""Nanoseconds by which packets of one connection may go back in time: captures of several
interfaces are out of order by less."""

_GAP_RULES = {"lost": "gap", "snaplen": "snaplen-cut", "bound": "reassembly-bound"}


class SessionDecoder:
    """One connection's events in, its `Session` out."""

    def __init__(
        self, opened: Opened, number: int, capture: str, policy: Policy = NO_POLICY
    ) -> None:
        self._policy = policy
        self._builder = SessionBuilder(opened, number, capture)
        self.session = self._builder.session
        self._dialogue = Dialogue(Content, midstream=not opened.handshake)
        self._tunnel = TunnelStripper()
        self._tls = TlsStage()
        # Nothing but the dialogue has a say in what comes: no tunnel, no TLS.
        self._plain = False
        self._defects: list[Defect] = []
        self._closing: str | None = None
        self._newest = opened.packet
        self._clock_told = False
        if not opened.handshake:
            self.session.whole = False
            self.note(Defect("midstream", Span(Direction.CLIENT, 0, 0)))

    def feed(self, event: StreamEvent) -> list[Exchange]:
        """The exchanges that `event` completed."""
        session, dialogue = self.session, self._dialogue
        last = event.marks[-1] if isinstance(event, Data) else event
        time = last.time
        if time >= session.end:
            session.end = time
            self._newest = last.packet
        elif time < session.end - CLOCK_STEP:
            self._check_clock(event, time, last.packet)
        if self._plain and not isinstance(event, Noted):
            if not isinstance(event, Data):
                self._observe(event)
            found = dialogue.feed(event)
            if dialogue.upgraded:
                self._upgrade(found)
        else:
            found = []
            for passed in self._tunnel.feed(event):
                self._decode(passed, found)
            self._plain = self._tunnel.done and self._tls.idle
        if found:
            self._add(found)
        return found

    def finish(self) -> Session:
        """The session, complete: nothing more of it will come."""
        session = self.session
        self._add(self._dialogue.finish())
        for transaction in session.transactions:
            message_of(transaction)
        session.lmtp = session.lmtp or self._dialogue.lmtp
        session.tunnel = self._tunnel.tunnel
        if self._tls.observer is not None:
            session.tls = self._tls.observer.info
            session.tls_mode = self._tls.mode
        elif self._dialogue.one_sided:
            self.note(Defect("one-direction", Span(Direction.CLIENT, 0, 0)))
        if session.state != "quit" and self._closing is not None:
            session.state = self._closing
        if session.dropped:
            detail = f"{session.dropped:,} exchanges left out"
            self.note(Defect("session-bound", Span(Direction.CLIENT, 0, 0), detail))
        if session.dropped or self._dialogue.one_sided:
            session.whole = False
        pipelining = any(each.keyword == "PIPELINING" for each in session.capabilities)
        session.timing = measure(session.exchanges, pipelining=pipelining)
        session.findings = judge(session, self._defects, MAX_DEFECTS, self._policy)
        return session

    def _check_clock(self, event: StreamEvent, time: int, packet: int) -> None:
        """A later packet with an earlier time; one that only waited in the reassembly has both."""
        if packet > self._newest and not self._clock_told:
            self._clock_told = True
            start = Span(Direction.CLIENT, 0, 0)
            if isinstance(event, Data):
                start = Span(event.direction, event.offset, event.offset)
            back = (self.session.end - time) / 1e9
            self.note(Defect("clock-backwards", start, f"{back:,.3f} s at packet {packet:,}"))

    def _decode(self, event: StreamEvent, found: list[Exchange]) -> None:
        if not isinstance(event, Data):
            self._observe(event)
        self._pass_tls([event], found)

    def _upgrade(self, found: list[Exchange]) -> None:
        """STARTTLS was accepted: what followed it is to pass the TLS stage."""
        self._plain = False
        self._tls.expect()
        self._pass_tls([*self._dialogue.release()], found)

    def _pass_tls(self, todo: list[StreamEvent], found: list[Exchange]) -> None:
        dialogue = self._dialogue
        while todo:
            plain = self._tls.feed(todo.pop(0))
            for index, passed in enumerate(plain):
                if isinstance(passed, Noted):
                    self.note(passed.defect)
                    continue
                found += dialogue.feed(passed)
                if dialogue.upgraded:
                    self._tls.expect()
                    todo[0:0] = [*dialogue.release(), *plain[index + 1 :]]
                    break

    def _observe(self, event: StreamEvent) -> None:
        if isinstance(event, Gap):
            self.session.whole = False
            span = Span(event.direction, event.offset, event.offset + event.length)
            self.note(Defect(_GAP_RULES[event.reason], span, f"{event.length:,} octets"))
        elif isinstance(event, Closed) and event.how != "end" and self._closing is None:
            # An RST behind a FIN is what a closed socket says to late octets: no cut session.
            self._closing = "reset" if event.how == "rst" else "closed"
            self.session.closed_by = event.direction

    def note(self, *defects: Defect) -> None:
        """Take what was seen elsewhere of this connection; to be called before `finish`."""
        self._defects.extend(defects[: MAX_DEFECTS - len(self._defects)])

    def _add(self, exchanges: list[Exchange]) -> None:
        for exchange in exchanges:
            self._builder.add(exchange)
            if exchange.defects:
                self.note(*exchange.defects)


def read_sessions(
    source: str | Path | BinaryIO,
    *,
    ports: frozenset[int] = SMTP_PORTS,
    policy: Policy = NO_POLICY,
    on_progress: Callable[[CaptureReader, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Iterator[Session]:
    """The sessions of a capture file, in the order of their first packets.

    `source` is a path or a binary stream; `ports` are those whose connections are all taken for
    SMTP; `policy` is what the user says of the servers. `on_progress` is called after each batch
    with the reader and the number of sessions found, `on_note` at the end with each thing that the
    capture itself leaves to be told: damage, drops, bounds. Raises `NoCaptureError` where the input
    is no capture.
    """
    with open_capture(source) as reader:
        decoding = CaptureDecoder(Path(reader.name).name, ports, policy)
        for batch in reader:
            yield from decoding.feed(batch)
            if on_progress is not None:
                on_progress(reader, decoding.begun)
        yield from decoding.finish()
        if on_note is not None:
            for note in (*_capture_notes(reader), *decoding.notes()):
                on_note(note)


def _capture_notes(reader: CaptureReader) -> Iterator[str]:
    yield from reader.problems
    if reader.truncated is not None:
        yield f"cut short: the packet at octet {reader.truncated:,} and what followed is missing"
    for index, counted in sorted(reader.statistics.items()):
        dropped = (counted.dropped or 0) + (counted.dropped_by_system or 0)
        if dropped:
            yield f"{dropped:,} packets were dropped when interface {index} was recorded"


class CaptureDecoder:
    """Batches of packets in, finished sessions out, in the order of their first packets."""

    def __init__(
        self, capture: str, ports: frozenset[int] = SMTP_PORTS, policy: Policy = NO_POLICY
    ) -> None:
        self._capture = capture
        self._policy = policy
        self._assembler = StreamAssembler(ports)
        self._dissector = Dissector()
        self._open: dict[int, SessionDecoder] = {}
        self._finished: list[tuple[int, Session]] = []
        self._across = Across()
        self._unreadable = 0
        self.begun = 0

    def feed(self, batch: PacketBatch) -> Iterator[Session]:
        found = segments(batch, self._dissector)
        self._unreadable += found.unreadable
        yield from self._decode(self._assembler.feed(found))

    def notes(self) -> Iterator[str]:
        """What was left out, in words for the user."""
        if self._unreadable:
            yield f"{self._unreadable:,} packets have headers that could not be read"
        if self._assembler.evicted:
            yield f"{self._assembler.evicted:,} sessions were ended early: too many at once"

    def finish(self) -> Iterator[Session]:
        """The capture is over: what is still open, too."""
        yield from self._decode(self._assembler.finish())
        for number in self._open:
            heapq.heappush(self._finished, (number, self._open[number].finish()))
        self._open.clear()
        yield from self._ordered()

    def _decode(self, events: list[tuple[Connection, list[StreamEvent]]]) -> Iterator[Session]:
        for connection, stream in events:
            number = connection.number
            decoder = self._open.get(number)
            for event in stream:
                if decoder is not None:
                    decoder.feed(event)
                    continue
                # Every connection's first event says that it opens.
                assert isinstance(event, Opened)
                self.begun += 1
                decoder = SessionDecoder(event, number, self._capture, self._policy)
                self._open[number] = decoder
            stream.clear()
            if connection.ended and decoder is not None:
                del self._open[number]
                decoder.note(*connection.retransmissions())
                heapq.heappush(self._finished, (number, decoder.finish()))
                # At once: a session that is let go while it is warm costs the least.
                yield from self._ordered()

    def _ordered(self) -> Iterator[Session]:
        """Finished sessions that no earlier one is waited for."""
        # Connections come by number, and so the first one in is the lowest.
        first_open = next(iter(self._open), None)
        finished = self._finished
        while finished and (
            first_open is None or finished[0][0] < first_open or len(finished) > MAX_HELD_SESSIONS
        ):
            session = heapq.heappop(finished)[1]
            session.findings += [finding(defect) for defect in self._across.add(session)]
            yield session
