"""Our own certificate authority: it lets a recorder stand in a TLS connection's way, for clients
that trust it.

It is made on first use: key and certificate in one file, 0600 in a folder of 0700, so that no half
of it can be missing. Leaf certificates live for days, have the names that they are asked for, and
lie on no disk (RFC 5280).
"""

from __future__ import annotations

import fcntl
import getpass
import os
import socket
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smtpscope.errors import SmtpscopeError
from smtpscope.places import private_folder, state_folder, write_private
from smtpscope.recorders.certificate_names import MAX_COMMON_NAME, Names, fits_common_name
from smtpscope.recorders.tls import KeyLog

FILE = "authority.key"
"""Key and certificate of the CA. Its name is to tell that nobody else may have it."""
LIFETIME = timedelta(days=730)
LEAF_LIFETIME = timedelta(days=7)
SKEW = timedelta(hours=1)
"""So much may a client's clock be behind ours."""
MAX_CONTEXTS = 64
"""Contexts that are kept; each has a file descriptor, for its key log."""

Configure = Callable[[ssl.SSLContext], None]


class Authority:
    """The CA in a folder, made where it is missing; `made` tells that it was.

    One that has run out is still an authority that can be shown; `check` tells. Raises
    `SmtpscopeError`.
    """

    def __init__(self, folder: Path | None = None, key_log: KeyLog | None = None) -> None:
        """`key_log`: where the secrets of all connections go."""
        self.path = private_folder(folder or _usual_folder()) / FILE
        self.made = False
        own = _read(self.path)
        if own is None:
            with _locked(self.path.parent):
                # Another process may have been first.
                own = _read(self.path)
                if own is None:
                    own = _write(self.path)
                    self.made = True
        self._key, self.certificate = own
        self._key_log = key_log
        self._leaf_key: ec.EllipticCurvePrivateKey | None = None
        self._contexts: OrderedDict[tuple[Names, Configure | None], _Kept] = OrderedDict()

    @property
    def subject(self) -> str:
        """Whose it is."""
        (name,) = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(name.value)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, as OpenSSL prints it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()

    @property
    def begins(self) -> datetime:
        return self.certificate.not_valid_before_utc

    @property
    def ends(self) -> datetime:
        return self.certificate.not_valid_after_utc

    @property
    def days_left(self) -> int:
        """Whole days until it runs out, negative when it has."""
        return (self.ends - _now()).days

    def pem(self) -> bytes:
        """The certificate, and nothing else."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def der(self) -> bytes:
        """The certificate, and nothing else."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def check(self) -> None:
        """Raise `SmtpscopeError` where clients can't trust it now, whatever they are told."""
        now = _now()
        if now > self.ends:
            raise SmtpscopeError(
                f"the CA in {self.path.parent} ran out on {self.ends:%Y-%m-%d}: `smtpscope ca"
                " renew` makes a new one, which clients then have to trust"
            )
        if now < self.begins:
            raise SmtpscopeError(
                f"the CA in {self.path.parent} is valid from {self.begins:%Y-%m-%d %H:%M} UTC on:"
                " set the clock, or make a new one with `smtpscope ca renew`"
            )

    def leaf(self, names: Names, *, common_name: str = "") -> x509.Certificate:
        """A certificate for a server of these names, with the key of this process; without any,
        for localhost. The common name is by default theirs. Raises `SmtpscopeError`."""
        self.check()
        names = names or names.including("localhost")
        hosts = (*names.dns, *map(str, names.addresses))
        shown = next(filter(fits_common_name, (common_name, names.common_name, *hosts)), "-")
        alternatives = [x509.DNSName(each) for each in names.dns]
        now = _now()
        return (
            x509.CertificateBuilder()
            .subject_name(_name(shown))
            .issuer_name(self.certificate.subject)
            .public_key(self._key_of_leaves().public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - SKEW, self.begins))
            .not_valid_after(min(now + LEAF_LIFETIME, self.ends))
            .add_extension(
                x509.SubjectAlternativeName([*alternatives, *map(x509.IPAddress, names.addresses)]),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_identifier(self._key_of_leaves()), critical=False)
            .add_extension(_issuer_identifier(self.certificate), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def context(self, names: Names, configure: Configure | None = None) -> ssl.SSLContext:
        """What a server of these names shakes hands with: the leaf, the CA, the key log.

        `configure` gets it when it is new, for versions, ciphers or the client's certificate. The
        same names with the same `configure` get the same context, until its leaf has lived half of
        its life. Raises `SmtpscopeError`.
        """
        asked = names, configure
        kept = self._contexts.get(asked)
        if kept is None or _now() > kept.until:
            leaf = self.leaf(names)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            chain = leaf.public_bytes(serialization.Encoding.PEM) + self.pem()
            _load(context, _private_pem(self._key_of_leaves()) + chain)
            if self._key_log is not None:
                self._key_log.attach(context)
            if configure is not None:
                configure(context)
            life = leaf.not_valid_after_utc - _now()
            kept = self._contexts[asked] = _Kept(context, _now() + life / 2)
        self._contexts.move_to_end(asked)
        while len(self._contexts) > MAX_CONTEXTS:
            self._contexts.popitem(last=False)
        return kept.context

    def _key_of_leaves(self) -> ec.EllipticCurvePrivateKey:
        if self._leaf_key is None:
            self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        return self._leaf_key


class _Kept(NamedTuple):
    context: ssl.SSLContext
    until: datetime


def is_there(folder: Path | None = None) -> bool:
    """Whether a CA, if only a damaged one, is in a folder."""
    return os.path.lexists((folder or _usual_folder()) / FILE)


def renewed(folder: Path | None = None) -> Authority:
    """A new CA with a new key, in the place of one that may be there. Raises `SmtpscopeError`."""
    path = private_folder(folder or _usual_folder()) / FILE
    with _locked(path.parent):
        _write(path)
    return Authority(path.parent)


def _usual_folder() -> Path:
    return state_folder() / "ca"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


# -- on the disk -----------------------------------------------------------------------------------

_Own = tuple[ec.EllipticCurvePrivateKey, x509.Certificate]


def _read(path: Path) -> _Own | None:
    """None where there is none."""
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SmtpscopeError(
            f"the CA {path} cannot be read ({error.strerror or error}): make it yours"
        ) from None
    try:
        key = serialization.load_pem_private_key(octets, None)
        certificate = x509.load_pem_x509_certificate(octets)
        fits = key.public_key() == certificate.public_key()
        _issuer_identifier(certificate)
        (_,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound):
        fits = False
    if not fits or not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SmtpscopeError(
            f"the CA {path} is damaged: put it back, or make a new one with `smtpscope ca renew`,"
            " which clients then have to trust"
        )
    return key, certificate


def _write(path: Path) -> _Own:
    """Make a new one."""
    own = _new(_now() - SKEW)
    try:
        write_private(path, _private_pem(own[0]) + own[1].public_bytes(serialization.Encoding.PEM))
    except OSError as error:
        raise SmtpscopeError(
            f"the CA cannot be written in {path.parent} ({error.strerror or error}): make room"
            " there, or name another place with XDG_STATE_HOME"
        ) from None
    return own


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody else makes a CA in this folder meanwhile. The lock goes with its process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise SmtpscopeError(
                f"{folder} cannot be locked ({error.strerror or error}): name a local place with"
                " XDG_STATE_HOME"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Have a context take a key and its chain, which OpenSSL wants to read from a path: one that
    nobody else can open, and that is gone afterwards."""
    path = ""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("leaf")
        path = f"/proc/self/fd/{descriptor}"
    if not os.path.exists(path):
        if path:
            os.close(descriptor)
        descriptor, path = tempfile.mkstemp(prefix="smtpscope-")
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(path)
    finally:
        os.close(descriptor)
        if not path.startswith("/proc/"):
            os.unlink(path)


# -- X.509 -----------------------------------------------------------------------------------------


def _new(begin: datetime) -> _Own:
    """A CA that is valid from then on."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(_called())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(_identifier(key), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _called() -> str:
    """The CA's name, which tells whose it is where somebody finds it among those that he trusts."""
    user = "?"
    # There may be no such user (KeyError, since Python 3.13 OSError).
    with suppress(OSError, KeyError):
        user = _plain(getpass.getuser())[:20]
    called = f"smtpscope CA ({user}@{_plain(socket.gethostname())}"
    return f"{called[: MAX_COMMON_NAME - 1]})"


def _plain(name: str) -> str:
    return "".join(each if each.isascii() and each.isprintable() else "_" for each in name)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _identifier(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _issuer_identifier(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
