"""The server's Maildir: a message that was acknowledged is on disk, whole, whatever happens then.

Messages are written as the wire had them (with CRLF; binary ones octet by octet) behind header
lines of ours. One thread commits them in groups: fsync each file, rename it into new/, fsync the
folder once. Python's `mailbox.Maildir` reads what is here.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from smtpscope.errors import SmtpscopeError
from smtpscope.places import private_folder
from smtpscope.smtp.serving.envelope import Envelope

IN_MEMORY = 256 << 10
"""Octets of a message that wait in memory; a longer one goes into its file as it comes."""
MAX_GROUP = 200
"""Messages that are committed together."""
STALE = 36 * 3_600
"""Seconds after which a file in tmp/ is nobody's any more, by Maildir's rules."""
MAX_VALUE = 900
"""Octets of a value in a header line of ours."""

Done = Callable[[str | OSError], None]
"""Takes a message's name in new/, or why it is not there; called from the committing thread."""

_numbers = itertools.count(1)


class Mailbox:
    """A Maildir, made where it is missing. Raises `SmtpscopeError` where it can't be."""

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        self._folder = folder
        self._host = socket.gethostname().replace("/", r"\057").replace(":", r"\072")
        try:
            for name in ("cur", "new", "tmp"):
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            self._tidy()
            self._new = os.open(folder / "new", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise SmtpscopeError(
                f"{folder} can be no Maildir ({error.strerror}): name another folder"
            ) from None
        self._waiting: SimpleQueue[tuple[Delivery, Done] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def begin(self, head: bytes) -> Delivery:
        """A message that comes; `head` is put in front of it."""
        now = time.time_ns()
        name = (
            f"{now // 10**9}.M{now % 10**9 // 1_000:06d}P{os.getpid()}Q{next(_numbers)}"
            f".{self._host}"
        )
        return Delivery(self, self._folder, name, head)

    def close(self) -> None:
        """Wait until all is committed."""
        self._waiting.put(None)
        self._thread.join()
        os.close(self._new)

    def commit(self, delivery: Delivery, done: Done) -> None:
        """Have a delivery committed."""
        self._waiting.put((delivery, done))

    def _tidy(self) -> None:
        """Throw away what was never finished."""
        for path in (self._folder / "tmp").iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE:
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
        results: list[tuple[Done, str | OSError]] = []
        for delivery, done in group:
            try:
                delivery.finish()
                results.append((done, delivery.name))
            except OSError as error:
                delivery.abandon()
                results.append((done, error))
        try:
            if group:
                # The names are on disk, too, before anybody relies on them.
                os.fsync(self._new)
        except OSError as error:
            results = [(done, error) for done, _ in results]
        for done, result in results:
            done(result)


class Delivery:
    """A message on its way into a Maildir; `name` is its name there."""

    __slots__ = ("_folder", "_head", "_mailbox", "_open", "_parts", "_problem", "_size", "name")

    def __init__(self, mailbox: Mailbox, folder: Path, name: str, head: bytes) -> None:
        self.name = name
        self._mailbox = mailbox
        self._folder = folder
        self._parts: list[bytes] = [head]
        self._size = len(head)
        self._open = -1
        self._problem: OSError | None = None

    def write(self, octets: bytes | memoryview) -> None:
        """Take the next octets. What goes wrong is told by `commit`."""
        # A view's octets are another's as soon as this returns.
        self._parts.append(bytes(octets))
        self._size += len(octets)
        if self._size > IN_MEMORY:
            try:
                self._spill()
            except OSError as error:
                self._problem = self._problem or error
                self._parts.clear()
            self._size = 0

    def commit(self, done: Done) -> None:
        """The message is whole: put it on disk for good, and say so."""
        self._mailbox.commit(self, done)

    def abandon(self) -> None:
        """Throw it away."""
        self._parts.clear()
        if self._open >= 0:
            os.close(self._open)
            self._open = -1
            with suppress(OSError):
                self._path("tmp").unlink()

    def finish(self) -> None:
        """Write, fsync and rename; for the committing thread. Raises OSError."""
        if self._problem is not None:
            raise self._problem
        self._spill()
        os.fsync(self._open)
        os.close(self._open)
        self._open = -1
        try:
            os.rename(self._path("tmp"), self._path("new"))
        except OSError:
            with suppress(OSError):
                self._path("tmp").unlink()
            raise

    def _spill(self) -> None:
        if self._open < 0:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            self._open = os.open(self._path("tmp"), flags, 0o600)
        rest = memoryview(b"".join(self._parts))
        self._parts.clear()
        while rest:
            rest = rest[os.write(self._open, rest) :]

    def _path(self, folder: str) -> Path:
        return self._folder / folder / self.name


def head_of(envelope: Envelope, host: str) -> bytes:
    """The header lines that the server puts in front of a message: Return-Path, Received (RFC 5321
    §4.4) and, as X-Smtpscope-…, the envelope."""
    recipients = envelope.recipients
    only = f"\r\n\tfor <{_text(recipients[0].name)}>" if len(recipients) == 1 else ""
    lines = [
        f"Return-Path: <{_text(envelope.sender.address)}>",
        f"Received: from {_text(envelope.hello) or 'unknown'} ([{envelope.client}])"
        f"\r\n\tby {host} with {envelope.protocol}{only};\r\n\t{formatdate(localtime=True)}",
        f"X-Smtpscope-Client: {envelope.client}",
        f"X-Smtpscope-Hello: {_text(envelope.hello)}",
        f"X-Smtpscope-From: {_path(envelope.sender.address, envelope.parameters)}",
        *(f"X-Smtpscope-To: {_path(each.name, each.parameters)}" for each in recipients),
    ]
    if envelope.identity is not None:
        lines.append(f"X-Smtpscope-Login: {_text(envelope.identity)}")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _path(address: bytes, parameters: tuple[tuple[str, bytes | None], ...]) -> str:
    shown = [f"<{_text(address)}>"]
    for keyword, value in parameters:
        shown.append(f"{keyword}={_text(value)}" if value is not None else keyword)
    return "\r\n\t".join(shown)


def _text(octets: bytes) -> str:
    """Octets of the wire as a part of a header line: on one line, and printable."""
    shown = octets[:MAX_VALUE].decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in shown)
