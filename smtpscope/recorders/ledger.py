"""The recording of a program's own connections: every octet is in it before it goes any further.

`Ledger` is what `serve` and `proxy` write to: connections as synthetic segments, key logs before
the packets that need them, notes as comments on packets. What all connections have to say in one
turn of the event loop is written to the file at once, and then sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from smtpscope.capture.recording import RecordingWriter, Rotation, Wire
from smtpscope.capture.synth import Talk
from smtpscope.recorders.tls import KeyLog
from smtpscope.stream import Endpoint


class Ledger:
    """A recording, within a running event loop; times are taken when something is written.

    Raises `RecordingError`.
    """

    def __init__(
        self, path: Path, wires: Sequence[Wire], rotation: Rotation | None, key_log: KeyLog
    ) -> None:
        """`wires` are of the link type RAW."""
        self._writer = RecordingWriter(path, wires, rotation=rotation, on_first=self._schedule)
        self._key_log = key_log
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self._waiting: list[Callable[[], object]] = []

    @property
    def packets(self) -> int:
        """How many were recorded."""
        return self._writer.packets

    @property
    def path(self) -> Path:
        return self._writer.path

    @property
    def offset(self) -> int:
        """Where in its file the recording begins."""
        return self._writer.offset

    def talk(self, client: Endpoint, server: Endpoint, wire: int = 0, note: str = "") -> Talk:
        """A connection that begins now; `note` is to be known of it."""
        return Talk(partial(self._writer.packet, wire), client, server, time.time_ns(), note)

    def keep_secrets(self) -> None:
        """Write what TLS has agreed on since; before the packets that need it."""
        lines = self._key_log.drain()
        if lines:
            self._writer.secrets(lines)

    def then(self, do: Callable[[], object]) -> None:
        """Do something when all that was appended until now is in the file: soon, in this order."""
        self._waiting.append(do)
        self._schedule()

    def settle(self) -> None:
        """Write what was appended, and do what waited for that."""
        waiting, self._waiting = self._waiting, []
        # Where this fails, nothing may go any further.
        self._writer.flush()
        for do in waiting:
            do()

    def close(self) -> None:
        self._closed = True
        self._writer.close()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._settle_soon)

    def _settle_soon(self) -> None:
        self._scheduled = False
        # It may be closed by now.
        if not self._closed:
            self.settle()
