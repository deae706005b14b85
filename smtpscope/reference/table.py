"""The documented table: commands, replies, codes, keywords and limits, looked up by name.

In: the JSON files beside this module, read once, when first needed. Out: rows that quote their
source and say whether they were `checked` against it. A code that no row knows falls back as RFC
5321 §4.2.1 (first digit, then second) and RFC 3463 §2 (detail, subject, class) have it.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, TypeVar

from smtpscope.reference.rows import (
    CommandRow,
    Digits,
    DocumentedRow,
    EnhancedMeaning,
    ExtensionRow,
    LimitRow,
    MechanismRow,
    ParameterRow,
    ReplyRow,
    WithRow,
)

_Row = TypeVar("_Row")


def command(verb: str) -> CommandRow | None:
    """The row of a verb or pseudo-command, in any case; None if no row has it."""
    return commands().get(verb.upper()) or commands().get(verb.lower())


def allowed_replies(verb: str) -> frozenset[int]:
    """The codes that the RFCs list for `verb`, with those that may answer any command.

    RFC 5321 §4.3.2 and the extensions' RFCs. Empty for a verb that no row has: nothing is known.
    """
    row = command(verb)
    return frozenset() if row is None else _allowed()[row.verb]


def reply(code: int) -> ReplyRow | None:
    """The row of a reply code, or None."""
    return replies().get(code)


def reply_meaning(code: int, verb: str | None) -> str:
    """What `code` means in answer to `verb`, in one short line (70 characters at most).

    `verb` is "(greeting)" for the banner, "." for the end of data, None for a reply that answers
    nothing. A code without a row is told by its digits (RFC 5321 §4.2.1).
    """
    row = replies().get(code)
    if row is None:
        return _meaning_by_digits(code)
    if verb is None:
        return row.short
    return row.by.get(verb) or row.by.get(verb.upper(), row.short)


def digits(code: int) -> Digits:
    """The meaning of a reply code's first and second digit, for any integer."""
    table = _load("replies.json")["digits"]
    text = str(code)
    if len(text) != 3 or text[0] not in table["first"]:
        complaint, move = table["out_of_range"]
        return Digits("", complaint, "", "", move)
    severity, first, move = table["first"][text[0]]
    category, second = table["second"].get(text[1], ["", "(not defined)"])
    return Digits(severity, first, category, second, move)


@lru_cache(maxsize=1024)
def enhanced(klass: int, subject: int, detail: int) -> EnhancedMeaning:
    """The meaning of an enhanced status code, as exact as it is known (RFC 3463 §2)."""
    table = _load("enhanced_codes.json")
    severity = table["classes"].get(str(klass), {}).get("text", "")
    subject_text = table["subjects"].get(str(subject), "")
    code = f"{klass}.{subject}.{detail}"
    row = _vendor_codes().get((klass, subject, detail))
    if row is not None:
        level = "vendor"
    else:
        row = _detail_codes().get((subject, detail))
        level = "detail"
    if row is not None:
        basic = tuple(row["basic"])
        source, checked = row["source"], row["checked"]
        return EnhancedMeaning(
            code, row["text"], level, severity, basic, row["notes"], source, checked
        )
    if subject_text:
        level, text = "subject", f"{subject_text}: detail {detail} is not registered"
    elif severity:
        level, text = "class", f"{severity}; subject {subject} is not defined"
    else:
        level, text = "none", f"no enhanced status code: class {klass} is not defined"
    return EnhancedMeaning(code, text, level, severity, (), "", table["source"], True)


def enhanced_class(klass: int) -> str:
    """A sentence on the class of an enhanced status code; empty where it is not defined."""
    return str(_load("enhanced_codes.json")["classes"].get(str(klass), {}).get("meaning", ""))


def enhanced_subject(subject: int) -> str:
    """The subject of an enhanced status code in words; empty where it is not defined."""
    return str(_load("enhanced_codes.json")["subjects"].get(str(subject), ""))


def extension(keyword: str) -> ExtensionRow | None:
    """The row of an EHLO keyword; `AUTH=PLAIN` finds that of the old spelling `AUTH=`."""
    key = keyword.upper()
    return extensions().get("AUTH=" if key.startswith("AUTH=") else key)


def parameter(verb: str, keyword: str) -> ParameterRow | None:
    """The row of a parameter of `verb` (MAIL or RCPT)."""
    row = parameters().get(keyword.upper())
    return row if row is not None and verb.upper() in row.commands else None


def mechanism(name: str) -> MechanismRow | None:
    """The row of a SASL mechanism."""
    return mechanisms().get(name.upper())


def limit(name: str) -> LimitRow | None:
    """The row of a limit, timeout or port by its name: "command line", "timeout: MAIL", …"""
    return limits().get(name.lower())


def received_with(keyword: str) -> WithRow | None:
    """The row of a protocol name behind "with" in a Received header."""
    return with_keywords().get(keyword.upper())


def documented(name: str) -> DocumentedRow | None:
    """The row of the documented table for a verb, a header name or a reply code."""
    return documented_rows().get(name.upper())


@cache
def documented_rows() -> dict[str, DocumentedRow]:
    """All rows of the documented table by upper-case name, in its own order."""
    return {row.name.upper(): row for row in _rows("documented.json", DocumentedRow)}


@cache
def commands() -> dict[str, CommandRow]:
    """All commands and pseudo-commands by verb."""
    return {row.verb: row for row in _rows("commands.json", CommandRow)}


@cache
def replies() -> dict[int, ReplyRow]:
    """All reply codes; the meanings of a verb are copied to those that answer as it does."""
    table = {row.code: row for row in _rows("replies.json", ReplyRow)}
    for verb, like in [(row.verb, row.answers_as) for row in commands().values() if row.answers_as]:
        for row in table.values():
            for meanings in (row.by, row.next_by):
                if like in meanings:
                    meanings.setdefault(verb, meanings[like])
    return table


@cache
def extensions() -> dict[str, ExtensionRow]:
    """All EHLO keywords."""
    return {row.keyword: row for row in _rows("extensions.json", ExtensionRow)}


@cache
def parameters() -> dict[str, ParameterRow]:
    """All parameters of MAIL and RCPT."""
    return {row.keyword: row for row in _rows("parameters.json", ParameterRow)}


@cache
def mechanisms() -> dict[str, MechanismRow]:
    """All SASL mechanisms."""
    return {row.name: row for row in _rows("auth_mechanisms.json", MechanismRow)}


@cache
def limits() -> dict[str, LimitRow]:
    """All limits, timeouts and ports by lower-case name."""
    return {row.name.lower(): row for row in _rows("limits.json", LimitRow)}


@cache
def with_keywords() -> dict[str, WithRow]:
    """All protocol names behind "with" in a Received header."""
    return {row.keyword: row for row in _rows("received_with.json", WithRow)}


@cache
def enhanced_codes() -> tuple[str, ...]:
    """All enhanced status codes that have a row of their own: "X.7.1", …, "5.7.57", …"""
    table = _load("enhanced_codes.json")
    return tuple(row["code"] for row in (*table["rows"], *table["vendor"]))


@cache
def _load(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(files(__package__).joinpath(name).read_text("utf-8"))
    return data


def _rows(name: str, kind: type[_Row]) -> list[_Row]:
    names = kind._fields  # type: ignore[attr-defined]
    return [
        kind(**{key: _frozen(row[key]) for key in names})  # a missing key is a broken data file
        for row in _load(name)["rows"]
    ]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@cache
def _allowed() -> dict[str, frozenset[int]]:
    always = frozenset(_load("commands.json")["any_command"])
    return {
        row.verb: frozenset((*row.success, *row.intermediate, *row.failure))
        # A greeting answers no command.
        | (frozenset() if row.verb == "(greeting)" else always)
        for row in commands().values()
    }


@lru_cache(maxsize=1024)
def _meaning_by_digits(code: int) -> str:
    known = digits(code)
    if not known.severity:
        return known.first
    category = f", {known.category}" if known.category else ""
    return f"{known.severity}{category} (code {code} is not registered)"


def _parts(code: str) -> tuple[int, ...]:
    return tuple(int(part) for part in code.split(".") if part != "X")


@cache
def _detail_codes() -> dict[tuple[int, ...], dict[str, Any]]:
    return {_parts(row["code"]): row for row in _load("enhanced_codes.json")["rows"]}


@cache
def _vendor_codes() -> dict[tuple[int, ...], dict[str, Any]]:
    table: dict[tuple[int, ...], dict[str, Any]] = {}
    for row in _load("enhanced_codes.json")["vendor"]:
        klass, subject, first = _parts(row["code"])
        last = _parts(row["last"])[2] if row["last"] else first
        for detail in range(first, last + 1):
            table[klass, subject, detail] = row
    return table


_NO_COMMANDS = frozenset({"pseudo", "http", "preamble"})

VERBS: frozenset[str] = frozenset(
    row.verb for row in commands().values() if row.status not in _NO_COMMANDS
)
"""What a decoder may take for a command when it looks for its feet; nothing of HTTP."""

HTTP_VERBS: frozenset[str] = frozenset(
    row.verb for row in commands().values() if row.status == "http"
)
"""Request methods of HTTP that are seen on mail ports."""
