"""What waiting cost: latencies, round trips, what PIPELINING would save, how servers usually do."""

from __future__ import annotations

import pytest
from support.samples import review

from smtpscope import timing
from smtpscope.session import Session
from smtpscope.stream import Endpoint
from smtpscope.timing import NOT_TIMED, Percentiles, Savings, Servers, percentiles

SECOND = 1_000_000_000
FLIGHT = 1_000_000
HELLO = ("S: 220 mx ESMTP", "C: EHLO a.test", "S: 250-mx", "S: 250 PIPELINING")


def session(*lines: str) -> Session:
    (found,) = review(lines)
    return found


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (1, 1, 1)), (2, (1, 2, 2)), (100, (50, 95, 99)), (20, (10, 19, 20))]
)
def test_percentiles_are_by_the_nearest_rank(count: int, expected: tuple[int, int, int]) -> None:
    assert percentiles(range(1, count + 1)) == Percentiles(*expected)


def test_latencies_are_those_of_commands_and_not_of_the_greeting() -> None:
    found = session("+ 3", *HELLO, "C: NOOP", "+ 2", "S: 250 ok", "C: QUIT", "S: 221 bye").timing
    assert found.latencies == (FLIGHT, FLIGHT, 2 * SECOND + FLIGHT)
    assert found.percentiles == Percentiles(FLIGHT, 2 * SECOND + FLIGHT, 2 * SECOND + FLIGHT)
    assert found.round_trips == 3


def test_commands_in_one_flight_are_one_round_trip() -> None:
    group = ("C: MAIL FROM:<>", "C: RCPT TO:<b@b.test>", "C: DATA")
    replies = ("S: 250 ok", "S: 250 ok", "S: 354 go")
    found = session(*HELLO, *group, *replies, "C: .", "S: 250 ok", "C: QUIT", "S: 221 bye").timing
    assert found.round_trips == 4
    assert found.savings == Savings()


def test_pipelining_would_save_a_round_trip_behind_each_command_of_a_group() -> None:
    turns = ("C: MAIL FROM:<>", "+ 0.1", "S: 250 ok", "C: RCPT TO:<b@b.test>", "+ 0.2", "S: 250 ok",
             "C: DATA", "+ 0.3", "S: 354 go", "C: .", "+ 0.1", "S: 250 ok", "C: QUIT", "+ 0.1",
             "S: 221 bye")  # fmt: skip
    hello = (*HELLO[:2], "+ 0.1", *HELLO[2:])
    found = session(*hello, *turns).timing
    # The shortest wait on either side of the capture is the network's share.
    assert found.savings == Savings(2, 2 * (SECOND // 10 + 2 * FLIGHT))
    assert session(*hello[:3], "S: 250 mx", *turns).timing.savings == Savings()


def test_a_long_pause_is_the_client_s_own() -> None:
    found = session(*HELLO, "+ 7", "C: NOOP", "S: 250 ok", "C: QUIT", "S: 221 bye").timing
    assert found.longest_pause == 7 * SECOND + FLIGHT


def test_the_time_that_a_message_takes_is_no_pause() -> None:
    mail = ("C: MAIL FROM:<>", "S: 250 ok", "C: RCPT TO:<b@b.test>", "S: 250 ok", "C: DATA")
    found = session(*HELLO, *mail, "S: 354 go", "C: x", "+ 50", "C: .", "S: 250 ok").timing
    assert found.longest_pause == FLIGHT


def test_a_session_without_an_answer_has_no_percentiles() -> None:
    assert NOT_TIMED.percentiles is None
    assert session("S: 220 mx", "C fin", "S fin").timing.percentiles is None


def test_a_server_is_known_by_its_newest_latencies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_LATENCIES", 4)
    servers = Servers()
    mx = Endpoint("192.0.2.2", 25)
    first = servers.add(mx, (90, 90, 100))
    assert first is not None
    assert (first.percentiles.p50, first.sessions) == (90, 1)
    second = servers.add(mx, (5, 6, 7))
    assert second is not None
    assert (second.percentiles, second.sessions) == (Percentiles(6, 100, 100), 2)
    other = servers.add(Endpoint("192.0.2.2", 587), (3,))
    assert other is not None
    assert (other.percentiles.p50, other.sessions) == (3, 1)


def test_a_long_session_stands_in_a_server_s_memory_with_a_sample_of_its_latencies() -> None:
    found = Servers().add(Endpoint("192.0.2.2", 25), range(10_000))
    assert found is not None
    assert found.percentiles.p50 == pytest.approx(5_000, rel=0.02)
    assert found.percentiles.p99 == pytest.approx(9_900, rel=0.02)


def test_a_server_of_which_nothing_is_known_has_no_percentiles() -> None:
    servers = Servers()
    mx = Endpoint("192.0.2.2", 25)
    assert servers.add(mx, ()) is None
    servers.add(mx, (1,))
    silent = servers.add(mx, ())
    assert silent is not None
    assert (silent.percentiles.p50, silent.sessions) == (1, 2)


def test_servers_are_forgotten_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MAX_SERVERS", 2)
    servers = Servers()
    for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        servers.add(Endpoint(host, 25), (1,))
    kept = servers.add(Endpoint("192.0.2.3", 25), (1,))
    again = servers.add(Endpoint("192.0.2.1", 25), (1,))
    assert kept is not None
    assert again is not None
    assert (kept.sessions, again.sessions) == (2, 1)
