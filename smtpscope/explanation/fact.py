"""Facts: what explanations are made of, and the forms in which values stand in them."""

from __future__ import annotations

from typing import NamedTuple

from smtpscope.display import text

MAX_VALUE = 300
"""Characters of a value that is quoted."""


class Fact(NamedTuple):
    """`text` is safe to show. `style` is the severity of a finding, else ""."""

    label: str
    text: str
    style: str = ""


def quoted(value: bytes | str) -> str:
    """What came from the wire, safe and bounded."""
    return text(value, MAX_VALUE)


def number(value: bytes | None) -> int | None:
    """A parameter's number; None where it is none, or larger than any that could be meant."""
    return int(value) if value is not None and value.isdigit() and len(value) < 20 else None


def amount(count: int, what: str) -> str:
    """ "1 part", "2 parts"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def took(nanoseconds: int) -> str:
    """ "0.2 ms", "1.50 s"."""
    if abs(nanoseconds) < 1_000_000_000:
        return f"{nanoseconds / 1e6:,.1f} ms"
    return f"{nanoseconds / 1e9:,.2f} s"


def span_of_time(seconds: int) -> str:
    """ "90 seconds", "3 hours", "about 2 days"."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            about = "about " if seconds % size else ""
            return about + amount((seconds + size // 2) // size, unit)
    return amount(seconds, "second")
