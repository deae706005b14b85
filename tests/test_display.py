"""What strangers wrote must be seen, and must do nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.display import MAX_FILENAME, json_text, masked, safe_filename, text

# Any code point at all, lone surrogates included, and often one of those that do harm.
HARMFUL = "\x00\t\r\n\x1b\x7f\x85\x9b\u034f\u061c\u200b\u200e\u202e\u2066\u2800\ufe0f\ufeff\udc80"
ANY_TEXT = st.text(st.characters(exclude_categories=()) | st.sampled_from(HARMFUL + "a. \u0301"))
ANY_BYTES = st.binary() | ANY_TEXT.map(lambda s: s.encode("utf-8", "surrogatepass"))
DANGEROUS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0e\ufeff\uffa0\ud800-\udfff\U000e0000-\U000e01ef]"
)


@given(ANY_TEXT | ANY_BYTES, st.none() | st.integers(0, 20))
def test_shown_text_is_printable_and_hides_nothing(data, limit):
    shown = text(data, limit)
    assert shown.isprintable()
    assert not DANGEROUS.search(shown)
    shown.encode("utf-8")


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_printable_ascii_stays_as_it_is(line):
    assert text(line) == line
    assert text(line.encode()) == line
    assert json_text(line.encode()) == (line, True)


@pytest.mark.parametrize(
    "word",
    [
        "Grüße",
        "日本語",
        "Привет",
        "שלום",
        "❤\ufe0f",
        "1\ufe0f\u20e3",
        "👍🏽",
        "क्षि",
        "e\u0301",
        "�",
    ],
)
def test_printable_utf_8_stays_as_it_is(word):
    assert text(word) == text(word.encode()) == word


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"\x1b]52;c;eA==\x07", r"\x1b]52;c;eA==\x07"),
        (b"a\tb\r\n", r"a\tb\r\n"),
        (b"\x7f\x00", r"\x7f\x00"),
        (b"caf\xe9", r"caf\xe9"),
        ("caf\udce9", r"caf\xe9"),
        (b"\xc2\x9b31m", r"\u{9b}31m"),
        (b"\xed\xb2\x80", r"\xed\xb2\x80"),
        (b"\xc0\xaf", r"\xc0\xaf"),
        ("\ud800", r"\u{d800}"),
        ("gp\u202efdp.exe", r"gp\u{202e}fdp.exe"),
        ("pay\u200bpal\ufeff", r"pay\u{200b}pal\u{feff}"),
        ("a\xa0b\u2028c", r"a\u{a0}b\u{2028}c"),
        ("x\U000e0041\U000e0101", r"x\u{e0041}\u{e0101}"),
        ("\u3164\u2800", r"\u{3164}\u{2800}"),
        ("a \ufe0f", r"a \u{fe0f}"),
        ("❤\ufe0f\ufe0f", "❤\ufe0f\\u{fe0f}"),
        ("\u0301a", r"\u{301}a"),
        ("e" + 6 * "\u0301", "e" + 4 * "\u0301" + 2 * r"\u{301}"),
        ("ก" + 6 * "\u0e49", "ก" + 4 * "\u0e49" + 2 * r"\u{e49}"),
        ("\u0e49a", r"\u{e49}a"),
        ("ad\ufe0fmin", r"ad\u{fe0f}min"),
        ("x👍🏽x🏽", "x👍🏽x\\u{1f3fd}"),
        ("\ue000\uffff", r"\u{e000}\u{ffff}"),
        (rb"C:\new", r"C:\new"),
    ],
)
def test_what_is_not_seen_gets_a_visible_form(data, shown):
    assert text(data) == shown


@pytest.mark.parametrize(
    ("data", "limit", "shown"),
    [
        (b"abcdef", 6, "abcdef"),
        (b"abcdef", 4, "abcd… (+2)"),
        ("abcdef", 0, "… (+6)"),
        ("ääää", 3, "äää… (+1)"),
        ("ääää".encode(), 3, "äää… (+2)"),
        ("ääää".encode(), 4, "ääää"),
        (b"a\x1bb", 4, "a… (+2)"),
        (b"a\x1b", 5, r"a\x1b"),
        ("😀😀".encode(), 1, "😀… (+4)"),
        (b"\xff" * 10, 9, r"\xff\xff… (+8)"),
    ],
)
def test_a_limit_cuts_between_forms_and_tells_what_is_left_out(data, limit, shown):
    assert text(data, limit) == shown


@given(ANY_TEXT | ANY_BYTES, st.integers(0, 20))
def test_a_limit_shows_the_beginning_of_what_would_be_shown(data, limit):
    whole, shown = text(data), text(data, limit)
    head, ellipsis, left_out = shown.rpartition("… (+")
    if len(whole) <= limit or not ellipsis:
        assert shown == whole
    else:
        assert len(head) <= limit
        assert whole.startswith(head)
        assert 0 < int(left_out[:-1]) <= len(data)


@given(ANY_BYTES)
def test_json_text_is_exact_when_it_says_so(data):
    shown, exact = json_text(data)
    assert shown.isprintable()
    assert not DANGEROUS.search(shown)
    assert exact == (shown.encode() == data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"caf\xe9", (r"caf\xe9", False)),
        ("a\u202eb".encode(), (r"a\xe2\x80\xaeb", False)),
        (b"a\tb", (r"a\x09b", False)),
        (rb"\xff", (r"\xff", True)),
        ("Grüße".encode(), ("Grüße", True)),
    ],
)
def test_json_text_shows_other_octets_in_hexadecimal(data, expected):
    assert json_text(data) == expected


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("invoice.pdf", "invoice.pdf"),
        ("Übersicht 2024.pdf", "Übersicht 2024.pdf"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\x\y.txt", "y.txt"),
        ("a/", "part"),
        ("..", "part"),
        (". .", "part"),
        ("", "part"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("a..b. .c", "a.b.c"),
        ("trailing. ", "trailing"),
        ("con", "_con"),
        ("NUL .txt", "_NUL .txt"),
        ("com1.log", "_com1.log"),
        ("console.log", "console.log"),
        ("a:stream", "a_stream"),
        ("a\x00b\x1b[m", "a_b_[m"),
        ("gp\u202efdp.exe", "gp_fdp.exe"),
        ("\udce9.txt", "_.txt"),
        ("x" * 200 + ".tar.gz", "x" * 117 + ".gz"),
        ("ä" * 100 + ".pdf", "ä" * 58 + ".pdf"),
        ("a." + "b" * 200, "a." + "b" * 118),
    ],
)
def test_a_strangers_file_name_stays_in_our_folder(name, safe):
    assert safe_filename(name) == safe


@given(ANY_TEXT | st.text("con. -~/\\:aä\u0301", max_size=300))
def test_every_file_name_is_safe_and_stays_so(name):
    safe = safe_filename(name)
    assert safe
    assert 0 < len(safe.encode()) <= MAX_FILENAME
    assert not re.search(r'[/\\<>:"|?*]|\.\.', safe)
    assert safe[0] not in " .-~"
    assert safe[-1] not in " ."
    assert safe.partition(".")[0].strip().lower() not in ("con", "nul", "aux", "prn", "com1")
    assert safe.isprintable()
    assert not DANGEROUS.search(safe)
    assert safe_filename(safe) == safe


def test_a_nameless_part_takes_the_fallback():
    assert safe_filename("///", "attachment-2") == "attachment-2"


@given(ANY_TEXT)
def test_what_is_masked_is_as_long_and_harmless(data):
    shown = masked(data)
    assert len(shown) == len(data)
    assert shown.isprintable()
    assert not DANGEROUS.search(shown)
    assert all(a in (b, "�") for a, b in zip(shown, data, strict=True))
