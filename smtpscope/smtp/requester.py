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

MAX_REPLY = 1 << 16
"""Octets of one reply; whoever says more says nothing."""

_REPLY = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\r\n]*))?\Z")
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Outgoing(NamedTuple):
    """A message to be delivered; `read` gives its octets, in pieces, as often as it is called."""

    id: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    read: Callable[[], Iterator[bytes]]


class Send(NamedTuple):
    """Send these octets."""

    octets: bytes


class Delivered(NamedTuple):
    """The server has taken a message; `refused` are recipients for whom it has not."""

    id: str
    refused: tuple[str, ...] = ()


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
        self._host = host
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
        self._why = ""
        self._permanent = True
        self._pieces: Iterator[bytes] = iter(())

    def feed(self, octets: bytes) -> list[Step]:
        """The server has said this."""
        steps: list[Step] = []
        self._buffer += octets
        while not self._over and (end := self._buffer.find(b"\n")) >= 0:
            line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
            reply = self._read(line.removesuffix(b"\r"))
            if reply is not None:
                steps += self._hear(reply)
        if not self._over and self._octets + len(self._buffer) > MAX_REPLY:
            steps += self._give_up("a reply without an end")
        return steps

    def eof(self) -> list[Step]:
        """The server has gone."""
        return [] if self._over else list(self._give_up("the connection was closed"))

    def more(self) -> list[Step]:
        """The next octets of the message that is being sent; nothing where there are none."""
        if not self.sending:
            return []
        piece = next(self._pieces, None)
        if piece is None:
            self.sending = False
            return []
        return [Send(piece)]

    def _read(self, line: bytes) -> Reply | None:
        match = _REPLY.match(line)
        if match is None:
            return Reply(0, (line,))
        code, dash, text = match.groups()
        self._lines.append(text or b"")
        self._octets += len(line)
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
            yield from self._give_up(str(reply))

    # -- what is expected --------------------------------------------------------------------------

    def _greeted(self, reply: Reply) -> Iterator[Step]:
        if reply.code != 220:
            yield from self._give_up(str(reply))
            return
        self._expect = self._hello
        yield Send(f"EHLO {self._host}\r\n".encode())

    def _hello(self, reply: Reply) -> Iterator[Step]:
        if reply.accepted:
            found = map(grammar.parse_capability, reply.lines[1:])
            self._keywords = {each.keyword: each.parameters for each in found}
            yield from self._next()
        elif reply.code >= 500:
            self._expect = self._old_hello
            yield Send(f"HELO {self._host}\r\n".encode())
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
            if problem:
                yield Failed(message.id, problem, True)
                continue
            self._message = message
            self._recipients = deque(message.recipients)
            self._accepted, self._refused, self._why, self._permanent = 0, [], "", True
            self._expect = self._mail
            yield Send(f"MAIL FROM:<{message.sender}>{self._parameters(message)}\r\n".encode())
            return
        self._message = None
        self._expect = self._quit
        yield Send(b"QUIT\r\n")

    def _problem(self, message: Outgoing) -> str:
        limit = self._limit()
        addresses = (message.sender, *message.recipients)
        if not message.recipients:
            return "there is no recipient"
        if any(not each.isprintable() or "<" in each or ">" in each for each in addresses):
            return "an address is none"
        if not all(map(str.isascii, addresses)) and "SMTPUTF8" not in self._keywords:
            return "the server does not offer SMTPUTF8, which an address needs"
        if limit and message.size > limit:
            return f"the message is larger than the {limit} octets that the server takes"
        return ""

    def _limit(self) -> int:
        values = self._keywords.get("SIZE", ())
        size = grammar.parse_size(values[0]) if values else None
        return size or 0

    def _parameters(self, message: Outgoing) -> str:
        found = ""
        if "SIZE" in self._keywords:
            found += f" SIZE={message.size}"
        if "8BITMIME" in self._keywords and not _is_ascii(message):
            found += " BODY=8BITMIME"
        if not all(map(str.isascii, (message.sender, *message.recipients))):
            found += " SMTPUTF8"
        return found

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
            yield Delivered(self._message.id, tuple(self._refused))
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

    def _give_up(self, reason: str) -> Iterator[Step]:
        """What was not delivered waits for another time."""
        self._over = True
        self.sending = False
        left = [self._message] if self._message is not None else []
        for message in [*left, *self._messages]:
            yield Failed(message.id, reason, False)
        self._messages.clear()
        yield Close()


def _is_ascii(message: Outgoing) -> bool:
    return all(piece.isascii() for piece in message.read())


def stuffed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A message as it is sent: lines end with CRLF, dots at their beginnings are doubled, and a
    lone dot is the end (RFC 5321 §4.5.2)."""
    held = b""
    at_start = True
    for piece in pieces:
        octets = held + piece
        # Of a CR nobody knows yet what follows.
        held = b"\r" if octets.endswith(b"\r") else b""
        octets = octets[: len(octets) - len(held)]
        if octets:
            lines = _LINE_END.sub(b"\r\n", octets)
            dotted = b"\r\n" + lines if at_start else lines
            dotted = dotted.replace(b"\r\n.", b"\r\n..")
            yield dotted[2:] if at_start else dotted
            at_start = lines.endswith(b"\r\n")
    if held:
        yield b"\r\n"
        at_start = True
    yield b".\r\n" if at_start else b"\r\n.\r\n"
