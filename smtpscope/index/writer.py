"""Fills an index: reads the captures, and writes what it found a few times a second.

It runs in a process of its own (`run`), so that the screen answers meanwhile; what it has written
can be read at once. It ends when it is told to, or when who started it has gone.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from smtpscope.errors import SmtpscopeError
from smtpscope.findings.walk import Policy
from smtpscope.index.live import LiveWriter
from smtpscope.index.rows import Progress, Row, RowWriter
from smtpscope.index.schema import Entry, entry_of
from smtpscope.parallel import read_rendered, usual_jobs
from smtpscope.reading import SMTP_PORTS, spare_collector

PERIOD = 0.25
"""Seconds from one writing to the next."""
FIRST_PERIOD = 0.05
"""The same until there are some sessions to look at."""
FIRST_SESSIONS = 200
MAX_PENDING = 2_000
"""Sessions that wait for being written."""
NICENESS = 5
"""By how much the processes that read stand back."""


class Task(NamedTuple):
    """What is to be read into which file, and how: picklable. The one capture that is to `follow`
    is read until a SIGINT says that it is over."""

    path: Path
    captures: tuple[str, ...]
    ports: frozenset[int]
    policy: Policy
    jobs: int | None
    follow: bool = False
    key_logs: tuple[str, ...] = ()


def run(task: Task) -> None:
    """The process that fills an index which `create` has made."""
    # Ctrl-C comes to all processes of the terminal; the owner ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the owner does on SIGTERM is not for a copy of it to do.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The screen goes before.
    os.nice(NICENESS)
    spare_collector()
    try:
        if task.follow:
            ports = SMTP_PORTS | task.ports
            capture, key_logs = task.captures[0], task.key_logs
            with closing(LiveWriter(task.path, capture, ports, task.policy, key_logs)) as live:
                signal.signal(signal.SIGINT, lambda number, frame: live.stop())
                live.fill()
        else:
            with closing(_Writer(task)) as writer:
                writer.fill()
    except (sqlite3.Error, OSError):
        # There is no room, or the index has gone. The screen is not this process's to write on:
        # its owner says that it ended early.
        raise SystemExit(1) from None


class _Writer:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._rows = RowWriter(task.path)
        self._pending: list[Row] = []
        self._sizes = [_size(path) for path in task.captures]
        self._begin = time.monotonic()
        self._written = self._begin
        self._capture = 0
        self._consumed = 0
        self._before = 0
        self._sessions = 0
        self._sound = True

    def close(self) -> None:
        self._rows.close()

    def fill(self) -> None:
        task = self._task
        for number, path in enumerate(task.captures):
            self._capture = number
            notes: list[str] = []
            try:
                found = read_rendered(
                    path,
                    entry_of,
                    task.jobs or usual_jobs(path),
                    ports=SMTP_PORTS | task.ports,
                    policy=task.policy,
                    trails=True,
                    key_logs=task.key_logs,
                    on_progress=self._progress,
                    on_note=notes.append,
                )
                for _, entry in found:
                    self._add(entry)
            except SmtpscopeError as error:
                # It may be there next time, and so this index is not for keeping.
                self._sound = False
                notes.append(str(error))
            self._flush()
            self._rows.note(number, notes)
            self._before += self._sizes[number]
            self._consumed = 0
        self._flush(done=True)
        self._rows.finish()

    def _progress(self, consumed: int, size: int | None, sessions: int) -> None:
        self._consumed = consumed
        self._flush_in_time()

    def _add(self, entry: Entry) -> None:
        self._sessions += 1
        self._pending.append(Row(self._sessions, self._capture, entry))
        if len(self._pending) >= MAX_PENDING:
            self._flush()
        self._flush_in_time()

    def _flush_in_time(self) -> None:
        period = PERIOD if self._sessions > FIRST_SESSIONS else FIRST_PERIOD
        if time.monotonic() - self._written > period:
            self._flush()

    def _flush(self, *, done: bool = False) -> None:
        progress = Progress(
            self._capture,
            sum(self._sizes) if done else self._before + self._consumed,
            sum(self._sizes),
            self._sessions,
            round(time.monotonic() - self._begin, 3),
            done,
        )
        self._rows.write(self._pending, progress, complete=done and self._sound)
        self._pending = []
        self._written = time.monotonic()


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
