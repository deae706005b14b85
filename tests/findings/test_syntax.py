"""What samples can't show of the rules of form: lines of many octets, places, and restraint."""

from __future__ import annotations

import pytest
from support.samples import review

from smtpscope.findings import MAX_TOLD, replies
from smtpscope.session import Finding
from smtpscope.smtp.framing import MAX_LINE
from smtpscope.smtp.values import Reply
from smtpscope.stream import Direction, Span

GREETING = ("S: 220 mx.example.org ESMTP", "C: EHLO mail.example.net", "S: 250 mx.example.org")
ENVELOPE = (
    "C: MAIL FROM:<ann@example.net>",
    "S: 250 2.1.0 Ok",
    "C: RCPT TO:<bob@example.org>",
    "S: 250 2.1.5 Ok",
)


def found(rule: str, *lines: str) -> list[Finding]:
    (session,) = review(lines)
    return [finding for finding in session.findings if finding.rule == rule]


def octets_of(finding: Finding, *lines: str) -> bytes:
    """What the finding points at, all lines of its side being given."""
    stream = b"".join(line[3:].encode() + b"\r\n" for line in lines if line[0] == "C")
    return stream[finding.span.start : finding.span.end]


def test_an_auth_line_of_more_than_12288_octets_is_told() -> None:
    begin = (*GREETING, "C: AUTH LOGIN", "S: 334 VXNlcm5hbWU6")
    assert found("auth-line-too-long", *begin, "C: " + "QUFB" * 3072, "S: 500 5.5.6 Too long")
    assert not found("auth-line-too-long", *begin, "C: " + "QUFB" * 3071, "S: 500 5.5.6 No")


def test_a_reply_line_without_end_is_told_once() -> None:
    endless = "S: 214 " + "x" * (MAX_LINE + 10)
    end = ("C: QUIT", "S: 221 2.0.0 Bye")
    assert len(found("reply-too-long", *GREETING, "C: HELP", endless, *end)) == 1
    assert len(found("reply-too-long", *GREETING, "C: HELP", endless)) == 1
    assert not found("reply-too-long", *GREETING, "C: HELP", endless[: MAX_LINE - 10], *end)


@pytest.mark.parametrize("doubled", ["", "..", "..\n.."])
def test_a_finding_in_a_message_points_at_its_octet_however_many_dots_were_doubled(
    doubled: str,
) -> None:
    dots = tuple(f"C: {line}" for line in doubled.split("\n") if line)
    lines: tuple[str, ...] = (
        *GREETING,
        *ENVELOPE,
        "C: DATA",
        "S: 354 Go on",
        "C: Subject: x",
        "C: ",
        *dots,
    )
    lines = (*lines, "C: a\0b", "C: .", "S: 250 2.0.0 Ok")
    escaped = tuple(line.replace("\0", "\\0") for line in lines)
    (finding,) = found("message-nul", *escaped)
    assert b"\0" in octets_of(finding, *lines)
    assert finding.span.end - finding.span.start == 1 + len(dots)


def test_a_finding_in_a_message_whose_end_was_not_seen_points_at_its_octet() -> None:
    lines = (*GREETING, *ENVELOPE, "C: DATA", "S: 354 Go on", "C: Subject: x", "C: ", "C: a\0b")
    escaped = tuple(line.replace("\0", "\\0") for line in lines)
    (finding,) = found("message-nul", *escaped, "C: c<LF>", "C: .", "S: 250 2.0.0 Ok")
    assert octets_of(finding, *lines) == b"\0"


def test_a_finding_in_a_chunk_points_at_its_octet() -> None:
    lines: tuple[str, ...] = (
        "S: 220 mx.example.org",
        "C: EHLO mail.example.net",
        "S: 250-mx.example.org",
    )
    lines = (*lines, "S: 250 CHUNKING", *ENVELOPE, "C: BDAT 9 LAST", "C: ", "C: ab\0cd")
    escaped = tuple(line.replace("\0", "\\0") for line in lines)
    (finding,) = found("message-nul", *escaped, "S: 250 2.0.0 Ok")
    assert octets_of(finding, *lines) == b"\0"


def test_parameters_beside_one_that_is_given_twice_are_each_told_once() -> None:
    lines = (*GREETING, "C: MAIL FROM:<ann@example.net> SIZE=1 SIZE=2 FOO=bar")
    for rule, octets in (
        ("parameter-not-offered", b"SIZE=2"),
        ("parameter-twice", b"SIZE=2"),
        ("parameter-unknown", b"FOO=bar"),
    ):
        (finding,) = found(rule, *lines, "S: 555 5.5.4 No")
        assert octets_of(finding, *lines) == octets


def test_a_parameter_is_pointed_at_by_itself() -> None:
    lines: tuple[str, ...] = (
        *GREETING,
        "C: MAIL FROM:<ann@example.net> RET=HDRS SIZE=12x",
        "S: 501 5.5.4 No",
    )
    (finding,) = found("parameter-value", *lines)
    assert octets_of(finding, *lines) == b"SIZE=12x"


def test_without_the_reply_to_ehlo_nothing_counts_as_not_offered() -> None:
    lines: tuple[str, ...] = ("S: 220 mx.example.org", "C: EHLO mail.example.net", "S<120", "+ 1")
    lines = (*lines, "C: MAIL FROM:<ann@example.net> SIZE=12", "S: 250 2.1.0 Ok")
    assert not found("parameter-not-offered", *lines)


def test_nothing_was_offered_after_helo() -> None:
    lines: tuple[str, ...] = (
        "S: 220 mx.example.org",
        "C: HELO mail.example.net",
        "S: 250 mx.example.org",
    )
    lines = (*lines, "C: MAIL FROM:<ann@example.net> SIZE=12", "S: 250 2.1.0 Ok")
    assert found("parameter-not-offered", *lines)


def test_a_code_is_told_once_a_session() -> None:
    refused = ("C: RCPT TO:<bob@example.org>", "S: 458 No") * 5
    assert len(found("reply-code-unlisted", *GREETING, *ENVELOPE[:2], *refused)) == 1


def test_the_first_reply_that_lacks_an_enhanced_code_is_told() -> None:
    lines: tuple[str, ...] = (
        "S: 220 mx.example.org",
        "C: EHLO mail.example.net",
        "S: 250-mx.example.org",
    )
    lines = (*lines, "S: 250 ENHANCEDSTATUSCODES", "C: NOOP", "S: 250 Ok", "C: NOOP", "S: 250 Ok")
    (finding,) = found("enhanced-code-absent", *lines)
    assert finding.span.direction is Direction.SERVER


def test_a_login_s_lines_are_no_command_lines() -> None:
    lines: tuple[str, ...] = (
        *GREETING,
        "C: AUTH LOGIN",
        "S: 334 VXNlcm5hbWU6",
        "C: " + "QUFB" * 300,
    )
    assert not found("command-too-long", *lines, "S: 535 5.7.8 No")


def test_a_command_line_that_is_too_long_is_covered_without_its_chunk() -> None:
    lines: tuple[str, ...] = (*GREETING, "C: BDAT 3 " + "x" * 600)
    (finding,) = found("command-too-long", *lines, "C: ab", "S: 250 2.0.0 Ok")
    start = len("EHLO mail.example.net\r\n")
    assert finding.span == Span(Direction.CLIENT, start, start + len("BDAT 3 \r\n") + 600)


@pytest.mark.parametrize(
    ("lines", "rules"),
    [
        ((b"mx", b"SIZE"), []),
        ((b"mx", b"size 10"), []),
        ((b"mx", b"SIZE ten"), ["capability-syntax"]),
        ((b"mx", b"AUTH"), ["capability-syntax"]),
        ((b"mx", b""), ["capability-syntax"]),
        ((b"mx", b"AUTHENTICATED", b"SIZEABLE x"), []),
        ((b"mx", b"auth=login plain"), ["auth-keyword-legacy"]),
        ((b"mx", b"X_Y", b"AUTH=LOGIN"), ["auth-keyword-legacy", "capability-syntax"]),
    ],
)
def test_the_lines_of_the_reply_to_ehlo_are_read(
    lines: tuple[bytes, ...], rules: list[str]
) -> None:
    reply = Reply(250, lines, None, Span(Direction.SERVER, 0, 9), 0, 0)
    assert [defect.rule for defect in replies._capability_defects(reply)] == rules


def test_what_happens_again_and_again_is_told_a_few_times_with_its_count() -> None:
    told = found("unknown-command", *GREETING, *("C: XYZZY", "S: 500 5.5.2 What?") * 9)
    assert len(told) == MAX_TOLD
    assert told[-1].summary.endswith(f"(and {9 - MAX_TOLD} more like it)")
    assert all("more like it" not in each.summary for each in told[:-1])
