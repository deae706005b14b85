"""Walks through a session's exchanges and knows at each what had been agreed before.

`walk` yields a `Step` for each exchange; its `state` is what client and server knew when that
command was answered (RFC 5321 §4.1.4), and is brought up to date behind it. Rules look at steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from smtpscope.session import MAX_CAPABILITIES, Session
from smtpscope.smtp import grammar
from smtpscope.smtp.commands import HELLO_VERBS
from smtpscope.smtp.sasl import AuthExchange
from smtpscope.smtp.values import SENDERS, Command, Exchange, Reply


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user says of the servers; rules that need it guess where it is not said.

    `local_domains`, in lower case, are those that the servers take mail for from anybody.
    """

    local_domains: frozenset[str] = frozenset()


NO_POLICY = Policy()
"""Nothing was said."""


@dataclass(slots=True)
class State:
    """What both sides know. It is one object, changed from step to step.

    `offered` has the keywords of the EHLO reply in force with their parameters, `ever_offered`
    those of any. `mail` is the accepted MAIL of the open transaction and `parameters` its
    parameters; `accepted` and `refused` count its recipients, and `chunked` says that chunks of its
    message came. `envelope` is the last MAIL or RCPT of the session. `ending` is the exchange after
    which nothing more may come: QUIT, or a reply of 421. `offer_seen`: the reply to the hello in
    force was captured, so that what is not in `offered` was not offered. `turned`: the sides have
    swapped roles. `told` has the findings, as rule and detail, that are enough once a session.
    """

    policy: Policy = NO_POLICY
    hello: str = ""
    offered: dict[str, tuple[bytes, ...]] = field(default_factory=dict)
    ever_offered: set[str] = field(default_factory=set)
    offer_seen: bool = False
    tls: bool = False
    authenticated: AuthExchange | None = None
    mail: Exchange | None = None
    parameters: dict[str, bytes | None] = field(default_factory=dict)
    accepted: int = 0
    refused: int = 0
    chunked: bool = False
    envelope: Exchange | None = None
    ending: Exchange | None = None
    turned: bool = False
    told: set[tuple[str, str]] = field(default_factory=set)


class Step(NamedTuple):
    """One exchange on the walk, `number` in the session's list from 0.

    `command` and `reply` are its own, None where it has none.
    """

    session: Session
    number: int
    exchange: Exchange
    command: Command | None
    reply: Reply | None
    state: State

    @property
    def previous(self) -> Exchange | None:
        return self.session.exchanges[self.number - 1] if self.number else None


def walk(session: Session, state: State, exchanges: Iterable[Exchange]) -> Iterator[Step]:
    """The steps of a session, whose `exchanges` may still come; `state` is to be a fresh one, and
    has at the end what was last."""
    state.tls = session.tls_mode == "implicit"
    for number, exchange in enumerate(exchanges):
        command, reply = exchange.command, exchange.reply
        yield Step(session, number, exchange, command, reply, state)
        if reply is not None and reply.code == 421:
            state.ending = exchange
        if command is not None:
            _follow(state, exchange, command.verb, reply)


def _follow(state: State, exchange: Exchange, verb: str, reply: Reply | None) -> None:
    # Where replies are missing from the capture, the client's going on says that it was accepted.
    accepted = reply is None or reply.accepted
    if verb == "RCPT":
        state.envelope = exchange
        if accepted:
            state.accepted += 1
        else:
            state.refused += 1
    elif verb == "MAIL" or (verb in SENDERS and accepted):
        state.envelope = exchange
        if accepted:
            _end_transaction(state)
            state.mail = exchange
            if exchange.path is not None:
                state.parameters = dict(exchange.path.parameters)
    elif exchange.last:
        _end_transaction(state)
    elif verb in HELLO_VERBS:
        if accepted:
            _end_transaction(state)
            _hello(state, verb, reply)
    elif verb == "RSET":
        if accepted:
            _end_transaction(state)
    elif verb == "STARTTLS":
        if reply is not None and reply.accepted:
            # RFC 3207 §4.2: all that was said before is forgotten.
            _end_transaction(state)
            state.tls = True
            state.hello = ""
            state.offered = {}
            state.offer_seen = False
    elif verb == "QUIT":
        state.ending = exchange
    elif verb == "BDAT":
        state.chunked = state.chunked or accepted
    elif verb in ("TURN", "ATRN"):
        if reply is not None and reply.accepted:
            _turn(state)
    elif exchange.auth is not None and reply is not None and reply.code == 235:
        state.authenticated = exchange.auth


def _hello(state: State, verb: str, reply: Reply | None) -> None:
    state.hello = verb
    state.offer_seen = reply is not None
    lines = reply.lines[1 : MAX_CAPABILITIES + 1] if reply is not None and verb != "HELO" else ()
    capabilities = [grammar.parse_capability(line) for line in lines]
    state.offered = {each.keyword: each.parameters for each in capabilities}
    state.ever_offered.update(state.offered)


def _turn(state: State) -> None:
    """The sides begin anew, the other way round (RFC 2645 §5.3)."""
    _end_transaction(state)
    state.hello = ""
    state.offered = {}
    state.offer_seen = False
    state.authenticated = state.envelope = None
    state.turned = True


def _end_transaction(state: State) -> None:
    state.mail = None
    state.chunked = False
    if state.parameters:
        state.parameters = {}
    state.accepted = state.refused = 0
