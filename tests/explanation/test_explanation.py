"""What a row is explained as: findings, evidence, TLS; and that all of it is safe to show."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.explained import HELLO, row_of, titled, told, told_of
from support.samples import review
from support.transcript import Transcript, session_of

from smtpscope.capture.tls import Alert, TlsInfo
from smtpscope.explanation import MAX_FINDINGS, Fact, explain, title
from smtpscope.places import bundled_captures
from smtpscope.reading import read_sessions
from smtpscope.session import Finding, Session, Severity
from smtpscope.stream import Direction, Span
from smtpscope.transcript import rows

CAPTURES = bundled_captures()
MAX_FACTS = 200
MAX_LABEL = 60
MAX_TEXT = 4_000
"""What anybody still reads; the bounds of single values are far below."""


@cache
def sessions_of(path: Path) -> list[Session]:
    octets = path.read_bytes()
    if path.suffix == ".gz":
        octets = gzip.decompress(octets)
    return list(read_sessions(io.BytesIO(octets)))


def capture(name: str) -> Session:
    (path,) = [path for path in CAPTURES if path.name.partition(".")[0] == name]
    return sessions_of(path)[0]


def check(session: Session) -> None:
    """Every row of a session has a title and facts that can be shown."""
    for row in rows(session):
        assert title(session, row).isprintable()
        assert 0 < len(title(session, row)) < 200
        hidden = explain(session, row)
        for facts in (hidden, explain(session, row, reveal=True)):
            assert 0 < len(facts) <= MAX_FACTS
            for fact in facts:
                assert fact.text.isprintable(), fact
                assert fact.label.isprintable(), fact
                assert 0 < len(fact.label) <= MAX_LABEL, fact
                assert 0 < len(fact.text) <= MAX_TEXT, fact
                f"{fact.label}{fact.text}".encode()


# -- findings and evidence -----------------------------------------------------------------------


def test_a_finding_is_told_with_its_rule_advice_and_source() -> None:
    # RFC 5321 §4.1.2: a path stands in brackets
    found = told(*HELLO, "C: MAIL FROM:a@a.test", "S: 250 ok", of="warning path-without-brackets")
    assert found["Finding"] == "warning path-without-brackets"
    assert found["What"] == "the path has no angle brackets"
    assert found["To do"].startswith("Put the address between < and >.")
    assert found["Source"] == "RFC 5321 §4.1.2"
    assert found["Group"] == "syntax"
    assert found["Evidence"] == "packet 4, client octets 23-30"


def test_a_finding_is_titled_by_its_rule_and_severity() -> None:
    lines = (*HELLO, "C: MAIL FROM:a@a.test", "S: 250 ok")
    assert titled(*lines, of="warning path-with") == "path-without-brackets: warning"


def test_a_line_tells_what_was_found_in_it_by_severity() -> None:
    (session,) = review((*HELLO, "C: MAIL FROM:a@a.test", "S: 250 ok"))
    facts = explain(session, row_of(session, "MAIL"))
    found = facts.index(
        Fact(
            "Finding",
            "warning path-without-brackets: the path has no angle brackets (RFC 5321 §4.1.2)",
            "warning",
        )
    )
    assert facts[found + 1].label == "To do"
    assert "path-without-brackets" not in str(explain(session, row_of(session, "250 ok")))


def test_many_findings_of_a_line_are_told_to_a_bound() -> None:
    (session,) = review((*HELLO, "C: NOOP", "S: 250 ok"))
    row = row_of(session, "NOOP")
    assert row.span is not None
    odd = Finding("odd", Severity.NOTE, "syntax", row.span, "it is odd", "RFC 0", "Mend it.")
    session.findings = [odd] * (MAX_FINDINGS + 5)
    found = told_of(session, row)["Finding"].split(" | ")
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1] == "and 5 more"


def test_a_finding_about_no_line_has_its_octets_as_evidence() -> None:
    (session,) = review((*HELLO, "C: NOOP", "S: 250 ok"))
    span = Span(Direction.CLIENT, 9_999, 9_999)
    session.findings = [
        Finding("odd", Severity.NOTE, "syntax", span, "it is odd", "RFC 0", "Mend it.")
    ]
    found = told_of(session, row_of(session, "note odd"))
    assert found["Evidence"] == "client octet 9,999"


@pytest.mark.parametrize(
    ("of", "evidence"),
    [
        ("220", "packet 1, server octets 0-18"),
        ("EHLO", "packet 2, client octets 0-12"),
        ("250", "packet 3, server octets 19-31"),
    ],
)
def test_evidence_is_a_packet_and_the_octets_of_the_stream(of: str, evidence: str) -> None:
    assert told(*HELLO, of=of)["Evidence"] == evidence


def test_one_octet_is_one() -> None:
    # RFC 5321 §2.3.8: a bare LF ends no line
    found = told(*HELLO, "C: NOOP<LF>", "S: 250 ok", of="warning bare-lf")
    assert found["Evidence"] == "packet 4, client octet 17"


# -- TLS -----------------------------------------------------------------------------------------


def tls(info: TlsInfo, mode: str | None = "starttls") -> dict[str, str]:
    (session,) = review((*HELLO, "C: STARTTLS", "S: 220 go"))
    session.tls, session.tls_mode = info, mode
    return told_of(session, row_of(session, "["))


def test_a_certificate_that_can_be_seen_is_told() -> None:
    # RFC 5246 §7.4.2: up to TLS 1.2 it is in clear
    session = capture("postfix-smtplib-smtps-keys")
    found = told_of(session, row_of(session, "[TLS"))
    assert found["TLS"] == "what was said under encryption is shown: there are keys"
    assert found["Begins"] == "from the first octet on"
    assert found["Version"] == "TLSv1.2"
    assert found["Cipher"].startswith("TLS_ECDHE_")
    assert found["Certificate"] == "for mx.example.org, localhost"
    assert found["Valid"].endswith(" (UTC)")
    assert found["Signed with"] == "its own key: nobody else vouches for it"
    assert title(session, row_of(session, "[TLS")) == "TLS: decrypted"
    assert "Record" not in found


def test_a_certificate_that_is_encrypted_cannot_be_seen() -> None:
    # RFC 8446 §4.4.2
    session = capture("postfix-swaks-starttls")
    found = told_of(session, row_of(session, "[TLS"))
    assert found["TLS"] == "what follows is encrypted, and is not decrypted here"
    assert title(session, row_of(session, "[TLS")) == "TLS: what follows is encrypted"
    assert found["Begins"] == "after STARTTLS"
    assert found["Certificate"] == "not to be seen: from TLS 1.3 on it is encrypted, too"
    assert {"Valid", "Signed with", "Outcome"}.isdisjoint(found)


def test_a_certificate_that_was_not_seen_is_not_put_down_to_tls_1_3() -> None:
    # RFC 5246 §7.3: anonymous suites have none, and a session that goes on needs none
    found = tls(TlsInfo(version="TLSv1.2", established=True, resumed=False))
    assert found["Certificate"] == "none was seen"
    found = tls(TlsInfo(version="TLSv1.2", established=True, resumed=True))
    assert found["Resumed"].startswith("an earlier session goes on")
    assert "Certificate" not in found


def test_a_certificate_that_is_none_says_so() -> None:
    assert tls(TlsInfo(certificate=b"what"))["Certificate"] == "it can't be read"


def test_what_was_offered_and_chosen_is_told_apart() -> None:
    found = tls(TlsInfo(version="TLSv1.2", offered="TLSv1.3", sni="mx.test", alpn="smtp"))
    assert found["Version"] == "TLSv1.2"
    assert found["Offered"] == "TLSv1.3"
    assert found["Asked for"] == "mx.test"
    assert found["Protocol"] == "smtp"
    found = tls(TlsInfo(version="TLSv1.3", offered="TLSv1.3", alpn_offered=("smtp", "h2")), None)
    assert found["Protocol"] == "smtp, h2 (offered)"
    assert {"Offered", "Begins"}.isdisjoint(found)


def test_a_handshake_that_failed_tells_the_alert_and_who_sent_it() -> None:
    # RFC 8446 §6
    alerts = [
        Alert(Direction.SERVER, "fatal", "handshake_failure"),
        Alert(Direction.CLIENT, None, None),
    ]
    found = tls(TlsInfo(alerts=alerts, octets=[517, 7]))
    assert (
        found["Alert"] == "fatal handshake_failure, from the server | (encrypted), from the client"
    )
    assert found["TLS"] == "it failed, and nothing was said under it"
    assert "Outcome" not in found
    assert found["Octets"] == "517 from the client, 7 from the server"


def test_of_what_stays_closed_fingerprints_sizes_and_times_are_told() -> None:
    session = capture("postfix-swaks-starttls")
    found = told_of(session, row_of(session, "[TLS"))
    assert session.tls is not None
    assert (found["JA3"], found["JA4"]) == (session.tls.ja3, session.tls.ja4)
    assert found["JA3S"] == session.tls.ja3s
    client, server = session.tls.records
    assert found["Records"].startswith(f"{client} from the client, {server} from the server, in ")
    records = found["Record"].split(" | ")
    assert len(records) == client + server == len(session.tls.listed)
    assert records[0] == f"+0.0 ms ▸ handshake, {session.tls.listed[0].size}"
    session.tls.records[0] += 1_000
    found = told_of(session, row_of(session, "[TLS"))
    assert found["Record"].endswith(" | and 1,000 more")


# -- safe to show --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_every_row_of_every_bundled_capture_can_be_shown(path: Path) -> None:
    for session in sessions_of(path):
        check(session)


HOSTILE = (
    b"\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\xc2\x9b0m\x08\x7f",
    "\u202e\u2066\u200b\u200d\ufeff\u2028\u0301\U000e0041[/][@click=app.quit]x[/]".encode(),
    b"\xff\xfe\x80\xed\xa0\x80\xf4\x90\x80\x80",
    b"%s %d {} \\x00 \\u{202e}",
    b"[" * 500,
    b"x" * 100_000,
    "é".encode() * 40_000,
    b"a;b=c," * 15_000,
    b"(" * 50_000,
    b'"' * 50_000,
)


def dialogue(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """A dialogue with a value wherever one side chooses what it says; in lines that are read to a
    bound, as much of it as fits there."""
    value = whole[:300]
    word = value.replace(b" ", b"_")
    yield "S", b"220-" + whole
    yield "S", b"220 " + value
    yield "C", b"EHLO " + value
    yield "S", b"250-" + value + b"\r\n250-SIZE " + value + b"\r\n250-AUTH " + value
    yield "S", b"250-AUTH=" + value + b"\r\n250 " + word + b" " + value
    yield "C", value
    yield "S", b"500 5.5.2 " + value
    yield "S", value
    yield "C", b"AUTH " + value
    yield "S", b"334 " + value
    yield "C", value
    yield "S", b"535 5.7.8 " + value
    keywords = (b"SIZE", b"BODY", b"RET", b"ENVID", b"AUTH", b"BY", b"HOLDFOR", b"SUBMITTER", word)
    yield "C", b"MAIL FROM:<" + value + b">" + b"".join(b" %s=%s" % (k, word) for k in keywords)
    yield "S", b"250 2.1.0 " + value
    yield "C", b"RCPT TO:<@" + value + b":" + value + b"@" + value + b"> NOTIFY=" + word
    yield "S", b"250 2.1.5 " + value
    yield "C", b"RCPT TO:<b@b.test> ORCPT=" + word + b";" + word + b" " + word
    yield "S", b"250 ok"
    yield "C", b"DATA"
    yield "S", b"354 " + value
    for name in (b"Subject", b"From", b"To", b"Cc", b"Date", b"DKIM-Signature"):
        yield "C", name + b": " + whole
    yield "C", b"DKIM-Signature: d=" + whole + b"; s=" + whole
    yield "C", b"ARC-Message-Signature: i=1; d=" + whole
    yield "C", b"Authentication-Results: " + whole + b"; spf=pass " + whole
    yield "C", b"Received: from a by " + whole + b" (" + whole
    yield "C", b'Content-Type: application/x; name="' + whole + b'"'
    yield "C", b"\r\n" + whole + b"\r\n."
    yield "S", b"250 2.0.0 " + value
    yield "C", b"BDAT " + value
    yield "S", b"501 " + value
    yield "C", value + b" " + value
    yield "S", b"9" + value
    yield "C", whole
    yield "S", whole


def hostile(value: bytes) -> Session:
    made = Transcript("made here")
    sides = {"C": Direction.CLIENT, "S": Direction.SERVER}
    made.turns = [(sides[side], octets + b"\r\n") for side, octets in dialogue(value)]
    return session_of(made)


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_is_said_can_be_shown(value: bytes) -> None:
    check(hostile(value))


@settings(max_examples=60)
@given(st.binary(max_size=40))
@example(b"")
@example(b"\r")
@example(b"=")
@example(b";;")
@example(b"\0")
def test_any_octets_can_be_shown(value: bytes) -> None:
    check(hostile(value))


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_a_handshake_says_can_be_shown(value: bytes) -> None:
    said = value.decode("utf-8", "surrogateescape")
    session = hostile(b"x")
    session.tls = TlsInfo(said, said, said, said, None, (said,) * 16, certificate=value)
    check(session)
    session.tls.alpn = said
    check(session)


def test_a_secret_is_nowhere_unless_it_is_asked_for() -> None:
    lines = (
        *(*HELLO, "C: AUTH PLAIN AGFubgBzM2NyM3Q=", "S: 535 no", "C: AUTH LOGIN"),
        *("S: 334 VXNlcm5hbWU6", "C: YW5u", "S: 334 UGFzc3dvcmQ6", "C: czNjcjN0", "S: 235 ok"),
        *("C: XAUTH PLAIN AGFubgBzM2NyM3Q=", "S: 500 what"),
    )
    (session,) = review(lines)
    hidden = [str(explain(session, row)) for row in rows(session)]
    shown = [str(explain(session, row, reveal=True)) for row in rows(session)]
    assert not any(secret in words for words in hidden for secret in ("s3cr3t", "czNj", "BzM2Ny"))
    assert any("s3cr3t" in words for words in shown)


def test_a_row_beyond_what_is_kept_of_a_session_has_no_facts() -> None:
    (session,) = review((*HELLO, "C: NOOP", "S: 250 ok"))
    row = row_of(session, "NOOP")
    session.exchanges.clear()
    assert explain(session, row) == []
