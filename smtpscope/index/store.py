"""Where the indexes are kept: one file for each set of captures, in the user's cache folder.

An index is found again by the identity of its captures (path, device, inode, size, time of
change) and by what they were read with. Plain copies of compressed captures lie beside them. All
together are kept below a size; what was not opened for the longest time goes first.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from smtpscope.errors import SmtpscopeError
from smtpscope.findings.walk import Policy
from smtpscope.index.rows import create
from smtpscope.index.unpacked import is_compressed, unpack
from smtpscope.index.views import DamagedError, Index
from smtpscope.places import cache_folder, private_folder

DEFAULT_LIMIT = 2_000_000_000
"""Octets that all indexes together may take."""

_SUFFIX = ".sqlite"
_PLAIN = ".capture"
_BESIDE = ("", "-wal", "-shm")


class Kept(NamedTuple):
    """A file of the cache: its size in octets, and when it was last opened (s since 1970)."""

    path: Path
    size: int
    opened: float


def key_of(
    captures: Sequence[str],
    ports: frozenset[int],
    policy: Policy,
    key_logs: Sequence[str] = (),
) -> str:
    """What an index of these captures is known by, as they and their key logs are now.

    Raises OSError where one is not there.
    """
    identities = [_identity(capture) for capture in captures]
    secrets = [_identity(each) for each in key_logs if os.path.exists(each)]
    return json.dumps([identities, sorted(ports), sorted(policy.local_domains), secrets])


def _identity(capture: str | Path) -> list[str | int]:
    known = os.stat(capture)
    path = os.path.realpath(capture)
    return [path, known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns]


class Store:
    """A folder of indexes. `problem` says why it is not the usual one, in words for the user."""

    def __init__(self, folder: Path | None = None, limit: int = DEFAULT_LIMIT) -> None:
        self.limit = limit
        self._used: set[Path] = set()
        self._unpacking = Lock()
        self.problem: str | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        try:
            self.folder = private_folder(folder or cache_folder() / "index")
            # A folder that is there may be on a file system that is read-only.
            os.close(self._create_probe())
        except (SmtpscopeError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.problem = f"the index cannot be kept ({reason}): it is made anew each time"
            self._temporary = tempfile.TemporaryDirectory(prefix="smtpscope-")
            self.folder = Path(self._temporary.name)

    def _create_probe(self) -> int:
        probe = self.folder / f"probe-{secrets.token_hex(4)}"
        descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        probe.unlink()
        return descriptor

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    def find(self, key: str, captures: Sequence[str]) -> Index | None:
        """The complete index of these captures, opened; None where there is none."""
        for path in sorted(self.folder.glob(f"{_stem(key)}-*{_SUFFIX}")):
            try:
                index = Index(path, key, captures)
                complete = index.complete
            except DamagedError:
                # Another process may be about to make it.
                if _abandoned(path) or _owner(path) == str(os.getpid()):
                    self.remove(path)
                continue
            if not complete:
                index.close()
                continue
            with suppress(OSError):
                os.utime(path)
            self._used.add(path)
            return index
        return None

    def new(self, key: str) -> Path:
        """The path of a new, empty index, after room has been made for it.

        Raises `SmtpscopeError` where there is none all the same.
        """
        self._tidy()
        path = self.folder / f"{_stem(key)}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        try:
            create(path, key)
        except (OSError, sqlite3.Error) as error:
            self.remove(path)
            reason = getattr(error, "strerror", None) or str(error)
            raise SmtpscopeError(
                f"the index cannot be made in {self.folder} ({reason}): make room there, or set"
                " XDG_CACHE_HOME to another folder"
            ) from None
        self._used.add(path)
        return path

    def plain(self, capture: Path, cancelled: Callable[[], bool]) -> Path:
        """A capture of which single packets can be read: itself, or its unpacked copy.

        It may take long. Raises `SmtpscopeError`.
        """
        try:
            if not is_compressed(capture):
                return capture
            key = json.dumps(_identity(capture))
        except OSError:
            # Whoever reads it says what is wrong.
            return capture
        copy = self.folder / f"{_stem(key)}{_PLAIN}"
        with self._unpacking:
            if copy.exists():
                with suppress(OSError):
                    os.utime(copy)
            else:
                self._tidy()
                unpack(capture, copy, self.limit, cancelled)
        return copy

    def remove(self, path: Path) -> None:
        self._used.discard(path)
        for suffix in _BESIDE:
            with suppress(OSError):
                Path(f"{path}{suffix}").unlink(missing_ok=True)

    @staticmethod
    def kept_in(folder: Path) -> list[Kept]:
        """All indexes and copies in a folder, those opened last first."""
        found = []
        for path in (*folder.glob(f"*{_SUFFIX}"), *folder.glob(f"*{_PLAIN}")):
            with suppress(OSError):
                known = path.stat()
                size = sum(
                    beside.stat().st_size
                    for suffix in _BESIDE
                    if (beside := Path(f"{path}{suffix}")).exists()
                )
                found.append(Kept(path, size, known.st_mtime))
        return sorted(found, key=lambda each: each.opened, reverse=True)

    def _tidy(self) -> None:
        """Throw away what nobody finished, and the oldest beyond the limit; but nothing that is in
        use here."""
        for part in self.folder.glob(f"*{_PLAIN}-*"):
            if not _alive(part.name.rpartition("-")[2]):
                self.remove(part)
        room = self.limit
        for path, size, _ in self.kept_in(self.folder):
            unfinished = path.suffix == _SUFFIX and not _complete(path)
            if unfinished and not _abandoned(path):
                continue
            room -= size
            if (unfinished or room < 0) and path not in self._used:
                self.remove(path)


def _stem(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _complete(path: Path) -> bool:
    try:
        # Who only reads leaves the files beside it behind.
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = 'complete'").fetchone()
    except sqlite3.Error:
        return False
    return row is not None and bool(row[0])


def _owner(path: Path) -> str:
    """The process that made an index."""
    return path.stem.partition("-")[2].partition("-")[0]


def _abandoned(path: Path) -> bool:
    return not _alive(_owner(path))


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
