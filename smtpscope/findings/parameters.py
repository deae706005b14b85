"""Rules about the parameters of MAIL and RCPT: known, offered, and of the right form.

RFC 5321 §4.1.1.11; RFC 1870, RFC 3030, RFC 3461 §4, RFC 4954 §5, RFC 6152, RFC 6531 §3.4 and the
other extensions that define one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import starmap

from smtpscope import reference
from smtpscope.findings.rule import Checks, Rule, quoted
from smtpscope.findings.walk import Step
from smtpscope.smtp import grammar
from smtpscope.smtp.values import Parameter
from smtpscope.stream import Defect, Span

MAX_ENVID = 100
"""Characters of ENVID (RFC 3461 §4.4)."""
MAX_ORCPT = 500
"""Characters of ORCPT (RFC 3461 §4.2)."""
SHOWN = 100
"""Octets of a value that are quoted."""

RULES: dict[str, Rule] = {
    "parameter-syntax": Rule(
        "warning",
        "a parameter is malformed",
        "RFC 5321 §4.1.2",
        "Write KEYWORD or KEYWORD=value, with one space before each and none inside. Mend the "
        "client.",
    ),
    "parameter-twice": Rule(
        "warning",
        "a parameter is given twice",
        "RFC 5321 §4.1.1.11",
        "Send each parameter once: which value counts is anybody's guess. Mend the client.",
    ),
    "parameter-unknown": Rule(
        "note",
        "a parameter that no registered extension defines",
        "RFC 5321 §4.1.1.11",
        "Servers answer 555 to what they don't know. Send it only to servers that are known to "
        "take it; check the spelling.",
    ),
    "parameter-not-offered": Rule(
        "warning",
        "a parameter of an extension that the server did not offer",
        "RFC 5321 §2.2.1",
        "The client may use only what the reply to EHLO lists, and nothing after HELO. Mend the "
        "client; the server may answer 555 or 501.",
    ),
    "parameter-value": Rule(
        "warning",
        "the value is not of the parameter's form",
        "RFC 5321 §4.1.1.11",
        "Correct the value: `smtpscope explain` followed by the keyword shows the form. Servers "
        "answer 501 to it, or ignore what it asks for.",
    ),
}

_NEEDED = re.compile(r";\s*")
_BODY = re.compile(rb"(?i:7BIT|8BITMIME|BINARYMIME)\Z")
_NOTIFY = re.compile(rb"(?i:NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*)\Z")
_ORCPT = re.compile(rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+;(.+)\Z", re.DOTALL)
_RET = re.compile(rb"(?i:FULL|HDRS)\Z")
_BY = re.compile(rb"[+-]?[0-9]{1,9};(?i:[RN]T?)\Z")
_SECONDS = re.compile(rb"[1-9][0-9]{0,8}\Z")
_DATE_TIME = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]{8,}(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
_MOMENT = re.compile(_DATE_TIME + rb"\Z")
_RRVS = re.compile(_DATE_TIME + rb"(?:;[CRcr])?\Z")
_PRIORITY = re.compile(rb"-?[0-9]\Z")


def _matches(pattern: re.Pattern[bytes]) -> Callable[[bytes | None], bool]:
    return lambda value: value is not None and pattern.match(value) is not None


def _is_xtext(value: bytes) -> bool:
    return grammar.decode_xtext(value)[1]


def _is_orcpt(value: bytes | None) -> bool:
    match = _ORCPT.match(value) if value is not None and len(value) <= MAX_ORCPT else None
    # The type utf-8 may come in UTF-8 or with escapes of its own (RFC 6533 §3).
    return match is not None and (match[0][:6].lower() == b"utf-8;" or _is_xtext(match[1]))


def _is_envid(value: bytes | None) -> bool:
    return value is not None and len(value) <= MAX_ENVID and _is_xtext(value)


def _is_mailbox(value: bytes | None) -> bool:
    return value is not None and (value == b"<>" or _is_xtext(value))


def _is_absent(value: bytes | None) -> bool:
    return value is None


FORMS: dict[str, Callable[[bytes | None], bool]] = {
    "SIZE": lambda value: grammar.parse_size(value) is not None,
    "BODY": _matches(_BODY),
    "SMTPUTF8": _is_absent,
    "AUTH": _is_mailbox,
    "RET": _matches(_RET),
    "ENVID": _is_envid,
    "NOTIFY": _matches(_NOTIFY),
    "ORCPT": _is_orcpt,
    "BY": _matches(_BY),
    "HOLDFOR": _matches(_SECONDS),
    "HOLDUNTIL": _matches(_MOMENT),
    "MT-PRIORITY": _matches(_PRIORITY),
    "RRVS": _matches(_RRVS),
    "REQUIRETLS": _is_absent,
    "CONPERM": _is_absent,
    "CONNEG": _is_absent,
    "PRDR": _is_absent,
}
"""Whether a value is of the form that its keyword's RFC gives it."""


def _parameters(step: Step) -> Iterable[Defect]:
    exchange, command, state = step.exchange, step.command, step.state
    if command is None or exchange.path is None:
        return ()
    found: list[Defect] = []
    parameters: Iterable[Parameter] = exchange.path.parameters
    if exchange.path.defects:
        # Of one that is given twice, which is told with it, the last one counts.
        parameters = starmap(Parameter, dict(parameters).items())
    for parameter in parameters:
        keyword, value = parameter
        extensions = _extensions(command.verb, keyword)
        if not extensions:
            # What follows a malformed path need not be meant for parameters.
            if all(defect.rule == "parameter-twice" for defect in exchange.path.defects):
                span = _place(step, parameter)
                found.append(Defect("parameter-unknown", span, keyword[:SHOWN]))
            continue
        if keyword == "BODY" and value is not None and value.upper() in _BODY_NEEDS:
            extensions = _BODY_NEEDS[value.upper()]
        if state.offer_seen and state.offered.keys().isdisjoint(extensions):
            found.append(Defect("parameter-not-offered", _place(step, parameter), keyword))
        form = FORMS.get(keyword)
        if form is not None and not form(value):
            found.append(Defect("parameter-value", _place(step, parameter), _spell(parameter)))
    return found


_BODY_NEEDS = {b"8BITMIME": ("8BITMIME",), b"BINARYMIME": ("BINARYMIME",)}


@lru_cache(maxsize=512)
def _extensions(verb: str, keyword: str) -> tuple[str, ...]:
    """The extensions that define a parameter, any of which is enough."""
    row = reference.parameter(verb, keyword)
    return tuple(_NEEDED.split(row.extension)) if row is not None else ()


def _place(step: Step, parameter: Parameter) -> Span:
    command = step.command
    assert command is not None
    at = command.argument.upper().rfind(b" " + parameter.keyword.encode())
    if at < 0:
        return command.span
    start = len(command.verb) + 2 + at
    value = parameter.value
    length = len(parameter.keyword) + (0 if value is None else len(value) + 1)
    return command.span.part(start, start + length)


def _spell(parameter: Parameter) -> str:
    if parameter.value is None:
        return f"{parameter.keyword} without a value"
    value = quoted(parameter.value, SHOWN)
    return f"{parameter.keyword}={value}"


def _recipient(step: Step) -> Iterable[Defect]:
    command, argument, state = step.command, step.exchange.path, step.state
    if command is None or command.argument.isascii() or argument is None or argument.path is None:
        return ()
    # Without an accepted MAIL nothing was settled.
    if argument.path.address.isascii() or state.mail is None or "SMTPUTF8" in state.parameters:
        return ()
    return (Defect("eight-bit-address", command.span),)


CHECKS = Checks(commands={"MAIL": (_parameters,), "RCPT": (_parameters, _recipient)})
