"""Where a message has been and when: Date and Received fields read.

Reads RFC 5322 §3.3 (dates, with the obsolete zones of §4.3) and RFC 5321 §4.4 (trace fields) as
servers write them. Nothing here raises on what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from smtpscope.message.text import decode_octets, unfold

SECOND = 1_000_000_000

MAX_YEAR = 9_990
"""A date beyond is none: in UTC it might be beyond what a date can be."""

_EPOCH = date(1970, 1, 1).toordinal()
_MONTH_NAMES = b"jan feb mar apr may jun jul aug sep oct nov dec".split()
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_ZONES = {b"EDT": -4, b"EST": -5, b"CDT": -5, b"CST": -6, b"MDT": -6, b"MST": -7, b"PDT": -7}
_ZONES[b"PST"] = -8
_DATE = re.compile(
    rb"(?:[A-Za-z]{3}\s*,\s*)?(\d{1,2})\s+([A-Za-z]{3})\s+(\d{2,4})\s+"
    rb"(\d{1,2}):(\d{2})(?::(\d{2}))?\s+(?:([+-])(\d{2})(\d{2})|([A-Za-z]{1,5}))\s*(?:\(.*)?",
    re.DOTALL,
)
_COMMENT = re.compile(rb"\([^()]*+\)")
_NESTED = 5
_CLAUSES = frozenset({b"from", b"by", b"via", b"with", b"id", b"for"})


class Hop(NamedTuple):
    """One Received field: who took the message from whom, how and under which name.

    `date` is in nanoseconds since the epoch; `delay` are the seconds since the hop before. What the
    field does not say, or not legibly, is None.
    """

    from_: str | None
    by: str | None
    with_: str | None
    id: str | None
    date: int | None
    delay: int | None


_USUAL = 100
"""Octets below which a date is remembered."""


def parse_date(value: bytes) -> int | None:
    """A date-time in nanoseconds since the epoch; None where it is none (RFC 5322 §3.3)."""
    # Mail comes in bulk: many messages are of the same second.
    return _parse_again(value) if len(value) < _USUAL else _parse(value)


def _parse(value: bytes) -> int | None:
    match = _DATE.fullmatch(unfold(value))
    if match is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes, zone = match.groups()
    number = _MONTHS.get(month.lower())
    if number is None or int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:
        return None
    full_year = int(year)
    if len(year) < 4:
        # RFC 5322 §4.3: two digits below 50 are of this century, others of the last one.
        full_year += 2000 if len(year) == 2 and full_year < 50 else 1900
    if not 1900 <= full_year <= MAX_YEAR:
        return None
    try:
        days = date(full_year, number, int(day)).toordinal() - _EPOCH
    except ValueError:
        return None
    if sign is not None:
        ahead = int(zone_hours) * 3600 + int(zone_minutes) * 60
        ahead = -ahead if sign == b"-" else ahead
    else:
        # A zone that is not known counts as UTC (RFC 5322 §4.3).
        ahead = _ZONES.get(zone.upper(), 0) * 3600
    clock = int(hour) * 3600 + int(minute) * 60 + int(second or 0)
    return (days * 86_400 + clock - ahead) * SECOND


_parse_again = lru_cache(maxsize=1024)(_parse)


def parse_hops(values: Iterable[bytes]) -> list[Hop]:
    """The hops of Received fields, which are given oldest first."""
    hops: list[Hop] = []
    before: int | None = None
    for value in values:
        hop = _parse_hop(value)
        if hop.date is not None:
            if before is not None:
                hop = hop._replace(delay=(hop.date - before) // SECOND)
            before = hop.date
        hops.append(hop)
    return hops


def _parse_hop(value: bytes) -> Hop:
    said, _, when = unfold(value).rpartition(b";")
    if not said:
        said, when = when, b""
    for _ in range(_NESTED):
        if b"(" not in said:
            break
        said = _COMMENT.sub(b" ", said)
    found: dict[bytes, list[bytes]] = {}
    words: list[bytes] = []
    for word in said.split():
        name = word.lower()
        if name in _CLAUSES and name not in found:
            words = found[name] = []
        else:
            words.append(word)
    return Hop(
        _first(found.get(b"from")),
        _first(found.get(b"by")),
        decode_octets(b" ".join(found[b"with"])) if found.get(b"with") else None,
        _first(found.get(b"id")),
        parse_date(when) if when else None,
        None,
    )


def _first(words: list[bytes] | None) -> str | None:
    return decode_octets(words[0]) if words else None
