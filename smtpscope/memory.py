"""What is remembered from one run to the next: recent captures, filters, the theme.

A file in the state folder, 0600. What cannot be read is as good as nothing, and what cannot be
written, or is larger than anybody means, is not remembered.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from smtpscope.errors import SmtpscopeError
from smtpscope.places import private_folder, state_folder, write_private

FILE = "state.json"
MAX_OCTETS = 1 << 20
"""Octets of the file that are read; what is written by the bounds below is less."""
MAX_CAPTURES = 30
MAX_FILTERS = 200
MAX_NAMES = 16_000
MAX_WORDS = 2_000
"""Octets in the file of the captures opened together, and of a filter or a theme."""
_MAX_TIME = 1e11


class Recent(NamedTuple):
    """A capture, or several reviewed together, and when they were opened (s since 1970)."""

    captures: tuple[str, ...]
    opened: float


class _State(NamedTuple):
    recent: tuple[Recent, ...] = ()
    filters: tuple[str, ...] = ()
    theme: tuple[str, str | None] | None = None


class Memory:
    """What is remembered. `problem` says why nothing can be, in words for the user."""

    def __init__(self, folder: Path | None = None) -> None:
        self.problem: str | None = None
        self._folder = folder
        self._state = self._read()

    @property
    def recent(self) -> list[Recent]:
        """The captures opened last come first."""
        return list(self._state.recent)

    @property
    def filters(self) -> list[str]:
        """The filters used last come first."""
        return list(self._state.filters)

    def theme(self, configured: str | None) -> str | None:
        """The theme picked in the palette: it wins until another one is configured."""
        picked = self._state.theme
        return picked[0] if picked is not None and picked[1] == configured else configured

    def keep_captures(self, captures: tuple[str, ...]) -> None:
        def change(state: _State) -> _State:
            others = [each for each in state.recent if each.captures != captures]
            return state._replace(recent=(Recent(captures, time.time()), *others)[:MAX_CAPTURES])

        if _fits(captures, MAX_NAMES):
            self._change(change)

    def keep_filter(self, filter: str) -> None:
        def change(state: _State) -> _State:
            others = [each for each in state.filters if each != filter]
            return state._replace(filters=(filter, *others)[:MAX_FILTERS])

        if _fits(filter, MAX_WORDS):
            self._change(change)

    def keep_theme(self, theme: str, configured: str | None) -> None:
        if _fits((theme, configured), MAX_WORDS):
            self._change(lambda state: state._replace(theme=(theme, configured)))

    def _change(self, change: Callable[[_State], _State]) -> None:
        # Another program of ours may have written meanwhile.
        self._state = change(self._read())
        octets = json.dumps(self._state._asdict()).encode()
        try:
            write_private(private_folder(self._where()) / FILE, octets)
        except (OSError, SmtpscopeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.problem = f"what you do cannot be remembered ({reason})"

    def _where(self) -> Path:
        return self._folder or state_folder()

    def _read(self) -> _State:
        try:
            with open(self._where() / FILE, "rb") as file:
                if os.fstat(file.fileno()).st_size > MAX_OCTETS:
                    return _State()
                found = json.loads(file.read())
        except (OSError, ValueError, RecursionError, SmtpscopeError):
            return _State()
        if not isinstance(found, dict):
            return _State()
        recent = [_recent(each) for each in _list(found.get("recent"))]
        filters = [each for each in _list(found.get("filters")) if _words(each)]
        return _State(
            tuple([each for each in recent if each is not None][:MAX_CAPTURES]),
            tuple(filters[:MAX_FILTERS]),
            _theme(found.get("theme")),
        )


def _recent(value: object) -> Recent | None:
    captures, opened, *_ = [*_list(value), None, None]
    names = _list(captures)
    if not names or not all(map(_is_path, names)) or not _fits(names, MAX_NAMES):
        return None
    if not isinstance(opened, int | float) or not 0 <= opened < _MAX_TIME:
        return None
    return Recent(tuple(names), float(opened))


def _theme(value: object) -> tuple[str, str | None] | None:
    theme, configured, *_ = [*_list(value), None, None]
    known = _words(theme) and (configured is None or _words(configured))
    return (theme, configured) if known and _fits((theme, configured), MAX_WORDS) else None


def _words(value: object) -> bool:
    return isinstance(value, str) and _fits(value, MAX_WORDS)


def _is_path(value: object) -> bool:
    try:
        return isinstance(value, str) and value != "" and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _fits(value: object, limit: int) -> bool:
    return len(json.dumps(value)) <= limit


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
