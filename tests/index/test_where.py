"""A filter asked of the index shows the sessions that it shows when they are decoded."""

from __future__ import annotations

import re
import string
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpscope.fields import FIELDS
from smtpscope.filters import MAX_LENGTH, All, Filter, parse
from smtpscope.filters import Test as FieldTest
from smtpscope.index.views import connect
from smtpscope.index.where import _FOLDED, _LOWER, Where, _looked_for
from smtpscope.session import Session, Severity

if TYPE_CHECKING:
    from conftest import Everything

NUMBERS = ("==", "!=", "<", "<=", ">", ">=")
TEXTS = ("==", "!=", "~")

LONGEST = 60
"""Characters of a value that goes into a filter."""
VALUES = 9
"""Values of each field that are asked for."""

MORE = {
    "text": ["", "no such thing", "@", "EXAMPLE", "\\", '"', "\0"],
    "number": ["0", "1", "999999999999999999"],
    "size": ["0", "0.5k", "999999999999999999G"],
    "duration": ["0", "1.5ms", "0.002", "999999999999999999h"],
    "time": ["0001-01-01", "1677-01-01", "2262-12-31", "9999-12-31", "2023-11-14T22:13:20Z"],
    "severity": [each.word for each in Severity],
}
"""Values that may be nobody's, and some that no column holds."""
PATTERNS = [
    "273k",
    "@.zmir",
    "zm.*r",
    "^$",
    ".",
    "(?i)example",
    "[a-z]+\\.org$",
    "\\d",
    "^[^@]*$",
    "a|b",
    "@.*@",
]


def quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def spelled(kind: str, value: str | int) -> str:
    """A value of a field as a filter has it."""
    if kind == "time":
        return datetime.fromtimestamp(int(value) // 1_000_000_000, UTC).isoformat()
    if kind == "duration":
        return f"{int(value) // 1_000}us"
    if kind == "severity":
        return Severity(int(value)).word
    return str(value)[:LONGEST]


def values_of(name: str, sessions: list[Session]) -> list[str]:
    """Some of a field's values, and some that it may not have."""
    field = FIELDS[name]
    known = {spelled(field.kind, value) for each in sessions for value in field.values(each)}
    ordered = sorted(known)
    few = ordered[:: len(ordered) // VALUES + 1]
    if name in ("finding", "group", "state", "tls"):
        # Others would be refused.
        return [*few, *[value.upper() for value in few[:2]]]
    return [*few, *[value.upper() for value in few[:2]], *MORE[field.kind]]


def shown_by_the_index(text: str, everything: Everything) -> list[int]:
    """Whether all are asked for at once, or few."""
    at_once, few = (
        asked(Where(parse(text), everything.index.captures, few=few), everything)
        for few in (False, True)
    )
    assert at_once == few, text
    return at_once


def asked(where: Where, everything: Everything) -> list[int]:
    connection = connect(everything.index.path)
    try:
        where.prepare(connection)
        rows = connection.execute(
            f"SELECT id FROM sessions WHERE {where.sql} ORDER BY id", where.parameters
        ).fetchall()
    finally:
        connection.close()
    return [id for (id,) in rows]


def shown(text: str, everything: Everything) -> list[int]:
    wanted = parse(text)
    return [id for id, each in enumerate(everything.sessions, 1) if wanted.matches(each)]


def filters_on(name: str, sessions: list[Session]) -> list[str]:
    """Filters of one field, with each operator that it has."""
    values = [quoted(value) for value in values_of(name, sessions)]
    text = FIELDS[name].kind == "text"
    found = [f"{name} {way} {value}" for value in values for way in (TEXTS if text else NUMBERS)]
    if text:
        found = [each for each in found if " ~ " not in each]
        patterns = [*PATTERNS, *map(re.escape, values_of(name, sessions))]
        found += [f"{name} ~ {quoted(pattern)}" for pattern in patterns]
    found += [f"{name} in ({value}, {values[0]})" for value in values]
    return [name, *found]


@pytest.mark.parametrize("name", FIELDS)
def test_each_operator_of_a_field_shows_the_same(name: str, everything: Everything) -> None:
    for text in filters_on(name, everything.sessions):
        for each in (text, f"not {text}"):
            assert shown_by_the_index(each, everything) == shown(each, everything), each


@pytest.mark.parametrize(
    "word",
    ["example", "ESMTP", "192.0.2.1", "25", "grüße", '"\\\\"', "[2001", "273k", "@I", "k"],
)
def test_a_word_is_found_in_the_same_sessions(word: str, everything: Everything) -> None:
    assert shown_by_the_index(word, everything) == shown(word, everything)


def test_no_other_letters_are_taken_for_ascii() -> None:
    lower: dict[str, tuple[str, ...]] = {}
    folded: dict[str, tuple[str, ...]] = {}
    ascii = re.compile("[a-z0-9]", re.IGNORECASE)
    for each in map(chr, range(128, sys.maxunicode + 1)):
        code = f"{ord(each):04x}"
        for letter in filter(str.isascii, each.lower()):
            lower[letter] = (*lower.get(letter, ()), code)
        if ascii.match(each):
            for letter in string.ascii_lowercase + string.digits:
                if re.match(letter, each, re.IGNORECASE):
                    folded[letter] = (*folded.get(letter, ()), code)
    assert (lower, folded) == (_LOWER, _FOLDED)


@pytest.mark.parametrize(
    ("pattern", "looked_for"),
    [
        ("example", "example"),
        ("^ann.*@example\\.org$", "ann%@example.org"),
        ("example.org", "example%org"),
        ("a..b.+c.?d", "a%%b%c%d"),
        ("x_y", "x_y"),
        *((pattern, "") for pattern in ("ab*", "a|b", "(ab)", "a{2}", "[ab]", "a\\b", "^", ".*?a")),
        *(
            (pattern, "")
            for pattern in ("(?i)a", "gr\u00fc\u00dfe", 'a"b', "a^b", "a$b", "", "%", ".*+")
        ),
    ],
)
def test_of_simple_patterns_sql_knows_what_to_look_for(pattern: str, looked_for: str) -> None:
    assert _looked_for(FieldTest("to", "~", (pattern,), any)) == looked_for


@pytest.mark.parametrize("cheap", ["number > 1", "code == 550", "not port != 25"])
def test_only_what_cheap_tests_leave_is_asked_of_python(cheap: str, everything: Everything) -> None:
    asked_for: list[Iterable[str | int]] = []

    def accepts(values: Iterable[str | int]) -> bool:
        asked_for.append(values)
        return True

    decided = parse(cheap)
    assert decided.node is not None
    both = Filter("both", All((FieldTest("to", "~", ("",), accepts), decided.node)))
    connection = connect(everything.index.path)
    where = Where(both, everything.index.captures)
    where.prepare(connection)
    sql = f"SELECT count(*) FROM sessions WHERE {where.sql}"
    (count,) = connection.execute(sql, where.parameters).fetchone()
    connection.close()
    assert count == len(asked_for) == len(shown(cheap, everything))


def test_every_field_has_values_among_these_sessions(everything: Everything) -> None:
    for name, field in FIELDS.items():
        assert any(list(field.values(each)) for each in everything.sessions), name


def test_an_empty_filter_shows_all(everything: Everything) -> None:
    assert len(shown_by_the_index(" ", everything)) == len(everything.sessions) > 80


@st.composite
def filters(draw: st.DrawFn, sessions: list[Session]) -> str:
    def test(name: str) -> st.SearchStrategy[str]:
        return st.sampled_from(filters_on(name, sessions))

    tests = st.sampled_from([*FIELDS]).flatmap(test)
    words = st.sampled_from(["example", "mx", '"a b"', "nobody", "@"])

    def joined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            children.map("not {}".format),
            children.map("({})".format),
            st.tuples(children, st.sampled_from([" and ", " or ", " AND "]), children).map("".join),
        )

    return draw(st.recursive(st.one_of(tests, words), joined, max_leaves=6))


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_any_filter_shows_the_same(data: st.DataObject, everything: Everything) -> None:
    text = data.draw(filters(everything.sessions))
    assert shown_by_the_index(text, everything) == shown(text, everything)


@pytest.mark.parametrize("joint", [" or ", " and "])
def test_the_longest_filter_is_not_too_long(joint: str, everything: Everything) -> None:
    text = joint.join(["m"] * 1_000)[: MAX_LENGTH - MAX_LENGTH % (len(joint) + 1) - len(joint)]
    assert shown_by_the_index(text, everything) == shown(text, everything)
