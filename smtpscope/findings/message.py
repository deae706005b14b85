"""Rules about the form of a message: its header, its parts, and the way it came.

What is wrong with the structure is noticed while the octets pass (`smtpscope.message.mime`); the
checks here look at the header's fields. RFC 5322 §3.6, RFC 2045, RFC 2046 §5.1, RFC 2047,
RFC 5321 §4.4 and §6.3.
"""

from __future__ import annotations

import binascii
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise

from smtpscope.findings.octets import place
from smtpscope.findings.rule import Checks, Rule
from smtpscope.findings.walk import Step
from smtpscope.message import Message
from smtpscope.message.headers import Header
from smtpscope.message.text import decode_octets, is_charset, unfold
from smtpscope.message.trace import SECOND, parse_date
from smtpscope.session import Content
from smtpscope.smtp.values import Command
from smtpscope.stream import Defect, Span

DAY = 86_400
MAX_HOPS = 25
"""Received fields that a message collects on an honest way."""
MAX_VISITS = 7
"""Times that one host may take the same message; filters and lists hand it on to themselves."""
MAX_HOP_DELAY = 3_600
"""Seconds that a hop may take."""
CLOCK_SKEW = 10
"""Seconds by which the clocks of two servers may disagree."""

RULES: dict[str, Rule] = {
    "from-missing": Rule(
        "warning",
        "the message has no From field",
        "RFC 5322 §3.6",
        "Let the program that writes the message say who it is from; many servers refuse or "
        "distrust mail without it.",
    ),
    "date-missing": Rule(
        "note",
        "the message has no Date field",
        "RFC 5322 §3.6",
        "Let the program that writes the message add one. A submission server may do it; others "
        "must not, and filters count it as a mark of spam.",
    ),
    "message-id-missing": Rule(
        "note",
        "the message has no Message-ID field",
        "RFC 5322 §3.6.4",
        "Let the program that writes the message, or its submission server, add one: without it "
        "replies find no thread and duplicates are not noticed.",
    ),
    "message-id-malformed": Rule(
        "note",
        "the Message-ID is malformed",
        "RFC 5322 §3.6.4",
        "Let the program that writes the message use <unique@its.host.name>, without spaces.",
    ),
    "header-twice": Rule(
        "warning",
        "a field that may stand once stands there twice",
        "RFC 5322 §3.6",
        "Readers differ in which one they show, which attackers use to pass checks with one and "
        "to show the other. Mend the program that writes the message.",
    ),
    "header-line-malformed": Rule(
        "warning",
        "a line within the header is no field",
        "RFC 5322 §2.2",
        "The header ends there for many readers, and the fields behind it become text. Mend the "
        "program that wrote that line, which often is a filter or a script.",
    ),
    "no-blank-line": Rule(
        "warning",
        "no blank line divides the header from the body",
        "RFC 5322 §2.1",
        "Let the program that writes the message send an empty line behind the last field.",
    ),
    "date-malformed": Rule(
        "note",
        "the Date can't be read",
        "RFC 5322 §3.3",
        "Let the program that writes the message use the form Tue, 14 Nov 2023 22:13:20 +0000.",
    ),
    "date-far": Rule(
        "note",
        "the Date is more than a day from the time of the capture",
        "RFC 5322 §3.6.1",
        "A clock or a time zone is wrong, the message waited long in a queue, or it is sent "
        "again. Look at its Received fields.",
    ),
    "encoded-word-broken": Rule(
        "note",
        "an encoded word is malformed",
        "RFC 2047 §2",
        "Some readers will show it as it stands. Mend the program that writes the message; often "
        "it cuts or folds fields behind their encoding.",
    ),
    "charset-unknown": Rule(
        "note",
        "a charset that nobody knows",
        "RFC 2046 §4.1.2",
        "Readers have to guess. Let the program that writes the message use UTF-8 and say so.",
    ),
    "charset-lies": Rule(
        "note",
        "a text is not in the charset that it says",
        "RFC 2046 §4.1.2",
        "Readers will show wrong characters. Let the program that writes the message declare what "
        "it sends, or send UTF-8.",
    ),
    "mime-version-missing": Rule(
        "note",
        "a Content-Type without MIME-Version",
        "RFC 2045 §4",
        "Let the program that writes the message add MIME-Version: 1.0; some readers take the "
        "whole for plain text without it.",
    ),
    "boundary-missing": Rule(
        "warning",
        "a multipart without boundary",
        "RFC 2046 §5.1.1",
        "Its parts can't be told apart, and virus filters may see none. Mend the program that "
        "writes the message.",
    ),
    "boundary-unseen": Rule(
        "warning",
        "a multipart whose boundary never comes",
        "RFC 2046 §5.1.1",
        "Its parts can't be told apart: the boundary differs from the one that was declared, or a "
        "filter has changed one of them.",
    ),
    "multipart-unclosed": Rule(
        "note",
        "a multipart has no closing delimiter",
        "RFC 2046 §5.1.1",
        "The message may have been cut off on its way; compare with the sender's copy.",
    ),
    "base64-broken": Rule(
        "warning",
        "a part in base64 is damaged",
        "RFC 2045 §6.8",
        "What is decoded may differ from reader to reader, and from virus filter to reader. "
        "Let the sender send it again, or mend the program that encodes.",
    ),
    "quoted-printable-broken": Rule(
        "note",
        "an equals sign in quoted-printable that escapes nothing",
        "RFC 2045 §6.7",
        "Mend the program that encodes: it must write an equals sign as =3D.",
    ),
    "message-bound": Rule(
        "warning",
        "the message is too complex to be read as a whole",
        "RFC 2046 §5.1",
        "More parts, deeper nesting or a larger header than any honest message has: what is "
        "beyond the bounds is not shown. Take it for an attempt to overload mail filters.",
    ),
    "uuencode-broken": Rule(
        "note",
        "a file in uuencode has no end",
        "RFC 2045 §6.3",
        "It may be cut off. Let the sender send it again, as a MIME attachment.",
    ),
    "tnef": Rule(
        "note",
        "the content is wrapped in Microsoft's TNEF",
        "IANA media type application/vnd.ms-tnef",
        "Readers other than Outlook show no more than winmail.dat. Let the sender write HTML or "
        "plain text instead of rich text to people outside.",
    ),
    "bcc-shown": Rule(
        "note",
        "the Bcc field is still in the header",
        "RFC 5322 §3.6.3",
        "Unless the submission server takes it out, all recipients see who got a blind copy. Let "
        "the mail program remove it before it sends.",
    ),
    "many-hops": Rule(
        "note",
        "the message has come through very many servers",
        "RFC 5321 §6.3",
        "Look for forwarding that goes in a circle before servers give the message up as looping.",
    ),
    "hop-repeats": Rule(
        "warning",
        "one server has taken the same message again and again",
        "RFC 5321 §6.3",
        "Find the alias, the forwarding or the transport rule that sends it back, and break it.",
    ),
    "hop-backwards": Rule(
        "note",
        "by the Received fields the message came before it was sent",
        "RFC 5321 §4.4",
        "A server's clock is wrong, or a Received field is forged.",
    ),
    "hop-slow": Rule(
        "note",
        "the message waited more than an hour on its way",
        "RFC 5321 §4.4",
        "Look at the queue of the server that held it: greylisting, an unreachable host, or "
        "throttling.",
    ),
}

_UNFINISHED = frozenset(
    {"data-unfinished", "end-of-data-unseen", "chunk-unfinished", "capture-ends-here"}
)
_MISSING = frozenset({"from-missing", "date-missing", "message-id-missing", "mime-version-missing"})
_ONCE = frozenset(
    b"date from sender reply-to to cc bcc message-id in-reply-to references subject "
    b"mime-version content-type content-transfer-encoding".split()
)
_MESSAGE_ID = re.compile(rb"<[^<>\s@]+@[^<>\s]+>")
_WORD = re.compile(rb"=\?([^?\s]{1,100})\?([A-Za-z])\?([^?\r\n]*+)(\?=)?")
_BROKEN_Q = re.compile(rb"[ \t]|=(?![0-9A-Fa-f]{2})")
_MAX_WORDS = 1_000
_SHOWN = 100

Found = Iterator[tuple[str, Header | None, str]]
"""What is wrong with the header: the rule, the field, the detail."""


def _message(step: Step) -> Iterable[Defect]:
    exchange, command = step.exchange, step.command
    content = exchange.content
    if not (exchange.last and command is not None and isinstance(content, Content)):
        return ()
    message = content.finish()
    # Where octets are missing, so may be what is looked for.
    if message.missing or any(each.rule in _UNFINISHED for each in exchange.defects):
        return ()
    if step.state.mail is None and not step.session.whole:
        return ()
    if not message.size and not step.state.accepted:
        # RFC 2920 §3.1: a lone dot where all recipients are refused is no message.
        return ()
    found = [
        Defect(rule, field_span(command, message, field), detail)
        for rule, field, detail in _header(message, command.time)
        # What is missing may be what was too much to be kept.
        if not (message.truncated and rule in _MISSING)
    ]
    for flaw in message.flaws:
        span = place(command, message, flaw.start, max(flaw.end - flaw.start, 1))
        times = f"{flaw.times:,} times, first " if flaw.times > 1 else ""
        found.append(Defect(flaw.rule, span, times + flaw.detail[:_SHOWN]))
    for attachment in message.attachments:
        name = attachment.filename or ""
        if attachment.content_type.endswith("ms-tnef") or name.lower() == "winmail.dat":
            span = part_span(command, message, attachment.number)
            found.append(Defect("tnef", span, name[:_SHOWN] or attachment.content_type))
            break
    return found


def _header(message: Message, now: int) -> Found:
    fields = message.fields
    if len(fields) < len(message.headers):
        for name, again in fields.items():
            if name in _ONCE:
                for header in again[1:]:
                    yield "header-twice", header, _shown(header)
    if b"from" not in fields:
        yield "from-missing", None, ""
    yield from _date(_first(message, b"date"), now)
    identifier = _first(message, b"message-id")
    if identifier is None:
        yield "message-id-missing", None, ""
    elif _MESSAGE_ID.fullmatch(unfold(identifier.value)) is None:
        yield "message-id-malformed", identifier, _shown(identifier)
    if b"content-type" in fields and b"mime-version" not in fields:
        yield "mime-version-missing", _first(message, b"content-type"), ""
    blind = _first(message, b"bcc")
    if blind is not None and blind.value.strip():
        yield "bcc-shown", blind, ""
    yield from _encoded_words(message.headers)
    if b"received" in fields:
        yield from _hops(message)


def _first(message: Message, name: bytes) -> Header | None:
    fields = message.fields.get(name)
    return fields[0] if fields else None


def _date(header: Header | None, now: int) -> Found:
    if header is None:
        yield "date-missing", None, ""
        return
    written = parse_date(header.value)
    if written is None:
        yield "date-malformed", header, _shown(header)
        return
    away = (written - now) / SECOND / DAY
    # A capture without times is always at 0.
    if now and abs(away) > 1:
        side = "after" if away > 0 else "before"
        yield "date-far", header, f"{abs(away):,.0f} days {side} it"


def _encoded_words(headers: list[Header]) -> Found:
    told: set[str] = set()
    for header in headers:
        if b"=?" not in header.value:
            continue
        for word in islice(_WORD.finditer(header.value), _MAX_WORDS):
            rule = ""
            if _broken(*word.groups()[1:]):
                rule = "encoded-word-broken"
            elif not is_charset(decode_octets(word[1].partition(b"*")[0])):
                rule = "charset-unknown"
            if rule and rule not in told:
                told.add(rule)
                yield rule, header, decode_octets(word[0][:_SHOWN])


def _broken(encoding: bytes, text: bytes, close: bytes | None) -> bool:
    if close is None:
        return True
    if encoding in b"qQ":
        return _BROKEN_Q.search(text) is not None
    if encoding not in b"bB":
        return True
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return True
    return False


def _hops(message: Message) -> Found:
    hops = message.hops
    if len(hops) > MAX_HOPS:
        yield "many-hops", None, f"{len(hops)} Received fields"
    if len(hops) > MAX_VISITS:
        host, visits = Counter(hop.by for hop in hops if hop.by).most_common(1)[0]
        if visits > MAX_VISITS:
            yield "hop-repeats", None, f"{visits} times by {(host or '')[:_SHOWN]}"
    told: set[str] = set()
    for index, (before, hop) in enumerate(pairwise(hops), 2):
        if hop.delay is None or -CLOCK_SKEW <= hop.delay <= MAX_HOP_DELAY:
            continue
        rule = "hop-slow" if hop.delay > 0 else "hop-backwards"
        if rule not in told:
            told.add(rule)
            way = f"from {(before.by or '?')[:_SHOWN]} to {(hop.by or '?')[:_SHOWN]}"
            # The newest stands on top, the hops are told oldest first.
            yield rule, message.fields[b"received"][-index], f"{hop.delay:,} s {way}"


def part_span(command: Command, message: Message, number: int) -> Span:
    """The octets of the part of that number, its header included."""
    part = message.part(number)
    return place(command, message, part.start, max(part.end - part.start, 1))


def _shown(header: Header) -> str:
    return decode_octets(header.name + b":" + header.value[:_SHOWN])


def field_span(command: Command, message: Message, field: Header | None) -> Span:
    """The field's octets where its place is certain, else the header's."""
    size = message.root.body
    if field is not None:
        lengths = [len(name) + len(value) + 3 for name, value in message.headers]
        # Other line ends, or something left out, would make another sum.
        if sum(lengths) + 2 == size:
            index = next(at for at, each in enumerate(message.headers) if each is field)
            return place(command, message, sum(lengths[:index]), lengths[index] - 2)
    return place(command, message, 0, max(size, 1))


CHECKS = Checks(commands={".": (_message,), "BDAT": (_message,)})
