"""The server's certificates: its own, made on the first start, or one that is given; and a bad one.

A certificate made here is signed by itself, for a name and the addresses of loopback; its key is
0600 in a folder of 0700.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

from smtpscope.errors import SmtpscopeError, UsageError
from smtpscope.places import private_folder, write_private
from smtpscope.recorders.tls import KeyLog

LIFETIME = datetime.timedelta(days=397)
"""What browsers and mail programs take at most."""
_MARGIN = datetime.timedelta(days=7)
_SKEW = datetime.timedelta(hours=1)


class Certificates:
    """The contexts of a server. Raises `UsageError` where a given certificate is none."""

    def __init__(
        self, host: str, folder: Path, key_log: KeyLog, given: tuple[Path, Path] | None = None
    ) -> None:
        self._key_log = key_log
        if given is not None:
            self._good = self._context(*given)
            self._bad = self._good
        else:
            good, bad = made(host, private_folder(folder))
            self._good, self._bad = self._context(*good), self._context(*bad)

    def context(self, kind: str) -> ssl.SSLContext | None:
        """For a handshake that is "good" or shows a "bad-certificate"; None where it is refused."""
        return {"good": self._good, "bad-certificate": self._bad}.get(kind)

    def _context(self, certificate: Path, key: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            # ssl.SSLError is one.
            reason = getattr(error, "reason", None) or error.strerror or str(error)
            raise UsageError(
                f"{certificate} with the key {key} cannot be used ({reason}): both are PEM files"
            ) from None
        self._key_log.attach(context)
        return context


def made(host: str, folder: Path) -> tuple[tuple[Path, Path], tuple[Path, Path]]:
    """The good and the bad certificate of a host, each with its key: made where they are not there
    or have run out. Raises SmtpscopeError."""
    now = datetime.datetime.now(datetime.UTC)
    good = folder / f"{_safe(host)}.pem", folder / f"{_safe(host)}.key"
    bad = folder / "bad.pem", folder / "bad.key"
    try:
        if not _usable(good[0], good[1], now):
            _make(host, good, now - _SKEW, now + LIFETIME)
        if not bad[0].exists() or not bad[1].exists():
            _make("wrong.invalid", bad, now - 2 * LIFETIME, now - LIFETIME)
    except OSError as error:
        raise SmtpscopeError(
            f"the certificate cannot be made in {folder} ({error.strerror}): give one with"
            " --tls-cert and --tls-key"
        ) from None
    return good, bad


def _safe(host: str) -> str:
    return "".join(each if each.isalnum() or each in ".-" else "_" for each in host)[:100] or "_"


def _usable(certificate: Path, key: Path, now: datetime.datetime) -> bool:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return False
    return key.exists() and found.not_valid_after_utc > now + _MARGIN


def _make(
    host: str, where: tuple[Path, Path], begin: datetime.datetime, end: datetime.datetime
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    names: list[x509.GeneralName] = [x509.DNSName(host), x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_private(
        where[1],
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    write_private(where[0], certificate.public_bytes(serialization.Encoding.PEM))
    os.chmod(where[0], 0o644)
