"""Where a server or a proxy listens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import NamedTuple

from smtpscope.errors import SmtpscopeError

BACKLOG = 1_000
KINDS = ("smtp", "starttls", "smtps")


class Listener(NamedTuple):
    """Where to listen: `kind` is smtp (no TLS), starttls (offered) or smtps (at once)."""

    kind: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Listener:
        """Of "starttls://127.0.0.1:1587". Raises ValueError."""
        kind, separator, rest = url.partition("://")
        host, colon, port = rest.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        known = kind in KINDS and separator and colon
        if not known or not is_host(host) or not port.isdecimal():
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


def is_host(host: str) -> bool:
    """Whether the resolver takes it for an address or a name."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


async def listen(
    loop: asyncio.AbstractEventLoop, listener: Listener, make: Callable[[], asyncio.Protocol]
) -> asyncio.Server:
    """Listen there; `make` makes what speaks with each client. Raises SmtpscopeError."""
    try:
        return await loop.create_server(make, listener.host, listener.port, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SmtpscopeError(
            f"{listener} cannot be listened on ({reason}): choose another address or port"
        ) from None
