"""The header lines of ours in front of a message: the envelope, whatever it holds."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from smtpscope.recorders.message_head import head_of
from smtpscope.smtp.serving.envelope import Envelope, Recipient
from smtpscope.smtp.values import Parameter
from smtpscope.smtp.values import Path as Address


def _address(octets: bytes) -> Address:
    local, _, domain = octets.rpartition(b"@")
    return Address(octets, local, domain)


def _envelope(**changes: Any) -> Envelope:
    usual: dict[str, Any] = {
        "client": "192.0.2.1",
        "hello": b"client.example",
        "protocol": "ESMTPSA",
        "identity": b"ann",
        "tls": True,
        "sender": _address(b"ann@example.org"),
        "parameters": (
            Parameter("SIZE", b"100"),
            Parameter("SMTPUTF8", None),
            Parameter("ENVID", b"a+2Bb"),
        ),
        "recipients": [
            Recipient(_address(b"bob@example.net"), (Parameter("NOTIFY", b"NEVER"),)),
            Recipient(_address("jürgen@example.net".encode())),
        ],
    }
    return Envelope(**{**usual, **changes})


def test_the_envelope_stands_in_front_of_the_message() -> None:
    head = head_of(_envelope(), "mx.example")
    date = head.split(b"ESMTPSA;\r\n\t")[1].split(b"\r\n")[0]
    expected = """\
Return-Path: <ann@example.org>
Received: from client.example ([192.0.2.1])
\tby mx.example with ESMTPSA;
\tDATE
X-Smtpscope-Client: 192.0.2.1
X-Smtpscope-Hello: client.example
X-Smtpscope-From: <ann@example.org>
\tSIZE=100
\tSMTPUTF8
\tENVID=a+2Bb
X-Smtpscope-To: <bob@example.net>
\tNOTIFY=NEVER
X-Smtpscope-To: <jürgen@example.net>
X-Smtpscope-Login: ann
"""
    assert head.replace(date, b"DATE") == expected.replace("\n", "\r\n").encode()


def test_received_names_the_only_recipient_and_an_ipv6_client() -> None:
    only = [Recipient(_address(b"bob@example.net"))]
    head = head_of(_envelope(client="2001:db8::1", recipients=only, identity=None), "mx.example")
    assert b"([IPv6:2001:db8::1])" in head
    assert b"\r\n\tfor <bob@example.net>;" in head
    assert b"X-Smtpscope-Login" not in head


HOSTILE = st.binary(max_size=30) | st.sampled_from(
    [b"x" * 5_000, b"\r\nBcc: x", b"a\0b", b"(;<", "\u202e\u2028".encode(), "ü".encode() * 700]
)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
@effort(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_what_comes_from_the_wire_makes_no_line_of_its_own(
    hello: bytes, sender: bytes, identity: bytes, value: bytes
) -> None:
    head = head_of(
        _envelope(
            hello=hello,
            sender=_address(sender),
            identity=identity,
            parameters=(Parameter("AUTH", value),),
            recipients=[Recipient(_address(value), (Parameter("ORCPT", sender),))],
        ),
        "mx.example",
    )
    assert head.decode().replace("\r\n", "").replace("\t", "").isprintable()
    lines = head.removesuffix(b"\r\n").split(b"\r\n")
    assert all(len(line) < 998 for line in lines)
    names = [line.split(b":")[0] for line in lines if line[:1] not in (b"\t", b" ")]
    assert names == [
        *(b"Return-Path", b"Received", b"X-Smtpscope-Client", b"X-Smtpscope-Hello"),
        *(b"X-Smtpscope-From", b"X-Smtpscope-To", b"X-Smtpscope-Login"),
    ]


def test_a_long_value_is_whole_when_it_is_unfolded() -> None:
    head = head_of(_envelope(sender=_address(b"x" * 1_500 + b"@y")), "mx.example")
    assert b"<" + b"x" * 1_500 + b"@y>" in head.replace(b"\r\n ", b"")
