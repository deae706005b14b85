"""Messages on their way into the server's Maildir: acknowledged once they are on disk for good.

Short ones wait in memory, long ones go into their file as they come. When a message is whole, a
process beside the server commits it (`committing`); where that ends by itself, those that it had
are refused, and another one is started for the next.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from smtpscope.processes import command_of
from smtpscope.recorders import committing
from smtpscope.recorders.maildir import Maildir, MessageFile

IN_MEMORY = 256 << 10
"""Octets of a message that wait in memory; a longer one goes into its file as it comes."""

_AT_ONCE = 1 << 16

Done = Callable[[str | OSError], object]
"""Takes a message's name in new/, or why it is not there."""


class Mailbox:
    """A Maildir, made where it is missing, within a running event loop.

    Raises `SmtpscopeError` where it can't be one.
    """

    def __init__(self, folder: Path) -> None:
        self._maildir = Maildir(folder)
        self._loop = asyncio.get_running_loop()
        self._committer: _Committer | None = None
        self._closed = False

    def start(self) -> None:
        """Have the process that commits ready, unless it is; to be called without privileges."""
        if self._committer is None or self._committer.gone.done():
            self._committer = _Committer(self._maildir.folder, self._loop)

    def begin(self, head: bytes) -> Delivery:
        """A message that comes; `head` is put in front of it as it is."""
        return Delivery(self, self._maildir.new_file(), head)

    async def close(self) -> None:
        """Wait until all is committed; what is handed over later is refused."""
        if self._closed:
            return
        self._closed = True
        if self._committer is not None:
            await self._committer.close()
        self._maildir.close()

    def commit(self, name: str, octets: bytearray | None, done: Done) -> None:
        """Have a message committed; `Delivery.commit` is the way to it. Raises OSError."""
        if self._closed:
            raise OSError(errno.ESHUTDOWN, os.strerror(errno.ESHUTDOWN))
        self.start()
        assert self._committer is not None
        self._committer.commit(name, octets, done)

    def refuse(self, done: Done, problem: OSError) -> None:
        """Say what came in between, as late as anything is said."""
        self._loop.call_soon(done, problem)


class _Committer:
    """The process that commits, and what it is to say. `gone`: it has ended. Raises OSError."""

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.gone = loop.create_future()
        self._loop = loop
        self._waiting: deque[tuple[str, Done]] = deque()
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self._scheduled = False
        self._closing = False
        self._socket, its = socket.socketpair()
        with its:
            command = command_of(committing.__name__, str(folder))
            try:
                self._process = subprocess.Popen(
                    command, stdin=its.fileno(), stdout=subprocess.DEVNULL
                )
            except OSError:
                self._socket.close()
                raise
        self._socket.setblocking(False)
        loop.add_reader(self._socket, self._receive)

    def commit(self, name: str, octets: bytearray | None, done: Done) -> None:
        self._waiting.append((name, done))
        self._outgoing += committing.framed(name, octets)
        if not self._scheduled:
            # What is whole in the same turn is told at once, and may share a commit.
            self._scheduled = True
            self._loop.call_soon(self._send)

    async def close(self) -> None:
        """Let it commit what it has been told, and end."""
        self._closing = True
        self._send()
        await self.gone

    def _send(self) -> None:
        if self.gone.done():
            return
        try:
            sent = self._socket.send(self._outgoing) if self._outgoing else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end()
            return
        del self._outgoing[:sent]
        if self._outgoing:
            self._loop.add_writer(self._socket, self._send)
            return
        self._scheduled = False
        self._loop.remove_writer(self._socket)
        if self._closing:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        try:
            received = self._socket.recv(_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._end()
            return
        size = committing.RESULT.size
        self._incoming += received
        whole = len(self._incoming) // size * size
        results, self._incoming = self._incoming[:whole], self._incoming[whole:]
        for (problem,) in committing.RESULT.iter_unpack(results):
            name, done = self._waiting.popleft()
            self._tell(done, OSError(problem, os.strerror(problem)) if problem else name)

    def _end(self) -> None:
        """It has closed its end: what it has not answered is not to be relied on."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._process.wait()
        while self._waiting:
            _, done = self._waiting.popleft()
            self._tell(done, OSError(errno.EPIPE, "the process that stores messages has ended"))
        self.gone.set_result(None)

    def _tell(self, done: Done, result: str | OSError) -> None:
        # One who is wrong must not keep the others waiting.
        self._loop.call_soon(done, result)


class Delivery:
    """A message on its way into a Maildir; `name` is its name there."""

    __slots__ = ("_buffer", "_file", "_mailbox", "_over", "_problem", "_spilled", "name")

    def __init__(self, mailbox: Mailbox, file: MessageFile, head: bytes) -> None:
        self.name = file.name
        self._mailbox = mailbox
        self._file = file
        self._buffer = bytearray(head)
        self._spilled = False
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
            self._file.write(octets)
        except OSError as error:
            # Its room is needed more than what will never be a message.
            self._problem = error
            self._discard()

    def commit(self, done: Done) -> None:
        """The message is whole: put it on disk for good, and say so. RuntimeError if it is over."""
        if self._over:
            raise RuntimeError("the message was committed or abandoned before")
        self._over = True
        try:
            if self._problem is not None:
                raise self._problem
            octets = None
            if self._spilled:
                self._spill()
                self._file.close()
            else:
                octets = self._buffer
            self._mailbox.commit(self.name, octets, done)
        except OSError as error:
            self._discard()
            self._mailbox.refuse(done, error)
        self._buffer = bytearray()

    def abandon(self) -> None:
        """Throw it away, unless it was committed."""
        if not self._over:
            self._over = True
            self._discard()

    def _spill(self) -> None:
        self._spilled = True
        octets, self._buffer = self._buffer, bytearray()
        self._file.write(octets)

    def _discard(self) -> None:
        """Let go of the file and the memory that it has."""
        self._buffer = bytearray()
        if self._spilled:
            self._file.discard()
