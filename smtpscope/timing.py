"""How long a session's answers took, and what waiting for each one cost.

`measure` takes the exchanges of a session in order; `Servers` sets each session beside what the
same server took in the sessions of the capture so far. Times are in nanoseconds. RFC 2920 §3.1.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from smtpscope.smtp.values import Exchange
from smtpscope.stream import Endpoint

MAX_SERVERS = 1_000
"""Servers remembered; beyond, the one not heard of for the longest time is forgotten."""

MAX_LATENCIES = 200
"""Latencies remembered of each server: the newest ones."""

GROUPED = frozenset({"MAIL", "RCPT", "RSET", "BDAT"})
"""The commands behind which a client may send the next one at once (RFC 2920 §3.1, RFC 3030 §4.2).
It may do so behind a message, too, but few want to before they know what became of it."""

_UNTIMED = frozenset({".", "BDAT"})


class Percentiles(NamedTuple):
    """By the nearest rank: so much or less did 50, 95 and 99 in a hundred take."""

    p50: int
    p95: int
    p99: int


class ServerTiming(NamedTuple):
    """The newest latencies of a server, up to and with this session's; `sessions` counts all."""

    percentiles: Percentiles
    sessions: int


class Savings(NamedTuple):
    """Round trips that PIPELINING would have saved, and about how much time."""

    round_trips: int = 0
    time: int = 0


class Timing(NamedTuple):
    """What a session spent on waiting.

    `round_trips` counts how often the client sent something and waited for the answer. `latencies`
    are the times from the last octet of a command to that of its reply, in ascending order.
    `longest_pause` is the longest time that the client took between a reply and its next command.
    `savings` are nothing where the server does not offer PIPELINING.
    """

    round_trips: int = 0
    latencies: tuple[int, ...] = ()
    longest_pause: int = 0
    savings: Savings = Savings()
    server: ServerTiming | None = None

    @property
    def percentiles(self) -> Percentiles | None:
        return percentiles(self.latencies) if self.latencies else None


NOT_TIMED = Timing()


def percentiles(ordered: Sequence[int]) -> Percentiles:
    """Of values in ascending order, at least one."""
    count = len(ordered)
    return Percentiles(
        ordered[(count * 50 + 99) // 100 - 1],
        ordered[(count * 95 + 99) // 100 - 1],
        ordered[(count * 99 + 99) // 100 - 1],
    )


def measure(exchanges: Iterable[Exchange], *, pipelining: bool) -> Timing:
    """The timing of a session; `pipelining`: whether the server offers it."""
    latencies: list[int] = []
    round_trips = grouped = 0
    shortest_pause = longest_pause = -1
    answered = packet = 0
    before = ""
    for exchange in exchanges:
        replies = exchange.replies
        if not replies:
            continue
        command, reply = exchange.command, replies[0]
        if command is None:
            before = ""
        else:
            time, verb = command.time, command.verb
            if reply.time >= time:
                latencies.append(reply.time - time)
            if command.packet > packet:
                round_trips += 1
                if before in GROUPED:
                    grouped += 1
                if answered and verb not in _UNTIMED:
                    pause = time - answered
                    if pause > longest_pause:
                        longest_pause = pause
                    if pause < shortest_pause or shortest_pause < 0:
                        shortest_pause = pause
            before = verb
        reply = replies[-1]
        answered, packet = reply.time, reply.packet
    latencies.sort()
    savings = Savings()
    if pipelining and grouped:
        # The capture was taken somewhere on the way: the network's share lies on both sides of it.
        trip = max(shortest_pause, 0) + (latencies[0] if latencies else 0)
        savings = Savings(grouped, grouped * trip)
    return Timing(round_trips, tuple(latencies), max(longest_pause, 0), savings)


class Servers:
    """What the servers of a capture took so far."""

    def __init__(self) -> None:
        self._servers: OrderedDict[Endpoint, _Server] = OrderedDict()

    def add(self, server: Endpoint, latencies: Sequence[int]) -> ServerTiming | None:
        """How `server` does, with these latencies of one more session; None without any."""
        known = self._servers.pop(server, None)
        if known is None:
            if not latencies:
                return None
            known = _Server()
        self._servers[server] = known
        if len(self._servers) > MAX_SERVERS:
            self._servers.popitem(last=False)
        # Every so many of a long session's: the ascending row's end would not stand for it.
        known.add(latencies[:: len(latencies) // MAX_LATENCIES + 1])
        return ServerTiming(percentiles(known.ordered), known.sessions)


class _Server:
    __slots__ = ("newest", "ordered", "sessions")

    def __init__(self) -> None:
        self.sessions = 0
        self.newest: deque[int] = deque()
        self.ordered: list[int] = []

    def add(self, latencies: Sequence[int]) -> None:
        self.sessions += 1
        newest, ordered = self.newest, self.ordered
        for latency in latencies:
            if len(newest) == MAX_LATENCIES:
                del ordered[bisect_left(ordered, newest.popleft())]
            newest.append(latency)
            insort(ordered, latency)
