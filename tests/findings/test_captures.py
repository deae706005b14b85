"""The bundled recordings draw what a mail expert would tell of them, and the clean ones nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from smtpscope.places import bundled_captures
from smtpscope.reading import read_sessions
from smtpscope.session import Finding, Session, Severity
from smtpscope.stream import Direction

EXPECTED = {
    "exim-auth-refused.pcap": {"auth-base64", "auth-in-cleartext", "login-unavailable"},
    "exim-closed.pcap": {"data-unfinished"},
    "exim-errors.pcap": {
        *("mail-before-hello", "rcpt-before-mail", "nested-mail", "turn"),
        *("path-without-brackets", "parameter-syntax", "server-closed"),
    },
    "exim-exim-prdr.pcap": {"mailbox-full"},
    "exim-postfix-pipeline.pcap": {"relay-denied"},
    "exim-smtplib-auth-all.pcap": {"auth-in-cleartext"},
    "exim-swaks-auth-login.pcapng": {"auth-in-cleartext", "login-refused"},
    "exim-swaks-auth-plain.pcap": {"auth-in-cleartext"},
    "exim-swaks-refused-554.pcap": {"connection-refused"},
    "exim-synchronization-error.pcap": {"client-speaks-first", "connection-refused"},
    "opensmtpd-errors.pcap": {
        *("rcpt-before-mail", "nested-mail", "data-without-recipient", "turn"),
        *("path-without-brackets", "parameter-syntax"),
    },
    "opensmtpd-swaks-refused-rcpt.pcap": {"user-unknown", "all-recipients-refused"},
    "postfix-bare-lf-refused.pcap": {"message-bare-lf", "message-malformed", "from-missing"},
    "postfix-bdat-zero-last.pcap": {"bdat-syntax"},
    "postfix-http.pcap": {"http-on-smtp"},
    "postfix-lmtp.pcap": {"mailbox-full", "user-unknown"},
    "postfix-reset.pcap": {"data-unfinished"},
    "postfix-size-552.pcap": {"message-too-big"},
    "postfix-smuggling.pcap": {
        *("message-bare-lf", "smuggling-attempt", "smuggling-succeeded"),
    },
    "postfix-starttls-injection.pcap": {"plaintext-behind-starttls"},
    "postfix-swaks-pipeline.pcap": {"user-unknown"},
    "postfix-typed.pcap": {
        *("bare-lf", "message-bare-lf", "end-of-data-unseen", "odd-end-of-data"),
    },
    "sample-dialogue.pcap": {"path-without-brackets"},
}
"""What each recording draws of severity warning and above; those not listed are clean."""

ERRORS = {"smuggling-attempt", "smuggling-succeeded"}


@cache
def reviewed(capture: Path) -> tuple[Session, ...]:
    return tuple(read_sessions(capture))


def grave(capture: Path) -> list[Finding]:
    findings = [finding for session in reviewed(capture) for finding in session.findings]
    return [finding for finding in findings if finding.severity >= Severity.WARNING]


@pytest.mark.parametrize("capture", bundled_captures(), ids=lambda path: path.name)
def test_a_recording_draws_the_warnings_that_it_deserves_and_no_other(capture: Path) -> None:
    assert {finding.rule for finding in grave(capture)} == EXPECTED.get(capture.name, set())


def test_only_what_breaks_security_or_loses_mail_is_an_error() -> None:
    found = [finding for capture in bundled_captures() for finding in grave(capture)]
    assert {each.rule for each in found if each.severity is Severity.ERROR} == ERRORS


def test_the_recordings_with_warnings_are_all_there() -> None:
    assert EXPECTED.keys() <= {path.name for path in bundled_captures()}


@pytest.mark.parametrize("capture", bundled_captures(), ids=lambda path: path.name)
def test_a_finding_of_a_recording_points_into_what_was_said(capture: Path) -> None:
    for session in reviewed(capture):
        ends = {
            Direction.CLIENT: [each.command.span.end for each in session.exchanges if each.command],
            Direction.SERVER: [
                reply.span.end for each in session.exchanges for reply in each.replies
            ],
        }
        for finding in session.findings:
            start, end = finding.span.start, finding.span.end
            assert 0 <= start <= end <= max(ends[finding.span.direction], default=0), finding
