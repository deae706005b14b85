"""What a line of a dialogue means, in words for people who do not know SMTP.

From a row of the transcript to facts: what the documented table and the RFC say, each parameter,
the reply's class and codes, what the client should do next, the latency, the evidence, the
findings. All texts are safe to show.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from smtpscope import reference
from smtpscope.capture.tls import RECORD_TYPES, TlsInfo
from smtpscope.display import text
from smtpscope.explanation import commands, messages, replies
from smtpscope.explanation.fact import Fact, quoted, took
from smtpscope.findings.tls import read_certificate
from smtpscope.session import Content, Finding, Session
from smtpscope.smtp import grammar
from smtpscope.smtp.values import Command, Exchange, Reply
from smtpscope.stream import Span
from smtpscope.transcript import Row, lists_capabilities

__all__ = ["Fact", "explain", "title"]

MAX_FINDINGS = 20
"""Findings told of one line."""


def title(session: Session, row: Row) -> str:
    """What the row is, in a few words."""
    if row.finding is not None:
        return f"{row.finding.rule}: {row.finding.severity.word}"
    if row.kind == "tls" or row.exchange >= len(session.exchanges):
        if session.tls_failed:
            return "TLS: it failed"
        opened = session.tls is not None and session.tls.decrypted
        return "TLS: decrypted" if opened else "TLS: what follows is encrypted"
    if row.kind == "message":
        return "The message"
    exchange = session.exchanges[row.exchange]
    command = exchange.command
    if row.reply is None:
        verb = command.verb if command is not None else ""
        known = reference.command(verb)
        if known is None:
            return f"{text(verb, 40)}: no known command" if verb else "No command"
        return f"{text(verb, 40)}: {known.short}"
    reply = exchange.replies[row.reply]
    if row.part and lists_capabilities(reply, exchange):
        return f"{text(grammar.parse_capability(reply.lines[row.part]).keyword, 40)}: an extension"
    if reply.code is None:
        return "No reply that can be read"
    answers = replies.answering(exchange.asked)
    return f"Reply {reply.code}, {answers}" if answers else f"Reply {reply.code}"


def explain(session: Session, row: Row, *, reveal: bool = False) -> list[Fact]:
    """The facts about a row of `transcript.rows(session)`. `reveal`: with AUTH secrets."""
    return list(_facts(session, row, reveal))


def _facts(session: Session, row: Row, reveal: bool) -> Iterator[Fact]:
    exchange = session.exchanges[row.exchange] if row.exchange < len(session.exchanges) else None
    if row.finding is not None:
        yield from _finding(row.finding, row, exchange)
    elif exchange is None or row.kind == "tls":
        yield from _tls(session)
    elif row.reply is not None:
        reply = exchange.replies[row.reply]
        if row.part and lists_capabilities(reply, exchange):
            # What was found in the reply stands with its first line.
            yield from replies.extension(reply.lines[row.part])
            yield _evidence(reply.span, reply.packet)
            return
        yield from replies.reply(reply, exchange, session)
        yield from replies.latency(session, exchange, reply)
        yield _evidence(reply.span, reply.packet)
        yield from _findings(session, reply.span)
    elif exchange.command is not None:
        yield from _said(session, row, exchange.command, exchange, reveal)


def _said(
    session: Session, row: Row, command: Command, exchange: Exchange, reveal: bool
) -> Iterator[Fact]:
    content = exchange.content
    is_message = row.kind == "message" and isinstance(content, Content)
    if is_message and isinstance(content, Content):
        yield from messages.message(content.finish())
    else:
        yield from commands.command(command, exchange, reveal=reveal)
    yield from _answers(session, exchange)
    yield _evidence(command.span, command.packet)
    yield from _findings(session, command.span)
    if not is_message:
        yield from commands.syntax(command.verb)


def _answers(session: Session, exchange: Exchange) -> Iterator[Fact]:
    verb = exchange.asked
    yield from commands.answered(verb or "", exchange.replies)
    reply = exchange.reply
    if reply is not None and reply.code is not None:
        yield Fact("Next", replies.next_of(reply.code, verb))
        yield from replies.latency(session, exchange, reply)


# -- findings and evidence -------------------------------------------------------------------------


def _finding(finding: Finding, row: Row, exchange: Exchange | None) -> Iterator[Fact]:
    severity = finding.severity.word
    yield Fact("Finding", f"{severity} {finding.rule}", severity)
    yield Fact("What", quoted(finding.summary))
    yield Fact("To do", finding.advice)
    yield Fact("Source", finding.spec)
    yield Fact("Group", finding.group)
    about = _about(finding, exchange)
    yield _evidence(finding.span, about.packet if about is not None else None)


def _about(finding: Finding, exchange: Exchange | None) -> Command | Reply | None:
    """The command or reply that has the octets."""
    said = [exchange.command, *exchange.replies] if exchange is not None else []
    return next((each for each in said if each is not None and _in(finding, each.span)), None)


def _findings(session: Session, line: Span) -> Iterator[Fact]:
    found = [finding for finding in session.findings if _in(finding, line)]
    for finding in found[:MAX_FINDINGS]:
        severity = finding.severity.word
        summary = f"{severity} {finding.rule}: {quoted(finding.summary)} ({finding.spec})"
        yield Fact("Finding", summary, severity)
        yield Fact("To do", finding.advice)
    if len(found) > MAX_FINDINGS:
        yield Fact("Finding", f"and {len(found) - MAX_FINDINGS:,} more")


def _in(finding: Finding, line: Span) -> bool:
    span = finding.span
    return span.direction is line.direction and line.start <= span.start < line.end


def _evidence(span: Span, packet: int | None) -> Fact:
    side, last = span.direction.name.lower(), max(span.end - 1, span.start)
    octets = f"{side} octet {span.start:,}" + (f"-{last:,}" if last > span.start else "")
    if last > span.start:
        octets = octets.replace(" octet ", " octets ")
    return Fact("Evidence", f"packet {packet:,}, {octets}" if packet is not None else octets)


# -- TLS -------------------------------------------------------------------------------------------

_MODES = {"starttls": "after STARTTLS", "implicit": "from the first octet on"}


def _tls(session: Session) -> Iterator[Fact]:
    info = session.tls
    if info is None:
        return
    if session.tls_failed:
        yield Fact("TLS", "it failed, and nothing was said under it")
    elif info.decrypted:
        yield Fact("TLS", "what was said under encryption is shown: there are keys")
    else:
        yield Fact("TLS", "what follows is encrypted, and is not decrypted here")
    for label, value in (
        ("Begins", _MODES.get(session.tls_mode or "")),
        ("Version", info.version),
        ("Offered", info.offered if info.offered != info.version else None),
        ("Cipher", info.cipher),
        ("Asked for", info.sni),
        ("Protocol", info.alpn),
        ("JA3", info.ja3),
        ("JA4", info.ja4),
        ("JA3S", info.ja3s),
    ):
        if value:
            yield Fact(label, quoted(value))
    if info.alpn_offered and not info.alpn:
        yield Fact("Protocol", f"{quoted(', '.join(info.alpn_offered))} (offered)")
    if info.resumed:
        yield Fact("Resumed", "an earlier session goes on: no certificate is shown again")
    if info.certificate is not None:
        yield from _certificate(info.certificate)
    elif info.established and not info.resumed:
        hidden = "not to be seen: from TLS 1.3 on it is encrypted, too"
        yield Fact("Certificate", hidden if info.version == "TLSv1.3" else "none was seen")
    for alert in info.alerts:
        known = " ".join(filter(None, (alert.level, alert.description))) or "(encrypted)"
        yield Fact("Alert", f"{known}, from the {alert.direction.name.lower()}")
    if not info.established and not session.tls_failed:
        yield Fact("Outcome", "the handshake was not finished")
    client, server = info.octets
    yield Fact("Octets", f"{client:,} from the client, {server:,} from the server")
    if any(info.records):
        yield from _records(info)


def _records(info: TlsInfo) -> Iterator[Fact]:
    """How many records there were, and what can be seen of those that were not opened."""
    client, server = info.records
    times = [time for time in (*info.first, *info.last) if time is not None] or [0]
    begin, span = min(times), took(max(times) - min(times))
    yield Fact("Records", f"{client:,} from the client, {server:,} from the server, in {span}")
    if info.decrypted:
        return
    for seen in info.listed:
        kind = RECORD_TYPES.get(seen.kind, "hello in SSL 2.0 form").replace("_", " ")
        arrow = "▸◂"[seen.direction]
        yield Fact("Record", f"+{took(seen.time - begin)} {arrow} {kind}, {seen.size:,}")
    more = client + server - len(info.listed)
    if more:
        yield Fact("Record", f"and {more:,} more")


def _certificate(der: bytes) -> Iterator[Fact]:
    certificate = read_certificate(der)
    if certificate is None:
        yield Fact("Certificate", "it can't be read")
        return
    names = ", ".join(text(name, 100) for name in certificate.names[:10]) or "nobody"
    yield Fact("Certificate", f"for {names}")
    yield Fact("Valid", f"{_day(certificate.begins)} to {_day(certificate.ends)} (UTC)")
    signed = "its own key: nobody else vouches for it" if certificate.self_signed else "another key"
    yield Fact("Signed with", signed)


def _day(time: int) -> str:
    return datetime.fromtimestamp(time // 1_000_000_000, UTC).strftime("%Y-%m-%d")
