"""TLS secrets by client random: from Decryption Secrets Blocks, and from files that may grow.

The format is that of NSS, which SSLKEYLOGFILE made common (RFC 9850 §2): a label, the client
random and a secret in hexadecimal on a line. Lines of any other form are skipped.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence

from smtpscope.capture.records import SECRETS_BOUND, Secret

TLS_KEY_LOG = 0x544C534B
"""The kind of secrets that are lines of a key log (pcapng draft §4.7)."""

BOUND = SECRETS_BOUND
"""Octets of lines that are kept."""
PATIENCE = 0.02
"""Seconds after which a file that may grow is looked at again."""

_PIECE = 1 << 20
_TAIL = 512
"""Octets that the longest line stays below."""
_LINE = re.compile(
    rb"^(CLIENT_RANDOM|(?:CLIENT|SERVER)_(?:HANDSHAKE_TRAFFIC_SECRET|TRAFFIC_SECRET_0))"
    rb"[ \t]+([0-9A-Fa-f]{64})"
    rb"[ \t]+([0-9A-Fa-f]{64}|[0-9A-Fa-f]{96})[ \t\r]*$",
    re.MULTILINE,
)


class KeyLog:
    """Lines by client random. `files` are read at once, and with `follow` again as they grow.

    `version` is another one whenever something was added; `problems` tells, in words for the
    user, what could not be read.
    """

    def __init__(
        self, files: Sequence[str | os.PathLike[str]] = (), *, follow: bool = False
    ) -> None:
        self.version = 0
        self.problems: list[str] = []
        self._lines: dict[bytes, bytes] = {}
        self._octets = 0
        self._taken = 0
        self._files = [_File(os.fspath(file)) for file in files]
        self._follow = follow
        self._looked = 0.0
        self._read(final=not follow)

    @property
    def hopeful(self) -> bool:
        """Whether there are secrets, or some may come."""
        return bool(self._lines) or (self._follow and bool(self._files))

    def take(self, secrets: Sequence[Secret]) -> None:
        """Take what a capture has; only what was added since the last call is looked at."""
        for kind, data in secrets[self._taken :]:
            if kind == TLS_KEY_LOG:
                self.add(data)
        self._taken = len(secrets)

    def add(self, text: bytes) -> None:
        """Take lines of a key log."""
        for line in _LINE.finditer(text):
            random = bytes.fromhex(line[2].decode())
            entry = b"%s %s %s\n" % line.groups()
            known = self._lines.get(random, b"")
            if entry in known:
                continue
            if self._octets + len(entry) > BOUND:
                self._tell(f"TLS secrets beyond {BOUND} octets are left out")
                return
            self._octets += len(entry)
            self._lines[random] = known + entry
            self.version += 1

    def find(self, random: bytes) -> bytes:
        """The lines for a client random; none where there are none."""
        return self._lines.get(random, b"")

    def refresh(self) -> None:
        """Read what files have got, but not too often."""
        if self._follow and self._files:
            passed = time.monotonic()
            if passed - self._looked > PATIENCE:
                self._looked = passed
                self._read()

    def _read(self, *, final: bool = False) -> None:
        for file in self._files:
            try:
                while octets := file.more(final=final):
                    self.add(octets)
            except (OSError, ValueError) as error:
                # The program that is going to write it may not have begun.
                if not (self._follow and isinstance(error, FileNotFoundError)):
                    reason = getattr(error, "strerror", None) or str(error)
                    self._tell(f"the key log {file.path} cannot be read ({reason})")

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


class _File:
    """Gives the lines of a file that are whole and have not been given yet."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._at = 0
        self._rest = b""

    def more(self, *, final: bool) -> bytes:
        # Opened each time: whoever writes it may begin it anew. A pipe is not waited for.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if os.fstat(descriptor).st_size < self._at:
                self._at, self._rest = 0, b""
            octets = os.pread(descriptor, _PIECE, self._at)
        finally:
            os.close(descriptor)
        self._at += len(octets)
        if not octets:
            rest, self._rest = (self._rest, b"") if final else (b"", self._rest)
            return rest
        text, newline, rest = (self._rest + octets).rpartition(b"\n")
        # What is longer than any line is none, and need not be kept.
        self._rest = rest if len(rest) < _TAIL else b"#" * _TAIL
        # Something has to be given where there is more to be read.
        return text + newline or b"\n"
