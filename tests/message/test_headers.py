from __future__ import annotations

import pytest

from smtpscope.message.headers import (
    MAX_HEADERS,
    MAX_SECTION,
    MAX_VALUE,
    Header,
    parse_parameters,
    read_headers,
)

FIELDS = [Header(b"A", b" 1"), Header(b"B", b" 2")]


@pytest.mark.parametrize(
    "content",
    [
        b"A: 1\r\nB: 2\r\n\r\nbody",
        b"A: 1\nB: 2\n\nbody",
        b"A: 1\rB: 2\r\rbody",
        b"A: 1\r\nB: 2\n\r\nbody",
        b"A: 1\nB: 2\r\rbody",
        b"A: 1\r\nB: 2\r\nbody",
        b"From a@b.test Thu Apr 10\r\nA: 1\r\nB: 2\r\n\r\nbody",
    ],
)
def test_a_header_section_ends_where_the_body_begins(content: bytes) -> None:
    section = read_headers(content)
    assert section.headers == FIELDS
    assert content[section.body :] == b"body"
    assert not section.cut


def test_a_section_may_end_without_a_line_end() -> None:
    assert read_headers(b"A: 1\r\nB: 2").headers == FIELDS


@pytest.mark.parametrize("content", [b"", b"\r\n", b"\n", b"\r"])
def test_an_empty_section_has_no_fields(content: bytes) -> None:
    section = read_headers(content)
    assert section.headers == []
    assert section.body == len(content)


@pytest.mark.parametrize(
    "content",
    [b"just text\r\n", b" indented: text\r\n", b"From here on\r\ntext", b"http//x y: z", b"\0: 1"],
)
def test_content_without_a_header_is_all_body(content: bytes) -> None:
    assert read_headers(content) == ([], 0, False)


@pytest.mark.parametrize("fold", [b"\r\n ", b"\n\t", b"\r ", b"\r\n\t \r\n "])
def test_a_fold_belongs_to_the_value_as_it_is(fold: bytes) -> None:
    section = read_headers(b"A: x" + fold + b"y\r\nB: 2\r\n\r\n")
    assert section.headers == [Header(b"A", b" x" + fold + b"y"), Header(b"B", b" 2")]


def test_more_folds_than_the_short_way_takes_are_read_all_the_same() -> None:
    value = b" x" + b"\r\n y" * 200
    assert read_headers(b"A:" + value + b"\r\nB: 2\r\n\r\n").headers[0] == Header(b"A", value)


def test_white_space_before_the_colon_is_no_part_of_the_name() -> None:
    assert read_headers(b"Subject \t: x\r\n\r\n").headers == [Header(b"Subject", b" x")]


def test_nul_octets_stay_in_the_value() -> None:
    assert read_headers(b"A: \0x\0\r\n\r\n").headers == [Header(b"A", b" \0x\0")]


def test_a_delimiter_line_is_no_field_even_with_a_colon() -> None:
    section = read_headers(b"A: 1\r\n--a:b\r\n")
    assert section.headers == [Header(b"A", b" 1")]
    assert section.body == 6


def test_a_value_beyond_the_bound_is_cut_and_the_fields_after_it_are_read() -> None:
    section = read_headers(b"A:" + b"x" * (MAX_VALUE + 1) + b"\r\nB: 2\r\n\r\nbody")
    assert section.headers == [Header(b"A", b"x" * MAX_VALUE), Header(b"B", b" 2")]
    assert section.cut


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n", b"\r"])
def test_fields_beyond_the_bound_are_dropped_and_the_body_is_found(line_end: bytes) -> None:
    content = (b"A: 1" + line_end) * (MAX_HEADERS + 5) + line_end + b"body"
    section = read_headers(content)
    assert len(section.headers) == MAX_HEADERS
    assert content[section.body :] == b"body"
    assert section.cut


def test_the_octets_of_all_fields_together_are_bounded() -> None:
    content = (b"A:" + b"x" * 60_000 + b"\r\n") * 40 + b"\r\nbody"
    section = read_headers(content)
    assert sum(len(name) + len(value) for name, value in section.headers) <= MAX_SECTION
    assert content[section.body :] == b"body"
    assert section.cut


def _texts(value: bytes) -> dict[str, str]:
    return {name: parameter.text for name, parameter in parse_parameters(value)[1].items()}


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (b" Text/Plain; charset=x", "text/plain"),
        (b" base64 (really)", "base64"),
        (b"", ""),
        (b" ; a=b", ""),
    ],
)
def test_the_first_word_is_lower_case_and_without_comment(value: bytes, word: str) -> None:
    assert parse_parameters(value)[0] == word


@pytest.mark.parametrize(
    ("value", "filename"),
    [
        (b'x; filename="a b.txt"', "a b.txt"),
        (b"x; FileName = a.txt ; size=3", "a.txt"),
        (b"x; filename=my file (1).txt; size=3", "my file (1).txt"),
        (b'x; filename="a;b=c.txt"; size=3', "a;b=c.txt"),
        (b'x; filename="say \\"hi\\".txt"', 'say "hi".txt'),
        (b'x; filename="C:\\temp\\a.txt"', "C:\\temp\\a.txt"),
        (b'x; filename="no end', "no end"),
        (b'x; filename=""', ""),
        (b"x; filename=first; filename=second", "first"),
        (b'x; filename="=?utf-8?b?w6k=?=.txt"', "é.txt"),
        (b'x; filename="\xc3\xa9.txt"', "é.txt"),
        (b"x; filename*=utf-8''%C3%A9%20x.txt", "é x.txt"),
        (b"x; filename*=utf-8'en'%C3%A9.txt; filename=e.txt", "é.txt"),
        (b"x; filename*=iso-8859-1''%E9.txt", "é.txt"),
        (b"x; filename*=nonsense''%C3%A9.txt", "é.txt"),
        (b"x; filename*=%C3%A9.txt", "é.txt"),
        (b'x;\r\n filename*0="one";\r\n filename*1="two.txt"', "onetwo.txt"),
        (b"x; filename*1=two; filename*0=one; filename*10=ten", "onetwoten"),
        (b"x; filename*0*=utf-8''%C3; filename*1*=%A9; filename*2=%41", "é%41"),
        (b"x; filename*0=a; filename*=utf-8''b", "b"),
    ],
)
def test_a_parameter_is_read_in_every_form(value: bytes, filename: str) -> None:
    assert _texts(value)["filename"] == filename


def test_a_continuation_number_too_long_to_be_one_is_passed_over() -> None:
    assert _texts(b"x; a*" + b"9" * 5000 + b"=b; c=d")["c"] == "d"


def test_a_parameter_longer_than_the_cache_takes_is_read_the_same() -> None:
    assert _texts(b"x; filename=" + b"n" * 1000) == {"filename": "n" * 1000}
