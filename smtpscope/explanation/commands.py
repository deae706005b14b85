"""What a command says: its rows in the tables, its path, each parameter, who logs in.

RFC 5321 §4.1.1, RFC 1870, RFC 6152, RFC 3461 §4, RFC 2852, RFC 4865, RFC 4954.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtpscope import reference
from smtpscope.display import text
from smtpscope.explanation.fact import Fact, amount, number, quoted, span_of_time
from smtpscope.smtp import grammar
from smtpscope.smtp.commands import HELLO_VERBS
from smtpscope.smtp.sasl import AuthExchange
from smtpscope.smtp.values import Command, Exchange, Parameter, Path, Reply

MAX_PARAMETERS = 20
MAX_ROUTE = 10
"""Parameters of a command, and hosts of a source route, that are told."""

_VALUES = {
    ("BODY", "7BIT"): "plain ASCII",
    ("BODY", "8BITMIME"): "lines that may have octets above 127",
    ("BODY", "BINARYMIME"): "binary, in no lines",
    ("RET", "FULL"): "a report of failure brings the whole message back",
    ("RET", "HDRS"): "a report of failure brings back the header alone",
    ("NOTIFY", "SUCCESS"): "when it was delivered",
    ("NOTIFY", "FAILURE"): "when it can't be delivered",
    ("NOTIFY", "DELAY"): "when it is late",
    ("AUTH", "<>"): "the client does not know, or does not vouch",
}
_XTEXT = {
    "ENVID": "the sender's own name for this mail, given back in reports",
    "AUTH": "who first sent it, as the client vouches",
    "SUBMITTER": "who is responsible for sending it this time",
}
_DEADLINE = re.compile(rb"([+-]?)([0-9]{1,9});([RNrn])([Tt]?)")


def syntax(verb: str) -> Iterator[Fact]:
    """How a command is to be written, and what else is to be known of it."""
    known, shown = reference.command(verb), reference.documented(verb)
    if known is not None:
        yield Fact("Syntax", known.syntax)
        if known.notes:
            yield Fact("Note", known.notes)
    if shown is not None and shown.differs:
        yield Fact("Mind", shown.differs)


def command(said: Command, exchange: Exchange, *, reveal: bool) -> Iterator[Fact]:
    """What it is, and what its argument says."""
    yield from meaning(said.verb)
    if exchange.path is not None:
        if exchange.path.path is not None:
            yield from _path(exchange.path.path, said.verb)
        for parameter in exchange.path.parameters[:MAX_PARAMETERS]:
            yield _parameter(said.verb, parameter)
        more = len(exchange.path.parameters) - MAX_PARAMETERS
        if more > 0:
            yield Fact("More", amount(more, "more parameter"))
    elif said.verb in HELLO_VERBS:
        yield _name(said.argument.strip(b" "))
    elif said.verb == "BDAT":
        yield from _chunk(said.argument)
    if exchange.auth is not None:
        yield from auth(exchange.auth, reveal=reveal)


def meaning(verb: str) -> Iterator[Fact]:
    """What the documented table and the RFCs say of a command."""
    known, shown = reference.command(verb), reference.documented(verb)
    if known is None:
        what = "no command that is known" if verb else "no command"
        yield Fact("Table", f"{what}: a server answers 500")
        return
    if shown is not None:
        yield Fact("Table", shown.documented)
    yield Fact("RFC", f"{known.meaning} ({known.source})")


def auth(exchange: AuthExchange, *, reveal: bool) -> Iterator[Fact]:
    """Who logs in, how, and with what."""
    known = reference.mechanism(exchange.mechanism)
    words = f": {known.meaning} ({known.source})" if known is not None else ""
    yield Fact("Mechanism", text(exchange.mechanism or "(none that is legible)", 40) + words)
    if known is not None:
        yield Fact("On the wire", known.secret)
    if exchange.identity:
        yield Fact("Identity", quoted(exchange.identity))
    if exchange.authzid:
        yield Fact("Acts as", quoted(exchange.authzid))
    if exchange.secret_length:
        hidden = f"[redacted {exchange.secret_length} octets]"
        yield Fact("Secret", quoted(exchange.secret) if reveal else hidden)
    if exchange.code is not None:
        done = "logged in" if 200 <= exchange.code < 300 else "not logged in"
        yield Fact("Outcome", f"{exchange.code}: {done}")


def _path(path: Path, verb: str) -> Iterator[Fact]:
    if not path.address:
        null = "the null sender: this is a report, and nothing may be sent back"
        yield Fact(
            "Path", f"<> {null}" if verb == "MAIL" else "<>: nobody; only the sender may be null"
        )
        return
    address = quoted(path.address)
    yield Fact("Path", f"<{address}>" if path.bracketed else f"{address}, without its brackets")
    if path.domain:
        at = "address" if path.domain.startswith(b"[") else "domain"
        yield Fact("Mailbox", f"{quoted(path.local)} at the {at} {quoted(path.domain)}")
    elif path.address.lower() == b"postmaster":
        yield Fact("Mailbox", "who looks after the server; it needs no domain")
    if path.route:
        route = ", ".join(map(quoted, path.route[:MAX_ROUTE]))
        yield Fact("Route", f"{route} (a source route: obsolete, and ignored)")


def _name(name: bytes) -> Fact:
    if not name:
        return Fact("Name", "none, though one must be given")
    if name.startswith(b"["):
        return Fact("Name", f"{quoted(name)}: the client gives its address, as it has no name")
    return Fact("Name", f"{quoted(name)}: so the client calls itself; anybody can claim it")


def _chunk(argument: bytes) -> Iterator[Fact]:
    words = argument.split()
    size = number(words[0]) if words else None
    if size is not None:
        last = words[1:2] and words[1].upper() == b"LAST"
        more = "the last ones of the message" if last else "more chunks follow"
        yield Fact("Chunk", f"{amount(size, 'octet')}, {more}")


def _parameter(verb: str, parameter: Parameter) -> Fact:
    keyword, value = parameter
    label = text(keyword, 20) or "(none)"
    row = reference.parameter(verb, keyword)
    source = f" ({row.source})" if row is not None else ""
    decoded = _decoded(keyword, value) if value is not None else None
    if decoded is not None:
        return Fact(label, decoded + source)
    words = f"{row.meaning}{source}" if row is not None else "no parameter that is known"
    return Fact(label, f"{quoted(value)}: {words}" if value is not None else words)


def _decoded(keyword: str, value: bytes) -> str | None:
    """A value in words, where these say all that there is to say."""
    size = number(value)
    if keyword == "SIZE" and size is not None:
        return f"the client expects {amount(size, 'octet')}"
    if keyword == "HOLDFOR" and size is not None:
        return f"to be held for {span_of_time(size)}"
    if keyword in _XTEXT and value != b"<>":
        return f"{quoted(grammar.decode_xtext(value)[0])}: {_XTEXT[keyword]}"
    if keyword == "ORCPT":
        kind, address = grammar.decode_orcpt(value)
        known = {"": " (without its type)", "rfc822": "", "utf-8": " (an address in UTF-8)"}
        of = known.get(kind, f" (an address of type {quoted(kind)})")
        return f"{quoted(address)}{of}: the recipient as first written"
    deadline = _DEADLINE.fullmatch(value) if keyword == "BY" else None
    if deadline is not None:
        return _until(deadline)
    if keyword == "NOTIFY" and value.upper() == b"NEVER":
        return f"{quoted(value)}: no reports at all"
    words = [_VALUES.get((keyword, each.upper())) for each in text(value, 100).split(",")]
    if all(words):
        return f"{quoted(value)}: {', or '.join(filter(None, words))}"
    return None


def _until(deadline: re.Match[bytes]) -> str:
    sign, seconds, mode, trace = deadline.groups()
    late = "return it" if mode in b"Rr" else "tell the sender"
    when = f"within {span_of_time(int(seconds))}, else" if sign != b"-" else "already late:"
    traced = "; each server that passes it on is to tell the sender" if trace else ""
    return f"{when} {late}{traced}"


def answered(verb: str, replies: list[Reply]) -> Iterator[Fact]:
    """What became of a command, in a line for each of a few replies."""
    for reply in replies[:3]:
        if reply.code is not None:
            codes = f"{reply.code} {reply.enhanced}" if reply.enhanced else str(reply.code)
            said = reference.reply_meaning(reply.code, verb)
            if reply.enhanced is not None and reply.enhanced.klass != 2:
                said = f"{said}; {reference.enhanced(*reply.enhanced).text}"
            yield Fact("Reply", f"{codes}: {said}")
    if len(replies) > 3:
        yield Fact("Reply", f"and {amount(len(replies) - 3, 'more reply').replace('ys', 'ies')}")
    if not replies and verb != "(unreadable)":
        yield Fact("Reply", "none in the capture")
