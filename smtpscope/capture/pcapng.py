"""The blocks of a pcapng file: its packets as columns, and what else it says as notes.

In: consecutive pieces of the file, cut anywhere. Out: `Records` for each piece. Sections of
either byte order, interfaces with clocks of their own, Enhanced, Simple and the obsolete Packet
Blocks (draft-ietf-opsawg-pcapng §4). After damage the next block that is whole is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct, error
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from smtpscope.capture.records import (
    INTERFACE_BOUND,
    RECORD_BOUND,
    SNAPLEN_BOUND,
    Interface,
    Longs,
    Mask,
    Notes,
    Records,
    Secret,
    Statistics,
    windows,
)

MAGIC = b"\x0a\x0d\x0d\x0a"

_SECTION, _INTERFACE, _PACKET, _SIMPLE = 0x0A0D0D0A, 1, 2, 3
_NAMES, _STATISTICS, _ENHANCED, _SECRETS = 4, 5, 6, 10
_SMALLEST = {
    _SECTION: 28,
    _INTERFACE: 20,
    _PACKET: 32,
    _SIMPLE: 16,
    _NAMES: 12,
    _STATISTICS: 24,
    _ENHANCED: 32,
    _SECRETS: 20,
}
_OTHER_PACKETS = (_SIMPLE, _PACKET)
_BLOCK_BOUND = SNAPLEN_BOUND + (1 << 20)
_SCAN_BOUND = 2 * RECORD_BOUND
"""Octets that a block may have to be believed in while looking for one after damage."""
_OPTION_ROUNDS = 32
"""Options of one packet that are looked through for comments."""

_COMMENT = 1
_IF_NAME, _IF_TSRESOL, _IF_TSOFFSET = 2, 9, 14
_ISB_IFRECV, _ISB_IFDROP, _ISB_OSDROP = 4, 5, 7

_SECOND = 1_000_000_000


class _Order(NamedTuple):
    """One byte order's layouts."""

    big: bool
    head: Struct
    word: Struct
    option: Struct
    interface: Struct
    long: Struct
    signed_long: Struct
    scan: re.Pattern[bytes]

    @classmethod
    def of(cls, mark: str) -> _Order:
        word = Struct(mark + "I")
        kinds = (word.pack(kind) for kind in _SMALLEST)
        return cls(
            big=mark == ">",
            head=Struct(mark + "II"),
            word=word,
            option=Struct(mark + "HH"),
            interface=Struct(mark + "HHI"),
            long=Struct(mark + "Q"),
            signed_long=Struct(mark + "q"),
            scan=re.compile(b"|".join(map(re.escape, kinds)), re.DOTALL),
        )


_ORDERS = {b"\x4d\x3c\x2b\x1a": _Order.of("<"), b"\x1a\x2b\x3c\x4d": _Order.of(">")}


class _Clock(NamedTuple):
    """What an interface's timestamps count: if_tsresol as on the wire, if_tsoffset in seconds."""

    resolution: int
    offset: int


class _Run(NamedTuple):
    """From index `start` on, packets belong to a section of which `known` interfaces are known."""

    start: int
    base: int
    known: int
    snaplen: int
    big: bool


class PcapngWalker:
    """Reads the blocks of one file from consecutive pieces of it."""

    format = "pcapng"
    stopped = False

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._order = _ORDERS[b"\x4d\x3c\x2b\x1a"]
        self._clocks: list[_Clock] = []
        self._base = 0
        self._known = 0
        self._full = False
        self._secrets: set[Secret] = set()
        self._lost: int | None = None

    def walk(self, buffer: bytes, position: int, first: int, last: bool) -> Records:
        """Read the blocks that are whole in `buffer`, which is at `position` of the file.

        `first` is the number of the next packet; `last` says that nothing follows the buffer.
        """
        positions: list[int] = []
        runs = [self._run(0)]
        at = 0
        while True:
            if self._lost is not None:
                at = self._recover(buffer, at, position, last)
                if self._lost is not None:
                    break
            at, whole = self._blocks(buffer, at, position, positions, runs)
            if whole:
                if last and len(buffer) - at >= 8 and self._found(buffer, at + 4, True)[1]:
                    whole = False
                else:
                    break
            self._lost = position + at
            at += 4
        return self._records(buffer, at, positions, runs, position, first)

    def _run(self, start: int) -> _Run:
        known = self._known
        snaplen = self._notes.interfaces[self._base].snaplen if known else 0
        return _Run(start, self._base, known, snaplen or SNAPLEN_BOUND, self._order.big)

    def _blocks(
        self, buffer: bytes, at: int, position: int, positions: list[int], runs: list[_Run]
    ) -> tuple[int, bool]:
        """Read up to an incomplete block, or (False) to a malformed one."""
        end = len(buffer)
        order = self._order
        head, word = order.head.unpack_from, order.word.unpack_from
        append = positions.append
        while at + 12 <= end:
            kind, length = head(buffer, at)
            following = at + length
            if kind == _ENHANCED and 32 <= length <= _BLOCK_BOUND and not length & 3:
                # Nearly every block comes this way.
                if following > end:
                    break
                if word(buffer, following - 4)[0] != length:
                    return at, False
                append(at)
                at = following
                continue
            if kind == _SECTION:
                announced = _ORDERS.get(buffer[at + 8 : at + 12])
                if announced is None:
                    return at, False
                order = announced
                head, word = order.head.unpack_from, order.word.unpack_from
                length = word(buffer, at + 4)[0]
            if length & 3 or not _SMALLEST.get(kind, 12) <= length <= _BLOCK_BOUND:
                return at, False
            following = at + length
            if following > end:
                break
            if word(buffer, following - 4)[0] != length:
                return at, False
            if kind in _OTHER_PACKETS:
                append(at)
            elif kind == _SECTION:
                self._order = order
                # Interfaces like those of the section before are those: a recording in many files
                # has them once.
                self._known = 0
                self._full = False
                self._comments(buffer[at + 24 : following - 4])
                runs.append(self._run(len(positions)))
            else:
                self._block(kind, buffer[at + 8 : following - 4], position + at)
                if kind == _INTERFACE:
                    runs.append(self._run(len(positions)))
            at = following
        return at, True

    def _block(self, kind: int, body: bytes, offset: int) -> None:
        if kind == _INTERFACE:
            self._interface(body, offset)
        elif kind == _STATISTICS:
            self._statistics(body)
        elif kind == _SECRETS:
            secret, length = self._order.head.unpack_from(body)
            if length > len(body) - 8:
                self._notes.problem("secrets are shorter than they say", offset)
            self._secret(Secret(secret, body[8 : 8 + length]), offset)
        else:
            self._notes.skip(kind)

    def _interface(self, body: bytes, offset: int) -> None:
        linktype, _, snaplen = self._order.interface.unpack_from(body)
        name = None
        resolution, shift = 6, 0
        for code, value in self._options(body[8:]):
            if code == _IF_NAME:
                name = value.rstrip(b"\0").decode("utf-8", "backslashreplace")
            elif code == _IF_TSRESOL and value:
                resolution = value[0]
            elif code == _IF_TSOFFSET and len(value) == 8:
                shift = self._order.signed_long.unpack(value)[0]
            elif code == _COMMENT:
                self._notes.comment(0, value)
        self._know(Interface(linktype, snaplen, name), _Clock(resolution, shift), offset)

    def _know(self, interface: Interface, clock: _Clock, offset: int) -> None:
        """Add the section's next interface, or find it where the section before had it."""
        interfaces, clocks = self._notes.interfaces, self._clocks
        index = self._base + self._known
        again = index < len(clocks)
        if not self._full and again and (interfaces[index], clocks[index]) == (interface, clock):
            self._known += 1
            return
        # From the first difference on, the section has interfaces of its own.
        copies = self._known if again else 0
        if self._full or len(clocks) + copies >= INTERFACE_BOUND:
            self._full = True
            self._notes.problem(f"more than {INTERFACE_BOUND} interfaces", offset)
            return
        if again:
            first, self._base = self._base, len(clocks)
            interfaces += interfaces[first : first + copies]
            clocks += clocks[first : first + copies]
        interfaces.append(interface)
        clocks.append(clock)
        self._known += 1

    def _secret(self, secret: Secret, offset: int) -> None:
        # Each file of a recording repeats those that its packets may need.
        if secret not in self._secrets:
            self._notes.secret(secret.kind, secret.data, offset)
            self._secrets.update(self._notes.secrets[-1:])

    def _statistics(self, body: bytes) -> None:
        counts: dict[int, int] = {}
        for code, value in self._options(body[12:]):
            if code == _COMMENT:
                self._notes.comment(0, value)
            elif len(value) == 8:
                counts[code] = self._order.long.unpack(value)[0]
        interface = self._order.word.unpack_from(body)[0]
        if interface >= self._known:
            return
        self._notes.statistics[self._base + interface] = Statistics(
            counts.get(_ISB_IFRECV), counts.get(_ISB_IFDROP), counts.get(_ISB_OSDROP)
        )

    def _comments(self, options: bytes) -> None:
        for code, value in self._options(options):
            if code == _COMMENT:
                self._notes.comment(0, value)

    def _options(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at + 4 <= len(data):
            code, length = self._order.option.unpack_from(data, at)
            if code == 0 or at + 4 + length > len(data):
                return
            yield code, data[at + 4 : at + 4 + length]
            at += 4 + (length + 3 & ~3)

    def _recover(self, buffer: bytes, at: int, position: int, last: bool) -> int:
        """Where the first whole block behind `at` begins, or from where to look on."""
        assert self._lost is not None
        at, found = self._found(buffer, at, last)
        if found:
            skipped = position + at - self._lost
            self._notes.problem(f"malformed block, {skipped} octets skipped", self._lost)
            self._lost = None
        elif last:
            self._notes.problem("malformed block, nothing readable behind it", self._lost)
        return at

    def _found(self, buffer: bytes, at: int, last: bool) -> tuple[int, bool]:
        for match in self._order.scan.finditer(buffer, at):
            start = match.start()
            if start + 12 > len(buffer) and not last:
                return start, False
            order = self._order
            if match[0] == MAGIC:
                order = _ORDERS.get(buffer[start + 8 : start + 12], order)
            try:
                kind, length = order.head.unpack_from(buffer, start)
                if length & 3 or not _SMALLEST[kind] <= length <= _SCAN_BOUND:
                    continue
                if order.word.unpack_from(buffer, start + length - 4)[0] == length:
                    return start, True
            except error:
                if not last:
                    return start, False
        return (len(buffer) if last else max(at, len(buffer) - 3)), False

    def _records(
        self,
        buffer: bytes,
        used: int,
        positions: list[int],
        runs: list[_Run],
        position: int,
        first: int,
    ) -> Records:
        at = np.array(positions, dtype=np.int64)
        if not positions:
            return Records(used, at, at, at, at, at.astype(np.int32))
        spans = np.diff([run.start for run in runs], append=len(at))
        base, known, snaplen, big = (
            np.repeat([run[column] for run in runs], spans) for column in range(1, 5)
        )
        big = big.astype(np.bool_)
        words = windows(buffer, at, 28).view("<u4")
        if big.any():
            words[big] = words[big].byteswap()
        kind = words[:, 0]
        simple = kind == _SIMPLE
        old = kind == _PACKET
        length, interface, captured, original = words.T[[1, 2, 5, 6]].astype(np.int64)
        interface[old] = np.where(big, interface >> 16, interface & 0xFFFF)[old]
        room = length - 32
        stamp = words[:, 3].astype(np.uint64) << np.uint64(32) | words[:, 4]
        offset = at + 28
        if simple.any():
            original[simple] = interface[simple]
            interface[simple] = 0
            offset[simple] -= 16
            room[simple] += 16
            captured[simple] = np.minimum(np.minimum(original, snaplen), room)[simple]
        good = (interface < known) & (captured <= room)
        for row in np.flatnonzero(~good)[:8]:
            self._notes.problem("packet of an unknown interface or length", position + int(at[row]))
        interface += base
        time = np.zeros(len(at), dtype=np.int64)
        timed = good & ~simple
        for index in np.unique(interface[timed]):
            rows = timed & (interface == index)
            time[rows] = _nanoseconds(stamp[rows], self._clocks[index])
        self._packet_comments(
            buffer,
            rows=np.flatnonzero(timed & (room - (captured + 3 & ~3) >= 4)),
            cursor=offset + (captured + 3 & ~3),
            end=at + length - 4,
            big=big,
            number=np.cumsum(good) + (first - 1),
        )
        return Records(
            used,
            offset[good],
            captured[good],
            original[good],
            time[good],
            interface[good].astype(np.int32),
        )

    def _packet_comments(
        self, buffer: bytes, rows: Longs, cursor: Longs, end: Longs, big: Mask, number: Longs
    ) -> None:
        found: list[tuple[int, int, bytes]] = []
        cursor, end, big, number = cursor[rows], end[rows], big[rows], number[rows]
        for turn in range(_OPTION_ROUNDS):
            head = windows(buffer, cursor, 4).view("<u2")
            head[big] = head[big].byteswap()
            code, length = head.T.astype(np.int64)
            whole = (code != 0) & (cursor + 4 + length <= end)
            for row in np.flatnonzero(whole & (code == _COMMENT)):
                start = int(cursor[row]) + 4
                found.append((int(number[row]), turn, buffer[start : start + int(length[row])]))
            cursor = cursor + 4 + (length + 3 & ~3)
            more = whole & (cursor + 4 <= end)
            cursor, end, big, number = cursor[more], end[more], big[more], number[more]
            if not len(cursor):
                break
        for packet, _, text in sorted(found):
            self._notes.comment(packet, text)


def _nanoseconds(stamp: npt.NDArray[np.uint64], clock: _Clock) -> Longs:
    shift = clock.resolution & 0x7F
    if clock.resolution & 0x80:
        # Thirty-four bits of a binary fraction are less than a nanosecond, and leave room to
        # multiply by 10**9 within 64 bits.
        fraction_bits = min(shift, 63)
        kept = min(fraction_bits, 34)
        whole = stamp >> np.uint64(fraction_bits)
        fraction = (stamp & np.uint64((1 << fraction_bits) - 1)) >> np.uint64(fraction_bits - kept)
        time = whole * np.uint64(_SECOND) + (fraction * np.uint64(_SECOND) >> np.uint64(kept))
    elif shift <= 9:
        time = stamp * np.uint64(10 ** (9 - shift))
    else:
        time = stamp // np.uint64(10 ** min(shift - 9, 19))
    # An absurd offset wraps around like an absurd timestamp.
    return time.astype(np.int64) + np.int64((clock.offset * _SECOND + 2**63) % 2**64 - 2**63)
