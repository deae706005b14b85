"""What crossed a socket decodes to the same octets again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.capture.flows import StreamAssembler
from smtpscope.capture.packets import segments
from smtpscope.capture.pcap import open_capture
from smtpscope.capture.recording import RecordingWriter, Wire
from smtpscope.capture.synth import LINKTYPE_RAW, SEGMENT, Talk
from smtpscope.stream import Closed, Data, Direction, Endpoint, Opened

TURN = st.tuples(st.sampled_from(Direction), st.binary(min_size=1, max_size=300))


def _decoded(path: Path) -> list[object]:
    assembler = StreamAssembler(frozenset({25}))
    found: list[object] = []
    with open_capture(path) as reader:
        for batch in reader:
            for _, events in assembler.feed(segments(batch)):
                found += events
    return found


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"])
@given(turns=st.lists(TURN, max_size=8), reset=st.booleans())
def test_octets_come_back_in_order(
    address: str,
    turns: list[tuple[Direction, bytes]],
    reset: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("synth") / "a.pcapng"
    client, server = Endpoint(address, 40_000), Endpoint("192.0.2.2", 25)
    with RecordingWriter(path, [Wire("", LINKTYPE_RAW)]) as writer:
        talk = Talk(partial(writer.packet, 0), client, server, 1_000)
        for number, (direction, octets) in enumerate(turns):
            talk.data(direction, octets, 2_000 + number)
        talk.close(Direction.CLIENT, 9_000, reset=reset)
        talk.close(Direction.SERVER, 9_001)
    events = _decoded(path)
    assert isinstance(events[0], Opened)
    assert events[0].handshake
    assert (events[0].client.port, events[0].server.port) == (40_000, 25)
    for direction in Direction:
        said = b"".join(
            event.data
            for event in events
            if isinstance(event, Data) and event.direction is direction
        )
        assert said == b"".join(octets for who, octets in turns if who is direction)
    closes = [event.how for event in events if isinstance(event, Closed)]
    assert closes == (["rst"] if reset else ["fin", "fin"])


def test_what_is_long_is_cut_into_segments(tmp_path: Path) -> None:
    packets: list[bytes] = []
    talk = Talk(
        lambda time, packet: packets.append(packet),
        Endpoint("127.0.0.1", 40_000),
        Endpoint("127.0.0.1", 25),
        0,
    )
    del packets[:]
    talk.data(Direction.CLIENT, memoryview(bytes(3 * SEGMENT + 1)), 1)
    assert [len(packet) - 40 for packet in packets] == [SEGMENT, SEGMENT, SEGMENT, 1]
    assert all(len(packet) < 65_536 for packet in packets)


def test_the_ip_checksum_is_right() -> None:
    packets: list[bytes] = []
    Talk(
        lambda time, packet: packets.append(packet),
        Endpoint("203.0.113.200", 65_535),
        Endpoint("198.51.100.7", 25),
        0,
    )
    for packet in packets:
        total = sum(int.from_bytes(packet[at : at + 2]) for at in range(0, 20, 2))
        assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
