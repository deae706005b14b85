"""The client's half of SMTP, sans-I/O: delivers messages on a connection, one command at a time.

`Requester` takes what the server says and gives steps: what to send, and what became of each
message. For TURN and ATRN (RFC 821 §3.8, RFC 2645 §5) the connection is one that the other side
has opened. RFC 5321 §3.1-§3.3, §4.2.1, §4.5.2, §4.5.4.1.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from smtpscope.smtp import grammar
from smtpscope.smtp.stuffing import END, eight_bit, stuffed

MAX_REPLY = 1 << 16
"""Octets of one reply; whoever says more says nothing."""

MAX_ADDRESS = 512
"""Octets of an address, twice what RFC 5321 §4.5.3.1.3 has a path be."""

_REPLY = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\r\n]*))?\Z")


class Outgoing(NamedTuple):
    """A message to be delivered; `read` gives its octets, in pieces, as often as it is called.

    `read` may raise OSError, on its way too: then the message is not delivered.
    """

    id: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    read: Callable[[], Iterator[bytes]]


class Send(NamedTuple):
    """Send these octets."""

    octets: bytes


class Delivered(NamedTuple):
    """The server has taken a message; `refused` are recipients for whom it has not.

    Those of them who are in `later` may be tried another time (4yz).
    """

    id: str
    refused: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


class Failed(NamedTuple):
    """The server has not taken a message; `permanent` where it is of no use to come again."""

    id: str
    reason: str
    permanent: bool


class Close(NamedTuple):
    """There is nothing more to say."""


Step = Send | Delivered | Failed | Close


class Reply(NamedTuple):
    """A reply that is complete."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def accepted(self) -> bool:
        return 200 <= self.code < 300

    def __str__(self) -> str:
        text = self.lines[-1].decode("utf-8", "backslashreplace") if self.lines else ""
        return f"{self.code} {text}".strip()


class Requester:
    """A client that calls itself `host`, and what it has to deliver.

    While `sending`, `more` gives the message piece by piece, as fast as the connection takes it.
    """

    def __init__(self, host: str, messages: Sequence[Outgoing]) -> None:
        self.sending = False
        self._host = host.encode("utf-8", "replace")
        self._messages = deque(messages)
        self._expect: Callable[[Reply], Iterator[Step]] = self._greeted
        self._buffer = b""
        self._lines: list[bytes] = []
        self._octets = 0
        self._over = False
        self._keywords: dict[str, tuple[bytes, ...]] = {}
        self._message: Outgoing | None = None
        self._recipients: deque[str] = deque()
        self._accepted = 0
        self._refused: list[str] = []
        self._later: list[str] = []
        self._why = ""
        self._permanent = True
        self._pieces: Iterator[bytes] = iter(())

    def feed(self, octets: bytes) -> list[Step]:
        """The server has said this."""
        steps: list[Step] = []
        if self._over:
            return steps
        buffer = self._buffer + octets
        at = 0
        while not self._over and (end := buffer.find(b"\n", at)) >= 0:
            line = buffer[at:end].removesuffix(b"\r")
            at = end + 1
            self._octets += len(line) + 2
            reply = self._read(line)
            if reply is not None:
                steps += self._hear(reply)
            elif self._octets > MAX_REPLY:
                steps += self._give_up("a reply without an end")
        self._buffer = b"" if self._over else buffer[at:]
        if self._octets + len(self._buffer) > MAX_REPLY:
            steps += self._give_up("a reply without an end")
        return steps

    def eof(self) -> list[Step]:
        """The server has gone."""
        return [] if self._over else list(self._give_up("the connection was closed"))

    def more(self) -> list[Step]:
        """The next octets of the message that is being sent; nothing where there are none.

        With its last octets `sending` ends: from there on the server may answer.
        """
        if not self.sending:
            return []
        try:
            piece = next(self._pieces, None)
        except OSError as error:
            # Without its end the server won't take it.
            return list(self._give_up(f"the message cannot be read: {error.strerror or error}"))
        if piece is None:
            self.sending = False
            return [Send(END)]
        return [Send(piece)]

    def _read(self, line: bytes) -> Reply | None:
        match = _REPLY.match(line)
        if match is None:
            return Reply(0, (line,))
        code, dash, text = match.groups()
        self._lines.append(text or b"")
        if dash == b"-":
            return None
        lines, self._lines, self._octets = tuple(self._lines), [], 0
        return Reply(int(code), lines)

    def _hear(self, reply: Reply) -> Iterator[Step]:
        if not reply.code:
            yield from self._give_up("what was said is no reply")
        elif reply.code == 421:
            yield from self._give_up(str(reply))
        elif not self.sending:
            yield from self._expect(reply)
        elif not reply.accepted:
            # It was refused before its end: the rest is of no use.
            yield from self._give_up(str(reply), permanent=reply.code >= 500)

    # -- what is expected --------------------------------------------------------------------------

    def _greeted(self, reply: Reply) -> Iterator[Step]:
        if reply.code != 220:
            yield from self._give_up(str(reply))
            return
        self._expect = self._hello
        yield Send(grammar.format_command("EHLO", self._host))

    def _hello(self, reply: Reply) -> Iterator[Step]:
        if reply.accepted:
            found = map(grammar.parse_capability, reply.lines[1:])
            self._keywords = {each.keyword: each.parameters for each in found}
            yield from self._next()
        elif reply.code >= 500:
            self._expect = self._old_hello
            yield Send(grammar.format_command("HELO", self._host))
        else:
            yield from self._give_up(str(reply))

    def _old_hello(self, reply: Reply) -> Iterator[Step]:
        if reply.accepted:
            yield from self._next()
        else:
            yield from self._give_up(str(reply))

    def _next(self) -> Iterator[Step]:
        """Begin with the next message that can be sent at all."""
        while self._messages:
            message = self._messages.popleft()
            problem = self._problem(message)
            words = ""
            try:
                problem, words = (problem, "") if problem else self._parameters(message)
            except OSError as error:
                reason = f"the message cannot be read: {error.strerror or error}"
                yield Failed(message.id, reason, False)
                continue
            if problem:
                yield Failed(message.id, problem, True)
                continue
            self._message = message
            self._recipients = deque(message.recipients)
            self._accepted, self._refused, self._later = 0, [], []
            self._why, self._permanent = "", True
            self._expect = self._mail
            yield Send(f"MAIL FROM:<{message.sender}>{words}\r\n".encode())
            return
        self._message = None
        self._expect = self._quit
        yield Send(b"QUIT\r\n")

    def _problem(self, message: Outgoing) -> str:
        addresses = (message.sender, *message.recipients)
        values = self._keywords.get("SIZE", ())
        limit = grammar.parse_size(values[0]) if values else None
        if not message.recipients:
            return "there is no recipient"
        if not all(message.recipients) or any(map(_is_no_address, addresses)):
            return "an address is none"
        if limit and message.size > limit:
            return f"the message is larger than the {limit} octets that the server takes"
        return ""

    def _parameters(self, message: Outgoing) -> tuple[str, str]:
        """Why the server can't have the message, or else the parameters of MAIL for it.

        The octets are looked at only where it depends on them (RFC 6152 §3, RFC 6531 §3.2).
        """
        utf8 = not all(map(str.isascii, (message.sender, *message.recipients)))
        if utf8 and "SMTPUTF8" not in self._keywords:
            return "the server does not offer SMTPUTF8, which an address needs", ""
        in_header, in_body = eight_bit(message.read())
        if in_header and "SMTPUTF8" not in self._keywords:
            return "the server does not offer SMTPUTF8, which the header needs", ""
        if in_body and "8BITMIME" not in self._keywords:
            return "the server does not offer 8BITMIME, which the message needs", ""
        found = f" SIZE={message.size}" if "SIZE" in self._keywords else ""
        # RFC 6531 §3.1: who offers SMTPUTF8 has to offer 8BITMIME; some forget it.
        if (in_header or in_body) and "8BITMIME" in self._keywords:
            found += " BODY=8BITMIME"
        return "", found + " SMTPUTF8" * (utf8 or in_header)

    def _mail(self, reply: Reply) -> Iterator[Step]:
        if reply.accepted:
            yield from self._next_recipient()
        else:
            yield from self._fail(str(reply), permanent=reply.code >= 500)

    def _next_recipient(self) -> Iterator[Step]:
        if self._recipients:
            self._expect = self._recipient
            yield Send(f"RCPT TO:<{self._recipients[0]}>\r\n".encode())
        elif self._accepted:
            self._expect = self._data
            yield Send(b"DATA\r\n")
        else:
            yield from self._fail(self._why, permanent=self._permanent)

    def _recipient(self, reply: Reply) -> Iterator[Step]:
        recipient = self._recipients.popleft()
        if reply.accepted:
            self._accepted += 1
        else:
            self._refused.append(recipient)
            if reply.code < 500:
                self._later.append(recipient)
            self._why = self._why or str(reply)
            self._permanent = self._permanent and reply.code >= 500
        yield from self._next_recipient()

    def _data(self, reply: Reply) -> Iterator[Step]:
        if reply.code != 354:
            yield from self._fail(str(reply), permanent=reply.code >= 500)
            return
        assert self._message is not None
        self._pieces = stuffed(self._message.read())
        self.sending = True
        self._expect = self._end_of_data

    def _end_of_data(self, reply: Reply) -> Iterator[Step]:
        assert self._message is not None
        if reply.accepted:
            yield Delivered(self._message.id, tuple(self._refused), tuple(self._later))
            yield from self._next()
        else:
            yield from self._fail(str(reply), permanent=reply.code >= 500)

    def _fail(self, reason: str, *, permanent: bool) -> Iterator[Step]:
        assert self._message is not None
        yield Failed(self._message.id, reason, permanent)
        self._message = None
        self._expect = self._reset
        yield Send(b"RSET\r\n")

    def _reset(self, reply: Reply) -> Iterator[Step]:
        if reply.accepted:
            yield from self._next()
        else:
            yield from self._give_up(str(reply))

    def _quit(self, reply: Reply) -> Iterator[Step]:
        self._over = True
        yield Close()

    def _give_up(self, reason: str, *, permanent: bool = False) -> Iterator[Step]:
        """What was not delivered waits for another time; `permanent` is for the current message."""
        self._over = True
        self.sending = False
        if self._message is not None:
            yield Failed(self._message.id, reason, permanent)
        for message in self._messages:
            yield Failed(message.id, reason, False)
        self._message = None
        self._messages.clear()
        yield Close()


def _is_no_address(address: str) -> bool:
    """Nothing that may stand between brackets; the null sender's "" may."""
    return (
        not address.isprintable() or "<" in address or ">" in address or len(address) > MAX_ADDRESS
    )
