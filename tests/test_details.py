"""One session in full is what the whole capture shows of it: session, messages, octets, packets."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.conversation import connection
from support.detailed import LETTER, SENDING, WAYS, Pair, numbered, pairs, said, same
from support.indexes import QUIET, fill, write_capture
from support.packets import ACK, pcap

from smtpscope import details as module
from smtpscope.capture import trail
from smtpscope.capture.parts import Part
from smtpscope.capture.pcap import open_capture
from smtpscope.capture.trail import unpack
from smtpscope.details import CancelledError, Details, Place
from smtpscope.errors import SmtpscopeError
from smtpscope.index.store import Store
from smtpscope.index.views import SessionRow
from smtpscope.places import bundled_captures
from smtpscope.reading import read_sessions
from smtpscope.review import Review
from smtpscope.session import Session, message_of
from smtpscope.stream import Direction, Span

CAPTURES = bundled_captures()

CLIENT, SERVER = Direction.CLIENT, Direction.SERVER


def listed(review: Review) -> list[SessionRow]:
    view = review.index.view()
    view.fill()
    rows: list[SessionRow] = view.rows(0, len(view))
    view.close()
    return rows


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Review]:
    """Every bundled capture, in one review."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        fill(Store(), CAPTURES)
        review = Review([str(path) for path in CAPTURES])
        assert not review.reading
        yield review
        review.close()


@pytest.fixture(params=range(len(CAPTURES)), ids=lambda number: CAPTURES[number].name)
def sessions(bundled: Review, request: pytest.FixtureRequest) -> list[Pair]:
    """The sessions of one bundled capture."""
    rows = [row for row in listed(bundled) if row.capture == request.param]
    whole = read_sessions(CAPTURES[request.param])
    return [Pair(*each) for each in zip(whole, map(bundled.details, rows), strict=True)]


def spans(session: Session) -> Iterator[Span]:
    for exchange in session.exchanges:
        if exchange.command is not None:
            yield exchange.command.span
        yield from [reply.span for reply in exchange.replies]


def octets(details: Details, span: Span) -> bytes:
    """The octets of a span, whose pieces must follow each other."""
    found, at = b"", span.start
    for piece in details.octets(span):
        assert piece.offset == at
        assert piece.packet in details.packets
        at += len(piece.octets)
        found += piece.octets
    return found


# -- the bundled captures -------------------------------------------------------------------------


def test_a_session_is_what_the_whole_capture_shows(sessions: list[Pair]) -> None:
    same(sessions)


def test_the_octets_of_a_message_are_those_that_the_session_counted(
    sessions: list[Pair],
) -> None:
    for whole, details in sessions:
        for ordinal, transaction in enumerate(whole.transactions):
            message = message_of(transaction)
            if message is None:
                with pytest.raises(SmtpscopeError, match=f"transaction {ordinal + 1} has no mess"):
                    details.message(ordinal)
                continue
            with details.message(ordinal) as file:
                found = file.read()
            assert hashlib.sha256(found).hexdigest() == message.sha256
            assert len(found) == message.size
        with pytest.raises(SmtpscopeError, match="has no message"):
            details.message(len(whole.transactions))


def test_the_octets_of_what_was_said_are_there(sessions: list[Pair]) -> None:
    for whole, details in sessions:
        for exchange in whole.exchanges:
            command = exchange.command
            if command is not None:
                found = octets(details, command.span)
                assert len(found) == command.span.end - command.span.start
                if command.verb.isalpha() and exchange.content is None:
                    assert found.upper().startswith(command.verb.encode())
                    assert command.argument in found
            for reply in exchange.replies:
                found = octets(details, reply.span)
                assert found.startswith(f"{reply.code or ''}".encode())
                assert all(line in found for line in reply.lines)


def test_packets_are_those_of_the_capture(sessions: list[Pair]) -> None:
    if not sessions:
        return
    frames = {}
    with open_capture(
        CAPTURES[[path.name for path in CAPTURES].index(sessions[0].whole.capture)]
    ) as capture:
        for batch in capture:
            for row in range(len(batch)):
                at = int(batch.offset[row])
                frame = batch.buffer[at : at + int(batch.captured[row])]
                frames[batch.first + row] = (
                    frame,
                    int(batch.time[row]),
                    int(batch.original[row]),
                    batch.interfaces[int(batch.interface[row])].linktype,
                )
    for whole, details in sessions:
        assert details.packets == sorted(details.packets)
        assert frames[details.packets[0]][1] == whole.start
        for number in details.packets:
            packet = details.packet(number)
            assert packet.number == number
            assert (packet.frame, packet.time, packet.original, packet.linktype) == frames[number]
        others = {0, *frames, len(frames) + 1} - {*details.packets}
        for number in others:
            with pytest.raises(SmtpscopeError, match=f"packet {number} is not of this session"):
                details.packet(number)


def test_every_layer_of_a_packet_is_named(bundled: Review) -> None:
    details = bundled.details(listed(bundled)[0])
    layers = details.layers(details.packet(details.packets[0]))
    heads = [field.name for field in layers if field.value is None]
    assert "TCP" in heads
    assert "IP" in heads


# -- octets and messages --------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["whole", "retransmitted", "out of order"])
def test_octets_are_those_of_the_stream(way: str, tmp_path: Path) -> None:
    packets = WAYS[way](list(connection(SENDING)))
    ((whole, details),) = pairs(numbered(tmp_path / "a.pcap", packets))
    for side, direction in (("C", CLIENT), ("S", SERVER)):
        stream = said(side)
        assert octets(details, Span(direction, 0, len(stream) + 99)) == stream
        for start, end in ((0, 1), (3, 3), (5, 1_500), (len(stream) - 1, len(stream))):
            assert octets(details, Span(direction, start, end)) == stream[start:end]
        assert details.octets(Span(direction, len(stream), len(stream) + 1)) == []
    for span in spans(whole):
        stream = said("CS"[span.direction])
        assert octets(details, span) == stream[span.start : span.end]


def test_octets_name_the_packets_that_brought_them(tmp_path: Path) -> None:
    ((_, details),) = pairs(write_capture(tmp_path / "a.pcap", [SENDING]))
    for piece in details.octets(Span(CLIENT, 0, 10_000)):
        packet = details.packet(piece.packet)
        assert packet.frame.endswith(piece.octets)
        assert packet.time == piece.time


def test_no_more_octets_are_given_than_were_asked_for(tmp_path: Path) -> None:
    ((_, details),) = pairs(write_capture(tmp_path / "a.pcap", [SENDING]))
    pieces = details.octets(Span(CLIENT, 100, 3_000), 1_234)
    assert b"".join(piece.octets for piece in pieces) == said("C")[100:1_334]


def test_what_is_missing_leaves_a_hole_between_the_pieces(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(connection(SENDING, lost=[10])))
    ((_, details),) = pairs(path)
    stream, pieces = said("C"), details.octets(Span(CLIENT, 0, 10_000))
    assert all(stream[each.offset :].startswith(each.octets) for each in pieces)
    assert sum(len(each.octets) for each in pieces) == len(stream) - 1_000


@pytest.mark.parametrize("held", [10, 1 << 20])
def test_a_message_has_lost_its_dots_and_nothing_else(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_MEMORY", held)
    ((_, details),) = pairs(write_capture(tmp_path / "a.pcap", [SENDING]))
    for ordinal, octets in enumerate((LETTER, b"", b"x\r\n")):
        with details.message(ordinal) as file:
            assert file.tell() == 0
            assert file.read() == octets


def test_the_files_of_the_other_messages_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[io.BytesIO] = []

    def file(size: int) -> io.BytesIO:
        made.append(io.BytesIO())
        return made[-1]

    monkeypatch.setattr(module, "SpooledTemporaryFile", file)
    ((_, details),) = pairs(write_capture(tmp_path / "a.pcap", [SENDING]))
    details.message(1)
    assert [each.closed for each in made] == [True, False, True]
    made.clear()
    with pytest.raises(SmtpscopeError):
        details.message(3)
    assert [each.closed for each in made] == [True, True, True]


# -- given up, and damaged ------------------------------------------------------------------------


def test_details_that_nobody_waits_for_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "BLOCK", 1_000)
    capture = write_capture(tmp_path / "a.pcap", [SENDING])
    session = next(read_sessions(capture, trails=True))
    place = Place([Part(0, str(capture))], "a.pcap", 1, 25, session.packets, "")
    asked = iter([False, False, True])
    with pytest.raises(CancelledError):
        Details(place, cancelled=lambda: next(asked)).session()
    given_up = Details(place, cancelled=lambda: True)
    with pytest.raises(CancelledError):
        given_up.message(0)
    with pytest.raises(CancelledError):
        given_up.octets(Span(CLIENT, 0, 10))


def test_a_damaged_list_of_packets_says_to_open_the_capture_again(tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "a.pcap", [QUIET])
    ((whole, _),) = pairs(capture)
    for packets in (b"garbage", whole.packets[:-1], whole.packets[1:]):
        with pytest.raises(SmtpscopeError, match="open the capture again"):
            Details(Place([Part(0, str(capture))], "a.pcap", 1, 25, packets, ""))


@pytest.mark.parametrize("packets", ["none", "all"])
def test_a_capture_with_something_else_in_its_place_is_told(packets: str, tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "a.pcap", [QUIET])
    ((whole, _),) = pairs(capture)
    size = int(unpack(whole.packets)[2].sum()) + 10_000
    capture.write_bytes(bytes([ACK]) * size)
    listed = whole.packets if packets == "all" else b""
    with pytest.raises(SmtpscopeError, match="no longer has this session; open it again"):
        Details(Place([Part(0, str(capture))], "a.pcap", 1, 25, listed, "")).session()
