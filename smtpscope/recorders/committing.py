"""The process that puts the server's messages on disk.

A disk is slow to say that it has something: the server serves meanwhile, and a thread of its own
would have to wait for the interpreter each time that it has waited for the disk. In, on a socket
that is its standard input: messages as frames (`framed`). Out, on the same: the errno of each, 0 of
one that is in the Maildir for good, in their order. It ends with the server, and not before.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from struct import Struct

from smtpscope.recorders.maildir import Maildir, MessageFile

MAX_GROUP = 64
"""Messages that are committed together: as many files are open."""
RESULT = Struct("<i")
"""An errno."""

_HEAD = Struct("<HI")
"""Octets of a message's name, and of the message."""
_THERE = 0xFFFFFFFF
"""In place of the latter: all of it is in its file already."""
_AT_ONCE = 1 << 18


def framed(name: str, octets: bytes | bytearray | None) -> bytes:
    """A message as this process takes it; None where its file has all of it."""
    encoded = os.fsencode(name)
    size = len(octets) if octets is not None else _THERE
    return b"".join((_HEAD.pack(len(encoded), size), encoded, octets or b""))


def main(folder: Path) -> None:
    """Commit until the server has closed its end."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # What ends the server with its whole process group is no reason to lose what it gave us.
        signal.signal(each, signal.SIG_IGN)
    maildir = Maildir(folder)
    octets = bytearray()
    # Whoever was killed waits for no answer.
    with socket.socket(fileno=os.dup(0)) as server, suppress(ConnectionError):
        while received := server.recv(_AT_ONCE):
            octets += received
            while group := [*islice(_messages(octets, folder), MAX_GROUP)]:
                server.sendall(b"".join(map(RESULT.pack, maildir.commit(group))))


def _messages(octets: bytearray, folder: Path) -> Iterator[MessageFile]:
    """The messages that are whole in front of `octets`, from which they are taken."""
    while len(octets) >= _HEAD.size:
        named, size = _HEAD.unpack_from(octets)
        begin = _HEAD.size + named
        end = begin + (size if size != _THERE else 0)
        if len(octets) < end:
            return
        name = os.fsdecode(bytes(octets[_HEAD.size : begin]))
        message = bytes(octets[begin:end]) if size != _THERE else None
        del octets[:end]
        yield MessageFile(folder, name, message)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
