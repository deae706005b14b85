"""What a message says of itself in its header, and what its servers said of it.

RFC 5322 §3.6, RFC 5321 §4.4, RFC 8601 §2.2, RFC 6376 §3.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtpscope.display import text
from smtpscope.explanation.fact import Fact, amount, quoted
from smtpscope.message import Message

MAX_ADDRESSES = 10
MAX_ATTACHMENTS = 10
MAX_VOUCHING = 10
"""Fields that vouch for the message that are read."""
MAX_HOPS = 8

_ASIDE = re.compile(r'"(?:[^"\\]++|\\.)*+"|\((?:[^()\\]++|\\.)*+\)', re.DOTALL)
_OPEN_ASIDE = re.compile(r'["(]')
_NESTED = 5
_INSTANCE = re.compile(r"\s*i\s*=\s*[0-9]{1,5}\s*;", re.IGNORECASE)
_RESULT = re.compile(r"(?:\A|[;\s])([a-z][a-z0-9-]{1,30})\s*=\s*([a-z]{1,30})\b", re.IGNORECASE)
_TAG = re.compile(r"(?:\A|;)\s*([ds])\s*=\s*([^;\s]{1,253})")
_METHODS = frozenset(
    {"spf", "dkim", "dmarc", "arc", "iprev", "auth", "dkim-adsp", "sender-id", "bimi", "compauth"}
)


def message(content: Message) -> Iterator[Fact]:
    """What can be told of it without its body."""
    parts = f" in {amount(content.parts, 'part')}" if content.parts > 1 else ""
    yield Fact("Message", f"{amount(content.size, 'octet')}{parts}")
    if content.missing:
        yield Fact("Missing", f"{amount(content.missing, 'octet')} that the capture lacks")
    if content.truncated:
        yield Fact("Cut", "larger than is summed up here: what follows may lack some of it")
    for label, value in (
        ("Subject", content.subject),
        ("From", content.from_),
        ("To", _several(content.to)),
        ("Cc", _several(content.cc)),
        ("Date", content.date),
    ):
        if value:
            yield Fact(label, quoted(value))
    for attachment in content.attachments[:MAX_ATTACHMENTS]:
        name = text(attachment.filename or "(no name)", 100)
        kind = text(attachment.content_type, 60)
        yield Fact("Attached", f"{name}, {kind}, {amount(attachment.size, 'octet')}")
    more = len(content.attachments) - MAX_ATTACHMENTS
    if more > 0:
        yield Fact("Attached", amount(more, "more file"))
    for name, value in content.authentication[:MAX_VOUCHING]:
        yield from _vouched(name, value)
    earlier = len(content.hops) - MAX_HOPS
    if earlier > 0:
        yield Fact("Received", f"by {amount(earlier, 'server')} before these")
    for hop in content.hops[-MAX_HOPS:]:
        delay = f", {hop.delay:+,} s" if hop.delay is not None else ""
        by = text(hop.by or "(a server without a name)", 80)
        yield Fact("Received", f"by {by}{delay}")
    yield Fact("SHA-256", content.sha256)


def _several(entries: list[str]) -> str:
    shown = ", ".join(entries[:MAX_ADDRESSES])
    more = len(entries) - MAX_ADDRESSES
    return f"{shown} and {more:,} more" if more > 0 else shown


def _vouched(name: str, value: str) -> Iterator[Fact]:
    if name.lower().endswith("authentication-results"):
        said = _INSTANCE.sub("", _without_asides(value[:10_000]), count=1)
        found = _RESULT.findall(said)
        results = [
            f"{method.lower()} {result.lower()}"
            for method, result in found
            if method.lower() in _METHODS
        ]
        shown = quoted(", ".join(results[:10]) or value)
        server = (said.partition(";")[0].split() or [""])[0]
        says = f" (says {text(server, 80)})" if results and server and "=" not in server else ""
        yield Fact("Checked", shown + says)
    elif name.lower() in ("dkim-signature", "arc-message-signature"):
        tags = dict(_TAG.findall(value[:10_000]))
        if "d" in tags:
            key = f", key {text(tags['s'], 80)}" if "s" in tags else ""
            relay = ", which passed it on" if name.lower().startswith("arc-") else ""
            yield Fact("Signed", f"by {quoted(tags['d'])}{key}{relay} (not checked here)")


def _without_asides(value: str) -> str:
    """A field less its comments and quoted strings: what they quote is no result."""
    for _ in range(_NESTED):
        value, count = _ASIDE.subn(" ", value)
        if not count:
            break
    return _OPEN_ASIDE.split(value, maxsplit=1)[0]
