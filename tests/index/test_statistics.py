"""The figures of a view are those that plain Python counts over the sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.indexes import QUIET, growing, indexed, write_capture

from smtpscope.fields import FIELDS
from smtpscope.filters import Filter, parse
from smtpscope.index import statistics as module
from smtpscope.index.schema import LATENCY_VERBS, latency
from smtpscope.index.statistics import MAX_BARS, MAX_TOP, Count, Statistics, Times, statistics
from smtpscope.index.store import Store
from smtpscope.index.views import Index, View
from smtpscope.session import Session
from smtpscope.timing import percentiles

if TYPE_CHECKING:
    from conftest import Everything

FILTERS = ["", "messages > 0", "code >= 500 and not tls", "capture ~ odd", "number == 99999"]

SECOND = 1_000_000_000

Chosen = tuple[Statistics, list[Session]]


def figures(index: Index, filter: str = "") -> Statistics:
    view = index.view(filter=parse(filter))
    view.fill()
    found = statistics(view)
    view.close()
    assert found is not None
    return found


@pytest.fixture(params=FILTERS, scope="module")
def chosen(everything: Everything, request: pytest.FixtureRequest) -> Chosen:
    """The figures by a filter, and the sessions that it shows."""
    wanted: Filter = parse(request.param)
    return (
        figures(everything.index, request.param),
        [each for each in everything.sessions if wanted.matches(each)],
    )


def test_sessions_messages_and_octets_are_counted(chosen: Chosen) -> None:
    found, sessions = chosen
    messages = [message for each in sessions for message in each.messages]
    assert found.sessions == len(sessions)
    assert found.messages == len(messages)
    assert found.octets == sum(message.size for message in messages)


def test_codes_are_counted_and_in_order(chosen: Chosen) -> None:
    found, sessions = chosen
    codes = Counter(str(code) for each in sessions for code in FIELDS["code"].values(each))
    assert found.codes == [Count(code, codes[code]) for code in sorted(codes)]


def _tls(session: Session) -> Iterable[str]:
    version = session.tls.version or session.tls.offered if session.tls else None
    yield f"{session.tls_mode} {version or ''}".rstrip() if session.tls_mode else "none"


def _values(field: str) -> Callable[[Session], Iterable[str]]:
    return lambda session: map(str, FIELDS[field].values(session))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tls", _tls),
        ("states", lambda session: [session.state]),
        ("servers", lambda session: [str(session.server)]),
        ("clients", lambda session: [session.client.address]),
        ("senders", _values("from")),
        ("recipients", _values("to")),
        ("names", _values("helo")),
    ],
)
def test_the_most_frequent_ones_are_listed(
    chosen: Chosen, name: str, values: Callable[[Session], Iterable[str]]
) -> None:
    found, sessions = chosen
    listed: list[Count] = getattr(found, name)
    counted = Counter(value for each in sessions for value in values(each))
    assert all(counted[each.name] == each.times for each in listed)
    assert len({each.name for each in listed}) == len(listed)
    assert [each.times for each in listed] == sorted(counted.values(), reverse=True)[:MAX_TOP]
    if name != "names":
        assert listed == sorted(listed, key=lambda each: (-each.times, each.name))


def test_sessions_without_a_name_take_no_place_among_the_names(tmp_path: Path) -> None:
    named = [
        (*QUIET[:1], ("C", f"EHLO c{n}.test\r\n".encode()), ("S", b"250 Ok\r\n"))
        for n in range(MAX_TOP + 2)
    ]
    capture = write_capture(tmp_path / "a.pcap", [*named, *[QUIET] * 20])
    with indexed(Store(), [capture]) as index:
        assert figures(index).names == [Count(f"c{n}.test", 1) for n in range(MAX_TOP)]


# -- latencies ------------------------------------------------------------------------------------


def _latencies(sessions: list[Session]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for session in sessions:
        for exchange in session.exchanges:
            if exchange.reply is None:
                continue
            if exchange.command is not None:
                verb = exchange.command.verb
                verb = verb if verb in LATENCY_VERBS else "(other)"
                found.setdefault(verb, []).append(exchange.reply.time - exchange.command.time)
            elif exchange.greeting:
                found.setdefault("(greeting)", []).append(exchange.reply.time - session.start)
    return found


def test_latencies_are_told_to_nine_percent(chosen: Chosen) -> None:
    found, sessions = chosen
    expected = _latencies(sessions)
    assert [each.verb for each in found.latencies] == [
        verb for verb in LATENCY_VERBS if verb in expected
    ]
    for each in found.latencies:
        took = sorted(expected[each.verb])
        assert each.replies == len(took)
        for told, exact in zip((each.p50, each.p95, each.p99), percentiles(took), strict=True):
            assert told == pytest.approx(max(exact, 1_000), rel=0.09)


def test_latencies_reach_from_a_microsecond_to_the_end_of_patience() -> None:
    assert latency(0) == 1_000
    # RFC 5321 §4.5.3.2.6: a client waits ten minutes for the reply to a message.
    assert latency(255) > 600 * SECOND
    assert all(1 < latency(n + 1) / latency(n) < 1.091 for n in range(255))


# -- times ----------------------------------------------------------------------------------------


def _bars(times: Times, sessions: list[Session]) -> tuple[list[int], list[int]]:
    counted, sent = [0] * len(times.sessions), [0] * len(times.messages)
    for session in sessions:
        bar = (session.start - times.start) // times.step
        assert bar >= 0
        counted[bar] += 1
        sent[bar] += len(session.messages)
    return counted, sent


def test_each_session_is_counted_when_it_began(chosen: Chosen) -> None:
    found, sessions = chosen
    times = found.times
    assert (times.sessions, times.messages) == _bars(times, sessions)
    assert times.start % times.step == 0
    assert 1 <= len(times.sessions) <= MAX_BARS + 1
    if sessions:
        assert times.sessions[0]
        assert times.sessions[-1]


@pytest.mark.parametrize(
    "starts",
    [
        [0],
        [-1, 0, 1],
        [-(10**18), -(10**18) + 7, -1, 0, 3, 10**18],
        [-(2**63), -(2**63) + 1, 0, 2**63 - 1],
        [2**63 - 1, 2**63 - 2],
        [k * 60 * SECOND for k in range(0, 500, 7)],
        [0, 48 * 604_800 * SECOND],
    ],
)
def test_times_may_be_absurd(starts: list[int], everything: Everything) -> None:
    made = [
        replace(session, start=start, end=max(start, 2**63 - 1))
        for start, session in zip(starts, everything.sessions * 2, strict=False)
    ]
    with growing(Store()) as grown:
        grown.write(made)
        times = figures(grown.index).times
        assert (times.sessions, times.messages) == _bars(times, made)
        assert len(times.sessions) <= MAX_BARS + 2
        duration = max(each.end - each.start for each in made)
        rows = grown.index.view(sort="duration", descending=True)
        rows.fill()
        assert rows.rows(0, 1)[0].duration == min(duration, 2**63 - 1)
        rows.close()


# -- given up -------------------------------------------------------------------------------------


def filled(everything: Everything) -> View:
    view = everything.index.view(filter=parse("client"))
    view.fill()
    return view


def test_there_are_none_where_nobody_waits_for_them(
    everything: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 7)
    view = filled(everything)
    asked = 0

    def cancelled(at: int) -> bool:
        nonlocal asked
        asked += 1
        return asked >= at

    assert statistics(view, lambda: cancelled(10**9)) == figures(everything.index, "client")
    for at in range(1, asked + 1):
        asked = 0
        assert statistics(view, lambda at=at: cancelled(at)) is None  # type: ignore[misc]
        assert asked == at
    view.close()


def test_there_are_none_where_the_view_is_interrupted(
    everything: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = filled(everything)

    def interrupting(*_: object) -> list[tuple[int, ...]]:
        connection = view._connection
        connection.create_function("stop", 0, lambda: connection.interrupt())
        return connection.execute("SELECT stop() FROM sessions").fetchall()

    monkeypatch.setattr(view, "query", interrupting)
    assert statistics(view) is None
    view.close()
