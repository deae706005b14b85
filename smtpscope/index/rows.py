"""Writes rows of an index: sessions, their messages, the texts that they share, how far it is.

One process writes an index; others read it meanwhile. What fills it is `writer`, or `live`.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from smtpscope.index.schema import APPLICATION, INTERNED, TABLES, VERSION, Entry

MAX_INTERNED = 200_000
"""Texts whose ids are remembered; beyond, all are forgotten and asked for again."""
MAX_NOTES = 100
"""What is told of each capture."""


class Progress(NamedTuple):
    """How far the reading is: the capture that is read (its index), octets of all captures read
    and to be read (0 where that is unknown), sessions found, seconds since the beginning.

    Of a capture that is followed also: how often rows that were there were changed, packets read,
    packets that the recorder could not get, sessions that go on, and messages that were accepted.
    """

    capture: int
    consumed: int
    size: int
    sessions: int
    seconds: float
    done: bool
    changes: int = 0
    packets: int = 0
    dropped: int = 0
    open: int = 0
    messages: int = 0


class Row(NamedTuple):
    """A session to be written: its id, its capture's index, what is known of it, and how many of
    its messages were written already."""

    id: int
    capture: int
    entry: Entry
    messages: int = 0


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
            [
                ("key", key),
                ("complete", 0),
                ("progress", "[0,0,0,0,0,false]"),
                ("parts", "[]"),
            ],
        )
    finally:
        connection.close()


class RowWriter:
    """An index that `create` has made, to be written; every `write` is one transaction."""

    def __init__(self, path: Path) -> None:
        self._owner = os.getppid()
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA cache_size = -8000")
        self._texts: dict[tuple[str, str], int] = {}

    def close(self) -> None:
        self._connection.close()

    def write(self, rows: Iterable[Row], progress: Progress, *, complete: bool = False) -> None:
        """Write sessions, in place of those with the same ids. Where who started this process has
        gone it ends."""
        if os.getppid() != self._owner:
            raise SystemExit(1)
        connection = self._connection
        connection.execute("BEGIN")
        self._put(rows)
        self._meta("progress", json.dumps(progress))
        self._meta("complete", int(complete))
        connection.execute("COMMIT")

    def finish(self) -> None:
        """Put everything into one file."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def keep_parts(self, parts: Sequence[tuple[int, str]]) -> None:
        """The files of a capture that is followed: where each begins, and its path."""
        self._meta("parts", json.dumps(parts))

    def note(self, capture: int, notes: Sequence[str]) -> None:
        """Keep what is to be told of a capture."""
        self._connection.executemany(
            "INSERT INTO notes VALUES (?, ?)",
            [
                (capture, note.encode(errors="backslashreplace").decode())
                for note in notes[:MAX_NOTES]
            ],
        )

    def _meta(self, name: str, value: str | int) -> None:
        self._connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))

    def _put(self, rows: Iterable[Row]) -> None:
        connection = self._connection
        sessions, details, messages = [], [], []
        for id, capture, entry, written in rows:
            texts = map(self._intern, INTERNED, entry.interned)
            sessions.append((id, capture, *entry.columns, *texts))
            details.append((id, entry.packets, entry.beside, entry.secrets))
            messages += [(None, id, *message) for message in entry.messages[written:]]
        for table, found in ("sessions", sessions), ("details", details), ("messages", messages):
            if found:
                marks = ", ".join("?" * len(found[0]))
                connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", found)

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
