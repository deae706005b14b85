"""`explain`: what is known under a word is shown whole, and rows nobody checked say so."""

from __future__ import annotations

import pytest

from smtpscope import reference
from smtpscope.reference import table

DOCUMENTED = [
    *["HELO", "EHLO", "MAIL", "RCPT", "SIZE", "DATA", "QUIT", "RSET", "TURN", "VRFY", "EXPN"],
    *["Subject", "Cc", "Reply-To"],
    *["220", "221", "250", "354", "450", "451", "452", "500", "550", "552", "554"],
]
CAUTION = "not checked against its source"


def text_of(*words: str) -> str:
    return reference.render(reference.explain(words))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_documented_row_is_shown_with_what_the_rfcs_say(name: str) -> None:
    row = reference.documented(name)
    assert row is not None
    first = dict(reference.explain([name])[0].lines)
    assert first["table says"] == row.documented
    assert first["RFCs differ"] == (row.differs or "no")


def test_a_verb_lists_its_replies_with_what_they_mean_to_it() -> None:
    lines = dict(reference.explain(["vrfy"])[0].lines)
    assert "confirm" in lines["252"]
    assert lines["any time"] == "421 500 501 521"


def test_size_is_a_row_of_the_table_a_keyword_and_a_parameter() -> None:
    kinds = [entry.kind for entry in reference.explain(["SIZE"])]
    assert kinds == ["command, as the documented table has it", "EHLO keyword", "parameter of MAIL"]


@pytest.mark.parametrize("words", [["250", "RCPT"], ["RCPT", "250"], ["250 rcpt"], ["250 RCPT TO"]])
def test_a_code_and_a_verb_are_explained_together(words: list[str]) -> None:
    (entry,) = reference.explain(words)
    assert entry.title == "250 to RCPT"
    assert dict(entry.lines)["meaning"] == "Recipient accepted."
    assert dict(entry.lines)["expected"] == "yes"


@pytest.mark.parametrize("words", ["554 greeting", "554 (greeting)", "banner 554"])
def test_the_greeting_can_be_named_in_words(words: str) -> None:
    (entry,) = reference.explain([words])
    assert entry.title == "554 as greeting"


def test_a_code_that_is_not_listed_for_the_verb_says_which_are() -> None:
    lines = dict(reference.explain(["354", "NOOP"])[0].lines)
    assert lines["expected"] == "no; listed for it are 250 421 500 501 521"


def test_an_enhanced_code_beside_a_code_and_a_verb_is_explained_too() -> None:
    titles = [entry.title for entry in reference.explain(["550", "5.7.1", "MAIL"])]
    assert titles == ["550 to MAIL", "5.7.1"]


def test_the_class_of_an_enhanced_code_is_shown() -> None:
    assert "Temporary" in dict(reference.explain(["4.7.1"])[0].lines)["class"]
    assert "Permanent" in dict(reference.explain(["5.7.1"])[0].lines)["class"]


def test_an_unknown_enhanced_code_says_that_it_fell_back() -> None:
    lines = dict(reference.explain(["5.9.99"])[0].lines)
    assert "only its class" in lines["fallback"]
    assert lines["subject"] == "9: not defined"


def test_an_unknown_code_is_explained_by_its_digits() -> None:
    lines = dict(reference.explain(["599"])[0].lines)
    assert lines["first digit"].startswith("5:")
    assert lines["second digit"] == "9: (not defined)"


def test_a_limit_is_found_by_its_name_and_lists_what_lengthens_a_command_line() -> None:
    (entry,) = reference.explain(["command", "line"])
    assert dict(entry.lines)["value"] == "512 octets"
    assert "MAIL 26 (SIZE)" in dict(entry.lines)["longer by"]


def test_a_word_of_their_names_finds_all_timeouts() -> None:
    entries = reference.explain(["timeouts"])
    assert len(entries) == 7
    assert {entry.kind for entry in entries} == {"timeout"}


def test_a_port_is_found_by_its_number() -> None:
    assert [entry.kind for entry in reference.explain(["25"])] == ["port"]
    assert "port" in [entry.kind for entry in reference.explain(["465"])]


@pytest.mark.parametrize("word", ["PLAIN", "ESMTPS", "NOTIFY", "STARTTLS", "AUTH=LOGIN"])
def test_other_names_are_found(word: str) -> None:
    assert reference.explain([word])


@pytest.mark.parametrize("words", [[], [""], ["frobnicate"], ["9" * 5000], ["\x1b[31m"], ["1.2"]])
def test_what_nobody_knows_has_no_entry(words: list[str]) -> None:
    assert reference.explain(words) == []


def test_every_name_in_the_table_can_be_explained_and_rendered() -> None:
    names = [
        *table.commands(),
        *map(str, table.replies()),
        *table.enhanced_codes(),
        *table.extensions(),
        *table.parameters(),
        *table.mechanisms(),
        *table.with_keywords(),
        *table.limits(),
    ]
    for name in names:
        entries = reference.explain([name])
        assert entries, name
        for entry in entries:
            assert all(label and text for label, text in entry.lines), name
            assert any(label == "source" for label, _ in entry.lines), name


def test_rows_that_nobody_checked_say_so_and_only_they() -> None:
    assert CAUTION in text_of("XADR")
    assert CAUTION not in text_of("550")
    for name, row in table.extensions().items():
        (entry,) = [found for found in reference.explain([name]) if found.kind == "EHLO keyword"]
        assert entry.checked == row.checked
        assert (("caution", CAUTION) in entry.lines) != row.checked


def test_a_code_in_its_context_is_only_as_well_checked_as_both_of_its_rows() -> None:
    assert reference.explain(["250", "LHLO"])[0].checked == table.commands()["LHLO"].checked
    assert reference.explain(["250", "RCPT"])[0].checked


@pytest.mark.parametrize("width", [40, 80, 120])
def test_rendered_text_stays_within_its_width(width: int) -> None:
    for words in (["RCPT"], ["550"], ["command line"], ["SIZE"]):
        body = [line for line in text_of_width(words, width) if line.startswith(" ")]
        assert max(map(len, body)) <= width


def text_of_width(words: list[str], width: int) -> list[str]:
    return reference.render(reference.explain(words), width).splitlines()


def test_rendered_labels_and_texts_are_aligned() -> None:
    assert text_of("ESMTPS").splitlines() == [
        "ESMTPS  (with, in a Received header)",
        "  meaning  Received by ESMTP (EHLO was used), under TLS.",
        "  source   RFC 3848",
    ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [("RCTP", "RCPT"), ("strattls", "STARTTLS"), ("8BITMINE", "8BITMIME"), ("subjet", "Subject")],
)
def test_a_misspelt_word_has_the_right_one_among_the_nearest(word: str, expected: str) -> None:
    assert expected in reference.nearest(word)


def test_there_are_never_more_nearest_words_than_asked_for() -> None:
    assert len(reference.nearest("SCRAM-SHA", 2)) == 2
    assert reference.nearest("qqqqqq") == []
