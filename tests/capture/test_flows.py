from __future__ import annotations

import random
import socket
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtpscope.capture.connection import Connection
from smtpscope.capture.flows import CANDIDATES, LINGER, PERIOD, StreamAssembler
from smtpscope.capture.recognition import WATCHED_SEGMENTS
from smtpscope.capture.tcp import ACK, FIN, RST, SYN
from smtpscope.stream import Closed, Data, Direction, Endpoint, Gap, Opened, StreamEvent

PORTS = frozenset({25, 465, 587})
CLIENT = ("192.0.2.1", 40000)
SERVER = ("192.0.2.2", 2500)


class Packet(NamedTuple):
    source: tuple[str, int]
    target: tuple[str, int]
    seq: int
    payload: bytes = b""
    flags: int = ACK
    ack: int = 0
    time: int | None = None
    missing: int = 0


@dataclass
class Batch:
    """The columns of a SegmentBatch."""

    buffer: bytes
    packet: np.ndarray
    time: np.ndarray
    key: np.ndarray
    endpoints: np.ndarray
    forward: np.ndarray
    sport: np.ndarray
    dport: np.ndarray
    seq: np.ndarray
    ack: np.ndarray
    flags: np.ndarray
    start: np.ndarray
    length: np.ndarray
    missing: np.ndarray


def octets_of(endpoint: tuple[str, int]) -> bytes:
    address, port = endpoint
    if ":" in address:
        packed = socket.inet_pton(socket.AF_INET6, address)
    else:
        packed = bytes(10) + b"\xff\xff" + socket.inet_aton(address)
    return packed + port.to_bytes(2)


def batch_of(packets: list[Packet], first: int = 1, keys: int = 1 << 64) -> Batch:
    """`keys`: how many different keys there are; few make flows share them."""
    buffer = b"\xee" * 7
    starts = []
    names = []
    forward = []
    for one in packets:
        starts.append(len(buffer))
        buffer += one.payload
        source, target = octets_of(one.source), octets_of(one.target)
        forward.append(source < target)
        names.append(min(source, target) + max(source, target))
    numbers = range(first, first + len(packets))
    return Batch(
        buffer=buffer,
        packet=np.array(numbers, np.int64),
        time=np.array(
            [
                n * 1000 if one.time is None else one.time
                for n, one in zip(numbers, packets, strict=True)
            ],
            np.int64,
        ),
        key=np.array([hash(name) % keys for name in names], np.uint64),
        endpoints=np.frombuffer(b"".join(names), np.uint8).reshape(-1, 36),
        forward=np.array(forward, bool),
        sport=np.array([one.source[1] for one in packets], np.uint16),
        dport=np.array([one.target[1] for one in packets], np.uint16),
        seq=np.array([one.seq & 0xFFFFFFFF for one in packets], np.int64),
        ack=np.array([one.ack & 0xFFFFFFFF for one in packets], np.int64),
        flags=np.array([one.flags for one in packets], np.uint8),
        start=np.array(starts, np.int64),
        length=np.array([len(one.payload) for one in packets], np.int64),
        missing=np.array([one.missing for one in packets], np.int64),
    )


class Result:
    """What came of a capture: each connection's events, data joined across batches."""

    def __init__(self) -> None:
        self.connections: dict[int, Connection] = {}
        self.events: dict[int, list[StreamEvent]] = {}
        self.evicted = 0

    def add(self, found: list[tuple[Connection, list[StreamEvent]]]) -> None:
        places = [connection.place for connection, _ in found]
        assert places == sorted(set(places))
        for connection, news in found:
            assert news
            known = {each.place: number for number, each in self.connections.items()}
            number = known.get(connection.place, len(known) + 1)
            assert self.connections.setdefault(number, connection) is connection
            events = self.events.setdefault(number, [])
            for event in news:
                last = events[-1] if events else None
                if (
                    isinstance(event, Data)
                    and isinstance(last, Data)
                    and last.direction is event.direction
                ):
                    marks = last.marks + event.marks
                    events[-1] = last._replace(data=last.data + event.data, marks=marks)
                else:
                    events.append(event)

    def said(self, number: int = 1) -> list[bytes]:
        return [event.data for event in self.events[number] if isinstance(event, Data)]

    def closed(self, number: int = 1) -> list[str]:
        return [event.how for event in self.events[number] if isinstance(event, Closed)]


def run(
    packets: list[Packet],
    *,
    size: int = 1 << 30,
    keys: int = 1 << 64,
    max_connections: int = 100_000,
    finish: bool = True,
) -> Result:
    assembler = StreamAssembler(PORTS, max_connections=max_connections)
    result = Result()
    for begin in range(0, len(packets), size):
        result.add(assembler.feed(batch_of(packets[begin : begin + size], begin + 1, keys)))
    if finish:
        result.add(assembler.finish())
    result.evicted = assembler.evicted
    return result


def talk(
    *lines: tuple[str, bytes],
    client: tuple[str, int] = CLIENT,
    server: tuple[str, int] = SERVER,
    isn: int = 100,
    syn: bool = True,
    end: int = FIN | ACK,
) -> list[Packet]:
    """A conversation in which every segment is acknowledged; ends with FINs, or as `end` says."""
    ends = {"C": (client, server), "S": (server, client)}
    seq = {"C": isn + 1, "S": isn + 5001}
    packets = []
    if syn:
        packets += [
            Packet(client, server, isn, flags=SYN),
            Packet(server, client, isn + 5000, flags=SYN | ACK, ack=isn + 1),
            Packet(client, server, isn + 1, ack=isn + 5001),
        ]
    for who, payload in lines:
        other = "S" if who == "C" else "C"
        packets.append(Packet(*ends[who], seq[who], payload, ack=seq[other]))
        seq[who] += len(payload)
        packets.append(Packet(*ends[other], seq[other], ack=seq[who]))
    if end & FIN:
        packets.append(Packet(client, server, seq["C"], flags=end, ack=seq["S"]))
        packets.append(Packet(server, client, seq["S"], flags=end, ack=seq["C"] + 1))
        packets.append(Packet(client, server, seq["C"] + 1, ack=seq["S"] + 1))
    elif end & RST:
        packets.append(Packet(client, server, seq["C"], flags=end))
    return packets


GREETING = ("S", b"220 mx.test ESMTP\r\n")
PLAIN_GREETING = ("S", b"220 mx.test ready\r\n")
EHLO = ("C", b"EHLO client.test\r\n")
DONE = ("S", b"250 mx.test\r\n")


def test_a_dialogue_on_a_known_port_is_one_connection() -> None:
    result = run(talk(GREETING, EHLO, DONE, server=("192.0.2.2", 25)))
    assert list(result.connections) == [1]
    connection = result.connections[1]
    assert connection.client == Endpoint("192.0.2.1", 40000)
    assert connection.server == Endpoint("192.0.2.2", 25)
    assert not connection.midstream
    assert result.said() == [GREETING[1], EHLO[1], DONE[1]]
    assert result.closed() == ["fin", "fin"]
    assert result.events[1][0] == Opened(1000, connection.client, connection.server, True, 1)


def test_the_client_may_have_the_higher_address() -> None:
    result = run(talk(GREETING, EHLO, client=("203.0.113.9", 40000), server=("192.0.2.2", 25)))
    assert result.connections[1].client == Endpoint("203.0.113.9", 40000)
    assert [event.direction for event in result.events[1] if isinstance(event, Data)] == [
        Direction.SERVER,
        Direction.CLIENT,
    ]


def test_ipv6_addresses_are_written_short() -> None:
    result = run(talk(GREETING, client=("2001:db8::1", 50000), server=("2001:db8::2", 25)))
    assert str(result.connections[1].client) == "[2001:db8::1]:50000"


SMTP_ELSEWHERE = [
    [GREETING],
    [PLAIN_GREETING, EHLO],
    [("S", b"554 no service here, ESMTP\r\n")],
    [("S", b"220-mx.test\r\n220 go on\r\n"), ("C", b"helo x\r\n")],
    [("S", b"220 mx.test LMTP\r\n"), ("C", b"LHLO x\r\n")],
    [EHLO],
    [("C", b"eh"), ("C", b"lo x\r\n")],
    [("S", b"22"), ("S", b"0 mx ESMTP\r\n")],
    [("C", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nEHLO x\r\n")],
    [("C", b"PROXY UNKNOWN\r\n"), GREETING],
    [
        ("C", b"CONNECT mx.test:25 HTTP/1.0\r\n\r\n"),
        ("S", b"HTTP/1.0 200 Connection established\r\n\r\n"),
        GREETING,
    ],
    [
        ("C", b"CONNECT mx.test:25 HTTP/1.1\r\n"),
        ("C", b"\r\n"),
        ("S", b"HTTP/1.1 200 OK\r\n\r\n220 hi\r\n"),
        EHLO,
    ],
    [
        ("C", b"\x05\x01\x00"),
        ("S", b"\x05\x00"),
        ("C", b"\x05\x01\x00\x01\xc0\x00\x02\x02\x00\x19"),
        ("S", b"\x05\x00\x00\x01\xc0\x00\x02\x02\x00\x19" + GREETING[1]),
    ],
    [("C", b"\x04\x01\x00\x19\xc0\x00\x02\x02\x00"), ("S", b"\x00\x5a" + bytes(6)), GREETING],
]


@pytest.mark.parametrize("size", [1, 4, 1 << 30])
@pytest.mark.parametrize("lines", SMTP_ELSEWHERE)
def test_smtp_on_another_port_is_known_by_what_it_says(
    lines: list[tuple[str, bytes]], size: int
) -> None:
    result = run(talk(*lines, ("C", b"QUIT\r\n")), size=size)
    assert b"".join(result.said()) == b"".join(line for _, line in lines) + b"QUIT\r\n"
    assert result.connections[1].client.port == 40000
    assert isinstance(opened := result.events[1][0], Opened)
    assert (opened.handshake, opened.packet) == (True, 1)


OTHERS = [
    [("S", b"220 ftp.test ready\r\n"), ("C", b"USER anonymous\r\n"), ("S", b"331 ok\r\n")],
    [("C", b"GET / HTTP/1.1\r\n\r\n"), ("S", b"HTTP/1.1 200 OK\r\n\r\n")],
    [("C", b"\x16\x03\x01\x02\x00\x01"), ("S", b"\x16\x03\x03")],
    [("S", b"SSH-2.0-x\r\n")],
    [("S", b"554 \r\n"), ("C", b"\x00")],
    [("S", b"+OK ESMTP\r\n"), ("C", b"EHLX\r\n")],
    [("C", b"CONNECT www.test:443 HTTP/1.1\r\n\r\n"), ("S", b"HTTP/1.1 200 OK\r\n\r\n")]
    + [("C", b"\x17\x03\x03..."), ("S", b"\x17\x03\x03...")] * WATCHED_SEGMENTS,
    [("C", b"EHLOX no\r\n")],
    [],
]


@pytest.mark.parametrize("size", [1, 4, 1 << 30])
@pytest.mark.parametrize("lines", OTHERS)
def test_what_is_no_smtp_is_left_out(lines: list[tuple[str, bytes]], size: int) -> None:
    assert not run(talk(*lines), size=size).events
    assert not run(talk(*lines, end=RST), size=size).events


def test_port_21_is_never_smtp_by_its_greeting() -> None:
    lines = ("S", b"220 ftp and no SMTP here\r\n"), ("C", b"USER x\r\n")
    assert not run(talk(*lines, server=("192.0.2.2", 21))).events


def test_a_tunnel_is_watched_for_some_segments_and_then_known_only_from_its_greeting_on() -> None:
    opening = ("C", b"CONNECT mx.test:25 HTTP/1.1\r\n\r\n")
    chatter = [("S", b"-")] * (WATCHED_SEGMENTS - 2)
    watched = run(talk(opening, *chatter, GREETING))
    dismissed = run(talk(opening, *chatter, ("S", b"-"), GREETING))
    assert watched.said()[0] == opening[1]
    assert not watched.connections[1].midstream
    assert dismissed.said() == [GREETING[1]]
    assert dismissed.connections[1].midstream


MIDSTREAM = [
    ("C", b"MAIL FROM:<a@x.test>\r\n"),
    ("C", b"rcpt to:<a@x.test>\r\n"),
    EHLO,
    GREETING,
]


@pytest.mark.parametrize("size", [1, 1 << 30])
@pytest.mark.parametrize("line", MIDSTREAM)
def test_a_flow_joined_midstream_is_smtp_from_its_first_command(
    line: tuple[str, bytes], size: int
) -> None:
    packets = talk(("S", b"250 what\r\n"), line, ("S", b"250 ok\r\n"), syn=False)
    result = run(packets, size=size)
    assert b"".join(result.said()) == line[1] + b"250 ok\r\n"
    assert result.connections[1].client.port == 40000
    assert result.connections[1].midstream


def test_one_single_packet_is_enough() -> None:
    assert run(talk(EHLO, syn=False, end=0)[:1]).said() == [EHLO[1]]


def test_an_acknowledgment_alone_opens_nothing() -> None:
    assert not run([Packet(CLIENT, ("192.0.2.2", 25), 5), Packet(CLIENT, SERVER, 5)]).events


@pytest.mark.parametrize(
    ("client", "server", "line"),
    [
        (40000, 25, ("S", b"anything")),
        (25, 587, EHLO),
        (465, 25, GREETING),
        (587, 25, ("S", b"anything")),
    ],
)
def test_who_is_the_client_without_a_syn(client: int, server: int, line: tuple[str, bytes]) -> None:
    result = run(talk(line, client=("192.0.2.9", client), server=("192.0.2.2", server), syn=False))
    assert result.connections[1].client.port == client


def test_the_answer_to_a_syn_tells_who_is_the_client() -> None:
    packets = talk(GREETING, EHLO, client=("192.0.2.1", 25), server=("192.0.2.2", 587))[1:]
    result = run(packets)
    assert result.connections[1].client.port == 25
    assert result.said() == [GREETING[1], EHLO[1]]


def test_a_late_retransmission_opens_no_connection() -> None:
    packets = talk(GREETING, EHLO, server=("192.0.2.2", 25))
    late = [packets[5], packets[0], packets[1], packets[-2]]
    for size in (1, 1 << 30):
        result = run(packets + late, size=size)
        assert list(result.events) == [1]
        assert result.closed() == ["fin", "fin"]


@pytest.mark.parametrize("size", [1, 3, 1 << 30])
def test_ports_are_used_again(size: int) -> None:
    server = ("192.0.2.2", 25)
    packets = talk(GREETING, EHLO, server=server)
    packets += talk(GREETING, server=server, isn=70_000, end=0)
    packets += talk(EHLO, server=server, isn=900_000)
    later = Packet(CLIENT, server, 7, b"NOOP\r\n", time=LINGER * 2, ack=4)
    result = run([*packets, later], size=size)
    assert [result.said(number) for number in (1, 2, 3, 4)] == [
        [GREETING[1], EHLO[1]],
        [GREETING[1]],
        [EHLO[1]],
        [b"NOOP\r\n"],
    ]
    assert [result.closed(number) for number in (1, 2, 3, 4)] == [
        ["fin", "fin"],
        ["end"],
        ["fin", "fin"],
        ["end"],
    ]


def test_ports_are_used_again_for_something_else() -> None:
    result = run(talk(GREETING) + talk(("C", b"GET / HTTP/1.1\r\n"), isn=9999) + talk(EHLO, isn=55))
    assert [result.said(number) for number in result.events] == [[GREETING[1]], [EHLO[1]]]


def many(seed: int, count: int) -> list[Packet]:
    """Conversations of all kinds, their packets interleaved, some of them lost or disordered."""
    dice = random.Random(seed)
    kinds = [*SMTP_ELSEWHERE, *OTHERS, [GREETING, EHLO, DONE]]
    flows = []
    for number in range(count):
        lines = dice.choice(kinds)
        server = dice.choice([("192.0.2.2", 25), SERVER, ("2001:db8::25", 587)])
        client = ("192.0.2.1" if "." in server[0] else "2001:db8::1", 40000 + dice.randrange(4))
        if dice.random() < 0.7:
            client = (client[0], 41000 + number)
        end = dice.choice([FIN | ACK, FIN | ACK, RST, 0])
        flow = talk(
            *lines,
            client=client,
            server=server,
            isn=dice.randrange(1 << 32),
            syn=dice.random() < 0.8,
            end=end,
        )
        if dice.random() < 0.3 and flow:
            flow.pop(dice.randrange(len(flow)))
        if dice.random() < 0.3 and len(flow) > 1:
            place = dice.randrange(len(flow) - 1)
            flow[place : place + 2] = flow[place + 1], flow[place]
        flows.append(flow)
    packets = []
    alive = [flow for flow in flows if flow]
    while alive:
        flow = alive[min(int(dice.expovariate(0.3)), len(alive) - 1)]
        packets.append(flow.pop(0))
        if not flow:
            alive.remove(flow)
    return packets


KEYS = st.sampled_from([3, 1 << 64])


def by_number(result: Result) -> list[object]:
    return [(number, result.events[number]) for number in sorted(result.events)]


@settings(max_examples=40)
@given(
    st.integers(0, 1 << 32), st.integers(1, 12), st.integers(1, 60), st.sampled_from([3, 1 << 64])
)
def test_results_do_not_depend_on_the_batches(seed: int, count: int, size: int, keys: int) -> None:
    packets = many(seed, count)
    whole = run(packets)
    assert by_number(run(packets, size=size, keys=keys)) == by_number(whole)
    assert sorted(whole.events) == list(range(1, len(whole.events) + 1))


@settings(max_examples=30)
@example(seed=428, size=1, most=2)
@given(st.integers(0, 1 << 32), st.integers(1, 60), st.integers(1, 4))
def test_evictions_do_not_depend_on_the_batches(seed: int, size: int, most: int) -> None:
    packets = many(seed, 10)
    whole = run(packets, max_connections=most)
    cut = run(packets, size=size, max_connections=most)
    assert by_number(cut) == by_number(whole)
    assert cut.evicted == whole.evicted


@settings(max_examples=40)
@given(
    st.integers(0, 1 << 32),
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(0, 3),
)
def test_what_is_forgotten_does_not_depend_on_the_batches(
    seed: int, size: int, most: int, period: int, candidates: int
) -> None:
    packets = many(seed, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smtpscope.capture.flows.PERIOD", period)
        patch.setattr("smtpscope.capture.flows.CANDIDATES", candidates)
        whole = run(packets, max_connections=most)
        assert by_number(run(packets, size=size, max_connections=most)) == by_number(whole)


def test_ended_connections_are_forgotten_when_there_are_too_many() -> None:
    packets = [
        talk(GREETING, client=("192.0.2.1", port), server=("192.0.2.2", 25))
        for port in (41000, 41001)
    ]
    for most, forgotten in ((1, True), (2, False)):
        assembler = StreamAssembler(PORTS, max_connections=most)
        assembler.feed(batch_of(packets[0]))
        assembler.feed(batch_of(packets[1], 1000))
        late = packets[0][3:4]
        assert not assembler.feed(batch_of(late, PERIOD - 1))
        assert bool(assembler.feed(batch_of(late, PERIOD))) is forgotten


@pytest.mark.parametrize("size", [1, 1 << 30])
def test_what_ended_first_is_forgotten_first(size: int) -> None:
    early, late, *others = (
        talk(GREETING, client=("192.0.2.1", 41000 + number), server=("192.0.2.2", 25))
        for number in range(7)
    )
    packets = [late[0], *early, *late[1:]]
    for flow, forgotten in ((early, True), (late, False)):
        assembler = StreamAssembler(PORTS, max_connections=6)
        for begin in range(0, len(packets), size):
            assembler.feed(batch_of(packets[begin : begin + size], begin + 1))
        for number, other in enumerate(others, 1):
            assembler.feed(batch_of(other, number * 100))
        assert bool(assembler.feed(batch_of(flow[3:4], PERIOD))) is forgotten


@pytest.mark.parametrize("size", [1, 1 << 30])
def test_what_began_first_is_dismissed_first(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpscope.capture.flows.CANDIDATES", 1)
    early, late = (talk(GREETING, client=("192.0.2.1", port)) for port in (41000, 41001))
    packets = [late[2], *early[:3], *late[:3]]
    for flow, midstream in ((early, True), (late, False)):
        assembler = StreamAssembler(PORTS)
        for begin in range(0, len(packets), size):
            assembler.feed(batch_of(packets[begin : begin + size], begin + 1))
        [(connection, _)] = assembler.feed(batch_of(flow[3:4], PERIOD))
        assert connection.midstream is midstream


def test_the_connection_idle_longest_is_closed_when_too_many_are_open() -> None:
    ports = [41000, 41001, 41002]
    flows = [
        talk(GREETING, client=("192.0.2.1", port), server=("192.0.2.2", 25), end=0)
        for port in ports
    ]
    packets = flows[0][:3] + flows[1] + flows[0][3:] + flows[2]
    result = run(packets, max_connections=2, finish=False)
    assert result.evicted == 1
    assert [result.closed(number) for number in (1, 2, 3)] == [[], ["end"], []]


def test_an_open_connection_is_not_evicted_for_ended_ones() -> None:
    server = ("192.0.2.2", 25)
    packets = talk(GREETING, server=server, end=0)
    for port in range(41000, 41050):
        packets += talk(GREETING, client=("192.0.2.1", port), server=server)
    result = run(packets, max_connections=2, size=50)
    assert result.evicted == 0
    assert result.closed(1) == ["end"]


def test_flows_that_never_speak_are_forgotten_when_there_are_too_many() -> None:
    opening, rest = talk(GREETING)[:3], talk(GREETING)[3:]
    silent = [
        Packet(("192.0.2.7", 1024 + number), ("192.0.2.8", 8000), 1, flags=SYN)
        for number in range(CANDIDATES)
    ]
    for forgotten in (False, True):
        assembler = StreamAssembler(PORTS)
        assert not assembler.feed(batch_of(opening))
        assert not assembler.feed(batch_of(silent if forgotten else silent[1:]))
        [(connection, _)] = assembler.feed(batch_of(rest, PERIOD))
        assert connection.midstream is forgotten


def test_flows_that_share_a_key_are_told_apart() -> None:
    server = ("192.0.2.2", 25)
    left = talk(GREETING, EHLO, client=("192.0.2.1", 1), server=server)
    right = talk(EHLO, DONE, client=("192.0.2.1", 2), server=server)
    other = talk(("C", b"GET /\r\n"), client=("192.0.2.1", 3))
    packets = [packet for three in zip(left, right, other, strict=False) for packet in three]
    result = run(packets, keys=1)
    assert [result.said(number) for number in result.events] == [
        [GREETING[1], EHLO[1]],
        [EHLO[1], DONE[1]],
    ]


def test_a_payload_cut_off_whole_still_counts() -> None:
    packet = Packet(CLIENT, ("192.0.2.2", 25), 7, missing=30)
    result = run([packet])
    assert [type(event) for event in result.events[1]] == [Opened, Gap, Closed]


def test_an_empty_batch_brings_nothing() -> None:
    assembler = StreamAssembler(PORTS)
    empty = batch_of([Packet(CLIENT, SERVER, 1)])
    for name, column in vars(empty).items():
        setattr(empty, name, column[:0])
    assert assembler.feed(empty) == []
    assert assembler.finish() == []
