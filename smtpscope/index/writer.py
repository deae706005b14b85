"""Fills an index: reads the captures, and writes what it found a few times a second.

It runs in a process of its own (`run`), so that the screen answers meanwhile; what it has written
can be read at once. It ends when it is told to, or when who started it has gone.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from smtpscope.errors import SmtpscopeError
from smtpscope.findings.walk import Policy
from smtpscope.index.schema import APPLICATION, INTERNED, TABLES, VERSION, Entry, entry_of
from smtpscope.parallel import read_rendered, usual_jobs
from smtpscope.reading import SMTP_PORTS, spare_collector

PERIOD = 0.25
"""Seconds from one writing to the next."""
FIRST_PERIOD = 0.05
"""The same until there are some sessions to look at."""
FIRST_SESSIONS = 200
MAX_PENDING = 2_000
"""Sessions that wait for being written."""
MAX_INTERNED = 200_000
"""Texts whose ids are remembered; beyond, all are forgotten and asked for again."""
NICENESS = 5
"""By how much the processes that read stand back."""
MAX_NOTES = 100
"""What is told of each capture."""


class Task(NamedTuple):
    """What is to be read into which file, and how: picklable."""

    path: Path
    captures: tuple[str, ...]
    ports: frozenset[int]
    policy: Policy
    jobs: int | None


class Progress(NamedTuple):
    """How far the reading is: the capture that is read (its index), octets of all captures read
    and to be read (0 where that is unknown), sessions found, seconds since the beginning."""

    capture: int
    consumed: int
    size: int
    sessions: int
    seconds: float
    done: bool


def create(path: Path, key: str) -> None:
    """Make an empty index at `path`, which must not exist: 0600."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.executescript(f"BEGIN; {TABLES} COMMIT;")
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [("key", key), ("complete", 0), ("progress", "[0,0,0,0,0,false]")],
        )
    finally:
        connection.close()


def run(task: Task) -> None:
    """The process that fills an index which `create` has made."""
    # Ctrl-C comes to all processes of the terminal; the owner ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The screen goes before.
    os.nice(NICENESS)
    spare_collector()
    try:
        with closing(_Writer(task)) as writer:
            writer.fill()
    except (sqlite3.Error, OSError):
        # There is no room, or the index has gone. The screen is not this process's to write on:
        # its owner says that it ended early.
        raise SystemExit(1) from None


class _Writer:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._owner = os.getppid()
        self._connection = sqlite3.connect(task.path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA cache_size = -8000")
        self._texts: dict[tuple[str, str], int] = {}
        self._pending: list[tuple[int, Entry]] = []
        self._sizes = [_size(path) for path in task.captures]
        self._begin = time.monotonic()
        self._written = self._begin
        self._capture = 0
        self._consumed = 0
        self._before = 0
        self._sessions = 0
        self._sound = True

    def close(self) -> None:
        self._connection.close()

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
            self._note(number, notes)
            self._before += self._sizes[number]
            self._consumed = 0
        self._flush(done=True)
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _progress(self, consumed: int, size: int | None, sessions: int) -> None:
        self._consumed = consumed
        self._flush_in_time()

    def _add(self, entry: Entry) -> None:
        self._sessions += 1
        self._pending.append((self._capture, entry))
        if len(self._pending) >= MAX_PENDING:
            self._flush()
        self._flush_in_time()

    def _flush_in_time(self) -> None:
        period = PERIOD if self._sessions > FIRST_SESSIONS else FIRST_PERIOD
        if time.monotonic() - self._written > period:
            self._flush()

    def _flush(self, *, done: bool = False) -> None:
        if os.getppid() != self._owner:
            raise SystemExit(1)
        connection = self._connection
        connection.execute("BEGIN")
        self._write(self._pending)
        self._pending = []
        progress = Progress(
            self._capture,
            sum(self._sizes) if done else self._before + self._consumed,
            sum(self._sizes),
            self._sessions,
            round(time.monotonic() - self._begin, 3),
            done,
        )
        connection.executemany(
            "UPDATE meta SET value = ? WHERE name = ?",
            [(json.dumps(progress), "progress"), (int(done and self._sound), "complete")],
        )
        connection.execute("COMMIT")
        self._written = time.monotonic()

    def _write(self, entries: Iterable[tuple[int, Entry]]) -> None:
        connection = self._connection
        first = self._sessions - len(self._pending) + 1
        sessions, details, messages = [], [], []
        for number, (capture, entry) in enumerate(entries, first):
            texts = map(self._intern, INTERNED, entry.interned)
            sessions.append((number, capture, *entry.columns, *texts))
            details.append((number, entry.packets, entry.beside))
            messages += [(None, number, *message) for message in entry.messages]
        for table, rows in ("sessions", sessions), ("details", details), ("messages", messages):
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)

    def _intern(self, kind: str, text: str) -> int:
        known = self._texts.get((kind, text))
        if known is not None:
            return known
        if len(self._texts) >= MAX_INTERNED:
            self._texts.clear()
        row = self._connection.execute(
            "SELECT id FROM texts WHERE kind = ? AND text = ?", (kind, text)
        ).fetchone()
        if row is None:
            cursor = self._connection.execute(
                "INSERT INTO texts (kind, text) VALUES (?, ?)", (kind, text)
            )
            row = (cursor.lastrowid,)
        found = self._texts[kind, text] = int(row[0])
        return found

    def _note(self, capture: int, notes: list[str]) -> None:
        self._connection.executemany(
            "INSERT INTO notes VALUES (?, ?)",
            [
                (capture, note.encode(errors="backslashreplace").decode())
                for note in notes[:MAX_NOTES]
            ],
        )


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
