"""The hellos of TLS, read field by field: what is missing at a message's end reads as nothing.

RFC 8446 §4.1.2 and §4.1.3, RFC 5246 §7.4.1, RFC 6066 §3 (SNI), RFC 7301 (ALPN). What fingerprints
are made of is read, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from smtpscope.capture.tls_fingerprints import Offer, ja3s
from smtpscope.capture.tls_names import SUITES, VERSIONS

MAX_PROTOCOLS = 16

SERVER_NAME, GROUPS, POINT_FORMATS, SIGNATURES, ALPN, ENCRYPT_THEN_MAC = 0, 10, 11, 13, 16, 22
PRE_SHARED_KEY, SUPPORTED_VERSIONS = 41, 43

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
    offer: Offer


class ServerHello(NamedTuple):
    """What the server chose. `retry`: it asks for another hello (RFC 8446 §4.1.4)."""

    random: bytes
    version: int
    cipher: str | None
    alpn: str | None
    shared_key: bool
    encrypt_then_mac: bool
    retry: bool
    ja3s: str


def client_hello(body: bytes) -> ClientHello | None:
    """A client's hello; None where it is of no version that we know."""
    fields = Fields(body)
    legacy = fields.number(2)
    if legacy >> 8 != 3:
        return None
    random = fields.take(32)
    fields.vector(1)
    suites = _numbers(fields.vector(2))
    fields.vector(1)
    listed = list(fields.extensions())
    # Of what should come once, the last one counts.
    extensions = dict(listed)
    versions = _numbers(Fields(extensions.get(SUPPORTED_VERSIONS, b"")).vector(1))
    known = [number for number in versions if number in VERSIONS]
    alpn = extensions.get(ALPN)
    protocols = list(_protocols(alpn)) if alpn is not None else []
    offer = Offer(
        legacy,
        max(known, default=legacy),
        suites,
        tuple([kind for kind, _ in listed]),
        _numbers(Fields(extensions.get(GROUPS, b"")).vector(2)),
        Fields(extensions.get(POINT_FORMATS, b"")).vector(1),
        _numbers(Fields(extensions.get(SIGNATURES, b"")).vector(2)),
        protocols[0] if protocols else b"",
    )
    return ClientHello(
        random,
        offer.version,
        _host_name(extensions.get(SERVER_NAME, b"")),
        tuple([_text(each) for each in protocols]) if alpn is not None else None,
        offer,
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
    listed = list(fields.extensions())
    extensions = dict(listed)
    number = int.from_bytes(cipher, "big")
    return ServerHello(
        random,
        Fields(extensions.get(SUPPORTED_VERSIONS, b"")).number(2) or version,
        SUITES.get(number, f"0x{number:04X}") if len(cipher) == 2 else None,
        chosen_protocol(extensions),
        PRE_SHARED_KEY in extensions,
        ENCRYPT_THEN_MAC in extensions,
        random == _RETRY,
        ja3s(version, number, tuple([kind for kind, _ in listed])),
    )


def chosen_protocol(extensions: dict[int, bytes]) -> str | None:
    """The one that the server took of those that ALPN offered (RFC 7301 §3.1)."""
    chosen = next(_protocols(extensions.get(ALPN, b"")), None)
    return _text(chosen) if chosen is not None else None


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


def _protocols(content: bytes) -> Iterator[bytes]:
    names = Fields(Fields(content).vector(2))
    for _ in range(MAX_PROTOCOLS):
        if names.position == len(names.data):
            return
        yield names.vector(1)


def _numbers(octets: bytes) -> tuple[int, ...]:
    return tuple([octets[at] << 8 | octets[at + 1] for at in range(0, len(octets) - 1, 2)])


def _text(octets: bytes) -> str:
    return octets.decode("ascii", "backslashreplace")
