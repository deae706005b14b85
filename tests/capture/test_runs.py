"""What runs in order is taken as columns, and gives what a look at each segment gives."""

from __future__ import annotations

import pytest
from capture.test_flows import Packet, batch_of
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.capture import flows, log
from smtpscope.capture.flows import StreamAssembler
from smtpscope.capture.tcp import ACK, FIN, RST, SYN
from smtpscope.capture.trail import Trail
from smtpscope.stream import Data, StreamEvent

CLIENT = ("192.0.2.1", 40000)
SERVER = ("192.0.2.2", 25)


@st.composite
def conversations(draw: st.DrawFn) -> list[Packet]:
    """A connection, mostly in order: with sequence numbers that wrap, losses, doubles, disorder."""
    next_seq = {True: draw(st.sampled_from([1000, 0xFFFFFFF0])), False: 0xFFFFFF80}
    packets = [
        Packet(CLIENT, SERVER, next_seq[True], flags=SYN),
        Packet(SERVER, CLIENT, next_seq[False], flags=SYN | ACK, ack=next_seq[True] + 1),
    ]
    next_seq = {side: seq + 1 for side, seq in next_seq.items()}
    sides = draw(st.lists(st.booleans(), min_size=1, max_size=8))
    for side in sides:
        for _ in range(draw(st.integers(1, 12))):
            payload = bytes([65 + len(packets) % 26]) * draw(st.integers(0, 9))
            ends = (CLIENT, SERVER) if side else (SERVER, CLIENT)
            packets.append(Packet(*ends, next_seq[side], payload, ack=next_seq[not side]))
            next_seq[side] += len(payload)
    packets.append(Packet(CLIENT, SERVER, next_seq[True], flags=FIN | ACK, ack=next_seq[False]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(packets) - 1))
        to = draw(st.integers(0, len(packets) - 1))
        kind = draw(st.sampled_from(["lost", "again", "late", "next", "cut", "reset"]))
        if kind == "next":
            packets[at : at + 2] = packets[at : at + 2][::-1]
        elif kind == "again":
            packets.insert(to, packets[at])
        elif kind == "cut":
            packets[at] = packets[at]._replace(missing=2)
        elif kind == "reset":
            packets[at] = packets[at]._replace(flags=RST)
        elif len(packets) > 1:
            taken = packets.pop(at)
            if kind == "late":
                packets.insert(to, taken)
    return packets


def events(
    packets: list[Packet], worthwhile: int, limit: int, cut: int
) -> tuple[list[StreamEvent], list[bytes], int]:
    found: list[StreamEvent] = []
    trails: dict[Trail, None] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flows, "WORTHWHILE", worthwhile)
        patch.setattr(log, "DATA_LIMIT", limit)
        assembler = StreamAssembler(frozenset({25}), trails=True)
        last = 0
        for begin, end in ((0, cut), (cut, len(packets))):
            for connection, taken in assembler.feed(batch_of(packets[begin:end], begin + 1)):
                found += taken
                last = connection.last_packet
            trails |= assembler.touched_trails
        for _, taken in assembler.finish():
            found += taken
    return _joined(found), [repr(trail._new).encode() for trail in trails], last


def _joined(events: list[StreamEvent]) -> list[StreamEvent]:
    """Where an event ends makes no difference."""
    found: list[StreamEvent] = []
    for event in events:
        last = found[-1] if found else None
        if (
            isinstance(event, Data)
            and isinstance(last, Data)
            and event.direction is last.direction
            and event.offset == last.offset + len(last.data)
        ):
            found[-1] = last._replace(data=last.data + event.data, marks=last.marks + event.marks)
        else:
            found.append(event)
    return found


@given(conversations(), st.integers(1, 12), st.sampled_from([1, 7, 20, 1 << 20]), st.data())
def test_columns_give_the_events_that_rows_give(
    packets: list[Packet], worthwhile: int, limit: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(packets)))
    assert events(packets, worthwhile, limit, cut) == events(packets, 1 << 30, limit, cut)


def test_a_run_in_order_becomes_few_events_with_a_mark_for_each_segment() -> None:
    packets = [
        Packet(CLIENT, SERVER, 999, flags=SYN),
        Packet(SERVER, CLIENT, 1999, flags=SYN | ACK, ack=1000),
        *(Packet(CLIENT, SERVER, 1000 + n, b"x", ack=2000) for n in range(500)),
    ]
    (found, _, last) = events(packets, 64, 1 << 20, 2)
    streams = [each for each in found if isinstance(each, Data)]
    assert [len(each.marks) for each in streams] == [500]
    assert streams[0].data == b"x" * 500
    assert streams[0].marks[-1] == (499, 502_000, 502)
    assert last == 502
