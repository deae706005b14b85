from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from smtpscope.message import read_message
from smtpscope.message.octets import MAX_LINE, OctetCounter, OctetCounts

PIECES = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b"a", b"\xc3\xa9", b"x" * 600, b"y" * 998]),
    max_size=24,
)


def counted(*pieces: bytes) -> OctetCounts:
    counter = OctetCounter()
    for piece in pieces:
        counter.feed(piece)
    return counter.counts


def first(pattern: bytes, content: bytes) -> int:
    match = re.search(pattern, content)
    return match.start() if match else -1


def expected(content: bytes) -> OctetCounts:
    """The same by looking at everything, slowly."""
    end = re.search(rb"\A\r?\n|\n\r?\n", content)
    behind = end.end() if end else len(content)
    in_body = first(rb"[\x80-\xff]", content[behind:])
    lines = re.finditer(rb"([^\n]*?)\r?\n", content)
    long_lines = [match for match in lines if len(match[1]) > MAX_LINE]
    return OctetCounts(
        bare_lf=len(re.findall(rb"(?<!\r)\n", content)),
        first_bare_lf=first(rb"(?<!\r)\n", content),
        # A CR at the very end may yet get its LF.
        bare_cr=len(re.findall(rb"\r(?!\n|\Z)", content)),
        first_bare_cr=first(rb"\r(?!\n|\Z)", content),
        nul=content.count(b"\0"),
        first_nul=content.find(b"\0"),
        long_lines=len(long_lines),
        first_long_line=long_lines[0].start() if long_lines else -1,
        longest=max((len(match[1]) for match in long_lines), default=0),
        eight_bit_header=first(rb"[\x80-\xff]", content[:behind]),
        eight_bit_body=in_body if in_body < 0 else behind + in_body,
    )


LARGE = b"A line of text that is about as long as lines are.\r\n" * 200


@given(PIECES, PIECES)
def test_large_regular_pieces_count_like_others(before: list[bytes], behind: list[bytes]) -> None:
    start, end = b"".join(before), b"".join(behind)
    content = start + LARGE + end
    wanted = expected(content)
    assert counted(content) == wanted
    assert counted(start, LARGE, end) == wanted
    assert counted(start, LARGE + end) == wanted
    assert counted(start + LARGE, LARGE, end) == expected(start + LARGE + LARGE + end)


@given(
    st.integers(1, MAX_LINE + 3),
    st.dictionaries(
        st.integers(0, 9_999), st.sampled_from([b"\r", b"\n", b"\0", b"a"]), max_size=4
    ),
    st.integers(0, 9_999),
)
def test_a_column_of_equal_lines_hides_nothing(
    width: int, odd: dict[int, bytes], start: int
) -> None:
    lines = bytearray((b"x" * width + b"\r\n") * (20_000 // width))
    for at, octet in odd.items():
        lines[at : at + 1] = octet
    content = bytes(lines)
    assert counted(content) == expected(content)
    assert counted(content[:start], content[start:]) == expected(content)


@given(PIECES)
def test_the_counts_are_the_same_in_any_pieces(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    wanted = expected(content)
    assert counted(content) == wanted
    assert counted(*pieces) == wanted
    assert counted(*(content[i : i + 1] for i in range(len(content)))) == wanted


def test_a_line_of_998_octets_is_short_and_one_of_999_is_long() -> None:
    assert counted(b"a" * 998 + b"\r\n").long_lines == 0
    counts = counted(b"\r\n" + b"a" * 999 + b"\r\n")
    assert (counts.long_lines, counts.longest, counts.first_long_line) == (1, 999, 2)


def test_a_gap_joins_no_line_ends_and_hides_where_the_header_ends() -> None:
    counter = OctetCounter()
    counter.feed(b"Subject: x\r")
    counter.gap()
    counter.feed(b"\n\xe9\r\n\r\n\xe9\r\n")
    assert (counter.counts.bare_cr, counter.counts.bare_lf) == (0, 0)
    assert (counter.counts.eight_bit_header, counter.counts.eight_bit_body) == (-1, -1)


def test_lines_are_measured_anew_behind_a_gap() -> None:
    counter = OctetCounter()
    counter.feed(b"a" * 700)
    counter.gap()
    counter.feed(b"a" * 700 + b"\r\n")
    assert counter.counts.long_lines == 0


def test_a_message_carries_its_counts() -> None:
    octets = read_message(b"Subject: \xe9\r\n\r\nbare\nline\r\n").octets
    assert (octets.bare_lf, octets.first_bare_lf, octets.eight_bit_header) == (1, 18, 9)
