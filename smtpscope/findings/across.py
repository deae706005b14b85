"""What only several sessions together show: a refusal that was no more than greylisting, say.

`Across` takes the traces of a capture's sessions in order and tells of each what it shows beside
the earlier ones. It remembers a bounded number of clients, and of each a bounded number of
envelopes, by their hashes alone. RFC 5321 §4.2.1, §4.5.4.1; RFC 6647.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from smtpscope.findings.probing import Attempt, Probing, attempts_in
from smtpscope.findings.refusals import cause_of
from smtpscope.findings.rule import Rule, quoted
from smtpscope.session import Session, message_of
from smtpscope.smtp.transaction import Recipient, Transaction
from smtpscope.smtp.values import Reply
from smtpscope.stream import Defect, Endpoint, Span
from smtpscope.timing import Servers, ServerTiming

MAX_CLIENTS = 10_000
"""Clients remembered; the one heard of least recently is forgotten first."""
MAX_ENVELOPES = 100
"""Envelopes of each kind remembered of each client; the oldest is forgotten first."""

RULES: dict[str, Rule] = {
    "greylisting": Rule(
        "note",
        "a recipient that was refused for now was accepted later",
        "RFC 6647 §2",
        "Nothing: the client came again, as it should. Mail is only late.",
    ),
    "refusal-ignored": Rule(
        "note",
        "the client comes again for a recipient that was refused for good",
        "RFC 5321 §4.2.1",
        "The client's administrator takes the address off lists, and sees to it that the client"
        " returns mail after 5yz rather than to try again.",
    ),
    "message-twice": Rule(
        "warning",
        "the same message was delivered to a recipient again",
        "RFC 5321 §4.5.3.2.6",
        "The recipient has it twice. The client's administrator looks for why it was sent again: a"
        " timeout before the reply came (the client should wait ten minutes for it), or a queue"
        " that was restored.",
    ),
}

_UNEXPLAINED = frozenset(
    {"greylisted", "sender-deferred", "recipient-deferred", "message-deferred"}
)
"""Refusals that are likely greylisting where the mail is accepted later. Others say why."""


class Outcome(NamedTuple):
    """What became of a recipient: `rule` is "" (accepted), "deferred" or "refused"."""

    key: bytes
    rule: str
    time: int
    span: Span


class Sent(NamedTuple):
    """A message for a recipient, `shown` to the user; `span` is None where nobody answered."""

    key: bytes
    time: int
    span: Span | None
    shown: bytes


class Trace(NamedTuple):
    """What is needed of a session to set it beside the others, without secrets.

    It may go from one process to another.
    """

    client: str
    server: Endpoint
    latencies: tuple[int, ...]
    attempts: tuple[Attempt, ...]
    deliveries: tuple[tuple[tuple[Outcome, ...], tuple[Sent, ...]], ...]


class Joined(NamedTuple):
    """What a session shows beside the earlier ones, and what its server took till now."""

    server: ServerTiming | None
    defects: list[Defect]


def trace_of(session: Session) -> Trace:
    """The trace of a session that is complete but for what `Across` adds."""
    return Trace(
        session.client.address,
        session.server,
        session.timing.latencies,
        attempts_in(session),
        tuple(
            [
                (_outcomes(transaction, sender), _sent(transaction, sender, session))
                for transaction in session.transactions
                if (path := transaction.reverse_path) is not None
                for sender in [path.address.lower()]
            ]
        ),
    )


class _Memory(dict[int, int]):
    """Times by key, of the last `MAX_ENVELOPES`."""

    __slots__ = ()

    def keep(self, key: int, time: int) -> None:
        self[key] = time
        if len(self) > MAX_ENVELOPES:
            del self[next(iter(self))]


class _Client:
    """What is remembered of one client address: envelopes deferred and refused, messages sent."""

    __slots__ = ("deferred", "refused", "sent")

    def __init__(self) -> None:
        self.deferred = _Memory()
        self.refused = _Memory()
        self.sent = _Memory()


class Across:
    """The memory that joins the sessions of one capture."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._probing = Probing()
        self._servers = Servers()

    def add(self, trace: Trace) -> Joined:
        """What the session with this trace shows beside the earlier ones, which it then joins."""
        server = self._servers.add(trace.server, trace.latencies)
        defects = self._probing.add(trace.client, trace.server, trace.attempts)
        if trace.deliveries:
            defects += self._mail(trace)
        return Joined(server, defects)

    def _mail(self, trace: Trace) -> list[Defect]:
        client = self._clients.pop(trace.client, None) or _Client()
        self._clients[trace.client] = client
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        found: list[Defect] = []
        ignored: list[Span] = []
        for outcomes, sent in trace.deliveries:
            for outcome in outcomes:
                found += _again(client, outcome, trace.server, ignored)
            found += _twice(client, sent)
        if ignored:
            detail = f"{len(ignored):,} times" if len(ignored) > 1 else "once"
            found.append(Defect("refusal-ignored", ignored[0], detail))
        return found


def _again(
    client: _Client, outcome: Outcome, server: Endpoint, ignored: list[Span]
) -> Iterator[Defect]:
    """Greylisting, and replies of 5yz that were known already.

    Another server that accepts at once what this one deferred greylists nobody, but what one
    refused for good should not be tried at any other.
    """
    envelope, rule, time, span = outcome
    if not rule and not client.deferred:
        return
    key = hash(envelope) if rule == "refused" else hash((envelope, server))
    if not rule:
        since = client.deferred.pop(key, None)
        if since is not None:
            waited = (time - since) / 1e9
            yield Defect("greylisting", span, f"{waited:,.0f} s after the refusal")
    elif rule == "refused":
        if key in client.refused:
            ignored.append(span)
        client.refused.keep(key, time)
    elif key not in client.deferred:
        client.deferred.keep(key, time)


def _twice(client: _Client, sent: tuple[Sent, ...]) -> Iterator[Defect]:
    """A message that an earlier transaction had delivered, or left in doubt."""
    for envelope, time, span, address in sent:
        key = hash(envelope)
        since = client.sent.get(key)
        if since is not None and span is not None:
            waited = (time - since) / 1e9
            shown = quoted(address)
            yield Defect("message-twice", span, f"{shown}, {waited:,.0f} s later")
            return
        client.sent.keep(key, time)


def _outcomes(transaction: Transaction, sender: bytes) -> tuple[Outcome, ...]:
    found = []
    for recipient in transaction.recipients:
        verb, reply = _deciding(transaction, recipient)
        if reply is None or reply.code is None or recipient.path is None:
            continue
        rule = ""
        if reply.code >= 500:
            if verb != "RCPT":
                continue
            rule = "refused"
        elif reply.code >= 400:
            if cause_of(verb, reply) not in _UNEXPLAINED:
                continue
            rule = "deferred"
        key = b"\0".join((sender, recipient.path.address.lower()))
        found.append(Outcome(key, rule, reply.time, reply.span))
    return tuple(found)


def _deciding(transaction: Transaction, recipient: Recipient) -> tuple[str, Reply | None]:
    """The reply that decided for this recipient, and the command that it answers."""
    if recipient.refused or transaction.reply is None:
        return "RCPT", recipient.reply
    return ".", recipient.delivery or transaction.reply


def _sent(transaction: Transaction, sender: bytes, session: Session) -> tuple[Sent, ...]:
    """The message for each recipient, where it was delivered or is in doubt."""
    reply = transaction.reply
    if not transaction.completed and reply is not None:
        return ()
    message = message_of(transaction)
    identity = message.message_id if message is not None else None
    if not identity:
        return ()
    # A filter that gives the mail back to its server does so at another port.
    server = b"%s %d" % (session.server.address.encode(), session.server.port)
    what = (server, sender, identity.encode("utf-8", "surrogatepass"))
    time = reply.time if reply is not None else session.end
    span = reply.span if reply is not None else None
    return tuple(
        [
            Sent(b"\0".join((*what, address)), time, span, address[:100])
            for recipient in transaction.recipients
            if not recipient.refused and recipient.path is not None
            for address in [recipient.path.address.lower()]
        ]
    )
