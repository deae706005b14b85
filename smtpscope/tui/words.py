"""Numbers, sizes and times in the short forms that the screen has room for; words on its lines."""

from __future__ import annotations

import re
import textwrap
from datetime import UTC, datetime

from rich.cells import cell_len, chop_cells

UNITS = ("B", "kB", "MB", "GB", "TB")

_WORDS = re.compile(" *[^ ]+")


def octets(count: int) -> str:
    """ "980 B", "12.4 MB"."""
    size = float(count)
    for unit in UNITS:
        if size < 999.95 or unit == UNITS[-1]:
            break
        size /= 1000
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def amount(count: int, what: str) -> str:
    """ "1 session", "1,204 sessions"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def duration(nanoseconds: int) -> str:
    """ "351µs", "35ms", "1.02s", "12.5s", "3:05", "2:10:00", in at most seven cells."""
    if nanoseconds < 1_000_000:
        return f"{nanoseconds // 1_000}µs"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds // 1_000_000}ms"
    seconds = nanoseconds / 1e9
    if seconds < 10:
        return f"{seconds:.2f}s"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def clock(nanoseconds: int, *, utc: bool = False) -> str:
    """ "12:01:33.201", in the local zone or UTC."""
    moment = _moment(nanoseconds, utc)
    return f"{moment:%H:%M:%S}.{nanoseconds // 1_000_000 % 1_000:03}"


def date(nanoseconds: int, *, utc: bool = False) -> str:
    """ "2026-11-24 12:01:33", in the local zone or UTC."""
    return f"{_moment(nanoseconds, utc):%Y-%m-%d %H:%M:%S}"


def _moment(nanoseconds: int, utc: bool) -> datetime:
    seconds = nanoseconds // 1_000_000_000
    try:
        return datetime.fromtimestamp(seconds, UTC if utc else None)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def left(seconds: float) -> str:
    """How long something still takes: "3 s", "2 min"."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min"


def wrap(text: str, cells: int) -> list[str]:
    """A text on lines of so many cells at most, broken between words where that can be."""
    if text.isascii():
        return textwrap.wrap(text, cells)
    found: list[str] = []
    line = ""
    for word in _WORDS.findall(text):
        if line and cell_len(line) + cell_len(word) > cells:
            found.append(line)
            line = ""
        line += word if line or not found else word.lstrip(" ")
        if cell_len(line) > cells:
            *whole, line = chop_cells(line, cells)
            found += whole
    return [*found, line] if line else found
