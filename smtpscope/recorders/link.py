"""One connection of a server of ours: octets recorded both ways, with TLS or without.

`Link` stands between an asyncio transport and what understands the protocol. In: plaintext to be
said. Out: plaintext that was heard, after what carried it has been recorded.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from contextlib import suppress
from functools import partial

from smtpscope.capture.synth import Talk
from smtpscope.recorders.ledger import Ledger
from smtpscope.recorders.tls import TlsSession
from smtpscope.stream import Direction

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends a RST."""


class Link:
    """`own` is the side that we are."""

    __slots__ = (
        "_closed",
        "_ended",
        "_heard",
        "_ledger",
        "_own",
        "_peer",
        "_talk",
        "_transport",
        "tls",
    )

    def __init__(
        self, transport: asyncio.Transport, ledger: Ledger, talk: Talk, own: Direction
    ) -> None:
        self._transport = transport
        self._ledger = ledger
        self._talk = talk
        self._own = own
        self._peer = own.other
        self._closed = False
        self._ended = False
        self._heard: list[tuple[bytes, int]] = []
        self.tls: TlsSession | None = None

    def hear(self, octets: bytes) -> bytes:
        """The plaintext in what came. Raises ssl.SSLError where TLS fails."""
        tls = self.tls
        if tls is None:
            self._talk.data(self._peer, octets, time.time_ns())
            return octets
        heard = time.time_ns()
        settled = True
        try:
            plain = tls.receive(octets)
            settled = tls.ready
            return plain
        finally:
            answer = tls.take()
            self._heard.append((octets, heard))
            if settled or answer:
                self._keep_heard()
            self._put(answer)

    def say(self, octets: bytes) -> None:
        """Send plaintext; where TLS can't be spoken (any more) nothing is said."""
        if self.tls is None:
            self._put(octets)
        elif self.tls.ready:
            with suppress(ssl.SSLError):
                self._put(self.tls.send(octets))

    def start_tls(
        self, context: ssl.SSLContext, *, name: str | None = None, heard: bytes = b""
    ) -> None:
        """From here on TLS is spoken. A client begins at once; `heard` is what a peer has begun
        with before. Raises ssl.SSLError."""
        server = self._own is Direction.SERVER
        self.tls = TlsSession(context, server=server, name=name)
        if heard or not server:
            try:
                self.tls.receive(heard)
            finally:
                self._ledger.keep_secrets()
                self._put(self.tls.take())

    def note(self, text: str) -> None:
        """Record something that is to be known of what comes next."""
        self._talk.note(text)

    def _keep_heard(self) -> None:
        """Record what was heard, behind the secrets that it needs.

        Part of a handshake waits for the rest: Wireshark wants the secrets of both sides before
        the server's first word, and OpenSSL has the client's only after its last.
        """
        if self._heard:
            self._ledger.keep_secrets()
            for octets, when in self._heard:
                self._talk.data(self._peer, octets, when)
            self._heard.clear()

    def heard_end(self) -> None:
        """The peer says nothing more."""
        self._keep_heard()
        self._talk.close(self._peer, time.time_ns())

    def end(self) -> None:
        """Say nothing more, and go on listening."""
        if self._closed or self._ended:
            return
        if self.tls is not None and self.tls.ready:
            self._put(self.tls.close())
        self._ended = True
        self._talk.close(self._own, time.time_ns())
        self._ledger.then(self._write_end)

    def close(self, *, reset: bool = False) -> None:
        """Say nothing more: when all is sent, or with `reset` without waiting for that."""
        if self._closed:
            return
        self._keep_heard()
        if reset:
            self._closed = True
            self._talk.close(self._own, time.time_ns(), reset=True)
            self._ledger.then(self._reset)
            return
        if self.tls is not None and self.tls.ready:
            self._put(self.tls.close())
        self._closed = True
        self._talk.close(self._own, time.time_ns())
        self._ledger.then(self._transport.close)

    def abort(self) -> None:
        """End it without waiting for anything, though it may have been closed before."""
        self.close(reset=True)
        self._ledger.then(self._transport.abort)

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._keep_heard()
        now = time.time_ns()
        if isinstance(error, ConnectionResetError):
            self._talk.close(self._peer, now, reset=True)
        else:
            if not self._closed:
                self._talk.close(self._own, now)
            self._talk.close(self._peer, now)
        self._closed = True

    def _put(self, octets: bytes) -> None:
        # Who was reset hears nothing more, though it may be told a moment later.
        if octets and not (self._closed or self._ended or self._transport.is_closing()):
            self._talk.data(self._own, octets, time.time_ns())
            # What a peer may see is in the recording first.
            self._ledger.then(partial(self._transport.write, octets))

    def _reset(self) -> None:
        # Of one that was closed meanwhile the descriptor may be another one's.
        if not self._transport.is_closing():
            endpoint = self._transport.get_extra_info("socket")
            with suppress(OSError):
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()

    def _write_end(self) -> None:
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()
