"""The queue for TURN, ATRN and ETRN: messages that wait for a host to collect them.

A folder with two files a message: NAME.json says for whom it is, NAME.eml is the message itself.
Both are written whole and fsynced before the entry counts; nothing goes out from here by itself.
"""

from __future__ import annotations

import fcntl
import io
import json
import math
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from smtpscope.errors import SmtpscopeError
from smtpscope.places import private_folder, write_private
from smtpscope.smtp.requester import Outgoing

PIECE = 1 << 16
"""Octets of a message that are read at once."""
MAX_TAKEN = 256
"""Messages that are taken at once: each has a file open. What is left has to be asked for again."""
MAX_ENTRY = 1 << 20
"""Octets of NAME.json."""
STALE = 36 * 3_600
"""Seconds after which half of an entry is nobody's any more."""


class Queued(NamedTuple):
    """A message that waits: `host` is for whom, `added` in seconds since the epoch, `path` its
    octets."""

    id: str
    host: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    added: float
    path: Path

    def outgoing(self) -> Outgoing:
        """The message as one that is delivered."""
        return Outgoing(self.id, self.sender, self.recipients, self.size, self._read)

    def _read(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece


class Queue:
    """A queue in a folder, made where it is missing. `problems` are entries that are damaged.

    Raises `SmtpscopeError`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)
        self.problems: list[str] = []
        self._tidy()

    def add(
        self, host: str, sender: str, recipients: Iterable[str], message: BinaryIO | bytes
    ) -> Queued:
        """Queue a message. Raises `SmtpscopeError` where it can't be kept."""
        added = time.time()
        id = f"{int(added)}-{secrets.token_hex(4)}"
        path = self._folder / f"{id}.eml"
        if isinstance(message, bytes):
            message = io.BytesIO(message)
        try:
            self._copy(message, path)
            entry = Queued(id, host, sender, tuple(recipients), path.stat().st_size, added, path)
            self._write(entry)
        except OSError as error:
            for each in (path.with_suffix(".json"), path):
                with suppress(OSError):
                    each.unlink()
            raise SmtpscopeError(
                f"the message cannot be queued in {self._folder} ({error.strerror or error}):"
                " make room there"
            ) from None
        return entry

    def waiting(self, host: str | None = None) -> list[Queued]:
        """What waits, for one host or for all, oldest first."""
        self.problems = []
        found = [entry for path in self._folder.glob("*.json") if (entry := self._read(path))]
        wanted = host.casefold() if host is not None else None
        found = [each for each in found if wanted is None or each.host.casefold() == wanted]
        return sorted(found, key=lambda each: (each.added, each.id))

    @contextmanager
    def take(self, hosts: Iterable[str]) -> Iterator[list[Queued]]:
        """What waits for these hosts and nobody else is delivering; it is ours for the block.

        At most `MAX_TAKEN` messages, the oldest first.
        """
        wanted = {host.casefold() for host in hosts}
        with ExitStack() as stack:
            taken: list[Queued] = []
            for entry in self.waiting():
                if entry.host.casefold() not in wanted:
                    continue
                if len(taken) == MAX_TAKEN:
                    break
                with suppress(OSError):
                    file = stack.enter_context(entry.path.open("rb"))
                    # A lock goes with its process, however that ends.
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # Whoever had it before us may have delivered it, to some at least.
                    now = self._read(entry.path.with_suffix(".json"))
                    if now is not None:
                        taken.append(now)
            yield taken

    def keep(self, id: str, recipients: Iterable[str]) -> bool:
        """The message waits for these of its recipients only; whether it was there.

        Raises `SmtpscopeError` where that can't be written down.
        """
        entry = self._read(self._folder / f"{id}.json") if _is_id(id) else None
        if entry is None:
            return False
        try:
            self._write(entry._replace(recipients=tuple(recipients)))
        except OSError as error:
            raise SmtpscopeError(
                f"{id} cannot be written in {self._folder} ({error.strerror or error}): make room"
            ) from None
        return True

    def remove(self, id: str) -> bool:
        """Take a message out; whether it was there."""
        if not _is_id(id):
            return False
        try:
            # Without this it is no entry any more.
            (self._folder / f"{id}.json").unlink()
        except OSError:
            return False
        with suppress(OSError):
            (self._folder / f"{id}.eml").unlink()
        self._sync()
        return True

    def _copy(self, message: BinaryIO, path: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            try:
                shutil.copyfileobj(message, file, PIECE)
                file.flush()
                os.fsync(file.fileno())
                os.rename(file.name, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(file.name)
                raise

    def _write(self, entry: Queued) -> None:
        said = entry._asdict()
        del said["path"], said["id"]
        write_private(self._folder / f"{entry.id}.json", json.dumps(said).encode())
        self._sync()

    def _read(self, path: Path) -> Queued | None:
        """An entry; None where it is damaged, which is told, or has been taken out meanwhile."""
        message = path.with_suffix(".eml")
        try:
            # What is no file may keep whoever opens it waiting.
            if not stat.S_ISREG(path.stat().st_mode):
                raise ValueError("not a file")
            with path.open("rb") as file:
                said = json.loads(file.read(MAX_ENTRY))
            host, sender, recipients, added = (
                said[name] for name in ("host", "sender", "recipients", "added")
            )
            if not (isinstance(host, str) and isinstance(sender, str)):
                raise ValueError("host and sender must be texts")
            if not isinstance(recipients, list) or not all(
                isinstance(each, str) for each in recipients
            ):
                raise ValueError("recipients must be a list of texts")
            if not isinstance(added, int | float) or not math.isfinite(added):
                raise ValueError("added must be a time")
            known = message.stat()
            if not stat.S_ISREG(known.st_mode):
                raise ValueError("the message is not a file")
        except FileNotFoundError:
            if path.exists():
                self.problems.append(f"{path} has lost its message {message.name}: remove it")
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            self.problems.append(f"{path} is no entry of a queue ({error}): remove it")
            return None
        return Queued(
            path.stem, host, sender, tuple(recipients), known.st_size, float(added), message
        )

    def _tidy(self) -> None:
        """Throw away what was begun, long ago, and never became an entry."""
        for path in self._folder.iterdir():
            if path.suffix == ".json" or path.with_suffix(".json").exists():
                continue
            ours = path.suffix == ".eml" or path.name.startswith(("tmp", "."))
            with suppress(OSError):
                if ours and time.time() - path.lstat().st_mtime > STALE:
                    path.unlink()

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _is_id(id: str) -> bool:
    """Nothing that leads out of the folder."""
    return bool(id) and not any(each in id for each in "/\0")
