"""Two lines beside each other: what differs is in sight, however narrow the halves are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from smtpscope.compare import CHANGED, Pair
from smtpscope.stream import Direction
from smtpscope.transcript import Row
from smtpscope.tui.compare import pair_line


def row(text: str) -> Row:
    return Row(None, Direction.SERVER, "reply", text, "", 0)


def halves(left: str, right: str, width: int) -> tuple[str, str]:
    line = "".join(piece.text for piece in pair_line(Pair(row(left), row(right), CHANGED), width))
    first, second = line.split(" \u2260 ")
    return first, second


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_difference_at_the_end_is_shown(width: int) -> None:
    same = "220 mx.example.org ESMTP Exim 4.96 Mon, 23 Nov 2026 23:"
    for half, end in zip(
        halves(f"{same}14:55", f"{same}15:01", width), ("14:55", "15:01"), strict=True
    ):
        assert end in half


printable = st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=80)


@given(printable, printable, st.integers(20, 130))
def test_halves_have_their_width_and_what_is_left_out_is_marked(
    left: str, right: str, width: int
) -> None:
    line = "".join(piece.text for piece in pair_line(Pair(row(left), row(right), CHANGED), width))
    half = (width - 3) // 2
    assert cell_len(line) == 2 * half + 3
    for text, shown in ((left, line[:half]), (right, line[half + 3 :])):
        assert text in shown or "\u2026" in shown
