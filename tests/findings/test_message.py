"""Rules about the form of messages: what samples can't show, where they point, what they leave."""

from __future__ import annotations

import pytest
from support.samples import review

from smtpscope.findings.message import MAX_HOPS
from smtpscope.session import Finding

FIELDS = (
    "From: ann@example.net",
    "Date: Tue, 14 Nov 2023 22:13:00 +0000",
    "Message-ID: <1@example.net>",
)
START = ("S: 220 mx.example.org ESMTP", "C: EHLO a.example.net", "S: 250 mx.example.org")
ENVELOPE = (
    *("C: MAIL FROM:<ann@example.net>", "S: 250 ok"),
    *("C: RCPT TO:<bob@example.org>", "S: 250 ok"),
)
END = ("C: .", "S: 250 ok", "C: QUIT", "S: 221 bye")


def findings(*lines: str, end: tuple[str, ...] = END) -> dict[str, Finding]:
    """The findings about a message of these lines, by rule."""
    said = tuple(f"C: {line}" for line in lines)
    dialogue = (*START, *ENVELOPE, "C: DATA", "S: 354 go ahead", *said, *end)
    (session,) = review(dialogue)
    return {found.rule: found for found in session.findings if found.group == "message"}


def test_a_message_as_it_should_be_draws_nothing() -> None:
    assert findings(*FIELDS, "Subject: x", "", "text") == {}


def test_more_hops_than_an_honest_way_has_are_told() -> None:
    hops = [
        f"Received: from h{number} by h{number - 1}; Tue, 14 Nov 2023 22:12:59 +0000"
        for number in range(MAX_HOPS + 1, 0, -1)
    ]
    assert findings(*hops, *FIELDS, "", "x")["many-hops"].summary.endswith("26 Received fields")
    assert findings(*hops[1:], *FIELDS, "", "x") == {}


def test_a_message_beyond_the_bounds_is_told_once() -> None:
    nested = ("MIME-Version: 1.0", *("Content-Type: message/rfc822", "") * 20)
    assert list(findings(*FIELDS, *nested, "x")) == ["message-bound"]
    assert findings(*FIELDS, *nested[:9], "From: a@b.test", "", "x") == {}


def test_nothing_is_said_of_a_message_whose_beginning_may_be_missing() -> None:
    chunk = ("C: BDAT 4 LAST", "C: hi", "S: 250 ok", "C: QUIT", "S: 221 bye")
    (session,) = review((*START[:1], "C<90", *START[1:], *chunk))
    assert [each.rule for each in session.findings if each.group == "message"] == []


@pytest.mark.parametrize("cut", [("C<40", *END), ("C fin",), ("C rst",)])
def test_nothing_is_said_of_a_message_that_was_not_captured_whole(cut: tuple[str, ...]) -> None:
    lines = ("Content-Type: multipart/mixed; boundary=b", "", "--b", "", "x")
    assert findings(*lines, end=cut) == {}


@pytest.mark.parametrize(
    ("lines", "rule", "field"),
    [
        ((*FIELDS, "Subject: a", "Subject: b", "", "x"), "header-twice", "Subject: b"),
        (("From: a@b.test", "Date: now", FIELDS[2], "", "x"), "date-malformed", "Date: now"),
        ((*FIELDS, "Subject: x", "no field", "A: b", "", "x"), "header-line-malformed", "no field"),
    ],
)
def test_a_finding_points_at_the_field(lines: tuple[str, ...], rule: str, field: str) -> None:
    octets = "\r\n".join(lines)
    before = sum(len(line) - 3 + 2 for line in (*START, *ENVELOPE, "C: DATA") if line[0] == "C")
    span = findings(*lines)[rule].span
    at = before + octets.index(field)
    assert (span.start, span.end) == (at, at + len(field))


def test_a_fault_of_many_parts_is_told_once_with_its_count() -> None:
    part = ("--b", "Content-Type: text/plain; charset=us-ascii", "", "\\xe9")
    lines = ("MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", *part * 3)
    found = findings(*FIELDS, *lines, "--b--")
    assert list(found) == ["charset-lies"]
    assert found["charset-lies"].summary.endswith(": 3 times, first us-ascii")


def test_a_chunked_message_is_looked_at_too() -> None:
    lines = (*START, *ENVELOPE, "C: BDAT 6 LAST", "C: A: b\\r\\n<none>", "S: 250 ok")
    (session,) = review(lines)
    found = {each.rule: each.span for each in session.findings if each.group == "message"}
    assert set(found) == {"from-missing", "date-missing", "message-id-missing"}


FILE = (
    "Content-Type: application/octet-stream; name=winmail.dat",
    "Content-Transfer-Encoding: base64",
    "",
    "TVqQAAMAAAAEAAAA",
)


@pytest.mark.parametrize("rule", ["tnef", "attachment-executable"])
def test_a_finding_about_an_attachment_points_at_its_part(rule: str) -> None:
    lines = (*FIELDS, "MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "--b")
    lines = (*lines, "", "Hello", "--b", *FILE, "--b--")
    said = (f"C: {line}" for line in lines)
    (session,) = review((*START, *ENVELOPE, "C: DATA", "S: 354 go ahead", *said, *END))
    (span,) = (found.span for found in session.findings if found.rule == rule)
    before = "\r\n".join(line[3:] for line in (*START, *ENVELOPE, "C: DATA") if line[0] == "C")
    start = len(before) + 2 + "\r\n".join(lines).index(FILE[0])
    assert (span.start, span.end) == (start, start + len("\r\n".join(FILE)))


def test_a_finding_about_a_hop_points_at_its_received_field() -> None:
    hops = (
        "Received: from b.test by c.test; Tue, 14 Nov 2023 22:12:59 +0000",
        "Received: from a.test by b.test; Tue, 14 Nov 2023 20:12:59 +0000",
        "Received: from z.test by a.test; Tue, 14 Nov 2023 20:12:58 +0000",
    )
    span = findings(*hops, *FIELDS, "", "x")["hop-slow"].span
    assert span.end - span.start == len(hops[0])


def test_a_bound_is_told_where_the_message_passed_it() -> None:
    field = "X: " + "y" * 990
    found = findings(*FIELDS, *[field] * 300, "", "x")["message-bound"]
    assert found.summary.endswith(f": a header of {len(field) * 300 + 600 + 87 + 6:,} octets")


def test_no_field_is_missed_where_not_all_fields_were_kept() -> None:
    found = findings(*["X: " + "y" * 990] * 300, *FIELDS, "", "x")
    assert list(found) == ["message-bound"]


def test_many_programs_in_one_message_are_told_with_their_count() -> None:
    files = [
        line for n in range(9) for line in ("--b", f"Content-Type: a/b; name={n}.exe", "", "x")
    ]
    lines = (*FIELDS, "MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", *files)
    said = (f"C: {line}" for line in (*lines, "--b--"))
    (session,) = review((*START, *ENVELOPE, "C: DATA", "S: 354 go ahead", *said, *END))
    told = [each.summary for each in session.findings if each.rule == "attachment-executable"]
    assert [summary.partition(": ")[2] for summary in told] == [
        "0.exe, by its name",
        "1.exe, by its name",
        "2.exe, by its name, and 6 more in this message",
    ]
