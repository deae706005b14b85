"""A progress bar on standard error for captures that take longer than a second to read."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self, TextIO

_DELAY = 1.0
_INTERVAL = 0.1
_BAR = 30


class Progress:
    """Draws on `stream` if that is a terminal, from one second after its making on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._enabled = stream.isatty()
        self._next = time.monotonic() + _DELAY
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def update(self, consumed: int, size: int | None, sessions: int) -> None:
        """So many octets of the capture are read, and so many sessions are found."""
        now = time.monotonic()
        if not self._enabled or now < self._next:
            return
        self._next = now + _INTERVAL
        shown = f"{consumed / 1e6:,.1f} MB, {sessions:,} sessions"
        if size:
            share = min(consumed / size, 1.0)
            filled = "█" * round(share * _BAR)
            shown = f"{filled:░<{_BAR}} {share:4.0%}  {shown}"
        self._stream.write(f"\r\x1b[K{shown}")
        self._stream.flush()
        self._drawn = True

    def clear(self) -> None:
        """Take the bar away, so that something else can be written."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False
