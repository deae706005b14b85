"""Reads captures: from a file to its sessions, in the order in which they began.

`ConnectionSource` takes packets to connections, `ShareDecoder` those, or its share, to sessions;
`Sequencer` puts what the shares found into one order, and joins what only several sessions
together show. `read_sessions` does both in this process, `parallel` in several.
"""

from __future__ import annotations

import gc
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Generic, NamedTuple, TypeVar

from smtpscope.capture.connection import Connection
from smtpscope.capture.dissect import Dissector
from smtpscope.capture.flows import StreamAssembler
from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.packets import segments
from smtpscope.capture.pcap import (
    CaptureReader,
    Comment,
    PacketBatch,
    Secret,
    open_capture,
    without_server_legs,
)
from smtpscope.capture.synth import SERVER_LEGS
from smtpscope.decode import SessionDecoder
from smtpscope.findings import join
from smtpscope.findings.across import Across, Joined, Trace, trace_of
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.session import Session
from smtpscope.stream import Defect, Opened, StreamEvent

SMTP_PORTS = frozenset({25, 465, 587, 1025, 2525})
"""Ports on which every connection is taken for SMTP; on others its content must show it."""

MAX_HELD_SESSIONS = 1_000
"""Finished sessions that wait for an earlier one so that they come in the order of their start."""

OnProgress = Callable[[int, int | None, int], None]
"""Takes the octets read, those of the file if they are known, and the sessions found so far."""

Streams = list[tuple[Connection, list[StreamEvent]]]
"""Connections in the order of their first packets, each with what it brought."""

_T = TypeVar("_T")


class Finished(NamedTuple, Generic[_T]):
    """A session that ended: `place` orders it, `what` is the session or stands for it."""

    place: int
    trace: Trace
    what: _T


class Report(NamedTuple, Generic[_T]):
    """What a share brought since the last one.

    `begun` has the places of the connections that began, ascending; `open_since` is the place of
    the first one that is still open, None without one.
    """

    begun: list[int]
    finished: list[Finished[_T]]
    open_since: int | None


class Sequencer(Generic[_T]):
    """Puts sessions in order and numbers them from 1, in the order of their first packets."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._finished: list[Finished[_T]] = []
        self._across = Across()
        self.begun = 0

    def add(self, reports: Iterable[Report[_T]]) -> Iterator[tuple[int, Joined, _T]]:
        """Takes the report of every share on the same packets.

        Gives the sessions that no earlier one is waited for: their numbers, and what they show
        beside the earlier ones.
        """
        open_since = None
        begun: list[int] = []
        finished = self._finished
        for report in reports:
            begun += report.begun
            for each in report.finished:
                heapq.heappush(finished, each)
            if report.open_since is not None and (
                open_since is None or report.open_since < open_since
            ):
                open_since = report.open_since
        for place in sorted(begun):
            self.begun += 1
            self._numbers[place] = self.begun
        while finished and (
            open_since is None
            or finished[0].place < open_since
            or len(finished) > MAX_HELD_SESSIONS
        ):
            place, trace, what = heapq.heappop(finished)
            yield self._numbers.pop(place), self._across.add(trace), what


class PacketComments:
    """The comments on packets of a capture that is being read: `by_packet`, by their numbers."""

    def __init__(self, comments: Sequence[Comment]) -> None:
        self._comments = comments
        self._taken = 0
        self.by_packet: dict[int, bytes] = {}

    def update(self) -> None:
        """Take those that have come since."""
        comments = self._comments
        if len(comments) != self._taken:
            for packet, text in comments[self._taken :]:
                if packet:
                    known = self.by_packet.get(packet)
                    self.by_packet[packet] = text if known is None else known + b"; " + text
            self._taken = len(comments)


class ConnectionSource:
    """Batches of packets in, connections and what they brought out; makes their decoders.

    With `trails` each connection says where its packets lie; `comments` and `secrets` are those of
    the capture, which may grow; `key_log` has other secrets.
    """

    def __init__(
        self,
        capture: str,
        ports: frozenset[int],
        policy: Policy,
        *,
        trails: bool,
        comments: Sequence[Comment],
        secrets: Sequence[Secret],
        key_log: KeyLog,
    ) -> None:
        self.unreadable = 0
        self._capture = capture
        self._policy = policy
        self._comments = PacketComments(comments)
        self._secrets = secrets
        self._key_log = key_log
        self._assembler = StreamAssembler(ports, trails=trails)
        self._dissector = Dissector()

    @property
    def evicted(self) -> int:
        """Connections that were ended early because too many were open."""
        return self._assembler.evicted

    def feed(self, batch: PacketBatch, share: int = 0, shares: int = 1) -> Streams:
        """Take the next packets; of `shares` equal shares only this one's connections."""
        self._comments.update()
        self._key_log.take(self._secrets)
        found = segments(without_server_legs(batch), self._dissector)
        self.unreadable += found.unreadable
        if shares > 1:
            found = found.share(share, shares)
        streams = self._assembler.feed(found)
        for trail in self._assembler.touched_trails:
            trail.note(batch)
        self._assembler.touched_trails.clear()
        return streams

    def finish(self) -> Streams:
        """The capture is over: every connection that was open ends."""
        return self._assembler.finish()

    def decoder(self, opened: Opened) -> SessionDecoder:
        """The decoder of the connection that opened so."""
        return SessionDecoder(
            opened,
            self._capture,
            self._policy,
            comments=self._comments.by_packet,
            key_log=self._key_log,
        )


class ShareDecoder:
    """Batches of packets in, reports of finished sessions out.

    `share` and `shares`: of so many equal shares of the connections, only the one with this number
    (from 0 on) is decoded. The rest as with `ConnectionSource`.
    """

    def __init__(
        self,
        capture: str,
        ports: frozenset[int] = SMTP_PORTS,
        policy: Policy = NO_POLICY,
        share: int = 0,
        shares: int = 1,
        *,
        trails: bool = False,
        comments: Sequence[Comment] = (),
        secrets: Sequence[Secret] = (),
        key_log: KeyLog | None = None,
    ) -> None:
        self._source = ConnectionSource(
            capture,
            ports,
            policy,
            trails=trails,
            comments=comments,
            secrets=secrets,
            key_log=KeyLog() if key_log is None else key_log,
        )
        self._share = share
        self._shares = shares
        self._open: dict[int, Opened | SessionDecoder] = {}

    @property
    def unreadable(self) -> int:
        """Packets whose headers could not be read."""
        return self._source.unreadable

    @property
    def evicted(self) -> int:
        """Sessions that were ended early because too many were open."""
        return self._source.evicted

    def feed(self, batch: PacketBatch) -> Report[Session]:
        return self._decode(self._source.feed(batch, self._share, self._shares))

    def finish(self) -> Report[Session]:
        """The capture is over: what is still open, too."""
        return self._decode(self._source.finish())

    def _decode(self, streams: Streams) -> Report[Session]:
        begun: list[int] = []
        finished: list[Finished[Session]] = []
        for connection, stream in streams:
            place = connection.place
            decoder = self._open.get(place)
            for event in stream:
                if isinstance(decoder, SessionDecoder):
                    decoder.feed(event)
                elif decoder is None:
                    # Every connection's first event says that it opens; many never say more.
                    assert isinstance(event, Opened)
                    begun.append(place)
                    decoder = self._open[place] = event
                else:
                    decoder = self._open[place] = self._source.decoder(decoder)
                    decoder.feed(event)
            stream.clear()
            if connection.ended and decoder is not None:
                del self._open[place]
                ended = self._finish(place, decoder, *connection.retransmissions())
                if connection.trail is not None:
                    ended.what.packets = connection.trail.packed()
                finished.append(ended)
        # Connections come in order, and so the first one in is the earliest.
        return Report(begun, finished, next(iter(self._open), None))

    def _finish(
        self, place: int, decoder: Opened | SessionDecoder, *seen: Defect
    ) -> Finished[Session]:
        if isinstance(decoder, Opened):
            decoder = self._source.decoder(decoder)
        decoder.note(*seen)
        session = decoder.finish()
        return Finished(place, trace_of(session), session)


def read_sessions(
    source: str | Path | BinaryIO,
    *,
    ports: frozenset[int] = SMTP_PORTS,
    policy: Policy = NO_POLICY,
    trails: bool = False,
    key_logs: Sequence[str] = (),
    on_progress: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Iterator[Session]:
    """The sessions of a capture file, in the order of their first packets.

    `source` is a path or a binary stream; `ports` are those whose connections are all taken for
    SMTP; `policy` is what the user says of the servers; with `trails` each session says where its
    packets lie; `key_logs` are files of TLS secrets. `on_progress` is called after each batch,
    `on_note` at the end with each thing that the capture itself leaves to be told: damage, drops,
    bounds. Raises `NoCaptureError` where the input is no capture.
    """
    with open_capture(source) as reader:
        key_log = KeyLog(key_logs)
        decoder = ShareDecoder(
            Path(reader.name).name,
            ports,
            policy,
            trails=trails,
            comments=reader.comments,
            secrets=reader.secrets,
            key_log=key_log,
        )
        sequencer: Sequencer[Session] = Sequencer()
        for batch in reader:
            yield from _completed(sequencer, decoder.feed(batch))
            if on_progress is not None:
                on_progress(reader.consumed, reader.size, sequencer.begun)
        yield from _completed(sequencer, decoder.finish())
        if on_note is not None:
            notes = capture_notes(reader, decoder.unreadable) + eviction_notes(decoder.evicted)
            for note in [*notes, *key_log.problems]:
                on_note(note)


def _completed(sequencer: Sequencer[Session], report: Report[Session]) -> Iterator[Session]:
    for number, joined, session in sequencer.add([report]):
        join(session, number, joined)
        yield session


def spare_collector() -> None:
    """Decoding makes objects by the million, and hardly a cycle among them."""
    # What was imported stays, and need not be looked at again and again.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def capture_notes(reader: CaptureReader, unreadable: int) -> list[str]:
    """What the capture itself leaves to be told, in words for the user; of so many packets the
    headers are `unreadable`."""
    found = list(reader.problems)
    if reader.truncated is not None:
        found.append(
            f"cut short: the packet at octet {reader.truncated:,} and what followed is missing"
        )
    for index, counted in sorted(reader.statistics.items()):
        dropped = (counted.dropped or 0) + (counted.dropped_by_system or 0)
        if dropped:
            found.append(f"{dropped:,} packets were dropped when interface {index} was recorded")
    if any(each.name == SERVER_LEGS for each in reader.interfaces):
        found.append(
            "a proxy's own connections to the server are not shown: their sessions are those of its"
            " clients"
        )
    if unreadable:
        found.append(f"{unreadable:,} packets have headers that could not be read")
    return found


def eviction_notes(evicted: int) -> list[str]:
    return [f"{evicted:,} sessions were ended early: too many at once"] if evicted else []
