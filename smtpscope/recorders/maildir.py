"""A Maildir on disk: what `commit` reports is there for good, whole, whatever happens then.

Messages are kept exactly as the wire had them, CRLF and binary chunks too, behind header lines of
ours (`message_head`): Python, mutt and Dovecot read CRLF, and an octet that was changed could not
be had back. They are committed in groups: write and fsync each file, rename it into new/, fsync the
folder once.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from smtpscope.errors import SmtpscopeError
from smtpscope.places import private_folder

STALE = 36 * 3_600
"""Seconds after which a file in tmp/ is nobody's any more, by Maildir's rules."""

_numbers = itertools.count(1)


class Maildir:
    """A Maildir, made where it is missing. Raises `SmtpscopeError` where it can't be."""

    def __init__(self, folder: Path) -> None:
        try:
            private_folder(folder)
        except SmtpscopeError as error:
            raise SmtpscopeError(f"{error}: name another Maildir with --maildir") from None
        self.folder = folder
        self._second = ThreadPoolExecutor(1)
        self._process = os.getpid()
        host = socket.gethostname() or "localhost"
        self._host = host.replace("/", r"\057").replace(":", r"\072")
        try:
            for name in ("tmp", "cur", "new"):
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            self._tidy()
            # What lies in a folder that is not on disk itself is lost with it.
            for path in (folder.parent, folder):
                _sync(path)
            self._new = os.open(folder / "new", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            reason = error.strerror or error
            raise SmtpscopeError(
                f"{folder} can be no Maildir ({reason}): name another folder"
            ) from None

    def new_file(self) -> MessageFile:
        """A file for a message that comes; nothing of it is on disk yet."""
        now = time.time_ns()
        name = (
            f"{now // 10**9}.M{now % 10**9 // 1_000:06d}P{self._process}Q{next(_numbers)}"
            f".{self._host}"
        )
        return MessageFile(self.folder, name)

    def commit(self, files: Sequence[MessageFile]) -> list[int]:
        """Put messages on disk for good, under their names in new/: the errno of each, 0 of one
        that is there."""
        problems = dict.fromkeys(files, 0)
        # All are being written before the first one is waited for, so that they share the journal.
        _take(MessageFile.begin_writing, files, problems)
        self._wait(files, problems)
        _take(MessageFile.settle, files, problems)
        settled = [file for file in files if not problems[file]]
        try:
            if settled:
                # The names are on disk, too, before anybody relies on them.
                os.fsync(self._new)
        except OSError as error:
            for file in settled:
                file.take_back()
                problems[file] = error.errno or errno.EIO
        return list(problems.values())

    def close(self) -> None:
        self._second.shutdown()
        os.close(self._new)

    def _wait(self, files: Sequence[MessageFile], problems: dict[MessageFile, int]) -> None:
        """Wait for the files to be on disk, for two at a time: a disk that is told to keep what it
        has says so to all who ask meanwhile. More at a time would cost more than it saves."""
        half = len(files) // 2
        if half:
            others = self._second.submit(_take, MessageFile.wait, files[:half], problems)
        _take(MessageFile.wait, files[half:], problems)
        if half:
            others.result()

    def _tidy(self) -> None:
        """Throw away what was never finished."""
        for path in (self.folder / "tmp").iterdir():
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > STALE:
                    path.unlink()


class MessageFile:
    """The file of one message, `name` in tmp/ and then in new/. Its methods raise OSError.

    `octets` are all of it; None where they are written, by this process or another one.
    """

    __slots__ = ("_file", "_folder", "_octets", "name")

    def __init__(self, folder: Path, name: str, octets: bytes | None = None) -> None:
        self.name = name
        self._folder = folder
        self._octets = octets
        self._file = -1

    def write(self, octets: bytes | bytearray | memoryview) -> None:
        """The next octets of it; the first ones make the file."""
        if self._file < 0:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            self._file = os.open(self._path("tmp"), flags, 0o600)
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def close(self) -> None:
        """Nothing more is written by this process; another one may commit it."""
        file, self._file = self._file, -1
        os.close(file)

    def begin_writing(self) -> None:
        """All of it is to be in the file, and on its way to the disk."""
        octets, self._octets = self._octets, None
        if octets is not None:
            self.write(octets)
        elif self._file < 0:
            self._file = os.open(self._path("tmp"), os.O_WRONLY | os.O_CLOEXEC)
        if hasattr(os, "posix_fadvise"):
            # Linux starts to write what nobody needs in memory.
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    def wait(self) -> None:
        """Wait for all of it to be on disk."""
        os.fsync(self._file)

    def settle(self) -> None:
        """Give it its name."""
        self.close()
        os.rename(self._path("tmp"), self._path("new"))

    def take_back(self) -> None:
        """It has its name, but nobody may rely on it: its sender will come again."""
        self._unlink("new")

    def discard(self) -> None:
        """Let go of what there is of it."""
        if self._file >= 0:
            with suppress(OSError):
                self.close()
        self._unlink("tmp")

    def _unlink(self, folder: str) -> None:
        with suppress(OSError):
            os.unlink(self._path(folder))

    def _path(self, folder: str) -> str:
        return f"{self._folder}/{folder}/{self.name}"


def _take(
    step: Callable[[MessageFile], None],
    files: Sequence[MessageFile],
    problems: dict[MessageFile, int],
) -> None:
    """Take the next step with all files that have met no problem."""
    for file in files:
        if not problems[file]:
            try:
                step(file)
            except OSError as error:
                file.discard()
                problems[file] = error.errno or errno.EIO


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
