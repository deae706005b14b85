from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.capture.connection import Connection
from smtpscope.capture.log import DATA_LIMIT
from smtpscope.capture.tcp import (
    ACK,
    FIN,
    HISTORY,
    RST,
    SYN,
    WAITING_OCTETS,
    WAITING_PIECES,
    Row,
    distance,
)
from smtpscope.stream import Closed, Data, Defect, Direction, Endpoint, Gap, Noted, Opened, Span

CLIENT = Endpoint("192.0.2.1", 40000)
SERVER = Endpoint("192.0.2.2", 25)
PSH = 0x08
C, S = Direction.CLIENT, Direction.SERVER


class Segment(NamedTuple):
    """A segment as the tests write it; its packet number and time follow from its place."""

    sender: Direction
    seq: int
    payload: bytes = b""
    flags: int = ACK
    ack: int = 0
    missing: int = 0


class Wire:
    """Feeds segments to connections as the flow assembler does, and keeps their events."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.events: list[list[object]] = []
        self.packet = 0

    def feed(self, *segments: Segment, chunk: int = 1 << 30) -> Wire:
        for begin in range(0, len(segments), chunk):
            buffer = bytearray()
            rows: list[Row] = []
            for sender, seq, payload, flags, ack, missing in segments[begin : begin + chunk]:
                self.packet += 1
                start = len(buffer)
                buffer += payload
                row = (
                    self.packet,
                    self.packet * 1000,
                    sender is C,
                    seq & 0xFFFFFFFF,
                    ack & 0xFFFFFFFF,
                    flags,
                    start,
                    len(payload),
                    missing,
                )
                rows.append(row)
            self._rows(bytes(buffer), rows)
        return self

    def _rows(self, buffer: bytes, rows: list[Row]) -> None:
        at = 0
        while at < len(rows):
            if not self.connections or (self.connections[-1].ended and rows[at][5] & SYN):
                self.connections.append(Connection(CLIENT, SERVER, True, rows[at]))
                self.events.append([])
            connection = self.connections[-1]
            if connection.ended:
                return
            at = connection.feed(buffer, rows, at)
            if at < len(rows) and not connection.ended:
                connection.finish()
            self.events[-1] += connection.take()

    def finish(self) -> Wire:
        self.connections[-1].finish()
        self.events[-1] += self.connections[-1].take()
        return self

    def of(self, kind: type, number: int = -1) -> list:
        return [event for event in self.events[number] if isinstance(event, kind)]

    def stream(self, direction: Direction = C, number: int = -1) -> bytes:
        """One direction's octets with a zero for each octet in a gap; checks every offset."""
        octets = b""
        for event in self.events[number]:
            if isinstance(event, Data | Gap) and event.direction is direction:
                assert event.offset == len(octets)
                octets += event.data if isinstance(event, Data) else bytes(event.length)
                if isinstance(event, Data):
                    offsets = [mark.offset for mark in event.marks]
                    assert offsets[0] == event.offset
                    assert offsets == sorted(set(offsets))
                    assert offsets[-1] < event.offset + len(event.data) <= offsets[0] + DATA_LIMIT
        return octets


def handshake(isn: int = 1000, server_isn: int = 9000) -> list[Segment]:
    return [
        Segment(C, isn, flags=SYN),
        Segment(S, server_isn, flags=SYN | ACK, ack=isn + 1),
        Segment(C, isn + 1, ack=server_isn + 1),
    ]


def joined(segments: list[Segment], chunk: int = 1 << 30) -> Wire:
    return Wire().feed(*segments, chunk=chunk).finish()


def flat(wire: Wire) -> list[object]:
    """The events with neighbouring data joined, which is all that chunking may change."""
    events: list[object] = []
    for event in wire.events[-1]:
        last = events[-1] if events else None
        if isinstance(event, Data) and isinstance(last, Data) and last.direction is event.direction:
            events[-1] = last._replace(data=last.data + event.data, marks=last.marks + event.marks)
        else:
            events.append(event)
    return events


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(5, 9, 4), (9, 5, -4), (0xFFFFFFFF, 1, 2), (1, 0xFFFFFFFF, -2), (0, 1 << 31, -(1 << 31))],
)
def test_sequence_distance_wraps(a: int, b: int, expected: int) -> None:
    assert distance(a, b) == expected


def test_a_dialogue_in_order_gives_its_events_in_order() -> None:
    wire = joined(
        [
            *handshake(),
            Segment(S, 9001, b"220 mx\r\n", ack=1001),
            Segment(C, 1001, b"QUIT\r\n", ack=9009),
            Segment(S, 9009, b"221 bye\r\n", FIN | ACK, ack=1007),
            Segment(C, 1007, flags=FIN | ACK, ack=9019),
            Segment(S, 9019, ack=1008),
        ]
    )
    assert wire.events == [
        [
            Opened(1000, CLIENT, SERVER, True, 1),
            Data(S, 0, b"220 mx\r\n", ((0, 4000, 4),)),
            Data(C, 0, b"QUIT\r\n", ((0, 5000, 5),)),
            Data(S, 8, b"221 bye\r\n", ((8, 6000, 6),)),
            Closed("fin", S, 6000, 6),
            Closed("fin", C, 7000, 7),
        ]
    ]
    assert wire.connections[0].ended


def test_consecutive_segments_of_one_direction_are_one_data_with_a_mark_each() -> None:
    wire = joined(
        [*handshake(), Segment(C, 1001, b"abc"), Segment(S, 9001), Segment(C, 1004, b"d")]
    )
    assert wire.of(Data) == [Data(C, 0, b"abcd", ((0, 4000, 4), (3, 6000, 6)))]


def test_one_data_event_is_bounded() -> None:
    size = 60_000
    segments = [Segment(C, 1001 + size * i, bytes([i]) * size) for i in range(40)]
    wire = joined([*handshake(), *segments])
    assert wire.stream() == b"".join(segment.payload for segment in segments)
    assert len(wire.of(Data)) == 3


streams = st.binary(min_size=1, max_size=400)
isns = st.sampled_from([1000, 0, 0xFFFFFFFF, 0xFFFFFFFF - 50, 0x7FFFFFFF, 0xFFFFFFFE])


@st.composite
def cuts(draw: st.DrawFn, size: int, least: int = 1) -> list[tuple[int, int]]:
    """Spans that cover `size` octets, ascending, with some that overlap or repeat others."""
    points = sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=12))})
    spans = list(itertools.pairwise(points))
    extra = draw(st.lists(st.tuples(st.integers(0, size), st.integers(0, size)), max_size=6))
    return spans + [(min(span), max(span)) for span in extra if max(span) - min(span) >= least]


@given(st.data(), streams, isns, st.integers(1, 30))
def test_segments_shuffled_doubled_and_overlapping_give_the_stream(
    data: st.DataObject, octets: bytes, isn: int, chunk: int
) -> None:
    spans = data.draw(st.permutations(data.draw(cuts(len(octets)))))
    segments = [Segment(C, isn + 1 + start, octets[start:end]) for start, end in spans]
    segments.insert(
        data.draw(st.integers(0, len(segments))),
        Segment(C, isn + 1 + len(octets), flags=FIN | ACK),
    )
    wire = joined([*handshake(isn), *segments], chunk)
    assert wire.stream() == octets
    assert not wire.of(Gap)
    assert not wire.of(Noted)
    assert [event.how for event in wire.of(Closed)] == ["fin", "end"]
    assert wire.events[0][-2].direction is C


@given(st.data(), streams, isns)
def test_without_a_syn_the_stream_begins_at_the_earliest_of_the_first_segments(
    data: st.DataObject, octets: bytes, isn: int
) -> None:
    points = sorted({0, len(octets), *data.draw(st.lists(st.integers(0, len(octets)), max_size=9))})
    spans = list(itertools.pairwise(points))
    if len(spans) > 1 and data.draw(st.booleans()):
        spans[0], spans[1] = spans[1], spans[0]
    wire = joined([Segment(C, isn + start, octets[start:end], 0) for start, end in spans])
    assert wire.stream() == octets
    assert wire.events[0][0] == Opened(1000, CLIENT, SERVER, False, 1)
    assert not wire.of(Gap)


@given(st.data(), streams)
def test_without_a_syn_an_acknowledgment_tells_where_the_stream_begins(
    data: st.DataObject, octets: bytes
) -> None:
    spans = data.draw(st.permutations(data.draw(cuts(len(octets)))))
    segments = [Segment(C, 77 + start, octets[start:end], ack=5008) for start, end in spans]
    wire = joined([Segment(S, 5000, b"220 hi\r\n", ack=77), *segments])
    assert wire.stream() == octets
    assert wire.stream(S) == b"220 hi\r\n"


def test_held_data_comes_before_the_answer_of_the_peer() -> None:
    wire = Wire().feed(Segment(C, 50, b"NOOP\r\n", ack=70), Segment(S, 70, b"250\r\n", ack=56))
    assert [event.data for event in wire.of(Data)] == [b"NOOP\r\n", b"250\r\n"]


@given(st.data(), streams, st.integers(1, 40))
def test_events_do_not_depend_on_where_a_batch_ends(
    data: st.DataObject, octets: bytes, chunk: int
) -> None:
    segments = handshake()
    for _ in range(data.draw(st.integers(1, 25))):
        start = data.draw(st.integers(0, len(octets)))
        end = data.draw(st.integers(start, len(octets)))
        payload = octets[start:end]
        if data.draw(st.integers(0, 9)) == 0:
            payload = bytes(len(payload))
        flags = data.draw(st.sampled_from([ACK] * 12 + [FIN | ACK, RST]))
        sender = data.draw(st.sampled_from([C, S]))
        segment = Segment(
            sender,
            (1001 if sender is C else 9001) + start,
            payload,
            flags,
            (9001 if sender is C else 1001) + data.draw(st.integers(0, len(octets))),
            data.draw(st.sampled_from([0, 0, 0, 3])),
        )
        segments.append(segment)
    if data.draw(st.booleans()):
        del segments[: data.draw(st.integers(1, 3))]
    whole, cut = joined(segments), joined(segments, chunk)
    assert flat(cut) == flat(whole)
    whole.stream(C)
    whole.stream(S)


def test_a_stream_of_more_than_four_gibioctets_keeps_its_offsets() -> None:
    wire = Wire().feed(*handshake(), Segment(C, 1001, b"a"))
    step = 1 << 29
    for turn in range(1, 10):
        wire.feed(
            Segment(C, 1001 + turn * step - 1, b"zz", 0), Segment(S, 9001, ack=turn * step + 2000)
        )
    last = wire.of(Data)[-1]
    assert last.offset == 9 * step - 1
    assert last.offset + len(last.data) > 1 << 32


def test_a_hole_is_lost_once_the_peer_has_acknowledged_what_lies_behind_it() -> None:
    wire = Wire().feed(*handshake(), Segment(C, 1001, b"MAIL"), Segment(C, 1015, b"later"))
    assert wire.stream() == b"MAIL"
    wire.feed(Segment(S, 9001, ack=1010))
    assert not wire.of(Gap)
    wire.feed(Segment(S, 9001, ack=1015))
    assert wire.of(Gap) == [Gap(C, 4, 10, 7000, 7, "lost")]
    assert wire.stream() == b"MAIL" + bytes(10) + b"later"


def test_a_hole_acknowledged_before_later_data_came_is_lost_at_once() -> None:
    wire = Wire().feed(*handshake(), Segment(S, 9001, ack=1011), Segment(C, 1011, b"later"))
    assert wire.of(Gap) == [Gap(C, 0, 10, 5000, 5, "lost")]


def test_what_fills_a_hole_after_it_was_told_is_dropped() -> None:
    wire = Wire().feed(*handshake(), Segment(C, 1011, b"later"), Segment(S, 9001, ack=1016))
    wire.feed(Segment(C, 1001, b"0123456789"), Segment(C, 1016, b"!"))
    assert wire.stream() == bytes(10) + b"later!"
    assert not wire.of(Noted)


def test_waiting_data_comes_out_when_the_capture_ends() -> None:
    wire = joined([*handshake(), Segment(C, 1003, b"c"), Segment(C, 1006, b"f")])
    assert [type(event) for event in wire.events[0][1:]] == [Gap, Data, Gap, Data, Closed]
    assert [event.length for event in wire.of(Gap)] == [2, 2]


def test_a_reset_brings_waiting_data_of_both_directions_and_ends_both() -> None:
    wire = Wire().feed(
        *handshake(),
        Segment(C, 1002, b"b"),
        Segment(S, 9003, b"c", ack=1001),
        Segment(C, 1003, flags=RST),
        Segment(C, 1003, b"ghost"),
    )
    assert wire.events[0][1:] == [
        Gap(C, 0, 1, 6000, 6, "lost"),
        Data(C, 1, b"b", ((1, 4000, 4),)),
        Gap(S, 0, 2, 6000, 6, "lost"),
        Data(S, 2, b"c", ((2, 5000, 5),)),
        Closed("rst", C, 6000, 6),
    ]
    assert wire.connections[0].ended


def test_a_reset_far_outside_the_window_is_ignored() -> None:
    wire = Wire().feed(
        *handshake(), Segment(C, 1001 + (3 << 29), flags=RST), Segment(C, 1001, b"x")
    )
    assert wire.stream() == b"x"
    assert not wire.of(Closed)


REPLY = Segment(S, 9001, b"250\r\n", ack=1007)
NOOP = Segment(C, 1001, b"NOOP\r\n", ack=9001)


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 6, 100])
def test_octets_captured_behind_what_acknowledges_them_come_before_it(chunk: int) -> None:
    """`-i any` and merged taps: the reply proves that the command was there (RFC 9293 §3.4)."""
    more = Segment(C, 1007, b"QUIT\r\n", ack=9006)
    wire = joined([*handshake(), REPLY, NOOP, more], chunk)
    told = [(event.direction, event.data) for event in wire.of(Data)]
    assert told == [(C, b"NOOP\r\n"), (S, b"250\r\n"), (C, b"QUIT\r\n")]
    assert (wire.connections[0].last_packet, wire.of(Gap)) == (6, [])
    halves = [NOOP._replace(payload=b"NO"), Segment(C, 1003, b"OP\r\n", ack=9001)]
    wire = joined([*handshake(), REPLY, *halves, more], chunk)
    told = [(event.direction, event.data) for event in wire.of(Data)]
    assert [side for side, _ in told] == [C] * (len(told) - 2) + [S, C]
    assert wire.stream() == b"NOOP\r\nQUIT\r\n"


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
@pytest.mark.parametrize(
    "behind",
    [
        [],
        [Segment(C, 1007, b"QUIT\r\n", ack=9006)],
        [NOOP._replace(ack=9006)],
        [Segment(S, 9006, b"221\r\n", ack=1007), NOOP],
        [Segment(C, 1007, ack=9006), NOOP],
        [Segment(C, 1007, flags=RST)],
        [Segment(C, 1007, flags=FIN | ACK, ack=9006)],
        [Segment(C, 70_000, flags=SYN)],
    ],
)
def test_where_they_are_not_the_next_it_does_not_wait_for_them(
    behind: list[Segment], chunk: int
) -> None:
    wire = joined([*handshake(), REPLY, *behind], chunk)
    (first, *_) = [event for event in wire.events[0] if isinstance(event, Data)]
    assert first[:3] == (S, 0, b"250\r\n" + b"221\r\n" * (first.data[5:] != b""))
    assert first.marks[0] == (0, 4000, 4)


@pytest.mark.parametrize("seq", [1001 + 500_000_000, 1001 + 70_000, 1021, 1000, 1])
@pytest.mark.parametrize(
    "after",
    [
        [Segment(C, 1001, b"x"), Segment(C, 1002, flags=FIN | ACK), Segment(S, 9001, flags=FIN)],
        [Segment(S, 9001, b"y"), Segment(C, 1001, ack=9002)],
        [Segment(C, 1001, flags=FIN | ACK), Segment(S, 9001, b"y")],
    ],
)
def test_a_reset_that_is_not_the_next_is_none_if_its_sender_goes_on(
    seq: int, after: list[Segment]
) -> None:
    segments = [*handshake(), Segment(S, 9001, ack=1001), Segment(C, seq, flags=RST), *after]
    plain = joined([segment for segment in segments if not segment.flags & RST])
    for chunk in (1, 100):
        wire = joined(segments, chunk)
        assert [wire.stream(side) for side in (C, S)] == [plain.stream(side) for side in (C, S)]
        assert [event.how for event in wire.of(Closed)] == [event.how for event in plain.of(Closed)]


@pytest.mark.parametrize("seq", [1001 + 70_000, 1021, 1000, 1])
@pytest.mark.parametrize("after", [[], [Segment(S, 9001, b"late")]])
def test_a_reset_that_is_not_the_next_counts_if_its_sender_says_no_more(
    seq: int, after: list[Segment]
) -> None:
    reset = Segment(C, seq, flags=RST)
    wire = joined([*handshake(), Segment(S, 9001, ack=999), reset, *after])
    assert wire.of(Closed) == [Closed("rst", C, 5000, 5)]
    again = Wire().feed(*handshake(), reset, *after, Segment(C, 77_000, flags=SYN))
    assert again.of(Closed, 0) == [Closed("rst", C, 4000, 4)]


def test_what_came_before_the_first_octet_captured_is_no_retransmission() -> None:
    midstream = [Segment(S, 9001, ack=2000), Segment(C, 2000, b"cd"), Segment(C, 1900, b"ab")]
    assert [*joined(midstream).connections[0].retransmissions()] == []
    wire = joined([*midstream, Segment(C, 1998, b"abcd")])
    (again,) = wire.connections[0].retransmissions()
    assert (again.span, again.detail) == (Span(C, 0, 2), "1 segments, 2 octets")


def test_a_reset_that_overtook_the_last_octets_counts() -> None:
    wire = joined([*handshake(), Segment(C, 1003, flags=RST), Segment(C, 1001, b"ab")])
    assert wire.of(Closed) == [Closed("rst", C, 4000, 4)]
    assert wire.stream() == b"ab"


@pytest.mark.parametrize("seq", [1001, 1003, 1004, 1006, 1007])
def test_a_reset_ends_the_connection_at_what_was_seen_or_acknowledged(seq: int) -> None:
    wire = Wire().feed(
        *handshake(),
        Segment(C, 1001, b"ab"),
        Segment(C, 1005, b"e"),
        Segment(S, 9001, ack=1001),
        Segment(C, seq, flags=RST),
    )
    assert wire.connections[0].ended is (seq != 1004)


def test_a_refused_connection_is_a_reset_by_the_server() -> None:
    wire = Wire().feed(Segment(C, 1000, flags=SYN), Segment(S, 0, flags=RST | ACK, ack=1001))
    assert wire.events[0] == [Opened(1000, CLIENT, SERVER, True, 1), Closed("rst", S, 2000, 2)]


def test_octets_missing_before_a_fin_are_a_gap_when_the_peer_has_acknowledged_it() -> None:
    wire = Wire().feed(*handshake(), Segment(C, 1001, b"ab"), Segment(C, 1010, flags=FIN | ACK))
    assert not wire.of(Closed)
    wire.feed(Segment(S, 9001, ack=1011))
    assert wire.events[0][-2:] == [Gap(C, 2, 7, 6000, 6, "lost"), Closed("fin", C, 5000, 5)]


def test_a_fin_that_came_early_waits_for_its_data() -> None:
    wire = Wire().feed(
        *handshake(), Segment(C, 1003, b"cd", FIN | ACK), Segment(C, 1001, b"ab"), Segment(S, 9001)
    )
    assert wire.stream() == b"abcd"
    assert wire.events[0][-1] == Closed("fin", C, 4000, 4)


def test_data_behind_a_fin_is_ignored_and_a_fin_again_tells_nothing() -> None:
    wire = Wire().feed(
        *handshake(),
        Segment(C, 1005, b"early ghost"),
        Segment(C, 1001, b"ab", FIN | ACK),
        Segment(C, 1003, b"ghost"),
        Segment(C, 1001, b"ab", FIN | ACK),
        Segment(C, 1003, flags=FIN | ACK),
    )
    assert wire.stream() == b"ab"
    assert wire.of(Closed) == [Closed("fin", C, 5000, 5)]


def test_a_server_may_go_on_after_the_client_closed() -> None:
    wire = joined(
        [*handshake(), Segment(C, 1001, flags=FIN | ACK), Segment(S, 9001, b"250 ok\r\n")]
    )
    assert wire.stream(S) == b"250 ok\r\n"
    assert wire.of(Closed) == [Closed("fin", C, 4000, 4), Closed("end", S, 5000, 5)]


@pytest.mark.parametrize("payload", [b"", b"\0"])
def test_a_keepalive_is_no_data(payload: bytes) -> None:
    wire = Wire().feed(*handshake(), Segment(C, 1000, payload), Segment(C, 1001, b"ab"))
    wire.feed(Segment(C, 1002, payload), Segment(C, 1003, b"c"))
    assert wire.stream() == b"abc"
    assert not wire.of(Noted)


def test_octets_cut_by_the_snap_length_are_a_gap_of_their_size() -> None:
    wire = Wire().feed(
        *handshake(), Segment(C, 1001, b"ab", missing=8), Segment(C, 1011, b"cd"), Segment(C, 1013)
    )
    assert wire.events[0][1:] == [
        Data(C, 0, b"ab", ((0, 4000, 4),)),
        Gap(C, 2, 8, 4000, 4, "snaplen"),
        Data(C, 10, b"cd", ((10, 5000, 5),)),
    ]


def test_a_cut_segment_out_of_order_keeps_its_place() -> None:
    wire = Wire().feed(*handshake(), Segment(C, 1003, b"cd", missing=4), Segment(C, 1001, b"ab"))
    assert wire.stream() == b"abcd" + bytes(4)
    assert wire.of(Gap) == [Gap(C, 4, 4, 4000, 4, "snaplen")]


def test_a_retransmission_that_disagrees_is_noted_and_the_first_octets_stay() -> None:
    wire = Wire().feed(
        *handshake(), Segment(C, 1001, b"RCPT TO:<a@x>"), Segment(C, 1001, b"RCPT TO:<bbx>+")
    )
    assert wire.stream() == b"RCPT TO:<a@x>+"
    detail = "2 octets, by packet 5"
    assert wire.of(Noted) == [Noted(Defect("overlap-disagrees", Span(C, 9, 11), detail), 5000, 5)]


def test_an_overlap_that_disagrees_among_waiting_segments_is_noted() -> None:
    wire = Wire().feed(
        *handshake(),
        Segment(C, 1005, b"eeee"),
        Segment(C, 1003, b"ccxeee"),
        Segment(C, 1007, b"eeYz"),
        Segment(C, 1001, b"aa"),
    )
    assert wire.stream() == b"aacceeeez"[:2] + b"cceeeeYz"
    assert [noted.defect.span for noted in wire.of(Noted)] == [Span(C, 4, 5)]


def test_a_retransmission_in_a_later_batch_is_compared_too() -> None:
    wire = Wire().feed(*handshake(), Segment(C, 1001, b"abc")).feed(Segment(C, 1002, b"bX"))
    assert [noted.defect.span for noted in wire.of(Noted)] == [Span(C, 2, 3)]


@given(st.data(), st.integers(1, 5))
def test_the_noted_span_is_exact(data: st.DataObject, chunk: int) -> None:
    octets = data.draw(st.binary(min_size=2, max_size=60))
    start = data.draw(st.integers(0, len(octets) - 2))
    end = data.draw(st.integers(start + 2, len(octets)))
    changed = sorted(data.draw(st.sets(st.integers(start, end - 1), min_size=1)))
    forged = bytearray(octets)
    for place in changed:
        forged[place] ^= data.draw(st.integers(1, 255))
    wire = joined(
        [
            *handshake(),
            Segment(C, 1001, octets),
            Segment(C, 1001 + start, bytes(forged[start:end])),
        ],
        chunk,
    )
    assert wire.stream() == octets
    assert [noted.defect.span for noted in wire.of(Noted)] == [Span(C, changed[0], changed[-1] + 1)]


def test_only_the_newest_octets_are_compared() -> None:
    wire = Wire().feed(*handshake(), Segment(C, 1001, bytes(HISTORY + 10)))
    wire.feed(Segment(C, 1001, b"x" * 12))
    assert [noted.defect.span for noted in wire.of(Noted)] == [Span(C, 10, 12)]


def test_too_many_waiting_octets_give_a_hole_up() -> None:
    size = 1 << 16
    count = WAITING_OCTETS // size
    segments = [Segment(C, 1101 + size * i, b"x" * size) for i in range(count + 1)]
    wire = Wire().feed(*handshake(), *segments[:-1])
    assert not wire.of(Gap)
    wire.feed(segments[-1])
    assert wire.of(Gap) == [Gap(C, 0, 100, 20000 + 0, 20, "bound")]
    assert len(wire.stream()) == 100 + size * (count + 1)


def test_too_many_waiting_pieces_give_a_hole_up() -> None:
    pieces = [Segment(C, 1003 + 2 * i, b"x") for i in range(WAITING_PIECES + 1)]
    wire = Wire().feed(*handshake(), *pieces)
    assert [(gap.length, gap.reason) for gap in wire.of(Gap)] == [(2, "bound")]


@pytest.mark.parametrize("lost", [0, 1])
def test_what_was_lost_behind_a_syn_that_was_lost_is_a_gap(lost: int) -> None:
    opening = handshake()
    del opening[lost]
    sender = (C, S)[lost]
    said = (
        Segment(C, 1006, b"world", ack=9001)
        if sender is C
        else Segment(S, 9006, b"world", ack=1001)
    )
    heard = Segment(sender.other, (1001, 9001)[sender is C], ack=said.seq)
    wire = joined([*opening, heard, said])
    assert [(gap.direction, gap.offset, gap.length) for gap in wire.of(Gap)] == [(sender, 0, 5)]
    assert wire.stream(sender) == bytes(5) + b"world"


def test_data_on_the_syn_is_the_beginning_of_the_stream() -> None:
    wire = Wire().feed(
        Segment(C, 1000, b"EHLO", SYN),
        Segment(S, 9000, flags=SYN | ACK, ack=1001),
        Segment(C, 1001, b"EHLO x"),
    )
    assert wire.stream() == b"EHLO x"
    assert not wire.of(Noted)


def test_a_syn_again_changes_nothing() -> None:
    opening = handshake()
    wire = Wire().feed(opening[0], opening[0], opening[1], opening[1], opening[2], opening[1])
    wire.feed(Segment(C, 1001, b"x"), opening[0])
    assert len(wire.connections) == 1
    assert wire.stream() == b"x"


def test_a_syn_with_another_number_is_another_connection() -> None:
    wire = Wire().feed(
        *handshake(),
        Segment(C, 1001, b"one"),
        *handshake(500_000, 7000),
        Segment(C, 500_001, b"two"),
    )
    assert [wire.stream(C, number) for number in (0, 1)] == [b"one", b"two"]
    assert wire.events[0][-1] == Closed("end", C, 4000, 4)
    assert wire.events[1][0] == Opened(5000, CLIENT, SERVER, True, 5)


def test_a_syn_captured_behind_its_answer_is_the_same_connection() -> None:
    opening = handshake()
    wire = Wire()
    wire.feed(opening[1], opening[0], opening[2], Segment(C, 1001, b"x"))
    assert len(wire.connections) == 1
    assert wire.stream() == b"x"


def test_the_last_of_two_different_answers_to_a_syn_counts() -> None:
    wire = Wire().feed(
        Segment(C, 1000, flags=SYN),
        Segment(S, 9000, flags=SYN | ACK, ack=1001),
        Segment(S, 5000, flags=SYN | ACK, ack=1001),
        Segment(S, 5001, b"220\r\n", ack=1001),
    )
    assert len(wire.connections) == 1
    assert wire.stream(S) == b"220\r\n"


@pytest.mark.parametrize("end", ["end", "rst"])
def test_acknowledged_octets_that_were_never_captured_are_lost_at_the_end(end: str) -> None:
    wire = Wire().feed(*handshake(), Segment(C, 1001, b"ab", ack=9001), Segment(C, 1003, ack=9011))
    if end == "rst":
        wire.feed(Segment(C, 1003, flags=RST))
    else:
        wire.finish()
    assert wire.of(Gap) == [Gap(S, 0, 10, wire.packet * 1000, wire.packet, "lost")]
    assert isinstance(wire.events[0][-1], Closed)


def test_the_acknowledgment_of_a_fin_that_was_not_captured_is_no_loss() -> None:
    wire = joined([*handshake(), Segment(C, 1001, b"ab", ack=9001), Segment(C, 1003, ack=9002)])
    assert wire.of(Gap) == []


def test_a_fin_lost_with_the_octets_before_it_is_none_of_them() -> None:
    wire = joined(
        [
            *handshake(),
            Segment(C, 1001, b"ab", ack=9001),
            Segment(C, 1003, flags=FIN | ACK, ack=9012),
        ]
    )
    assert [(e.direction, e.length) for e in wire.of(Gap)] == [(S, 10)]


def test_what_waits_behind_a_hole_is_given_out_before_what_is_lost_at_the_end() -> None:
    wire = joined([*handshake(), Segment(C, 1003, b"cd", ack=9001), Segment(S, 9001, ack=1009)])
    assert [(e.offset, e.length) for e in wire.of(Gap)] == [(0, 2), (4, 4)]
    assert wire.stream(C) == b"\0\0cd\0\0\0\0"


def test_an_acknowledgment_out_of_reach_is_no_loss() -> None:
    wire = joined([*handshake(), Segment(C, 1001, b"ab", ack=9001 + (1 << 31) - 5)])
    assert wire.of(Gap) == []
