"""Capture files: open one, and read its packets in batches whose size does not depend on the file.

In: a path, "-" for standard input, or a binary stream; pcap of either byte order and any
resolution (draft-ietf-opsawg-pcap) or pcapng; plain, gzip or zstd. Out: `PacketBatch` columns.
A capture that is cut short or damaged gives everything that can be read, and tells the rest.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from struct import Struct
from types import TracebackType
from typing import IO, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from smtpscope.capture import pcapng
from smtpscope.capture.parts import Part
from smtpscope.capture.records import (
    Comment,
    Interface,
    Longs,
    Notes,
    Records,
    Secret,
    Statistics,
    record_bound,
    windows,
)
from smtpscope.capture.source import Source
from smtpscope.capture.synth import SERVER_LEGS
from smtpscope.errors import NoCaptureError

__all__ = [
    "CaptureReader",
    "Comment",
    "Interface",
    "PacketBatch",
    "Secret",
    "Statistics",
    "open_capture",
    "without_server_legs",
]

FIRST_BLOCK = 64 << 10
"""Octets that are read first of a file; then ever more, up to `BLOCK`."""
BLOCK = 2 << 20
"""Octets read at a time: enough to make batches worthwhile, few enough to hold several."""


@dataclass(slots=True)
class PacketBatch:
    """Consecutive packets of a capture: one entry in each column for each packet.

    `buffer[0]` is octet `position` of the uncompressed file, and `offset` counts from there;
    `first` is the first packet's number, from 1; packets that are not consecutive have theirs in
    `numbers`. `captured` and `original` are lengths in octets, `time` nanoseconds since the epoch
    (0 where the file has none), `interface` indexes `interfaces`.
    """

    buffer: bytes
    position: int
    first: int
    offset: Longs
    captured: Longs
    original: Longs
    time: Longs
    interface: npt.NDArray[np.int32]
    interfaces: list[Interface]
    numbers: Longs | None = None

    def __len__(self) -> int:
        return len(self.offset)


class CaptureReader:
    """An open capture; iterating over it gives its packets once, as `PacketBatch`es.

    `format` is "pcap" or "pcapng". `size` and `consumed` are octets of the underlying file, for a
    progress bar; `size` is None for a stream, and for what is followed. The other attributes grow
    while packets are read:

    - `interfaces`, `secrets`, `comments`, `statistics` (by index in `interfaces`) and `skipped`
      (a count for each block type not read), as the file has them;
    - `problems`: what is damaged, one line each with the offset in the uncompressed file;
    - `truncated`: the offset of the record in which the file ends before its time, or None;
    - `parts`: the files of a recording that is followed.
    """

    def __init__(self, source: Source, walker: _Walker, notes: Notes, block: int) -> None:
        self._source = source
        self._notes = notes
        self.format = walker.format
        self.truncated: int | None = None
        self.interfaces = notes.interfaces
        self.secrets = notes.secrets
        self.comments = notes.comments
        self.statistics = notes.statistics
        self.skipped = notes.skipped
        self.problems = notes.problems
        self._batches = self._read(walker, block, source.offset)

    @property
    def name(self) -> str:
        """The path as it was given, or what kind of stream it is."""
        return self._source.name

    @property
    def size(self) -> int | None:
        return self._source.size

    @property
    def parts(self) -> list[Part]:
        return self._source.parts

    @property
    def consumed(self) -> int:
        return self._source.consumed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._source.close()

    def stop(self) -> None:
        """Follow the capture no more: it ends where it ends now."""
        self._source.stop()

    def __iter__(self) -> Iterator[PacketBatch]:
        return (batch for batch in self._batches if batch is not None)

    def follow(self) -> Iterator[PacketBatch | None]:
        """The same as iterating, with None for every moment in which nothing came."""
        return self._batches

    def _read(self, walker: _Walker, block: int, position: int) -> Iterator[PacketBatch | None]:
        rest = b""
        first, size = 1, min(FIRST_BLOCK, block)
        last = False
        while not last and not walker.stopped:
            buffer = self._source.more(rest, size)
            nothing = len(buffer) == len(rest)
            last = nothing and self._source.ended
            if nothing and not last:
                yield None
                continue
            records = walker.walk(buffer, position, first, last)
            count = len(records.offset)
            if count:
                yield PacketBatch(buffer, position, first, *records[1:], self.interfaces)
            first += count
            position += records.used
            rest = buffer[records.used :]
            # Small pieces first, so that there is soon something to show. A record longer than a
            # block is read in ever larger pieces, not block by block.
            bound = block if records.used else max(block, 2 * len(buffer))
            size = min(2 * size, bound)
        end = position + len(rest)
        if self._source.problem:
            self._notes.problem(self._source.problem, end)
        if not walker.stopped and (rest or self._source.problem):
            self.truncated = position


def open_capture(
    source: str | os.PathLike[str] | IO[bytes],
    *,
    block: int = BLOCK,
    follow: bool = False,
    offset: int = 0,
) -> CaptureReader:
    """Open a capture file, standard input ("-") or a binary stream, and recognise its format.

    With `follow` it does not end where the file ends, but where it is told to `stop`, and a file
    is read from `offset` on, where a section begins. Raises NoCaptureError where there is nothing
    that can be read as a capture.
    """
    octets = Source(source, follow=follow, offset=offset)
    try:
        octets.decompress()
        magic = octets.peek(4)
        notes = Notes()
        walker: _Walker
        if magic == pcapng.MAGIC:
            walker = pcapng.PcapngWalker(notes)
        elif magic in _LAYOUTS:
            walker = PcapWalker(notes, _LAYOUTS[magic])
        else:
            raise NoCaptureError(f"{octets.name} {_instead(octets)}")
    except BaseException:
        octets.close()
        raise
    return CaptureReader(octets, walker, notes, block)


class _Walker(Protocol):
    """What turns consecutive pieces of a file into records; `stopped` once it can't go on."""

    @property
    def format(self) -> str: ...

    @property
    def stopped(self) -> bool: ...

    def walk(self, buffer: bytes, position: int, first: int, last: bool) -> Records: ...


class _Layout(NamedTuple):
    """One variant of pcap: byte order, nanoseconds a timestamp unit, octets of a record header."""

    order: str
    unit: int
    header: int


_MICROSECOND, _NANOSECOND, _MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
_LAYOUTS = {
    Struct(order + "I").pack(magic): _Layout(order, unit, header)
    for order in "<>"
    for magic, unit, header in (
        (_MICROSECOND, 1_000, 16),
        (_NANOSECOND, 1, 16),
        (_MODIFIED, 1_000, 24),
    )
}
_FILE_HEADER = 24


class PcapWalker:
    """Reads the records of one pcap file from consecutive pieces of it."""

    format = "pcap"

    def __init__(self, notes: Notes, layout: _Layout) -> None:
        self.stopped = False
        self._notes = notes
        self._layout = layout
        self._file_header = Struct(layout.order + "16xII")
        self._captured = Struct(layout.order + "8xI")
        self._bound = 0

    def walk(self, buffer: bytes, position: int, first: int, last: bool) -> Records:
        """Read the records that are whole in `buffer`, which is at `position` of the file."""
        at = 0
        if not self._notes.interfaces and len(buffer) >= _FILE_HEADER:
            snaplen, linktype = self._file_header.unpack_from(buffer)
            self._bound = record_bound(snaplen)
            # The upper half tells of frame check sequences, which no IP header counts.
            self._notes.interfaces.append(Interface(linktype & 0xFFFF, snaplen, None))
            at = _FILE_HEADER
        positions: list[int] = []
        if self._notes.interfaces:
            at = self._records(buffer, at, position, positions)
        offset = np.array(positions, dtype=np.int64)
        fields = windows(buffer, offset, 16).view(self._layout.order + "u4").astype(np.int64)
        return Records(
            used=at,
            offset=offset + self._layout.header,
            captured=fields[:, 2],
            original=fields[:, 3],
            time=fields[:, 0] * 1_000_000_000 + fields[:, 1] * self._layout.unit,
            interface=np.zeros(len(offset), dtype=np.int32),
        )

    def _records(self, buffer: bytes, at: int, position: int, positions: list[int]) -> int:
        unpack, append = self._captured.unpack_from, positions.append
        header, bound, end = self._layout.header, self._bound, len(buffer)
        # As far as any record is whole there is nothing to ask but whether it is one.
        sure = end - header - bound
        while at <= sure:
            captured = unpack(buffer, at)[0]
            if not 0 < captured <= bound:
                break
            append(at)
            at += header + captured
        while at + header <= end:
            captured = unpack(buffer, at)[0]
            if captured > bound:
                self._stop(f"impossible record length {captured}", position + at)
                break
            if not captured and not any(buffer[at : at + header]):
                self._stop("nothing but zeros", position + at)
                break
            following = at + header + captured
            if following > end:
                break
            append(at)
            at = following
        return at

    def _stop(self, problem: str, offset: int) -> None:
        self.stopped = True
        self._notes.problem(f"{problem}, reading ends", offset)


def _instead(source: Source) -> str:
    """What a file is that is no capture, and what to do."""
    head = source.peek(512)
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
    if not source.consumed:
        what = "is empty"
    elif not head:
        what = f"cannot be read ({source.problem or 'the content is cut off'})"
    elif text and "\ufffd" not in text and all(c.isprintable() or c.isspace() for c in text):
        what = "is text, not a capture"
    else:
        what = "is no pcap or pcapng capture"
    return f"{what}; give a file that tcpdump -w, dumpcap or smtpscope has written"


def without_server_legs(batch: PacketBatch) -> PacketBatch:
    """A batch less a proxy's own connections to the server: what they say is in those of its
    clients, too."""
    legs = [number for number, each in enumerate(batch.interfaces) if each.name == SERVER_LEGS]
    if not legs:
        return batch
    rows = np.flatnonzero(~np.isin(batch.interface, legs))
    numbers = batch.numbers
    if numbers is None:
        numbers = np.arange(batch.first, batch.first + len(batch), dtype=np.int64)
    return replace(
        batch,
        numbers=numbers[rows],
        **{name: getattr(batch, name)[rows] for name in _COLUMNS},
    )


_COLUMNS = ("offset", "captured", "original", "time", "interface")
