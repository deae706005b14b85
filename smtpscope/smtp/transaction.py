"""Mail transactions: from the completed exchanges of a dialogue to envelopes and their outcome.

`Transactions` takes exchanges in order and keeps what MAIL, RCPT, DATA or BDAT and their replies
made of each envelope. A transaction ends with the reply to its message (or to BURL … LAST, whose
octets only the server sees), and before that only by an accepted RSET, EHLO (HELO, LHLO) or
STARTTLS, or by another accepted MAIL. RFC 5321 §3.3, §4.1.1; RFC 3207 §4.2; RFC 4468 §3.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smtpscope.smtp.values import SENDERS, ContentSink, Exchange, Parameter, Path, Reply

RESETTING = frozenset({"RSET", "EHLO", "HELO", "LHLO", "STARTTLS"})


@dataclass(slots=True)
class Recipient:
    """One RCPT: `path` is None where none could be read, `reply` None where none was seen.

    `delivery` is LMTP's own reply for this recipient after the message (RFC 2033 §4.2).
    """

    path: Path | None
    parameters: tuple[Parameter, ...]
    reply: Reply | None
    delivery: Reply | None = None

    @property
    def refused(self) -> bool:
        return self.reply is not None and not self.reply.accepted

    @property
    def left_out(self) -> bool:
        """It does not get the message: it was refused at once, or after it (LMTP, PRDR)."""
        return self.refused or (self.delivery is not None and not self.delivery.accepted)


@dataclass(slots=True)
class Transaction:
    """One envelope, from MAIL to what became of it.

    `reverse_path` is None where MAIL was not seen or held none. `reply` is the last reply that
    decided: to the message, or before it the refusal of MAIL or DATA. `completed`: the server
    took responsibility for the message.
    """

    reverse_path: Path | None
    parameters: tuple[Parameter, ...] = ()
    recipients: list[Recipient] = field(default_factory=list)
    content: ContentSink | None = None
    via: str | None = None
    reply: Reply | None = None
    completed: bool = False

    @property
    def taken(self) -> int:
        """The recipients for whom the server took responsibility."""
        return sum(not each.left_out for each in self.recipients) if self.completed else 0


class Transactions:
    """The transactions of one session; `found` in the order of their MAIL commands.

    They are as many, and their recipients too, as exchanges are added: it is for the caller to
    count those and to stop.
    """

    def __init__(self) -> None:
        self.found: list[Transaction] = []
        self._current: Transaction | None = None

    def add(self, exchange: Exchange) -> None:
        command = exchange.command
        if command is None:
            return
        verb, reply = command.verb, exchange.reply
        if verb == "MAIL" or (verb in SENDERS and (reply is None or reply.accepted)):
            self._mail(exchange, reply)
        elif self._current is None and _out_of_order(exchange):
            return
        elif verb == "RCPT":
            self._rcpt(exchange, reply)
        elif exchange.content is not None or exchange.last:
            self._message(exchange, reply)
        elif verb in ("DATA", "BDAT"):
            if reply is not None and not reply.accepted and reply.code != 354:
                self._open().reply = reply
        elif verb in RESETTING and reply is not None and reply.accepted:
            self._current = None

    def _open(self) -> Transaction:
        if self._current is None:
            self._current = Transaction(None)
            self.found.append(self._current)
        return self._current

    def _mail(self, exchange: Exchange, reply: Reply | None) -> None:
        refused = reply is not None and not reply.accepted
        if refused and self._current is not None and self._current.reply is None:
            # A nested MAIL that was refused leaves the open transaction alone.
            return
        argument = exchange.path
        self._current = Transaction(
            argument.path if argument else None,
            argument.parameters if argument else (),
            reply=reply if refused else None,
        )
        self.found.append(self._current)

    def _rcpt(self, exchange: Exchange, reply: Reply | None) -> None:
        argument = exchange.path
        self._open().recipients.append(
            Recipient(
                argument.path if argument else None,
                argument.parameters if argument else (),
                reply,
            )
        )

    def _message(self, exchange: Exchange, reply: Reply | None) -> None:
        assert exchange.command is not None
        transaction = self._open()
        if exchange.content is not None:
            transaction.content = exchange.content
        transaction.via = "DATA" if exchange.command.verb == "." else exchange.command.verb
        if not exchange.last and (reply is None or reply.accepted):
            return
        replies = exchange.replies
        transaction.reply = next((r for r in replies if not r.accepted), reply)
        transaction.completed = any(r.accepted for r in replies)
        accepted = [each for each in transaction.recipients if not each.refused]
        if len(replies) > 1:
            offset = 1 if replies[0].code == 353 else 0
            for recipient, delivery in zip(accepted, replies[offset:], strict=False):
                recipient.delivery = delivery
            if offset and len(replies) > len(accepted) + 1:
                transaction.reply = replies[-1]
                transaction.completed = replies[-1].accepted
        if exchange.last:
            self._current = None


def _out_of_order(exchange: Exchange) -> bool:
    """The server says that there is no transaction that this could belong to."""
    reply = exchange.reply
    return reply is not None and reply.code == 503 and exchange.content is None
