"""Two dialogues side by side: which lines are the same, which differ and in what.

Rows of two transcripts go in, pairs come out. Exchanges are matched first, by what the client
said, then the lines within each pair of them; what differs from one session to the next by
nature (numbers, queue ids, times) makes no other line of a line. The time that it takes grows
with the number of rows alone.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate, groupby
from operator import attrgetter
from typing import NamedTuple, TypeVar

from smtpscope import reference
from smtpscope.transcript import Row

MAX_CELLS = 10_000
"""Two stretches without an anchor are compared each with each up to so many pairs (words of two
lines, too); beyond, the nth of one stands against the nth of the other."""

SAME, CHANGED, LEFT, RIGHT = "same", "changed", "left", "right"

Range = tuple[int, int]

_T = TypeVar("_T")
_Keys = Sequence[Callable[[_T], Hashable]]

_BY_NATURE = re.compile(r"[0-9A-Fa-f]{6,}|(?<![A-Za-z0-9])(?=[A-Za-z]*+[0-9])[A-Za-z0-9]{6,}|\d++")
_WORDS = re.compile(r"\w+|\s+|.", re.DOTALL)
_HELLO = {"HELO": "EHLO", "LHLO": "EHLO"}


class Pair(NamedTuple):
    """Two rows that stand beside each other; `kind` is "same", "changed", or "left" or "right"
    where the other dialogue has no such line."""

    left: Row | None
    right: Row | None
    kind: str

    @property
    def differences(self) -> tuple[list[Range], list[Range]]:
        """The characters (start, end) in which a changed line differs, of both texts."""
        if self.left is None or self.right is None or self.kind != CHANGED:
            return [], []
        return _differences(self.left.text, self.right.text)


def compare(left: Sequence[Row], right: Sequence[Row]) -> list[Pair]:
    """Every row of both dialogues, once and in order."""
    return [
        pair
        for ours, theirs in _align(_exchanges(left), _exchanges(right), _EXCHANGE_KEYS)
        for pair in _pairs(ours or (), theirs or ())
    ]


def _exchanges(rows: Sequence[Row]) -> list[tuple[Row, ...]]:
    return [tuple(group) for _, group in groupby(rows, attrgetter("exchange"))]


def _pairs(left: Sequence[Row], right: Sequence[Row]) -> Iterator[Pair]:
    for ours, theirs in _align(left, right, _ROW_KEYS):
        if theirs is None:
            yield Pair(ours, None, LEFT)
        elif ours is None:
            yield Pair(None, theirs, RIGHT)
        else:
            yield Pair(ours, theirs, SAME if _said(ours) == _said(theirs) else CHANGED)


# -- what makes lines alike ------------------------------------------------------------------------


def _said(row: Row) -> str:
    """Which line of a reply is the last one does not matter."""
    said = row.text
    return f"{said[:3]} {said[4:]}" if row.reply is not None and said[3:4] == "-" else said


def _shape(row: Row) -> Hashable:
    if row.finding is not None:
        return "finding", row.finding.rule
    return row.kind, row.direction, _BY_NATURE.sub("0", _said(row))


def _word(row: Row) -> Hashable:
    """The verb, a reply's code, the keyword of a line that lists an extension."""
    if row.finding is not None:
        return "finding", row.finding.rule
    if row.reply is not None:
        code, _, rest = _said(row).partition(" ")
        return row.direction, code, rest.partition(" ")[0] if row.part else ""
    if row.kind != "command":
        return row.kind, row.direction, ""
    word = row.text.partition(" ")[0].upper()
    known = reference.command(word) is not None
    return row.kind, row.direction, _HELLO.get(word, word) if known else ""


def _place(row: Row) -> Hashable:
    if row.finding is not None or row.part:
        # One rule, or one extension, is not another.
        return _word(row)
    return row.kind if row.reply is None else "reply"


def _codes(rows: Sequence[Row]) -> Hashable:
    return _first(rows, _shape), *(row.text[:3] for row in rows if row.reply is not None)


def _first(rows: Sequence[Row], key: Callable[[Row], Hashable]) -> Hashable:
    first = rows[0]
    if first.reply is not None:
        return "unasked", first.exchange == 0
    return key(first) if first.kind in ("command", "message") else "at the end"


_EXCHANGE_KEYS: _Keys[tuple[Row, ...]] = (
    _codes,
    lambda rows: _first(rows, _shape),
    lambda rows: _first(rows, _word),
)
_ROW_KEYS: _Keys[Row] = (_shape, _word, _place)


# -- matching --------------------------------------------------------------------------------------


def _align(
    left: Sequence[_T], right: Sequence[_T], keys: _Keys[_T]
) -> Iterator[tuple[_T | None, _T | None]]:
    """Those of one key beside each other; what is left between them by the next key."""
    if not keys or not left or not right:
        yield from ((each, None) for each in left)
        yield from ((None, each) for each in right)
        return
    at = beside = 0
    found = _matches([keys[0](each) for each in left], [keys[0](each) for each in right])
    for ours, theirs in found:
        if ours > at or theirs > beside:
            yield from _align(left[at:ours], right[beside:theirs], keys[1:])
        yield left[ours], right[theirs]
        at, beside = ours + 1, theirs + 1
    yield from _align(left[at:], right[beside:], keys[1:])


def _matches(left: list[Hashable], right: list[Hashable]) -> Iterator[Range]:
    """Pairs of equal ones, both ascending: those that both have once are anchors."""
    at = beside = 0
    for ours, theirs in [*_anchors(left, right), (len(left), len(right))]:
        yield from _between(left, right, (at, ours), (beside, theirs))
        if ours < len(left):
            yield ours, theirs
        at, beside = ours + 1, theirs + 1


def _anchors(left: list[Hashable], right: list[Hashable]) -> list[Range]:
    places = _once(right)
    pairs = [(at, places[key]) for key, at in _once(left).items() if key in places]
    # The longest ascending run of the right-hand places, found by laying cards on heaps.
    heaps: list[int] = []
    tops: list[int] = []
    before: list[int] = []
    for index, (_, place) in enumerate(pairs):
        heap = bisect_left(heaps, place)
        before.append(tops[heap - 1] if heap else -1)
        heaps[heap : heap + 1] = [place]
        tops[heap : heap + 1] = [index]
    found = []
    index = tops[-1] if tops else -1
    while index >= 0:
        found.append(pairs[index])
        index = before[index]
    return found[::-1]


def _once(keys: list[Hashable]) -> dict[Hashable, int]:
    seen: dict[Hashable, int] = {}
    for at, key in enumerate(keys):
        seen[key] = at if key not in seen else -1
    return {key: at for key, at in seen.items() if at >= 0}


def _between(
    left: list[Hashable], right: list[Hashable], ours: Range, theirs: Range
) -> Iterator[Range]:
    at, end = ours
    beside, until = theirs
    while at < end and beside < until and left[at] == right[beside]:
        yield at, beside
        at, beside = at + 1, beside + 1
    behind = 0
    room = min(end - at, until - beside)
    while behind < room and left[end - behind - 1] == right[until - behind - 1]:
        behind += 1
    end, until = end - behind, until - behind
    if (end - at) * (until - beside) <= MAX_CELLS:
        matcher = SequenceMatcher(None, left[at:end], right[beside:until], autojunk=False)
        for first, second, size in matcher.get_matching_blocks():
            yield from zip(
                range(at + first, at + first + size),
                range(beside + second, beside + second + size),
                strict=True,
            )
    else:
        for one, other in zip(range(at, end), range(beside, until), strict=False):
            if left[one] == right[other]:
                yield one, other
    yield from zip(range(end, end + behind), range(until, until + behind), strict=True)


def _differences(left: str, right: str) -> tuple[list[Range], list[Range]]:
    ours, theirs = _WORDS.findall(left), _WORDS.findall(right)
    if len(ours) * len(theirs) <= MAX_CELLS:
        matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
        blocks = [(a, a + n, b, b + n) for a, b, n in matcher.get_matching_blocks()]
    else:
        pairs = enumerate(zip(ours, theirs, strict=False))
        least = min(len(ours), len(theirs))
        same = next((at for at, (one, other) in pairs if one != other), least)
        blocks = [(0, same, 0, same), (len(ours), len(ours), len(theirs), len(theirs))]
    found: tuple[list[Range], list[Range]] = [], []
    for side, words in enumerate((ours, theirs)):
        offsets = list(accumulate(map(len, words), initial=0))
        at = 0
        for block in blocks:
            start, end = block[2 * side : 2 * side + 2]
            if start > at:
                found[side].append((offsets[at], offsets[start]))
            at = end
    return found
