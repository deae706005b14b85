"""Finds the SMTP connections in a capture: batches of segments become connections with events.

In go `SegmentBatch`es in capture order, out come `Connection`s and their new `StreamEvent`s. A
flow is SMTP by one of its ports, or by what it says first, which `recognition` judges. Traffic
that is no SMTP is dismissed in whole columns.
"""

from __future__ import annotations

import socket
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smtpscope.capture.connection import Connection
from smtpscope.capture.log import Buffer
from smtpscope.capture.recognition import (
    OPENING,
    Candidate,
    first_words,
    is_smtp,
    may_be_smtp,
    may_begin_smtp,
    said_by_client,
)
from smtpscope.capture.runs import WORTHWHILE, Columns
from smtpscope.capture.tcp import ACK, FIN, RST, SYN, Row
from smtpscope.capture.trail import Trail
from smtpscope.stream import Endpoint, StreamEvent

if TYPE_CHECKING:
    from smtpscope.capture.packets import SegmentBatch

#: How many flows on other ports may be undecided after a review; the oldest are dismissed.
CANDIDATES = 16384
#: After so many packets of the capture there is a review of what ended and what is undecided. It
#: goes by packet numbers, so that what is forgotten does not depend on the batches.
PERIOD = 1 << 16
#: How long an ended connection is remembered, so that a late retransmission opens no new one: the
#: maximum segment lifetime (RFC 9293 §3.4.2), in ns.
LINGER = 120_000_000_000


class _Ended(NamedTuple):
    """What is remembered of an ended connection: when, and the SYNs' numbers by `forward`."""

    packet: int
    time: int
    initial_numbers: tuple[int, int]


class StreamAssembler:
    """Every SMTP connection of a capture.

    `ports` are the ports that are SMTP whatever is said on them. A flow on another port is SMTP
    from its SYN if its first payloads say so, and otherwise from the first payload on that begins
    with a greeting that names SMTP, with EHLO, HELO, LHLO, MAIL FROM: or RCPT TO:. With more than
    `max_connections` open, the one idle longest is closed with "end"; `evicted` counts these.
    With `trails` each connection has a `Trail`, and `touched_trails` are those that got packets.
    Every PERIOD packets all but the newest CANDIDATES undecided flows and `max_connections` ended
    connections are forgotten. Results don't depend on how the capture is cut into batches.
    """

    def __init__(
        self, ports: frozenset[int], *, max_connections: int = 100_000, trails: bool = False
    ) -> None:
        self.evicted = 0
        self.touched_trails: dict[Trail, None] = {}
        self._with_trails = trails
        self._ports = ports
        self._is_port = np.zeros(1 << 16, bool)
        self._is_port[list(ports)] = True
        self._max_connections = max_connections
        self._connections: dict[bytes, Connection] = {}
        self._ended: dict[bytes, _Ended] = {}
        self._idle: deque[tuple[int, bytes, Connection]] = deque()
        self._candidates: dict[bytes, Candidate] = {}
        self._elsewhere: dict[bytes, int] = {}
        self._watched: NDArray[np.uint64] | None = None
        self._touched: dict[Connection, None] = {}
        self._period = 0

    def feed(self, batch: SegmentBatch) -> list[tuple[Connection, list[StreamEvent]]]:
        """Take the next batch; returns what it brought, in the order of the connections."""
        begin = 0
        while begin < len(batch.packet):
            period = int(batch.packet[begin]) // PERIOD
            if period != self._period:
                self._period = period
                self._forget(int(batch.time[begin]))
            end = int(np.searchsorted(batch.packet, (period + 1) * PERIOD))
            self._absorb(batch, begin, end)
            begin = end
        return self._take()

    def finish(self) -> list[tuple[Connection, list[StreamEvent]]]:
        """The capture ends: closes what is open. Returns as `feed` does."""
        for connection in self._connections.values():
            connection.finish()
            self._touched[connection] = None
        self._connections.clear()
        self._elsewhere.clear()
        self._candidates.clear()
        self._ended.clear()
        self._idle.clear()
        self._watched = None
        return self._take()

    def _take(self) -> list[tuple[Connection, list[StreamEvent]]]:
        taken = [(connection, connection.take()) for connection in self._touched]
        self._touched.clear()
        taken.sort(key=lambda pair: pair[0].place)
        return [pair for pair in taken if pair[1]]

    def _absorb(self, batch: SegmentBatch, begin: int, end: int) -> None:
        chosen = self._choose(batch, begin, end)
        if not len(chosen):
            return
        order = chosen[np.argsort(batch.key[chosen], kind="stable")]
        endpoints = batch.endpoints[order]
        firsts = np.flatnonzero(_changes(endpoints))
        if self._may_overflow(batch, order, endpoints[firsts]):
            # Which connection is idle longest depends on the packet: take them one by one.
            order = chosen
            endpoints = batch.endpoints[order]
            firsts = np.arange(len(order))

        buffer = batch.buffer
        names = endpoints[firsts].tobytes()
        keys = batch.key[order[firsts]].tolist()
        columns = Columns(*(getattr(batch, name)[order] for name in Columns._fields))
        large = len(order) >= WORTHWHILE * len(firsts)
        # Of many small flows all at once: what is done for each column has its price.
        rows = [] if large else columns.rows()
        bounds = [*firsts.tolist(), len(order)]
        for group in np.argsort(order[firsts]).tolist():
            name = names[36 * group : 36 * group + 36]
            begin, end = bounds[group], bounds[group + 1]
            if large:
                self._follow_many(name, keys[group], buffer, columns.part(begin, end))
            else:
                self._follow(name, keys[group], buffer, rows[begin:end])
            if len(self._connections) > self._max_connections:
                self._evict()

    def _choose(self, batch: SegmentBatch, begin: int, end: int) -> NDArray[np.intp]:
        """The rows that are SMTP, or may become it, or need a look by `_follow`."""
        by_port = self._is_port[batch.sport[begin:end]] | self._is_port[batch.dport[begin:end]]
        others = np.flatnonzero(~by_port) + begin
        if not len(others):
            return np.arange(begin, end)
        key = batch.key[others]
        if self._watched is None:
            keys = [*self._elsewhere.values(), *(one.key for one in self._candidates.values())]
            self._watched = np.unique(np.array(keys, np.uint64))
        chosen = _member(key, self._watched)
        flags = batch.flags[others]
        speaking = (batch.length[others] > 0) & ~chosen
        opening = (flags & SYN > 0) & ~chosen
        words = np.zeros(len(others), np.uint32)
        spoken = np.flatnonzero(speaking)
        words[spoken] = first_words(batch.buffer, batch.start[others[spoken]])
        promising = speaking & may_be_smtp(words)
        names = [key[promising]]
        if opening.any():
            decisive = speaking | (flags & (FIN | RST) > 0)
            row = np.flatnonzero(
                (opening | decisive) & ~chosen & _member(key, np.unique(key[opening]))
            )
            row = row[np.argsort(key[row], kind="stable")]
            changes = np.append(_changes(batch.endpoints[others[row]]), True)
            part = np.cumsum(changes[:-1] | opening[row]) - 1
            decided, index = np.unique(part[decisive[row]], return_index=True)
            deciding = row[decisive[row]][index]
            start = may_begin_smtp(words[deciding], batch.length[others[deciding]])
            names.append(key[deciding[start & speaking[deciding]]])
            undecided = np.ones(part[-1] + 1, bool)
            undecided[decided] = False
            names.append(key[row[changes[1:] & undecided[part]]])
        chosen |= _member(key, np.unique(np.concatenate(names)))
        by_port[others[chosen] - begin] = True
        return np.flatnonzero(by_port) + begin

    def _may_overflow(
        self, batch: SegmentBatch, order: NDArray[np.intp], endpoints: NDArray[np.uint8]
    ) -> bool:
        room = self._max_connections - len(self._connections)
        if len(order) <= room:
            return False
        room -= int(np.count_nonzero(batch.flags[order] & SYN))
        if room < 0 or len(endpoints) <= room:
            return room < 0
        names = endpoints.tobytes()
        known = sum(names[at : at + 36] in self._connections for at in range(0, len(names), 36))
        return len(endpoints) - known > room

    def _follow_many(self, name: bytes, key: int, buffer: Buffer, columns: Columns) -> None:
        """The same as `_follow`, where what runs in order is not looked at row by row."""
        at = 0
        while at < len(columns.packet):
            taken = self._run(name, buffer, columns.part(at))
            at += taken
            # Where a run is short others will be, too.
            until = at + WORTHWHILE if taken >= WORTHWHILE or not at else None
            self._follow(name, key, buffer, columns.part(at, until).rows())
            if until is None:
                break
            at = until

    def _run(self, name: bytes, buffer: Buffer, columns: Columns) -> int:
        connection = self._connections.get(name)
        taken = connection.feed_run(buffer, columns) if connection is not None else 0
        if connection is not None and taken:
            self._touched[connection] = None
            if connection.trail is not None:
                self.touched_trails[connection.trail] = None
                connection.trail.add(columns.packet[:taken].tolist())
        return taken

    def _follow(self, name: bytes, key: int, buffer: Buffer, rows: list[Row]) -> None:
        """Take `rows`, all of the flow between the endpoints `name`."""
        ports = int.from_bytes(name[16:18]), int.from_bytes(name[34:36])
        by_port = ports[0] in self._ports or ports[1] in self._ports
        at = 0
        while at < len(rows):
            connection = self._connections.get(name)
            if connection is not None:
                at = self._advance(connection, name, buffer, rows, at)
                continue
            if name in self._ended:
                at = self._linger(name, rows, at)
                continue
            row = rows[at]
            if by_port:
                if row[5] & SYN or row[7] or row[8]:
                    self._open_connection(name, key, row, self._client_is_lower(row, ports, buffer))
                    continue
            elif name in self._candidates or row[5] & SYN:
                self._watch(name, key, ports, buffer, row)
            elif row[7] and is_smtp(opening := bytes(buffer[row[6] : row[6] + OPENING][: row[7]])):
                sender_is_client = said_by_client(opening)
                self._open_connection(name, key, row, row[2] == sender_is_client)
                continue
            at += 1

    def _advance(
        self, connection: Connection, name: bytes, buffer: Buffer, rows: list[Row], at: int
    ) -> int:
        begin = at
        at = connection.feed(buffer, rows, begin)
        self._touched[connection] = None
        if connection.trail is not None:
            self._follow_trail(connection.trail, rows[begin:at])
        if connection.ended:
            del self._connections[name]
            self._ended[name] = _Ended(
                connection.last_packet, connection.last_time, connection.initial_numbers
            )
        elif at < len(rows):
            connection.finish()
            self._close(name)
        return at

    def _linger(self, name: bytes, rows: list[Row], at: int) -> int:
        """Skip what belongs to an ended connection; forget it where something new begins."""
        ended = self._ended[name]
        for index in range(at, len(rows)):
            _, time, forward, seq, _, flags, _, length, missing = rows[index]
            late = time - ended.time > LINGER
            other = seq != ended.initial_numbers[forward]
            if (flags & SYN and (late or other)) or ((length or missing) and late):
                del self._ended[name]
                self._unwatch(name)
                return index
        return len(rows)

    def _watch(
        self, name: bytes, key: int, ports: tuple[int, int], buffer: Buffer, row: Row
    ) -> None:
        candidate = self._candidates.get(name)
        if candidate is None or (
            row[5] & (SYN | ACK) == SYN and row[2:4] != candidate.rows[0][2:4]
        ):
            candidate = self._candidates[name] = Candidate(key, row)
            candidate.trail = self._new_trail()
            self._watched = None
        if candidate.trail is not None:
            self._follow_trail(candidate.trail, [row])
        verdict = candidate.take(buffer, row, ports)
        if verdict is None:
            return
        del self._candidates[name]
        self._watched = None
        if verdict:
            rows = candidate.rows
            connection = self._open_connection(name, key, rows[0], candidate.client_is_lower)
            connection.place = row[0]
            # It has these packets already.
            connection.trail = None
            self._advance(connection, name, bytes(candidate.octets), rows, 0)
            connection.trail = candidate.trail

    def _open_connection(
        self, name: bytes, key: int, row: Row, client_is_lower: bool
    ) -> Connection:
        lower, higher = _endpoint(name[:18]), _endpoint(name[18:])
        connection = Connection(lower, higher, client_is_lower, row)
        connection.trail = self._new_trail()
        self._connections[name] = connection
        if lower.port not in self._ports and higher.port not in self._ports:
            self._elsewhere[name] = key
            self._watched = None
        return connection

    def _new_trail(self) -> Trail | None:
        return Trail() if self._with_trails else None

    def _follow_trail(self, trail: Trail, rows: list[Row]) -> None:
        self.touched_trails[trail] = None
        trail.add([row[0] for row in rows])

    def _client_is_lower(self, row: Row, ports: tuple[int, int], buffer: Buffer) -> bool:
        _, _, forward, _, _, flags, start, length, _ = row
        if flags & SYN:
            return forward if not flags & ACK else not forward
        lower_known, higher_known = ports[0] in self._ports, ports[1] in self._ports
        if lower_known != higher_known:
            return higher_known
        payload = bytes(buffer[start : start + OPENING][:length])
        by_client = said_by_client(payload)
        if by_client is not None:
            return forward is by_client
        return ports[0] > ports[1] if ports[0] != ports[1] else forward

    def _close(self, name: bytes) -> None:
        del self._connections[name]
        self._unwatch(name)

    def _unwatch(self, name: bytes) -> None:
        if self._elsewhere.pop(name, None) is not None:
            self._watched = None

    def _evict(self) -> None:
        while True:
            if not self._idle:
                ages = [
                    (connection.last_packet, name, connection)
                    for name, connection in self._connections.items()
                ]
                ages.sort(key=lambda age: age[0])
                self._idle.extend(ages)
            last_packet, name, connection = self._idle.popleft()
            # What was heard since the queue was made is younger than all that is left in it.
            if connection.last_packet == last_packet and not connection.ended:
                break
        connection.finish()
        self._touched[connection] = None
        self._close(name)
        self.evicted += 1

    def _forget(self, now: int) -> None:
        ended, candidates = self._ended, self._candidates
        late = [name for name, one in ended.items() if now - one.time > LINGER]
        for name in late:
            del ended[name]
            self._unwatch(name)
        excess = len(ended) - self._max_connections
        if excess > 0:
            for name in sorted(ended, key=lambda name: ended[name].packet)[:excess]:
                del ended[name]
                self._unwatch(name)
        excess = len(candidates) - CANDIDATES
        if excess > 0:
            for name in sorted(candidates, key=lambda name: candidates[name].rows[0][0])[:excess]:
                del candidates[name]
            self._watched = None


def _member(values: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which `values` are `among` these, which are sorted."""
    if not len(among):
        return np.zeros(len(values), bool)
    place = np.searchsorted(among, values)
    place[place == len(among)] = 0
    found: NDArray[np.bool_] = among[place] == values
    return found


def _changes(endpoints: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a flow begins in rows sorted by key: flows that share a key are still told apart."""
    words = endpoints.view(np.uint32)
    changes = np.ones(len(words), bool)
    np.any(words[1:] != words[:-1], axis=1, out=changes[1:])
    return changes


# Servers come again and again: one value for all of their connections.
@lru_cache(maxsize=1024)
def _endpoint(octets: bytes) -> Endpoint:
    if octets[:12] == bytes(10) + b"\xff\xff":
        return Endpoint(socket.inet_ntoa(octets[12:16]), int.from_bytes(octets[16:]))
    return Endpoint(socket.inet_ntop(socket.AF_INET6, octets[:16]), int.from_bytes(octets[16:]))
