"""Files of settings for the server: TOML to `Settings`, and every mistake with its file and line.

`--config` says who lives here and how the server behaves, `--faults` when it misbehaves,
`--persona` what it says. What the command line says goes before.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from smtpscope.errors import UsageError
from smtpscope.smtp.serving.answers import ANSWERS, Answer
from smtpscope.smtp.serving.faults import Fault
from smtpscope.smtp.serving.settings import Settings, User


class Configured(NamedTuple):
    """What the files say: the server's settings, and where ETRN finds a node ("host:port")."""

    settings: Settings
    etrn_hosts: Mapping[str, str]


class _File(NamedTuple):
    """A file that was read; `lines` has the line of each key, by the tables above it."""

    path: Path
    said: dict[str, Any]
    lines: dict[tuple[str | int, ...], int]

    def wrong(self, where: tuple[str | int, ...], what: str) -> UsageError:
        """A mistake at a key: file, line, key, and what is wrong with it."""
        line, known = 1, where
        while known:
            if known in self.lines:
                line = self.lines[known]
                break
            known = known[:-1]
        key = next((each for each in reversed(where) if isinstance(each, str)), "")
        return UsageError(f"{self.path} line {line}, {key}: {what}")


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
            file = _read(path)
            for key, value in file.said.items():
                if key not in allowed:
                    raise file.wrong((key,), _unknown(key, allowed))
                _TAKERS[key](file, key, value, values)
            etrn_hosts |= values.pop("etrn_hosts", {})
            _check(file, values)
    values |= {key: _plain(key, value) for key, value in overrides.items()}
    if etrn_hosts:
        values["etrn"] = True
    try:
        return Configured(Settings(**values), etrn_hosts)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{error}: see smtpscope serve --help") from None


def _read(path: Path) -> _File:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): check it") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no UTF-8 at octet {error.start}: TOML has to be") from None
    try:
        return _File(path, tomllib.loads(text), dict(_places(text)))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}; it has to be TOML") from None


_TABLE = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"\n]*"|'[^'\n]*')(?:\s*\.\s*[\w-]+)*)\s*=""")
_LONG = re.compile(r'"""|' + r"'''")


def _places(text: str) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """The line of every key that stands at the beginning of one, by the tables above it."""
    table: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    within = False
    for number, line in enumerate(text.splitlines(), 1):
        marks = len(_LONG.findall(line))
        if within or not line.strip():
            within ^= marks % 2 == 1
            continue
        heading = _TABLE.match(line)
        if heading is not None:
            name = heading[2].strip("\"'")
            table = tuple(part.strip("\"' ") for part in name.split("."))
            if heading[1] == "[[":
                table = (*table, counts.get(name, 0))
                counts[name] = counts.get(name, 0) + 1
            yield table, number
        elif (key := _KEY.match(line)) is not None:
            yield (*table, *(part.strip("\"' ") for part in key[1].split("."))), number
        within ^= marks % 2 == 1


def _unknown(key: str, allowed: frozenset[str]) -> str:
    nearest = get_close_matches(key, allowed, 1)
    return f"there is no such key{f'; did you mean {nearest[0]}?' if nearest else ''}"


# -- what each key takes ---------------------------------------------------------------------------


def _simple(kind: type, wanted: str) -> Callable[..., None]:
    def take(file: _File, key: str, value: Any, values: dict[str, Any]) -> None:
        if type(value) is not kind:
            raise file.wrong((key,), f"must be {wanted}, not {value!r}")
        values[key] = value

    return take


def _texts(make: Callable[[list[str]], Any]) -> Callable[..., None]:
    def take(file: _File, key: str, value: Any, values: dict[str, Any]) -> None:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise file.wrong((key,), f"must be a list of texts, not {value!r}")
        values[key] = make(value)

    return take


def _text_table(target: str) -> Callable[..., None]:
    def take(file: _File, key: str, value: Any, values: dict[str, Any]) -> None:
        for name, each in _table(file, key, value).items():
            if not isinstance(each, str):
                raise file.wrong((key, name), f"must be a text, not {each!r}")
        values.setdefault(target, {}).update(value)

    return take


def _table(file: _File, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise file.wrong((key,), f"must be a table, [{key}]")
    return value


def _lists(file: _File, key: str, value: Any, values: dict[str, Any]) -> None:
    found = values.setdefault("lists", {})
    for name, members in _table(file, key, value).items():
        if not isinstance(members, list) or not all(isinstance(each, str) for each in members):
            raise file.wrong((key, name), "must be a list of addresses")
        found[name] = tuple(members)


def _replies(file: _File, key: str, value: Any, values: dict[str, Any]) -> None:
    found = values.setdefault("replies", {})
    for name, said in _table(file, key, value).items():
        if name not in ANSWERS:
            raise file.wrong((key, name), _unknown(name, frozenset(ANSWERS)))
        usual = ANSWERS[name]
        if isinstance(said, str):
            said = {"text": said}
        fields = _fields(file, (key, name), said, Answer)
        found[name] = usual._replace(**fields)


def _users(file: _File, key: str, value: Any, values: dict[str, Any]) -> None:
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


def _faults(file: _File, key: str, value: Any, values: dict[str, Any]) -> None:
    found = []
    for number, said in _tables(file, key, value):
        said = dict(said)
        garbage = said.get("garbage")
        if isinstance(garbage, str):
            said["garbage"] = garbage.encode("latin-1", "replace")
        found.append(_made(file, (key, number), said, Fault))
    values["faults"] = (*values.get("faults", ()), *found)


def _tables(file: _File, key: str, value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise file.wrong((key,), f"must be tables, [[{key}]]")
    yield from enumerate(value)


def _made(file: _File, where: tuple[str | int, ...], said: dict[str, Any], kind: Any) -> Any:
    fields = _fields(file, where, said, kind)
    try:
        return kind(**fields)
    except TypeError as error:
        raise file.wrong(where, f"{str(error).partition('__() ')[2] or error}") from None
    except ValueError as error:
        name, _, what = str(error).partition(": ")
        raise file.wrong((*where, name), what) from None


def _fields(file: _File, where: tuple[str | int, ...], said: Any, kind: Any) -> dict[str, Any]:
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
            *("max_line", "seed", "scram_iterations"),
        ),
        _simple(int, "a number"),
    ),
    **dict.fromkeys(("extensions", "mechanisms"), _texts(tuple)),
    **dict.fromkeys(("hide", "disabled", "tolerate", "domains", "null_domains"), _texts(frozenset)),
    "lists": _lists,
    "replies": _replies,
    "logins": _text_table("logins"),
    "passwords": _text_table("passwords"),
    "etrn_hosts": _text_table("etrn_hosts"),
    "user": _users,
    "fault": _faults,
}
"""What takes a key's value."""

_PERSONA = frozenset({"host", "greeting", "replies", "extensions", "hide", "disabled", "tolerate"})
_FAULTS = frozenset({"fault", "seed", "address_faults"})


def _plain(key: str, value: Any) -> Any:
    """A value of the command line as `Settings` has it."""
    return frozenset(value) if key in ("hide", "disabled") else value


def _check(file: _File, values: dict[str, Any]) -> None:
    """Tell what makes no sense where it stands."""
    try:
        Settings(**values)
    except ValueError as error:
        name, _, what = str(error).partition(": ")
        raise file.wrong((name,), what) from None
