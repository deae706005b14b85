"""RFC 4954, and the mechanisms' own documents: what is known of an exchange, and what is hidden."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smtpscope.smtp.sasl import MAX_LINE, MAX_SECRET, AuthExchange, describe_challenge
from smtpscope.stream import Direction, Span


def b64(octets: bytes) -> bytes:
    return base64.b64encode(octets)


def wire(text: str) -> bytes:
    """The octets that `text` stands for: what is in braces is base64 on the wire, and there \\0 and
    \\1 are the octets NUL and 1."""
    before, brace, clear = text.partition("{")
    if not brace:
        return text.encode()
    return before.encode() + b64(octets(clear.removesuffix("}")))


def octets(text: str) -> bytes:
    return text.replace("\\0", "\0").replace("\\1", "\1").encode()


def play(transcript: str) -> AuthExchange:
    """The exchange that a transcript shows; its first row is the AUTH command."""
    first, *rows = [row.strip() for row in transcript.strip().splitlines()]
    argument = wire(first.removeprefix("C: AUTH "))
    exchange = AuthExchange.from_argument(argument, Span(Direction.CLIENT, 5, 5 + len(argument)))
    for row in rows:
        side, _, text = row.partition(":")
        line = wire(text.strip())
        if side == "C":
            exchange.response(line)
        elif line.startswith(b"334"):
            exchange.challenge(line[4:])
        else:
            exchange.finish(int(line[:3]))
    return exchange


def rules(exchange: AuthExchange) -> list[str]:
    return [defect.rule for defect in exchange.defects]


# RFC 4616: PLAIN


def test_plain_shows_the_identity_and_hides_the_password() -> None:
    exchange = play(
        """
        C: AUTH PLAIN {\\0ann@example.org\\0pa55word}
        S: 235 2.7.0 welcome
        """
    )
    assert exchange.mechanism == "PLAIN"
    assert exchange.identity == b"ann@example.org"
    assert exchange.authzid is None
    assert exchange.secret == b"pa55word"
    assert exchange.secret_length == 8
    assert exchange.redacted == ["identity ann@example.org, [redacted 8 octets]"]
    assert exchange.redacted_argument() == ("PLAIN identity ann@example.org, [redacted 8 octets]")
    assert exchange.code == 235
    assert exchange.defects == []


def test_plain_may_wait_for_an_empty_challenge() -> None:
    exchange = play(
        """
        C: AUTH plain
        S: 334
        C: {bob\\0ann\\0pa55word}
        S: 235 ok
        """
    )
    assert exchange.redacted_argument() == "PLAIN identity ann, acting as bob, [redacted 8 octets]"
    assert exchange.authzid == b"bob"
    assert exchange.defects == []


@pytest.mark.parametrize(
    "response", ["ann\\0pa55word", "\\0pa55word", "ann\\0pa55word\\0", "pa55word", "\\0\\0pa55word"]
)
def test_plain_with_fields_missing_is_hidden_altogether(response: str) -> None:
    exchange = play(f"C: AUTH PLAIN {{{response}}}")
    assert exchange.redacted == [f"[redacted {len(octets(response))} octets]"]
    assert exchange.identity is None
    assert rules(exchange) == ["auth-response-syntax"]


# LOGIN, which no RFC describes


def test_login_shows_the_name_and_hides_the_password() -> None:
    exchange = play(
        """
        C: AUTH LOGIN
        S: 334 {Username:}
        C: {ann@example.org}
        S: 334 {Password:}
        C: {pa55word}
        S: 235 ok
        """
    )
    assert exchange.redacted == ["identity ann@example.org", "[redacted 8 octets]"]
    assert (exchange.identity, exchange.secret) == (b"ann@example.org", b"pa55word")
    assert exchange.defects == []


def test_login_may_bring_the_name_along() -> None:
    exchange = play(
        """
        C: AUTH LOGIN {ann}
        S: 334 {Password:}
        C: {pa55word}
        """
    )
    assert exchange.redacted == ["identity ann", "[redacted 8 octets]"]
    assert exchange.redacted_argument() == "LOGIN identity ann"


def test_login_hides_the_first_line_if_the_server_asks_for_the_password() -> None:
    exchange = play(
        """
        C: AUTH LOGIN
        S: 334 {Password:}
        C: {pa55word}
        """
    )
    assert exchange.redacted == ["[redacted 8 octets]"]
    assert exchange.identity is None


def test_login_hides_the_second_line_even_if_the_server_asks_for_the_name_again() -> None:
    exchange = play(
        """
        C: AUTH LOGIN
        S: 334 {Username:}
        C: {ann}
        S: 334 {Username:}
        C: {pa55word}
        """
    )
    assert exchange.redacted[1] == "[redacted 8 octets]"


def test_login_hides_the_message_of_plain() -> None:
    exchange = play("C: AUTH LOGIN {\\0ann\\0pa55word}")
    assert exchange.redacted == ["[redacted 13 octets]"]
    assert rules(exchange) == ["auth-response-syntax"]


# RFC 2195: CRAM-MD5


def test_cram_md5_shows_the_name_and_hides_the_digest() -> None:
    exchange = play(
        """
        C: AUTH CRAM-MD5
        S: 334 {<1896.697170952@mx.test>}
        C: {ann lee 0123456789abcdef0123456789abcdef}
        S: 235 ok
        """
    )
    assert exchange.redacted == ["identity ann lee, [redacted 32 octets]"]
    assert exchange.identity == b"ann lee"
    assert exchange.defects == []


def test_cram_md5_hides_what_is_no_digest() -> None:
    exchange = play("C: AUTH CRAM-MD5\nS: 334 {<1@mx.test>}\nC: {ann pa55word}")
    assert exchange.redacted == ["[redacted 12 octets]"]
    assert rules(exchange) == ["auth-response-syntax"]


def test_cram_md5_has_no_initial_response() -> None:
    exchange = play("C: AUTH CRAM-MD5 {ann 0123456789abcdef0123456789abcdef}")
    assert rules(exchange) == ["auth-initial-response"]
    assert exchange.redacted == ["identity ann, [redacted 32 octets]"]


# RFC 2831: DIGEST-MD5


def test_digest_md5_shows_the_name_and_hides_the_rest() -> None:
    exchange = play(
        """
        C: AUTH DIGEST-MD5
        S: 334 {realm="x.test",nonce="abc",qop="auth",algorithm=md5-sess,charset=utf-8}
        C: {charset=utf-8,username="an\\"n",realm="x.test",nonce="abc",response=d388,authzid="bob"}
        S: 334 {rspauth=ea40}
        C:
        S: 235 ok
        """
    )
    assert exchange.redacted == ['identity an"n, acting as bob, [redacted 4 octets]', ""]
    assert exchange.secret == b"d388"
    assert exchange.defects == []


# RFC 5802, RFC 7677: SCRAM


def test_scram_shows_the_name_and_hides_the_proof() -> None:
    exchange = play(
        """
        C: AUTH SCRAM-SHA-256 {n,,n=us=2Cer=3D,r=rOprNGfw}
        S: 334 {r=rOprNGfw%hvYD,s=W22ZaJ0S,i=4096}
        C: {c=biws,r=rOprNGfw%hvYD,p=dHzbZapW}
        S: 334 {v=6rriTRBi}
        C:
        S: 235 ok
        """
    )
    assert exchange.redacted == ["identity us,er=", "[redacted 8 octets]", ""]
    assert exchange.secret == b"dHzbZapW"
    assert exchange.defects == []


def test_scram_plus_names_its_channel_binding_first() -> None:
    exchange = play("C: AUTH SCRAM-SHA-256-PLUS {p=tls-exporter,a=bob,n=ann,r=xyz}")
    assert exchange.redacted == ["identity ann, acting as bob"]


def test_scram_hides_what_is_no_scram_message() -> None:
    exchange = play("C: AUTH SCRAM-SHA-1 {n,,pa55word}")
    assert exchange.redacted == ["[redacted 11 octets]"]
    assert rules(exchange) == ["auth-response-syntax"]


# XOAUTH2, RFC 7628: OAUTHBEARER


def test_xoauth2_shows_the_user_and_may_acknowledge_a_failure_with_an_empty_line() -> None:
    exchange = play(
        """
        C: AUTH XOAUTH2 {user=ann@example.org\\1auth=Bearer vF9dft4qmT\\1\\1}
        S: 334 {{"status":"400"}}
        C:
        S: 535 no
        """
    )
    assert exchange.redacted == ["identity ann@example.org, [redacted 17 octets]", ""]
    assert exchange.secret == b"Bearer vF9dft4qmT"
    assert exchange.defects == []


def test_oauthbearer_shows_the_authzid_and_acknowledges_a_failure_with_the_octet_1() -> None:
    exchange = play(
        """
        C: AUTH OAUTHBEARER {n,a=ann@x.test,\\1host=mx.test\\1port=587\\1auth=Bearer vF9dft\\1\\1}
        S: 334 {{"status":"invalid_token"}}
        C: {\\1}
        S: 535 no
        """
    )
    assert exchange.redacted == [
        "identity ann@x.test, [redacted 13 octets]",
        "[redacted 1 octets]",
    ]
    assert exchange.secret == b"Bearer vF9dft"
    assert exchange.defects == []


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("XOAUTH2", "vF9dft4qmT"),
        ("XOAUTH2", "user=ann\\1token=vF9dft4qmT\\1\\1"),
        ("OAUTHBEARER", "vF9dft4qmT"),
        ("OAUTHBEARER", "n,a=ann,\\1token=vF9dft4qmT\\1\\1"),
    ],
)
def test_a_token_out_of_place_is_hidden(mechanism: str, response: str) -> None:
    exchange = play(f"C: AUTH {mechanism} {{{response}}}")
    assert exchange.redacted == [f"[redacted {len(octets(response))} octets]"]
    assert rules(exchange) == ["auth-response-syntax"]


# RFC 4422 Appendix A: EXTERNAL; RFC 4505: ANONYMOUS


@pytest.mark.parametrize("mechanism", ["EXTERNAL", "ANONYMOUS"])
def test_a_mechanism_without_secret_hides_nothing(mechanism: str) -> None:
    exchange = play(f"C: AUTH {mechanism} {{ann@example.org}}")
    assert exchange.redacted == ["identity ann@example.org"]
    assert exchange.identity == b"ann@example.org"
    assert (exchange.secret, exchange.secret_length) == (b"", 0)


def test_external_may_be_empty_at_once_or_when_asked() -> None:
    for transcript in ("C: AUTH EXTERNAL =", "C: AUTH EXTERNAL\nS: 334 \nC:"):
        exchange = play(transcript)
        assert exchange.redacted == [""]
        assert exchange.defects == []


# NTLM ([MS-NLMP] §2.2.1)


def ntlm_authenticate(domain: bytes, user: bytes, proof: bytes, flags: int) -> bytes:
    fields, payload = b"", b""
    for value in (b"", proof, domain, user, b"", b""):
        fields += struct.pack("<HHI", len(value), len(value), 64 + len(payload))
        payload += value
    return b"NTLMSSP\0" + struct.pack("<I", 3) + fields + struct.pack("<I", flags) + payload


@pytest.mark.parametrize(
    ("encoding", "flags", "user"), [("utf-16-le", 1, "jürgen"), ("ascii", 0, "jim")]
)
def test_ntlm_names_the_user_in_its_last_message(encoding: str, flags: int, user: str) -> None:
    exchange = AuthExchange("NTLM", b64(b"NTLMSSP\0\1\0\0\0" + bytes(20)))
    exchange.challenge(b64(b"NTLMSSP\0\2\0\0\0" + bytes(36)))
    names = "DOM".encode(encoding), user.encode(encoding)
    exchange.response(b64(ntlm_authenticate(*names, b"p" * 24, flags)))
    assert exchange.redacted == [
        "[redacted 32 octets]",
        f"identity DOM\\{user}, [redacted 24 octets]",
    ]
    assert exchange.secret == b"p" * 24
    assert exchange.defects == []


def test_ntlm_fields_that_point_outside_are_empty() -> None:
    message = bytearray(ntlm_authenticate(b"", b"ann", b"", 0))
    message[40:44] = b"\xff\xff\xff\x7f"
    exchange = AuthExchange("NTLM", b64(bytes(message)))
    assert exchange.identity is None
    assert exchange.secret == bytes(message)


# mechanisms without a known form


@pytest.mark.parametrize("mechanism", ["GSSAPI", "X-UNHEARD-OF"])
def test_an_unknown_mechanism_is_hidden_line_by_line(mechanism: str) -> None:
    exchange = play(f"C: AUTH {mechanism} {{pa55}}\nS: 334 {{x}}\nC: {{word}}")
    assert exchange.mechanism == mechanism
    assert exchange.redacted == ["[redacted 4 octets]", "[redacted 4 octets]"]
    assert (exchange.secret, exchange.secret_length) == (b"pa55word", 8)
    assert exchange.defects == []


# RFC 4954 §4: the exchange itself


def test_a_star_cancels() -> None:
    exchange = play("C: AUTH LOGIN\nS: 334 {Username:}\nC: *\nS: 501 cancelled")
    assert exchange.cancelled
    assert exchange.redacted == ["*"]
    assert exchange.code == 501
    assert exchange.defects == []


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "SCRAM-SHA-1", "NTLM"])
def test_an_empty_response_is_told_where_something_must_be_said(mechanism: str) -> None:
    assert rules(play(f"C: AUTH {mechanism} =")) == ["auth-empty-response"]


@pytest.mark.parametrize("line", [b"YW5u!", b"YW5", b"ann lee", b"=", b"YW5u YW5u", b"\xff\xfe"])
def test_what_is_no_base64_is_told_and_hidden(line: bytes) -> None:
    exchange = AuthExchange("LOGIN", None)
    exchange.response(line, Span(Direction.CLIENT, 100, 100 + len(line)))
    (defect,) = exchange.defects
    assert defect.rule == "auth-base64"
    assert defect.span == Span(Direction.CLIENT, 100, 100 + len(line))
    assert exchange.redacted == [f"[redacted {len(line)} octets]"]
    assert exchange.secret == line


def test_a_challenge_that_is_no_base64_is_told_of_the_server() -> None:
    exchange = AuthExchange("LOGIN", None)
    exchange.challenge(b"Password:", Span(Direction.SERVER, 50, 59))
    (defect,) = exchange.defects
    assert (defect.rule, defect.span) == ("auth-base64", Span(Direction.SERVER, 50, 59))
    exchange.response(b64(b"pa55word"))
    assert exchange.redacted == ["[redacted 8 octets]"]


@pytest.mark.parametrize("mechanism", ["NTLM", "GSSAPI"])
def test_the_words_in_which_exchange_agrees_to_a_mechanism_are_no_mistake(mechanism: str) -> None:
    exchange = AuthExchange(mechanism, None)
    exchange.challenge(f"{mechanism} supported".encode())
    assert exchange.defects == []
    exchange.challenge(b"LOGIN supported")
    assert rules(exchange) == ["auth-base64"]


def test_a_line_of_12288_octets_is_long_enough_and_a_longer_one_is_told() -> None:
    exchange = AuthExchange("GSSAPI", None)
    exchange.response(b"A" * (MAX_LINE - 4))
    assert exchange.defects == []
    exchange.response(b"A" * MAX_LINE)
    assert rules(exchange) == ["auth-line-too-long"]
    assert exchange.secret_length == (2 * MAX_LINE - 4) // 4 * 3


def test_the_secret_that_is_kept_is_bounded_and_its_length_is_not() -> None:
    exchange = AuthExchange("GSSAPI", None)
    for _ in range(10):
        exchange.response(b64(bytes(9000)))
    assert len(exchange.secret) == MAX_SECRET
    assert exchange.secret_length == 90_000


def test_the_initial_response_is_located_in_the_argument() -> None:
    argument = b"LOGIN   not/base64!"
    exchange = AuthExchange.from_argument(argument, Span(Direction.CLIENT, 5, 5 + len(argument)))
    assert exchange.defects[0].span == Span(Direction.CLIENT, 13, 24)


@pytest.mark.parametrize("argument", [b"", b"LOGIN", b"LOGIN ", b" LOGIN"])
def test_an_argument_without_initial_response_has_no_client_line(argument: bytes) -> None:
    exchange = AuthExchange.from_argument(argument, Span(Direction.CLIENT, 5, 5 + len(argument)))
    assert exchange.redacted == []
    assert exchange.redacted_argument() == argument.decode().strip()


def test_a_secret_in_the_place_of_the_mechanism_is_hidden() -> None:
    argument = b64(b"\0ann\0pa55word")
    exchange = AuthExchange.from_argument(argument, Span(Direction.CLIENT, 5, 5 + len(argument)))
    assert exchange.mechanism == ""
    assert exchange.redacted_argument() == "[redacted 13 octets]"


# challenges


@pytest.mark.parametrize(
    ("mechanism", "text", "shown"),
    [
        ("LOGIN", b64(b"Username:"), b"Username:"),
        ("login", b"Username:", b"Username:"),
        ("PLAIN", b"", b""),
        ("CRAM-MD5", b64(b"<1@mx.test>"), b"<1@mx.test>"),
        ("SCRAM-SHA-1", b64(b"r=a,s=b,i=1"), b"r=a,s=b,i=1"),
        ("SCRAM-SHA-1", b64(b"v=rmF9pqV8"), b"v=[redacted 8 octets]"),
        ("SCRAM-SHA-1", b64(b"e=other-error"), b"e=other-error"),
        ("DIGEST-MD5", b64(b'realm="x",nonce="y"'), b'realm="x",nonce="y"'),
        ("DIGEST-MD5", b64(b'rspauth="ea40f603"'), b"rspauth=[redacted 8 octets]"),
        ("XOAUTH2", b64(b'{"status":"400"}'), b'{"status":"400"}'),
        ("NTLM", b64(b"NTLMSSP\0\2\0\0\0"), b"[redacted 12 octets]"),
        ("GSSAPI", b64(b"abc"), b"[redacted 3 octets]"),
        ("GSSAPI", b"a b", b"[redacted 3 octets]"),
        ("GSSAPI", b"", b""),
    ],
)
def test_a_challenge_is_shown_as_far_as_it_holds_no_secret(
    mechanism: str, text: bytes, shown: bytes
) -> None:
    assert describe_challenge(mechanism, text) == shown


# what must hold for all octets

MECHANISMS = st.sampled_from(
    [
        "PLAIN",
        "LOGIN",
        "CRAM-MD5",
        "DIGEST-MD5",
        "SCRAM-SHA-1",
        "SCRAM-SHA-256-PLUS",
        "XOAUTH2",
        "OAUTHBEARER",
        "EXTERNAL",
        "ANONYMOUS",
        "NTLM",
        "GSSAPI",
        "X-ANY",
    ]
)
PASSWORDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=["Cs"]), min_size=4
).map(lambda text: text.encode())


def responses_with(mechanism: str, password: bytes) -> list[bytes]:
    """What a client would say with this password or token; wrong ways included."""
    return {
        "PLAIN": [b"\0ann\0" + password],
        "LOGIN": [b"ann", password],
        "XOAUTH2": [b"user=ann\1auth=Bearer " + password + b"\1\1"],
        "OAUTHBEARER": [b"n,a=ann,\1auth=Bearer " + password + b"\1\1"],
        "EXTERNAL": [b"ann", password],
        "ANONYMOUS": [b"ann", password],
    }.get(mechanism, [password, b"ann " + password, b"ann\0" + password])


@given(MECHANISMS, PASSWORDS, st.booleans(), st.booleans())
def test_no_redacted_text_holds_the_password_or_its_base64(
    mechanism: str, password: bytes, initial: bool, encoded: bool
) -> None:
    lines = responses_with(mechanism, password)
    fixed = b"identity ann, acting as [redacted 0123456789 octets]" + mechanism.encode()
    assume(password not in fixed)
    sent = [b64(line) if encoded else line for line in lines]
    argument = mechanism.encode() + (b" " + sent.pop(0) if initial else b"")
    exchange = AuthExchange.from_argument(argument, Span(Direction.CLIENT, 5, 5 + len(argument)))
    for line in sent:
        exchange.response(line)
    texts = [exchange.redacted_argument(), *exchange.redacted]
    for text in texts:
        assert password not in text.encode()
        assert b64(password).rstrip(b"=") not in text.encode()
        assert password.decode() not in text


@given(st.binary(max_size=40), st.lists(st.binary(max_size=60), max_size=4), MECHANISMS)
def test_any_octets_are_followed_and_every_defect_lies_inside_its_line(
    argument: bytes, lines: list[bytes], mechanism: str
) -> None:
    span = Span(Direction.CLIENT, 5, 5 + len(argument))
    for exchange in (
        AuthExchange.from_argument(argument, span),
        AuthExchange.from_argument(mechanism.encode() + b" " + b64(argument), span),
    ):
        before = len(exchange.defects)
        assert all(5 <= d.span.start <= d.span.end <= span.end for d in exchange.defects)
        at = 100
        for line in lines:
            exchange.challenge(line, Span(Direction.SERVER, at, at + len(line)))
            exchange.response(b64(line), Span(Direction.CLIENT, at, at + len(b64(line))))
            exchange.response(line, Span(Direction.CLIENT, at, at + len(line)))
            at += 100
        exchange.finish(None)
        for defect in exchange.defects[before:]:
            assert 100 <= defect.span.start <= defect.span.end <= at
        assert len(exchange.redacted) in (2 * len(lines), 2 * len(lines) + 1)


@given(MECHANISMS, st.binary(max_size=60))
def test_any_challenge_can_be_described(mechanism: str, text: bytes) -> None:
    for challenge in (text, b64(text)):
        assert isinstance(describe_challenge(mechanism, challenge), bytes)
