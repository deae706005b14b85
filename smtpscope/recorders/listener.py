"""Where a server or a proxy listens, and what both do until they end."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from smtpscope.errors import RecordingError, SmtpscopeError

BACKLOG = 1_000
SWEEP = 1.0
"""Seconds from one look at all connections to the next."""
KINDS = ("smtp", "starttls", "smtps")


class Listener(NamedTuple):
    """Where to listen: `kind` is smtp (no TLS), starttls (offered) or smtps (at once)."""

    kind: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str, usual: str = "smtp") -> Listener:
        """Of "starttls://127.0.0.1:1587"; without a kind it is the `usual` one. Raises
        ValueError."""
        kind, host, port = parts(url, usual)
        if kind not in KINDS or not is_host(host) or port is None or not port.isdecimal():
            raise ValueError(
                f"{url!r} is no listener: name one such as smtp://127.0.0.1:1025,"
                " starttls://127.0.0.1:1587 or smtps://[::1]:1465"
            )
        if int(port) > 65_535:
            raise ValueError(f"{url!r} has no port: there are none above 65535")
        return cls(kind, host, int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}"


def parts(url: str, usual: str = "smtp") -> tuple[str, str, str | None]:
    """Kind, host (without brackets) and port of KIND://HOST:PORT; the `usual` kind where there is
    none, None where there is no port."""
    kind, _, rest = url.partition("://") if "://" in url else (usual, "", url)
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        return kind, _bare(rest), None
    return kind, _bare(host), port


def _bare(host: str) -> str:
    return host.removeprefix("[").removesuffix("]")


def is_host(host: str) -> bool:
    """Whether the resolver takes it for an address or a name."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


class Listening:
    """What a server and a proxy have in common: sockets that listen, and how that ends.

    `failure` is why it ended before its time. Only within a running event loop.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.failure: SmtpscopeError | None = None
        self._servers: list[asyncio.Server] = []
        self._ending = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.loop.set_exception_handler(self._failed)

    def end(self) -> None:
        """Take no more connections, and end those that are there."""
        self._ending.set()

    async def _listen(
        self, listener: Listener, make: Callable[[], asyncio.Protocol]
    ) -> asyncio.Server:
        """Listen there; `make` makes what speaks with each client. Raises SmtpscopeError."""
        try:
            server = await self.loop.create_server(
                make, listener.host, listener.port, backlog=BACKLOG
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            # It may be our own, whose screen was killed.
            first = "end who does (ss -ltnp), or " if error.errno == errno.EADDRINUSE else ""
            raise SmtpscopeError(
                f"{listener} cannot be listened on ({reason}): {first}choose another address or"
                " port"
            ) from None
        self._servers.append(server)
        return server

    async def _sweep(self, look: Callable[[], None]) -> None:
        """Have a look at all connections now and then, until `end` is called; listen no more."""
        while not self._ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), SWEEP)
            look()
        for server in self._servers:
            server.close()

    async def _emptied(self, seconds: float) -> None:
        """Wait until no connection is left, and no longer than that."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something went wrong with one connection; only a recording that fails ends them all."""
        error = context.get("exception")
        if isinstance(error, RecordingError):
            self.failure = error
            self.end()
        elif error is not None and not isinstance(error, OSError):
            loop.default_exception_handler(context)
