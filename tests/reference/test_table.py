"""The documented table: all rows are there and say their source, and unknown codes fall back."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

import pytest

from smtpscope import reference

DATA_FILES = [
    "auth_mechanisms.json",
    "commands.json",
    "documented.json",
    "enhanced_codes.json",
    "extensions.json",
    "limits.json",
    "parameters.json",
    "received_with.json",
    "replies.json",
]
MAY_BE_EMPTY = {
    "answers_as",
    "basic",
    "by",
    "differs",
    "exchange",
    "extension",
    "failure",
    "intermediate",
    "last",
    "length_added",
    "mail_parameters",
    "next_by",
    "notes",
    "pipelining",
    "rcpt_parameters",
    "sensitive",
    "success",
    "verbs",
}


def rows(name: str) -> list[dict[str, Any]]:
    data = json.loads(files("smtpscope.reference").joinpath(name).read_text("utf-8"))
    return [*data["rows"], *data.get("vendor", [])]


@pytest.mark.parametrize("name", DATA_FILES)
def test_every_row_has_texts_and_a_source_or_says_vendor(name: str) -> None:
    assert rows(name)
    for row in rows(name):
        for key, value in row.items():
            assert value not in ("", [], {}) or key in MAY_BE_EMPTY, (row, key)
        assert re.search(r"\bRFC \d{3,4}|\bIANA\b|^draft-|^vendor: \S", row["source"]), row
        assert isinstance(row["checked"], bool)
        if "vendor" not in row["source"] and row["checked"]:
            assert re.search(r"RFC|IANA|draft", row["source"]), row


@pytest.mark.parametrize("name", DATA_FILES)
def test_no_two_rows_have_the_same_name(name: str) -> None:
    keys = ("verb", "code", "keyword", "name")
    names = [next(str(row[key]) for key in keys if key in row) for row in rows(name)]
    assert len(names) == len(set(names))


def test_the_documented_table_has_its_twenty_five_rows() -> None:
    by_kind: dict[str, list[str]] = {}
    for row in rows("documented.json"):
        by_kind.setdefault(row["kind"], []).append(row["name"])
    assert by_kind == {
        "command": [
            "HELO",
            "EHLO",
            "MAIL",
            "RCPT",
            "SIZE",
            "DATA",
            "QUIT",
            "RSET",
            "TURN",
            "VRFY",
            "EXPN",
        ],
        "header": ["Subject", "Cc", "Reply-To"],
        "reply": ["220", "221", "250", "354", "450", "451", "452", "500", "550", "552", "554"],
    }


def test_a_command_is_found_in_any_case_and_an_unknown_one_is_none() -> None:
    row = reference.command("rcpt")
    assert row is not None
    assert row.verb == "RCPT"
    assert row.status == "core"
    assert reference.command("FROB") is None


@pytest.mark.parametrize("verb", [".", "(auth)", "(greeting)", "(unreadable)"])
def test_what_is_no_command_but_answered_has_a_row_too(verb: str) -> None:
    row = reference.command(verb)
    assert row is not None
    assert row.status == "pseudo"
    assert verb not in reference.VERBS


# RFC 5321 §4.3.2
@pytest.mark.parametrize(
    ("verb", "codes"),
    [
        ("MAIL", {250, 552, 451, 452, 550, 553, 503, 455, 555}),
        ("RCPT", {250, 251, 550, 551, 552, 553, 450, 451, 452, 503, 455, 555}),
        ("DATA", {354, 503, 554}),
        (".", {250, 552, 554, 451, 452, 450, 550}),
        ("RSET", {250}),
        ("VRFY", {250, 251, 252, 550, 551, 553, 502, 504}),
        ("EXPN", {250, 252, 550, 502, 504}),
        ("HELP", {211, 214, 502, 504}),
        ("NOOP", {250}),
        ("QUIT", {221}),
        ("EHLO", {250, 504, 550, 502}),
        ("HELO", {250, 504, 550, 502}),
    ],
)
def test_the_replies_that_rfc_5321_lists_are_allowed(verb: str, codes: set[int]) -> None:
    allowed = reference.allowed_replies(verb)
    assert codes | {421, 500, 501} <= allowed
    # 521 and 556 are RFC 7504's, 530 is RFC 3207's and RFC 4954's.
    assert allowed <= codes | {421, 500, 501, 521, 530, 556}


def test_the_greeting_answers_no_command_so_it_has_no_syntax_errors() -> None:
    assert reference.allowed_replies("(greeting)") == {220, 421, 521, 554}


def test_354_is_no_answer_to_the_end_of_the_data() -> None:
    assert 354 not in reference.allowed_replies(".")
    assert 250 not in reference.allowed_replies("DATA")


# RFC 4954 §6 and RFC 3207 §4: neither EHLO, NOOP nor QUIT is answered by 530
@pytest.mark.parametrize("verb", ["EHLO", "NOOP", "QUIT", "STARTTLS"])
def test_commands_that_are_always_open_never_draw_530(verb: str) -> None:
    assert 530 not in reference.allowed_replies(verb)


def test_nothing_is_known_about_the_replies_to_an_unknown_verb() -> None:
    assert reference.allowed_replies("FROB") == frozenset()


@pytest.mark.parametrize(
    ("code", "verb", "expected"),
    [
        (220, "(greeting)", "server ready"),
        (220, "STARTTLS", "TLS handshake"),
        (235, "(auth)", "login accepted"),
        (250, "EHLO", "extensions"),
        (521, "(greeting)", "no mail at all"),
        (521, ".", "message refused"),
        (250, "RCPT", "recipient accepted"),
        (250, ".", "responsible"),
        (251, "RCPT", "forwards"),
        (251, "ETRN", "no mail is waiting"),
        (252, "VRFY", "confirm"),
        (252, "ETRN", "delivery has started"),
        (334, "AUTH", "challenge"),
        (354, "DATA", "send the message"),
        (421, "NOOP", "closes the connection"),
        (452, "RCPT", "too many recipients"),
        (452, ".", "storage"),
        (454, "STARTTLS", "TLS"),
        (454, "AUTH", "login failed"),
        (503, "RCPT", "no sender"),
        (503, "AUTH", "already logged in"),
        (530, "MAIL", "log in or start TLS"),
        (550, "RCPT", "no such mailbox"),
        (550, "MAIL", "sender"),
        (552, "MAIL", "too large"),
        (552, "RCPT", "treat as 452"),
        (554, "(greeting)", "no SMTP service"),
        (554, "DATA", "no valid recipients"),
        (554, ".", "message refused"),
    ],
)
def test_a_code_means_what_the_command_makes_of_it(code: int, verb: str, expected: str) -> None:
    assert expected in reference.reply_meaning(code, verb)
    assert reference.reply_meaning(code, verb) == reference.reply_meaning(code, verb.lower())


def test_an_obsolete_verb_is_answered_as_its_heir() -> None:
    assert reference.reply_meaning(250, "SOML") == reference.reply_meaning(250, "MAIL")


def test_a_code_says_something_whatever_it_answers() -> None:
    assert reference.reply_meaning(250, None) == "done"
    assert reference.reply_meaning(250, "FROB") == "done"


# RFC 5321 §4.2.1: the first digit is the severity, the second the category
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (259, "done, mail system"),
        (399, "go on (code 399"),
        (429, "temporary failure, connection"),
        (559, "permanent failure, mail system"),
        (599, "permanent failure (code 599"),
        (100, "first digit must be 2 to 5"),
        (999, "first digit must be 2 to 5"),
        (7, "first digit must be 2 to 5"),
        (-50, "first digit must be 2 to 5"),
        (2500, "first digit must be 2 to 5"),
    ],
)
def test_an_unknown_code_is_told_by_its_digits(code: int, expected: str) -> None:
    assert reference.reply(code) is None
    assert expected in reference.reply_meaning(code, "RCPT")


def test_no_meaning_of_any_code_is_empty_or_longer_than_seventy_characters() -> None:
    verbs = [None, "(greeting)", ".", "(auth)", *reference.VERBS]
    for code in range(1000):
        for verb in verbs if reference.reply(code) else [None]:
            assert 0 < len(reference.reply_meaning(code, verb)) <= 70, (code, verb)


# RFC 3463 §2: class, subject and detail are each known by themselves
@pytest.mark.parametrize(
    ("code", "level", "expected"),
    [
        ((5, 7, 57), "vendor", "Exchange"),
        ((5, 7, 606), "vendor", "banned"),
        ((5, 7, 649), "vendor", "banned"),
        ((5, 7, 650), "subject", "security or policy"),
        ((4, 7, 57), "subject", "security or policy"),
        ((5, 7, 1), "detail", "refused by policy"),
        ((4, 7, 1), "detail", "refused by policy"),
        ((2, 1, 5), "detail", "valid"),
        ((5, 1, 99), "subject", "address"),
        ((5, 9, 99), "class", "permanent failure"),
        ((3, 9, 99), "none", "class 3"),
    ],
)
def test_an_enhanced_code_falls_back_from_vendor_to_class(
    code: tuple[int, int, int], level: str, expected: str
) -> None:
    known = reference.enhanced(*code)
    assert known.level == level
    assert expected in known.text
    assert known.code == "{}.{}.{}".format(*code)


def test_the_class_of_an_enhanced_code_is_told_beside_its_meaning() -> None:
    assert reference.enhanced(4, 7, 1).severity == "temporary failure"
    assert reference.enhanced(5, 7, 1).severity == "permanent failure"
    assert reference.enhanced(3, 7, 1).severity == ""


def test_an_enhanced_code_knows_the_reply_codes_it_goes_with() -> None:
    assert reference.enhanced(5, 1, 1).basic == ("451", "550")


def test_verbs_are_real_verbs_and_http_is_apart() -> None:
    assert {"EHLO", "HELO", "LHLO", "BDAT", "STARTTLS", "AUTH", "XCLIENT"} <= reference.VERBS
    assert {"GET", "POST", "CONNECT"} <= reference.HTTP_VERBS
    assert not reference.VERBS & reference.HTTP_VERBS
    assert "PROXY" not in reference.VERBS
    assert "SIZE" not in reference.VERBS
    assert all(re.fullmatch(r"[A-Z0-9-]+", verb) for verb in reference.VERBS)


def test_every_verb_that_a_reply_or_keyword_names_is_a_command() -> None:
    named = {verb for row in rows("replies.json") for verb in (*row["by"], *row["next_by"])}
    named |= {verb for row in rows("extensions.json") for verb in row["verbs"]}
    named |= {row["answers_as"] for row in rows("commands.json")} - {""}
    assert [verb for verb in sorted(named) if reference.command(verb) is None] == []


def test_every_code_that_a_command_lists_is_a_reply() -> None:
    for row in rows("commands.json"):
        for code in (*row["success"], *row["intermediate"], *row["failure"]):
            assert reference.reply(code) is not None, (row["verb"], code)


def test_every_parameter_that_a_keyword_names_has_a_row_and_the_keyword_back() -> None:
    for row in rows("extensions.json"):
        for verb, keys in (("MAIL", "mail_parameters"), ("RCPT", "rcpt_parameters")):
            for keyword in row[keys]:
                found = reference.parameter(verb, keyword)
                assert found is not None
                assert row["keyword"] in found.extension


def test_keywords_parameters_and_mechanisms_are_found_in_any_case() -> None:
    size = reference.extension("size")
    assert size is not None
    assert size.length_added == {"MAIL": 26}
    assert reference.parameter("mail", "size") is not None
    assert reference.parameter("RCPT", "SIZE") is None
    plain = reference.mechanism("plain")
    assert plain is not None
    assert plain.client_first is True
    assert reference.received_with("esmtps") is not None


def test_the_old_spelling_of_auth_is_a_keyword_of_its_own() -> None:
    row = reference.extension("AUTH=LOGIN")
    assert row is not None
    assert row.status == "legacy spelling"


def test_what_every_exim_offers_today_is_known_by_both_its_names() -> None:
    for keyword in ("PIPECONNECT", "PIPE_CONNECT"):
        row = reference.extension(keyword)
        assert row is not None
        assert "pipeline" in row.meaning


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("local-part", 64),
        ("domain", 255),
        ("path", 256),
        ("command line", 512),
        ("reply line", 512),
        ("text line", 1000),
        ("recipients buffer", 100),
        ("timeout: MAIL", 300),
        ("timeout: DATA initiation", 120),
        ("timeout: data block", 180),
        ("timeout: data termination", 600),
        ("port: submissions", 465),
    ],
)
def test_limits_are_those_of_the_rfcs(name: str, value: int) -> None:
    row = reference.limit(name)
    assert row is not None
    assert row.value == value
