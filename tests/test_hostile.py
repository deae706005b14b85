"""Hostile and broken input through the whole path: nothing raises, hangs, grows or leaks.

Everything runs in this process. SMTPSCOPE_FUZZ is the number of random corruptions to try, the
seed is SMTPSCOPE_FUZZ_SEED.
"""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import os
import random
import struct
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.conversation import connection, sessions
from support.packets import ACK, SYN, Packet, Pcapng, ethernet, ipv4, ipv6, pcap, tcp

from smtpscope.cli import run
from smtpscope.decode import SessionDecoder
from smtpscope.errors import NoCaptureError
from smtpscope.export import jsonl, text
from smtpscope.places import bundled_captures
from smtpscope.reading import read_sessions
from smtpscope.session import Content, Session
from smtpscope.smtp import commands, dialogue, framing, replies
from smtpscope.smtp.dialogue import Dialogue
from smtpscope.stream import (
    Closed,
    Data,
    Direction,
    Endpoint,
    Gap,
    Mark,
    Opened,
    Span,
    StreamEvent,
)

CASES = int(os.environ.get("SMTPSCOPE_FUZZ", "800"))
SEED = int(os.environ.get("SMTPSCOPE_FUZZ_SEED", "1"))
MEGABYTE = 1 << 20

GREETING = ("S", b"220 mx.example ESMTP\r\n")
HELLO = (("C", b"EHLO a.example\r\n"), ("S", b"250-mx.example\r\n250 PIPELINING\r\n"))
ENVELOPE = (
    ("C", b"MAIL FROM:<a@example>\r\nRCPT TO:<b@example>\r\nDATA\r\n"),
    ("S", b"250 ok\r\n250 ok\r\n354 go\r\n"),
)
BYE = (("C", b"QUIT\r\n"), ("S", b"221 bye\r\n"))


def shown(session: Session) -> tuple[str, str]:
    """The session as text and as a JSON line, which have to be fit for a terminal."""
    lines = list(text.lines(session))
    assert all(line.isprintable() for line in lines)
    line = jsonl.dumps(session)
    assert line.isprintable()
    line.encode("utf-8")
    json.loads(line)
    return "\n".join(lines), line


def read(octets: bytes) -> list[Session] | None:
    """The sessions of a capture, shown in all forms; None where it is no capture."""
    try:
        found = list(read_sessions(io.BytesIO(octets)))
    except NoCaptureError:
        return None
    for session in found:
        shown(session)
    return found


def peak(octets: bytes) -> int:
    """The octets of memory that reading this capture takes at most, its own not counted."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        try:
            for _ in read_sessions(io.BytesIO(octets)):
                pass
        except NoCaptureError:
            pass
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# -- captures that are cut or damaged ------------------------------------------------------------


def two_sessions(client: int = 40_000) -> Iterator[Packet]:
    """Two short sessions, one behind the other."""
    turns = (GREETING, *BYE)
    yield from connection(turns, client=client)
    yield from connection(turns, client=client + 1, start=1_700_000_009_000_000_000)


def as_pcapng(packets: Iterable[Packet]) -> bytes:
    made = Pcapng().interface()
    for packet in packets:
        made.packet(packet.frame, packet.time // 1_000)
    return made.data


PACKETS = list(two_sessions())


@pytest.mark.parametrize(
    ("whole", "first_ends"),
    [
        (pcap(PACKETS), len(pcap(PACKETS[: len(PACKETS) // 2]))),
        (as_pcapng(PACKETS), len(as_pcapng(PACKETS[: len(PACKETS) // 2]))),
        (gzip.compress(pcap(PACKETS)), None),
    ],
    ids=["pcap", "pcapng", "gzip"],
)
def test_a_capture_cut_at_any_octet_shows_what_is_before_the_cut(
    whole: bytes, first_ends: int | None
) -> None:
    complete = read(whole)
    assert complete is not None
    first = shown(complete[0])
    for cut in range(len(whole)):
        try:
            found = list(read_sessions(io.BytesIO(whole[:cut])))
        except NoCaptureError:
            found = []
        if first_ends is not None and cut >= first_ends:
            assert shown(found[0]) == first


def corrupted(chance: random.Random, octets: bytes) -> bytes:
    """The octets with one to thirty random damages."""
    damaged = bytearray(octets)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8, 30))):
        at = chance.randrange(len(damaged) or 1)
        size = min(chance.choice((1, 2, 4, 16, 64, 500)), len(damaged) - at)
        kind = chance.randrange(7)
        if kind == 0 and damaged:
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            damaged[at : at + size] = bytes([chance.choice(b"\0\xff\r\n.\x16")]) * size
        elif kind == 2:
            damaged[at : at + size] = chance.randbytes(size)
        elif kind == 3:
            damaged[at:at] = chance.randbytes(size)
        elif kind == 4:
            del damaged[at : at + size]
        elif kind == 5:
            damaged[at:at] = damaged[at : at + size]
        else:
            place = chance.randrange(len(damaged) or 1)
            damaged[place:place] = damaged[at : at + size]
    return bytes(damaged)


def test_random_damage_raises_nothing() -> None:
    captures = [path.read_bytes() for path in bundled_captures()]
    captures = [octets for octets in captures if len(octets) < 8_000]
    captures += [gzip.compress(octets, mtime=0) for octets in captures[:4]]
    chance = random.Random(SEED)
    found = 0
    for _ in range(CASES):
        found += len(read(corrupted(chance, chance.choice(captures))) or ())
    assert found


def test_damaged_files_are_status_0_or_5_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(SEED)
    file = tmp_path / "damaged"
    whole = as_pcapng(PACKETS)
    statuses = set()
    for number in range(120):
        file.write_bytes(corrupted(chance, whole) if number % 4 else chance.randbytes(400))
        statuses.add(run(["read", "--format", ("text", "jsonl")[number % 2], str(file)]))
        assert capsys.readouterr().out.replace("\n", "").isprintable()
    assert statuses == {0, 5}


MAGICS = [
    b"",
    *(struct.pack(order + "I", magic) for order in "<>" for magic in (0xA1B2C3D4, 0xA1B23C4D)),
    struct.pack("<I", 0xA1B2CD34),
    pcap([]),
    b"\n\r\r\n",
    Pcapng("<").data,
    Pcapng(">").data,
    Pcapng().interface().data,
    b"\x1f\x8b",
    b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
    b"\x28\xb5\x2f\xfd",
]


@pytest.mark.parametrize("magic", MAGICS, ids=range(len(MAGICS)))
def test_random_octets_behind_a_magic_number_raise_nothing(magic: bytes) -> None:
    chance = random.Random(SEED)
    for size in (0, 1, 3, 4, 8, 12, 16, 20, 24, 28, 40, 100, 1_000, 20_000):
        read(magic + chance.randbytes(size))


def test_absurd_lengths_raise_nothing_and_take_no_memory() -> None:
    frame = PACKETS[3].frame
    for length in (0, 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1):
        for captured, original in ((length, len(frame)), (len(frame), length), (length, length)):
            record = struct.pack("<IIII", 1, 1, captured, original) + frame
            assert peak(pcap([]) + record * 3) < 16 * MEGABYTE
            body = struct.pack("<5I", 0, 0, 0, captured, original) + frame
            assert peak(Pcapng().interface().block(6, body).data) < 16 * MEGABYTE
        head = struct.pack("<II", 6, length)
        assert peak(Pcapng().interface().data + head + bytes(100)) < 16 * MEGABYTE
        read(pcap(PACKETS, snaplen=length))
        read(pcap(PACKETS, linktype=length & 0xFFFF))


def test_an_archive_of_nothing_is_read_in_little_memory() -> None:
    member = gzip.compress(bytes(32 * MEGABYTE), mtime=0)
    assert peak(member * 8) < 4 * MEGABYTE
    idle = pcap([Packet(bytes(60_000))] * 256)[24:]
    bomb = gzip.compress(pcap([]), mtime=0) + gzip.compress(idle, 1, mtime=0) * 16
    assert peak(bomb) < 64 * MEGABYTE


def test_interfaces_without_measure_are_bounded() -> None:
    made = Pcapng()
    one = Pcapng().interface(name="x").data[len(made.data) :]
    assert peak(made.data + one * 20_000) < 8 * MEGABYTE


# -- packets that lie ----------------------------------------------------------------------------


def test_every_header_length_and_option_is_read_or_refused() -> None:
    chance = random.Random(SEED)
    packets = list(PACKETS)
    for low, high in itertools.product(range(16), repeat=2):
        segment = bytearray(tcp(b"EHLO a\r\n", flags=ACK, options=chance.randbytes(40)))
        segment[12] = high << 4
        four = bytearray(ipv4(bytes(segment)))
        four[0] = low << 4 | high
        packets.append(Packet(ethernet(bytes(four), 0x0800)))
        four[0] = 0x40 | low
        packets.append(Packet(ethernet(bytes(four), 0x0800)))
        four[2:4] = chance.randbytes(2)
        packets.append(Packet(ethernet(bytes(four), 0x0800)))
        extension = (chance.choice((0, 43, 44, 51, 60)), chance.randbytes(7))
        six = ipv6(bytes(segment), extensions=[extension] * low)
        packets.append(Packet(ethernet(six)))
        packets.append(Packet(ethernet(six[: len(six) - high])))
    found = read(pcap(packets))
    assert found
    assert [one.state for one in found[:2]] == ["quit", "quit"]


def segments(payloads: Iterable[tuple[int, bytes]], seq: int = 2_000) -> list[Packet]:
    """A connection, then client segments at these offsets, all of them captured later."""
    opening = list(connection([GREETING], client=4_000, end=""))
    start = opening[-1].time
    first = 1_001
    return opening + [
        Packet(
            ethernet(ipv4(tcp(payload, sport=4_000, seq=first + offset, ack=9_000_001))),
            start + number * 1_000,
        )
        for number, (offset, payload) in enumerate(payloads, 1)
    ]


def test_tiny_segments_out_of_order_are_bounded() -> None:
    chance = random.Random(SEED)
    order = list(range(12_000))
    for at in range(0, len(order), 3_000):
        part = order[at : at + 3_000]
        chance.shuffle(part)
        order[at : at + 3_000] = part
    line = b"NOOP\r\n" * 2_000
    (session,) = read(pcap(segments((at, line[at : at + 1]) for at in order))) or ()
    assert len(session.exchanges) == 1 + 2_000
    for places in (range(20_000, 0, -2), range(1, 20_000, 2)):
        capture = pcap(segments((at, b"A") for at in places))
        assert peak(capture) < 32 * MEGABYTE


def test_a_storm_of_overlaps_is_bounded() -> None:
    chance = random.Random(SEED)
    storm = [(chance.randrange(20_000), chance.randbytes(1_000)) for _ in range(1_000)]
    (session,) = read(pcap(segments(storm))) or ()
    assert "overlap-disagrees" in {finding.rule for finding in session.findings}
    again = pcap(segments([(0, b"NOOP\r\n" * 200), *[(0, b"RSET\r\n" * 200)] * 3_000]))
    assert peak(again) < 32 * MEGABYTE


@pytest.mark.parametrize("port", [25, 80])
def test_a_flood_of_syns_is_bounded(port: int) -> None:
    packets = [
        Packet(ethernet(ipv4(tcp(dport=port, sport=number, seq=number, flags=SYN))), number)
        for number in range(1, 2_001)
    ]
    assert peak(pcap(packets)) < 32 * MEGABYTE


# -- dialogues without measure -------------------------------------------------------------------


def endless(*turns: tuple[str, bytes]) -> bytes:
    """A capture of one connection that says all this in segments of 60,000 octets."""
    frames: list[Packet] = list(connection((), end=""))
    sequence = {"C": 1_001, "S": 9_000_001}
    clock = frames[-1].time
    for side, octets in turns:
        other = "S" if side == "C" else "C"
        for at in range(0, len(octets), 60_000):
            piece = octets[at : at + 60_000]
            sport, dport = (40_000, 25) if side == "C" else (25, 40_000)
            segment = tcp(piece, sport=sport, dport=dport, seq=sequence[side], ack=sequence[other])
            source, target = ("192.0.2.1", "192.0.2.2")[:: 1 if side == "C" else -1]
            clock += 1_000
            frames.append(Packet(ethernet(ipv4(segment, source=source, target=target)), clock))
            sequence[side] += len(piece)
    return pcap(frames)


BIG = 4 * MEGABYTE
MANY = 10_000

ENDLESS = {
    "client without LF": [GREETING, ("C", b"A" * BIG)],
    "server without LF": [GREETING, ("C", b"EHLO a\r\n"), ("S", b"2" * BIG)],
    "both without LF": [("S", b"2" * BIG), ("C", b"A" * BIG)],
    "no replies": [GREETING, ("C", b"NOOP\r\n" * MANY)],
    "no commands": [GREETING, ("S", b"250 ok\r\n" * MANY)],
    "a reply without end": [GREETING, *HELLO, ("S", b"250-x\r\n" * MANY)],
    "no replies at all": [GREETING, *HELLO, ("S", b"x\r\n" * MANY)],
    "logins": [
        GREETING,
        *HELLO,
        *[("C", b"AUTH PLAIN AGEAYg==\r\n"), ("S", b"535 no\r\n")] * 2_000,
    ],
    "a login without end": [
        GREETING,
        ("C", b"AUTH FOO\r\n"),
        *[("S", b"334 AAAA\r\n"), ("C", b"AGEAYg==\r\n")] * 2_000,
    ],
    "pipelined": [GREETING, *HELLO, ("C", b"NOOP\r\n" * MANY), ("S", b"250 ok\r\n" * MANY)],
    "chunks": [GREETING, *HELLO, ("C", b"BDAT 0\r\n" * MANY), ("S", b"250 ok\r\n" * MANY)],
    "empty messages": [
        GREETING,
        ("C", b"DATA\r\n.\r\n" * 2_000),
        ("S", b"354 go\r\n250 ok\r\n" * 2_000),
    ],
    "roles that turn": [
        GREETING,
        *[
            ("C", b"TURN\r\n"),
            ("S", b"250 ok\r\n"),
            ("C", b"220 x\r\n"),
            ("S", b"TURN\r\n"),
            ("C", b"250 ok\r\n"),
            ("S", b"220 x\r\n"),
        ]
        * 500,
    ],
    "roles that turn in one flight": [
        GREETING,
        ("C", b"TURN\r\n220 x\r\n250 ok\r\n" * 1_000),
        ("S", b"250 ok\r\nTURN\r\n220 x\r\n" * 1_000),
    ],
    "STARTTLS in one flight": [
        GREETING,
        ("C", b"STARTTLS\r\n" * 1_000),
        ("S", b"220 go\r\n" * 1_000),
    ],
    "no TLS behind STARTTLS": [
        GREETING,
        ("C", b"STARTTLS\r\n"),
        ("S", b"220 go\r\n"),
        ("C", b"NOOP\x16\x03" * MANY),
    ],
    "a tunnel without end": [("C", b"CONNECT a:25 HTTP/1.1\r\n" + b"X: y\r\n" * MANY)],
    "lines of dots": [GREETING, *HELLO, *ENVELOPE, ("C", b"\n.\n" * 100_000)],
    "deep parts": [
        GREETING,
        *ENVELOPE,
        (
            "C",
            b"".join(
                b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (at, at)
                for at in range(2_000)
            )
            + b"\r\n.\r\n",
        ),
        ("S", b"250 ok\r\n"),
    ],
    "many parts": [
        GREETING,
        *ENVELOPE,
        ("C", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * MANY),
        ("C", b"\r\n.\r\n"),
        ("S", b"250 ok\r\n"),
    ],
    "many addresses": [
        GREETING,
        *ENVELOPE,
        ("C", b"To: " + b",\r\n ".join([b'"a, b" <c@d>'] * MANY) + b"\r\n\r\n.\r\n"),
        ("S", b"250 ok\r\n"),
    ],
    "odd paths": [
        GREETING,
        ("C", b"MAIL FROM:<" + b'"\\' * 30_000 + b"\r\n"),
        ("C", b"MAIL FROM:" + b"<" * 60_000 + b"\r\n"),
        ("C", b"RCPT TO:<" + b"@a," * 20_000 + b":a@b>" + b" X=Y" * 1_000 + b"\r\n"),
        ("C", b"RCPT TO:<a@[" + b":" * 60_000 + b"]>\r\n"),
        ("C", b"EHLO " + b"a" * 60_000 + b"\r\n" + b" " * 60_000 + b"\r\n"),
    ],
}


@pytest.mark.parametrize("turns", ENDLESS.values(), ids=ENDLESS)
def test_a_dialogue_without_measure_is_read(turns: list[tuple[str, bytes]]) -> None:
    found = read(endless(*turns))
    assert found
    assert len(found) == 1


def test_commands_that_wait_for_no_reply_of_theirs_are_not_searched_again_and_again() -> None:
    turns: list[tuple[str, bytes]] = [("C", b"NOOP\r\n" * 9_990)]
    turns += [("S", b"221 x\r\n"), ("C", b"NOOP\r\n")] * 2_000
    (session,) = sessions(connection(turns, handshake=False, end=""))
    assert len(session.exchanges) > 9_990


def test_a_large_message_is_read_in_bounded_memory() -> None:
    line = b"x" * 78 + b"\r\n"
    body = b"Subject: large\r\n\r\n" + line * (48 * MEGABYTE // len(line))
    capture = endless(GREETING, *HELLO, *ENVELOPE, ("C", body + b".\r\n"), ("S", b"250 ok\r\n"))
    (session,) = read(capture) or ()
    assert session.messages[0].size == len(body)
    assert peak(capture) < 100 * MEGABYTE


# -- the dialogue itself -------------------------------------------------------------------------

LINES = [
    *(b"EHLO a.example", b"HELO x", b"LHLO y", b"RSET", b"QUIT", b"NOOP", b"TURN", b"ATRN a"),
    *(b"MAIL FROM:<a@b> SIZE=1", b"MAIL FROM:<>", b"RCPT TO:<c@d>", b"RCPT TO:x", b"DATA", b"."),
    *(b"..x", b"BDAT 3", b"BDAT 5 LAST", b"BDAT 0 LAST", b"BDAT x", b"XEXCH50 4 2"),
    *(b"STARTTLS", b"X-ANONYMOUSTLS", b"\x16\x03\x01\x00\x05hello", b"\x16\x03", b"X-EXPS NTLM"),
    *(b"AUTH PLAIN AGEAYg==", b"AUTH LOGIN", b"AUTH CRAM-MD5", b"YQ==", b"*"),
    *(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2", b"CONNECT a:25 HTTP/1.1", b"\5\1\0", b""),
    *(b"x" * 70, b"\x1b[31m\xff\xc2\x9b", b"Subject: =?utf-8?q?=1b?=", b"--b"),
    *(b"Content-Type: multipart/mixed; boundary=b", b"220 mx ESMTP", b"220-mx", b"250 ok"),
    *(b"250-mx", b"250 2.1.0 ok", b"334 ", b"334 VXNlcm5hbWU6", b"334 cj1iLHM9YQ==", b"235 ok"),
    *(b"354 go", b"353 go", b"421 bye", b"550 5.1.1 no", b"221 bye", b"502", b"999 x", b"2500 x"),
    *(b"HTTP/1.1 200 ok", b"503 \xff\0"),
]
ENDINGS = [b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""]

pieces = st.one_of(
    st.builds(bytes.__add__, st.sampled_from(LINES), st.sampled_from(ENDINGS)),
    st.sampled_from([b"\r\n.\r\n", b"\r", b"\n", b".\r\n"]),
    st.binary(max_size=12),
)
octets = st.lists(pieces, min_size=1, max_size=6).map(b"".join).filter(bool)
directions = st.sampled_from(Direction)
said = st.tuples(directions, octets)
lost = st.tuples(directions, st.integers(1, 3_000))
closed = st.tuples(directions, st.sampled_from(["fin", "rst", "end"]))
happenings = st.lists(st.one_of(said, said, said, said, said, lost, closed), max_size=14)

searching = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def as_events(happened: Iterable[tuple[Direction, bytes | int | str]]) -> list[StreamEvent]:
    """Each in a packet of its own."""
    offsets = [0, 0]
    events: list[StreamEvent] = []
    for packet, (side, what) in enumerate(happened, 1):
        offset, time = offsets[side], packet * 1_000
        if isinstance(what, bytes):
            events.append(Data(side, offset, what, (Mark(offset, time, packet),)))
            offsets[side] += len(what)
        elif isinstance(what, int):
            events.append(Gap(side, offset, what, time, packet, "lost"))
            offsets[side] += what
        else:
            events.append(Closed(what, side, time, packet))
    return events


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds so small that every few examples reach them."""
    monkeypatch.setattr(framing, "MAX_LINE", 64)
    monkeypatch.setattr(replies, "MAX_LINE", 64)
    monkeypatch.setattr(replies, "MAX_LINES", 6)
    monkeypatch.setattr(commands, "MAX_WAITING", 200)
    monkeypatch.setattr(dialogue, "MAX_UNANSWERED", 8)


def session_of(events: Iterable[StreamEvent], handshake: bool = True) -> Session:
    endpoints = Endpoint("192.0.2.1", 40_000), Endpoint("2001:db8::1", 25)
    decoder = SessionDecoder(Opened(0, *endpoints, handshake, 1), "made here")
    for event in events:
        decoder.feed(event)
    return decoder.finish()


def spans(session: Session) -> Iterator[Span]:
    for exchange in session.exchanges:
        if exchange.command is not None:
            yield exchange.command.span
        yield from (reply.span for reply in exchange.replies)
        yield from (defect.span for defect in exchange.defects)
    yield from (finding.span for finding in session.findings)


@given(happened=happenings, handshake=st.booleans())
@searching
@pytest.mark.usefixtures("narrow")
def test_any_events_give_a_session_whose_spans_are_in_order_and_inside_the_stream(
    happened: list[tuple[Direction, bytes | int | str]], handshake: bool
) -> None:
    events = as_events(happened)
    ends = [0, 0]
    for event in events:
        if isinstance(event, Data):
            ends[event.direction] = event.offset + len(event.data)
        elif isinstance(event, Gap):
            ends[event.direction] = event.offset + event.length
    session = session_of(events, handshake)
    for span in spans(session):
        assert 0 <= span.start <= span.end <= ends[span.direction]
    for side in Direction:
        asked = [one.command.span for one in session.exchanges if one.command is not None]
        starts = [span.start for span in asked if span.direction is side]
        assert starts == sorted(starts)
    shown(session)
    assert list(text.lines(session, reveal=True))
    assert jsonl.dumps(session, reveal=True).isprintable()


class Kept(Content):
    """A message's sink that remembers its octets."""

    def __init__(self) -> None:
        super().__init__()
        self.octets = b""

    def feed(self, data: bytes) -> None:
        super().feed(data)
        self.octets += data

    def gap(self, length: int) -> None:
        super().gap(length)
        self.octets += b"<%d>" % length


def outcome(events: Iterable[StreamEvent]) -> list[object]:
    """What a dialogue makes of these events, where no TLS stage stands before it."""
    decoder = Dialogue(Kept)
    found: list[object] = []
    waiting = list(events)
    while waiting:
        found += decoder.feed(waiting.pop(0))
        if decoder.upgraded:
            waiting[:0] = decoder.release()
    found += decoder.finish()
    return [
        (
            one.command,
            one.replies,
            one.defects,
            one.expected,
            one.last,
            one.greeting,
            one.content and one.content.octets,
        )
        for one in found
    ]


@given(
    happened=st.lists(st.one_of(said, said, said, said, lost), max_size=10),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30),
)
@searching
@pytest.mark.usefixtures("narrow")
def test_any_chunking_of_any_octets_gives_the_same_exchanges(
    happened: list[tuple[Direction, bytes | int | str]], sizes: list[int]
) -> None:
    whole = as_events(happened)
    lengths = itertools.cycle(sizes)
    cut: list[StreamEvent] = []
    for event in whole:
        if not isinstance(event, Data):
            cut.append(event)
            continue
        at = 0
        while at < len(event.data):
            piece = event.data[at : at + next(lengths)]
            mark = event.marks[0]._replace(offset=event.offset + at)
            cut.append(Data(event.direction, event.offset + at, piece, (mark,)))
            at += len(piece)
    assert outcome(cut) == outcome(whole)


# -- secrets -------------------------------------------------------------------------------------

SECRET = b"Xq7Zk9Wv3Lp5"


def _base64(data: bytes) -> bytes:
    return base64.b64encode(data)


_PLAIN = _base64(b"\0ann\0" + SECRET)
LOGINS = [
    [b"AUTH PLAIN " + _PLAIN],
    [b"AUTH PLAIN", _PLAIN],
    [b"auth plain  " + _PLAIN],
    [b"AUTH\tPLAIN\t" + _PLAIN],
    [b" AUTH PLAIN " + _PLAIN],
    [b"AUTH PLAIN =" + _PLAIN],
    [b"AUTH PLAIN " + _PLAIN[:-3]],
    [b"AUTH PLAIN " + _PLAIN + b" trailing"],
    [b"AUTH PLAIN", b"", _PLAIN],
    [b"AUTH " + _PLAIN],
    [b"AUTH PLAIN " + SECRET],
    [b"AUTH PLAIN", SECRET],
    [b"AUTHPLAIN " + _PLAIN],
    [b"AUTH LOGIN", _base64(b"ann"), _base64(SECRET)],
    [b"AUTH LOGIN " + _base64(b"ann"), _base64(SECRET)],
    [b"X-EXPS LOGIN", _base64(b"ann"), _base64(SECRET)],
    [b"AUTH XOAUTH2 " + _base64(b"user=a\1auth=Bearer " + SECRET + b"\1\1")],
    [b"AUTH OAUTHBEARER", _base64(b"n,a=a,\1auth=Bearer " + SECRET + b"\1\1")],
    [b"AUTH NO-SUCH", _base64(SECRET)],
]
TRACES = [SECRET, _base64(SECRET)[2:10], _PLAIN[6:-4]]


def login(chance: random.Random) -> Iterator[tuple[Direction, bytes | int | str]]:
    """One way in which a login can go, and be captured."""
    client, server = Direction.CLIENT, Direction.SERVER
    lines = chance.choice(LOGINS)
    ending = chance.choice((b"\r\n", b"\r\n", b"\n"))
    heard, pipelined = chance.random() < 0.9, chance.random() < 0.3
    if heard:
        yield server, b"220 mx\r\n"
    if chance.random() < 0.8:
        yield client, b"EHLO a.example" + ending
    answers = []
    for line in lines:
        if chance.random() < 0.05:
            yield client, chance.randrange(1, 40)
        octets = line + ending if line is not lines[-1] or chance.random() < 0.9 else line
        cut = chance.randrange(len(octets) + 1)
        yield from ((client, piece) for piece in (octets[:cut], octets[cut:]) if piece)
        good = b"235 ok\r\n" if line is lines[-1] else b"334 VXNlcm5hbWU6\r\n"
        bad = chance.choice((b"535 no\r\n", b"334 \r\n", b"500 what\r\n", b"250 ok\r\n"))
        answers.append((server, good if chance.random() < 0.7 else bad))
        if heard and not pipelined:
            yield answers[-1]
    if heard and pipelined:
        yield from answers
    yield client, b"QUIT\r\n"


def test_no_secret_is_shown_however_a_login_goes() -> None:
    chance = random.Random(SEED)
    for _ in range(1_200):
        events = as_events(login(chance))
        everything = "".join(shown(session_of(events, chance.random() < 0.8)))
        assert not [trace for trace in TRACES if trace.decode() in everything], events


# -- what reaches the terminal -------------------------------------------------------------------

NASTY = b"\x1b]0;owned\x07\xc2\x9b31m\xe2\x80\xae\xe2\x80\x8b\xed\xa0\x80\xff\xfe\0\x7f\x85"


def test_whatever_stands_in_a_field_is_printable_in_every_form() -> None:
    chance = random.Random(SEED)
    word = base64.b64encode(NASTY)
    message = (
        b"From: " + NASTY + b" <a@b>\r\nSubject: =?utf-8?b?" + word + b"?=\r\n"
        b"To: =?utf-8?b?" + word + b"?= <c@d>\r\nReceived: " + NASTY + b"\r\n"
        b"User-Agent: " + NASTY + b"\r\nMessage-ID: <" + NASTY + b"@x>\r\n"
        b"Content-Type: application/" + NASTY + b"; name*=utf-8''%1b%5b31m%e2%80%ae\r\n"
        b'Content-Disposition: attachment; filename="' + NASTY + b'"\r\n\r\nx\r\n.\r\n'
    )
    turns = [
        ("C", b"CONNECT " + NASTY.replace(b"\0", b"") + b":25 HTTP/1.1\r\n\r\n"),
        ("S", b"HTTP/1.1 200 " + NASTY + b"\r\n\r\n"),
        ("S", b"220 " + NASTY + b"\r\n"),
        ("C", b"EHLO " + NASTY + b"\r\n"),
        ("S", b"250-" + NASTY + b"\r\n250-AUTH " + NASTY + b"\r\n250 SIZE " + NASTY + b"\r\n"),
        (
            "C",
            b"MAIL FROM:<" + NASTY + b"@" + NASTY + b"> SIZE=" + NASTY + b" X=" + NASTY + b"\r\n",
        ),
        ("S", b"250 2.1.0 " + NASTY + b"\r\n"),
        ("C", b"RCPT TO:<" + NASTY + b"> ORCPT=rfc822;" + NASTY + b"\r\n"),
        ("S", b"550 5.1.1 " + NASTY + b"\r\n"),
        ("C", NASTY + b" " + NASTY + b"\r\n"),
        ("S", NASTY + b"\r\n"),
        ("C", b"AUTH " + NASTY + b" " + NASTY + b"\r\n"),
        ("S", b"334 " + base64.b64encode(NASTY) + b"\r\n"),
        ("C", base64.b64encode(NASTY + b"\0" + NASTY + b"\0" + NASTY) + b"\r\n"),
        ("S", b"235 " + NASTY + b"\r\n"),
        ("C", b"DATA\r\n"),
        ("S", b"354 " + NASTY + b"\r\n"),
        ("C", message),
        ("S", b"250 " + NASTY + b"\r\n"),
        ("C", b"STARTTLS " + NASTY + b"\r\n"),
        ("S", b"503 " + NASTY + b"\r\n"),
        ("C", b"NOOP " + chance.randbytes(200).replace(b"\n", b"") + b"\r\n"),
    ]
    for these in (turns, turns[2:]):
        (session,) = sessions(connection(these))
        assert session.messages[0].attachments
        for reveal in (False, True):
            lines = list(text.lines(session, reveal=reveal))
            line = jsonl.dumps(session, reveal=reveal)
            for each in (*lines, line):
                assert each.isprintable()
                assert not set(each) & set("\u202e\u200b")
                each.encode("utf-8")
            json.loads(line)


def test_the_server_name_of_a_handshake_is_printable() -> None:
    name = NASTY[:20]
    entry = b"\0" + struct.pack("!H", len(name)) + name
    listed = struct.pack("!H", len(entry)) + entry
    extension = struct.pack("!HH", 0, len(listed)) + listed
    body = b"\3\3" + bytes(32) + b"\0\0\2\x13\x01\1\0" + struct.pack("!H", len(extension))
    body += extension
    hello = b"\1" + struct.pack("!I", len(body))[1:] + body
    record = b"\x16\3\1" + struct.pack("!H", len(hello)) + hello
    (session,) = sessions(connection([("C", record)], server=465))
    assert session.tls is not None
    assert session.tls.sni
    assert "\\x1b" in shown(session)[0]


def test_a_line_of_ten_megabytes_is_shown_short() -> None:
    (session,) = read(endless(GREETING, ("C", b"EHLO " + b"a" * (10 * MEGABYTE) + b"\r\n"))) or ()
    assert sum(map(len, shown(session))) < 10_000
