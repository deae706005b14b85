"""Reads an index: pages of sessions and messages, sorted and filtered, while it is still written.

A `View` is a list of rows in an order; making one is SQLite's work and lets go of Python's lock,
so it belongs in a thread. Damage is told as `DamagedError`: the index is then made again.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from smtpscope.capture.parts import Part
from smtpscope.errors import SmtpscopeError
from smtpscope.filters import Filter, parse, quoted
from smtpscope.index.rows import Progress
from smtpscope.index.schema import APPLICATION, VERSION
from smtpscope.index.where import Where

SEARCHED = 20_000
"""Rows that are searched at once."""

_searches = count()
_CODE = re.compile(r"[2-5][0-9]{2}")
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")


class DamagedError(SmtpscopeError):
    """The index is not what it should be."""


class SessionRow(NamedTuple):
    """A row of the list of sessions; times in ns. `tls` is "starttls", "implicit" or None, and
    `last` the code of the reply that decided. Texts are the wire's."""

    id: int
    capture: int
    number: int
    start: int
    duration: int
    client: str
    client_port: int
    server: str
    port: int
    state: str
    tls: str | None
    tls_version: str | None
    last: int | None
    last_enhanced: str | None
    severity: int
    findings: int
    exchanges: int
    messages: int
    octets: int
    senders: str
    recipients: str
    subjects: str


class MessageRow(NamedTuple):
    """A row of the list of messages; `code` is None where no answer was seen. The server took it
    for so many (`taken`) of those for whom the client `wanted` that."""

    id: int
    session: int
    ordinal: int
    time: int
    sender: str | None
    recipients: str
    subject: str | None
    size: int
    code: int | None
    parts: int
    attachments: int
    taken: int
    wanted: int


class Table(NamedTuple):
    """Something that there can be a view of: its columns, the one that names the session, what it
    may be sorted by, and where words are looked for (nowhere: where filters do so)."""

    name: str
    row: Any
    session: str
    sorts: dict[str, str]
    searched: tuple[str, ...] = ()


SESSIONS = Table(
    "sessions",
    SessionRow,
    "id",
    {
        "number": "id",
        "capture": "capture",
        "start": "start",
        "client": "client, client_port",
        "server": "server, port",
        "from": "senders",
        "to": "recipients",
        "messages": "messages",
        "last": "last",
        "tls": "tls_version",
        "duration": "duration",
        "severity": "severity",
        "state": "state",
        "octets": "octets",
        "subject": "subjects",
    },
)
MESSAGES = Table(
    "messages",
    MessageRow,
    "session",
    {
        "number": "id",
        "date": "time",
        "from": "sender",
        "to": "recipients",
        "subject": "subject",
        "size": "size",
        "outcome": "code",
        "session": "session",
        "parts": "parts",
    },
    ("sender", "recipients", "subject"),
)


class Index:
    """An index that is there; `key` names the captures and what they were read with.

    Raises `DamagedError` where it is none of ours, of another version, or of other captures.
    """

    def __init__(self, path: Path, key: str, captures: Sequence[str]) -> None:
        self.path = path
        self.captures = tuple(captures)
        self._connection = connect(path)
        try:
            with telling_damage():
                (application,) = self._connection.execute("PRAGMA application_id").fetchone()
                (version,) = self._connection.execute("PRAGMA user_version").fetchone()
                if (application, version) != (APPLICATION, VERSION) or self._meta("key") != key:
                    raise DamagedError("the index is of another version or of other captures")
        except DamagedError:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    @property
    def complete(self) -> bool:
        """It has all that there is in its captures."""
        return bool(self._meta("complete"))

    def progress(self) -> Progress:
        with telling_damage():
            return Progress(*json.loads(self._meta("progress")))

    def parts(self) -> list[Part]:
        """The files of a capture that was followed."""
        with telling_damage():
            return [Part(start, path) for start, path in json.loads(self._meta("parts"))]

    def notes(self) -> list[tuple[int, str]]:
        """What was told of the captures: a capture's index, and a line."""
        with telling_damage():
            return self._connection.execute("SELECT capture, note FROM notes").fetchall()

    def session(self, id: int) -> SessionRow | None:
        with telling_damage():
            row = self._connection.execute(
                f"SELECT {', '.join(SessionRow._fields)} FROM sessions WHERE id = ?", (id,)
            ).fetchone()
        return SessionRow(*row) if row is not None else None

    def ordinals(self, id: int) -> list[int]:
        """Which of a session's transactions have a message."""
        with telling_damage():
            rows = self._connection.execute(
                "SELECT ordinal FROM messages WHERE session = ? ORDER BY ordinal", (id,)
            ).fetchall()
        return [ordinal for (ordinal,) in rows]

    def details(self, id: int) -> tuple[bytes, str, bytes]:
        """Where a session's packets lie, what it shows beside the others, and the secrets of its
        TLS."""
        with telling_damage():
            row = self._connection.execute(
                "SELECT packets, beside, secrets FROM details WHERE id = ?", (id,)
            ).fetchone()
        if row is None:
            raise DamagedError(f"session {id} is not in the index")
        packets, beside, secrets = row
        return packets, beside, secrets

    def view(
        self,
        table: Table = SESSIONS,
        filter: Filter | None = None,
        sort: str = "number",
        *,
        descending: bool = False,
    ) -> View:
        """A view that is still empty: `View.fill` makes its list."""
        return View(self, table, filter or parse(""), sort, descending)

    def _meta(self, name: str) -> Any:
        with telling_damage():
            row = self._connection.execute(
                "SELECT value FROM meta WHERE name = ?", (name,)
            ).fetchone()
        if row is None:
            raise DamagedError("the index has no meta data")
        return row[0]


class View:
    """The rows of a table that a filter shows, in an order.

    `fill` may take long and belongs in a thread; `interrupt` ends it from another, also where it is
    about to begin. The rest is quick. Where all rows are shown in the order in which they were
    found there is no list at all, and what is written to the index later is shown at once;
    otherwise `fill` anew.
    """

    def __init__(
        self, index: Index, table: Table, filter: Filter, sort: str, descending: bool
    ) -> None:
        self.filter = filter
        self.sort = sort
        self.descending = descending
        self._index = index
        self._table = table
        self._where = Where(filter, index.captures)
        self._added = Where(filter, index.captures, few=True)
        self._connection = connect(index.path)
        self._where.prepare(self._connection)
        self._added.prepare(self._connection)
        self._interrupted = False
        self._natural = not filter.text.strip() and sort == "number" and not descending
        self._columns = ", ".join(f"t.{name}" for name in table.row._fields)
        self._last = 0
        self._length = 0
        self._in_order = sort == "number" and not descending

    def close(self) -> None:
        self._connection.close()

    def interrupt(self) -> None:
        # SQLite forgets it where nothing is at work as yet.
        self._interrupted = True
        self._connection.interrupt()

    def __len__(self) -> int:
        return self._length

    @property
    def grows(self) -> bool:
        """`fill` only adds what is new."""
        return self._in_order

    @property
    def behind(self) -> bool:
        """Rows have been written that are not looked at yet. Raises `DamagedError`."""
        with telling_damage():
            (last,) = self._connection.execute(f"SELECT max(id) FROM {self._table.name}").fetchone()
        return bool((last or 0) > self._last)

    def search(self, filter: Filter, position: int, *, backwards: bool = False) -> int | None:
        """The next row behind (or before) `position` whose session a filter shows.

        It may take long and belongs in a thread.
        """
        where = Where(filter, self._index.captures)
        where.prepare(self._connection)
        return self._seek(self._of_sessions(where.sql, "t."), where.parameters, position, backwards)

    def search_words(self, words: str, position: int, *, backwards: bool = False) -> int | None:
        """The same for a row that has these words itself, in any case."""
        if not self._table.searched:
            return self.search(_spoken_of(words), position, backwards=backwards)
        wanted = words.lower()

        def mentions(*values: str | None) -> bool:
            return any(wanted in _spoken(value).lower() for value in values)

        # None of the same name may be at work, as in `Where`.
        function = f"mentions_{next(_searches)}"
        self._connection.create_function(function, -1, mentions, deterministic=True)
        columns = ", ".join(f"t.{name}" for name in self._table.searched)
        return self._seek(f"{function}({columns})", [], position, backwards)

    def _of_sessions(self, condition: str, prefix: str = "") -> str:
        """A condition on sessions as one on the rows of the table."""
        session = self._table.session
        if session == "id":
            return condition
        # With IN it would be asked of all sessions, however few the rows are.
        return f"EXISTS (SELECT 1 FROM sessions WHERE id = {prefix}{session} AND ({condition}))"

    def _seek(
        self, condition: str, parameters: Sequence[int | str], position: int, backwards: bool
    ) -> int | None:
        name = self._table.name
        place, rows = ("t.id", f"{name} t")
        if not self._natural:
            place, rows = ("l.rowid", f"temp.list l JOIN {name} t ON t.id = l.id")
        sql = (
            f"SELECT {place} FROM {rows} WHERE {place} BETWEEN ? AND ? AND {condition}"
            f" ORDER BY {place} {'DESC' if backwards else 'ASC'} LIMIT 1"
        )
        # In pieces, between which the list can be painted.
        first = position if backwards else position + 2
        while 0 < first <= self._length:
            last = first - SEARCHED if backwards else first + SEARCHED
            with telling_damage():
                row = self._connection.execute(
                    sql, (min(first, last), max(first, last), *parameters)
                ).fetchone()
            if row is not None:
                return int(row[0]) - 1
            first = last
        return None

    def fill(self) -> None:
        """Make the list, or add to it what has been written since it was made."""
        try:
            with telling_damage():
                self._fill()
        finally:
            self._interrupted = False

    def _fill(self) -> None:
        connection, table = self._connection, self._table.name
        (last,) = connection.execute(f"SELECT max(id) FROM {table}").fetchone()
        last = last or 0
        if self._natural:
            self._length = self._last = last
            return
        where = self._where
        if self._last and self._in_order:
            where, order, first = self._added, "id", self._last
        else:
            connection.execute("DROP TABLE IF EXISTS temp.list")
            connection.execute("CREATE TEMP TABLE list (id INTEGER)")
            way = "DESC" if self.descending else "ASC"
            keys = self._table.sorts[self.sort].split(", ")
            order, first = ", ".join(f"{key} {way}" for key in keys), 0
            if "id" not in keys:
                order += ", id"
        if self._interrupted:
            raise sqlite3.OperationalError("interrupted")
        connection.execute(
            f"INSERT INTO temp.list SELECT id FROM {table} WHERE id > ? AND id <= ?"
            f" AND {self._of_sessions(where.sql)} ORDER BY {order}",
            (first, last, *where.parameters),
        )
        (self._length,) = connection.execute("SELECT max(rowid) FROM temp.list").fetchone()
        self._length = self._length or 0
        self._last = last

    def rows(self, first: int, count: int) -> list[Any]:
        """Rows `first` to `first + count`, from 0 on; fewer at the end."""
        name = self._table.name
        if self._natural:
            sql = f"SELECT {self._columns} FROM {name} t WHERE id > ? AND id <= ? ORDER BY id"
        else:
            sql = (
                f"SELECT {self._columns} FROM temp.list l JOIN {name} t ON t.id = l.id"
                " WHERE l.rowid > ? AND l.rowid <= ? ORDER BY l.rowid"
            )
        with telling_damage():
            found = self._connection.execute(sql, (first, first + count)).fetchall()
        return [self._table.row(*each) for each in found]

    def position(self, id: int) -> int | None:
        """Where the row with this id is, from 0 on; None where the view does not have it."""
        if self._natural:
            return id - 1 if 0 < id <= self._length else None
        with telling_damage():
            row = self._connection.execute(
                "SELECT rowid FROM temp.list WHERE id = ? LIMIT 1", (id,)
            ).fetchone()
        return row[0] - 1 if row is not None else None

    def first(self, count: int) -> list[Any]:
        """The first rows that the filter shows, without making the list.

        It may take long and belongs in a thread.
        """
        condition = self._of_sessions(self._where.sql, "t.")
        sql = f"SELECT {self._columns} FROM {self._table.name} t WHERE {condition} LIMIT ?"
        with telling_damage():
            found = self._connection.execute(sql, (*self._where.parameters, count)).fetchall()
        return [self._table.row(*each) for each in found]

    def ids(self) -> Iterator[int]:
        """The ids of all rows, in order."""
        with telling_damage():
            if self._natural:
                yield from range(1, self._length + 1)
                return
            for (id,) in self._connection.execute("SELECT id FROM temp.list ORDER BY rowid"):
                yield id

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """What SQL says of the view: `{sessions}` stands for its rows with all their columns.

        It may take long and belongs in a thread.
        """
        with telling_damage():
            return self._connection.execute(self._over(sql), parameters).fetchall()

    def blocks(self, sql: str, size: int) -> Iterator[list[Any]]:
        """The same, `size` rows at once: for those that are too many to be held."""
        with telling_damage():
            cursor = self._connection.execute(self._over(sql))
            while block := cursor.fetchmany(size):
                yield block

    def _over(self, sql: str) -> str:
        name = self._table.name
        rows = f"(SELECT t.* FROM temp.list l JOIN {name} t USING (id))"
        if self._natural:
            # Not what is written meanwhile: the answers to several questions are to agree.
            rows = f"(SELECT * FROM {name} WHERE id <= {self._length})"
        return sql.format(sessions=rows)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that reads an index, from any thread but one at a time.

    Raises `DamagedError` where there is none.
    """
    with telling_damage():
        if not path.is_file():
            raise DamagedError("the index has gone")
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = OFF")
        # Sorting a million rows in memory takes a hundred megabytes, and twice as long.
        connection.execute("PRAGMA temp_store = FILE")
        connection.execute("PRAGMA cache_size = -4000")
        return connection


def _spoken_of(words: str) -> Filter:
    """The sessions in which these words are, or a reply that has them for its code."""
    ways = [quoted(words)]
    if _CODE.fullmatch(words):
        ways.append(f"code == {words}")
    elif _ENHANCED.fullmatch(words):
        ways.append(f"enhanced == {words}")
    return parse(" or ".join(ways))


def _spoken(value: str | None) -> str:
    """A column's text; of a list, its texts."""
    if value is None or not value.startswith("["):
        return value or ""
    try:
        return " ".join(map(str, json.loads(value)))
    except ValueError:
        # A subject may begin like this.
        return value


@contextmanager
def telling_damage() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            # Only its temporary files: nothing is written to the index here.
            raise SmtpscopeError(
                "there is no room to put sessions in order: make room in /var/tmp, or set TMPDIR"
                " to another folder"
            ) from None
        raise DamagedError(f"the index is damaged ({error})") from None
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        raise DamagedError(f"the index is damaged ({error})") from None
