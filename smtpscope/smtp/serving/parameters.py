"""The parameters of MAIL and RCPT that a server knows, as a table.

Each rule names the extensions that bring the parameter and judges its value. RFC 1870 §6, RFC 6152,
RFC 3030 §3, RFC 6531 §3.4, RFC 4954 §5, RFC 3461 §4, RFC 5321 §4.1.1.11.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from smtpscope.smtp.grammar import decode_xtext, parse_size
from smtpscope.smtp.values import Parameter

Judge = Callable[[bytes | None, frozenset[str]], str]
"""Value and the keywords of the offered extensions in; out comes the key of a reply, or ""."""

_BAD, _UNSUPPORTED, _UNKNOWN = "parameter.value", "parameter.unsupported", "parameter.unknown"

_BODIES = {"7BIT": "8BITMIME", "8BITMIME": "8BITMIME", "BINARYMIME": "BINARYMIME"}
_NOTIFY = frozenset({b"SUCCESS", b"FAILURE", b"DELAY"})
_MAILBOX = re.compile(rb"[^@\s<>]+@[^@\s<>]+\Z|<>\Z")
_ADDRESS_TYPE = re.compile(rb"[A-Za-z0-9-]+\Z")
MAX_ENVID, MAX_ORCPT = 100, 500


class Rule(NamedTuple):
    """A parameter: known where one of `extensions` is offered."""

    extensions: tuple[str, ...]
    judge: Judge


def _size(value: bytes | None, offered: frozenset[str]) -> str:
    return _BAD if parse_size(value) is None else ""


def _body(value: bytes | None, offered: frozenset[str]) -> str:
    name = (value or b"").upper().decode("ascii", "replace")
    if name not in _BODIES:
        return _BAD
    if name == "7BIT":
        return ""
    return "" if _BODIES[name] in offered else _UNSUPPORTED


def _flag(value: bytes | None, offered: frozenset[str]) -> str:
    return "" if value is None else _BAD


def _auth(value: bytes | None, offered: frozenset[str]) -> str:
    decoded, sound = decode_xtext(value or b"")
    return "" if sound and _MAILBOX.match(decoded) else _BAD


def _ret(value: bytes | None, offered: frozenset[str]) -> str:
    return "" if (value or b"").upper() in (b"FULL", b"HDRS") else _BAD


def _envid(value: bytes | None, offered: frozenset[str]) -> str:
    sound = value is not None and len(value) <= MAX_ENVID and decode_xtext(value)[1]
    return "" if sound else _BAD


def _notify(value: bytes | None, offered: frozenset[str]) -> str:
    words = (value or b"").upper().split(b",")
    return "" if words == [b"NEVER"] or _NOTIFY.issuperset(words) else _BAD


def _orcpt(value: bytes | None, offered: frozenset[str]) -> str:
    kind, semicolon, address = (value or b"").partition(b";")
    if not semicolon or not _ADDRESS_TYPE.match(kind) or not address:
        return _BAD
    if len(value or b"") > MAX_ORCPT:
        return _BAD
    # The type utf-8 has an encoding of its own (RFC 6533 §3).
    return "" if kind.lower() == b"utf-8" or decode_xtext(address)[1] else _BAD


RULES: dict[str, dict[str, Rule]] = {
    "MAIL": {
        "SIZE": Rule(("SIZE",), _size),
        "BODY": Rule(("8BITMIME", "BINARYMIME"), _body),
        "SMTPUTF8": Rule(("SMTPUTF8",), _flag),
        "AUTH": Rule(("AUTH",), _auth),
        "RET": Rule(("DSN",), _ret),
        "ENVID": Rule(("DSN",), _envid),
    },
    "RCPT": {
        "NOTIFY": Rule(("DSN",), _notify),
        "ORCPT": Rule(("DSN",), _orcpt),
    },
}


def known(verb: str, offered: frozenset[str]) -> dict[str, Rule]:
    """The parameters that a server with these extensions knows."""
    return {
        keyword: rule
        for keyword, rule in RULES[verb].items()
        if not offered.isdisjoint(rule.extensions)
    }


def judge(
    parameters: Iterable[Parameter], rules: dict[str, Rule], offered: frozenset[str]
) -> tuple[str, str]:
    """The key of the reply to the first parameter that can't be taken, and its keyword."""
    for keyword, value in parameters:
        rule = rules.get(keyword)
        key = _UNKNOWN if rule is None else rule.judge(value, offered)
        if key:
            return key, keyword
    return "", ""
