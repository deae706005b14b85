"""Widths in cells: whatever is painted, wrapped or cut is as wide as it is said to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from support.hostile import harm

from smtpscope.display import text
from smtpscope.tui.bars import shortened
from smtpscope.tui.paint import steady
from smtpscope.tui.words import wrap

WORDS = st.text(
    st.sampled_from("ab  日本❤1👍🏽👩🇩éก▶◀©-\ufe0f\u0301\u20e3\u0e49\u05b0\u1161\u200d\u202e"),
    max_size=40,
).map(text)


@given(WORDS, st.integers(4, 20))
def test_wrapped_lines_fit_and_leave_nothing_out(words: str, cells: int) -> None:
    lines = wrap(words, cells)
    assert all(cell_len(line) <= cells for line in lines)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("", []),
        ("one two three", ["one two", "three"]),
        ("日本日本日本", ["日本日本", "日本"]),
        ("ä  b cccccccccc", ["ä  b", "cccccccc", "cc"]),
        ("  é", ["  é"]),
    ],
)
def test_words_are_wrapped_at_eight_cells(words: str, lines: list[str]) -> None:
    assert wrap(words, 8) == lines


@given(WORDS)
def test_steady_words_take_as_many_cells_however_they_are_cut(words: str) -> None:
    shown = steady(words)
    assert cell_len(shown) == cell_len(words) == sum(map(cell_len, shown))
    assert not harm(shown)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("❤\ufe0fx", "❤ x"),
        ("1\ufe0f\u20e3", "1\u20e3 "),
        ("⌚\ufe0f", "⌚"),
        ("👍🏽", "👍"),
        ("Grüße", "Grüße"),
    ],
)
def test_symbols_stay_symbols(words: str, shown: str) -> None:
    assert steady(words) == shown


@given(WORDS, st.integers(0, 20))
def test_what_is_cut_fits(words: str, cells: int) -> None:
    assert cell_len(shortened(words, cells)) <= cells
