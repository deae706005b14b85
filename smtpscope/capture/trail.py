"""Where the packets of one connection lie in the capture, so that it can be read again alone.

While a capture is read a `Trail` takes the numbers of its connection's packets and, batch by batch,
notes what their records say; `packed` is its form in an index. `batches` reads the packets again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import numpy as np

from smtpscope.capture.parts import Parts
from smtpscope.capture.pcap import PacketBatch
from smtpscope.capture.records import Interface, Longs

BLOCK = 4 << 20
"""Octets of packets that are read at once."""

_COLUMNS = 6
_ITEM = np.dtype("<i8")
_MAX_OCTETS = 1 << 30
"""Octets of columns that are taken from an index, which may be damaged."""


class Trail:
    """The packets of one connection; `add` comes before `note`, for every batch that has some."""

    __slots__ = ("_new", "_noted")

    def __init__(self) -> None:
        self._new: list[int] = []
        self._noted: list[Longs] = []

    def add(self, packets: Iterable[int]) -> None:
        self._new.extend(packets)

    def note(self, batch: PacketBatch) -> None:
        """Note where the new packets are, all of which `batch` has."""
        if not self._new:
            return
        row = np.unique(np.array(self._new, np.int64)) - batch.first
        self._new.clear()
        linktypes = np.array([each.linktype for each in batch.interfaces], np.int64)
        self._noted.append(
            np.stack(
                (
                    row + batch.first,
                    batch.offset[row] + batch.position,
                    batch.captured[row],
                    batch.original[row],
                    batch.time[row],
                    linktypes[batch.interface[row]],
                )
            )
        )

    def packed(self) -> bytes:
        """Number, offset in the uncompressed file, captured and original length, time, link type:
        a row each of differences from packet to packet, compressed."""
        if not self._noted:
            return b""
        columns = np.concatenate(self._noted, axis=1)
        return zlib.compress(np.diff(columns, axis=1, prepend=0).astype(_ITEM).tobytes(), 1)


def unpack(packed: bytes) -> Longs:
    """The columns of `Trail.packed`, an array of six rows. Raises ValueError on damage."""
    if not packed:
        return np.zeros((_COLUMNS, 0), np.int64)
    reader = zlib.decompressobj()
    try:
        octets = reader.decompress(packed, _MAX_OCTETS)
    except zlib.error as error:
        raise ValueError("damaged list of packets") from error
    if not reader.eof or len(octets) % (_COLUMNS * _ITEM.itemsize):
        raise ValueError("damaged list of packets")
    differences = np.frombuffer(octets, _ITEM).reshape(_COLUMNS, -1)
    return np.cumsum(differences, axis=1, dtype=np.int64)


def batches(parts: Parts, columns: Longs) -> Iterator[PacketBatch]:
    """The packets that `columns` name, read from the files of an uncompressed capture.

    Raises SmtpscopeError where the file no longer has them.
    """
    linktypes, interface = np.unique(columns[5], return_inverse=True)
    interfaces = [Interface(int(linktype), 0, None) for linktype in linktypes]
    ends = np.cumsum(columns[2])
    begin = 0
    while begin < columns.shape[1]:
        until = (ends[begin - 1] if begin else 0) + BLOCK
        end = max(int(np.searchsorted(ends, until, side="right")), begin + 1)
        number, offset, captured, original, time, _ = columns[:, begin:end]
        buffer = b"".join(
            parts.read(at, size)
            for at, size in zip(offset.tolist(), captured.tolist(), strict=True)
        )
        starts = np.cumsum(captured) - captured
        links = interface[begin:end].astype(np.int32)
        yield PacketBatch(buffer, 0, 0, starts, captured, original, time, links, interfaces, number)
        begin = end
