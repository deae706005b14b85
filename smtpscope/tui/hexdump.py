"""Octets as rows: offset, hexadecimal, characters; a rule where another packet begins."""

from __future__ import annotations

import re
from collections.abc import Sequence

from smtpscope.tui.pieces import Line, Piece

_SHOWN = {code: "·" for code in range(256) if not 32 <= code < 127} | {10: "␊", 13: "␍"}
_RUNS = re.compile("([␍␊]+)|(·+)|[^␍␊·]+")
_STYLES = ("message", "warning", "dim")


def dump(octets: bytes, offset: int, width: int) -> list[Line]:
    """Rows of `width` octets; the first one is `offset` of its stream."""
    half = width // 2
    size = 3 * half - 1
    found: list[Line] = []
    for start in range(0, len(octets), width):
        row = octets[start : start + width]
        columns = f"{row[:half].hex(' '):{size}}  {row[half:].hex(' '):{size}}  "
        found.append([Piece(f"{offset + start:8x}  ", "dim"), Piece(columns), *_characters(row)])
    return found


def _characters(row: bytes) -> list[Piece]:
    """The octets as characters; line endings and others in a colour of their own."""
    shown = row.decode("latin-1").translate(_SHOWN)
    return [Piece(run[0], _STYLES[run.lastindex or 0]) for run in _RUNS.finditer(shown)]


def packet_rule(number: int, since: int, notes: Sequence[str] = ()) -> Line:
    """The row above the octets of a packet; `since` is ns after the session's beginning."""
    extra = "".join(f" · {note}" for note in notes)
    return [Piece(f"── packet {number:,} · {since / 1e9:+.6f} s{extra} ", "label")]
