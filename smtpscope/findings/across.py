"""What only several sessions together show: a refusal that was no more than greylisting, say.

`Across` takes the sessions of a capture in order and adds to each what it shows beside the earlier
ones. It remembers a bounded number of clients, and of each a bounded number of things.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from smtpscope.findings.probing import Probing
from smtpscope.findings.rule import Rule
from smtpscope.session import Session
from smtpscope.smtp.transaction import Recipient, Transaction
from smtpscope.stream import Defect

MAX_CLIENTS = 10_000
"""Clients remembered; the one heard of least recently is forgotten first."""
MAX_REFUSED = 100
"""Refused envelopes remembered of each client."""

RULES: dict[str, Rule] = {
    "greylisting": Rule(
        "note",
        "a recipient that was refused for now was accepted later",
        "RFC 6647 §2",
        "Nothing: the client came again, as it should. Mail is only late.",
    ),
}

Envelope = tuple[bytes, bytes]
"""Reverse-path and forward-path, in lower case."""


class _Client:
    """What is remembered of one client address."""

    __slots__ = ("refused",)

    def __init__(self) -> None:
        self.refused: OrderedDict[Envelope, int] = OrderedDict()


class Across:
    """The memory that joins the sessions of one capture."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._probing = Probing()

    def add(self, session: Session) -> list[Defect]:
        """What this session shows beside the earlier ones, which it then joins."""
        return [*self._probing.add(session), *self._mail(session)]

    def _mail(self, session: Session) -> list[Defect]:
        if not session.transactions and not session.auths:
            return []
        address = session.client.address
        client = self._clients.pop(address, None) or _Client()
        self._clients[address] = client
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        return list(_greylisting(client, session))


def _greylisting(client: _Client, session: Session) -> Iterator[Defect]:
    for transaction in session.transactions:
        for recipient in transaction.recipients:
            envelope = _envelope(transaction, recipient)
            reply = recipient.reply
            if envelope is None or reply is None or reply.code is None:
                continue
            if 400 <= reply.code < 500:
                client.refused[envelope] = session.start
                if len(client.refused) > MAX_REFUSED:
                    client.refused.popitem(last=False)
            elif reply.accepted and (refused := client.refused.pop(envelope, None)) is not None:
                waited = (session.start - refused) / 1e9
                yield Defect("greylisting", reply.span, f"{waited:.0f} s after the refusal")


def _envelope(transaction: Transaction, recipient: Recipient) -> Envelope | None:
    sender, path = transaction.reverse_path, recipient.path
    if sender is None or path is None:
        return None
    return sender.address.lower(), path.address.lower()
