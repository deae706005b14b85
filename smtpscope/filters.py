"""The display filter language: `code >= 500 and to ~ "example.org"`, and what it says of a session.

`parse` makes a `Filter` of a text, or raises `FilterError` with the column and what was expected
there. A field with several values (recipients, codes, findings) matches if one of them does, and
with `!=` if none is equal. A word that is no field is looked for in addresses, names and subjects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from smtpscope.errors import UsageError
from smtpscope.fields import FIELDS, SEARCHED, Field
from smtpscope.session import Session, Severity

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
    "OPERATOR": "an operator (== ~ <)",
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


_CLOSED = {
    "finding": "a rule (smtpscope explain --rules)",
    "group": "a group of findings",
    "state": "how a session ended",
    "tls": "how TLS began",
}
"""Fields of text whose values are all known, and what is expected of them."""
MAX_NAMED = 10
"""So many known values are told in an error; of more only what is nearest."""


class FilterError(UsageError):
    """A filter that can't be read: `column` counts characters from 1."""

    def __init__(self, column: int, expected: str) -> None:
        super().__init__(f"filter, column {column}: expected {expected}")
        self.column = column
        self.expected = expected


class Test(NamedTuple):
    """What is asked of a field: `accepts` takes all its values of one session.

    `operator` and `wanted` are what it was made of: a number in ns or octets, a text as written;
    "has" is a word's operator, "present" that of a field alone.
    """

    field: str
    operator: str
    wanted: tuple[str | int, ...]
    accepts: Callable[[Iterable[str | int]], bool]


class Not(NamedTuple):
    """What `child` does not show."""

    child: Node


class All(NamedTuple):
    """What all of them show."""

    children: tuple[Node, ...]


class Any(NamedTuple):
    """What any of them shows."""

    children: tuple[Node, ...]


Node = Test | Not | All | Any


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was read; `node` is None where it shows everything."""

    text: str
    node: Node | None

    def matches(self, session: Session) -> bool:
        """Whether it shows a session."""
        return self.node is None or _matches(self.node, session)


def quoted(value: str) -> str:
    """A value as a filter has it, whatever is in it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _matches(node: Node, session: Session) -> bool:
    if isinstance(node, Test):
        return node.accepts(FIELDS[node.field].values(session))
    if isinstance(node, Not):
        return not _matches(node.child, session)
    if isinstance(node, All):
        return all(_matches(child, session) for child in node.children)
    return any(_matches(child, session) for child in node.children)


@lru_cache(maxsize=64)
def parse(text: str) -> Filter:
    """Read a filter; an empty one shows everything. Raises `FilterError`."""
    if len(text) > MAX_LENGTH:
        raise FilterError(MAX_LENGTH + 1, "no more than so many characters")
    if not text.strip():
        return Filter(text, None)
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


# -- from text to predicate -----------------------------------------------------------------------


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", propagate_positions=True)


class _Compiler(Transformer[Token, Node]):
    """Turns lark's tree into ours from the leaves up."""

    def start(self, children: list[Node]) -> Node:
        return children[0]

    def either(self, children: list[Node]) -> Node:
        return children[0] if len(children) == 1 else Any(tuple(children))

    def both(self, children: list[Node]) -> Node:
        return children[0] if len(children) == 1 else All(tuple(children))

    def negation(self, children: list[Node]) -> Node:
        return Not(children[0])

    def word(self, children: list[Token]) -> Node:
        (token,) = children
        name = token.lower()
        if token.type == "WORD" and name in FIELDS:
            return Test(name, "present", (), lambda values: any(v != "" for v in values))
        wanted = _unquoted(token).lower()

        def accepts(values: Iterable[str | int]) -> bool:
            return any(wanted in str(value).lower() for value in values)

        return Any(tuple([Test(name, "has", (wanted,), accepts) for name in SEARCHED]))

    def comparison(self, children: list[Token]) -> Node:
        name, operator, value = children
        field = _field(name)
        if field.kind == "text":
            return _text_test(name.lower(), operator, _known(name.lower(), operator, value))
        if operator == "~":
            raise FilterError(operator.column or 1, f"== != < <= > >= or in behind {name}")
        wanted = _number(field.kind, value)
        compare = _COMPARE[operator]

        def accepts(values: Iterable[str | int]) -> bool:
            return any(compare(each, wanted) for each in values)

        def differs(values: Iterable[str | int]) -> bool:
            return wanted not in values

        test = differs if operator == "!=" else accepts
        return Test(name.lower(), str(operator), (wanted,), test)

    def membership(self, children: list[Token]) -> Node:
        name, *values = children
        field = _field(name)
        if field.kind == "text":
            known = [_known(name.lower(), "in", value) for value in values]
            texts = frozenset(_unquoted(value).lower() for value in known)
            return Test(
                name.lower(),
                "in",
                tuple(texts),
                lambda values: any(str(each).lower() in texts for each in values),
            )
        numbers = frozenset(_number(field.kind, value) for value in values)
        return Test(
            name.lower(),
            "in",
            tuple(numbers),
            lambda values: any(each in numbers for each in values),
        )


_COMPARE: dict[str, Callable[[str | int, int], bool]] = {
    "==": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
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


def _known(name: str, operator: str, value: Token) -> Token:
    """A value as sessions have it. Raises `FilterError` where none can have it."""
    if operator == "~":
        return value
    text = _unquoted(value).lower()
    if name == "tls.version" and re.fullmatch(r"1\.[0-3]", text):
        # As the list has it.
        return Token.new_borrow_pos("WORD", f"TLSv{text}", value)
    closed = _known_values(name) if name in _CLOSED else []
    if closed and text not in closed:
        shown = closed if len(closed) <= MAX_NAMED else get_close_matches(text, closed, 3)
        raise FilterError(
            value.column or 1, _CLOSED[name] + (f": {', '.join(shown)}" * bool(shown))
        )
    return value


def _text_test(name: str, operator: Token, value: Token) -> Test:
    wanted = _unquoted(value)
    folded = wanted.lower()
    if operator == "~":
        try:
            pattern = re.compile(wanted, re.IGNORECASE)
        except (re.error, RecursionError, OverflowError) as error:
            raise FilterError(value.column or 1, f"a regular expression ({error})") from None

        def accepts(values: Iterable[str | int]) -> bool:
            return any(pattern.search(str(each)[:MAX_TEXT]) for each in values)
    elif operator == "==":

        def accepts(values: Iterable[str | int]) -> bool:
            return any(str(each).lower() == folded for each in values)
    elif operator == "!=":

        def accepts(values: Iterable[str | int]) -> bool:
            return all(str(each).lower() != folded for each in values)
    else:
        raise FilterError(operator.column or 1, "== != ~ or in, for this field is a text")
    return Test(name, str(operator), (wanted,), accepts)


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
        names = set(error.accepts or error.expected)
        if "OPERATOR" in names:
            # It is one.
            names.discard("_IN")
    else:
        names = set()
    if names == {"WORD", "QUOTED"}:
        return "a value"
    words = [word for name, word in _NAMES.items() if name in names]
    return (
        " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words) or "a filter"
    )
