"""Octets as rows, for narrow and wide screens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from smtpscope.tui.hexdump import dump, packet_rule
from smtpscope.tui.pieces import STYLES, Line


def shown(line: Line) -> str:
    return "".join(piece.text for piece in line)


def test_a_row_has_offset_hexadecimal_and_characters() -> None:
    (line,) = dump(b"RCPT TO:<a@b>\r\n", 52, 16)
    assert shown(line) == (
        "      34  52 43 50 54 20 54 4f 3a  3c 61 40 62 3e 0d 0a     RCPT TO:<a@b>␍␊"
    )


def test_eight_octets_a_row_fit_a_narrow_screen() -> None:
    lines = dump(b"MAIL FROM:<>", 0, 8)
    assert [shown(line) for line in lines] == [
        "       0  4d 41 49 4c  20 46 52 4f  MAIL FRO",
        "       8  4d 3a 3c 3e               M:<>",
    ]


def test_line_endings_are_told_from_other_octets_that_are_no_characters() -> None:
    (line,) = dump(b"a\r\n\x00\xff\x7f\x1b\xc2", 0, 8)
    assert [(piece.text, piece.style) for piece in line[2:]] == [
        ("a", "message"),
        ("␍␊", "warning"),
        ("·····", "dim"),
    ]


def test_an_octet_of_latin_1_is_no_character() -> None:
    # 0xb7 is a middle dot there.
    (line,) = dump(b"\xb7\xe9", 0, 8)
    assert line[-1] == ("··", "dim")


def test_no_octets_are_no_rows() -> None:
    assert dump(b"", 7, 16) == []


def test_a_rule_names_the_packet_and_its_time() -> None:
    assert shown(packet_rule(17, 92_000_000)) == "── packet 17 · +0.092000 s "
    assert shown(packet_rule(1_234, -5_000, ["sent again"])) == (
        "── packet 1,234 · -0.000005 s · sent again "
    )


@given(st.binary(max_size=200), st.integers(0, 1 << 33), st.sampled_from([8, 16]))
def test_every_octet_is_shown_in_place_and_safe(octets: bytes, offset: int, width: int) -> None:
    lines = dump(octets, offset, width)
    assert len(lines) == -(-len(octets) // width)
    for number, line in enumerate(lines):
        row = octets[number * width :][:width]
        assert int(line[0].text, 16) == offset + number * width
        assert bytes.fromhex(line[1].text) == row
        assert cell_len(line[1].text) == 3 * width + 2
        characters = shown(line[2:])
        assert len(characters) == cell_len(characters) == len(row)
        assert shown(line).isprintable()
        assert {piece.style for piece in line} <= {"", *STYLES}
