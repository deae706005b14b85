"""What a reply says: its codes in words, what the client should do next, the extensions it lists.

RFC 5321 §4.2 and §4.3.2, RFC 3463, RFC 2033 §4.2.
"""

from __future__ import annotations

from collections.abc import Iterator

from smtpscope import reference
from smtpscope.display import text
from smtpscope.explanation.fact import Fact, amount, number, quoted, took
from smtpscope.reference.table import digits, enhanced_subject
from smtpscope.session import Session
from smtpscope.smtp import grammar
from smtpscope.smtp.sasl import describe_challenge
from smtpscope.smtp.values import EnhancedCode, Exchange, Reply
from smtpscope.transcript import lists_capabilities

MAX_LISTED = 30
"""Extensions of a reply that are named."""

_ANSWERS = {
    "(greeting)": "as a greeting",
    ".": "in answer to the message",
    "(auth)": "in a login",
    "(unreadable)": "",
    "": "",
}


def answering(verb: str | None) -> str:
    """What a reply is to `verb`, in words; empty where nobody knows."""
    known = _ANSWERS.get(verb or "")
    return f"in answer to {text(verb or '', 40)}" if known is None else known


def reply(said: Reply, exchange: Exchange, session: Session) -> Iterator[Fact]:
    """What it means, in answer to what it answers."""
    code = said.code
    if code is None:
        yield Fact("Reply", "no reply code: a reply begins with three digits (RFC 5321 §4.2)")
        return
    verb = exchange.asked
    yield Fact("Reply", f"{code}: {reference.reply_meaning(code, verb)}")
    yield from _for(said, session)
    documented = reference.documented(str(code))
    if documented is not None:
        yield Fact("Table", documented.documented)
    row = reference.reply(code)
    if row is not None:
        yield Fact("RFC", f"{row.meaning} ({row.source})")
    first = digits(code)
    if first.severity:
        about = f", about {_lower(first.second)}" if first.category else ""
        yield Fact("Class", f"{code // 100}xx: {first.severity}{about}")
    if said.enhanced is not None:
        yield _enhanced(said.enhanced)
    answers = reference.allowed_replies(verb) if verb is not None else frozenset[int]()
    if answers and code not in answers:
        yield Fact("Unusual", f"no RFC names {code} {answering(verb)}")
    if lists_capabilities(said, exchange):
        yield from _extensions(said)
    if code == 334 and exchange.auth is not None and said.lines[0]:
        shown = describe_challenge(exchange.auth.mechanism, said.lines[0])
        yield Fact("Challenge", quoted(shown))
    yield Fact("Next", next_of(code, verb))


def next_of(code: int, verb: str | None) -> str:
    """What the client should do now."""
    row = reference.reply(code)
    if row is None:
        return digits(code).next
    return row.next_by.get(verb or "", row.next)


def latency(session: Session, exchange: Exchange, said: Reply) -> Iterator[Fact]:
    """How long the server took for it, beside what it usually takes."""
    command = exchange.command
    if command is None:
        if exchange.greeting:
            yield Fact("Latency", f"{took(said.time - session.start)} after the connection began")
        return
    what = {".": "message", "BDAT": "chunk"}.get(command.verb, "command")
    if said.time < command.time:
        # A server may answer what it has not seen the end of.
        yield Fact("Latency", f"none: the reply came before the end of the {what}")
        return
    shown = f"{took(said.time - command.time)} after the {what}"
    server = session.timing.server
    if server is not None:
        shown += f" (this server's median {took(server.percentiles.p50)})"
    yield Fact("Latency", shown)


def extension(line: bytes) -> Iterator[Fact]:
    """What one line of the reply to EHLO offers."""
    capability = grammar.parse_capability(line)
    spelled = (line.split() or [b""])[0]
    known = reference.extension(spelled.decode("latin-1"))
    yield Fact("Extension", quoted(line))
    if known is None:
        yield Fact("RFC", "no extension that is known")
        return
    yield Fact("RFC", f"{known.meaning} ({known.source})")
    values = capability.parameters
    size = number(values[0]) if values else None
    if capability.keyword == "SIZE" and size is not None:
        limit = f"at most {amount(size, 'octet')} a message" if size else "no limit is told"
        yield Fact("Limit", limit)
    elif capability.keyword == "AUTH":
        for value in values[:MAX_LISTED]:
            mechanism = reference.mechanism(text(value, 40))
            words = mechanism.meaning if mechanism is not None else "no mechanism that is known"
            yield Fact(text(value, 20), words)
    elif known.parameters and known.parameters != "none":
        yield Fact("Values", known.parameters)
    if known.notes:
        yield Fact("Note", known.notes)


def _extensions(said: Reply) -> Iterator[Fact]:
    keywords = [grammar.parse_capability(line).keyword for line in said.lines[1 : MAX_LISTED + 1]]
    if keywords:
        more = len(said.lines) - 1 - len(keywords)
        shown = ", ".join(text(keyword, 40) for keyword in keywords)
        yield Fact("Offers", f"{shown} and {more:,} more" if more else shown)


def _for(said: Reply, session: Session) -> Iterator[Fact]:
    """In LMTP each recipient has a reply of its own to the message."""
    for transaction in session.transactions:
        for recipient in transaction.recipients:
            if recipient.delivery is said and recipient.path is not None:
                yield Fact("For", f"<{quoted(recipient.path.address)}>")
                return


def _enhanced(code: EnhancedCode) -> Fact:
    known = reference.enhanced(*code)
    shown = f"{code}: {known.text}"
    about = enhanced_subject(code.subject)
    if known.level in ("vendor", "detail") and known.severity and code.subject and about:
        shown += f"; class {code.klass}: {known.severity}, subject {code.subject}: {about}"
    return Fact("Enhanced", f"{shown} ({known.source})")


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:].removesuffix(".")
