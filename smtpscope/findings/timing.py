"""Rules about time: slow replies, timeouts, round trips that were not needed.

RFC 5321 §4.5.3.2; RFC 2920 §3.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise

from smtpscope import reference
from smtpscope.findings.rule import LASTING, Checks, Rule
from smtpscope.findings.walk import State, Step
from smtpscope.session import Session
from smtpscope.smtp.values import Command, Reply
from smtpscope.stream import Defect, Direction
from smtpscope.timing import GROUPED

SECOND = 1_000_000_000

GREETING_DELAYED = 2 * SECOND
GREETING_LATE = 10 * SECOND
"""Servers that let a client wait on purpose, to see whether it speaks first, take 5 to 6 s."""

SLOW = 1 * SECOND
"""A reply that took no longer than this is never called slow."""

SLOW_MESSAGE = 5 * SECOND
"""The same for the reply to a message, which servers scan before they answer."""

SLOW_FACTOR = 10
"""How many times the server's median makes a reply slow."""

MIN_LATENCIES = 5
"""Latencies of a server that a median must be of before a reply is held against it."""

MIN_DELAYED = 4
"""Replies that must be delayed alike before it looks like intent."""

GAVE_UP = 5 * SECOND
"""A client that leaves sooner than this did not wait for a timeout: it left for another reason."""

WORTH_TELLING = LASTING
"""Time that PIPELINING must save before it is told."""

SLOW_TRANSFER = 60 * SECOND
SLOW_RATE = 5_000
"""Octets a second below which a message that takes longer than a minute is slow."""

RULES: dict[str, Rule] = {
    "greeting-delay": Rule(
        "chat",
        "the server let the client wait for the greeting",
        "RFC 5321 §3.1",
        "Nothing, if the server's administrator wants it so: a pause before the greeting shows"
        " clients that speak too early. Otherwise look at what the server does first, which is"
        " often a DNS query.",
    ),
    "late-greeting": Rule(
        "note",
        "the greeting came late",
        "RFC 5321 §4.5.3.2.1",
        "The server's administrator should look for DNS or ident queries that time out when a"
        " client connects, for an overloaded server, and for blocklists that do not answer.",
    ),
    "timeout-crossed": Rule(
        "warning",
        "the reply came later than clients have to wait for it",
        "RFC 5321 §4.5.3.2",
        "The server's administrator should have it answer sooner, and scan mail after it was"
        " accepted if need be: a client may have given up by then, and will send the mail again.",
    ),
    "gave-up-early": Rule(
        "warning",
        "the client left before it had to",
        "RFC 5321 §4.5.3.2",
        "The client's administrator should set its timeouts to those of RFC 5321 at least. After"
        " the end of a message it may be delivered twice.",
    ),
    "server-timeout": Rule(
        "note",
        "the server ended a connection on which nothing was said",
        "RFC 5321 §4.5.3.2.7",
        "The client should say QUIT when it has nothing more to send. A server has to wait for"
        " five minutes, though many wait less when they are busy.",
    ),
    "client-idle": Rule(
        "note",
        "the client said nothing for longer than servers have to wait",
        "RFC 5321 §4.5.3.2.7",
        "The client should say QUIT instead of keeping an idle connection: after five minutes"
        " the server may close it.",
    ),
    "slow-reply": Rule(
        "note",
        "the reply took much longer than this server's usually do",
        "RFC 5321 §4.5.3.2",
        "The server's administrator should look at what it does for this command: queries to"
        " DNS, directories, blocklists and policy services, or the scan of a message.",
    ),
    "tarpitting": Rule(
        "note",
        "the server delays its replies alike, on purpose as it seems",
        "RFC 5321 §4.5.3.2",
        "If the client is an honest one, its administrator should ask the server's why it is"
        " slowed down: many errors, a listed address, or a rule for everybody.",
    ),
    "pipelining-unused": Rule(
        "chat",
        "the client waited for replies that it could have had together",
        "RFC 2920 §3.1",
        "Nothing has to be done; a client that sends MAIL, RCPT and DATA in one go is faster on"
        " long ways.",
    ),
    "slow-transfer": Rule(
        "note",
        "the message came very slowly",
        "RFC 5321 §4.5.3.2.5",
        "Look for lost packets, an MTU problem or a narrow link between client and server; a"
        " client that does it to many servers at once may want to keep them busy.",
    ),
}

_TIMEOUTS = {
    "MAIL": "timeout: mail",
    "RCPT": "timeout: rcpt",
    "DATA": "timeout: data initiation",
    ".": "timeout: data termination",
}
_GREETING_TIMEOUT = "timeout: initial 220"
_IDLE_TIMEOUT = "timeout: server waiting for next command"
_IDLE_WORDS = (b"timeout", b"timed out", b"time out", b"idle")


def slow_replies(session: Session) -> Iterable[Defect]:
    """The slowest reply, where it stands out from what the server usually takes."""
    timing = session.timing
    if timing.server is None or not timing.latencies or timing.latencies[-1] <= SLOW:
        return ()
    usual = timing.server.percentiles.p50
    known = max(len(timing.latencies), timing.server.sessions) >= MIN_LATENCIES
    if not known or _delayed_alike(session):
        return ()
    slow = [
        (reply.time - command.time, command, reply)
        for command, reply in _waits(session)
        if max(_slow_for(command.verb), SLOW_FACTOR * usual)
        < reply.time - command.time
        <= _longest(command)
    ]
    if not slow:
        return ()
    took, command, reply = max(slow, key=lambda each: each[0])
    detail = f"{_name(command)} took {_seconds(took)}, the median is {_seconds(usual)}"
    if len(slow) > 1:
        detail += f"; {len(slow) - 1} more"
    return (Defect("slow-reply", reply.span, detail),)


def _longest(command: Command) -> int:
    name = _timeout_of(command)
    return _limit(name) if name else sys.maxsize


def _slow_for(verb: str) -> int:
    return SLOW_MESSAGE if verb in (".", "BDAT") else SLOW


def _greeting(session: Session, _: State) -> Iterable[Defect]:
    banner = session.banner
    if banner is None or not session.whole:
        return ()
    waited = banner.time - session.start
    if waited < GREETING_DELAYED:
        return ()
    if waited < GREETING_LATE:
        return (Defect("greeting-delay", banner.span, _seconds(waited)),)
    limit = _limit(_GREETING_TIMEOUT)
    if waited > limit:
        detail = f"{_seconds(waited)} for the greeting; {limit // SECOND} s are enough"
        return (Defect("timeout-crossed", banner.span, detail),)
    return (Defect("late-greeting", banner.span, _seconds(waited)),)


def _timeouts(session: Session, _: State) -> Iterable[Defect]:
    latencies = session.timing.latencies
    if not latencies or latencies[-1] <= _limit(_TIMEOUTS["DATA"]):
        return ()
    return [
        Defect(
            "timeout-crossed",
            reply.span,
            f"{_seconds(reply.time - command.time)} for {_name(command)};"
            f" {limit // SECOND} s are enough",
        )
        for command, reply in _waits(session)
        if (name := _timeout_of(command)) and reply.time - command.time > (limit := _limit(name))
    ]


def _timeout_of(command: Command) -> str:
    return _TIMEOUTS.get(command.verb, "")


def _leaving(session: Session, _: State) -> Iterable[Defect]:
    exchanges = session.exchanges
    if session.closed_by is not Direction.CLIENT or not session.whole or not exchanges:
        return ()
    last = exchanges[-1]
    command = last.command
    if command is None or last.replies or any(d.rule.endswith("-unfinished") for d in last.defects):
        return ()
    name, waited = _timeout_of(command), session.end - command.time
    if not name or not GAVE_UP < waited < _limit(name):
        return ()
    detail = (
        f"it waited {_seconds(waited)} for the reply to {_name(command)},"
        f" not {_limit(name) // SECOND} s"
    )
    return (Defect("gave-up-early", command.span, detail),)


def _idle(session: Session, _: State) -> Iterable[Defect]:
    limit = _limit(_IDLE_TIMEOUT)
    if session.timing.longest_pause <= limit:
        return ()
    for before, exchange in pairwise(session.exchanges):
        command = exchange.command
        if command is None or not before.replies or command.verb in (".", "BDAT"):
            continue
        pause = command.time - before.replies[-1].time
        if pause > limit:
            return (
                Defect("client-idle", command.span, f"{_seconds(pause)} before {command.verb}"),
            )
    return ()


def _ended_while_idle(step: Step) -> Iterable[Defect]:
    reply, previous = step.reply, step.previous
    if step.command is not None or reply is None or reply.code is None or previous is None:
        return ()
    if reply.code // 100 != 4:
        return ()
    text = reply.lines[0].lower()
    if not any(word in text for word in _IDLE_WORDS) or not previous.replies:
        return ()
    waited = reply.time - previous.replies[-1].time
    detail = f"after {_seconds(waited)}"
    if waited < _limit(_IDLE_TIMEOUT):
        detail += ", where five minutes are recommended"
    # It is told of here.
    step.state.told.add(("service-closing", ""))
    return (Defect("server-timeout", reply.span, detail),)


def _tarpit(session: Session, _: State) -> Iterable[Defect]:
    alike = _delayed_alike(session)
    if not alike:
        return ()
    delays = sorted(reply.time - command.time for command, reply in alike)
    detail = f"{len(alike)} replies, each after about {_seconds(delays[len(delays) // 2])}"
    return (Defect("tarpitting", alike[0][1].span, detail),)


def _delayed_alike(session: Session) -> list[tuple[Command, Reply]]:
    """The replies that are delayed by about the same: all of them, or all refusals."""
    latencies = session.timing.latencies
    if len(latencies) < MIN_DELAYED or latencies[-MIN_DELAYED] <= SLOW:
        return []
    waits = [each for each in _waits(session) if each[0].verb not in (".", "BDAT")]
    refusals = [each for each in waits if each[1].code is not None and each[1].code >= 400]
    for replies in (waits, refusals):
        delays = [reply.time - command.time for command, reply in replies]
        if len(delays) >= MIN_DELAYED and SLOW < min(delays) >= max(delays) * 2 // 3:
            return replies
    return []


def _savings(session: Session, _: State) -> Iterable[Defect]:
    savings = session.timing.savings
    if savings.time < WORTH_TELLING:
        return ()
    first = next(
        command
        for exchange in session.exchanges
        if (command := exchange.command) is not None and command.verb in GROUPED
    )
    detail = (
        f"PIPELINING would have saved {savings.round_trips} of {session.timing.round_trips}"
        f" round trips, about {_seconds(savings.time)}"
    )
    return (Defect("pipelining-unused", first.span, detail),)


def _transfer(step: Step) -> Iterable[Defect]:
    command, previous = step.command, step.previous
    if command is None or previous is None or not previous.replies:
        return ()
    took = command.time - previous.replies[-1].time
    octets = command.span.end - command.span.start
    if took < SLOW_TRANSFER or octets * SECOND >= SLOW_RATE * took:
        return ()
    return (Defect("slow-transfer", command.span, f"{octets:,} octets in {_seconds(took)}"),)


def _waits(session: Session) -> Iterator[tuple[Command, Reply]]:
    """The commands that were sent when nothing else was unanswered, with their replies."""
    packet = 0
    for exchange in session.exchanges:
        if exchange.replies:
            command = exchange.command
            if command is not None and command.packet > packet:
                yield command, exchange.replies[0]
            packet = exchange.replies[-1].packet


def _limit(name: str) -> int:
    row = reference.limit(name)
    assert row is not None
    return row.value * SECOND


def _name(command: Command) -> str:
    return "the message" if command.verb == "." else command.verb


def _seconds(time: int) -> str:
    if time < SECOND:
        return f"{time / 1e6:.3g} ms"
    return f"{time / 1e9:.1f} s" if time < 100 * SECOND else f"{time // SECOND} s"


CHECKS = Checks(
    commands={".": (_transfer,), "": (_ended_while_idle,)},
    lasting=(_greeting, _timeouts, _leaving, _idle, _tarpit, _savings),
)
