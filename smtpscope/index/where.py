"""A display filter as SQL over the index: numbers are compared there, everything else is asked of
the filter's own tests, once for each distinct text where the texts are shared.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from smtpscope.fields import endpoint_values
from smtpscope.filters import All, Filter, Node, Not, Test
from smtpscope.findings import RULES
from smtpscope.session import Severity

Value = str | int | None
Accepts = Callable[[Iterable[str | int]], bool]


class _Stored(NamedTuple):
    """Where the values of a field are: the columns, and how they become values again.

    `native`: it is one number, which SQL compares. `shared`: the column is an id in `texts`.
    """

    columns: str
    values: Callable[..., Iterable[str | int]]
    native: bool = False
    shared: bool = False


def _list(text: str) -> list[str | int]:
    found: list[str | int] = json.loads(text)
    return found


def _numbers(text: str) -> list[int]:
    return [int(key) for key in json.loads(text)]


def _domains(senders: str, recipients: str) -> list[str | int]:
    return [
        "" if address.endswith('"') else address.rpartition("@")[2] if "@" in address else ""
        for address in (*json.loads(senders), *json.loads(recipients))
    ]


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
    "client": _Stored("client, client_port", endpoint_values),
    "server": _Stored("server, port", endpoint_values),
    "state": _Stored("state", _single),
    "tls": _Stored("tls", _single),
    "tls.version": _Stored("tls_version", _single),
    "from": _Stored("senders", _list),
    "to": _Stored("recipients", _list),
    "domain": _Stored("senders, recipients", _domains),
    "subject": _Stored("subjects", _list),
    "size": _Stored("sizes", _list),
    "auth.user": _Stored("users", _list),
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


class Where:
    """A condition on `sessions`; `prepare` gives a connection what `sql` calls."""

    def __init__(self, filter: Filter, captures: Sequence[str]) -> None:
        """`captures`: the names of the index' captures, in their order."""
        self.parameters: list[int] = []
        self._captures = captures
        self._tests: list[Callable[..., bool]] = []
        self.sql = self._node(filter.node) if filter.node is not None else "1"

    def prepare(self, connection: sqlite3.Connection) -> None:
        tests = self._tests

        def holds(number: int, *stored: Value) -> bool:
            return tests[number](*stored)

        connection.create_function("holds", -1, holds, deterministic=True)

    def _node(self, node: Node) -> str:
        if isinstance(node, Not):
            return f"NOT {self._node(node.child)}"
        if isinstance(node, Test):
            return self._test(node)
        joint = " AND " if isinstance(node, All) else " OR "
        return f"({joint.join(map(self._node, node.children))})"

    def _test(self, test: Test) -> str:
        if test.field == "capture":
            chosen = [i for i, name in enumerate(self._captures) if test.accepts([name])]
            return f"capture IN ({', '.join(map(str, chosen))})"
        columns, values, native, shared = _STORED[test.field]
        if native and test.operator in _OPERATORS:
            self.parameters.append(int(test.wanted[0]))
            return f"{columns} {_OPERATORS[test.operator]} ?"
        accepts = test.accepts
        self._tests.append(lambda *stored: accepts(values(*stored)))
        number = len(self._tests) - 1
        if not shared:
            return f"holds({number}, {columns})"
        return (
            f"{columns} IN (SELECT id FROM texts WHERE kind = '{columns}'"
            f" AND holds({number}, text))"
        )
