"""Files of settings for the server: TOML to `Settings`, and every mistake with its file and line.

`--config` says who lives here and how the server behaves, `--faults` when it misbehaves,
`--persona` what it says. What the command line says goes before.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from smtpscope.errors import UsageError
from smtpscope.smtp.serving.answers import ANSWERS, Answer
from smtpscope.smtp.serving.faults import ACTS, AUTH_LINE, GREETING, TLS, Fault
from smtpscope.smtp.serving.settings import EXTENSIONS, MECHANISMS, Settings, User

Where = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""


class Configured(NamedTuple):
    """What the files say: the server's settings, and where ETRN finds a node ("host:port")."""

    settings: Settings
    etrn_hosts: Mapping[str, str]


class File(NamedTuple):
    """A file that was read; `lines` has the line of each key, and of what is above it."""

    path: Path
    said: dict[str, Any]
    lines: dict[Where, int]

    def wrong(self, where: Where, what: str) -> UsageError:
        """A mistake at a key: file, line, key, and what is wrong with it."""
        known = where
        while known and known not in self.lines:
            known = known[:-1]
        line = self.lines.get(known, 1)
        key = next((each for each in reversed(where) if isinstance(each, str)), "")
        return UsageError(f"{self.path} line {line}, {key}: {what}")


def read_toml(path: Path) -> File:
    """Read a file. Raises UsageError, with the line where there is one."""
    try:
        # Editors on Windows begin a file with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): check it") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{path} line {line}: no UTF-8 at octet {error.start}, which TOML has to be"
        ) from None
    try:
        return File(path, tomllib.loads(text), places(text))
    except tomllib.TOMLDecodeError as error:
        what, _, at = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", at)
        line = int(found[1]) if found else text.count("\n") + 1
        raise UsageError(f"{path} line {line}: {what}; it has to be TOML") from None
    except (RecursionError, ValueError) as error:
        # A number may be too long for Python, and tables too deep, which is no error in TOML.
        raise UsageError(f"{path}: {error}; make it simpler") from None


def read_settings(
    config: Path | None,
    faults: Path | None,
    persona: Path | None,
    overrides: Mapping[str, Any],
) -> Configured:
    """The settings that the files and the command line say together. Raises UsageError."""
    values: dict[str, Any] = {}
    etrn_hosts: dict[str, str] = {}
    for path, allowed in (
        (config, frozenset(_TAKERS)),
        (persona, _PERSONA),
        (faults, _FAULTS),
    ):
        if path is not None:
            file = read_toml(path)
            for key, value in file.said.items():
                if key not in allowed:
                    raise file.wrong((key,), _unknown(key, allowed))
                _TAKERS[key](file, key, value, values)
            etrn_hosts |= values.pop("etrn_hosts", {})
            _check(file, values)
    _check_hidden(overrides.get("hide", ()), values)
    values |= {key: _plain(key, value) for key, value in overrides.items()}
    if etrn_hosts:
        values["etrn"] = True
    try:
        return Configured(Settings(**values), etrn_hosts)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{error}: see smtpscope serve --help") from None


def _unknown(key: str, allowed: frozenset[str], what: str = "key") -> str:
    nearest = get_close_matches(key, sorted(allowed), 1)
    return f"there is no such {what}{f'; did you mean {nearest[0]}?' if nearest else ''}"


# -- what each key takes ---------------------------------------------------------------------------


def _simple(kind: type, wanted: str) -> Callable[..., None]:
    def take(file: File, key: str, value: Any, values: dict[str, Any]) -> None:
        if type(value) is not kind:
            raise file.wrong((key,), f"must be {wanted}, not {value!r}")
        values[key] = value

    return take


def _number(least: int | None) -> Callable[..., None]:
    def take(file: File, key: str, value: Any, values: dict[str, Any]) -> None:
        if type(value) is not int:
            raise file.wrong((key,), f"must be a number, not {value!r}")
        if least is not None and value < least:
            raise file.wrong((key,), f"must be {least} or more, not {value}")
        values[key] = value

    return take


def _texts(make: Callable[[list[str]], Any]) -> Callable[..., None]:
    def take(file: File, key: str, value: Any, values: dict[str, Any]) -> None:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise file.wrong((key,), f"must be a list of texts, not {value!r}")
        values[key] = make(value)

    return take


def _keywords(known: tuple[str, ...]) -> Callable[..., None]:
    """Words of which all are known, in any case."""
    names = frozenset(known)

    def take(file: File, key: str, value: Any, values: dict[str, Any]) -> None:
        _texts(tuple)(file, key, value, values)
        for number, each in enumerate(value):
            if trouble := _not_known(each, names | _offered(values)):
                raise file.wrong((key, number), trouble)
        upper = [each.upper() for each in value]
        values[key] = frozenset(upper) if key == "hide" else tuple(upper)

    return take


def _offered(values: Mapping[str, Any]) -> frozenset[str]:
    """The keywords of extensions of one's own: they can be hidden, too."""
    return frozenset(each.partition(" ")[0].upper() for each in values.get("extensions", ()))


def _not_known(word: str, names: frozenset[str]) -> str:
    """What is wrong with a keyword, "" where it is one of `names`."""
    if word.upper() in names:
        return ""
    near = get_close_matches(word.upper(), sorted(names), 1)
    return f"{word!r} is not known{f'; did you mean {near[0]}?' if near else ''}"


def _check_hidden(hidden: Iterable[str], values: Mapping[str, Any]) -> None:
    """Raises UsageError where the command line hides what nobody offers."""
    for each in hidden:
        if trouble := _not_known(each, frozenset(EXTENSIONS) | _offered(values)):
            raise UsageError(f"--hide: {trouble}")


def _text_table(file: File, key: str, value: Any, values: dict[str, Any]) -> None:
    for name, each in _table(file, key, value).items():
        if not isinstance(each, str):
            raise file.wrong((key, name), f"must be a text, not {each!r}")
        if key == "logins" and each not in ANSWERS:
            raise file.wrong((key, name), _unknown(each, frozenset(ANSWERS), "reply"))
        if key == "etrn_hosts" and not _is_address(each):
            raise file.wrong((key, name), f"must be such as 127.0.0.1:2525, not {each!r}")
    values.setdefault(key, {}).update(value)


def _is_address(where: str) -> bool:
    host, _, port = where.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65_535


def _table(file: File, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise file.wrong((key,), f"must be a table, [{key}]")
    return value


def _lists(file: File, key: str, value: Any, values: dict[str, Any]) -> None:
    found = values.setdefault("lists", {})
    for name, members in _table(file, key, value).items():
        if not isinstance(members, list) or not all(isinstance(each, str) for each in members):
            raise file.wrong((key, name), "must be a list of addresses")
        found[name] = tuple(members)


def _replies(file: File, key: str, value: Any, values: dict[str, Any]) -> None:
    found = values.setdefault("replies", {})
    for name, said in _table(file, key, value).items():
        if name not in ANSWERS:
            raise file.wrong((key, name), _unknown(name, frozenset(ANSWERS)))
        usual = ANSWERS[name]
        if isinstance(said, str):
            said = {"text": said}
        fields = _fields(file, (key, name), said, Answer)
        found[name] = answer = usual._replace(**fields)
        _check_answer(file, (key, name), answer, usual)


def _check_answer(file: File, where: Where, answer: Answer, usual: Answer) -> None:
    if not 200 <= answer.code <= 599:
        raise file.wrong((*where, "code"), f"must be from 200 to 599, not {answer.code}")
    if answer.enhanced and not _ENHANCED.fullmatch(answer.enhanced):
        raise file.wrong((*where, "enhanced"), f"must be such as 5.1.1, not {answer.enhanced!r}")
    allowed = {"host", "protocol", *_FIELD.findall(usual.text)}
    for name in _FIELD.findall(answer.text):
        if name not in allowed:
            known = ", ".join(f"{{{each}}}" for each in sorted(allowed))
            raise file.wrong((*where, "text"), f"has no {{{name}}}; there are {known}")


def _users(file: File, key: str, value: Any, values: dict[str, Any]) -> None:
    users, passwords = [], values.setdefault("passwords", {})
    for number, said in _tables(file, key, value):
        said = dict(said)
        password = said.pop("password", None)
        users.append(_made(file, (key, number), said, User))
        if password is not None:
            if not isinstance(password, str):
                raise file.wrong((key, number, "password"), f"must be a text, not {password!r}")
            passwords[users[-1].address] = password
    values["users"] = tuple(users)


def _faults(file: File, key: str, value: Any, values: dict[str, Any]) -> None:
    found = []
    for number, said in _tables(file, key, value):
        said = dict(said)
        where = (key, number)
        garbage = said.get("garbage")
        if isinstance(garbage, str):
            try:
                said["garbage"] = garbage.encode("latin-1")
            except UnicodeEncodeError:
                what = "must have characters up to \\u00FF only, each for one octet"
                raise file.wrong((*where, "garbage"), what) from None
        fault: Fault = _made(file, where, said, Fault)
        others = frozenset[str]().union(*ACTS.values()) - ACTS[fault.act]
        for name in said:
            if name in others:
                raise file.wrong((*where, name), f"is nothing that {fault.act} needs")
        if fault.on.startswith("(") and fault.on not in _PSEUDO:
            raise file.wrong((*where, "on"), f"must be a command, * . or {', '.join(_PSEUDO)}")
        found.append(fault)
    values["faults"] = (*values.get("faults", ()), *found)


def _tables(file: File, key: str, value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise file.wrong((key,), f"must be tables, [[{key}]]")
    yield from enumerate(value)


def _made(file: File, where: Where, said: dict[str, Any], kind: Any) -> Any:
    fields = _fields(file, where, said, kind)
    for each in dataclasses.fields(kind):
        if each.default is dataclasses.MISSING and each.name not in fields:
            raise file.wrong((*where, each.name), "has to be there")
    try:
        return kind(**fields)
    except ValueError as error:
        name, _, what = str(error).partition(": ")
        raise file.wrong((*where, name), what) from None


def _fields(file: File, where: Where, said: Any, kind: Any) -> dict[str, Any]:
    """The fields of `kind` that a table has, each of its type."""
    if dataclasses.is_dataclass(kind):
        types = {each.name: str(each.type) for each in dataclasses.fields(kind)}
    else:
        # A NamedTuple has its annotations as forward references.
        types = {name: each.__forward_arg__ for name, each in kind.__annotations__.items()}
    if not isinstance(said, dict):
        raise file.wrong(where, f"must be a table with {', '.join(types)}")
    for name, value in said.items():
        if name not in types:
            raise file.wrong((*where, name), _unknown(name, frozenset(types)))
        wanted = types[name]
        fits = _FITS.get(wanted, (object,))
        if not isinstance(value, fits) or (isinstance(value, bool) and bool not in fits):
            raise file.wrong((*where, name), f"must be {_SAID.get(wanted, wanted)}, not {value!r}")
    return said


_PSEUDO = (GREETING, AUTH_LINE, TLS)
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_FIELD = re.compile(r"\{([a-z]+)\}")

_FITS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "bytes": (bytes,),
}
_SAID = {"str": "a text", "int": "a number", "float": "a number", "bool": "true or false"}

_TAKERS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(
        ("host", "greeting", "auth", "vrfy", "expn", "turn", "bare_lf"), _simple(str, "a text")
    ),
    **dict.fromkeys(
        (
            *("lmtp", "require_tls", "require_auth", "auth_allow_insecure", "accept_unknown"),
            *("atrn", "etrn", "address_faults"),
        ),
        _simple(bool, "true or false"),
    ),
    **dict.fromkeys(
        (
            *("max_size", "max_recipients", "max_recipient_domains", "max_mails", "max_errors"),
            "max_line",
        ),
        _number(0),
    ),
    "scram_iterations": _number(1),
    "seed": _number(None),
    "extensions": _texts(tuple),
    "hide": _keywords(EXTENSIONS),
    "mechanisms": _keywords(MECHANISMS),
    "disabled": _texts(lambda verbs: frozenset(each.upper() for each in verbs)),
    **dict.fromkeys(("tolerate", "domains", "null_domains"), _texts(frozenset)),
    "lists": _lists,
    "replies": _replies,
    **dict.fromkeys(("logins", "passwords", "etrn_hosts"), _text_table),
    "user": _users,
    "fault": _faults,
}
"""What takes a key's value."""

_PERSONA = frozenset({"host", "greeting", "replies", "extensions", "hide", "disabled", "tolerate"})
_FAULTS = frozenset({"fault", "seed", "address_faults"})


def _plain(key: str, value: Any) -> Any:
    """A value of the command line as `Settings` has it."""
    if key in ("hide", "disabled"):
        return frozenset(each.upper() for each in value)
    return value


def _check(file: File, values: dict[str, Any]) -> None:
    """Tell what makes no sense where it stands."""
    try:
        Settings(**values)
    except ValueError as error:
        name, _, what = str(error).partition(": ")
        raise file.wrong((name,), what) from None


# -- where things stand in a file: `tomllib` tells no lines ----------------------------------------

_NOTHING = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})|'
    r"'''.*?'''(?:'{0,2})|"
    r'"(?:\\.|[^"\\\n])*"|'
    r"'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]+")


def places(text: str) -> dict[Where, int]:
    """The line of every key and table, from 1; also of what is in arrays and inline tables.

    `text` has to be one that `tomllib` has read.
    """
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [at for at, each in enumerate(text) if each == "\n"]
        self._found: dict[Where, int] = {}
        # The last index of every array of tables.
        self._last: dict[Where, int] = {}

    def scan(self) -> dict[Where, int]:
        table: Where = ()
        while self._skip(_NOTHING) < len(self._text):
            before = self._at
            if self._take("["):
                table = self._header(before)
            else:
                self._pair(table)
            # Behind it there may be a comment, or the second half of a date.
            end = self._text.find("\n", max(self._at, before + 1))
            self._at = end if end >= 0 else len(self._text)
        return self._found

    def _header(self, start: int) -> Where:
        array = self._take("[")
        keys = self._keys()
        table: Where = ()
        for number, key in enumerate(keys, 1):
            table = (*table, key)
            self._note(table, start)
            if array and number == len(keys):
                self._last[table] = self._last.get(table, -1) + 1
            if table in self._last:
                table = (*table, self._last[table])
            self._note(table, start)
        # [a.b] below a second [[a]] is another one.
        self._found[table] = self._line(start)
        return table

    def _pair(self, table: Where) -> None:
        start = self._at
        where = table
        for key in self._keys():
            where = (*where, key)
            self._note(where, start)
        if self._take("="):
            self._skip(_BLANK)
            self._value(where)

    def _value(self, where: Where) -> None:
        string = _STRING.match(self._text, self._at)
        if string is not None:
            self._at = string.end()
        elif self._take("["):
            self._items(where, "]")
        elif self._take("{"):
            self._items(where, "}")
        else:
            self._skip(_SCALAR)

    def _items(self, where: Where, end: str) -> None:
        """What stands in an array or an inline table."""
        index = 0
        while self._skip(_NOTHING) < len(self._text) and not self._take(end):
            before = self._at
            if end == "]":
                self._note((*where, index), before)
                self._value((*where, index))
                index += 1
            else:
                self._pair(where)
            self._skip(_NOTHING)
            if not self._take(",") and self._at == before:
                self._at += 1

    def _keys(self) -> list[str]:
        """A key, or a dotted one."""
        found: list[str] = []
        while True:
            self._skip(_BLANK)
            match = _BARE.match(self._text, self._at) or _STRING.match(self._text, self._at)
            if match is None:
                return found
            self._at = match.end()
            word = match[0]
            found.append(next(iter(tomllib.loads(f"{word} = 0"))) if word[0] in "\"'" else word)
            self._skip(_BLANK)
            if not self._take("."):
                return found

    def _note(self, where: Where, at: int) -> None:
        self._found.setdefault(where, self._line(at))

    def _line(self, at: int) -> int:
        return bisect_left(self._newlines, at) + 1

    def _take(self, octet: str) -> bool:
        if self._text.startswith(octet, self._at):
            self._at += 1
            return True
        return False

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match is not None else self._at
        return self._at
