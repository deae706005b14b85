"""The display filter language: what matches, and what a mistake is answered with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import review

from smtpscope.filters import FIELDS, FilterError, complete, parse
from smtpscope.session import Session

CAPTURES = Path(__file__).parents[1] / "captures"

(SESSION,) = review(
    (
        "S: 220 mx.example.org ESMTP",
        "C: EHLO mail.example.net",
        "S: 250-mx.example.org",
        "S: 250 AUTH PLAIN",
        "C: AUTH PLAIN AGFubgBzZWNyZXQ=",
        "S: 235 2.7.0 Ok",
        "C: MAIL FROM:<Ann@example.net>",
        "S: 250 2.1.0 Ok",
        "C: RCPT TO:<bob@example.org>",
        "S: 250 2.1.5 Ok",
        "C: RCPT TO:<eve@example.com>",
        "S: 550 5.1.1 No such user",
        "C: DATA",
        "S: 354 Go",
        "C: From: Ann <ann@example.net>",
        "C: Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=",
        "C: ",
        "C: Hello",
        "C: .",
        "S: 250 2.0.0 Queued",
        "C: QUIT",
        "S: 221 2.0.0 Bye",
    )
)


def matches(text: str, session: Session = SESSION) -> bool:
    return parse(text).matches(session)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "number == 1",
        "code == 550",
        "code >= 500 and to ~ 'example.(com|org)'",
        "class == 5 or class == 4",
        "CODE >= 500 AND NOT tls",
        "not (code == 421)",
        "code != 421",
        "from == ann@EXAMPLE.net",
        "from != bob@example.org",
        "to in (nobody@x.test, eve@example.com)",
        "code in (550, 551)",
        "domain == example.com",
        "subject ~ ^grüße$",
        'subject == "grüße"',
        "size < 1k",
        "size > 0.05k",
        "messages == 1",
        "duration < 1min and duration > 0",
        "start > 2000-01-01 and start < 2100-01-01T00:00:00Z",
        "verb == rcpt",
        "enhanced == 5.1.1",
        "state == quit",
        "auth == PLAIN and auth.user == ann",
        "finding == auth-in-cleartext or finding ~ auth",
        "severity >= warning",
        "group == security",
        "client == 192.0.2.1 and server == 192.0.2.2:25 and port == 25",
        "banner ~ ESMTP and helo == mail.example.net",
        "bob",
        '"mx.example.org"',
        "subject",
        "not tls.version",
        "not sni",
    ],
)
def test_a_filter_shows_a_session_that_has_it(text: str) -> None:
    assert matches(text)
    assert not matches(f"not ({text or 'number == 1'})")


@pytest.mark.parametrize(
    "text",
    [
        "code > 550",
        "code != 550",
        "from != ann@example.net",
        "to ~ nobody",
        "tls",
        "tls == starttls",
        "severity > error",
        "duration > 1h",
        "size > 1G",
        "code == 421 and code == 550",
        "secret",
        "messages in (2, 3)",
    ],
)
def test_a_filter_hides_a_session_without_it(text: str) -> None:
    assert not matches(text)


def test_and_binds_closer_than_or() -> None:
    assert matches("code == 550 or code == 1 and code == 2")
    assert not matches("(code == 550 or code == 1) and code == 2")


def test_versions_of_tls_may_be_written_as_the_list_has_them() -> None:
    for text in ("tls.version == 1.3", 'tls.version == "1.3"', "tls.version in (1.2, 1.3)"):
        assert str(parse(text).node).lower().count("tlsv1.3") == 1
    assert "tlsv" not in str(parse("tls.version ~ 1.3").node).lower()


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("code >", 7, "a value"),
        ("code > many", 8, "a number"),
        ("colour == red", 1, "a field: number, capture, start"),
        ("to < b", 4, "== != ~ or in"),
        ("code ~ 5", 6, "== != <"),
        ("(code == 5", 11, ")"),
        ("code == 5)", 10, "the end"),
        ("code = 5", 6, "== (two"),
        ('to == "bob', 7, 'a closing "'),
        ("to ~ '['", 6, "a regular expression"),
        ("code == 5 6", 11, "or, and or the end"),
        ("and tls", 1, "a field or a word"),
        ("size > 5x", 8, "a size such as"),
        ("duration > 5k", 12, "a duration such as"),
        ("severity > bad", 12, "chat, note, warning or error"),
        ("start > today", 9, "a time such as"),
        ("code in ()", 10, "a value"),
        ("(" * 51 + "tls" + ")" * 51, 1, "no more than 50"),
        ("not " * 51 + "tls", 1, "no more than 50"),
        ("x" * 2001, 2001, "no more than"),
        # What no session can be: nobody would know why nothing is shown.
        ("state == gone", 10, "quit, closed, reset, open"),
        ("tls in (starttls, 1.3)", 19, "starttls, implicit"),
        ("group != bogus", 10, "a group of findings: sequence"),
        ("finding == user-unknwon", 12, "--rules): user-unknown"),
    ],
)
def test_a_mistake_is_told_with_its_column(text: str, column: int, expected: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert caught.value.column == column
    assert expected in caught.value.expected
    assert "\n" not in str(caught.value)


@given(st.text(alphabet="code <>=!~()'\"\\andortin.0123456789 x,-", max_size=40))
def test_nothing_but_a_filter_error_comes_of_any_text(text: str) -> None:
    column, found = 1, None
    try:
        found = parse(text)
    except FilterError as error:
        column = error.column
    assert 1 <= column <= len(text) + 1
    assert found is None or found.matches(SESSION) in (True, False)


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("", "code"),
        ("sev", "severity"),
        ("severity ", ">="),
        ("to ", "~"),
        ("severity >= w", "warning"),
        ("tls == ", "starttls"),
        ("verb == v", "VRFY"),
        ("finding in (bare-", "bare-lf"),
        ("code == 550 ", "and"),
        ("code == 550 a", "and"),
        ("not t", "tls.version"),
        ("(st", "state"),
    ],
)
def test_the_word_at_the_end_is_completed(text: str, offered: str) -> None:
    assert offered in complete(text)


def test_what_is_complete_is_not_offered_again() -> None:
    assert "tls" not in complete("tls")
    assert complete("code == 5") == []


def test_every_field_gives_values_of_its_kind() -> None:
    for name, field in FIELDS.items():
        values = list(field.values(SESSION))
        kind = str if field.kind == "text" else int
        assert all(isinstance(value, kind) for value in values), name


def test_read_shows_only_what_matches() -> None:
    files = sorted(map(str, CAPTURES.glob("*.pcap")))

    def read(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "smtpscope", "read", "--format", "jsonl", *options, *files]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    everything = read().stdout.splitlines()
    some = read("-Y", "verb == VRFY", "--fail-on", "error")
    assert some.returncode == 0
    shown = some.stdout.splitlines()
    assert 0 < len(shown) < len(everything)
    assert all('"VRFY"' in line for line in shown)
    wrong = read("-Y", "verb == ")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("smtpscope: filter, column 9: expected")
    assert wrong.stderr.count("\n") == 1


def test_the_readme_names_every_field() -> None:
    readme = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
    listed = readme.partition("\nFields: ")[2].partition("Operators: ")[0]
    assert set(re.findall(r"`([^`]+)`", listed)) == set(FIELDS)
