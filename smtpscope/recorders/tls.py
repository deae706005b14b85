"""TLS of a recorder's own connections, with its secrets for the recording.

`KeyLog` gathers the key log lines of all contexts (OpenSSL writes them while it shakes hands) and
`TlsSession` turns ciphertext into plaintext and back in memory, so that the recorder sees both.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from contextlib import suppress
from pathlib import Path

PIECE = 1 << 16
"""Octets that are decrypted at once; a TLS record has 16 kB at most."""


class KeyLog:
    """A key log (the NSS format) that is read as soon as it is written.

    Not in a file that has a name: it would be the key to everything that was recorded.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self._file = os.memfd_create("keylog")
            self._path = f"/proc/self/fd/{self._file}"
        else:
            self._file, self._path = tempfile.mkstemp(prefix="smtpscope-")
        self._read = 0

    def attach(self, context: ssl.SSLContext) -> None:
        """Have a context write here."""
        context.keylog_filename = self._path
        self.drain()

    def drain(self) -> bytes:
        """The lines since the last call, without OpenSSL's comment."""
        octets = os.pread(self._file, 1 << 20, self._read)
        if not octets:
            return b""
        self._read += len(octets)
        if self._read > 1 << 20:
            # It is opened for appending: what is behind its new end begins at zero again.
            os.ftruncate(self._file, 0)
            self._read = 0
        lines = octets.splitlines(keepends=True)
        return b"".join(line for line in lines if not line.startswith(b"#"))

    def close(self) -> None:
        os.close(self._file)
        if not self._path.startswith("/proc/"):
            Path(self._path).unlink(missing_ok=True)


class TlsSession:
    """One TLS connection in memory, of either side.

    `ready` once the handshake is done; `ended` once the peer has closed it; `failure` is what stood
    behind plaintext that was still good.
    """

    def __init__(self, context: ssl.SSLContext, *, server: bool, name: str | None = None) -> None:
        """`name`: whom a client expects."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=name
        )
        self.ready = False
        self.ended = False
        self.failure: ssl.SSLError | None = None

    def receive(self, ciphertext: bytes) -> bytes:
        """Take what came; the plaintext in it. Raises ssl.SSLError where it is no TLS, or where a
        certificate is refused; there may be an alert to `take` then."""
        if self.failure is not None:
            raise self.failure
        if ciphertext:
            self._incoming.write(ciphertext)
        if not self.ready:
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self.ready = True
        parts = []
        try:
            # Its end is told as nothing, or as an error, by the version of OpenSSL.
            with suppress(ssl.SSLZeroReturnError):
                while piece := self.object.read(PIECE):
                    parts.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            if not parts:
                raise
            self.failure = error
        return b"".join(parts)

    def send(self, plaintext: bytes) -> bytes:
        """Ciphertext of what is to be said."""
        self.object.write(plaintext)
        return self._outgoing.read()

    def take(self) -> bytes:
        """Ciphertext that is to be sent without anything being said: handshake, alerts."""
        return self._outgoing.read()

    def close(self) -> bytes:
        """What ends the connection."""
        # The peer's answer is not waited for.
        with suppress(ssl.SSLError):
            self.object.unwrap()
        return self._outgoing.read()
