"""Names of certificates: those that strangers wrote are read without harm, or not at all."""

from __future__ import annotations

import ipaddress
import random
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from smtpscope.recorders.certificate_names import MAX_DER, MAX_NAMES, Names, names_of

KEY = ec.generate_private_key(ec.SECP256R1())
SAN = ExtensionOID.SUBJECT_ALTERNATIVE_NAME


def certificate(
    common_name: str | None, names: Sequence[x509.GeneralName] = (), raw: bytes | None = None
) -> bytes:
    """One in DER; `raw` is what stands for the names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, common_name, _validate=False)]
            if common_name is not None
            else []
        )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if raw is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(SAN, raw), critical=False)
    elif names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_names_wildcards_and_addresses_are_read() -> None:
    der = certificate(
        "Mail of Example",
        [
            x509.DNSName("MX.example.org"),
            x509.DNSName("*.example.org"),
            x509.DNSName("mx.example.org"),
            x509.RFC822Name("a@example.org"),
            x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
            x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        ],
    )
    assert names_of(der) == Names(
        ("mx.example.org", "*.example.org"),
        (ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")),
        "Mail of Example",
    )


# RFC 6125 §6.4.4: only where there is no other
@pytest.mark.parametrize(
    ("common_name", "found"),
    [
        ("mx.example.org", Names(("mx.example.org",), (), "mx.example.org")),
        ("192.0.2.1", Names((), (ipaddress.ip_address("192.0.2.1"),), "192.0.2.1")),
        ("Mail of Example", Names((), (), "Mail of Example")),
        ("x\x1b[31m", Names()),
        ("x" * 65, Names()),
        (None, Names()),
    ],
)
def test_a_common_name_counts_where_there_is_no_other(
    common_name: str | None, found: Names
) -> None:
    assert names_of(certificate(common_name)) == found
    assert bool(found) == bool(found.dns or found.addresses)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "*", "*.", "a..b", "-a.b", "a b", "a\0.example", "*.*.example", "x.*.example"),
        *("a" * 64, ".".join(["a" * 63] * 4) + ".example", "\x1b[31m.example"),
    ],
)
def test_what_is_no_dns_name_is_left_out(name: str) -> None:
    der = certificate("mx", [x509.DNSName(name), x509.DNSName("good.example")])
    assert names_of(der).dns == ("good.example",)


def test_thousands_of_names_are_bounded() -> None:
    many = [x509.DNSName(f"h{number}.example") for number in range(6_000)]
    der = certificate("mx", many)
    assert len(der) < MAX_DER
    found = names_of(der)
    assert found.dns == tuple(f"h{number}.example" for number in range(MAX_NAMES))
    # What is asked for is not lost behind them.
    assert found.including("wanted.example").dns[0] == "wanted.example"
    assert len(found.including("wanted.example").dns) == MAX_NAMES


def test_a_certificate_that_is_too_large_has_no_names() -> None:
    der = certificate("mx", [x509.DNSName("a" * 250)] * 600)
    assert len(der) > MAX_DER
    assert names_of(der) == Names()


# Lengths that lie, an address of five octets, a name that is no ASCII, an empty list, junk.
@pytest.mark.parametrize(
    "raw", ["", "30", "30840fffffff", "3007870501020304ff", "30068204ffc3a4ff", "3000", "0500"]
)
def test_damaged_names_leave_the_common_name(raw: str) -> None:
    found = names_of(certificate("mx.example.org", raw=bytes.fromhex(raw)))
    assert found == Names(("mx.example.org",), (), "mx.example.org")


def test_no_octets_whatever_make_it_raise_or_talk(recwarn: pytest.WarningsRecorder) -> None:
    good = certificate("mx.example.org", [x509.DNSName("mx.example.org")])
    chance = random.Random(7)
    assert names_of(b"") == Names()
    for end in range(0, len(good), 7):
        assert names_of(good[:end]) == Names()
    for _ in range(3_000):
        damaged = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        found = names_of(bytes(damaged))
        assert len(found.dns) <= MAX_NAMES
        assert found.common_name.isprintable()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("host", "dns", "address"),
    [
        ("MX.Example.org.", "mx.example.org", None),
        ("bücher.example", "xn--bcher-kva.example", None),
        ("localhost", "localhost", None),
        ("127.0.0.1", None, "127.0.0.1"),
        ("[::1]", None, "::1"),
        ("fe80::1%eth0", None, "fe80::1"),
        ("::ffff:127.0.0.1", None, "127.0.0.1"),
        ("", None, None),
        ("a\r\nb", None, None),
        ("\udcff", None, None),
        ("ü" * 100_000, None, None),
    ],
)
def test_a_host_becomes_a_name_or_an_address_or_nothing(
    host: str, dns: str | None, address: str | None
) -> None:
    wanted = (ipaddress.ip_address(address),) if address else ()
    assert Names().including(host) == Names((dns,) if dns else (), wanted)
