from __future__ import annotations

import io
import logging
import random
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import numpy as np
import pytest
from support.packets import (
    ACK,
    ETHERNET,
    FIN,
    LOOP,
    NULL,
    PSH,
    RAW,
    SLL,
    SLL2,
    SYN,
    Packet,
    Pcapng,
    ethernet,
    fragment_extension,
    framed,
    ipv4,
    ipv6,
    pcap,
    tcp,
)

from smtpscope.capture import dissect
from smtpscope.capture.dissect import Dissector, Verdict
from smtpscope.capture.packets import SegmentBatch, segments
from smtpscope.capture.pcap import open_capture

DATAGRAMS = [ipv4(tcp(b"hello", seq=7)), ipv6(tcp(b"hello", seq=7))]


def decode(
    frames: Iterable[bytes | Packet], linktype: int = ETHERNET, *, block: int = 1 << 20
) -> list[SegmentBatch]:
    packets = [frame if isinstance(frame, Packet) else Packet(frame) for frame in frames]
    data = pcap(packets, linktype=linktype)
    dissector = Dissector()
    return [segments(batch, dissector) for batch in open_capture(io.BytesIO(data), block=block)]


def only(frame: bytes | Packet, linktype: int = ETHERNET) -> SegmentBatch:
    """The batch of one packet that holds exactly one segment."""
    (batch,) = decode([frame], linktype)
    assert len(batch) == 1, batch
    return batch


def payload(batch: SegmentBatch, row: int = 0) -> bytes:
    return batch.buffer[batch.start[row] : batch.start[row] + batch.length[row]]


def payloads(batches: Sequence[SegmentBatch]) -> list[tuple[int, bytes]]:
    return [
        (int(batch.packet[row]), payload(batch, row))
        for batch in batches
        for row in range(len(batch))
    ]


def counts(frame: bytes | Packet, linktype: int = ETHERNET) -> dict[str, int]:
    """The counters of one packet that holds no segment, without the zeros."""
    (batch,) = decode([frame], linktype)
    assert len(batch) == 0
    names = ("not_tcp", "unreadable", "slow")
    return {name: getattr(batch, name) for name in names if getattr(batch, name)}


@pytest.mark.parametrize("linktype", [ETHERNET, RAW, 12, 14, NULL, LOOP, SLL, SLL2])
@pytest.mark.parametrize("datagram", DATAGRAMS)
def test_every_plain_link_type_is_read_without_scapy(linktype: int, datagram: bytes) -> None:
    batch = only(framed(datagram, linktype), linktype)
    assert payload(batch) == b"hello"
    assert (batch.seq.tolist(), batch.sport.tolist(), batch.dport.tolist()) == ([7], [40_000], [25])
    assert batch.slow == 0


@pytest.mark.parametrize("family", [10, 24, 28, 30])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_loopback_header_may_have_either_byte_order(family: int, order: str) -> None:
    frame = struct.pack(order + "I", family) + DATAGRAMS[1]
    assert payload(only(frame, NULL)) == b"hello"


@pytest.mark.parametrize("tags", [[0x8100], [0x88A8, 0x8100], [0x9100, 0x8100, 0x8100]])
@pytest.mark.parametrize("datagram", DATAGRAMS)
def test_vlan_tags_may_be_stacked(tags: list[int], datagram: bytes) -> None:
    assert payload(only(ethernet(datagram, vlans=tags))) == b"hello"


def test_every_field_of_a_segment_is_where_it_belongs() -> None:
    segment = tcp(
        b"data",
        sport=25,
        dport=50_000,
        seq=2**32 - 1,
        ack=2**31,
        flags=FIN | PSH | ACK,
        options=b"\1" * 7,
    )
    when = 1_700_000_000_000_001_000
    batch = only(Packet(ethernet(ipv4(segment, source="10.0.0.9", options=b"\1" * 5)), when))
    assert batch.packet.tolist() == [1]
    assert batch.time.tolist() == [when]
    assert batch.seq.tolist() == [2**32 - 1]
    assert batch.ack.tolist() == [2**31]
    assert batch.flags.tolist() == [FIN | PSH | ACK]
    assert (batch.sport.tolist(), batch.dport.tolist()) == ([25], [50_000])
    assert payload(batch) == b"data"
    assert batch.missing.tolist() == [0]


def test_the_lower_endpoint_comes_first_in_both_directions() -> None:
    one = {"source": "10.0.0.1", "target": "9.255.0.1"}
    two = {"source": "9.255.0.1", "target": "10.0.0.1"}
    same = {"source": "10.0.0.1", "target": "10.0.0.1"}
    (batch,) = decode(
        [
            ethernet(ipv4(tcp(sport=1, dport=25), **one)),
            ethernet(ipv4(tcp(sport=25, dport=1), **two)),
            ethernet(ipv4(tcp(sport=25, dport=1), **same)),
            ethernet(ipv4(tcp(sport=1, dport=25), **same)),
        ]
    )
    mapped = bytes(10) + b"\xff\xff"
    lower = mapped + ip_address("9.255.0.1").packed + struct.pack("!H", 25)
    higher = mapped + ip_address("10.0.0.1").packed + struct.pack("!H", 1)
    assert batch.endpoints[0].tobytes() == lower + higher
    assert batch.endpoints[1].tobytes() == lower + higher
    assert batch.forward.tolist() == [False, True, False, True]
    assert batch.key[0] == batch.key[1]
    assert batch.key[2] == batch.key[3] != batch.key[0]


def test_connections_that_differ_anywhere_have_keys_of_their_own() -> None:
    frames = [
        ethernet(ipv4(tcp(sport=port, dport=25), source=f"10.{host >> 8}.{host & 255}.1"))
        for port in range(1, 40)
        for host in range(40)
    ] + [
        ethernet(ipv6(tcp(sport=port), source=f"{1 << bit:x}::{host:x}"))
        for port in (1, 2)
        for bit in range(16)
        for host in range(20)
    ]
    keys = np.concatenate([batch.key for batch in decode(frames)])
    assert len(np.unique(keys)) == len(frames)


def test_padding_behind_the_datagram_is_no_payload() -> None:
    batch = only(ethernet(ipv4(tcp(b"ab"))) + b"PADDING!")
    assert payload(batch) == b"ab"
    assert payload(only(ethernet(ipv6(tcp(b""))) + b"PADDING!")) == b""


@pytest.mark.parametrize("build", [ipv4, ipv6])
def test_a_zero_length_means_as_far_as_the_frame_goes(build) -> None:
    frame = ethernet(build(tcp(b"x" * 3000), length=0))
    assert payload(only(frame)) == b"x" * 3000
    cut = only(Packet(frame[:-2000], original=len(frame)))
    assert (cut.length.tolist(), cut.missing.tolist()) == ([1000], [2000])


@pytest.mark.parametrize("build", [ipv4, ipv6])
def test_what_the_snap_length_cut_away_is_missing(build) -> None:
    frame = ethernet(build(tcp(b"0123456789", options=b"\1" * 8)))
    for cut in range(1, 10):
        batch = only(Packet(frame[:-cut], original=len(frame)))
        assert payload(batch) == b"0123456789"[:-cut]
        assert batch.missing.tolist() == [cut]
    for cut in range(10, 19):
        batch = only(Packet(frame[:-cut], original=len(frame)))
        assert (batch.length.tolist(), batch.missing.tolist()) == ([0], [10])


@pytest.mark.parametrize("linktype", [ETHERNET, RAW, NULL, LOOP, SLL, SLL2])
@pytest.mark.parametrize("datagram", [ipv4(tcp()), ipv6(tcp(), extensions=[(0, bytes(7))])])
def test_a_packet_that_ends_within_its_headers_is_unreadable(
    linktype: int, datagram: bytes
) -> None:
    frame = framed(datagram, linktype)
    for cut in range(len(frame)):
        packets = [Packet(frame[:cut], original=len(frame)), Packet(frame)]
        for order in (packets, packets[::-1]):
            (batch,) = decode(order, linktype)
            assert (len(batch), batch.unreadable, batch.not_tcp) == (1, 1, 0)


@pytest.mark.parametrize(
    "datagram",
    [
        b"\x44" + ipv4(tcp())[1:],
        b"\x55" + ipv4(tcp())[1:],
        ipv4(tcp(), length=19),
        ipv4(tcp(), length=39),
        ipv4(tcp()[:12] + b"\x40" + tcp()[13:]),
        ipv4(tcp()[:12] + b"\xf0" + tcp()[13:]),
        ipv6(tcp(), length=10),
        ipv6(tcp(), extensions=[(60, b"\xff" + bytes(6))]),
        ipv6(tcp(), extensions=[(60, bytes(7))] * 12),
    ],
)
def test_headers_that_contradict_themselves_are_unreadable(datagram: bytes) -> None:
    assert counts(ethernet(datagram, 0x0800)) == {"unreadable": 1}


def test_checksums_are_no_reason_to_drop() -> None:
    damaged = bytearray(ethernet(ipv4(tcp(b"kept"))))
    damaged[24:26] = b"\xba\xad"
    damaged[50:52] = b"\xba\xad"
    assert payload(only(bytes(damaged))) == b"kept"


@pytest.mark.parametrize(
    "frame",
    [
        ethernet(bytes(28), 0x0806),
        ethernet(bytes(50), 0x88CC),
        ethernet(b"\x42\x42\x03" + bytes(40), 38),
        ethernet(ipv4(bytes(8), protocol=17)),
        ethernet(ipv4(bytes(3000), protocol=17, more=True)),
        ethernet(ipv4(bytes(8) + ipv4(tcp(b"quoted")), protocol=1)),
        ethernet(ipv6(bytes(8) + ipv6(tcp(b"quoted")), protocol=58)),
        ethernet(ipv6(bytes(8), protocol=17, extensions=[fragment_extension(1, 8, True)])),
        ethernet(ipv6(b"", protocol=59, extensions=[(0, bytes(7))])),
        ethernet(ipv6(bytes(30), protocol=50)),
    ],
)
def test_what_never_carries_tcp_does_not_go_the_slow_way(frame: bytes) -> None:
    assert counts(frame) == {"not_tcp": 1}


@pytest.mark.parametrize(
    "extensions",
    [
        [(0, bytes(7))],
        [(0, bytes(7)), (43, b"\1" + bytes(14)), (60, bytes(7))],
        [fragment_extension(9, 0, False)],
        [(51, b"\4" + bytes(22)), (60, bytes(7))],
    ],
)
def test_tcp_is_found_behind_ipv6_extension_headers(extensions) -> None:
    batch = only(ethernet(ipv6(tcp(b"behind", seq=5), extensions=extensions)) + b"PAD")
    assert payload(batch) == b"behind"
    assert batch.slow == 0


PPPOE = b"\x11\0\0\7" + struct.pack("!HH", len(DATAGRAMS[0]) + 2, 0x0021) + DATAGRAMS[0]
MPLS = struct.pack("!II", 17 << 12 | 64, 18 << 12 | 1 << 8 | 64)
GRE = struct.pack("!HH", 0, 0x0800) + DATAGRAMS[0]
WIFI = b"\x08\x01\0\0" + bytes(18) + b"\0\0" + b"\xaa\xaa\3\0\0\0\x08\0"


@pytest.mark.parametrize(
    ("frame", "linktype"),
    [
        (ethernet(PPPOE, 0x8864), ETHERNET),
        (ethernet(PPPOE, 0x8864, vlans=[0x8100]), ETHERNET),
        (ethernet(MPLS + DATAGRAMS[0], 0x8847), ETHERNET),
        (ethernet(MPLS + DATAGRAMS[1], 0x8847), ETHERNET),
        (ethernet(b"\xaa\xaa\3\0\0\0\x08\0" + DATAGRAMS[0], len(DATAGRAMS[0]) + 8), ETHERNET),
        (framed(ipv4(DATAGRAMS[0], protocol=4), NULL), NULL),
        (framed(ipv4(DATAGRAMS[1], protocol=41), SLL2), SLL2),
        (ethernet(ipv6(DATAGRAMS[0], protocol=4)), ETHERNET),
        (ethernet(ipv6(DATAGRAMS[1], protocol=41, extensions=[(60, bytes(7))])), ETHERNET),
        (ethernet(ipv4(GRE, protocol=47)), ETHERNET),
        (ethernet(ipv4(b"\6\4" + bytes(22) + tcp(b"hello", seq=7), protocol=51)), ETHERNET),
        (WIFI + DATAGRAMS[0], 105),
        (b"\0\0\x08\0" + bytes(4) + WIFI + DATAGRAMS[0], 127),
        (b"\xff\x03\0\x21" + DATAGRAMS[0], 9),
    ],
)
def test_odd_links_and_tunnels_go_through_scapy(frame: bytes, linktype: int) -> None:
    batch = only(frame, linktype)
    assert payload(batch) == b"hello"
    assert (batch.seq.tolist(), batch.sport.tolist(), batch.slow) == ([7], [40_000], 1)
    assert batch.missing.tolist() == [0]
    cut = only(Packet(frame[:-3], original=len(frame)), linktype)
    assert (payload(cut), cut.missing.tolist()) == (b"he", [3])


@pytest.mark.parametrize(
    ("frame", "linktype"),
    [
        (b"\x80\0" + bytes(60), 105),
        (WIFI[:1] + b"\x41" + WIFI[2:] + DATAGRAMS[0], 105),
        (b"\xc0\x21\1\1\0\4", 9),
        (ethernet(b"\x11\0\0\7\0\6\xc0\x21\1\1\0\4", 0x8864), ETHERNET),
    ],
)
def test_odd_links_that_carry_no_ip_are_not_tcp(frame: bytes, linktype: int) -> None:
    assert counts(frame, linktype) == {"not_tcp": 1, "slow": 1}


def test_a_link_type_that_nobody_knows_is_unreadable() -> None:
    assert counts(DATAGRAMS[0], 65_000) == {"unreadable": 1}


def test_rows_are_in_packet_order_whichever_way_they_were_read() -> None:
    frames = [
        ethernet(ipv4(GRE, protocol=47)),
        ethernet(ipv6(tcp(b"six"))),
        ethernet(ipv4(tcp(b"udp"), protocol=17)),
        ethernet(PPPOE, 0x8864),
        ethernet(ipv4(tcp(b"four"))),
    ]
    batches = decode(frames)
    assert payloads(batches) == [(1, b"hello"), (2, b"six"), (4, b"hello"), (5, b"four")]
    assert (batches[0].packets, batches[0].not_tcp, batches[0].slow) == (5, 1, 2)


def test_interfaces_of_different_link_types_may_be_mixed() -> None:
    blocks = Pcapng().interface(RAW).interface(ETHERNET).interface(SLL).interface(RAW)
    for number, linktype in ((1, ETHERNET), (0, RAW), (2, SLL), (3, RAW), (1, ETHERNET)):
        blocks.packet(framed(ipv4(tcp(bytes([number]))), linktype), interface=number)
    found = [segments(batch) for batch in open_capture(io.BytesIO(blocks.data))]
    assert payloads(found) == list(enumerate((b"\1", b"\0", b"\2", b"\3", b"\1"), 1))


def ipv4_fragments(body: bytes, size: int, identity: int = 1) -> list[bytes]:
    return [
        ethernet(
            ipv4(body[at : at + size], identity=identity, offset=at, more=at + size < len(body))
        )
        for at in range(0, len(body), size)
    ]


def ipv6_fragments(body: bytes, size: int) -> list[bytes]:
    return [
        ethernet(
            ipv6(
                body[at : at + size],
                extensions=[(0, bytes(7)), fragment_extension(3, at, at + size < len(body))],
            )
        )
        for at in range(0, len(body), size)
    ]


@pytest.mark.parametrize("cut", [ipv4_fragments, ipv6_fragments])
@pytest.mark.parametrize("block", [100, 1 << 20])
def test_fragments_in_any_order_and_across_batches_make_one_segment(cut, block: int) -> None:
    body = bytes(range(256)) * 8
    fragments = cut(tcp(body), 512)
    for seed in range(5):
        random.Random(seed).shuffle(fragments)
        batches = decode([*fragments[:2], *fragments[1:]], block=block)
        assert payloads(batches) == [(len(fragments) + 1, body)]
        assert sum(batch.unreadable for batch in batches) == 0


def test_fragments_of_different_datagrams_do_not_mix() -> None:
    one, two = (ipv4_fragments(tcp(letter * 600), 304, ord(letter)) for letter in (b"a", b"b"))
    mixed = [frame for pair in zip(one, two, strict=True) for frame in pair]
    assert payloads(decode(mixed)) == [(5, b"a" * 600), (6, b"b" * 600)]


def test_an_incomplete_datagram_gives_nothing() -> None:
    assert decode(ipv4_fragments(tcp(bytes(900)), 304)[1:])[0].packet.tolist() == []
    fragments = ipv4_fragments(tcp(bytes(900)), 304)
    cut = [Packet(fragments[0][:-9], original=len(fragments[0])), *fragments[1:]]
    assert decode(cut)[0].unreadable == 1


def test_a_late_fragment_does_not_complete_an_old_datagram() -> None:
    first, second = ipv4_fragments(tcp(bytes(500)), 304)
    assert payloads(decode([Packet(first, 0), Packet(second, dissect.PATIENCE + 1000)])) == []
    assert len(payloads(decode([Packet(first, 0), Packet(second, dissect.PATIENCE)]))) == 1


def test_fragments_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dissect, "DATAGRAM_BOUND", 4)
    first, second = zip(
        *(ipv4_fragments(tcp(bytes([number]) * 400), 304, number) for number in range(9)),
        strict=True,
    )
    newest_first = [*first, *second[::-1]]
    found = payloads(decode(newest_first))
    assert [octets[:1] for _, octets in found] == [b"\x08", b"\7", b"\6", b"\5"]
    monkeypatch.setattr(dissect, "HELD_BOUND", 1000)
    found = payloads(decode(newest_first))
    assert [octets[:1] for _, octets in found] == [b"\x08", b"\7", b"\6"]


def test_overlapping_fragments_are_put_together_without_growing() -> None:
    body = tcp(b"0123456789abcdef" * 4)
    frames = [
        ethernet(ipv4(body[:48], more=True)),
        ethernet(ipv4(b"X" * 16, offset=16, more=True)),
        ethernet(ipv4(body[40:], offset=40)),
    ]
    assert payloads(decode(frames)) == [(3, b"0123456789abcdef" * 4)]


def test_nesting_is_bounded() -> None:
    datagram = DATAGRAMS[0]
    for depth in range(1, 40):
        datagram = ipv4(datagram, protocol=4)
        (batch,) = decode([ethernet(datagram)])
        assert len(batch) == (depth < dissect.NESTING)
        assert batch.unreadable == (depth >= dissect.NESTING)
    labels = struct.pack("!I", 17 << 12) * 4000
    assert counts(ethernet(labels, 0x8847)) == {"not_tcp": 1, "slow": 1}


def test_whatever_scapy_raises_is_an_unreadable_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug somewhere else")

    monkeypatch.setattr(dissect, "_ip_inside", fail)
    assert Dissector().dissect(9, b"x", 0, 0) is Verdict.UNREADABLE
    assert counts(ethernet(PPPOE, 0x8864)) == {"unreadable": 1, "slow": 1}


def test_scapy_is_not_imported_without_need() -> None:
    code = (
        "import io, sys\n"
        "from smtpscope.capture.packets import segments\n"
        "from smtpscope.capture.pcap import open_capture\n"
        "for batch in open_capture(io.BytesIO(sys.stdin.buffer.read())):\n"
        "    print(len(segments(batch)), 'scapy' in sys.modules)\n"
    )
    fragments = ipv4_fragments(tcp(bytes(500)), 304)
    for frames, answer in (
        ([ethernet(DATAGRAMS[0]), ethernet(bytes(28), 0x0806), *fragments], b"2 False\n"),
        ([ethernet(PPPOE, 0x8864)], b"1 True\n"),
    ):
        data = pcap([Packet(frame) for frame in frames])
        done = subprocess.run(
            [sys.executable, "-c", code], input=data, capture_output=True, check=True
        )
        assert (done.stdout, done.stderr) == (answer, b"")


def scapy_frames(count: int) -> list[bytes]:
    """Frames of random kinds, built by scapy."""
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
    from scapy.layers.l2 import ARP, GRE, Dot1AD, Dot1Q, Ether
    from scapy.packet import Raw

    pick = random.Random(5321)
    frames = []
    for _ in range(count):
        layers = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        if pick.random() < 0.2:
            layers /= Dot1AD(vlan=2)
        if pick.random() < 0.3:
            layers /= Dot1Q(vlan=3)
        hosts = pick.sample(range(1, 9), 2)
        if pick.random() < 0.1:
            layers /= IP(src="203.0.113.1", dst="203.0.113.2")
            if pick.random() < 0.5:
                layers /= GRE()
        if pick.random() < 0.5:
            options = [IPOption_NOP()] * pick.choice((0, 0, 4, 40))
            layers /= IP(src=f"192.0.2.{hosts[0]}", dst=f"192.0.2.{hosts[1]}", options=options)
        else:
            layers /= IPv6(src=f"2001:db8::{hosts[0]}", dst=f"2001:db8::{hosts[1]}")
            if pick.random() < 0.3:
                layers /= IPv6ExtHdrHopByHop()
            if pick.random() < 0.3:
                layers /= IPv6ExtHdrDestOpt()
        segment = TCP(
            sport=pick.randrange(65536),
            dport=pick.choice((25, 587)),
            seq=pick.randrange(2**32),
            ack=pick.randrange(2**32),
            flags=pick.randrange(256),
            options=[("NOP", None)] * pick.choice((0, 0, 4, 12)),
        )
        layers /= pick.choice((segment, segment, segment, UDP(sport=9), ICMP()))
        layers /= Raw(pick.randbytes(pick.choice((0, 1, 5, 300))))
        if pick.random() < 0.05:
            layers = Ether() / ARP()
        frames.append(bytes(layers) + bytes(pick.choice((0, 0, 6))))
    return frames


def test_scapy_sees_the_same_segments() -> None:
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet6 import IPv6
    from scapy.layers.l2 import Ether
    from scapy.packet import Padding, Raw

    frames = scapy_frames(300)
    wanted = []
    for number, frame in enumerate(frames, 1):
        packet = Ether(frame)
        if TCP not in packet:
            continue
        segment = packet[TCP]
        below = segment.underlayer
        while not isinstance(below, (IP, IPv6)):
            below = below.underlayer
        body = segment.payload
        octets = b"" if isinstance(body, Padding) else bytes(body[Raw].load) if body else b""
        wanted.append(
            (
                number,
                below.src,
                segment.sport,
                below.dst,
                segment.dport,
                segment.seq,
                segment.ack,
                int(segment.flags) & 0xFF,
                octets,
            )
        )
    (batch,) = decode(frames)
    found = []
    for row in range(len(batch)):
        ends = []
        for place in (0, 18):
            address = ip_address(batch.endpoints[row, place : place + 16].tobytes())
            port = int.from_bytes(batch.endpoints[row, place + 16 : place + 18].tobytes(), "big")
            ends.append((str(address.ipv4_mapped or address), port))
        source, target = ends if batch.forward[row] else ends[::-1]
        assert source[1] == batch.sport[row]
        assert target[1] == batch.dport[row]
        columns = (int(column[row]) for column in (batch.seq, batch.ack, batch.flags))
        found.append((int(batch.packet[row]), *source, *target, *columns, payload(batch, row)))
    assert len(found) > 100
    assert found == wanted
    assert batch.packets == len(frames) == len(batch) + batch.not_tcp + batch.unreadable


@pytest.mark.parametrize("linktype", [ETHERNET, RAW, NULL, SLL, SLL2, 9, 105, 127, 192])
def test_damaged_packets_never_raise_and_every_one_is_counted(linktype: int) -> None:
    random_ = random.Random(linktype)
    frames = [
        framed(datagram, linktype)
        for datagram in (
            *DATAGRAMS,
            ipv4(GRE, protocol=47),
            ipv4(DATAGRAMS[1], protocol=41),
            ipv6(tcp(), extensions=[(0, bytes(7)), fragment_extension(5, 0, False)]),
        )
    ] + [ethernet(PPPOE, 0x8864), ethernet(MPLS + DATAGRAMS[0], 0x8847), WIFI + DATAGRAMS[0]]
    packets = []
    for _ in range(60):
        for frame in frames:
            octets = bytearray(frame[: random_.randrange(1, len(frame) + 1)])
            for _ in range(random_.randrange(4)):
                octets[random_.randrange(len(octets))] = random_.choice((0, 4, 6, 41, 47, 255))
            packets.append(Packet(bytes(octets), original=len(frame)))
    for batch in decode(packets, linktype):
        counted = len(batch) + batch.not_tcp + batch.unreadable
        assert counted <= batch.packets <= counted + batch.slow
        assert (batch.start + batch.length <= len(batch.buffer)).all()
        assert (batch.length >= 0).all()
        assert (batch.missing >= 0).all()


def test_a_batch_without_segments_has_empty_columns() -> None:
    (batch,) = decode([ethernet(bytes(28), 0x0806)])
    assert batch.endpoints.shape == (0, 36)
    assert batch.key.shape == batch.start.shape == (0,)


def test_the_flags_of_a_handshake_are_kept() -> None:
    frames = [ethernet(ipv4(tcp(flags=flags))) for flags in (SYN, SYN | ACK, ACK)]
    assert decode(frames)[0].flags.tolist() == [SYN, SYN | ACK, ACK]
