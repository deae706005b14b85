"""Rules about the TLS of a session as an onlooker sees it: version, suite, handshake, certificate.

The certificate is in clear up to TLS 1.2. RFC 9325 (recommendations), RFC 8996 (old versions),
RFC 5280 and RFC 9525 (certificates and names).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from smtpscope.capture.tls import TlsInfo
from smtpscope.findings.rule import Checks, Rule
from smtpscope.findings.walk import State
from smtpscope.session import Session
from smtpscope.stream import Defect, Direction, Span

RULES: dict[str, Rule] = {
    "tls-old-version": Rule(
        "warning",
        "a version of TLS that is no longer secure",
        "RFC 8996 §2",
        "Update the side that knows no TLS 1.2, and switch the older versions off on the other.",
    ),
    "tls-weak-cipher": Rule(
        "warning",
        "a cipher suite that can be broken",
        "RFC 9325 §4.1",
        "Switch suites with NULL, EXPORT, DES, 3DES, RC2 or RC4 off on both sides; AES-GCM and "
        "ChaCha20 are everywhere.",
    ),
    "tls-anonymous": Rule(
        "note",
        "the server showed no certificate: anybody in between could have answered",
        "RFC 9325 §4.1",
        "Harmless between servers that encrypt only where they can; a client that wants to know "
        "whom it talks to must not offer anonymous suites.",
    ),
    "tls-no-forward-secrecy": Rule(
        "note",
        "who records this and gets the server's key later can read it",
        "RFC 9325 §4.1",
        "Prefer suites with ECDHE, or TLS 1.3, on the server.",
    ),
    "tls-handshake-failed": Rule(
        "warning",
        "one side gave the TLS handshake up",
        "RFC 8446 §6.2",
        "The alert says why and who: certificate alerts from the client are about the server's "
        "certificate or the client's trust; protocol_version and handshake_failure are about "
        "versions and suites that don't meet.",
    ),
    "certificate-expired": Rule(
        "warning",
        "the server's certificate had expired",
        "RFC 5280 §4.1.2.5",
        "The server's administrator should renew it, and see to it that this happens by itself.",
    ),
    "certificate-not-yet-valid": Rule(
        "warning",
        "the server's certificate was not valid yet",
        "RFC 5280 §4.1.2.5",
        "Look at the clocks: the server's, the one that recorded this, and that of who signed.",
    ),
    "certificate-self-signed": Rule(
        "note",
        "the server's certificate is signed by itself",
        "RFC 5280 §3.2",
        "Clients that verify will refuse it unless DANE vouches for it: get one from a "
        "certificate authority.",
    ),
    "certificate-other-name": Rule(
        "note",
        "the server's certificate is for another name",
        "RFC 9525 §6",
        "Let the certificate have the name that clients are configured with or that MX records "
        "point to, or let clients use a name that it has.",
    ),
}

_OLD = frozenset({"SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"})
_WEAK = (
    ("_NULL", "no encryption"),
    ("_EXPORT_", "export grade"),
    ("_DES40_", "40 bits"),
    ("_DES_CBC_", "single DES"),
    ("_3DES_", "3DES"),
    ("_RC2_", "RC2"),
    ("_RC4_", "RC4"),
)
_NO_FORWARD_SECRECY = ("TLS_RSA_", "TLS_DH_RSA_", "TLS_DH_DSS_", "TLS_ECDH_RSA_", "TLS_ECDH_ECDSA_")


class Certificate(NamedTuple):
    """What the rules ask of a certificate; times in nanoseconds since the epoch."""

    begins: int
    ends: int
    names: tuple[str, ...]
    self_signed: bool


def _tls(session: Session, state: State) -> Iterator[Defect]:
    info = session.tls
    if info is None:
        return
    where = _handshake_at(session, Direction.SERVER)
    if info.version in _OLD:
        yield Defect("tls-old-version", where, str(info.version))
    if info.cipher is not None:
        yield from _suite(info.cipher, where)
    said = info.octets[Direction.SERVER] or session.exchanges
    answered = info.established or info.records[Direction.SERVER] or not said
    if not answered and session.tls_mode == "implicit":
        yield Defect("tls-on-plain-port", Span(Direction.CLIENT, 0, 0), "no TLS came back")
    elif not info.established:
        yield from _failure(info, session)
    elif info.certificate is not None:
        yield from _certificate(info.certificate, info, session, where)


def _handshake_at(session: Session, direction: Direction) -> Span:
    """The TLS that begins behind STARTTLS has no octets of its own to point at."""
    for exchange in reversed(session.exchanges):
        command, reply = exchange.command, exchange.reply
        if command is not None and command.verb == "STARTTLS" and reply is not None:
            return command.span if direction is Direction.CLIENT else reply.span
    return Span(direction, 0, 0)


def _suite(cipher: str, where: Span) -> Iterator[Defect]:
    weak = next((reason for word, reason in _WEAK if word in cipher), None)
    if weak is not None:
        yield Defect("tls-weak-cipher", where, f"{cipher}: {weak}")
    if "_anon_" in cipher:
        yield Defect("tls-anonymous", where, cipher)
    elif cipher.startswith(_NO_FORWARD_SECRECY):
        yield Defect("tls-no-forward-secrecy", where, cipher)


def _failure(info: TlsInfo, session: Session) -> Iterator[Defect]:
    for alert in info.alerts:
        if alert.level == "fatal":
            who = alert.direction.name.lower()
            where = _handshake_at(session, alert.direction)
            yield Defect("tls-handshake-failed", where, f"the {who} says {alert.description}")
            return


def _certificate(der: bytes, info: TlsInfo, session: Session, where: Span) -> Iterator[Defect]:
    certificate = read_certificate(der)
    if certificate is None:
        return
    if session.start > certificate.ends:
        yield Defect("certificate-expired", where, f"on {_day(certificate.ends)}")
    elif session.start < certificate.begins and session.end:
        # Without an end the capture has no times.
        yield Defect("certificate-not-yet-valid", where, f"before {_day(certificate.begins)}")
    if certificate.self_signed:
        yield Defect("certificate-self-signed", where)
    wanted = info.sni or _announced(session)
    if wanted and not any(_covers(name, wanted) for name in certificate.names):
        names = ", ".join(certificate.names[:5]) or "no name"
        yield Defect("certificate-other-name", where, f"{names[:150]} instead of {wanted[:100]}")


def _announced(session: Session) -> str:
    """The name with which the server greets (RFC 5321 §4.2)."""
    banner = session.banner
    if banner is None or not banner.accepted:
        return ""
    word = banner.lines[0].strip().split(b" ")[0].decode("ascii", "replace")
    return word if "." in word else ""


def _covers(name: str, wanted: str) -> bool:
    """A wildcard stands for the leftmost label only (RFC 9525 §6.3)."""
    name, wanted = name.lower().rstrip("."), wanted.lower().rstrip(".")
    return name == wanted or (name.startswith("*.") and name[2:] == wanted.partition(".")[2])


def _day(time: int) -> str:
    return datetime.fromtimestamp(time // 1_000_000_000, UTC).strftime("%Y-%m-%d")


@lru_cache(maxsize=256)
def read_certificate(der: bytes) -> Certificate | None:
    """What a certificate in DER says; None where it can't be read."""
    # The import takes longer than most reviews, and few captures show a certificate.
    from cryptography import x509
    from cryptography.x509.oid import ExtensionOID, NameOID

    try:
        read = x509.load_der_x509_certificate(der)
        subject = read.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [str(each.value) for each in subject]
        begins, ends = read.not_valid_before_utc, read.not_valid_after_utc
        own = read.issuer == read.subject
        found = [
            each.value
            for each in read.extensions
            if each.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        ]
        if found and isinstance(found[0], x509.SubjectAlternativeName):
            addresses = found[0].get_values_for_type(x509.IPAddress)
            names = [*found[0].get_values_for_type(x509.DNSName), *map(str, addresses)]
    except Exception:
        # A peer wrote it: whatever the library can't read is no certificate.
        return None
    return Certificate(_nanoseconds(begins), _nanoseconds(ends), tuple(names), own)


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000_000


CHECKS = Checks(session=(_tls,))
