"""The server's Maildir: a message that was acknowledged is on disk, whole, whatever happens then.

Messages are kept exactly as the wire had them, CRLF and binary chunks too, behind header lines of
ours (`head_of`): Python, mutt and Dovecot read CRLF, and an octet that was changed could not be had
back. One thread commits them in groups: write and fsync each file, rename it into new/, fsync the
folder once.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from queue import SimpleQueue

from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.places import private_folder
from smtpscope.smtp.serving.envelope import Envelope
from smtpscope.smtp.values import Parameter

IN_MEMORY = 256 << 10
"""Octets of a message that wait in memory; a longer one goes into its file as it comes."""
MAX_GROUP = 64
"""Messages that are committed together: as many files are open besides those that come."""
STALE = 36 * 3_600
"""Seconds after which a file in tmp/ is nobody's any more, by Maildir's rules."""
MAX_CHARACTERS = 200
"""Characters of a value on one line of ours: RFC 5322 §2.1.1 allows 998 octets."""

Done = Callable[[str | OSError], None]
"""Takes a message's name in new/, or why it is not there; called from the committing thread."""

_numbers = itertools.count(1)


class Mailbox:
    """A Maildir, made where it is missing. Raises `SmtpscopeError` where it can't be."""

    def __init__(self, folder: Path) -> None:
        try:
            private_folder(folder)
        except SmtpscopeError as error:
            raise SmtpscopeError(f"{error}: name another Maildir with --maildir") from None
        self._folder = folder
        host = socket.gethostname() or "localhost"
        self._host = host.replace("/", r"\057").replace(":", r"\072")
        try:
            for name in ("tmp", "cur", "new"):
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            self._tidy()
            # What lies in a folder that is not on disk itself is lost with it.
            for path in (folder.parent, folder):
                _sync(path)
            self._new = os.open(folder / "new", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            reason = error.strerror or error
            raise SmtpscopeError(
                f"{folder} can be no Maildir ({reason}): name another folder"
            ) from None
        self._closed = False
        self._waiting: SimpleQueue[tuple[Delivery, Done] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mailbox", daemon=True)
        self._thread.start()

    def begin(self, head: bytes) -> Delivery:
        """A message that comes; `head` is put in front of it as it is."""
        now = time.time_ns()
        name = (
            f"{now // 10**9}.M{now % 10**9 // 1_000:06d}P{os.getpid()}Q{next(_numbers)}"
            f".{self._host}"
        )
        return Delivery(self, self._folder, name, head)

    def close(self) -> None:
        """Wait until all is committed; what is handed over later is refused."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
            self._thread.join()
            os.close(self._new)

    def commit(self, delivery: Delivery, done: Done) -> None:
        """Have a delivery committed; `Delivery.commit` is the way to it."""
        if self._closed:
            delivery.discard()
            done(OSError(errno.ESHUTDOWN, os.strerror(errno.ESHUTDOWN)))
        else:
            self._waiting.put((delivery, done))

    def _tidy(self) -> None:
        """Throw away what was never finished."""
        for path in (self._folder / "tmp").iterdir():
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > STALE:
                    path.unlink()

    def _work(self) -> None:
        last = False
        while not last:
            group = [self._waiting.get()]
            while not self._waiting.empty() and len(group) < MAX_GROUP:
                group.append(self._waiting.get())
            last = None in group
            self._commit([each for each in group if each is not None])

    def _commit(self, group: list[tuple[Delivery, Done]]) -> None:
        results: dict[Delivery, str | OSError] = {}
        left = [delivery for delivery, _ in group]
        # All are being written before the first one is waited for, so that they share the journal.
        for step in (Delivery.write_out, Delivery.settle):
            for delivery in left:
                try:
                    step(delivery)
                except OSError as error:
                    delivery.discard()
                    results[delivery] = error
            left = [delivery for delivery in left if delivery not in results]
        try:
            if left:
                # The names are on disk, too, before anybody relies on them.
                os.fsync(self._new)
            results.update({delivery: delivery.name for delivery in left})
        except OSError as error:
            for delivery in left:
                delivery.take_back()
                results[delivery] = error
        for delivery, done in group:
            try:
                done(results[delivery])
            except Exception:
                # One who is wrong must not keep the others waiting, for ever.
                threading.excepthook(
                    threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
                )


class Delivery:
    """A message on its way into a Maildir; `name` is its name there."""

    __slots__ = ("_buffer", "_file", "_folder", "_mailbox", "_over", "_problem", "name")

    def __init__(self, mailbox: Mailbox, folder: Path, name: str, head: bytes) -> None:
        self.name = name
        self._mailbox = mailbox
        self._folder = folder
        self._buffer = bytearray(head)
        self._file = -1
        self._problem: OSError | None = None
        self._over = False

    def write(self, octets: bytes | memoryview) -> None:
        """Take the next octets. What goes wrong is told by `commit`."""
        if self._problem is not None or self._over:
            return
        if len(self._buffer) + len(octets) <= IN_MEMORY:
            self._buffer += octets
            return
        try:
            self._spill()
            self._put(octets)
        except OSError as error:
            # Its room is needed more than what will never be a message.
            self._problem = error
            self.discard()

    def commit(self, done: Done) -> None:
        """The message is whole: put it on disk for good, and say so. RuntimeError if it is over."""
        if self._over:
            raise RuntimeError("the message was committed or abandoned before")
        self._over = True
        self._mailbox.commit(self, done)

    def abandon(self) -> None:
        """Throw it away, unless it was committed."""
        if not self._over:
            self._over = True
            self.discard()

    # -- for the committing thread -----------------------------------------------------------------

    def write_out(self) -> None:
        """All of it into the file, and begin to put that on disk. Raises OSError."""
        if self._problem is not None:
            raise self._problem
        self._spill()
        if hasattr(os, "posix_fadvise"):
            # Linux starts to write what nobody needs in memory.
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    def settle(self) -> None:
        """Wait for the file to be on disk, and give it its name. Raises OSError."""
        os.fsync(self._file)
        file, self._file = self._file, -1
        try:
            os.close(file)
            os.rename(self._path("tmp"), self._path("new"))
        except OSError:
            self._unlink("tmp")
            raise

    def take_back(self) -> None:
        """It has its name, but nobody may rely on it: its sender will come again."""
        self._unlink("new")

    def discard(self) -> None:
        """Let go of the file and the memory that it has."""
        self._buffer = bytearray()
        file, self._file = self._file, -1
        if file >= 0:
            with suppress(OSError):
                os.close(file)
            self._unlink("tmp")

    def _spill(self) -> None:
        if self._file < 0:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            self._file = os.open(self._path("tmp"), flags, 0o600)
        octets, self._buffer = self._buffer, bytearray()
        self._put(octets)

    def _put(self, octets: bytes | bytearray | memoryview) -> None:
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def _unlink(self, folder: str) -> None:
        with suppress(OSError):
            os.unlink(self._path(folder))

    def _path(self, folder: str) -> str:
        return f"{self._folder}/{folder}/{self.name}"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- header lines of ours --------------------------------------------------------------------------

_STRUCTURE = re.compile(r"[()<>;,\"\s]")
"""What would be more than a word in Received."""


def head_of(envelope: Envelope, host: str) -> bytes:
    """The header lines in front of a message: Return-Path, Received (RFC 5321 §4.4), X-Smtpscope-….

    The latter are the envelope. A parameter stands on a line of its own behind a tab; a value that
    is too long for one line goes on behind a space, which is none of it. What came from the wire is
    printable here: UTF-8 where it is that, else as `display.text` shows it.
    """
    recipients, sender = envelope.recipients, envelope.sender.address
    client = f"IPv6:{envelope.client}" if ":" in envelope.client else envelope.client
    hello = _STRUCTURE.sub(_escaped, text(envelope.hello, MAX_CHARACTERS)) or "unknown"
    only = f"\r\n\tfor <{text(recipients[0].name)}>" if len(recipients) == 1 else ""
    lines = [
        f"Return-Path: <{_folded(text(sender))}>",
        f"Received: from {hello} ([{client}])\r\n\tby {host} with {envelope.protocol}"
        f"{only if len(only) <= MAX_CHARACTERS else ''};\r\n\t{formatdate(localtime=True)}",
        f"X-Smtpscope-Client: {envelope.client}",
        f"X-Smtpscope-Hello: {_folded(text(envelope.hello))}",
        f"X-Smtpscope-From: {_address(sender, envelope.parameters)}",
        *(f"X-Smtpscope-To: {_address(each.name, each.parameters)}" for each in recipients),
    ]
    if envelope.identity is not None:
        lines.append(f"X-Smtpscope-Login: {_folded(text(envelope.identity))}")
    return "".join([f"{line}\r\n" for line in lines]).encode()


def _address(address: bytes, parameters: tuple[Parameter, ...]) -> str:
    parts = [f"<{text(address)}>"]
    for keyword, value in parameters:
        parts.append(f"{keyword}={text(value)}" if value is not None else keyword)
    return "\r\n\t".join([_folded(part) for part in parts])


def _folded(value: str) -> str:
    if len(value) <= MAX_CHARACTERS:
        return value
    starts = range(0, len(value), MAX_CHARACTERS)
    return "\r\n ".join([value[at : at + MAX_CHARACTERS] for at in starts])


def _escaped(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"
