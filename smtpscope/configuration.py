"""What the user configures: `config.toml` in the configuration folder.

    theme = "smtpscope-light"
    time = "utc"
    cache_size = "500M"

    [keys]
    filter = "ctrl+f"

A mistake is told with its line, and the rest is taken all the same.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from smtpscope.errors import SmtpscopeError
from smtpscope.places import config_folder

FILE = "config.toml"
TIMES = ("relative", "delta", "clock", "utc")
_SIZE = re.compile(r"([0-9]{1,12})\s*([kMG]?)B?")
_UNITS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_KNOWN = ("theme", "time", "cache_size", "keys")
_KEYS = {
    "solidus": "slash",
    "reverse_solidus": "backslash",
    "commercial_at": "at",
    "hyphen_minus": "minus",
    "plus_sign": "plus",
    "low_line": "underscore",
}
"""What Textual calls keys that it does not call by their characters' names in Unicode."""
_TABLE = re.compile(r"\s*\[\s*([^\[\]]*?)\s*\]")


@dataclass(frozen=True, slots=True)
class Configuration:
    """`keys` are keys by the ids of what they do, `cache_size` is in octets; `theme` is None where
    the user named none. `problems` are lines for the user."""

    theme: str | None = None
    time: str = "relative"
    cache_size: int = 2_000_000_000
    keys: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_configuration(path: Path | None = None) -> Configuration:
    """The configuration; the usual one where there is no file."""
    file = path or Path(FILE)
    try:
        file = path or config_folder() / FILE
        # Editors on Windows begin a file with a byte order mark.
        words = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Configuration()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return Configuration(problems=(f"{file}, line {line}: not UTF-8",))
    except (OSError, SmtpscopeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Configuration(problems=(f"{file} cannot be read ({reason})",))
    try:
        found = tomllib.loads(words)
    except RecursionError:
        return Configuration(problems=(f"{file}: too deep",))
    except ValueError as error:
        # A number may be too long for Python, which is no error in TOML.
        return Configuration(problems=(f"{file}: {error}",))
    return _Reader(file, words).read(found)


class _Reader:
    def __init__(self, file: Path, words: str) -> None:
        self._file = file
        self._lines = words.splitlines()
        self._problems: list[str] = []

    def read(self, found: dict[str, Any]) -> Configuration:
        for key in found:
            if key not in _KNOWN:
                near = get_close_matches(key, _KNOWN, 1)
                self._tell(
                    key,
                    f"is not known; {f'{near[0]} is' if near else 'known are'}"
                    f"{'' if near else ' ' + ', '.join(_KNOWN)}",
                )
        usual = Configuration()
        theme = found.get("theme")
        if theme is not None and not isinstance(theme, str):
            self._tell("theme", "is the name of a theme")
            theme = None
        time = found.get("time", usual.time)
        if time not in TIMES:
            self._tell("time", f"is one of {', '.join(TIMES)}")
            time = usual.time
        return Configuration(
            theme,
            time,
            self._size(found.get("cache_size", usual.cache_size), usual.cache_size),
            self._keys(found.get("keys", {})),
            tuple(self._problems),
        )

    def _size(self, value: object, usual: int) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            self._tell("cache_size", 'is a size such as "500M" or "2G"')
            return usual
        return int(match[1]) * _UNITS[match[2]]

    def _keys(self, value: object) -> dict[str, str]:
        if not isinstance(value, dict):
            self._tell("keys", 'is a table: [keys], and below it lines such as filter = "ctrl+f"')
            return {}
        keys = {}
        for id, key in value.items():
            if isinstance(key, str) and _keys_of(key):
                keys[id] = ",".join(_keys_of(key))
            else:
                problem = 'is a key such as "ctrl+f", or several with commas between them'
                self._tell(id, problem, "keys")
        return keys

    def _tell(self, key: str, problem: str, table: str = "") -> None:
        line = self._line_of(key, table)
        self._problems.append(f"{self._file}, line {line}: {key} {problem}")

    def _line_of(self, key: str, table: str) -> int:
        """Where a key of a table stands, or else that table; 1 where neither is to be seen."""
        plain, dotted = _begins(key), _begins(table, key)
        within, fallback = "", 0
        for number, line in enumerate(self._lines, 1):
            header = _TABLE.match(line)
            if header is not None:
                within = header[1].strip("\"'")
            own = not table if header is not None else within == table
            if (own and plain.match(line)) or dotted.match(line):
                return number
            if table and not fallback and _begins(table).match(line):
                fallback = number
        return fallback or 1


def _begins(*names: str) -> re.Pattern[str]:
    """A line that is about a key, or that is the head of a table."""
    dotted = r"\s*\.\s*".join(rf"[\"']?{re.escape(name)}[\"']?" for name in names)
    return re.compile(rf"\s*\[*\s*{dotted}\s*[=.\]]")


def _keys_of(keys: str) -> list[str]:
    return [_key_name(key) for key in keys.replace(" ", "").split(",") if key]


def _key_name(key: str) -> str:
    """A key as Textual calls it: "slash" for "/", "ctrl+f" for "Ctrl+F"."""
    if len(key) > 1:
        return key.lower()
    if key.isalnum():
        return key
    name = unicodedata.name(key, key).lower().replace("-", "_").replace(" ", "_")
    return _KEYS.get(name, name)


def check_keys(configuration: Configuration, ids: Mapping[str, str]) -> list[str]:
    """What is wrong with the remapped keys; `ids` are the usual keys by id."""
    problems = []
    for id in configuration.keys:
        if id not in ids:
            near = get_close_matches(id, ids, 1)
            hint = f"; {near[0]} may be meant" if near else "; ? lists them"
            problems.append(f"{FILE}: nothing has the id {id} in [keys]{hint}")
    taken: dict[str, str] = {}
    for id, usual in ids.items():
        for key in _keys_of(configuration.keys.get(id, usual)):
            other = taken.setdefault(key, id)
            if other != id and (id in configuration.keys or other in configuration.keys):
                problems.append(f"{FILE}: {key} is the key of both {other} and {id}")
    return problems
