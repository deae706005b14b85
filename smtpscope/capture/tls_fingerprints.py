"""Fingerprints of TLS hellos, by which one program's connections are told from another's.

JA3 and JA3S (github.com/salesforce/ja3) and, of the client alone, JA4 (github.com/FoxIO-LLC/ja4,
technical_details/JA4.md). JA4S is left out: its licence allows no free use. The values of RFC 8701
(GREASE), which mean nothing, are left out of all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_GREASE = frozenset(0x0A0A + 0x1010 * number for number in range(16))
_SERVER_NAME, _ALPN = 0, 16
_JA4_VERSIONS = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
}


class Offer(NamedTuple):
    """What a client's hello lists, in its order: most hellos of one program offer the same.

    `legacy` is the version in the hello's own field, `version` the highest one offered; `protocol`
    is the first one of ALPN, empty where there is none.
    """

    legacy: int
    version: int
    suites: tuple[int, ...]
    extensions: tuple[int, ...]
    groups: tuple[int, ...]
    point_formats: bytes
    signatures: tuple[int, ...]
    protocol: bytes


def ja3(offer: Offer) -> str:
    """JA3 of a client's hello: 32 hexadecimal digits."""
    lists = (offer.suites, offer.extensions, offer.groups, offer.point_formats)
    return _ja3([str(offer.legacy), *map(_decimal, lists)])


def ja3s(version: int, suite: int, extensions: tuple[int, ...]) -> str:
    """JA3S of a server's hello; `version` is that of its own field."""
    return _ja3([str(version), str(suite), _decimal(extensions)])


def ja4(offer: Offer) -> str:
    """JA4 of a client's hello: 36 characters, in three parts."""
    suites, extensions = _real(offer.suites), _real(offer.extensions)
    hashed = [number for number in extensions if number not in (_SERVER_NAME, _ALPN)]
    listed = _hexadecimal(sorted(hashed))
    signatures = _hexadecimal(_real(offer.signatures))
    if listed and signatures:
        listed += f"_{signatures}"
    return (
        f"t{_JA4_VERSIONS.get(offer.version, '00')}{'d' if _SERVER_NAME in extensions else 'i'}"
        f"{min(len(suites), 99):02}{min(len(extensions), 99):02}{_ends(offer.protocol)}"
        f"_{_short(_hexadecimal(sorted(suites)))}_{_short(listed)}"
    )


def _ja3(fields: Sequence[str]) -> str:
    return hashlib.md5(",".join(fields).encode(), usedforsecurity=False).hexdigest()


def _real(numbers: Iterable[int]) -> list[int]:
    return [number for number in numbers if number not in _GREASE]


def _decimal(numbers: Iterable[int]) -> str:
    return "-".join(map(str, _real(numbers)))


def _hexadecimal(numbers: Iterable[int]) -> str:
    return ",".join([f"{number:04x}" for number in numbers])


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12


def _ends(protocol: bytes) -> str:
    """The first and the last character of a protocol's name, or of its octets in hexadecimal."""
    if not protocol:
        return "00"
    ends = protocol[:1] + protocol[-1:]
    return ends.decode("ascii") if ends.isalnum() else protocol.hex()[0] + protocol.hex()[-1]
