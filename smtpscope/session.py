"""Session: all that is known of one SMTP connection, as viewers show it.

`SessionBuilder` takes the exchanges of a `Dialogue` in order and gathers what they say of the
session: greeting, client's name, capabilities, transactions and their messages.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from smtpscope.capture.tls import TlsInfo
from smtpscope.capture.tunnel import Tunnel
from smtpscope.message import Message, MessageBuilder
from smtpscope.smtp import grammar
from smtpscope.smtp.commands import AUTH_VERBS, HELLO_VERBS
from smtpscope.smtp.sasl import AuthExchange
from smtpscope.smtp.secrets import Secrets
from smtpscope.smtp.transaction import Transaction, Transactions
from smtpscope.smtp.values import Capability, Exchange, Reply
from smtpscope.stream import Defect, Direction, Endpoint, Opened, Span
from smtpscope.timing import NOT_TIMED, Timing

MAX_EXCHANGES = 100_000
"""Exchanges kept of one session, with their transactions; the rest is counted only."""

MAX_CAPABILITIES = 200
"""Capabilities kept of one EHLO reply."""


class Severity(enum.IntEnum):
    """How bad a finding is, on Wireshark's scale."""

    CHAT = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class Finding(NamedTuple):
    """Something found wrong: `span` points at the octets, `spec` names the rule's source.

    `summary` says what was observed and may quote the wire: it must pass `display` before anybody
    sees it. `advice` says what to do.
    """

    rule: str
    severity: Severity
    group: str
    span: Span
    summary: str
    spec: str
    advice: str


class Content:
    """Where one message's octets go; `message` is its summary once it is complete."""

    __slots__ = ("_builder", "message")

    def __init__(self) -> None:
        self._builder: MessageBuilder | None = MessageBuilder()
        self.message: Message | None = None

    def feed(self, data: bytes) -> None:
        if self._builder is not None:
            self._builder.feed(data)

    def gap(self, length: int) -> None:
        if self._builder is not None:
            self._builder.gap(length)

    def finish(self) -> Message:
        """Sum the message up and let its octets go."""
        if self._builder is not None:
            self.message = self._builder.finish()
            self._builder = None
        assert self.message is not None
        return self.message


@dataclass(slots=True)
class Session:
    """One connection. Times are in nanoseconds since the epoch.

    `number` counts the sessions of a capture from 1; it is 0 before their order is known.
    `state` is "quit" (QUIT was answered with 221), "closed" (FIN without that), "reset" (RST) or
    "open" (the capture ends first). `tls_mode` is "starttls" or "implicit" where there is TLS.
    `dropped` counts exchanges beyond `MAX_EXCHANGES`. `closed_by` is who sent the first FIN or RST.
    `whole`: the capture has all of it from its beginning, both directions, without gaps. `beside`
    is what it shows beside the earlier sessions of its capture; `packets` says where its packets
    lie, where that was asked for; `secrets` are the lines of the key log that opened its TLS.
    """

    number: int
    capture: str
    client: Endpoint
    server: Endpoint
    start: int
    end: int
    state: str = "open"
    lmtp: bool = False
    esmtp: bool = False
    banner: Reply | None = None
    helo: bytes | None = None
    capabilities: tuple[Capability, ...] = ()
    tls: TlsInfo | None = None
    tls_mode: str | None = None
    tunnel: Tunnel | None = None
    auths: list[AuthExchange] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    dropped: int = 0
    closed_by: Direction | None = None
    whole: bool = True
    timing: Timing = NOT_TIMED
    beside: tuple[Defect, ...] = ()
    packets: bytes = b""
    secrets: bytes = b""

    @property
    def tls_failed(self) -> bool:
        """TLS was begun, and an alert or an answer in plain text ended that."""
        info = self.tls
        if info is None or info.established:
            return False
        plain = self.tls_mode == "implicit" and not info.records[Direction.SERVER]
        return any(each.level == "fatal" for each in info.alerts) or (
            plain and self.exchanges != []
        )

    @property
    def messages(self) -> list[Message]:
        """The messages of all transactions, whether they were accepted or not."""
        return [m for t in self.transactions if (m := message_of(t)) is not None]


def message_of(transaction: Transaction) -> Message | None:
    """The message of a transaction, None where none was sent."""
    content = transaction.content
    return content.finish() if isinstance(content, Content) else None


class SessionBuilder:
    """Makes a `Session` of exchanges, taken in order."""

    def __init__(self, opened: Opened, capture: str) -> None:
        self.session = Session(0, capture, opened.client, opened.server, opened.time, opened.time)
        self._transactions = Transactions()
        self.session.transactions = self._transactions.found
        self._unfinished: Content | None = None
        self._secrets = Secrets()

    def add(self, exchange: Exchange) -> None:
        session = self.session
        kept = len(session.exchanges) < MAX_EXCHANGES
        if kept:
            session.exchanges.append(exchange)
        else:
            session.dropped += 1
        command, reply = exchange.command, exchange.reply
        if exchange.auth is not None or (command is not None and command.redacted is not None):
            self._secrets.learn(exchange)
        if self._secrets.known:
            self._secrets.mask(exchange)
        if command is None:
            if exchange.greeting and session.banner is None:
                session.banner = reply
            return
        verb = command.verb
        if verb in HELLO_VERBS:
            self._hello(exchange)
        elif verb == "QUIT" and reply is not None and reply.code == 221:
            session.state = "quit"
        if isinstance(exchange.content, Content):
            self._sum_up(exchange.content, exchange.last)
        if kept:
            self._transactions.add(exchange)
            if exchange.auth is not None and verb in AUTH_VERBS:
                session.auths.append(exchange.auth)

    def _sum_up(self, content: Content, last: bool) -> None:
        """Let the octets of messages go, also of those that were given up between two chunks."""
        if self._unfinished is not None and self._unfinished is not content:
            self._unfinished.finish()
        self._unfinished = content
        if last:
            content.finish()
            self._unfinished = None

    def _hello(self, exchange: Exchange) -> None:
        command, reply = exchange.command, exchange.reply
        assert command is not None
        session = self.session
        accepted = reply is None or reply.accepted
        if session.helo is None or accepted:
            session.helo = command.argument.strip(b" ")
        if not accepted:
            return
        session.esmtp = command.verb != "HELO"
        session.lmtp = session.lmtp or command.verb == "LHLO"
        lines = reply.lines[1:] if reply is not None and session.esmtp else ()
        session.capabilities = tuple(
            [grammar.parse_capability(line) for line in lines[:MAX_CAPABILITIES]]
        )
