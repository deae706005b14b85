"""The header lines that the server puts in front of a message: where it came from, its envelope."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache

from smtpscope.display import text
from smtpscope.smtp.serving.envelope import Envelope
from smtpscope.smtp.values import Parameter

MAX_CHARACTERS = 200
"""Characters of a value on one line of ours: RFC 5322 §2.1.1 allows 998 octets."""

_STRUCTURE = re.compile(r"[()<>;,\"\s]")
"""What would be more than a word in Received."""


def head_of(envelope: Envelope, host: str) -> bytes:
    """The header lines in front of a message: Return-Path, Received (RFC 5321 §4.4), X-Smtpscope-….

    The latter are the envelope. A parameter stands on a line of its own behind a tab; a value that
    is too long for one line goes on behind a space, which is none of it. What came from the wire is
    printable here: UTF-8 where it is that, else as `display.text` shows it.
    """
    recipients, sender = envelope.recipients, envelope.sender.address
    client = f"IPv6:{envelope.client}" if ":" in envelope.client else envelope.client
    hello = _STRUCTURE.sub(_escaped, text(envelope.hello, MAX_CHARACTERS)) or "unknown"
    only = f"\r\n\tfor <{text(recipients[0].name)}>" if len(recipients) == 1 else ""
    lines = [
        f"Return-Path: <{_folded(text(sender))}>",
        f"Received: from {hello} ([{client}])\r\n\tby {host} with {envelope.protocol}"
        f"{only if len(only) <= MAX_CHARACTERS else ''};\r\n\t{_date(int(time.time()))}",
        f"X-Smtpscope-Client: {envelope.client}",
        f"X-Smtpscope-Hello: {_folded(text(envelope.hello))}",
        f"X-Smtpscope-From: {_address(sender, envelope.parameters)}",
        *(f"X-Smtpscope-To: {_address(each.name, each.parameters)}" for each in recipients),
    ]
    if envelope.identity is not None:
        lines.append(f"X-Smtpscope-Login: {_folded(text(envelope.identity))}")
    return "".join([f"{line}\r\n" for line in lines]).encode()


@lru_cache(1)
def _date(second: int) -> str:
    """RFC 5322 §3.3."""
    return formatdate(second, localtime=True)


def _address(address: bytes, parameters: tuple[Parameter, ...]) -> str:
    parts = [f"<{text(address)}>"]
    for keyword, value in parameters:
        parts.append(f"{keyword}={text(value)}" if value is not None else keyword)
    return "\r\n\t".join([_folded(part) for part in parts])


def _folded(value: str) -> str:
    if len(value) <= MAX_CHARACTERS:
        return value
    starts = range(0, len(value), MAX_CHARACTERS)
    return "\r\n ".join([value[at : at + MAX_CHARACTERS] for at in starts])


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"
