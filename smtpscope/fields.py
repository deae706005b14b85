"""What a display filter may ask of a session: the fields by their names, and their values.

A field with several values (recipients, codes, findings) has them all, in the order of the session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from smtpscope.session import Session
from smtpscope.smtp.values import Path


class Field(NamedTuple):
    """`kind` is text, number, size, duration, time or severity; `values` those of a session."""

    kind: str
    what: str
    values: Callable[[Session], Iterable[str | int]]


def _text(octets: bytes | None) -> str:
    return octets.decode("utf-8", "backslashreplace") if octets is not None else ""


def _paths(session: Session) -> Iterator[tuple[bool, Path]]:
    """Every path of the envelopes, and whether it is a sender's."""
    for transaction in session.transactions:
        if transaction.reverse_path is not None:
            yield True, transaction.reverse_path
        for recipient in transaction.recipients:
            if recipient.path is not None:
                yield False, recipient.path


def _codes(session: Session) -> Iterator[int]:
    for exchange in session.exchanges:
        for reply in exchange.replies:
            if reply.code is not None:
                yield reply.code


def endpoint_values(address: str, port: int) -> list[str | int]:
    """An endpoint as its address alone, and with its port."""
    host = f"[{address}]" if ":" in address else address
    return [address, f"{host}:{port}"]


FIELDS: dict[str, Field] = {
    "number": Field("number", "the session's number", lambda s: [s.number]),
    "capture": Field("text", "the capture's file name", lambda s: [s.capture]),
    "start": Field("time", "when it began", lambda s: [s.start]),
    "duration": Field("duration", "how long it lasted", lambda s: [s.end - s.start]),
    "client": Field("text", "the client's address", lambda s: endpoint_values(*s.client)),
    "server": Field("text", "the server's address", lambda s: endpoint_values(*s.server)),
    "port": Field("number", "the server's port", lambda s: [s.server.port]),
    "banner": Field(
        "text", "the greeting", lambda s: [_text(s.banner.lines[0])] if s.banner else []
    ),
    "helo": Field("text", "the client's name", lambda s: [_text(s.helo)] if s.helo else []),
    "from": Field(
        "text",
        "envelope senders",
        lambda s: [_text(path.address) for sender, path in _paths(s) if sender],
    ),
    "to": Field(
        "text",
        "envelope recipients",
        lambda s: [_text(path.address) for sender, path in _paths(s) if not sender],
    ),
    "domain": Field(
        "text", "domains of the envelopes", lambda s: [_text(path.domain) for _, path in _paths(s)]
    ),
    "subject": Field(
        "text", "subjects", lambda s: [m.subject for m in s.messages if m.subject is not None]
    ),
    "size": Field("size", "octets of a message", lambda s: [m.size for m in s.messages]),
    "messages": Field("number", "how many messages", lambda s: [len(s.messages)]),
    "verb": Field(
        "text", "commands", lambda s: [each.command.verb for each in s.exchanges if each.command]
    ),
    "code": Field("number", "reply codes", _codes),
    "enhanced": Field(
        "text",
        "enhanced status codes",
        lambda s: [str(r.enhanced) for each in s.exchanges for r in each.replies if r.enhanced],
    ),
    "class": Field(
        "number", "first digits of reply codes", lambda s: [c // 100 for c in _codes(s)]
    ),
    "state": Field("text", "quit, closed, reset or open", lambda s: [s.state]),
    "tls": Field("text", "starttls or implicit", lambda s: [s.tls_mode] if s.tls_mode else []),
    "tls.version": Field(
        "text",
        "the version of TLS",
        lambda s: [v] if s.tls and (v := s.tls.version or s.tls.offered) else [],
    ),
    "sni": Field(
        "text", "the name asked for in TLS", lambda s: [s.tls.sni] if s.tls and s.tls.sni else []
    ),
    "auth": Field("text", "AUTH mechanisms", lambda s: [each.mechanism for each in s.auths]),
    "auth.user": Field(
        "text",
        "who logged in",
        lambda s: [_text(each.identity) for each in s.auths if each.identity],
    ),
    "finding": Field("text", "rules of findings", lambda s: [each.rule for each in s.findings]),
    "severity": Field(
        "severity", "severities of findings", lambda s: [each.severity for each in s.findings]
    ),
    "group": Field("text", "groups of findings", lambda s: [each.group for each in s.findings]),
}
"""Every field by its name."""

SEARCHED = ("client", "server", "banner", "helo", "from", "to", "subject", "sni", "auth.user")
"""The fields in which a bare word is looked for."""
