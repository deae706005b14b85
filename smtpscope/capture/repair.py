"""Where a recording that somebody appends to is whole: its end, less a tail cut by a crash.

In: an open pcapng file. Out: the octet behind its last whole block (draft-ietf-opsawg-pcapng §3.1).
What is damaged in the middle is left as it is, and told.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from smtpscope.errors import RecordingError

_MAGIC = b"\x0a\x0d\x0d\x0a"
_SECTION = 0x0A0D0D0A
_PIECE = 4 << 20
_BLOCK_BOUND = 65 << 20
"""Octets that a block may have, as for the reader."""
_SMALLEST = 12


class _Order(NamedTuple):
    """One byte order's layouts, and what a block that is whole may begin with."""

    head: Struct
    word: Struct
    scan: re.Pattern[bytes]

    @classmethod
    def of(cls, mark: str) -> _Order:
        word = Struct(mark + "I")
        kinds = b"|".join(re.escape(word.pack(kind)) for kind in (1, 2, 3, 4, 5, 6, 10))
        return cls(Struct(mark + "II"), word, re.compile(b"\n\r\r\n|" + kinds, re.DOTALL))


_ORDERS = {b"\x4d\x3c\x2b\x1a": _Order.of("<"), b"\x1a\x2b\x3c\x4d": _Order.of(">")}


def repairable(file: int, path: Path) -> int:
    """Where the last whole block of a file ends; behind that is only what a crash left there.

    Raises RecordingError where the file is no recording, or is malformed in the middle.
    """
    size = os.fstat(file).st_size
    start = os.pread(file, 12, 0)
    mark = start[8:]
    if not _MAGIC.startswith(start[:4]) or not any(each.startswith(mark) for each in _ORDERS):
        raise RecordingError(f"{path} is no pcapng recording; name another file")
    position = 0
    order = _ORDERS.get(mark, _ORDERS[b"\x4d\x3c\x2b\x1a"])
    while position < size:
        buffer = os.pread(file, _PIECE, position)
        at, order, sound = _blocks(buffer, order)
        position += at
        if not sound or (not at and not _is_large(file, position, size, order, buffer)):
            if not _is_tail(file, position, size, order):
                raise RecordingError(
                    f"{path} is damaged at octet {position} of {size}; name another file"
                )
            return position
        if not at:
            position += order.word.unpack_from(buffer, 4)[0]
    return position


def _blocks(buffer: bytes, order: _Order) -> tuple[int, _Order, bool]:
    """How far blocks are whole in `buffer`, and (False) whether what follows is malformed."""
    head, word = order.head.unpack_from, order.word.unpack_from
    at, end = 0, len(buffer)
    while at + _SMALLEST <= end:
        kind, length = head(buffer, at)
        if kind == _SECTION:
            announced = _ORDERS.get(buffer[at + 8 : at + 12])
            if announced is None:
                return at, order, False
            order = announced
            head, word = order.head.unpack_from, order.word.unpack_from
            length = word(buffer, at + 4)[0]
        if length & 3 or not _SMALLEST <= length <= _BLOCK_BOUND:
            return at, order, False
        following = at + length
        if following > end:
            break
        if word(buffer, following - 4)[0] != length:
            return at, order, False
        at = following
    return at, order, True


def _is_large(file: int, position: int, size: int, order: _Order, buffer: bytes) -> bool:
    """Whether a block begins `buffer` that is whole, but longer than that."""
    if len(buffer) < _SMALLEST:
        return False
    length = order.word.unpack_from(buffer, 4)[0]
    return position + length <= size and (
        os.pread(file, 4, position + length - 4) == order.word.pack(length)
    )


def _is_tail(file: int, position: int, size: int, order: _Order) -> bool:
    """Whether what begins at `position` is a block that a crash has cut, and nothing else.

    A machine that loses power can leave zeros instead of what was written last.
    """
    head = os.pread(file, 8, position)
    if len(head) < 8 or position + _SMALLEST > size:
        return True
    length = order.word.unpack_from(head, 4)[0]
    if position + length > size and length <= _BLOCK_BOUND and not length & 3:
        # A damaged length says the same, but has whole blocks behind it.
        return not any(_found(file, position + 4, size, order))
    start = position + (length - 4 if _SMALLEST <= length <= size - position else 4)
    return not any(piece.strip(b"\0") for _, piece in _pieces(file, start, size))


def _found(file: int, start: int, size: int, order: _Order) -> Iterator[bool]:
    """For each octet string behind `start` that looks like the begin of a block: is it whole?"""
    for position, piece in _pieces(file, start, size):
        for match in order.scan.finditer(piece):
            at = position + match.start()
            lengths = order.word.unpack(os.pread(file, 4, at + 4).ljust(4, b"\0"))
            if _SMALLEST <= lengths[0] <= size - at and not lengths[0] & 3:
                last = os.pread(file, 4, at + lengths[0] - 4)
                yield last == order.word.pack(lengths[0])


def _pieces(file: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """What is between two offsets, in pieces that overlap by what the scan may need."""
    while start < end:
        piece = os.pread(file, _PIECE, start)
        if not piece:
            return
        yield start, piece
        start += max(len(piece) - 3, 1) if start + len(piece) < end else len(piece)
