"""The display filter language: `code >= 500 and to ~ "example.org"`, and what it says of a session.

`parse` makes a `Filter` of a text, or raises `FilterError` with the column and what was expected
there. A field with several values (recipients, codes, findings) matches if one of them does, and
with `!=` if none is equal. A word that is no field is looked for in addresses, names and subjects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from smtpscope.errors import UsageError
from smtpscope.session import Session, Severity
from smtpscope.smtp.values import Path

MAX_LENGTH = 2_000
"""Characters of a filter."""
MAX_DEPTH = 50
"""Parentheses and nots within each other."""
MAX_TEXT = 10_000
"""Characters of a value in which a pattern is looked for."""

_GRAMMAR = r"""
    start: either
    either: both (_OR both)*
    both: term (_AND term)*
    ?term: _NOT term -> negation
         | "(" either ")"
         | WORD OPERATOR value -> comparison
         | WORD _IN "(" value ("," value)* ")" -> membership
         | WORD -> word
         | QUOTED -> word
    ?value: WORD | QUOTED

    OPERATOR: "==" | "!=" | "<=" | ">=" | "<" | ">" | "~"
    _OR.2: /or(?![^\s()])/i
    _AND.2: /and(?![^\s()])/i
    _NOT.2: /not(?![^\s()])/i
    _IN.2: /in(?=\s*\()/i
    QUOTED: /"(?:[^"\\]|\\.)*"/ | /'(?:[^'\\]|\\.)*'/
    WORD: /(?!(?:and|or|not)(?![^\s()]))[^\s()"',<>=!~]+/i
    %ignore /\s+/
"""

_NAMES = {
    "WORD": "a field or a word",
    "QUOTED": "a quoted text",
    "OPERATOR": "an operator (== != < <= > >= ~ in)",
    "_OR": "or",
    "_AND": "and",
    "_NOT": "not",
    "_IN": "in",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "$END": "the end",
}

_UNITS = {
    "size": {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000},
    "duration": {
        "": 1_000_000_000,
        "us": 1_000,
        "ms": 1_000_000,
        "s": 1_000_000_000,
        "min": 60_000_000_000,
        "h": 3_600_000_000_000,
    },
    "number": {"": 1},
}
_NUMBER = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([a-zA-Z]*)")
_EXPECTED = {
    "number": "a number",
    "size": "a size such as 500, 20k, 5M or 1G",
    "duration": "a duration such as 250ms, 1.5s or 2min",
    "time": "a time such as 2026-11-24, 2026-11-24T09:30 or 2026-11-24T09:30:05.25Z",
    "severity": "chat, note, warning or error",
}


class FilterError(UsageError):
    """A filter that can't be read: `column` counts characters from 1."""

    def __init__(self, column: int, expected: str) -> None:
        super().__init__(f"filter, column {column}: expected {expected}")
        self.column = column
        self.expected = expected


class Field(NamedTuple):
    """`kind` is text, number, size, duration, time or severity; `values` those of a session."""

    kind: str
    what: str
    values: Callable[[Session], Iterable[str | int]]


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read; `matches` tells whether it shows a session."""

    text: str
    matches: Callable[[Session], bool]


Predicate = Callable[[Session], bool]


@lru_cache(maxsize=64)
def parse(text: str) -> Filter:
    """Read a filter; an empty one shows everything. Raises `FilterError`."""
    if len(text) > MAX_LENGTH:
        raise FilterError(MAX_LENGTH + 1, "no more than so many characters")
    if not text.strip():
        return Filter(text, lambda session: True)
    _check_depth(text)
    try:
        return Filter(text, _Compiler().transform(_parser().parse(text)))
    except VisitError as error:
        if isinstance(error.orig_exc, FilterError):
            raise error.orig_exc from None
        raise
    except UnexpectedInput as error:
        raise FilterError(_column(error, text), _expected(error, text)) from None


def only(text: str, render: Callable[[Session], str | None], session: Session) -> str | None:
    """What `render` makes of the session, None where the filter does not show it."""
    return render(session) if parse(text).matches(session) else None


def complete(text: str) -> list[str]:
    """What the last word of an unfinished filter may become: fields, operators, known values."""
    begun = re.search(r"[^\s()\"',<>=!~]*\Z", text)
    assert begun is not None
    word, before = begun[0].lower(), text[: begun.start()].rstrip()
    comparison = re.search(r"([a-z.]+)\s*(?:==|!=|<=?|>=?|~|in\s*\([^)]*)\Z", before, re.IGNORECASE)
    if comparison is not None:
        known = _known_values(comparison[1].lower())
    elif re.search(r"(?:\A|\(|\b(?:and|or|not))\Z", before, re.IGNORECASE):
        known = [*FIELDS, "not"]
    elif before and before.split()[-1].lower() in FIELDS:
        known = ["==", "!=", "~", "in"] if not word else ["in", "and", "or"]
        kind = FIELDS[before.split()[-1].lower()].kind
        if kind != "text" and not word:
            known = ["==", "!=", "<", "<=", ">", ">=", "in"]
    else:
        known = ["and", "or"]
    return [each for each in known if each.lower().startswith(word) and each.lower() != word]


def _known_values(field: str) -> list[str]:
    from smtpscope import reference
    from smtpscope.findings import GROUPS, RULES

    return {
        "severity": [severity.word for severity in Severity],
        "state": ["quit", "closed", "reset", "open"],
        "tls": ["starttls", "implicit"],
        "verb": sorted(reference.VERBS),
        "finding": sorted(RULES),
        "group": list(GROUPS),
    }.get(field, [])


# -- what a session holds -------------------------------------------------------------------------


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


def _endpoint(address: str, port: int) -> list[str | int]:
    host = f"[{address}]" if ":" in address else address
    return [address, f"{host}:{port}"]


FIELDS: dict[str, Field] = {
    "number": Field("number", "the session's number", lambda s: [s.number]),
    "start": Field("time", "when it began", lambda s: [s.start]),
    "duration": Field("duration", "how long it lasted", lambda s: [s.end - s.start]),
    "client": Field("text", "the client's address", lambda s: _endpoint(*s.client)),
    "server": Field("text", "the server's address", lambda s: _endpoint(*s.server)),
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

_SEARCHED = ("client", "server", "banner", "helo", "from", "to", "subject", "sni", "auth.user")
"""The fields in which a bare word is looked for."""


# -- from text to predicate -----------------------------------------------------------------------


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", propagate_positions=True)


class _Compiler(Transformer[Token, Predicate]):
    """Turns the tree into predicates from the leaves up."""

    def start(self, children: list[Predicate]) -> Predicate:
        return children[0]

    def either(self, children: list[Predicate]) -> Predicate:
        if len(children) == 1:
            return children[0]
        return lambda session: any(child(session) for child in children)

    def both(self, children: list[Predicate]) -> Predicate:
        if len(children) == 1:
            return children[0]
        return lambda session: all(child(session) for child in children)

    def negation(self, children: list[Predicate]) -> Predicate:
        (child,) = children
        return lambda session: not child(session)

    def word(self, children: list[Token]) -> Predicate:
        (token,) = children
        if token.type == "WORD" and token.lower() in FIELDS:
            values = FIELDS[token.lower()].values
            return lambda session: any(True for value in values(session) if value != "")
        wanted = _unquoted(token).lower()
        return lambda session: any(
            wanted in str(value).lower()
            for name in _SEARCHED
            for value in FIELDS[name].values(session)
        )

    def comparison(self, children: list[Token]) -> Predicate:
        name, operator, value = children
        field = _field(name)
        if field.kind == "text":
            return _text_test(field, operator, value)
        if operator == "~":
            raise FilterError(operator.column or 1, f"== != < <= > >= or in behind {name}")
        wanted = _number(field.kind, value)
        if operator == "!=":
            return lambda session: wanted not in field.values(session)
        compare = _COMPARE[operator]
        return lambda session: any(compare(each, wanted) for each in field.values(session))

    def membership(self, children: list[Token]) -> Predicate:
        name, *values = children
        field = _field(name)
        if field.kind == "text":
            texts = {_unquoted(value).lower() for value in values}
            return lambda session: any(str(v).lower() in texts for v in field.values(session))
        numbers = {_number(field.kind, value) for value in values}
        return lambda session: any(value in numbers for value in field.values(session))


_COMPARE: dict[str, Callable[[str | int, int], bool]] = {
    "==": lambda value, wanted: value == wanted,
    "<": lambda value, wanted: int(value) < wanted,
    "<=": lambda value, wanted: int(value) <= wanted,
    ">": lambda value, wanted: int(value) > wanted,
    ">=": lambda value, wanted: int(value) >= wanted,
}


def _field(name: Token) -> Field:
    field = FIELDS.get(name.lower())
    if field is None:
        raise FilterError(name.column or 1, f"a field: {', '.join(FIELDS)}")
    return field


def _text_test(field: Field, operator: Token, value: Token) -> Predicate:
    wanted = _unquoted(value)
    if operator == "~":
        try:
            pattern = re.compile(wanted, re.IGNORECASE)
        except (re.error, RecursionError, OverflowError) as error:
            raise FilterError(value.column or 1, f"a regular expression ({error})") from None
        return lambda session: any(
            pattern.search(str(each)[:MAX_TEXT]) for each in field.values(session)
        )
    folded = wanted.lower()
    if operator == "==":
        return lambda session: any(str(each).lower() == folded for each in field.values(session))
    if operator == "!=":
        return lambda session: all(str(each).lower() != folded for each in field.values(session))
    raise FilterError(operator.column or 1, "== != ~ or in, for this field is a text")


def _number(kind: str, value: Token) -> int:
    text = _unquoted(value)
    found = None
    if kind == "time":
        found = _nanoseconds(text)
    elif kind == "severity":
        found = next((each for each in Severity if each.word == text.lower()), None)
    elif (match := _NUMBER.fullmatch(text)) is not None:
        unit = _UNITS[kind].get(match[2].lower())
        found = round(float(match[1]) * unit) if unit and "." in match[1] else None
        if unit and found is None:
            found = int(match[1]) * unit
    if found is None:
        raise FilterError(value.column or 1, _EXPECTED[kind])
    return found


def _nanoseconds(text: str) -> int | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def _unquoted(token: Token) -> str:
    if token.type != "QUOTED":
        return str(token)
    # Only quotes and backslashes need one before them; in patterns others stay as they are.
    return re.sub(r"\\([\"'\\])", r"\1", token[1:-1])


# -- errors ---------------------------------------------------------------------------------------


def _check_depth(text: str) -> None:
    """Bound the parser's recursion; counting what stands in quotes, too, errs on the safe side."""
    if text.count("(") > MAX_DEPTH or len(re.findall(r"\bnot\b", text, re.IGNORECASE)) > MAX_DEPTH:
        raise FilterError(1, f"no more than {MAX_DEPTH} parentheses and nots")


def _column(error: UnexpectedInput, text: str) -> int:
    token = getattr(error, "token", None)
    if token is not None and token.type == "$END":
        return len(text) + 1
    return error.column if error.column and error.column > 0 else len(text) + 1


def _expected(error: UnexpectedInput, text: str) -> str:
    if isinstance(error, UnexpectedCharacters):
        at = error.pos_in_stream or 0
        if text[at] in "\"'":
            return f"a closing {text[at]}"
        if text[at] == "=":
            return "== (two equals signs)"
        names = error.allowed or set()
    elif isinstance(error, UnexpectedToken):
        names = error.accepts or error.expected
    else:
        names = set()
    words = [word for name, word in _NAMES.items() if name in names]
    return (
        " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) or "a filter"
    )
