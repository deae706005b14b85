"""The values of the SMTP protocol: commands, replies, paths, parameters, exchanges, transactions.

Wire text stays `bytes` exactly as it came; verbs and keywords, which are ASCII by definition, are
upper-case `str`. RFC 5321 §4.1 and §4.2, RFC 3463 §2, RFC 3461 §4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from smtpscope.smtp.sasl import AuthExchange
from smtpscope.stream import Defect, Span

SENDERS = frozenset({"MAIL", "SEND", "SOML", "SAML"})
"""The verbs that open a transaction; all but MAIL are abolished (RFC 821 §3.4)."""


class EnhancedCode(NamedTuple):
    """An enhanced status code, class.subject.detail (RFC 3463 §2)."""

    klass: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.klass}.{self.subject}.{self.detail}"


class Path(NamedTuple):
    """A reverse-path or forward-path (RFC 5321 §4.1.2).

    `address` is what stands between the brackets less the source route; empty for the null path
    `<>`. `local` and `domain` are split at the last @ outside quotes; `domain` is empty where
    there is none (`<Postmaster>`). `domain` keeps the brackets of an address literal.
    """

    address: bytes
    local: bytes
    domain: bytes
    route: tuple[bytes, ...] = ()
    bracketed: bool = True


class Parameter(NamedTuple):
    """One esmtp-param: `keyword` upper-case; `value` as on the wire, None where there is no `=`."""

    keyword: str
    value: bytes | None


class PathArgument(NamedTuple):
    """The argument of MAIL or RCPT taken apart; `path` is None where none could be found."""

    path: Path | None
    parameters: tuple[Parameter, ...]
    defects: tuple[Defect, ...]


class Capability(NamedTuple):
    """One line of the EHLO reply: `keyword` upper-case, and its parameters (RFC 5321 §4.1.1.1)."""

    keyword: str
    parameters: tuple[bytes, ...]


@dataclass(slots=True)
class Command:
    """One command line, or what the client sent in its place.

    `verb` is the upper-case verb; "." for the end of message data, "(auth)" for a line of an AUTH
    exchange, "(unreadable)" for octets that are no command, "" for a line without a verb.
    `argument` is what follows the verb and one space, without the line ending; `redacted` stands
    in its place wherever secrets must not be seen, and is None where there is none. `span` covers
    the line, and for "." and BDAT also the message octets. `time` and `packet` are those of the
    last octet.
    """

    verb: str
    argument: bytes
    span: Span
    time: int
    packet: int
    redacted: bytes | None = None


@dataclass(slots=True)
class Reply:
    """One reply, all its lines. `code` is None where the line does not begin with three digits.

    `lines` are the texts behind code and separator, without line endings; where they quote a
    secret that the client has sent it is masked, and `unmasked` has them as they came. `enhanced`
    is taken from the first line. `time` and `packet` are those of the last octet.
    """

    code: int | None
    lines: tuple[bytes, ...]
    enhanced: EnhancedCode | None
    span: Span
    time: int
    packet: int
    defects: tuple[Defect, ...] = ()
    unmasked: tuple[bytes, ...] | None = None

    @property
    def accepted(self) -> bool:
        """The command was done (2yz)."""
        return self.code is not None and 200 <= self.code < 300


class ContentSink(Protocol):
    """Where message octets go, dot-unstuffed and in order, while they are read."""

    def feed(self, data: bytes) -> None: ...

    def gap(self, length: int) -> None:
        """`length` octets are missing from the capture."""


@dataclass(slots=True)
class Exchange:
    """One command with its reply or replies; a greeting or an unsolicited reply has no command.

    `expected` is the number of replies that complete it. `path` is the argument of MAIL and RCPT
    taken apart; `content` is where the message of a "." or BDAT went, and `last` says that it
    ended the message, as BURL can. `greeting` marks the server's first reply; `auth` is the AUTH
    exchange to which it belongs.
    """

    command: Command | None
    replies: list[Reply] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    expected: int = 1
    path: PathArgument | None = None
    content: ContentSink | None = None
    last: bool = False
    greeting: bool = False
    auth: AuthExchange | None = None

    @property
    def verb(self) -> str:
        """Its command's; "" without one."""
        return self.command.verb if self.command is not None else ""

    @property
    def asked(self) -> str | None:
        """What its replies answer, as the documented table has it: "." is a message, whatever ended
        it. None where nothing was asked."""
        if self.command is None:
            return "(greeting)" if self.greeting else None
        verb = self.command.verb
        return "." if verb in ("BDAT", "BURL") and self.last else verb

    @property
    def answered(self) -> bool:
        """It has all the replies that it expects."""
        return len(self.replies) >= self.expected

    @property
    def reply(self) -> Reply | None:
        """The first reply; with LMTP there may be more."""
        return self.replies[0] if self.replies else None

    @property
    def time(self) -> int:
        """When it began: its command's time, or its reply's where there is no command."""
        if self.command is not None:
            return self.command.time
        return self.replies[0].time
