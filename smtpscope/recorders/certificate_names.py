"""The names in a certificate: read from one that a stranger wrote, and fit to be written into ours.

In goes DER as it came over the wire, or a host as somebody typed it; out come `Names`, bounded and
of correct form (RFC 5280 §4.2.1.6, RFC 9525 §6.3). What has no such form is left out.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID

T = TypeVar("T")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_NAMES = 100
"""So many DNS names are kept, and so many addresses: the first ones."""
MAX_DER = 1 << 17
"""Octets of a certificate that is read; OpenSSL takes 100 kB in a handshake."""
MAX_COMMON_NAME = 64
"""X.520's ub-common-name."""
_MAX_DNS = 253
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# A wildcard is the whole leftmost label, and something stands behind it.
_DNS = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Names:
    """Whom a certificate is for; false where it is for nobody.

    DNS names are in lower case and A-labels. A common name is for people's eyes only.
    """

    dns: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    common_name: str = ""

    def __bool__(self) -> bool:
        return bool(self.dns or self.addresses)

    def including(self, *hosts: str) -> Names:
        """These and some hosts, names or addresses, which go first; what is neither is left out."""
        addresses = [address for each in hosts if (address := _address(each)) is not None]
        names = [name for each in hosts if _address(each) is None and (name := _dns(each))]
        return Names(
            _distinct([*names, *self.dns]),
            _distinct([*addresses, *self.addresses]),
            self.common_name,
        )


def names_of(der: bytes) -> Names:
    """The names in a certificate. Its common name counts as a host where it has no other.

    None are found in what can't be read: a peer wrote it, so it never raises.
    """
    if len(der) > MAX_DER:
        return Names()
    read = _tried(lambda: x509.load_der_x509_certificate(der))
    if read is None:
        return Names()
    common_name = _tried(lambda: _common_name(read)) or ""
    names = _tried(lambda: _alternatives(read)) or Names()
    if not names:
        names = names.including(common_name)
    return Names(names.dns, names.addresses, common_name)


def _tried(reading: Callable[[], T]) -> T | None:
    try:
        with warnings.catch_warnings():
            # Of what a stranger did wrong nobody at the terminal is to hear.
            warnings.simplefilter("ignore")
            return reading()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        # A panic of the library's Rust is no Exception.
        return None


def _common_name(certificate: x509.Certificate) -> str:
    for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        if isinstance(each.value, str) and fits_common_name(each.value):
            return each.value
    return ""


def fits_common_name(name: str) -> bool:
    """Whether it may stand as one, and can be shown."""
    return name.isprintable() and 0 < len(name.encode()) <= MAX_COMMON_NAME


def _alternatives(certificate: x509.Certificate) -> Names:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = (
        each
        for each in found.get_values_for_type(x509.IPAddress)
        # A network is none.
        if isinstance(each, Address)
    )
    names = map(_dns, found.get_values_for_type(x509.DNSName))
    return Names(_distinct(filter(None, names)), _distinct(addresses))


def _distinct(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))[:MAX_NAMES]


def _dns(name: str) -> str:
    """In the form of a certificate; "" where it is no DNS name."""
    name = name.rstrip(".").lower()
    if not name.isascii() and len(name) <= _MAX_DNS:
        with suppress(UnicodeError):
            name = name.encode("idna").decode("ascii")
    return name if len(name) <= _MAX_DNS and _DNS.fullmatch(name) else ""


def _address(host: str) -> Address | None:
    """An address, in brackets or not; without its zone, which no certificate has."""
    try:
        found = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    # A socket of both families tells IPv4 so, and no client asks for it.
    return getattr(found, "ipv4_mapped", None) or found
