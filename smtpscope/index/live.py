"""Fills the index of a capture that is still being written, with its sessions while they go on.

A session has its row from its first packet on, by its number, and the row is written anew as it
grows. Its messages are added once each, when their outcome is known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from smtpscope.findings.walk import Policy
from smtpscope.following import Follower, Watched
from smtpscope.index.rows import Progress, Row, RowWriter
from smtpscope.index.schema import MESSAGE_CODE, entry_of

PERIOD = 0.05
"""Seconds from one writing to the next where there is something to write."""
IDLE_PERIOD = 0.5
"""The same where there is nothing but how far it is."""
SHARE = 10
"""A session that goes on is looked at again after so many times what it took last."""


class LiveWriter:
    """Fills an index until it is told to `stop`. Raises `NoCaptureError`."""

    def __init__(
        self,
        path: Path,
        capture: str,
        ports: frozenset[int],
        policy: Policy,
        key_logs: Sequence[str] = (),
    ) -> None:
        self._rows = RowWriter(path)
        self._follower = Follower(
            capture, ports=ports, policy=policy, trails=True, exchanges=False, key_logs=key_logs
        )
        self._begin = time.monotonic()
        self._written = 0.0
        self._touched: dict[int, Watched] = {}
        self._due: dict[int, float] = {}
        self._messages: dict[int, int] = {}
        self._parts = 0
        self._changes = 0
        self._comments = 0
        self._accepted = 0

    def close(self) -> None:
        self._rows.close()

    def stop(self) -> None:
        """Read what is there, and end."""
        self._follower.stop()

    def fill(self) -> None:
        """Write until it ends."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[bool]:
        """The same, step by step; whether a step brought something."""
        for touched in self._follower:
            for watched in touched:
                self._touched[watched.number] = watched
            passed = time.monotonic() - self._written
            if passed > (PERIOD if self._touched else IDLE_PERIOD):
                self._write()
            yield bool(touched)
        self._due.clear()
        self._write(done=True)
        self._rows.note(0, self._follower.notes())
        self._rows.finish()

    def _write(self, *, done: bool = False) -> None:
        follower = self._follower
        rows = [
            self._row(watched)
            for number, watched in sorted(self._touched.items())
            if watched.ended or self._due.get(number, 0.0) <= time.monotonic()
        ]
        for row in rows:
            del self._touched[row.id]
        if len(follower.reader.parts) != self._parts:
            self._parts = len(follower.reader.parts)
            self._rows.keep_parts(follower.reader.parts)
        comments = follower.reader.comments[self._comments :]
        self._comments += len(comments)
        said = [each.text.decode("utf-8", "replace") for each in comments if not each.packet]
        if said:
            self._rows.note(0, said)
        progress = Progress(
            0,
            follower.reader.consumed,
            0,
            follower.sessions,
            round(time.monotonic() - self._begin, 3),
            done,
            self._changes,
            follower.packets,
            follower.dropped,
            follower.open,
            self._accepted,
        )
        self._rows.write(rows, progress)
        self._written = time.monotonic()

    def _row(self, watched: Watched) -> Row:
        number = watched.number
        before = time.monotonic()
        session = watched.snapshot()
        entry = entry_of(session)
        written = self._messages.pop(number, None)
        if written is not None:
            self._changes += 1
        messages = entry.messages
        if watched.ended:
            self._due.pop(number, None)
        else:
            # Rows of messages are not written anew: those with an outcome will not change.
            known = 0
            while known < len(messages) and messages[known][MESSAGE_CODE] is not None:
                known += 1
            entry = entry._replace(messages=messages[:known])
            self._messages[number] = max(known, written or 0)
            now = time.monotonic()
            self._due[number] = now + SHARE * (now - before)
        new = entry.messages[written or 0 :]
        codes = [message[MESSAGE_CODE] for message in new]
        self._accepted += sum(code is not None and 200 <= int(code) < 300 for code in codes)
        return Row(number, 0, entry, written or 0)
