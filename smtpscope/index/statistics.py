"""What the sessions of a view have in common, in numbers: over time, by code, by verb, by name.

Made by SQL and a histogram of latencies; it takes long for a million sessions and belongs in a
thread. Texts are what the wire said.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from smtpscope.index.schema import LATENCY_VERBS, latency
from smtpscope.index.views import View
from smtpscope.stream import Endpoint

MAX_TOP = 8
"""Names in each list of the most frequent ones."""
MAX_BARS = 48
"""Steps into which the time of the sessions is divided."""
BLOCK = 2_000
"""Rows that are fetched at once."""

_SECOND = 1_000_000_000
_STEPS = (
    *(1_000_000, 10_000_000, 100_000_000, _SECOND, 2 * _SECOND, 5 * _SECOND, 10 * _SECOND),
    *(30 * _SECOND, 60 * _SECOND, 300 * _SECOND, 600 * _SECOND, 1_800 * _SECOND, 3_600 * _SECOND),
    *(10_800 * _SECOND, 21_600 * _SECOND, 43_200 * _SECOND, 86_400 * _SECOND, 604_800 * _SECOND),
)


class Count(NamedTuple):
    """How often something is there."""

    name: str
    times: int


class Latency(NamedTuple):
    """How long servers took to answer a verb, in ns, to 9 %."""

    verb: str
    replies: int
    p50: int
    p95: int
    p99: int


class Times(NamedTuple):
    """Sessions and messages by the time at which their sessions began: from `start` (ns) on, in
    steps of `step` ns."""

    start: int
    step: int
    sessions: list[int]
    messages: list[int]


class Statistics(NamedTuple):
    """The figures of a view; lists are the most frequent first. `tls` has "starttls TLSv1.3",
    "implicit TLSv1.2" or "none"."""

    sessions: int
    messages: int
    octets: int
    times: Times
    codes: list[Count]
    latencies: list[Latency]
    tls: list[Count]
    states: list[Count]
    servers: list[Count]
    clients: list[Count]
    senders: list[Count]
    recipients: list[Count]
    names: list[Count]


class CancelledError(Exception):
    """Nobody wants the figures any more."""


def statistics(view: View, cancelled: Callable[[], bool] = lambda: False) -> Statistics | None:
    """The figures of a view whose list is made; None where they were given up."""
    try:
        return _Counting(view, cancelled).all()
    except CancelledError:
        return None
    except sqlite3.OperationalError:
        # Interrupted.
        return None


class _Counting:
    def __init__(self, view: View, cancelled: Callable[[], bool]) -> None:
        self._view = view
        self._cancelled = cancelled

    def all(self) -> Statistics:
        ((sessions, messages, octets, first, last),) = self._query(
            "SELECT count(*), total(messages), total(octets), min(start), max(start)"
            " FROM {sessions}"
        )
        return Statistics(
            sessions,
            int(messages),
            int(octets),
            self._times(first or 0, last or 0),
            self._codes(),
            self._latencies(),
            self._counts(
                "CASE WHEN tls IS NULL THEN 'none' ELSE tls || ' ' || coalesce(tls_version, '') END"
            ),
            self._counts("state"),
            self._servers(),
            self._counts("client"),
            self._listed("senders"),
            self._listed("recipients"),
            self._names(),
        )

    def _query(self, sql: str, *parameters: int) -> list[tuple[int, ...]]:
        if self._cancelled():
            raise CancelledError
        return self._view.query(sql, parameters)

    def _times(self, first: int, last: int) -> Times:
        step = next((each for each in _STEPS if (last - first) // each < MAX_BARS), None)
        step = step or (last - first) // (MAX_BARS - 1)
        begin = first // step
        bars = last // step - begin + 1
        sessions, messages = [0] * bars, [0] * bars
        # SQLite rounds towards 0, and has no number for the difference of absurd times.
        for bar, count, sent in self._query(
            "SELECT start / ? - (start % ? < 0), count(*), total(messages) FROM {sessions}"
            " GROUP BY 1",
            step,
            step,
        ):
            sessions[bar - begin], messages[bar - begin] = count, int(sent)
        return Times(begin * step, step, sessions, messages)

    def _codes(self) -> list[Count]:
        found: Counter[str] = Counter()
        for text, sessions in self._query(
            "SELECT t.text, s.n FROM (SELECT codes, count(*) AS n FROM {sessions} GROUP BY codes) s"
            " JOIN texts t ON t.id = s.codes"
        ):
            for code, count in json.loads(str(text)).items():
                found[code] += count * sessions
        return [Count(*each) for each in sorted(found.items())]

    def _latencies(self) -> list[Latency]:
        histogram = np.zeros(len(LATENCY_VERBS) * 256, np.int64)
        for blobs in self._view.blocks("SELECT latencies FROM {sessions}", BLOCK):
            if self._cancelled():
                raise CancelledError
            pairs = np.frombuffer(b"".join(blob for (blob,) in blobs), np.uint8).astype(np.int64)
            both = pairs[0::2] * 256 + pairs[1::2]
            histogram += np.bincount(both, minlength=histogram.size)[: histogram.size]
        found = []
        for verb, steps in zip(LATENCY_VERBS, histogram.reshape(-1, 256), strict=True):
            upto = np.cumsum(steps)
            count = int(upto[-1])
            if count:
                ranks = [-(-count * share // 100) for share in (50, 95, 99)]
                p50, p95, p99 = (latency(int(np.searchsorted(upto, rank))) for rank in ranks)
                found.append(Latency(verb, count, p50, p95, p99))
        return found

    def _counts(self, what: str) -> list[Count]:
        rows = self._query(
            f"SELECT {what}, count(*) FROM {{sessions}} GROUP BY 1 ORDER BY 2 DESC, 1"
            f" LIMIT {MAX_TOP}"
        )
        return [Count(str(name).rstrip(), count) for name, count in rows]

    def _servers(self) -> list[Count]:
        rows = self._query(
            "SELECT server, port, count(*) FROM {sessions} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
            f" LIMIT {MAX_TOP}"
        )
        return [Count(str(Endpoint(str(host), port)), count) for host, port, count in rows]

    def _listed(self, column: str) -> list[Count]:
        rows = self._query(
            f"SELECT e.value, count(*) FROM {{sessions}}, json_each({column}) e GROUP BY 1"
            f" ORDER BY 2 DESC, 1 LIMIT {MAX_TOP}"
        )
        return [Count(str(name), count) for name, count in rows]

    def _names(self) -> list[Count]:
        rows = self._query(
            "SELECT t.text, s.n FROM (SELECT helo, count(*) AS n FROM {sessions} GROUP BY helo) s"
            " JOIN texts t ON t.id = s.helo WHERE t.text != '[]'"
            f" ORDER BY s.n DESC, 1 LIMIT {MAX_TOP}"
        )
        return [Count(json.loads(str(text))[0], count) for text, count in rows]
