"""The recording of a program's own connections: every octet is in it before it goes any further.

`Ledger` is what `serve` and `proxy` write to: connections as synthetic segments, key logs before
the packets that need them, notes as comments on packets.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from smtpscope.capture.recording import RecordingWriter, Rotation, Wire
from smtpscope.capture.synth import LINKTYPE_RAW, Talk
from smtpscope.recorders.tls import KeyLog
from smtpscope.stream import Endpoint


class Ledger:
    """A recording, within a running event loop; times are taken when something is written.

    Raises `RecordingError`.
    """

    def __init__(self, path: Path, name: str, rotation: Rotation | None, key_log: KeyLog) -> None:
        self._writer = RecordingWriter(path, [Wire(name, LINKTYPE_RAW)], rotation=rotation)
        self._key_log = key_log
        self.packets = 0
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._closed = False
        self.flush = self._writer.flush

    @property
    def path(self) -> Path:
        return self._writer.path

    def talk(self, client: Endpoint, server: Endpoint) -> Talk:
        """A connection that begins now."""
        return Talk(self._append, client, server, time.time_ns())

    def keep_secrets(self) -> None:
        """Write what TLS has agreed on since; before the packets that need it."""
        lines = self._key_log.drain()
        if lines:
            self._writer.secrets(lines)

    def close(self) -> None:
        self._closed = True
        self._writer.close()

    def _append(self, when: int, packet: bytes, note: str) -> None:
        self.packets += 1
        if not self._scheduled:
            # What is not flushed before it is sent is seen soon all the same.
            self._scheduled = True
            self._loop.call_soon(self._flush_soon)
        self._writer.packet(0, when, packet, comment=note)

    def _flush_soon(self) -> None:
        self._scheduled = False
        # It may be closed by now.
        if not self._closed:
            self.flush()
