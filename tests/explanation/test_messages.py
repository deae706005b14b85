"""What a message is explained as, without its body."""

from __future__ import annotations

import pytest
from support.explained import HELLO, told

from smtpscope.explanation.messages import MAX_ADDRESSES, MAX_ATTACHMENTS, MAX_HOPS, MAX_VOUCHING


def message(*lines: str) -> dict[str, str]:
    sent = [f"C: {line}" for line in lines]
    return told(*HELLO, "C: DATA", "S: 354 go", *sent, "C: .", "S: 250 ok", of="[message")


def test_a_message_is_told_by_its_header() -> None:
    # RFC 5322 §3.6
    found = message(
        "Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=", "From: Ann <a@a.test>",
        "To: b@b.test, Bob <c@b.test>", "Cc: d@b.test",
        "Date: Mon, 5 Oct 2026 09:30:00 +0000", "", "hi",
    )  # fmt: skip
    assert found["Message"] == "148 octets"
    assert found["Subject"] == "grüße"
    assert found["From"] == "Ann <a@a.test>"
    assert found["To"] == "b@b.test, Bob <c@b.test>"
    assert found["Cc"] == "d@b.test"
    assert found["Date"] == "Mon, 5 Oct 2026 09:30:00 +0000"
    assert len(found["SHA-256"]) == 64
    assert found["Reply"] == "250: message accepted: the server is now responsible for it"
    assert found["Next"] == "Forget the message: it is the server's now."


def test_what_a_message_lacks_is_not_told() -> None:
    found = message("", "hi")
    assert {"Subject", "From", "To", "Cc", "Date", "Attached", "Missing", "Cut"}.isdisjoint(found)


def test_octets_that_the_capture_lacks_are_counted() -> None:
    lines = (*HELLO, "C: DATA", "S: 354 go", "C: Subject: hi", "C: ", "C<100", "C: hi", "C: .")
    found = told(*lines, "S: 250 ok", of="[message")
    assert found["Missing"] == "100 octets that the capture lacks"


def test_a_message_beyond_the_bounds_says_so() -> None:
    found = message(*(f"X-{number}: {'x' * 900}" for number in range(400)), "", "hi")
    assert found["Cut"].startswith("larger than is summed up here")


def test_many_addresses_are_told_to_a_bound() -> None:
    many = ", ".join(f"b{number}@b.test" for number in range(MAX_ADDRESSES + 7))
    assert message(f"To: {many}", "", "hi")["To"].endswith(", b9@b.test and 7 more")


def multipart(files: int) -> tuple[str, ...]:
    parts = [
        line
        for number in range(files)
        for line in (
            *("--x", "Content-Type: application/pdf", "Content-Transfer-Encoding: base64"),
            *(f"Content-Disposition: attachment; filename=a{number}.pdf", "", "JVBERi0="),
        )
    ]
    text = ("--x", "Content-Type: text/plain", "", "see there")
    return ("Content-Type: multipart/mixed; boundary=x", "", *text, *parts, "--x--")


def test_files_are_told_with_their_sizes() -> None:
    found = message(*multipart(2))
    assert found["Message"].endswith(" in 3 parts")
    assert (
        found["Attached"] == "a0.pdf, application/pdf, 5 octets | a1.pdf, application/pdf, 5 octets"
    )


def test_many_files_are_told_to_a_bound() -> None:
    found = message(*multipart(MAX_ATTACHMENTS + 2))["Attached"].split(" | ")
    assert len(found) == MAX_ATTACHMENTS + 1
    assert found[-1] == "2 more files"


def test_a_file_without_a_name_is_told_as_one() -> None:
    found = message("Content-Type: image/png", "Content-Disposition: attachment", "", "x")
    assert found["Attached"].startswith("(no name), image/png, ")


# -- what vouches for it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "words"),
    [
        # RFC 8601 §2.2
        (
            "Authentication-Results: mx.test; spf=pass smtp.mailfrom=a.test; dkim=fail"
            " header.d=a.test; dmarc=none",
            "spf pass, dkim fail, dmarc none (says mx.test)",
        ),
        ("Authentication-Results: mx.test 1; DKIM = Pass", "dkim pass (says mx.test)"),
        ("Authentication-Results: mx.test; none", "mx.test; none"),
        ("Authentication-Results: dkim=pass header.d=a.test", "dkim pass"),
        # What a comment or a quoted string holds is no result.
        (
            "Authentication-Results: mx.test; arc=fail (i=1 spf=pass (a; dkim=pass) dmarc=pass)",
            "arc fail (says mx.test)",
        ),
        (
            r'Authentication-Results: mx.test; spf=fail smtp.mailfrom="\\"x; dkim=pass"',
            "spf fail (says mx.test)",
        ),
        (
            "Authentication-Results: mx.test; spf=fail (it is not over; dkim=pass",
            "spf fail (says mx.test)",
        ),
        # RFC 8617 §4.1.1: the instance comes before the server
        (
            "ARC-Authentication-Results: i=1; mx.test; dkim=pass header.d=a.test",
            "dkim pass (says mx.test)",
        ),
    ],
)
def test_what_a_server_checked_is_told_with_its_name(field: str, words: str) -> None:
    assert message(field, "", "hi")["Checked"] == words


@pytest.mark.parametrize(
    ("field", "words"),
    [
        # RFC 6376 §3.5
        (
            "DKIM-Signature: v=1; a=rsa-sha256; d=a.test; s=sel; bh=x=; b=y=",
            "by a.test, key sel (not checked here)",
        ),
        ("DKIM-Signature: s = sel ; d = a.test ;", "by a.test, key sel (not checked here)"),
        ("DKIM-Signature: d=a.test", "by a.test (not checked here)"),
        # RFC 8617 §4.1.2
        (
            "ARC-Message-Signature: i=1; d=list.test; s=sel; b=y",
            "by list.test, key sel, which passed it on (not checked here)",
        ),
    ],
)
def test_who_signed_is_told_and_that_nobody_checked(field: str, words: str) -> None:
    assert message(field, "", "hi")["Signed"] == words


@pytest.mark.parametrize("field", ["DKIM-Signature: what", "ARC-Seal: i=1; d=a.test; cv=none"])
def test_a_signature_that_names_nobody_is_not_told(field: str) -> None:
    assert "Signed" not in message(field, "", "hi")


def test_fields_that_vouch_are_read_to_a_bound() -> None:
    fields = [f"DKIM-Signature: d=a{number}.test" for number in range(MAX_VOUCHING + 5)]
    assert message(*fields, "", "hi")["Signed"].count(" | ") == MAX_VOUCHING - 1


# -- where it came through -----------------------------------------------------------------------


def test_the_way_is_told_oldest_first_with_the_time_of_each_hop() -> None:
    # RFC 5321 §4.4
    found = message(
        "Received: from b.test by c.test; Tue, 14 Nov 2023 22:13:25 +0000",
        "Received: from a.test by b.test; Tue, 14 Nov 2023 20:13:20 +0000",
        "Received: from laptop; some day",
        "",
        "hi",
    )
    assert found["Received"] == "by (a server without a name) | by b.test | by c.test, +7,205 s"


def test_of_a_long_way_the_newest_hops_are_told() -> None:
    fields = [
        f"Received: from a.test by h{number}.test; Tue, 14 Nov 2023 22:13:25 +0000"
        for number in range(MAX_HOPS + 3)
    ]
    found = message(*fields, "", "hi")["Received"].split(" | ")
    assert found[0] == "by 3 servers before these"
    assert found[-1] == "by h0.test, +0 s"
    assert len(found) == MAX_HOPS + 1


def test_a_message_in_chunks_is_told_with_its_last_one() -> None:
    # RFC 3030 §2
    lines = (*HELLO, "C: BDAT 15 LAST", "C: Subject: hi<LF>", "C: <LF>", "C: hi", "S: 250 ok")
    assert told(*lines, of="[message")["Subject"] == "hi"
