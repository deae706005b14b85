"""What a line of a dialogue means, in words for people who do not know SMTP.

From a row of the transcript to facts: what the documented table and the RFC say, each parameter,
the reply's class and codes, what the client should do next, the latency, the evidence, the
findings. All texts are safe to show.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from smtpscope import reference
from smtpscope.display import text
from smtpscope.message import Message
from smtpscope.session import Content, Session
from smtpscope.smtp import grammar
from smtpscope.smtp.commands import HELLO_VERBS
from smtpscope.smtp.values import Command, Exchange, Path, Reply
from smtpscope.stream import Span
from smtpscope.transcript import Row

MAX_VALUE = 300
"""Characters of a value that is quoted."""
MAX_PARAMETERS = 20
MAX_RECEIVED = 6

_CLASSES = {
    2: ("done", "go on"),
    3: ("go on", "send what the server waits for"),
    4: ("refused for now", "keep the mail and try again later"),
    5: ("refused for good", "do not try again as it is; tell the sender"),
}


class Fact(NamedTuple):
    """`style` is the severity of a finding, else ""."""

    label: str
    text: str
    style: str = ""


def explain(session: Session, row: Row, *, reveal: bool = False) -> list[Fact]:
    """The facts about a row of `transcript.rows(session)`. `reveal`: with AUTH secrets."""
    return list(_facts(session, row, reveal))


def _facts(session: Session, row: Row, reveal: bool) -> Iterator[Fact]:
    if row.finding is not None:
        finding = row.finding
        yield Fact("Finding", f"{finding.severity.word}: {finding.rule}", finding.severity.word)
        yield Fact("What", text(finding.summary, MAX_VALUE))
        yield Fact("To do", finding.advice)
        yield Fact("Group", finding.group)
        yield Fact("Source", finding.spec)
        yield from _evidence(row, None)
        return
    if row.kind == "tls" or row.exchange >= len(session.exchanges):
        yield from _tls(session)
        return
    exchange = session.exchanges[row.exchange]
    if row.reply is not None:
        reply = exchange.replies[row.reply]
        if row.part and _is_capability(exchange, reply):
            yield from _capability(reply.lines[row.part])
        else:
            yield from _reply(reply, exchange)
            yield from _latency(session, exchange, reply)
        yield from _evidence(row, reply.packet)
    else:
        command = exchange.command
        assert command is not None
        content = exchange.content
        if row.kind == "message" and isinstance(content, Content):
            yield from _message(content.finish())
        else:
            yield from _command(command, exchange, reveal)
        yield from _evidence(row, command.packet)
    for finding in session.findings:
        if row.span is not None and _about(finding.span, row.span):
            yield Fact(
                "Finding",
                f"{finding.severity.word} {finding.rule}: {text(finding.summary, MAX_VALUE)}"
                f" ({finding.spec})",
                finding.severity.word,
            )
            yield Fact("To do", finding.advice)


def _about(finding: Span, line: Span) -> bool:
    return finding.direction is line.direction and line.start <= finding.start < line.end


# -- commands -------------------------------------------------------------------------------------


def _command(command: Command, exchange: Exchange, reveal: bool) -> Iterator[Fact]:
    known = reference.command(command.verb)
    if known is None:
        yield Fact("Table", "no known command" if command.verb else "no command")
    else:
        shown = reference.documented(command.verb)
        yield Fact("Table", shown.documented if shown is not None else known.short)
        yield Fact("RFC", f"{known.meaning} ({known.source})")
        if known.notes:
            yield Fact("Note", known.notes)
        yield Fact("Syntax", known.syntax)
    if exchange.path is not None:
        if exchange.path.path is not None:
            yield from _path(exchange.path.path, command.verb)
        for keyword, value in exchange.path.parameters[:MAX_PARAMETERS]:
            yield Fact(text(keyword, 20), _parameter(command.verb, keyword, value))
    elif command.verb in HELLO_VERBS:
        yield Fact("Name", _quoted(command.argument.strip(b" ")) or "none")
    if exchange.auth is not None:
        yield from _auth(exchange, reveal)


def _path(path: Path, verb: str) -> Iterator[Fact]:
    if not path.address:
        meaning = "the null sender: a report that must not be answered with another"
        yield Fact("Path", f"<> {meaning if verb == 'MAIL' else ''}".rstrip())
        return
    yield Fact("Path", f"<{_quoted(path.address)}>")
    if path.domain:
        yield Fact("Mailbox", f"{_quoted(path.local)}, at {_quoted(path.domain)}")
    if path.route:
        route = ", ".join(map(_quoted, path.route[:10]))
        yield Fact("Route", f"{route} (source routes are obsolete, and ignored)")


def _parameter(verb: str, keyword: str, value: bytes | None) -> str:
    shown = _quoted(value) if value is not None else "(no value)"
    if keyword == "SIZE" and value is not None and value.isdigit() and len(value) < 20:
        shown = f"{int(value):,} octets are to come"
    elif keyword in ("ENVID", "ORCPT") and value is not None:
        shown = _quoted(grammar.decode_xtext(value)[0])
    row = reference.parameter(verb, keyword)
    return f"{shown}: {row.meaning} ({row.source})" if row is not None else f"{shown}: unknown"


def _auth(exchange: Exchange, reveal: bool) -> Iterator[Fact]:
    auth = exchange.auth
    assert auth is not None
    known = reference.mechanism(auth.mechanism)
    meaning = f": {known.meaning} ({known.source})" if known is not None else ""
    yield Fact("Mechanism", text(auth.mechanism, 40) + meaning)
    if auth.identity:
        yield Fact("Identity", _quoted(auth.identity))
    if auth.secret_length:
        shown = _quoted(auth.secret) if reveal else f"[redacted {auth.secret_length} octets]"
        yield Fact("Secret", shown)


def _message(message: Message) -> Iterator[Fact]:
    yield Fact("Message", f"{message.size:,} octets, {message.parts} parts; a lone dot ends it")
    if message.missing:
        yield Fact("Missing", f"{message.missing:,} octets are not in the capture")
    for label, value in (
        ("Subject", message.subject),
        ("From", message.from_),
        ("To", ", ".join(message.to[:10])),
        ("Date", message.date),
    ):
        if value:
            yield Fact(label, text(value, MAX_VALUE))
    for attachment in message.attachments[:10]:
        name = text(attachment.filename or "(no name)", 100)
        kind = text(attachment.content_type, 60)
        yield Fact("Attached", f"{name}, {kind}, {attachment.size:,} octets")
    for name, value in message.authentication[:5]:
        yield Fact(text(name, 30), text(value, MAX_VALUE))
    for hop in message.hops[-MAX_RECEIVED:]:
        delay = f", {hop.delay:+,} s" if hop.delay is not None else ""
        yield Fact("Received", f"by {text(hop.by or '(unknown)', 80)}{delay}")
    yield Fact("SHA-256", message.sha256)


# -- replies --------------------------------------------------------------------------------------


def _is_capability(exchange: Exchange, reply: Reply) -> bool:
    command = exchange.command
    return command is not None and command.verb in HELLO_VERBS and reply.accepted


def _capability(line: bytes) -> Iterator[Fact]:
    capability = grammar.parse_capability(line)
    known = reference.extension(capability.keyword)
    yield Fact("Extension", _quoted(line))
    if known is None:
        yield Fact("RFC", "no extension that is known")
        return
    yield Fact("RFC", f"{known.meaning} ({known.source})")
    if known.parameters:
        yield Fact("Values", known.parameters)
    if known.notes:
        yield Fact("Note", known.notes)


def _reply(reply: Reply, exchange: Exchange) -> Iterator[Fact]:
    if reply.code is None:
        yield Fact("Reply", "no reply code: a reply begins with three digits (RFC 5321 §4.2)")
        return
    command = exchange.command
    verb = command.verb if command is not None else "(greeting)" if exchange.greeting else None
    if verb == "BDAT" and exchange.last:
        verb = "."
    yield Fact("Reply", f"{reply.code}: {reference.reply_meaning(reply.code, verb)}")
    documented = reference.documented(str(reply.code))
    if documented is not None:
        yield Fact("Table", documented.documented)
    known = _CLASSES.get(reply.code // 100)
    if known is not None:
        yield Fact("Class", f"{reply.code // 100}yz: {known[0]}")
    if reply.enhanced is not None:
        meaning = reference.enhanced(*reply.enhanced)
        yield Fact("Enhanced", f"{reply.enhanced}: {meaning.text} ({meaning.source})")
    answers = reference.allowed_replies(verb) if verb is not None else frozenset[int]()
    if answers and reply.code not in answers:
        yield Fact(
            "Unusual", f"the RFC does not name {reply.code} as an answer to {text(verb or '')}"
        )
    if known is not None:
        yield Fact("Next", "close the connection" if reply.code in (221, 421) else known[1])


def _latency(session: Session, exchange: Exchange, reply: Reply) -> Iterator[Fact]:
    if exchange.command is None:
        since, what = session.start, "after the connection began"
    else:
        since, what = exchange.command.time, "after the command"
    shown = f"{_duration(reply.time - since)} {what}"
    server = session.timing.server
    if server is not None and exchange.command is not None:
        shown += f" (this server's median {_duration(server.percentiles.p50)})"
    yield Fact("Latency", shown)


def _tls(session: Session) -> Iterator[Fact]:
    info = session.tls
    if info is None:
        return
    yield Fact("TLS", "what follows is encrypted; without its keys it can't be read")
    for label, value in (
        ("Mode", session.tls_mode),
        ("Version", info.version or info.offered),
        ("Cipher", info.cipher),
        ("Name", info.sni),
    ):
        if value:
            yield Fact(label, text(str(value), MAX_VALUE))
    client, server = info.octets
    yield Fact("Octets", f"{client:,} from the client, {server:,} from the server")


def _evidence(row: Row, packet: int | None) -> Iterator[Fact]:
    if row.span is None:
        return
    span = row.span
    shown = f"{span.direction.name.lower()} octets {span.start:,}-{max(span.end - 1, span.start):,}"
    yield Fact("Evidence", f"packet {packet:,}, {shown}" if packet is not None else shown)


def _quoted(octets: bytes) -> str:
    return text(octets, MAX_VALUE)


def _duration(nanoseconds: int) -> str:
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1e6:,.1f} ms"
    return f"{nanoseconds / 1e9:,.2f} s"
