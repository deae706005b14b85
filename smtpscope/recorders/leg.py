"""One of the two connections that a proxy stands between: its octets, its TLS, its end.

Plaintext goes to `take`, which keeps it until somebody wants it. What happens is told to the
`Relay` that has both legs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from smtpscope.errors import RecordingError
from smtpscope.recorders.link import Link
from smtpscope.smtp.starttls import ReplyReader
from smtpscope.stream import Direction, Endpoint

if TYPE_CHECKING:
    from smtpscope.recorders.relay import Relay

MAX_KEPT = 1 << 18
"""Octets that nobody has wanted yet; beyond, the peer is not read any more."""


class BrokenLegError(Exception):
    """The peer has gone, or speaks what nobody understands. Its text says so."""


class Leg(asyncio.Protocol):
    """`own` is the side that we are: the server's, for the client's connection."""

    link: Link
    peer: Endpoint
    local: Endpoint

    def __init__(self, relay: Relay, own: Direction) -> None:
        self._relay = relay
        self._own = own
        self.take: Callable[[bytes], None] = self.keep
        self.kept = bytearray()
        self.ended = False
        """The peer says nothing more."""
        self.lost = False
        self.was_reset = False
        """It is lost by a reset of the peer's."""
        self.problem = ""
        """Why TLS failed, or why there never was a connection."""
        self._held = False
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None

    # -- what asyncio calls ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)
        own = transport.get_extra_info("sockname") or ("0.0.0.0", 0)
        self.peer, self.local = Endpoint(peer[0], peer[1]), Endpoint(own[0], own[1])
        try:
            self.link = self._relay.connected(self, self._transport, self._own)
        except RecordingError:
            # What can't be recorded does not begin.
            self.lost = True
            self.problem = "it cannot be recorded"
            self._transport.abort()
            raise

    def data_received(self, octets: bytes) -> None:
        relay = self._relay
        relay.touched = True
        link = self.link
        try:
            plain = link.hear(octets)
        except ssl.SSLError as error:
            self._fail(error)
            return
        if plain:
            self.take(plain)
        tls = link.tls
        if tls is not None:
            if tls.failure is not None:
                self._fail(tls.failure)
            elif tls.ended:
                self._end()
        if self._waiter is not None:
            self._wake()

    def eof_received(self) -> bool:
        self.link.heard_end()
        self._end()
        # The other direction may go on.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost:
            return
        self.lost = True
        self.was_reset = isinstance(exc, ConnectionResetError)
        self.link.lost(exc)
        self._wake()
        self._relay.on_lost(self)

    def pause_writing(self) -> None:
        self._relay.blocked(self, True)

    def resume_writing(self) -> None:
        self._relay.blocked(self, False)

    # -- what the relay does with it ---------------------------------------------------------------

    def keep(self, plain: bytes) -> None:
        """Keep plaintext until somebody wants it."""
        self.kept += plain
        self._flow()

    def hand_over(self, take: Callable[[bytes], None]) -> None:
        """From now on `take` gets the plaintext, what was kept first."""
        self.take = take
        if kept := self.taken():
            take(kept)

    def taken(self) -> bytes:
        """What was kept, which is kept no longer."""
        kept = bytes(self.kept)
        self.kept.clear()
        self._flow()
        return kept

    def hold(self, held: bool) -> None:
        """Read no more, as long as the other leg is slower."""
        self._held = held
        self._flow()

    def abort(self) -> None:
        """End it without waiting for anything."""
        self.link.abort()

    async def reply(self) -> bytes:
        """The next reply of a server; what stands behind it is kept. Raises BrokenLegError."""
        reader = ReplyReader()
        while True:
            octets = self.taken()
            try:
                found = reader.feed(octets) if octets else None
            except ValueError as error:
                raise BrokenLegError(str(error)) from None
            if found is not None:
                self.kept += found[1]
                return found[0]
            await self.change()

    async def secure(self, context: ssl.SSLContext, *, name: str | None = None) -> None:
        """Shake hands; what was kept is how the peer begins. Raises BrokenLegError."""
        try:
            self.link.start_tls(context, name=name, heard=self.taken())
        except ssl.SSLError as error:
            raise BrokenLegError(_problem(error)) from None
        tls = self.link.tls
        assert tls is not None
        while not tls.ready:
            await self.change()

    async def change(self) -> None:
        """Wait until the peer has said something. Raises BrokenLegError where it won't."""
        if self.problem:
            raise BrokenLegError(self.problem)
        if self.ended or self.lost:
            raise BrokenLegError("the connection was closed")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
        if self.problem:
            raise BrokenLegError(self.problem)

    def _fail(self, error: ssl.SSLError) -> None:
        self.problem = _problem(error)
        self._end()
        self._relay.failed(self)

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self._wake()
            self._relay.ended(self)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _flow(self) -> None:
        pause = self._held or len(self.kept) > MAX_KEPT
        if pause != self._paused and not self.lost:
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()


def _problem(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    return error.reason or str(error)
