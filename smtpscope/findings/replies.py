"""Rules about the form of replies: their codes, their lines, the greeting, what EHLO lists.

RFC 5321 §4.1.1.1, §4.2, §4.3; RFC 2034 and RFC 3463 (enhanced codes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from smtpscope import reference
from smtpscope.findings.rule import Checks, Rule, once, quoted
from smtpscope.findings.walk import Step
from smtpscope.smtp import grammar
from smtpscope.smtp.commands import HELLO_VERBS
from smtpscope.smtp.paths import is_address_literal
from smtpscope.smtp.values import EnhancedCode, Reply
from smtpscope.stream import Defect, Span

REPLY_LINE = 512
"""Octets of a reply line with its code and CRLF (RFC 5321 §4.5.3.1.5)."""
SHORT = 200
"""Octets of a reply that may come again word for word."""
SHOWN = 60
"""Octets of a reply that are quoted."""

RULES: dict[str, Rule] = {
    "reply-syntax": Rule(
        "warning",
        "no well-formed reply",
        "RFC 5321 §4.2",
        "The server must begin each line with three digits and a space or a dash. See whether "
        "something else than a mail server answers, or a proxy adds text of its own.",
    ),
    "reply-codes-differ": Rule(
        "warning",
        "the lines of one reply have different codes",
        "RFC 5321 §4.2.1",
        "Mend the server: all lines of a reply bear the same code, and clients go by one of them.",
    ),
    "reply-too-long": Rule(
        "warning",
        "a reply line without end",
        "RFC 5321 §4.5.3.1.5",
        "Mend the server: clients give up on such a line or run out of memory.",
    ),
    "reply-line-too-long": Rule(
        "note",
        "a reply line longer than 512 octets",
        "RFC 5321 §4.5.3.1.5",
        "Let the server break the text into several lines; some clients cut it off.",
    ),
    "reply-code-range": Rule(
        "warning",
        "no SMTP reply code",
        "RFC 5321 §4.2",
        "Codes run from 200 to 559. See whether something else than a mail server answers; "
        "clients take such a code for a failure.",
    ),
    "reply-code-unexpected": Rule(
        "note",
        "a code that does not answer this command",
        "RFC 5321 §4.3.2",
        "See whether replies and commands have lost step; otherwise mend the server. Clients go "
        "by the first digit.",
    ),
    "reply-code-unlisted": Rule(
        "chat",
        "a failure code that no RFC lists for this command",
        "RFC 5321 §4.3.2",
        "Nothing: clients go by the first digit, and servers often send these.",
    ),
    "reply-eight-bit": Rule(
        "note",
        "8-bit octets in a reply",
        "RFC 5321 §4.2",
        "Let the server answer in ASCII: UTF-8 is for clients that gave SMTPUTF8.",
    ),
    "enhanced-class-differs": Rule(
        "warning",
        "the enhanced code contradicts the reply code",
        "RFC 2034 §4",
        "Mend the server: the first digits must be the same. Bounces are made from one, "
        "retries from the other.",
    ),
    "enhanced-code-absent": Rule(
        "chat",
        "no enhanced code, though the server promised them",
        "RFC 2034 §4",
        "Mend the server, or the filter that words this reply: each reply of 2yz, 4yz and 5yz "
        "is to begin with an enhanced code.",
    ),
    "greeting-without-domain": Rule(
        "note",
        "the greeting does not begin with the server's name",
        "RFC 5321 §4.2",
        "Configure the server to begin its greeting with its full host name; clients look there "
        "for loops and log it.",
    ),
    "hello-reply-without-domain": Rule(
        "note",
        "the reply does not begin with the server's name",
        "RFC 5321 §4.1.1.1",
        "Configure the server to begin the reply to EHLO or HELO with its full host name.",
    ),
    "capability-syntax": Rule(
        "note",
        "a malformed line in the reply to EHLO",
        "RFC 5321 §4.1.1.1",
        "Mend the server: a line is a keyword of letters, digits and hyphens, and its "
        "parameters. Clients ignore what they can't read.",
    ),
    "auth-keyword-legacy": Rule(
        "chat",
        "AUTH is offered in the old spelling AUTH=",
        "RFC 4954 §3",
        "Only clients from before 1999 need it: switch it off (Postfix: "
        "broken_sasl_auth_clients = no).",
    ),
    "binarymime-without-chunking": Rule(
        "warning",
        "BINARYMIME is offered without CHUNKING",
        "RFC 3030 §3",
        "Let the server offer both: binary messages can only be sent by BDAT.",
    ),
    "smtputf8-without-8bitmime": Rule(
        "warning",
        "SMTPUTF8 is offered without 8BITMIME",
        "RFC 6531 §3.1",
        "Let the server offer both: UTF-8 can't be sent to a server that takes 7 bits only.",
    ),
}

_WITHOUT_ENHANCED = HELLO_VERBS | {"(greeting)", "XCLIENT"}
"""What is answered by a greeting, which has no enhanced code (RFC 2034 §3)."""

_CAPABILITIES = re.compile(
    rb"""(?:\n(?:SIZE(?:[ ][0-9]{1,20})? | AUTH(?:[ ][A-Z0-9_-]+)+
    | (?:X_)?PIPE_CONNECT
    | (?!(?:SIZE|AUTH)[ =\n])(?!(?:SIZE|AUTH)\Z)[A-Z0-9][A-Z0-9-]*(?:[ ][!-~]+)*
    )[ ]*)*\Z""",
    re.IGNORECASE | re.VERBOSE,
)


def _replies(step: Step) -> Iterable[Defect]:
    exchange, command, state = step.exchange, step.command, step.state
    verb = command.verb if command is not None else "(greeting)" if exchange.greeting else ""
    promised = "ENHANCEDSTATUSCODES" in state.offered
    if len(exchange.replies) == 1:
        reply = exchange.replies[0]
        lines, code = reply.lines, reply.code
        # Most replies are one short line, and many say the same.
        if (
            code is not None
            and len(lines) == 1
            and len(lines[0]) <= SHORT
            and _is_clean(verb, code, reply.enhanced, promised, lines[0])
        ):
            return ()
    found: list[Defect] = []
    for reply in exchange.replies:
        lines = reply.lines
        text = lines[0] if len(lines) == 1 else b"\n".join(lines)
        # Most texts are short and plain.
        if len(text) > REPLY_LINE - 6 or not text.isascii() or b"\r" in text or b"\0" in text:
            found += _text_defects(step, reply, text)
        code, enhanced = reply.code, reply.enhanced
        if code is None:
            continue
        klass = 0 if enhanced is None else enhanced.klass
        for rule in _code_troubles(verb, code, klass, promised):
            found += _code_defects(step, rule, verb, reply)
    return found


@lru_cache(maxsize=4096)
def _is_clean(
    verb: str, code: int, enhanced: EnhancedCode | None, promised: bool, text: bytes
) -> bool:
    """There is nothing to tell of a reply of one short line."""
    plain = text.isascii() and b"\r" not in text and b"\0" not in text
    klass = 0 if enhanced is None else enhanced.klass
    return plain and not _code_troubles(verb, code, klass, promised)


@lru_cache(maxsize=4096)
def _code_troubles(verb: str, code: int, klass: int, promised: bool) -> tuple[str, ...]:
    """The rules that are broken by `code` in answer to `verb`, and by its enhanced code's class.

    `klass` is 0 where there is no enhanced code; `promised`: there ought to be one.
    """
    rules = [_code_trouble(verb, code)]
    if verb not in _WITHOUT_ENHANCED and code // 100 in (2, 4, 5):
        if klass and klass != code // 100:
            rules.append("enhanced-class-differs")
        elif promised and not klass:
            rules.append("enhanced-code-absent")
    return tuple(rule for rule in rules if rule)


def _code_trouble(verb: str, code: int) -> str:
    """The rule that `code` breaks in answer to `verb`, or nothing."""
    if not 200 <= code < 560 or code % 100 >= 60:
        return "reply-code-range"
    allowed = reference.allowed_replies(verb)
    if not allowed or code in allowed:
        return ""
    row = reference.reply(code)
    if code >= 400:
        return "" if row is not None and verb in row.by else "reply-code-unlisted"
    # 353 asks for the replies that PRDR brings.
    return "" if verb in (".", "BDAT") and code == 353 else "reply-code-unexpected"


def _code_defects(step: Step, rule: str, verb: str, reply: Reply) -> Iterable[Defect]:
    if rule == "enhanced-code-absent":
        return once(step, rule, reply.span)
    if rule == "enhanced-class-differs":
        span = reply.span.part(0, 4 + len(str(reply.enhanced)))
        return (Defect(rule, span, f"{reply.code} {reply.enhanced}"),)
    detail = f"{reply.code} to {verb}" if verb else str(reply.code)
    return once(step, rule, reply.span, detail, detail)


def _text_defects(step: Step, reply: Reply, text: bytes) -> Iterable[Defect]:
    longest = max(map(len, reply.lines)) + 6
    if longest > REPLY_LINE and reply.code is not None:
        yield Defect("reply-line-too-long", reply.span, f"{longest:,} octets")
    if b"\r" in text:
        yield Defect("bare-cr", reply.span, "in a reply")
    if b"\0" in text:
        yield Defect("nul", reply.span, "in a reply")
    if not text.isascii() and "SMTPUTF8" not in step.state.parameters:
        yield from once(step, "reply-eight-bit", reply.span)


def _greeting(step: Step) -> Iterable[Defect]:
    exchange, reply = step.exchange, step.reply
    if not exchange.greeting or reply is None or reply.code != 220:
        return ()
    return _name_defects(step, "greeting-without-domain", reply)


def _name_defects(step: Step, rule: str, reply: Reply) -> Iterable[Defect]:
    name = grammar.greeting_domain(reply.lines[0])
    if b"." in name or is_address_literal(name):
        return ()
    if name.lower() == b"localhost" and _is_here(step.session.server.address):
        # The true name of who is asked there (RFC 6761 §6.3): a server that somebody tries out.
        return ()
    shown = quoted(name, SHOWN)
    # A server says its name in the greeting and again to each EHLO.
    if ("greeting-without-domain", shown) in step.state.told:
        return ()
    step.state.told.add(("greeting-without-domain", shown))
    span = Span(reply.span.direction, reply.span.start, reply.span.start + 4 + len(name))
    return (Defect(rule, span, shown),)


def _is_here(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def _hello_reply(step: Step) -> Iterable[Defect]:
    command, reply = step.command, step.reply
    if command is None or reply is None or reply.code != 250:
        return ()
    found = list(_name_defects(step, "hello-reply-without-domain", reply))
    if command.verb != "HELO" and len(reply.lines) > 1:
        found += _capability_defects(reply)
    return found


def _capability_defects(reply: Reply) -> Iterable[Defect]:
    text = b"\n".join(reply.lines[1:])
    # Servers say the same to everybody; what is long is not worth remembering.
    troubles = _capability_troubles if len(text) < 1_000 else _capability_troubles.__wrapped__
    return [Defect(rule, reply.span, detail) for rule, detail in troubles(text)]


@lru_cache(maxsize=256)
def _capability_troubles(text: bytes) -> tuple[tuple[str, str], ...]:
    """What is wrong in these lines of a reply to EHLO, as rule and detail."""
    found = list(_odd_capabilities(text)) if not _CAPABILITIES.match(b"\n" + text) else []
    keywords = b"\n" + text.upper()
    if b"\nBINARYMIME" in keywords and b"\nCHUNKING" not in keywords:
        found.append(("binarymime-without-chunking", ""))
    if b"\nSMTPUTF8" in keywords and b"\n8BITMIME" not in keywords:
        found.append(("smtputf8-without-8bitmime", ""))
    return tuple(found)


def _odd_capabilities(text: bytes) -> Iterator[tuple[str, str]]:
    odd = [line for line in text.split(b"\n") if not _CAPABILITIES.match(b"\n" + line)]
    malformed = [line for line in odd if line[:5].upper() != b"AUTH="]
    if len(malformed) < len(odd):
        yield "auth-keyword-legacy", ""
    if malformed:
        detail = quoted(malformed[0], SHOWN) or "an empty line"
        if len(malformed) > 1:
            detail += f", and {len(malformed) - 1} more"
        yield "capability-syntax", detail


CHECKS = Checks(
    commands=dict.fromkeys(HELLO_VERBS, (_hello_reply,)) | {"": (_greeting,)},
    every=(_replies,),
)
