"""Replies of one direction: single, multi-line, malformed, cut."""

from __future__ import annotations

from smtpscope.smtp.framing import MAX_LINE
from smtpscope.smtp.replies import MAX_LINES, ReplyReader
from smtpscope.smtp.values import EnhancedCode, Reply
from smtpscope.stream import Data, Direction, Gap, Mark, Span

SERVER = Direction.SERVER


def read(*turns: bytes | int) -> list[Reply | Gap]:
    """What is read of these pieces; a number is a gap of so many octets."""
    reader, offset, found = ReplyReader(SERVER), 0, []
    for packet, turn in enumerate(turns, 1):
        if isinstance(turn, int):
            reader.feed(Gap(SERVER, offset, turn, packet, packet, "lost"))
            offset += turn
        else:
            reader.feed(Data(SERVER, offset, turn, (Mark(offset, packet, packet),)))
            offset += len(turn)
        while (each := reader.next()) is not None:
            found.append(each)
    last = reader.finish()
    return [*found, last] if last is not None else found


def replies(*turns: bytes | int) -> list[tuple[int | None, tuple[bytes, ...]]]:
    return [(each.code, each.lines) for each in read(*turns) if isinstance(each, Reply)]


def test_a_single_line() -> None:
    (reply,) = read(b"250 2.1.0 Ok\r\n")
    assert reply == Reply(250, (b"2.1.0 Ok",), EnhancedCode(2, 1, 0), reply.span, time=1, packet=1)
    assert reply.span == (SERVER, 0, 14)


def test_several_lines_are_one_reply_with_the_time_of_the_last() -> None:
    (reply,) = read(b"250-mx\r\n250-SIZE\r\n", b"250 HELP\r\n")
    assert isinstance(reply, Reply)
    assert (reply.code, reply.lines, reply.packet) == (250, (b"mx", b"SIZE", b"HELP"), 2)


def test_a_code_alone_ends_a_reply() -> None:
    assert replies(b"250\r\n") == [(250, (b"",))]


def test_lines_without_a_code_are_one_reply_without_code() -> None:
    assert replies(b"HTTP/1.1 400\r\nServer: x\r\n220 mx\r\n") == [
        (None, (b"HTTP/1.1 400", b"Server: x")),
        (220, (b"mx",)),
    ]


def test_a_line_without_a_code_within_a_reply_stays_in_it_and_is_told() -> None:
    (reply,) = read(b"250-mx\r\nwelcome\r\n250 HELP\r\n")
    assert isinstance(reply, Reply)
    assert reply.lines == (b"mx", b"welcome", b"HELP")
    assert [defect.rule for defect in reply.defects] == ["reply-syntax"]


def test_different_codes_in_one_reply_are_told() -> None:
    (reply,) = read(b"250-mx\r\n550 no\r\n")
    assert isinstance(reply, Reply)
    assert reply.code == 250
    assert [defect.rule for defect in reply.defects] == ["reply-codes-differ"]


def test_a_gap_within_a_reply_does_not_make_two_of_it() -> None:
    found = replies(b"250-mx\r\n250-SI", 8, b"ELP\r\n250 DSN\r\n", b"221 bye\r\n")
    assert found == [(250, (b"mx", b"SI")), (221, (b"bye",))]


def test_the_end_of_a_line_behind_a_gap_is_no_reply() -> None:
    assert replies(10, b"ok then\r\n250 ok\r\n") == [(250, (b"ok",))]


def test_what_the_end_cuts_off_is_told() -> None:
    (reply,) = read(b"250-mx\r\n250 HE")
    assert isinstance(reply, Reply)
    assert reply.lines == (b"mx", b"HE")
    assert [defect.rule for defect in reply.defects] == ["reply-unfinished"]


def test_a_reply_without_end_is_bounded() -> None:
    found = replies(b"250-x\r\n" * (MAX_LINES + 5))
    assert len(found[0][1]) == MAX_LINES


def test_a_line_too_long_to_keep_is_told_the_same_in_any_chunking() -> None:
    line = b"2" * (MAX_LINE + 100)
    for size in (len(line), 7_777):
        reader = ReplyReader(Direction.SERVER)
        for at in range(0, len(line), size):
            piece = line[at : at + size]
            reader.feed(Data(Direction.SERVER, at, piece, (Mark(at, 1, 1),)))
            assert reader.next() is None
        end = len(line)
        reader.feed(Data(Direction.SERVER, end, b"\r\n250 ok\r\n", (Mark(end, 2, 2),)))
        reply = reader.next()
        assert reply is not None
        assert [(d.rule, d.span) for d in reply.defects] == [
            ("reply-too-long", Span(Direction.SERVER, 0, MAX_LINE))
        ]
