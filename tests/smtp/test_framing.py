"""Octets, lines and message data: nothing is lost, and no chunking matters."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpscope.smtp.framing import MAX_LINE, MAX_ODD_ENDS, DataScanner, Octets
from smtpscope.stream import Data, Direction, Mark

CLIENT = Direction.CLIENT


def data(octets: bytes, offset: int = 0, packet: int = 1) -> Data:
    return Data(CLIENT, offset, octets, (Mark(offset, packet * 10, packet),))


def pieces(octets: bytes, sizes: Iterable[int]) -> list[bytes]:
    found = []
    for size in sizes:
        if not octets:
            break
        found.append(octets[:size])
        octets = octets[size:]
    return [*found, octets] if octets else found


# -- lines


def test_a_line_ends_in_crlf_or_in_a_bare_lf_and_keeps_every_other_octet() -> None:
    octets = Octets()
    octets.feed(data(b"one\r\ntw\ro\0\xff\nthree"))
    first, second = octets.line(), octets.line()
    assert first is not None
    assert second is not None
    assert (first.text, first.ending, first.start, first.end) == (b"one", b"\r\n", 0, 5)
    assert (second.text, second.ending, second.end) == (b"tw\ro\0\xff", b"\n", 12)
    assert octets.line() is None
    assert octets.peek(9) == b"three"


def test_a_line_over_many_segments_has_the_time_of_its_last_one() -> None:
    octets = Octets()
    octets.feed(data(b"NO", 0, 1))
    assert octets.line() is None
    octets.feed(data(b"OP\r", 2, 2))
    assert octets.line() is None
    octets.feed(data(b"\nQUIT\r\n", 5, 3))
    line = octets.line()
    assert line is not None
    assert line.text == b"NOOP"
    assert octets.mark(line.end - 1).packet == 3
    assert octets.mark(0).packet == 1
    assert octets.offset == 6


def test_a_line_without_end_is_told_at_the_bound_and_can_be_skipped() -> None:
    octets = Octets()
    octets.feed(data(b"x" * (MAX_LINE - 1)))
    assert octets.line() is None
    assert not octets.overlong
    octets.feed(data(b"yy", MAX_LINE - 1, 2))
    assert octets.line() is None
    assert octets.overlong
    assert not octets.skip_line()
    octets.feed(data(b"zz\r\nNOOP\r\n", MAX_LINE + 1, 3))
    assert octets.skip_line()
    line = octets.line()
    assert line is not None
    assert line.text == b"NOOP"


def test_the_rest_comes_back_as_the_event_it_was() -> None:
    octets = Octets()
    octets.feed(data(b"STARTTLS\r\n\x16\x03", 0, 1))
    octets.feed(data(b"\x01", 12, 2))
    octets.line()
    rest = octets.rest(CLIENT)
    assert rest == Data(CLIENT, 10, b"\x16\x03\x01", (Mark(10, 10, 1), Mark(12, 20, 2)))
    assert octets.rest(CLIENT) is None


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=50))
def test_lines_are_the_same_in_every_chunking(octets: bytes, sizes: list[int]) -> None:
    def lines(chunks: list[bytes]) -> list[object]:
        buffer, offset, found = Octets(), 0, []
        for chunk in chunks:
            buffer.feed(data(chunk, offset))
            offset += len(chunk)
            while (line := buffer.line()) is not None:
                found.append(line)
        return [*found, buffer.take(len(buffer))]

    assert lines(pieces(octets, sizes)) == lines([octets])


# -- message data


def scan(chunks: Iterable[bytes]) -> tuple[bytes, bytes, list[tuple[int, int, str]]]:
    """The message, what stands behind its end, and the odd ends (start, end, what)."""
    scanner = DataScanner(CLIENT, 0)
    content, behind, ended = b"", b"", False
    for chunk in chunks:
        if ended:
            behind += chunk
            continue
        released, used = scanner.feed(chunk)
        content += released
        if used >= 0:
            behind += chunk[used:]
            ended = True
    odd = [(defect.span.start, defect.span.end, defect.detail) for defect in scanner.defects]
    return content, behind, odd


@pytest.mark.parametrize(
    ("wire", "content", "behind"),
    [
        (b".\r\nQUIT\r\n", b"", b"QUIT\r\n"),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b"a\r\n..b\r\n...\r\n.\r\n.\r\n", b"a\r\n.b\r\n..\r\n", b".\r\n"),
        (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n", b""),
        (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\r\n", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
    ],
)
def test_data_ends_at_crlf_dot_crlf_alone_and_loses_its_stuffing(
    wire: bytes, content: bytes, behind: bytes
) -> None:
    assert scan([wire])[:2] == (content, behind)
    assert scan(bytes([octet]) for octet in wire)[:2] == (content, behind)


@pytest.mark.parametrize(
    ("ending", "name"),
    [
        (b"\n.\n", "LF.LF"),
        (b"\n.\r\n", "LF.CRLF"),
        (b"\r\n.\n", "CRLF.LF"),
        (b"\r.\r", "CR.CR"),
        (b"\r\n.\rx", "CRLF.CR"),
        (b"\r.\r\n", "CR.CRLF"),
        (b"\r\n\0.\r\n", "CRLF NUL .CRLF"),
        (b"\n.\0\n", "LF. NUL LF"),
    ],
)
def test_odd_ends_are_data_and_told_with_their_place(ending: bytes, name: str) -> None:
    wire = b"one" + ending + b"MAIL\r\n.\r\n"
    for chunks in ([wire], [bytes([octet]) for octet in wire]):
        content, _, odd = scan(chunks)
        assert content.startswith(b"one")
        assert b"MAIL" in content
        length = len(ending.rstrip(b"x"))
        assert odd == [(3, 3 + length, name)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n", b"\r\r\n", b"\r\n\0", b"\n\0"])
@pytest.mark.parametrize("dot_end", [b"\n", b"\r", b"\r\n", b"\r\r\n", b"\0\r\n"])
def test_a_command_behind_any_odd_end_is_an_attempt_to_smuggle(
    line_end: bytes, dot_end: bytes
) -> None:
    if line_end.endswith(b"\r\n") and dot_end == b"\r\n":
        return
    wire = b"one" + line_end + b"." + dot_end + b"mail from:<eve@a.test>\r\n.\r\n"
    for size in (1, 3, len(wire)):
        scanner = DataScanner(CLIENT, 0)
        for at in range(0, len(wire), size):
            scanner.feed(wire[at : at + size])
        (told,) = [each for each in scanner.defects if each.rule == "smuggling-attempt"]
        assert told.detail.endswith(" and then mail from:<eve@a.test>")
        assert wire[told.span.start : told.span.end].endswith(b"<eve@a.test>")


def test_a_login_that_is_smuggled_shows_no_secret() -> None:
    scanner = DataScanner(CLIENT, 0)
    scanner.feed(b"one\n.\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n.\r\n")
    assert [each.detail for each in scanner.defects] == ["LF.LF and then AUTH"]


def test_what_follows_an_odd_end_and_is_no_command_is_no_attempt() -> None:
    for following in (b"QUIT\r\n", b"Mail from home\r\n", b"data shows\r\n"):
        scanner = DataScanner(CLIENT, 0)
        scanner.feed(b"one\n.\n" + following + b".\r\n")
        assert [each.rule for each in scanner.defects] == ["odd-end-of-data"]


def test_odd_ends_are_bounded() -> None:
    assert len(scan([b"\n.\n" * 1000 + b"\r\n.\r\n"])[2]) == MAX_ODD_ENDS


_WIRE = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b".", b"\0", b"a", b"\r\n", b"\r\n.", b"\n.", b"DATA\n", b"a." * 70]
    )
).map(b"".join)


@given(_WIRE, st.lists(st.integers(1, 5), max_size=60))
@example(b"\r\n.\r\r\n.\r\n", [1])
def test_data_is_the_same_in_every_chunking(wire: bytes, sizes: list[int]) -> None:
    assert scan(pieces(wire, sizes)) == scan([wire])


@given(_WIRE)
def test_data_and_odd_ends_are_those_that_a_slow_search_finds(wire: bytes) -> None:
    content, _, odd = scan([wire + b"\r\n.\r\n"])
    data = b"\r\n" + wire + b"\r\n.\r\n"
    data = data[: data.index(b"\r\n.\r\n") + 5]
    assert content == data[:-3].replace(b"\r\n.", b"\r\n")[2:]
    pattern = re.compile(rb"(?:\r\n|\n|\r)\0?\.\0?(?:\r\n|\n|\r)")
    position, noted, starts = 0, 0, []
    while match := pattern.search(data, position):
        position = match.start() + 2
        if match.group() != b"\r\n.\r\n" and match.end() > noted:
            noted = match.end()
            starts.append(max(match.start() - 2, 0))
    assert [start for start, _, _ in odd] == starts[:MAX_ODD_ENDS]


@given(st.binary(max_size=300))
def test_what_was_stuffed_comes_out_as_it_was(message: bytes) -> None:
    lines = message.replace(b"\r\n", b"\n").split(b"\n")
    wanted = b"".join(line + b"\r\n" for line in lines)
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
    content, behind, _ = scan([stuffed + b".\r\n" + b"QUIT"])
    assert (content, behind) == (wanted, b"QUIT")
