"""AUTH on the server's side, against computations of other people: RFC 4954 and the mechanisms."""

from __future__ import annotations

import base64
import hashlib
import hmac
import smtplib
from dataclasses import replace

import pytest
from support.responding import FULL, Client

from smtpscope.smtp.serving import login
from smtpscope.smtp.serving.service import Service
from smtpscope.smtp.serving.settings import Settings


def b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def client_of(settings: Settings | Service = FULL, *, tls: bool = True) -> Client:
    client = Client(settings, tls=tls)
    client.connect()
    client.line("EHLO x.test")
    return client


def exchange(client: Client, *lines: str) -> int:
    """The code of the last reply."""
    said = b""
    for line in lines:
        said = client.line(line)
    return int(said[:3])


def test_mechanisms_are_offered_as_the_connection_allows() -> None:
    assert (
        b"250-AUTH SCRAM-SHA-256 CRAM-MD5\r\n" in Client(FULL).responder.feed(b"EHLO x\r\n")[0][0]
    )
    client = Client(FULL, tls=True)
    assert b"250-AUTH SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN\r\n" in client.line("EHLO x.test")
    insecure = Client(replace(FULL, auth_allow_insecure=True))
    assert b"250-AUTH SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN\r\n" in insecure.line("EHLO x.test")
    nobody = Client(Settings(auth="any"), tls=True)
    assert b"250-AUTH CRAM-MD5 PLAIN LOGIN\r\n" in nobody.line("EHLO x.test")
    assert b"AUTH" not in Client(Settings(), tls=True).line("EHLO x.test")


class Wire(smtplib.SMTP):
    """smtplib's client, talking to a responder."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self._said = b""
        self.ehlo_or_helo_if_needed = lambda: None  # type: ignore[method-assign]
        self.sock = object()  # type: ignore[assignment]

    def send(self, s: object) -> None:
        self._said += self._client.say(s if isinstance(s, bytes) else str(s).encode())

    def getreply(self) -> tuple[int, bytes]:
        line, _, self._said = self._said.partition(b"\r\n")
        return int(line[:3]), line[4:]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("initial", [True, False])
def test_smtplib_logs_in(mechanism: str, initial: bool) -> None:
    client = client_of()
    wire = Wire(client)
    wire.user, wire.password = "tim", "tanstaaftanstaaf"
    method = getattr(wire, "auth_" + mechanism.lower().replace("-", "_"))
    code, _ = wire.auth(mechanism, method, initial_response_ok=initial)
    assert code == 235
    assert client.responder.identity == b"tim"
    client = client_of()
    wire = Wire(client)
    wire.user, wire.password = "tim", "wrong"
    method = getattr(wire, "auth_" + mechanism.lower().replace("-", "_"))
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        wire.auth(mechanism, method, initial_response_ok=initial)
    assert caught.value.smtp_code == 535
    assert client.responder.identity is None


def test_rfc_2195_example() -> None:
    """RFC 2195 §2: tim's secret, the challenge of the example, and its digest."""
    nonce = "1896.697170952"
    service = Service(replace(FULL, host="postoffice.reston.mci.net"), nonce=lambda: nonce)
    client = client_of(service)
    said = client.line("AUTH CRAM-MD5")
    assert base64.b64decode(said[4:]) == b"<1896.697170952@postoffice.reston.mci.net>"
    answer = b64(b"tim b913a602c7eda7a495b4e6e7334d3890")
    assert exchange(client, answer) == 235


# RFC 7677 §3

CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def rfc_7677() -> Client:
    settings = replace(FULL, scram_salt=base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    return client_of(Service(settings, nonce=lambda: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"), tls=False)


def test_rfc_7677_example() -> None:
    client = rfc_7677()
    assert client.line("AUTH SCRAM-SHA-256 " + b64(CLIENT_FIRST)) == (
        b"334 " + b64(SERVER_FIRST).encode() + b"\r\n"
    )
    assert client.line(b64(CLIENT_FINAL)) == b"334 " + b64(SERVER_FINAL).encode() + b"\r\n"
    assert client.line("") == b"235 2.7.0 Authentication successful\r\n"
    assert client.responder.identity == b"user"


def test_scram_without_an_initial_response() -> None:
    client = rfc_7677()
    assert client.line("AUTH SCRAM-SHA-256") == b"334 \r\n"
    assert exchange(client, b64(CLIENT_FIRST), b64(CLIENT_FINAL), "") == 235


@pytest.mark.parametrize(
    ("first", "final", "code"),
    [
        (CLIENT_FIRST, CLIENT_FINAL.replace(b"p=dHz", b"p=AHz"), 535),
        (CLIENT_FIRST, CLIENT_FINAL.replace(b"biws", b"eSws"), 535),
        (CLIENT_FIRST, CLIENT_FINAL.replace(b"k0,", b"k1,"), 535),
        (CLIENT_FIRST.replace(b"n,,", b"n,a=other,"), CLIENT_FINAL, 535),
        (CLIENT_FIRST.replace(b"n,,", b"p=tls-unique,,"), CLIENT_FINAL, 535),
        (CLIENT_FIRST.replace(b"user", b"nobody"), CLIENT_FINAL, 535),
        (CLIENT_FIRST, b"rubbish", 501),
        (b"rubbish", None, 501),
    ],
)
def test_scram_that_is_not_right(first: bytes, final: bytes | None, code: int) -> None:
    lines = ["AUTH SCRAM-SHA-256 " + b64(first)] + ([b64(final)] if final else [])
    client = rfc_7677()
    assert exchange(client, *lines) == code
    assert exchange(client, "NOOP") == 250


def test_scram_by_another_computation() -> None:
    """The proof as RFC 5802 §3 has it, step by step, for a name and a password with oddities."""
    settings = Settings(auth="users", passwords={"a,b=c": "pa\u00a0ss\u00ad\u2168"}, host="h.test")
    client = client_of(settings)
    bare = b"n=a=2Cb=3Dc,r=cnonce"
    server_first = base64.b64decode(client.line("AUTH SCRAM-SHA-256 " + b64(b"y,," + bare))[4:])
    fields = dict(part.split(b"=", 1) for part in server_first.split(b","))
    salt, count = base64.b64decode(fields[b"s"]), int(fields[b"i"])
    # RFC 4013: the no-break space becomes a space, the soft hyphen nothing, IX two letters.
    salted = hashlib.pbkdf2_hmac("sha256", b"pa ssIX", salt, count)
    client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    without = b"c=" + base64.b64encode(b"y,,") + b",r=" + fields[b"r"]
    message = bare + b"," + server_first + b"," + without
    stored = hashlib.sha256(client_key).digest()
    signature = hmac.new(stored, message, hashlib.sha256).digest()
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    said = client.line(b64(without + b",p=" + base64.b64encode(proof)))
    server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
    verifier = hmac.new(server_key, message, hashlib.sha256).digest()
    assert base64.b64decode(said[4:]) == b"v=" + base64.b64encode(verifier)
    assert exchange(client, "") == 235
    assert client.responder.identity == b"a,b=c"


REFUSED = [
    (("AUTH",), 501),
    (("AUTH FOO",), 504),
    (("AUTH PLAIN !!!",), 501),
    (("AUTH PLAIN =",), 501),
    (("AUTH PLAIN", "*"), 501),
    (("AUTH PLAIN " + b64(b"\0tim\0wrong"),), 535),
    (("AUTH PLAIN " + b64(b"other\0tim\0tanstaaftanstaaf"),), 535),
    (("AUTH PLAIN " + b64(b"\0nobody\0x"),), 535),
    (("AUTH LOGIN", b64(b"tim"), b64(b"wrong")), 535),
    (("AUTH CRAM-MD5 " + b64(b"tim"),), 501),
    (("AUTH CRAM-MD5", b64(b"tim")), 501),
    (("AUTH LOGIN", "x" * 12_300), 500),
    (("MAIL FROM:<a@b.test>", "AUTH PLAIN"), 503),
]


@pytest.mark.parametrize(("lines", "code"), REFUSED)
def test_what_is_refused(lines: tuple[str, ...], code: int) -> None:
    client = client_of()
    assert exchange(client, *lines) == code
    assert client.responder.identity is None
    assert exchange(client, "NOOP") == 250


def test_who_is_logged_in_cannot_log_in_again() -> None:
    client = client_of()
    line = "AUTH PLAIN " + b64(b"tim\0tim\0tanstaaftanstaaf")
    assert exchange(client, line) == 235
    assert exchange(client, line) == 503
    client.line("MAIL FROM:<a@b.test> AUTH=e+3Dmc2@example.com")
    assert client.responder.envelope is not None
    assert client.responder.envelope.protocol == "ESMTPSA"
    assert client.responder.envelope.identity == b"tim"


def test_cleartext_mechanisms_only_under_tls() -> None:
    client = client_of(tls=False)
    assert exchange(client, "AUTH PLAIN") == 538
    assert exchange(client, "AUTH LOGIN") == 538
    assert exchange(client_of(Settings()), "AUTH PLAIN") == 502


def test_a_login_is_required_first() -> None:
    client = client_of(replace(FULL, require_auth=True))
    assert exchange(client, "MAIL FROM:<a@b.test>") == 530
    assert exchange(client, "NOOP") == 250
    assert client.say(b"BDAT 6\r\nQUIT\r\n") == b"530 5.7.0 Authentication required\r\n"


def test_everybody_is_accepted_by_any() -> None:
    for lines in (
        ("AUTH PLAIN " + b64(b"\0who\0ever"),),
        ("AUTH LOGIN " + b64(b"who"), b64(b"ever")),
        ("AUTH CRAM-MD5", b64(b"who 0123")),
    ):
        client = client_of(Settings(auth="any"))
        assert exchange(client, *lines) == 235
        assert client.responder.identity == b"who"


@pytest.mark.parametrize(
    ("key", "code"), [("auth.transition", 432), ("auth.weak", 534), ("auth.temporary", 454)]
)
def test_the_login_of_some_draws_a_reply_of_its_own(key: str, code: int) -> None:
    client = client_of(replace(FULL, logins={"tim": key}))
    assert exchange(client, "AUTH PLAIN " + b64(b"\0tim\0tanstaaftanstaaf")) == code
    assert client.responder.identity is None


def test_no_password_is_in_a_note() -> None:
    client = client_of()
    exchange(client, "AUTH PLAIN " + b64(b"\0tim\0wrong-password"))
    assert client.played.notes == [("login", "PLAIN tim: 535")]


def test_every_mechanism_of_the_settings_is_there() -> None:
    assert set(Settings().mechanisms) == set(login.TABLE)
