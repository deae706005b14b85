"""A session as rows for people: every line that was said, with its meaning from the table.

Rows hold safe text only: whatever came from the wire has been through `display`. Meanings come
from `reference`, by the command that a reply answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from smtpscope import reference
from smtpscope.capture.tls import TlsInfo
from smtpscope.display import text
from smtpscope.message import Message
from smtpscope.message.trace import Hop
from smtpscope.session import Content, Finding, Session
from smtpscope.smtp import grammar
from smtpscope.smtp.commands import HELLO_VERBS
from smtpscope.smtp.sasl import describe_challenge
from smtpscope.smtp.transaction import Transaction
from smtpscope.smtp.values import Command, Exchange, Reply
from smtpscope.stream import Direction, Span

MAX_LINE = 1_000
"""Characters shown of one line."""

MAX_HOPS = 10
"""Hops shown of a message's way."""

TLS_HANDSHAKE = b"\x16\x03"
"""How a client begins that takes the port for one of TLS (RFC 8446 §5.1)."""


class Row(NamedTuple):
    """One line: who said `text` at `time` (ns since the epoch), and what it means.

    `time` is None for the further lines of a reply. `kind` is "command", "message", "reply2" to
    "reply5" by the reply's class, "reply" without one, "tls" or "finding"; a finding's `text`
    begins with its severity, its `meaning` is the rule's source, its `advice` what to do, its
    `finding` the finding itself. `exchange` indexes the session's exchanges; of these, `reply`
    indexes the replies (None: it is the command) and `part` the reply's lines. `span` is where the
    command, the reply or what was found is in the stream.
    """

    time: int | None
    direction: Direction
    kind: str
    text: str
    meaning: str
    exchange: int
    advice: str = ""
    reply: int | None = None
    part: int = 0
    span: Span | None = None
    finding: Finding | None = None


def rows(session: Session, *, reveal: bool = False) -> Iterator[Row]:
    """The rows of a session, in the order of its exchanges. `reveal`: with AUTH secrets."""
    findings = _Findings(session.findings)
    addressees = _addressees(session.transactions)
    for index, exchange in enumerate(session.exchanges):
        yield from _exchange_rows(exchange, index, findings, reveal, addressees)
    last = len(session.exchanges)
    if session.tls is not None:
        meaning = "decrypted" if session.tls.decrypted else "encrypted"
        if session.tls_failed:
            meaning = "failed"
        yield Row(None, Direction.CLIENT, "tls", _tls(session.tls), meaning, last)
    yield from findings.rest(last)


def exchange_rows(
    session: Session, exchange: Exchange, findings: Iterable[Finding], *, reveal: bool = False
) -> Iterator[Row]:
    """The rows of one exchange of a session that goes on, with all of these findings."""
    left = _Findings(findings)
    several = len(exchange.replies) > 1
    addressees = _addressees(_answered(session, exchange)) if several else {}
    yield from _exchange_rows(exchange, 0, left, reveal, addressees)
    yield from left.rest(0)


def finding_rows(findings: Iterable[Finding]) -> Iterator[Row]:
    """The rows of findings alone."""
    yield from _Findings(findings).rest(0)


def _exchange_rows(
    exchange: Exchange, index: int, findings: _Findings, reveal: bool, addressees: dict[int, str]
) -> Iterator[Row]:
    command = exchange.command
    if command is not None:
        yield from _command_rows(command, exchange, index, reveal)
        yield from findings.take(command.span.direction, command.span.end, index)
    for number, reply in enumerate(exchange.replies):
        for row in _reply_rows(reply, exchange, index, reveal, addressees.get(id(reply), "")):
            yield row._replace(reply=number, span=reply.span)
        yield from findings.take(reply.span.direction, reply.span.end, index)


def _tls(info: TlsInfo) -> str:
    client, server = info.octets
    known = [info.version or info.offered or "TLS"]
    if info.cipher is not None:
        known.append(info.cipher)
    if info.sni is not None:
        known.append(f"for {text(info.sni, 255)}")
    return f"[{' '.join(known)}: {client:,} octets from the client, {server:,} from the server]"


# -- commands ------------------------------------------------------------------------------------


def _command_rows(command: Command, exchange: Exchange, index: int, reveal: bool) -> Iterator[Row]:
    direction, verb = command.span.direction, command.verb
    content = exchange.content
    if verb != "." or not isinstance(content, Content):
        argument = command.argument
        if command.redacted is not None and not reveal:
            argument = command.redacted
        said = text(argument, MAX_LINE)
        if verb == "(unreadable)":
            said = f"({command.span.end - command.span.start:,} octets that are no command)"
        elif verb not in ("", "(auth)"):
            said = f"{text(verb)} {said}" if said else text(verb)
        meaning = "; ".join([_command_meaning(verb), *_details(command, exchange)])
        yield Row(command.time, direction, "command", said, meaning, index, span=command.span)
    if exchange.last and isinstance(content, Content):
        message = content.finish()
        said = summary(message)
        meaning = "the message; a lone dot ends it" if verb == "." else "the message"
        if message.hops:
            meaning += f"; it came through {_way(message.hops)}"
        yield Row(command.time, direction, "message", said, meaning, index, span=command.span)


def summary(message: Message) -> str:
    """A message in one line: its size, parts, subject and attachments."""
    shown = [f"message of {message.size:,} octets"]
    if message.missing:
        shown.append(f"{message.missing:,} more missing")
    if message.parts > 1:
        shown.append(f"{message.parts} parts")
    if message.subject is not None:
        shown.append(f'subject "{text(message.subject, 80)}"')
    for attachment in message.attachments[:3]:
        name = text(attachment.filename or attachment.content_type, 60)
        shown.append(f"{name} ({attachment.size:,} octets)")
    if len(message.attachments) > 3:
        shown.append(f"{len(message.attachments) - 3} more attachments")
    return f"[{', '.join(shown)}]"


def _way(hops: list[Hop]) -> str:
    """The servers that took the message, oldest first, and the seconds that each hop took."""
    shown = [
        text(hop.by or "(unknown)", 60) + (f" {hop.delay:+,} s" if hop.delay is not None else "")
        for hop in hops[:MAX_HOPS]
    ]
    if len(hops) > MAX_HOPS:
        shown.append(f"{len(hops) - MAX_HOPS} more")
    return ", ".join(shown)


@lru_cache(maxsize=256)
def _command_meaning(verb: str) -> str:
    row = reference.command(verb)
    if row is not None:
        return row.short
    return "no known command" if verb else "no command"


def _first_sentence(meaning: str) -> str:
    sentence = meaning.split(". ")[0].removesuffix(".")
    # A name such as SMTP keeps its capitals.
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def _details(command: Command, exchange: Exchange) -> Iterator[str]:
    """What the argument says, where it says more than the line."""
    if exchange.path is not None:
        path = exchange.path.path
        if command.verb == "MAIL" and path is not None and not path.address:
            yield "the null sender: no bounce wanted"
        for keyword, value in exchange.path.parameters[:20]:
            row = reference.parameter(command.verb, keyword)
            meaning = _first_sentence(row.meaning) if row else "unknown parameter"
            if keyword == "SIZE" and value is not None and value.isdigit() and len(value) < 20:
                meaning = f"{int(value):,} octets expected"
            yield f"{text(keyword)}: {meaning}"
    elif command.verb in ("AUTH", "X-EXPS") and exchange.auth is not None:
        mechanism = reference.mechanism(exchange.auth.mechanism)
        if mechanism is not None:
            yield _first_sentence(mechanism.meaning)
    elif not command.verb and command.argument.startswith(TLS_HANDSHAKE):
        yield "a TLS handshake, where the server speaks plain text"


# -- replies -------------------------------------------------------------------------------------


def _addressees(transactions: Iterable[Transaction]) -> dict[int, str]:
    """Which of several replies to a message, by its id(), is about whom (RFC 2033 §4.2)."""
    return {
        id(recipient.delivery): text(recipient.path.address, 255)
        for transaction in transactions
        for recipient in transaction.recipients
        if recipient.delivery is not None and recipient.path is not None
    }


def _answered(session: Session, exchange: Exchange) -> Iterator[Transaction]:
    """The transaction that these replies are about, if there is one: it is among the last."""
    replies = {id(reply) for reply in exchange.replies}
    for transaction in reversed(session.transactions):
        if any(id(recipient.delivery) in replies for recipient in transaction.recipients):
            yield transaction
            return


def _reply_rows(
    reply: Reply, exchange: Exchange, index: int, reveal: bool, addressee: str
) -> Iterator[Row]:
    direction = reply.span.direction
    if reply.code is None:
        for number, line in enumerate(shown_lines(reply, exchange, reveal=reveal)):
            time = None if number else reply.time
            yield Row(time, direction, "reply", text(line, MAX_LINE), "", index, part=number)
        return
    kind = f"reply{reply.code // 100}" if 200 <= reply.code < 600 else "reply"
    last = len(reply.lines) - 1
    capabilities = lists_capabilities(reply, exchange)
    for number, line in enumerate(shown_lines(reply, exchange, reveal=reveal)):
        separator = " " if number == last else "-"
        shown = f"{reply.code}{separator}{text(line, MAX_LINE)}".rstrip(" ")
        if number == 0:
            meaning = _reply_meaning(reply, exchange)
            if addressee:
                meaning = f"for {addressee}: {meaning}"
        elif capabilities:
            meaning = _capability_meaning(line)
        else:
            meaning = ""
        time = None if number else reply.time
        yield Row(time, direction, kind, shown, meaning, index, part=number)


def shown_lines(reply: Reply, exchange: Exchange, *, reveal: bool = False) -> tuple[bytes, ...]:
    """The lines of a reply as they may be seen: a server's proof of the password is a secret, and
    so is what it quotes of one."""
    if reveal:
        return reply.unmasked or reply.lines
    if reply.code != 334 or exchange.auth is None:
        return reply.lines
    shown = (describe_challenge(exchange.auth.mechanism, line) for line in reply.lines)
    return tuple(
        described if b"[redacted" in described else line
        for described, line in zip(shown, reply.lines, strict=True)
    )


def _reply_meaning(reply: Reply, exchange: Exchange) -> str:
    assert reply.code is not None
    meaning = _meaning(reply.code, exchange.asked)
    if reply.enhanced is not None:
        enhanced = _enhanced_meaning(*reply.enhanced)
        if enhanced:
            meaning = f"{meaning}; {reply.enhanced}: {enhanced}"
    if reply.code == 334 and exchange.auth is not None and reply.lines[0]:
        challenge = describe_challenge(exchange.auth.mechanism, reply.lines[0])
        meaning = f'{meaning}: "{text(challenge, 80)}"'
    return meaning


@lru_cache(maxsize=1024)
def _meaning(code: int, verb: str | None) -> str:
    return reference.reply_meaning(code, verb)


@lru_cache(maxsize=1024)
def _enhanced_meaning(klass: int, subject: int, detail: int) -> str:
    # "Success, nothing more to say" says nothing that the reply's own meaning does not.
    return reference.enhanced(klass, subject, detail).text if klass != 2 else ""


def lists_capabilities(reply: Reply, exchange: Exchange) -> bool:
    """Whether the lines behind the first one are extensions."""
    return exchange.verb in HELLO_VERBS and reply.accepted


def _capability_meaning(line: bytes) -> str:
    row = reference.extension(grammar.parse_capability(line).keyword)
    return _first_sentence(row.meaning) if row is not None else "unknown extension"


# -- findings ------------------------------------------------------------------------------------


class _Findings:
    """Hands the findings of a session out at the lines that they are about."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._left: dict[Direction, list[Finding]] = {direction: [] for direction in Direction}
        for finding in sorted(findings, key=lambda each: each.span.start, reverse=True):
            self._left[finding.span.direction].append(finding)

    def take(self, direction: Direction, end: int, index: int) -> Iterator[Row]:
        left = self._left[direction]
        while left and left[-1].span.start < end:
            yield _finding_row(left.pop(), index)

    def rest(self, index: int) -> Iterator[Row]:
        for left in self._left.values():
            while left:
                yield _finding_row(left.pop(), index)


def _finding_row(finding: Finding, index: int) -> Row:
    return Row(
        None,
        finding.span.direction,
        "finding",
        f"{finding.severity.word} {finding.rule}: {text(finding.summary, 200)}",
        finding.spec,
        index,
        finding.advice,
        span=finding.span,
        finding=finding,
    )
