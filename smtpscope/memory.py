"""What is remembered from one run to the next: recent captures, filters, the theme.

A file in the state folder, 0600. What cannot be read is as good as nothing, and what cannot be
written is not remembered.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from smtpscope.errors import SmtpscopeError
from smtpscope.places import private_folder, state_folder, write_private

FILE = "state.json"
MAX_CAPTURES = 30
MAX_FILTERS = 200
MAX_OCTETS = 1 << 20


class Recent(NamedTuple):
    """A capture, or several reviewed together, and when they were opened (s since 1970)."""

    captures: tuple[str, ...]
    opened: float


class Memory:
    """What is remembered. `problem` says why nothing can be, in words for the user."""

    def __init__(self, folder: Path | None = None) -> None:
        self.problem: str | None = None
        self._folder = folder
        self._state = self._read()

    @property
    def recent(self) -> list[Recent]:
        """The captures opened last come first."""
        found = []
        for each in _list(self._state.get("recent")):
            captures, opened = [*each, None, None][:2] if isinstance(each, list) else (None, None)
            if isinstance(captures, list) and isinstance(opened, int | float):
                found.append(Recent(tuple(map(str, captures)), float(opened)))
        return found

    @property
    def filters(self) -> list[str]:
        """The filters used last come first."""
        return [each for each in _list(self._state.get("filters")) if isinstance(each, str)]

    def theme(self, configured: str | None) -> str | None:
        """The theme picked in the palette: it wins until another one is configured."""
        picked = self._state.get("theme")
        if isinstance(picked, list) and len(picked) == 2 and picked[1] == configured:
            return str(picked[0])
        return configured

    def keep_captures(self, captures: tuple[str, ...]) -> None:
        def change(state: dict[str, Any]) -> None:
            others = [each for each in _list(state.get("recent")) if each[:1] != [list(captures)]]
            state["recent"] = [[list(captures), time.time()], *others][:MAX_CAPTURES]

        self._change(change)

    def keep_filter(self, filter: str) -> None:
        def change(state: dict[str, Any]) -> None:
            others = [each for each in _list(state.get("filters")) if each != filter]
            state["filters"] = [filter, *others][:MAX_FILTERS]

        self._change(change)

    def keep_theme(self, theme: str, configured: str | None) -> None:
        self._change(lambda state: state.update(theme=[theme, configured]))

    def _change(self, change: Any) -> None:
        # Another program of ours may have written meanwhile.
        state = self._read()
        with suppress(TypeError):
            change(state)
        self._state = state
        octets = json.dumps(state).encode()
        try:
            write_private(private_folder(self._where()) / FILE, octets)
        except (OSError, SmtpscopeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.problem = f"what you do cannot be remembered ({reason})"

    def _where(self) -> Path:
        return self._folder or state_folder()

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._where() / FILE, "rb") as file:
                if os.fstat(file.fileno()).st_size > MAX_OCTETS:
                    return {}
                found = json.loads(file.read())
        except (OSError, ValueError, RecursionError, SmtpscopeError):
            return {}
        return found if isinstance(found, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
