"""Link, IP and TCP headers of a whole batch at once: packets become columns of TCP segments.

In: a `PacketBatch`. Out: a `SegmentBatch`. Ethernet with VLAN tags (IEEE 802.1Q), Linux cooked,
BSD loopback and raw IP; IPv4 (RFC 791), IPv6 with extension headers (RFC 8200), TCP (RFC 9293).
Checksums are not looked at: cards fill them in after the capture. What may carry TCP in another
way goes through `dissect`, packet by packet.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smtpscope.capture import dissect
from smtpscope.capture.dissect import Dissector, Found, Verdict
from smtpscope.capture.pcap import PacketBatch
from smtpscope.capture.records import Longs, Mask, Octets, windows

Words = npt.NDArray[np.uint64]

_NULL, _LOOP = 0, 108
_RAW = (12, 14, dissect.RAW_IP, 228, 229)

_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN = (0x8100, 0x88A8, 0x9100)
_TUNNEL_TYPES = (0x8847, 0x8848, 0x8864, 0x88E7)
_LARGEST_LENGTH = 1500
"""An Ethernet type up to this is an IEEE 802.3 length, and an LLC header follows."""
_FAMILIES = {2: _IPV4, 10: _IPV6, 24: _IPV6, 28: _IPV6, 30: _IPV6}
_TAG_BOUND = 8
_EXTENSION_BOUND = 8

_MAPPED = np.uint64(0xFFFF << 32)
_MULTIPLIERS = [np.uint64(int.from_bytes(os.urandom(8), "big") | 1 << 63 | 1) for _ in range(5)]


def _table(protocols: Iterable[int]) -> Mask:
    table = np.zeros(256, dtype=np.bool_)
    table[list(protocols)] = True
    return table


_EXTENSION = _table(dissect.EXTENSIONS)
_TUNNEL = _table(dissect.TUNNELS)
_CARRIER = _table({dissect.TCP} | dissect.TUNNELS | dissect.EXTENSIONS)


@dataclass(slots=True)
class SegmentBatch:
    """The TCP segments of a batch: one entry in each column for each segment, in packet order.

    `packet` counts from 1 and `time` is in nanoseconds. `key` is the same for both directions of a
    connection, differs between processes, and two connections may share one: `endpoints` settles
    it with 36 octets a row, the lower endpoint first, each a 16-octet address (IPv4 mapped) and a
    port in network order. `forward`: the lower endpoint sent it. The captured payload is `length`
    octets of `buffer` from `start`; `missing` octets of it were cut away by the snap length.
    `slow` of the `packets` went through `dissect`; `not_tcp` and `unreadable` gave no segment.
    """

    buffer: bytes
    packet: Longs
    time: Longs
    key: Words
    endpoints: Octets
    forward: Mask
    sport: npt.NDArray[np.uint16]
    dport: npt.NDArray[np.uint16]
    seq: Longs
    ack: Longs
    flags: Octets
    start: Longs
    length: Longs
    missing: Longs
    packets: int
    not_tcp: int
    unreadable: int
    slow: int

    def __len__(self) -> int:
        return len(self.packet)

    def share(self, number: int, shares: int) -> SegmentBatch:
        """The segments of one of so many shares of the connections, `number` from 0 on."""
        words = self.endpoints.view(np.uint32).sum(axis=1, dtype=np.uint32)
        # Knuth's multiplicative hash: neighbouring ports come into different shares.
        chosen = np.flatnonzero((words * np.uint32(2654435761) >> np.uint32(16)) % shares == number)
        columns = {name: getattr(self, name)[chosen] for name in _COLUMNS}
        return replace(self, **columns)


_COLUMNS = (
    *("packet", "time", "key", "endpoints", "forward", "sport", "dport"),
    *("seq", "ack", "flags", "start", "length", "missing"),
)


def segments(batch: PacketBatch, dissector: Dissector | None = None) -> SegmentBatch:
    """The TCP segments of a batch. Never raises, whatever the packets hold.

    A `dissector` that is given for all batches of a capture puts IP fragments together across
    their borders.
    """
    headers = _Headers(batch)
    parts = [*headers.fast(), headers.slow(dissector or Dissector())]
    return headers.tcp(_Carried(*map(np.concatenate, zip(*parts, strict=True))))


class _Carried(NamedTuple):
    """What IP carries for TCP: a row's number, where it is, where it ends, and its addresses.

    `captured_end` is where the captured octets end, `end` where they would; an address is two
    64-bit words.
    """

    row: Longs
    at: Longs
    captured_end: Longs
    end: Longs
    source_high: Words
    source_low: Words
    target_high: Words
    target_low: Words


class _Headers:
    """Walks down the headers of one batch, and sorts out what is no TCP on the way."""

    def __init__(self, batch: PacketBatch) -> None:
        self._batch = batch
        self._buffer = batch.buffer
        self._captured_end = batch.offset + batch.captured
        self._end = batch.offset + np.maximum(batch.original, batch.captured)
        self._not_tcp = 0
        self._unreadable = 0
        self._candidates: list[tuple[Longs, Longs, int]] = []

    def fast(self) -> list[_Carried]:
        """What the columns can reach; the rest is counted or becomes a candidate for `slow`."""
        batch = self._batch
        carried = []
        present = np.unique(batch.interface)
        for linktype in {batch.interfaces[index].linktype for index in present}:
            if len(present) == 1:
                rows = np.arange(len(batch), dtype=np.int64)
            else:
                links = np.array([interface.linktype for interface in batch.interfaces])
                rows = np.flatnonzero(links[batch.interface] == linktype)
            if linktype in _LINKS:
                carried += self._link(rows, linktype)
            elif linktype in dissect.LINKTYPES:
                self._candidate(rows, batch.offset[rows], linktype)
            else:
                self._unreadable += len(rows)
        return carried

    def slow(self, dissector: Dissector) -> _Carried:
        """What the candidates carry; their octets are appended to the buffer."""
        waiting = sorted(
            (row, at, linktype)
            for rows, positions, linktype in self._candidates
            for row, at in zip(rows.tolist(), positions.tolist(), strict=True)
        )
        parts = [self._buffer]
        size = len(self._buffer)
        places: list[tuple[int, int, int, int]] = []
        addresses: list[bytes] = []
        for row, at, linktype in waiting:
            end = int(self._captured_end[row])
            frame = self._buffer[at:end]
            absent = int(self._end[row]) - end
            found = dissector.dissect(linktype, frame, absent, int(self._batch.time[row]))
            if isinstance(found, Found):
                after = size + len(found.segment)
                places.append((row, size, after, after + found.missing))
                addresses.append(found.source + found.target)
                parts.append(found.segment)
                size = after
            elif found is Verdict.NOT_TCP:
                self._not_tcp += 1
            elif found is Verdict.UNREADABLE:
                self._unreadable += 1
        if addresses:
            self._buffer = b"".join(parts)
        words = np.frombuffer(b"".join(addresses), dtype=">u8").astype(np.uint64).reshape(-1, 4)
        return _Carried(*np.array(places, dtype=np.int64).reshape(-1, 4).T, *words.T)

    def tcp(self, carried: _Carried) -> SegmentBatch:
        """Read the TCP headers."""
        carried = _pick(carried, np.argsort(carried.row, kind="stable"))
        header = windows(self._buffer, carried.at, 20)
        size = (header[:, 12] >> 4).astype(np.int64) * 4
        good = (
            (carried.at + 20 <= carried.captured_end)
            & (size >= 20)
            & (carried.at + size <= carried.end)
        )
        if not good.all():
            self._unreadable += int(np.count_nonzero(~good))
            carried, header, size = _pick(carried, good), header[good], size[good]
        short = header.view(">u2")
        sport, dport = short[:, 0].astype(np.uint16), short[:, 1].astype(np.uint16)
        forward = _not_above(carried, sport, dport)
        record = _endpoints(carried, sport, dport, forward)
        payload = carried.at + size
        start = np.minimum(payload, carried.captured_end)
        return SegmentBatch(
            buffer=self._buffer,
            packet=self._numbers(carried.row),
            time=self._batch.time[carried.row],
            key=_key(record),
            endpoints=record.view(np.uint8).reshape(-1, _ENDPOINTS.itemsize),
            forward=forward,
            sport=sport,
            dport=dport,
            seq=header.view(">u4")[:, 1].astype(np.int64),
            ack=header.view(">u4")[:, 2].astype(np.int64),
            flags=header[:, 13].copy(),
            start=start,
            length=carried.captured_end - start,
            missing=carried.end - np.maximum(payload, carried.captured_end),
            packets=len(self._batch),
            not_tcp=self._not_tcp,
            unreadable=self._unreadable,
            slow=sum(len(rows) for rows, _, _ in self._candidates),
        )

    def _numbers(self, rows: Longs) -> Longs:
        numbers = self._batch.numbers
        return rows + self._batch.first if numbers is None else numbers[rows]

    def _candidate(self, rows: Longs, at: Longs, linktype: int) -> None:
        if len(rows):
            self._candidates.append((rows, at, linktype))

    def _keep(self, rows: Longs, at: Longs, readable: Mask) -> tuple[Longs, Longs]:
        if readable.all():
            return rows, at
        self._unreadable += int(np.count_nonzero(~readable))
        return rows[readable], at[readable]

    def _link(self, rows: Longs, linktype: int) -> list[_Carried]:
        offset = self._batch.offset
        size, place = _LINKS[linktype]
        rows, at = self._keep(rows, offset[rows], self._holds(rows, offset[rows], size))
        if linktype in _RAW:
            return self._ip(rows, at)
        kind = self._family(at) if linktype in (_NULL, _LOOP) else self._short(at + place)
        at = at + size
        for _ in range(_TAG_BOUND):
            tagged = np.isin(kind, _VLAN)
            if not tagged.any():
                break
            whole = ~tagged | self._holds(rows, at, 4)
            kind, tagged = kind[whole], tagged[whole]
            rows, at = self._keep(rows, at, whole)
            kind[tagged] = self._short(at[tagged] + 2)
            at[tagged] += 4
        ip = (kind == _IPV4) | (kind == _IPV6)
        if ip.all():
            return self._ip(rows, at)
        other, where, kind = rows[~ip], at[~ip], kind[~ip]
        odd = np.isin(kind, _TUNNEL_TYPES)
        llc = windows(self._buffer, where, 3) == (0xAA, 0xAA, 0x03)
        odd |= (kind <= _LARGEST_LENGTH) & llc.all(axis=1) & self._holds(other, where, 8)
        self._not_tcp += int(np.count_nonzero(~odd))
        self._candidate(other[odd], offset[other[odd]], linktype)
        return self._ip(rows[ip], at[ip])

    def _holds(self, rows: Longs, at: Longs, size: int) -> Mask:
        return at + size <= self._captured_end[rows]

    def _short(self, at: Longs) -> Longs:
        return windows(self._buffer, at, 2).view(">u2")[:, 0].astype(np.int64)

    def _family(self, at: Longs) -> Longs:
        # NULL has the byte order of the machine that captured; no family needs the upper half.
        family = windows(self._buffer, at, 4).view(">u4")[:, 0].astype(np.uint32)
        family = np.where(family > 0xFFFF, family.byteswap(), family)
        kind = np.zeros(len(at), dtype=np.int64)
        for number, ethertype in _FAMILIES.items():
            kind[family == number] = ethertype
        # Zero would be an IEEE 802.3 length.
        kind[kind == 0] = 0xFFFF
        return kind

    def _ip(self, rows: Longs, at: Longs) -> list[_Carried]:
        version = windows(self._buffer, at, 1)[:, 0] >> 4
        four, six = version == 4, version == 6
        if four.all():
            return [self._ipv4(rows, at)]
        self._unreadable += int(np.count_nonzero(~(four | six)))
        return [self._ipv4(rows[four], at[four]), self._ipv6(rows[six], at[six])]

    def _ipv4(self, rows: Longs, at: Longs) -> _Carried:
        header = windows(self._buffer, at, 20)
        size = (header[:, 0] & 15).astype(np.int64) * 4
        length = header.view(">u2")[:, 1].astype(np.int64)
        # Zero is what a card that segments for the stack leaves there.
        length = np.where(length == 0, self._end[rows] - at, length)
        whole = (size >= 20) & (size <= length) & (at + size <= self._captured_end[rows])
        if not whole.all():
            rows, at = self._keep(rows, at, whole)
            header, size, length = header[whole], size[whole], length[whole]
        protocol = header[:, 9]
        fragment = header.view(">u2")[:, 3] & 0x3FFF != 0
        direct = self._sort_out(rows, at, protocol, fragment)
        if not direct.all():
            rows, at, header = rows[direct], at[direct], header[direct]
            size, length = size[direct], length[direct]
        address = header.view(">u4")
        high = np.zeros(len(rows), dtype=np.uint64)
        return _Carried(
            rows,
            at + size,
            np.minimum(self._captured_end[rows], at + length),
            at + length,
            high,
            address[:, 3] | _MAPPED,
            high,
            address[:, 4] | _MAPPED,
        )

    def _ipv6(self, rows: Longs, at: Longs) -> _Carried:
        rows, at = self._keep(rows, at, self._holds(rows, at, 40))
        header = windows(self._buffer, at, 40)
        protocol = header[:, 6].copy()
        cursor = at + 40
        fragment = np.zeros(len(rows), dtype=np.bool_)
        whole = np.ones(len(rows), dtype=np.bool_)
        for _ in range(_EXTENSION_BOUND):
            inside = np.flatnonzero(_EXTENSION[protocol] & whole & ~fragment)
            if not len(inside):
                break
            extension = windows(self._buffer, cursor[inside], 8)
            kind = protocol[inside]
            units = extension[:, 1].astype(np.int64)
            size = np.where(kind == dissect.AUTHENTICATION, (units + 2) * 4, (units + 1) * 8)
            size[kind == dissect.FRAGMENT] = 8
            place = extension.view(">u2")[:, 1] & 0xFFF9
            fragment[inside] = (kind == dissect.FRAGMENT) & (place != 0)
            protocol[inside] = extension[:, 0]
            cursor[inside] += size
            whole[inside] = cursor[inside] <= self._captured_end[rows[inside]]
        whole &= fragment | ~_EXTENSION[protocol]
        length = header.view(">u2")[:, 2].astype(np.int64)
        end = np.where(length == 0, self._end[rows], at + 40 + length)
        whole &= cursor <= end
        self._unreadable += int(np.count_nonzero(~whole))
        rows, at, cursor, end = rows[whole], at[whole], cursor[whole], end[whole]
        header, protocol, fragment = header[whole], protocol[whole], fragment[whole]
        direct = self._sort_out(rows, at, protocol, fragment)
        rows, cursor, end = rows[direct], cursor[direct], end[direct]
        address = header[direct].view(">u8").astype(np.uint64)
        captured_end = np.minimum(self._captured_end[rows], end)
        return _Carried(rows, cursor, captured_end, end, *address.T[1:])

    def _sort_out(self, rows: Longs, at: Longs, protocol: Octets, fragment: Mask) -> Mask:
        """Which datagrams carry TCP in plain sight; the others are counted or candidates."""
        direct: Mask = (protocol == dissect.TCP) & ~fragment
        if direct.all():
            return direct
        odd = np.where(fragment, _CARRIER[protocol], _TUNNEL[protocol]) & ~direct
        self._not_tcp += int(np.count_nonzero(~direct & ~odd))
        self._candidate(rows[odd], at[odd], dissect.RAW_IP)
        return direct


_LINKS = {
    dissect.ETHERNET: (14, 12),
    dissect.LINUX_SLL: (16, 14),
    dissect.LINUX_SLL2: (20, 0),
    _NULL: (4, 0),
    _LOOP: (4, 0),
    **dict.fromkeys(_RAW, (1, 0)),
}
"""For each link type the octets of its header, and where in it the protocol is named."""

_ENDPOINTS = np.dtype(
    [
        ("low_high", ">u8"),
        ("low_low", ">u8"),
        ("low_port", ">u2"),
        ("high_high", ">u8"),
        ("high_low", ">u8"),
        ("high_port", ">u2"),
    ]
)


def _pick(carried: _Carried, rows: npt.NDArray[np.intp] | Mask) -> _Carried:
    return _Carried._make(column[rows] for column in carried)


def _not_above(
    carried: _Carried, sport: npt.NDArray[np.uint16], dport: npt.NDArray[np.uint16]
) -> Mask:
    """Whether the source is the lower endpoint; so it is where both are the same."""
    _, _, _, _, source_high, source_low, target_high, target_low = carried
    forward: Mask = (source_low < target_low) | ((source_low == target_low) & (sport <= dport))
    forward &= source_high == target_high
    forward |= source_high < target_high
    return forward


def _endpoints(
    carried: _Carried,
    sport: npt.NDArray[np.uint16],
    dport: npt.NDArray[np.uint16],
    forward: Mask,
) -> npt.NDArray[np.void]:
    record = np.empty(len(forward), dtype=_ENDPOINTS)
    for part, source, target in (
        ("high", carried.source_high, carried.target_high),
        ("low", carried.source_low, carried.target_low),
        ("port", sport, dport),
    ):
        record[f"low_{part}"] = np.where(forward, source, target)
        record[f"high_{part}"] = np.where(forward, target, source)
    return record


def _key(record: npt.NDArray[np.void]) -> Words:
    ports = record["low_port"].astype(np.uint64) << np.uint64(16) | record["high_port"]
    addresses = (record[part] for part in ("low_high", "low_low", "high_high", "high_low"))
    key: Words = np.zeros(len(record), dtype=np.uint64)
    for word, multiplier in zip((ports, *addresses), _MULTIPLIERS, strict=True):
        # Every step is reversible, so that connections that differ in one word never share a key.
        key = (key ^ word) * multiplier
        key ^= key >> np.uint64(32)
    return key
