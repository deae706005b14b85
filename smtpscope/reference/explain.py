"""Everything the documented table knows under a word, as entries that a person can read.

In: the words of `smtpscope explain` (a verb, a code, an enhanced code, a keyword, a header, a
limit, or a code together with the command it answers). Out: entries of labelled lines, and
`render`, which sets them as plain text. Rows that were not checked against their source say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap

from smtpscope.reference import rows, table

_UNCHECKED = "not checked against its source"
_LEAST_WIDTH = 40
_ENHANCED = re.compile(r"([0-9X])\.([0-9]{1,3})\.([0-9]{1,3})", re.IGNORECASE)
_CLASSES = "245X"
_FILLERS = frozenset({"to", "as", "at", "in", "a", "the"})
"""Words between a code and what it answers ("250 to RCPT")."""
_PHRASES = (
    ("mail from", "MAIL"),
    ("rcpt to", "RCPT"),
    ("end of data", "."),
    ("greeting", "(greeting)"),
    ("banner", "(greeting)"),
)
_VERB_NAMES = {"(greeting)": "greeting", ".": "end of data", "(auth)": "login line"}
_ANSWERS = {"(greeting)": "as greeting", ".": "at end of data", "(auth)": "in a login"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing known under a word: `lines` are (label, text), in the order to be shown."""

    title: str
    kind: str
    lines: list[tuple[str, str]]
    checked: bool


def explain(words: Sequence[str]) -> list[Entry]:
    """Everything known under `words`; empty if nothing is.

    Codes and verbs together ("250 RCPT") are explained as the code in answer to the verb. Any
    integer of three digits is explained, and any enhanced code, by fallback where no row has it.
    """
    phrase = _phrase(words)
    row = table.limit(phrase)
    if row is not None:
        return [_limit_entry(row)]
    phrase = _with_verbs(phrase)
    tokens = phrase.split()
    codes = [int(token) for token in tokens if re.fullmatch("[0-9]{3}", token)]
    verbs = [found.verb for token in tokens if (found := table.command(token)) is not None]
    if codes and verbs:
        entries = [_reply_in_context(code, verb) for code in codes for verb in verbs]
        tokens = [
            token
            for token in tokens
            if not re.fullmatch("[0-9]{3}", token) and table.command(token) is None
        ]
    else:
        entries = []
    for token in tokens:
        entries += _explain_word(token)
    return entries or _limits_that_mention(phrase)


def unexplained(words: Sequence[str]) -> list[str]:
    """Those of `words` about which `explain` says nothing, where it knows some of the others."""
    phrase = _phrase(words)
    if table.limit(phrase) is not None:
        return []
    tokens = _with_verbs(phrase).split()
    unknown = [
        token for token in tokens if token.lower() not in _FILLERS and not _explain_word(token)
    ]
    return unknown if len(unknown) < len(tokens) else []


def impossible(words: Sequence[str]) -> str:
    """Why one of `words`, which has an enhanced code's form, can't be one; mostly empty."""
    for word in words:
        match = _ENHANCED.fullmatch(word)
        if match is not None and match[1].upper() not in _CLASSES:
            return (
                f"there is no {word}: an enhanced status code begins with 2, 4 or 5 (RFC 3463 §2)"
            )
    return ""


def _phrase(words: Sequence[str]) -> str:
    return " ".join(" ".join(words).split())


def _with_verbs(phrase: str) -> str:
    """The phrase, with verbs in the place of what people say for them."""
    for spoken, verb in _PHRASES:
        phrase = re.sub(rf"(?<![\w(]){spoken}(?![\w)])", verb, phrase, flags=re.IGNORECASE)
    return phrase


def nearest(word: str, n: int = 5) -> list[str]:
    """At most `n` known words that look like `word`, the likeliest first."""
    from difflib import get_close_matches

    known = {name.upper(): name for name in _names()}
    return [known[key] for key in get_close_matches(word.upper(), known, n, 0.6)]


def render(entries: Iterable[Entry], width: int = 80) -> str:
    """The entries as plain text, `width` columns wide: labels in a column, texts wrapped."""
    return "\n\n".join(_render_entry(entry, max(width, _LEAST_WIDTH)) for entry in entries)


def _render_entry(entry: Entry, width: int) -> str:
    column = max([len(label) for label, _ in entry.lines] or [0]) + 4
    out = [f"{entry.title}  ({entry.kind})"]
    for label, text in entry.lines:
        first, *rest = wrap(text, width - column) or [""]
        out.append(f"  {label}".ljust(column) + first)
        out += [" " * column + line for line in rest]
    return "\n".join(out)


def _entry(title: str, kind: str, lines: list[tuple[str, str]], checked: bool) -> Entry:
    shown = [(label, text) for label, text in lines if text]
    if not checked:
        shown.append(("caution", _UNCHECKED))
    return Entry(title, kind, shown, checked)


def _explain_word(word: str) -> list[Entry]:
    key = word.upper()
    if match := _ENHANCED.fullmatch(word):
        return [_enhanced_entry(*match.groups())]
    if re.fullmatch("[0-9]{1,5}", word):
        ports = [_limit_entry(row) for row in _ports(int(word))]
        if len(word) != 3:
            return ports
        code = int(word)
        return [*ports, _reply_entry(code)] if table.reply(code) is None else [_reply_entry(code)]
    entries = []
    if (command := table.command(word)) is not None:
        entries.append(_command_entry(command))
    elif (documented := table.documented(word)) is not None:
        entries.append(_documented_entry(documented))
    if (extension := table.extension(word)) is not None:
        entries.append(_extension_entry(extension))
    if (parameter := table.parameters().get(key)) is not None:
        entries.append(_parameter_entry(parameter))
    if (mechanism := table.mechanism(word)) is not None:
        entries.append(_mechanism_entry(mechanism))
    if (received := table.received_with(word)) is not None:
        lines = [("meaning", received.meaning), ("source", received.source)]
        entries.append(_entry(key, "with, in a Received header", lines, received.checked))
    return entries


def _table_lines(name: str) -> list[tuple[str, str]]:
    row = table.documented(name)
    if row is None:
        return []
    return [("table says", row.documented), ("RFCs differ", row.differs or "no")]


def _documented_entry(row: rows.DocumentedRow) -> Entry:
    kind = "header line" if row.kind == "header" else f"{row.kind}, as the documented table has it"
    lines = [("syntax", row.syntax), *_table_lines(row.name), ("source", row.source)]
    return _entry(row.name, kind, lines, row.checked)


def _command_entry(row: rows.CommandRow) -> Entry:
    kinds = {
        "core": "command",
        "extension": "command of an extension",
        "lmtp": "command of LMTP",
        "obsolete": "obsolete command",
        "vendor": "vendor's command",
        "probe": "command used by probes",
        "http": "HTTP request, no SMTP command",
        "preamble": "line before the session, no SMTP command",
        "pseudo": "no command, but answered like one",
    }
    places = {"any": "anywhere in a pipelined group", "last": "only last in a pipelined group"}
    codes = (*row.success, *row.intermediate, *row.failure)
    always = sorted(table.allowed_replies(row.verb) - frozenset(codes))
    lines = [
        ("syntax", row.syntax),
        ("meaning", row.meaning),
        *_table_lines(row.verb),
        ("extension", row.extension),
        ("pipelining", places.get(row.pipelining, "")),
        *((str(code), table.reply_meaning(code, row.verb)) for code in codes),
        ("any time", " ".join(map(str, always))),
        ("note", row.notes),
        ("source", row.source),
    ]
    title = _VERB_NAMES.get(row.verb, row.verb)
    return _entry(title, kinds[row.status], lines, row.checked)


def _digit_lines(code: int) -> list[tuple[str, str]]:
    known = table.digits(code)
    text = str(code)
    if not known.severity:
        return []
    return [
        ("first digit", f"{text[0]}: {known.first}"),
        ("second digit", f"{text[1]}: {known.second}"),
    ]


def _reply_entry(code: int) -> Entry:
    row = table.reply(code)
    title = f"{code:03d}"
    if row is None:
        lines = [
            ("meaning", _sentence(table.reply_meaning(code, None))),
            *_digit_lines(code),
            ("what to do", table.digits(code).next),
            ("source", "RFC 5321 §4.2, §4.2.1, §4.3.2"),
        ]
        return _entry(title, "reply code without an entry", lines, True)
    shown = {
        verb: text
        for verb, text in row.by.items()
        if (like := table.command(verb)) is None or not like.answers_as
    }
    lines = [
        ("meaning", _sentence(row.meaning)),
        *_digit_lines(code),
        ("what to do", row.next),
        *_table_lines(title),
        *((_ANSWERS.get(verb, f"to {verb}"), text) for verb, text in shown.items()),
        ("note", row.notes),
        ("source", row.source),
    ]
    kind = "reply code" if row.status == "standard" else f"reply code, {row.status}"
    return _entry(title, kind, lines, row.checked)


def _reply_in_context(code: int, verb: str) -> Entry:
    row = table.reply(code)
    allowed = sorted(table.allowed_replies(verb))
    listed = "yes" if code in allowed else f"no; listed for it are {' '.join(map(str, allowed))}"
    command = table.commands()[verb]
    move = table.digits(code).next
    sources = command.source.split("; ")
    if row is not None:
        move = row.next_by.get(verb, row.next)
        sources += row.source.split("; ")
    lines = [
        ("meaning", _sentence(table.reply_meaning(code, verb))),
        *_digit_lines(code),
        ("what to do", move),
        ("expected", listed),
        ("note", row.notes if row is not None else ""),
        ("source", "; ".join(dict.fromkeys(sources))),
    ]
    checked = command.checked and (row is None or row.checked)
    return _entry(
        f"{code} {_ANSWERS.get(verb, f'to {verb}')}", "reply code in its context", lines, checked
    )


def _enhanced_entry(klass: str, subject: str, detail: str) -> Entry:
    any_class = klass.upper() == "X"
    known = table.enhanced(5 if any_class else int(klass), int(subject), int(detail))
    title = f"{klass.upper()}.{int(subject)}.{int(detail)}"
    subject_text = table.enhanced_subject(int(subject))
    fallback = {
        "subject": "this code is not registered; what it means is told by its subject and class",
        "class": "this code is not registered, nor its subject; only its class tells something",
        "none": "this can't be an enhanced status code",
    }
    class_text = table.enhanced_class(int(klass)) if not any_class else "of any class"
    lines = [
        ("meaning", _sentence(known.text)),
        ("class", f"{klass.upper()}: {class_text or 'not defined'}"),
        ("subject", f"{int(subject)}: {subject_text or 'not defined'}"),
        ("goes with", " ".join(known.basic)),
        ("note", known.notes),
        ("fallback", fallback.get(known.level, "")),
        ("source", known.source),
    ]
    kind = "enhanced status code" + (", vendor's own" if known.level == "vendor" else "")
    return _entry(title, kind, lines, known.checked)


def _extension_entry(row: rows.ExtensionRow) -> Entry:
    added = ", ".join(f"{verb} {octets}" for verb, octets in row.length_added.items())
    lines = [
        ("meaning", row.meaning),
        ("parameters", row.parameters),
        ("commands", " ".join(row.verbs)),
        ("of MAIL", " ".join(row.mail_parameters)),
        ("of RCPT", " ".join(row.rcpt_parameters)),
        ("longer lines", f"{added} octets more" if added else ""),
        ("status", row.status),
        ("note", row.notes),
        ("source", row.source),
    ]
    return _entry(row.keyword, "EHLO keyword", lines, row.checked)


def _parameter_entry(row: rows.ParameterRow) -> Entry:
    lines = [
        ("syntax", row.syntax),
        ("meaning", row.meaning),
        ("extension", row.extension),
        ("privacy", "names a person or an account" if row.sensitive else ""),
        ("note", row.notes),
        ("source", row.source),
    ]
    return _entry(row.keyword, f"parameter of {' and '.join(row.commands)}", lines, row.checked)


def _mechanism_entry(row: rows.MechanismRow) -> Entry:
    first = {True: "the client", False: "the server", None: ""}[row.client_first]
    lines = [
        ("meaning", row.meaning),
        ("begins", first),
        ("exchange", row.exchange),
        ("on the wire", row.secret),
        ("usage", row.usage),
        ("note", row.notes),
        ("source", row.source),
    ]
    return _entry(row.name, "AUTH mechanism", lines, row.checked)


def _limit_entry(row: rows.LimitRow) -> Entry:
    port = row.unit == "tcp"
    value = f"TCP port {row.value}" if port else f"{row.value} {row.unit}"
    longer = []
    if row.name == "command line":
        for extension in table.extensions().values():
            longer += [
                f"{verb} {octets} ({extension.keyword})"
                for verb, octets in extension.length_added.items()
            ]
    lines = [
        ("value", value),
        ("meaning", row.meaning),
        ("longer by", ", ".join(longer)),
        ("source", row.source),
    ]
    kind = "port" if port else "timeout" if row.unit == "seconds" else "limit"
    return _entry(row.name.removeprefix(f"{kind}: "), kind, lines, row.checked)


def _ports(number: int) -> list[rows.LimitRow]:
    return [row for row in table.limits().values() if row.unit == "tcp" and row.value == number]


def _limits_that_mention(phrase: str) -> list[Entry]:
    wanted = set(re.findall(r"\w+", phrase.lower()))
    if not wanted:
        return []
    return [
        _limit_entry(row)
        for name, row in table.limits().items()
        if wanted <= {word for part in re.findall(r"\w+", name) for word in (part, part + "s")}
    ]


def _names() -> list[str]:
    return [
        *(verb for verb in table.commands() if not verb.startswith("(") and verb != "."),
        *table.extensions(),
        *table.parameters(),
        *table.mechanisms(),
        *table.with_keywords(),
        *(row.name for row in table.documented_rows().values()),
        *table.limits(),
    ]


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text[:1].upper()}{text[1:]}."
