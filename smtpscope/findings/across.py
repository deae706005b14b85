"""What only several sessions together show: a refusal that was no more than greylisting, say.

`Across` takes the sessions of a capture in order and adds to each what it shows beside the earlier
ones. It remembers a bounded number of clients, and of each a bounded number of envelopes, by
their hashes alone. RFC 5321 §4.2.1, §4.5.4.1; RFC 6647.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from smtpscope.findings.probing import Probing
from smtpscope.findings.refusals import cause_of
from smtpscope.findings.rule import Rule
from smtpscope.findings.timing import slow_replies
from smtpscope.session import Session, message_of
from smtpscope.smtp.transaction import Recipient, Transaction
from smtpscope.smtp.values import Reply
from smtpscope.stream import Defect
from smtpscope.timing import Servers

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


class _Memory(dict[int, int]):
    """Times by hash, of the last `MAX_ENVELOPES`."""

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

    def add(self, session: Session) -> list[Defect]:
        """What this session shows beside the earlier ones, which it then joins.

        It also learns what its server took till now.
        """
        timing = session.timing
        server = self._servers.add(session.server, timing.latencies)
        session.timing = timing._replace(server=server)
        return [*slow_replies(session), *self._probing.add(session), *self._mail(session)]

    def _mail(self, session: Session) -> list[Defect]:
        if not session.transactions:
            return []
        address = session.client.address
        client = self._clients.pop(address, None) or _Client()
        self._clients[address] = client
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        found: list[Defect] = []
        ignored: list[Reply] = []
        for transaction in session.transactions:
            sender = transaction.reverse_path
            if sender is None:
                continue
            name = sender.address.lower()
            found += _outcomes(client, transaction, name, ignored)
            found += _repeated(client, transaction, name, session)
        if ignored:
            detail = f"{len(ignored):,} times" if len(ignored) > 1 else "once"
            found.append(Defect("refusal-ignored", ignored[0].span, detail))
        return found


def _outcomes(
    client: _Client, transaction: Transaction, sender: bytes, ignored: list[Reply]
) -> Iterator[Defect]:
    """Greylisting, and replies of 5yz that were known already."""
    for recipient in transaction.recipients:
        verb, reply = _deciding(transaction, recipient)
        if reply is None or reply.code is None or recipient.path is None:
            continue
        if reply.code < 400:
            if client.deferred:
                key = hash((sender, recipient.path.address.lower()))
                since = client.deferred.pop(key, None)
                if since is not None:
                    waited = (reply.time - since) / 1e9
                    yield Defect("greylisting", reply.span, f"{waited:,.0f} s after the refusal")
            continue
        key = hash((sender, recipient.path.address.lower()))
        if reply.code >= 500:
            if verb == "RCPT":
                if key in client.refused:
                    ignored.append(reply)
                client.refused.keep(key, reply.time)
        elif cause_of(verb, reply) in _UNEXPLAINED and key not in client.deferred:
            client.deferred.keep(key, reply.time)


def _deciding(transaction: Transaction, recipient: Recipient) -> tuple[str, Reply | None]:
    """The reply that decided for this recipient, and the command that it answers."""
    if recipient.refused or transaction.reply is None:
        return "RCPT", recipient.reply
    return ".", recipient.delivery or transaction.reply


def _repeated(
    client: _Client, transaction: Transaction, sender: bytes, session: Session
) -> Iterator[Defect]:
    """A message that an earlier transaction had delivered, or left in doubt."""
    reply = transaction.reply
    if not transaction.completed and reply is not None:
        return
    message = message_of(transaction)
    identity = message.message_id if message is not None else None
    if not identity:
        return
    for recipient in transaction.recipients:
        if recipient.refused or recipient.path is None:
            continue
        address = recipient.path.address.lower()
        key = hash((session.server.address, sender, identity, address))
        time = reply.time if reply is not None else session.end
        since = client.sent.get(key)
        if since is not None and reply is not None:
            waited = (time - since) / 1e9
            shown = address[:100].decode("utf-8", "backslashreplace")
            yield Defect("message-twice", reply.span, f"{shown}, {waited:,.0f} s later")
            return
        client.sent.keep(key, time)
