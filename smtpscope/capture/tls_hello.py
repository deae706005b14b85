"""The hellos of TLS, read field by field: what is missing at a message's end reads as nothing.

RFC 8446 §4.1.2 and §4.1.3, RFC 5246 §7.4.1, RFC 6066 §3 (SNI), RFC 7301 (ALPN).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from smtpscope.capture.tls_names import SUITES, VERSIONS

MAX_PROTOCOLS = 16

SERVER_NAME, ALPN, ENCRYPT_THEN_MAC, PRE_SHARED_KEY, SUPPORTED_VERSIONS = 0, 16, 22, 41, 43

# RFC 8446 §4.1.3: SHA-256 of "HelloRetryRequest".
_RETRY = hashlib.sha256(b"HelloRetryRequest").digest()


class Fields:
    """Reads a message's fields one by one; what is missing at its end reads as empty or 0."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, length: int) -> bytes:
        start = self.position
        self.position = min(start + length, len(self.data))
        return self.data[start : self.position]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def vector(self, width: int) -> bytes:
        return self.take(self.number(width))

    def extensions(self) -> Iterator[tuple[int, bytes]]:
        listed = Fields(self.vector(2))
        while len(listed.data) - listed.position >= 4:
            yield listed.number(2), listed.vector(2)


class ClientHello(NamedTuple):
    """`version` is the highest one offered; `alpn` None where that was not."""

    random: bytes
    version: int
    sni: str | None
    alpn: tuple[str, ...] | None


class ServerHello(NamedTuple):
    """What the server chose. `retry`: it asks for another hello (RFC 8446 §4.1.4)."""

    random: bytes
    version: int
    cipher: str | None
    alpn: str | None
    shared_key: bool
    encrypt_then_mac: bool
    retry: bool


def client_hello(body: bytes) -> ClientHello | None:
    """A client's hello; None where it is of no version that we know."""
    fields = Fields(body)
    legacy = fields.number(2)
    if legacy >> 8 != 3:
        return None
    random = fields.take(32)
    fields.vector(1)
    fields.vector(2)
    fields.vector(1)
    # Of what should come once, the last one counts.
    extensions = dict(fields.extensions())
    listed = Fields(Fields(extensions.get(SUPPORTED_VERSIONS, b"")).vector(1))
    versions = [listed.number(2) for _ in range(len(listed.data) // 2)]
    known = [number for number in versions if number in VERSIONS]
    alpn = extensions.get(ALPN)
    return ClientHello(
        random,
        max(known, default=legacy),
        _host_name(extensions.get(SERVER_NAME, b"")),
        tuple(_protocols(alpn)) if alpn is not None else None,
    )


def server_hello(body: bytes) -> ServerHello | None:
    """A server's hello; None where it is of no version that we know."""
    fields = Fields(body)
    version = fields.number(2)
    if version >> 8 != 3:
        return None
    random = fields.take(32)
    fields.vector(1)
    cipher = fields.take(2)
    fields.take(1)
    extensions = dict(fields.extensions())
    number = int.from_bytes(cipher, "big")
    return ServerHello(
        random,
        Fields(extensions.get(SUPPORTED_VERSIONS, b"")).number(2) or version,
        SUITES.get(number, f"0x{number:04X}") if len(cipher) == 2 else None,
        chosen_protocol(extensions),
        PRE_SHARED_KEY in extensions,
        ENCRYPT_THEN_MAC in extensions,
        random == _RETRY,
    )


def chosen_protocol(extensions: dict[int, bytes]) -> str | None:
    """The one that the server took of those that ALPN offered (RFC 7301 §3.1)."""
    return next(_protocols(extensions.get(ALPN, b"")), None)


def version_name(number: int) -> str:
    """A number without a name stands as hexadecimal."""
    return VERSIONS.get(number, f"0x{number:04X}")


def _host_name(content: bytes) -> str | None:
    names = Fields(Fields(content).vector(2))
    while names.position < len(names.data):
        kind, name = names.number(1), names.vector(2)
        if kind == 0:
            return _text(name)
    return None


def _protocols(content: bytes) -> Iterator[str]:
    names = Fields(Fields(content).vector(2))
    for _ in range(MAX_PROTOCOLS):
        if names.position == len(names.data):
            return
        yield _text(names.vector(1))


def _text(octets: bytes) -> str:
    return octets.decode("ascii", "backslashreplace")
