"""The security rules that a dialogue in plain text can't show: TLS, and what the user says."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from support.samples import START, review

from smtpscope.capture.tls import Alert, TlsInfo, TlsObserver
from smtpscope.decode import SessionDecoder
from smtpscope.findings import judge, probing
from smtpscope.findings.relay import local_names
from smtpscope.findings.tls import read_certificate
from smtpscope.findings.walk import Policy
from smtpscope.reading import read_sessions
from smtpscope.session import Finding, Session
from smtpscope.smtp.values import Exchange, Reply
from smtpscope.stream import Closed, Data, Direction, Endpoint, Mark, Opened, Span

CAPTURES = Path(__file__).parents[2] / "captures"
CLIENT, SERVER = Endpoint("192.0.2.1", 40_000), Endpoint("192.0.2.2", 465)
NOW = datetime.fromtimestamp(START / 1e9, UTC)


def told(info: TlsInfo, banner: bytes = b"", start: int = START) -> dict[str, Finding]:
    session = Session(1, "test", CLIENT, SERVER, start, start, tls=info, tls_mode="implicit")
    if banner:
        span = Span(Direction.SERVER, 0, len(banner) + 6)
        session.banner = Reply(220, (banner,), None, span, START, 1)
        session.exchanges.append(Exchange(None, [session.banner], greeting=True))
    found = judge(session, [], 100)
    return {finding.rule: finding for finding in found if finding.group == "security"}


def modern(certificate: bytes | None = None, sni: str | None = None) -> TlsInfo:
    return TlsInfo(
        version="TLSv1.2",
        cipher="TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        established=True,
        certificate=certificate,
        sni=sni,
    )


@cache
def certificate(
    *names: str, begins: int = -1, ends: int = 1, issuer: str = "Example CA", address: str = ""
) -> bytes:
    """A certificate in DER for these names; `begins` and `ends` in days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    listed: list[x509.GeneralName] = [x509.DNSName(name) for name in names[1:]]
    if address:
        listed.append(x509.IPAddress(ip_address(address)))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW + timedelta(days=begins))
        .not_valid_after(NOW + timedelta(days=ends))
    )
    if listed:
        builder = builder.add_extension(x509.SubjectAlternativeName(listed), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


# -- versions and suites -------------------------------------------------------------------------


def test_a_modern_tls_draws_no_finding() -> None:
    assert told(modern()) == {}
    assert told(TlsInfo(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", established=True)) == {}


@pytest.mark.parametrize("version", ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"])
def test_an_old_version_is_told(version: str) -> None:
    info = modern()
    info.version = version
    assert told(info)["tls-old-version"].summary.endswith(f": {version}")


@pytest.mark.parametrize(
    ("cipher", "rules"),
    [
        ("TLS_RSA_WITH_RC4_128_SHA", {"tls-weak-cipher", "tls-no-forward-secrecy"}),
        ("TLS_RSA_WITH_NULL_SHA256", {"tls-weak-cipher", "tls-no-forward-secrecy"}),
        ("TLS_RSA_EXPORT_WITH_DES40_CBC_SHA", {"tls-weak-cipher", "tls-no-forward-secrecy"}),
        ("TLS_DHE_RSA_WITH_DES_CBC_SHA", {"tls-weak-cipher"}),
        ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", {"tls-weak-cipher"}),
        ("TLS_ECDH_anon_WITH_AES_128_CBC_SHA", {"tls-anonymous"}),
        ("TLS_RSA_WITH_AES_128_GCM_SHA256", {"tls-no-forward-secrecy"}),
        ("TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", set()),
        ("0xC0FF", set()),
    ],
)
def test_a_suite_is_judged_by_its_name(cipher: str, rules: set[str]) -> None:
    info = modern()
    info.cipher = cipher
    assert set(told(info)) == rules


def test_a_failed_handshake_says_who_gave_up_and_why() -> None:
    info = modern()
    info.established = False
    info.alerts = [Alert(Direction.CLIENT, "fatal", "unknown_ca")]
    found = told(info)["tls-handshake-failed"]
    assert found.summary.endswith(": the client says unknown_ca")
    assert found.span.direction is Direction.CLIENT


def test_the_end_of_a_good_connection_is_no_failure() -> None:
    info = modern()
    info.alerts = [Alert(Direction.CLIENT, "warning", "close_notify")]
    assert told(info) == {}
    info.established = False
    assert told(info) == {}


# -- certificates --------------------------------------------------------------------------------


def test_a_good_certificate_draws_no_finding() -> None:
    good = certificate("mx", "mx.example.org", "*.mail.example.org", address="192.0.2.2")
    for name in ("mx.example.org", "MX.Example.ORG.", "a.mail.example.org", "192.0.2.2"):
        assert told(modern(good, name)) == {}


def test_an_expired_certificate_is_told_with_its_day() -> None:
    found = told(modern(certificate("mx.example.org", begins=-9, ends=-2), "mx.example.org"))
    assert found["certificate-expired"].summary.endswith("on 2023-11-12")
    assert set(found) == {"certificate-expired"}


def test_a_certificate_of_the_future_is_told() -> None:
    found = told(modern(certificate("mx.example.org", begins=1, ends=2), "mx.example.org"))
    assert set(found) == {"certificate-not-yet-valid"}


def test_a_capture_without_times_can_not_tell_whether_a_certificate_is_valid() -> None:
    assert set(told(modern(certificate("mx.example.org")), start=0)) == set()


def test_a_self_signed_certificate_is_told() -> None:
    own = certificate("mx.example.org", issuer="mx.example.org")
    assert set(told(modern(own, "mx.example.org"))) == {"certificate-self-signed"}


def test_a_certificate_for_another_name_is_told_by_what_the_client_asked_for() -> None:
    other = certificate("mx", "*.example.org")
    found = told(modern(other, "a.b.example.org"))["certificate-other-name"]
    assert found.summary.endswith(": *.example.org instead of a.b.example.org")


def test_without_a_name_asked_for_the_greeting_has_the_name() -> None:
    other = certificate("mx.example.net")
    assert "certificate-other-name" in told(modern(other), b"mx.example.org ESMTP")
    assert told(modern(other), b"mx.example.net ESMTP") == {}
    assert told(modern(other), b"ready") == {}


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_certificate_that_can_t_be_read_is_none(cut: int) -> None:
    der = certificate("mx.example.org")
    assert read_certificate(der[:cut]) is None
    assert told(modern(der[:cut], "mx.example.com")) == {}


def feed(observer: TlsObserver, octets: bytes) -> None:
    observer.feed(Data(Direction.SERVER, 0, octets, (Mark(0, 0, 1),)))


def test_the_first_certificate_of_the_handshake_is_kept() -> None:
    der = certificate("mx.example.org")
    one = len(der).to_bytes(3, "big") + der
    body = len(one * 2).to_bytes(3, "big") + one * 2
    message = b"\x0b" + len(body).to_bytes(3, "big") + body
    record = b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message
    for size in (1, 7, len(record)):
        observer = TlsObserver()
        for at in range(0, len(record), size):
            feed(observer, record[at : at + size])
        assert observer.info.certificate == der


def test_a_certificate_beyond_the_bound_is_not_kept() -> None:
    der = bytes(17_000)
    body = (len(der) + 3).to_bytes(3, "big") + len(der).to_bytes(3, "big") + der
    message = b"\x0b" + len(body).to_bytes(3, "big") + body
    observer = TlsObserver()
    for at in range(0, len(message), 16_000):
        piece = message[at : at + 16_000]
        feed(observer, b"\x16\x03\x03" + len(piece).to_bytes(2, "big") + piece)
    assert observer.info.certificate is None


def test_a_recorded_certificate_is_read() -> None:
    (session,) = read_sessions(CAPTURES / "postfix-smtplib-smtps-keys.pcapng")
    assert "certificate-self-signed" in {finding.rule for finding in session.findings}


# -- what the user says --------------------------------------------------------------------------

RELAYED = (
    b"220 mx.example.org ESMTP\r\n",
    b"MAIL FROM:<ann@example.net>\r\n",
    b"250 2.1.0 Ok\r\n",
    b"RCPT TO:<bob@example.com>\r\n",
    b"250 2.1.5 Ok\r\n",
)


def under(policy: Policy, turns: tuple[bytes, ...] = RELAYED) -> set[str]:
    decoder = SessionDecoder(Opened(START, CLIENT, SERVER, True, 0), "test", policy)
    offsets = [0, 0]
    for packet, turn in enumerate(turns, 1):
        side = Direction.SERVER if packet % 2 else Direction.CLIENT
        mark = Mark(offsets[side], START + packet, packet)
        decoder.feed(Data(side, offsets[side], turn, (mark,)))
        offsets[side] += len(turn)
    decoder.feed(Closed("end", Direction.CLIENT, START + 99, 99))
    return {finding.rule for finding in decoder.finish().findings}


def test_a_stranger_s_mail_to_a_stranger_is_an_open_relay() -> None:
    assert "open-relay" in under(Policy(frozenset({"example.org"})))


@pytest.mark.parametrize("local", ["example.com", "example.net", "com"])
def test_mail_from_or_to_a_local_domain_is_none(local: str) -> None:
    assert "open-relay" not in under(Policy(frozenset({"example.org", local})))


def test_the_own_servers_may_pass_mail_on_to_others() -> None:
    sent = (b"220 mx.example.com ESMTP\r\n", b"EHLO out.example.org\r\n", b"250 mx\r\n")
    assert "open-relay" not in under(Policy(frozenset({"example.org"})), (*sent, *RELAYED[1:]))
    taken = (b"220 mx.example.org ESMTP\r\n", *sent[1:])
    assert "open-relay" in under(Policy(frozenset({"example.org"})), (*taken, *RELAYED[1:]))


def test_a_message_that_was_refused_in_the_end_was_not_relayed() -> None:
    message = (b"DATA\r\n", b"354 Go\r\n", b"\r\nHi\r\n.\r\n")
    policy = Policy(frozenset({"example.org"}))
    assert "open-relay" not in under(policy, (*RELAYED, *message, b"554 5.7.1 No\r\n"))
    assert "open-relay" in under(policy, (*RELAYED, *message, b"250 2.0.0 Ok\r\n"))


@pytest.mark.parametrize("name", ["bücher.example", "BÜCHER.example.", "xn--bcher-kva.example"])
def test_a_local_domain_is_known_in_each_of_its_spellings(name: str) -> None:
    policy = Policy(local_names(name))
    for domain in ("bücher.example", "www.XN--bcher-KVA.example"):
        turns = (*RELAYED[:3], f"RCPT TO:<bob@{domain}>\r\n".encode(), RELAYED[4])
        assert "open-relay" not in under(policy, turns)
    assert "open-relay" in under(policy)


def test_nobody_said_which_domains_are_local() -> None:
    assert "open-relay" not in under(Policy())


def test_a_refused_recipient_is_no_open_relay() -> None:
    refused = (*RELAYED[:4], b"554 5.7.1 Relay access denied\r\n")
    assert "open-relay" not in under(Policy(frozenset({"example.org"})), refused)


def test_who_has_logged_in_may_send_anywhere() -> None:
    login = (RELAYED[0], b"AUTH PLAIN AGFubgBzZWNyZXQ=\r\n", b"235 2.7.0 Ok\r\n", *RELAYED[1:])
    assert "open-relay" not in under(Policy(frozenset({"example.org"})), login)


# -- where they point ----------------------------------------------------------------------------


def test_what_is_wrong_with_the_author_points_at_the_from_field() -> None:
    start = ("S: 220 mx", "C: HELO a.test", "S: 250 mx", "C: MAIL FROM:<ann@example.net>", "S: 250")
    header = ("C: Subject: x", "C: From: Bank <service@bank.example>", "C:", "C: .", "S: 250 ok")
    said = (*start, "C: RCPT TO:<bob@example.org>", "S: 250", "C: DATA", "S: 354", *header)
    (session,) = review(said)
    (found,) = [each for each in session.findings if each.rule == "from-differs"]
    octets = "".join(f"{line[3:]}\r\n" for line in said if line.startswith("C:"))
    assert octets[found.span.start : found.span.end] == "From: Bank <service@bank.example>"


def test_a_login_points_at_the_line_with_the_secret_and_not_at_an_empty_one_behind_it() -> None:
    token = b64encode(b"user=ann@example.org\1auth=Bearer secret\1\1").decode()
    start = ("S: 220 mx", "C: EHLO a.test", "S: 250 mx", f"C: AUTH XOAUTH2 {token}")
    (session,) = review((*start, "S: 334 e30=", "C:", "S: 535 5.7.8 no"))
    (found,) = [each for each in session.findings if each.rule == "auth-in-cleartext"]
    begin = len("EHLO a.test\r\n")
    assert (found.span.start, found.span.end) == (begin, begin + len(f"AUTH XOAUTH2 {token}\r\n"))


# -- bounds --------------------------------------------------------------------------------------


def test_a_hundred_logins_are_not_told_a_hundred_times() -> None:
    lines = ["S: 220 mx", "C: EHLO a.test", "S: 250 mx"]
    for number in range(100):
        name = b64encode(b"\0user%d\0secret" % number).decode()
        lines += [f"C: AUTH PLAIN {name}", "S: 535 no"]
    (session,) = review(tuple(lines))
    rules = [finding.rule for finding in session.findings]
    assert 0 < rules.count("auth-in-cleartext") <= 5
    assert 0 < rules.count("login-refused") <= 5


def logins(*outcomes: tuple[str, int]) -> set[str]:
    lines = ["S: 220 mx", "C: EHLO webmail.test", "S: 250 mx", "C: QUIT", "S: 221 bye"]
    for name, code in outcomes:
        secret = b64encode(f"\0{name}\0secret of {name}".encode()).decode()
        lines += ["----", "S: 220 mx", f"C: AUTH PLAIN {secret}", f"S: {code} so"]
    return {each.rule for session in review(tuple(lines)) for each in session.findings}


def test_many_users_behind_one_address_of_whom_some_mistype_are_no_guessers() -> None:
    users = [(f"user{number}", 535 if number % 4 == 3 else 235) for number in range(40)]
    assert "password-guessing" not in logins(*users)
    assert "password-guessed" not in logins(*users)


def test_one_name_after_the_other_with_a_password_that_fits_one_is_guessing() -> None:
    users = [(f"user{number}", 235 if number == 20 else 535) for number in range(40)]
    assert {"password-guessing", "password-guessed"} <= logins(*users)


def test_one_login_tried_a_hundred_times_is_told_once() -> None:
    lines = ["S: 220 mx", "C: EHLO a.test", "S: 250 mx"]
    lines += ["C: AUTH PLAIN AGFubgBzZWNyZXQ=", "S: 535 no"] * 100
    (session,) = review(tuple(lines))
    rules = [finding.rule for finding in session.findings]
    assert rules.count("auth-in-cleartext") == rules.count("login-refused") == 1


def test_the_secret_of_a_login_is_never_told() -> None:
    (session,) = review(("S: 220 mx", "C: AUTH PLAIN AGFubgBzZWNyZXQ=", "S: 235 ok"))
    (found,) = [each for each in session.findings if each.rule == "auth-in-cleartext"]
    assert "PLAIN as ann" in found.summary
    assert "secret" not in found.summary.partition(":")[2]
    assert "AGFub" not in found.summary


def test_what_is_remembered_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "MAX_CLIENTS", 3)
    monkeypatch.setattr(probing, "MAX_THINGS", 20)
    lines = ["S: 220 mx", "C: MAIL FROM:<>", "S: 250 ok"]
    for number in range(50):
        lines += [f"C: RCPT TO:<name{number}@example.org>", "S: 550 5.1.1 unknown"]
    (session,) = review(tuple(lines))
    memory = probing.Probing()
    for number in range(9):
        attempts = probing.attempts_in(session)
        (told,) = memory.add(f"192.0.2.{number}", session.server, attempts)
        assert told.detail == "20 recipients refused by now"
    assert list(memory._clients) == ["192.0.2.6", "192.0.2.7", "192.0.2.8"]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (
            "454 4.7.0 TLS with the server failed: the certificate is refused: self-signed",
            "smtpscope proxy needs --upstream-ca or --insecure-upstream: 454 4.7.0 TLS with",
        ),
        (
            "454 4.7.0 TLS with the server failed: it took too long",
            "by smtpscope proxy, for want of TLS with the server behind it: 454 4.7.0 TLS with",
        ),
        ("454 4.7.0 TLS not available", "refuses it: 454 4.7.0 TLS not available"),
    ],
)
def test_what_helps_is_told_where_our_proxy_refuses_tls(reply: str, told: str) -> None:
    hello = ("S: 220 mx.example.org", "C: EHLO a.example.net", "S: 250-mx", "S: 250 STARTTLS")
    (session,) = review((*hello, "C: STARTTLS", f"S: {reply}"))
    (found,) = [each for each in session.findings if each.rule == "starttls-refused"]
    assert told in found.summary
