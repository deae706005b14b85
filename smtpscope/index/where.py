"""A display filter as SQL over the index: numbers are compared there, everything else is asked of
the filter's own tests, once for each distinct text where the texts are shared; of the other texts
SQL picks out those that may have what is looked for.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import NamedTuple

from smtpscope.fields import endpoint_values
from smtpscope.filters import All, Filter, Node, Not, Test
from smtpscope.findings import RULES
from smtpscope.session import Severity
from smtpscope.smtp.paths import last_at_outside_quotes

Value = str | int | None
Accepts = Callable[[Iterable[str | int]], bool]


class _Stored(NamedTuple):
    """Where the values of a field are: the columns, and how they become values again.

    `native`: it is one number, which SQL compares. `shared`: the column is an id in `texts`.
    `within`: a text in SQL in which every value stands whole, where it has but plain characters.
    """

    columns: str
    values: Callable[..., Iterable[str | int]]
    native: bool = False
    shared: bool = False
    within: str = ""


def _list(text: str) -> list[str | int]:
    found: list[str | int] = json.loads(text)
    return found


def _numbers(text: str) -> list[int]:
    return [int(key) for key in json.loads(text)]


def _domains(senders: str, recipients: str) -> list[str | int]:
    return [_domain(address) for address in (*json.loads(senders), *json.loads(recipients))]


def _domain(address: str) -> str:
    if '"' not in address:
        return address.rpartition("@")[2] if "@" in address else ""
    octets = address.encode()
    at = last_at_outside_quotes(octets)
    return octets[at + 1 :].decode() if at >= 0 else ""


def _single(value: str | None) -> tuple[str, ...]:
    return (value,) if value is not None else ()


def _severities(text: str) -> list[str | int]:
    return [Severity[RULES[rule][1].severity.upper()] for rule in json.loads(text)]


_STORED = {
    "number": _Stored("number", lambda value: [value], native=True),
    "start": _Stored("start", lambda value: [value], native=True),
    "duration": _Stored("duration", lambda value: [value], native=True),
    "port": _Stored("port", lambda value: [value], native=True),
    "messages": _Stored("messages", lambda value: [value], native=True),
    "client": _Stored(
        "client, client_port", endpoint_values, within="client || ':' || client_port"
    ),
    "server": _Stored("server, port", endpoint_values, within="server || ':' || port"),
    "state": _Stored("state", _single),
    "tls": _Stored("tls", _single),
    "tls.version": _Stored("tls_version", _single),
    "from": _Stored("senders", _list, within="senders"),
    "to": _Stored("recipients", _list, within="recipients"),
    "domain": _Stored("senders, recipients", _domains, within="senders || recipients"),
    "subject": _Stored("subjects", _list, within="subjects"),
    "size": _Stored("sizes", _list),
    "auth.user": _Stored("users", _list, within="users"),
    "banner": _Stored("banner", _list, shared=True),
    "helo": _Stored("helo", _list, shared=True),
    "sni": _Stored("sni", _list, shared=True),
    "auth": _Stored("auth", _list, shared=True),
    "verb": _Stored("verbs", json.loads, shared=True),
    "enhanced": _Stored("enhanced", json.loads, shared=True),
    "code": _Stored("codes", _numbers, shared=True),
    "class": _Stored("codes", lambda text: [code // 100 for code in _numbers(text)], shared=True),
    "finding": _Stored("rules", json.loads, shared=True),
    "severity": _Stored("rules", _severities, shared=True),
    "group": _Stored(
        "rules", lambda text: [RULES[rule][0] for rule in json.loads(text)], shared=True
    ),
}

_OPERATORS = {"==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_INTEGERS = range(-(1 << 63), 1 << 63)

_PLAIN = re.compile(r"[ !#-Z^-~]+")
"""What stands in JSON, and in an address behind a bracket, as it is."""
_PATTERN = re.compile(r"\^?((?:[A-Za-z0-9 @:,;=/_-]|\\\.|\.[*+?]?)+)\$?")
"""A regular expression of such characters one after the other, with dots between them."""
_DOTS = re.compile(r"\\\.|\.[*+?]?")

_LOWER = {"i": ("0130",), "k": ("212a",)}
"""What is not ASCII, and so an escape in JSON, but in lower case has this letter: all there is."""
_FOLDED = {"i": ("0130", "0131"), "k": ("212a",), "s": ("017f",)}
"""The same for what a regular expression takes for this letter."""

_numbers_given = count()


def _cost(node: Node) -> int:
    """0 for what SQL compares alone, 1 for what is asked of each text once, 2 for all else."""
    if isinstance(node, Not):
        return _cost(node.child)
    if not isinstance(node, Test):
        return max(map(_cost, node.children))
    stored = _STORED.get(node.field)
    if stored is None or (stored.native and node.operator in _OPERATORS):
        return 0
    return 1 if stored.shared else 2


class Where:
    """A condition on `sessions`; `prepare` gives a connection what `sql` calls."""

    def __init__(self, filter: Filter, captures: Sequence[str], *, few: bool = False) -> None:
        """`captures`: the names of the index' captures, in their order. `few`: it is asked of few
        sessions, fewer than there are texts."""
        self.parameters: list[int | str] = []
        self._captures = captures
        self._few = few
        # A connection may have several conditions at work, and takes no other function by the
        # name of one that is.
        self._function = f"holds_{next(_numbers_given)}"
        self._tests: list[Callable[..., bool]] = []
        self.sql = self._node(filter.node) if filter.node is not None else "1"

    def prepare(self, connection: sqlite3.Connection) -> None:
        tests = self._tests

        def holds(number: int, *stored: Value) -> bool:
            return tests[number](*stored)

        connection.create_function(self._function, -1, holds, deterministic=True)

    def _node(self, node: Node) -> str:
        if isinstance(node, Not):
            return f"NOT {self._node(node.child)}"
        if isinstance(node, Test):
            return self._test(node)
        joint = " AND " if isinstance(node, All) else " OR "
        # What has been decided by what is cheap is not asked of the others.
        return f"({joint.join(map(self._node, sorted(node.children, key=_cost)))})"

    def _test(self, test: Test) -> str:
        if test.field == "capture":
            chosen = [i for i, name in enumerate(self._captures) if test.accepts([name])]
            return f"capture IN ({', '.join(map(str, chosen))})"
        columns, values, native, shared, within = _STORED[test.field]
        # What SQLite has no number for is for Python to compare.
        if native and test.operator in _OPERATORS and test.wanted[0] in _INTEGERS:
            self.parameters.append(int(test.wanted[0]))
            return f"{columns} {_OPERATORS[test.operator]} ?"
        accepts = test.accepts
        self._tests.append(lambda *stored: accepts(values(*stored)))
        number = len(self._tests) - 1
        if not shared:
            return f"({self._likely(test, within)}{self._function}({number}, {columns}))"
        if self._few:
            return f"{self._function}({number}, (SELECT text FROM texts WHERE id = {columns}))"
        return (
            f"{columns} IN (SELECT id FROM texts WHERE kind = '{columns}'"
            f" AND {self._function}({number}, text))"
        )

    def _likely(self, test: Test, within: str) -> str:
        """What SQL can ask before Python is asked, which takes ten times as long."""
        looked_for = _looked_for(test) if within else ""
        if not looked_for:
            return ""
        self.parameters.append(f"%{looked_for}%")
        lower = looked_for.lower()
        escapes = [
            escape
            for letter, found in (_FOLDED if test.operator == "~" else _LOWER).items()
            for escape in found
            if letter in lower
        ]
        may = [f"{within} LIKE ?", *(f"{within} LIKE '%\\u{escape}%'" for escape in escapes)]
        return f"({' OR '.join(may)}) AND "


def _looked_for(test: Test) -> str:
    """What LIKE finds, but for its case, in all texts for which the test holds; "" for nothing."""
    wanted = test.wanted[0] if test.wanted else None
    if not isinstance(wanted, str):
        return ""
    if test.operator == "~":
        pattern = _PATTERN.fullmatch(wanted)
        # What a dot stands for may be an escape, or a bracket that is not there.
        return _DOTS.sub(lambda dot: "." if dot[0] == "\\." else "%", pattern[1]) if pattern else ""
    return wanted if test.operator in ("has", "==") and _PLAIN.fullmatch(wanted) else ""
