"""Follows a capture that is still being written: its sessions while they go on.

`Follower` gives, again and again, the sessions that got something since the last time; what a
session shows at its end is the same as when the whole capture is read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from smtpscope.capture.connection import Connection
from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.pcap import PacketBatch, open_capture
from smtpscope.decode import SessionDecoder
from smtpscope.findings import MAX_TOLD, LiveJudge, finding, join
from smtpscope.findings.across import Across, trace_of
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.reading import (
    SMTP_PORTS,
    ConnectionSource,
    Streams,
    capture_notes,
    eviction_notes,
)
from smtpscope.session import Finding, Session
from smtpscope.smtp.values import Exchange
from smtpscope.stream import Defect, Opened, StreamEvent


class Judged(NamedTuple):
    """An exchange that is complete, with what was found about it and just before it."""

    exchange: Exchange
    findings: list[Finding]


class Watched:
    """A session under observation: its `number`, and what is known of it so far.

    Once it has `ended`, `session` is complete.
    """

    def __init__(
        self,
        number: int,
        connection: Connection,
        opened: Opened,
        source: ConnectionSource,
        policy: Policy,
    ) -> None:
        self.number = number
        self.ended = False
        self._connection = connection
        self._opened = opened
        self._source = source
        self._policy = policy
        # Many connections never say anything.
        self._decoder: SessionDecoder | None = None
        self._new: list[Exchange] = []
        self._judge: LiveJudge | None = None
        self._known_defects = self._known_beside = 0
        self._told: set[Defect] = set()
        self._told_by: Counter[str] = Counter()

    @property
    def session(self) -> Session:
        """What is known of it."""
        return self._decoding().session

    def feed(self, stream: Iterable[StreamEvent], *, keep: bool) -> None:
        """Take what came; `keep` the exchanges for `take`."""
        for event in stream:
            found = self._decoding().feed(event)
            if keep:
                self._new += found

    def end(self, across: Across, *, keep: bool) -> None:
        """Nothing more will come."""
        decoder = self._decoding()
        known = len(decoder.session.exchanges)
        decoder.note(*self._connection.retransmissions())
        session = decoder.finish()
        if keep:
            self._new += session.exchanges[known:]
        join(session, self.number, across.add(trace_of(session)))
        session.packets = self._packets()
        self.ended = True

    def _decoding(self) -> SessionDecoder:
        if self._decoder is None:
            self._decoder = self._begin()
        return self._decoder

    def _begin(self) -> SessionDecoder:
        decoder = self._source.decoder(self._opened)
        decoder.session.number = self.number
        return decoder

    def take(self) -> list[Judged]:
        """The exchanges that are complete since the last time."""
        new, self._new = self._new, []
        if not new:
            return []
        if self._judge is None:
            self._judge = LiveJudge(self.session, self._policy)
        defects = self._decoding().defects
        # What concerns no exchange is told with the next one.
        beside = self.session.beside
        observed = [*defects[self._known_defects :], *beside[self._known_beside :]]
        self._known_defects, self._known_beside = len(defects), len(beside)
        taken = []
        for exchange in new:
            found, observed = [*observed, *self._judge.take(exchange)], []
            taken.append(Judged(exchange, self._tell(found)))
        return taken

    def rest(self) -> list[Finding]:
        """What was found at the end, and was not told before."""
        return [
            each
            for each in self.session.findings
            if not any(each.rule == told.rule and each.span == told.span for told in self._told)
        ]

    def snapshot(self) -> Session:
        """The session as far as it has come; it holds until more comes."""
        if self.ended:
            return self.session
        session = (self._decoder or self._begin()).snapshot()
        session.packets = self._packets()
        return session

    def _tell(self, defects: list[Defect]) -> list[Finding]:
        told = []
        for defect in defects:
            if defect not in self._told and self._told_by[defect.rule] < MAX_TOLD:
                self._told.add(defect)
                self._told_by[defect.rule] += 1
                told.append(finding(defect))
        return told

    def _packets(self) -> bytes:
        trail = self._connection.trail
        return trail.packed() if trail is not None else b""


class Follower:
    """Iterating over it gives the sessions that got something, and nothing at all (an empty list)
    a few times a second while nothing comes. It ends when it is told to `stop`, or where the
    capture can't be longer.

    `exchanges`: they are wanted, not only the sessions. `offset`: a recording begins there in its
    file, and what is before belongs to others. `trails` and `key_logs` as with `read_sessions`.
    Raises `NoCaptureError` where the input is no capture.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | IO[bytes],
        *,
        ports: frozenset[int] = SMTP_PORTS,
        policy: Policy = NO_POLICY,
        trails: bool = False,
        exchanges: bool = True,
        key_logs: Sequence[str] = (),
        offset: int = 0,
    ) -> None:
        self.reader = open_capture(source, follow=True, offset=offset)
        self.packets = 0
        self.sessions = 0
        self._policy = policy
        self._exchanges = exchanges
        self._key_log = KeyLog(key_logs, follow=True)
        self._source = ConnectionSource(
            Path(self.reader.name).name,
            ports,
            policy,
            trails=trails,
            comments=self.reader.comments,
            secrets=self.reader.secrets,
            key_log=self._key_log,
        )
        self._across = Across()
        self._open: dict[int, Watched] = {}

    def stop(self) -> None:
        """Follow no more: what is there now is still read."""
        self.reader.stop()

    @property
    def open(self) -> int:
        """How many sessions go on."""
        return len(self._open)

    @property
    def dropped(self) -> int:
        """Packets that the recorder could not get, as it says."""
        return sum(
            (each.dropped or 0) + (each.dropped_by_system or 0)
            for each in self.reader.statistics.values()
        )

    def notes(self) -> list[str]:
        """What the capture itself leaves to be told, in words for the user."""
        notes = capture_notes(self.reader, self._source.unreadable)
        return [*notes, *eviction_notes(self._source.evicted), *self._key_log.problems]

    def __iter__(self) -> Iterator[list[Watched]]:
        with self.reader:
            for batch in self.reader.follow():
                yield self._feed(batch) if batch is not None else []
            yield self._decode(self._source.finish())

    def _feed(self, batch: PacketBatch) -> list[Watched]:
        self.packets += len(batch)
        return self._decode(self._source.feed(batch))

    def _decode(self, streams: Streams) -> list[Watched]:
        touched = []
        for connection, stream in streams:
            place = connection.place
            watched = self._open.get(place)
            if watched is None:
                watched = self._open[place] = self._begin(connection, stream.pop(0))
            watched.feed(stream, keep=self._exchanges)
            touched.append(watched)
            if connection.ended:
                del self._open[place]
                watched.end(self._across, keep=self._exchanges)
        return touched

    def _begin(self, connection: Connection, opened: StreamEvent) -> Watched:
        # Every connection's first event says that it opens.
        assert isinstance(opened, Opened)
        self.sessions += 1
        return Watched(self.sessions, connection, opened, self._source, self._policy)
