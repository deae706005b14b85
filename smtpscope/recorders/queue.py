"""The queue for TURN, ATRN and ETRN: messages that wait for a host to collect them.

A folder with two files a message: NAME.json says for whom it is, NAME.eml is the message itself.
Both are written whole and fsynced before the entry counts; nothing goes out from here by itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
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

    def add(self, host: str, sender: str, recipients: Iterable[str], message: BinaryIO) -> Queued:
        """Queue a message. Raises `SmtpscopeError` where it can't be kept."""
        id = f"{int(time.time())}-{secrets.token_hex(4)}"
        path = self._folder / f"{id}.eml"
        try:
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                try:
                    shutil.copyfileobj(message, file)
                    file.flush()
                    os.fsync(file.fileno())
                    os.rename(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise
            entry = Queued(
                id, host, sender, tuple(recipients), path.stat().st_size, time.time(), path
            )
            said = entry._asdict()
            del said["path"], said["id"]
            write_private(self._folder / f"{id}.json", json.dumps(said).encode())
            self._sync()
        except OSError as error:
            path.unlink(missing_ok=True)
            raise SmtpscopeError(
                f"the message cannot be queued in {self._folder} ({error.strerror}): make room"
            ) from None
        return entry

    def waiting(self, host: str | None = None) -> list[Queued]:
        """What waits, for one host or for all, oldest first."""
        self.problems = []
        found = [entry for path in self._folder.glob("*.json") if (entry := self._read(path))]
        wanted = host.casefold() if host is not None else None
        return sorted(
            (each for each in found if wanted is None or each.host.casefold() == wanted),
            key=lambda each: (each.added, each.id),
        )

    @contextmanager
    def take(self, hosts: Iterable[str]) -> Iterator[list[Queued]]:
        """What waits for these hosts and nobody else is delivering; it is ours for the block."""
        with ExitStack() as stack:
            taken = []
            for host in {host.casefold(): host for host in hosts}.values():
                for entry in self.waiting(host):
                    with suppress(OSError):
                        file = stack.enter_context(entry.path.open("rb"))
                        # A lock goes with its process, however that ends.
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        if entry.path.exists():
                            taken.append(entry)
            yield taken

    def remove(self, id: str) -> bool:
        """Take a message out; whether it was there."""
        try:
            # Without this it is no entry any more.
            (self._folder / f"{id}.json").unlink()
        except (OSError, ValueError):
            return False
        with suppress(OSError):
            (self._folder / f"{id}.eml").unlink()
        self._sync()
        return True

    def _read(self, path: Path) -> Queued | None:
        try:
            said = json.loads(path.read_bytes())
            message = path.with_suffix(".eml")
            return Queued(
                path.stem,
                str(said["host"]),
                str(said["sender"]),
                tuple(map(str, said["recipients"])),
                message.stat().st_size,
                float(said["added"]),
                message,
            )
        except FileNotFoundError:
            # Somebody has taken it out this moment.
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.problems.append(f"{path} is no entry of a queue ({error}): remove it")
            return None

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
