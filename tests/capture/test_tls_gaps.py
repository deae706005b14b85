"""What comes behind octets that are missing is opened, wherever in a connection they are."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.conversation import connection
from support.packets import pcap
from support.tls_ends import CASES, Ends

from smtpscope.capture import tls_search
from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.pcap import open_capture
from smtpscope.capture.recording import RecordingWriter, Wire
from smtpscope.capture.tls import TlsInfo
from smtpscope.capture.tls_ciphers import Content
from smtpscope.capture.tls_open import TlsOpener
from smtpscope.capture.tls_search import Candidate, Search
from smtpscope.reading import read_sessions
from smtpscope.session import Session
from smtpscope.stream import Data, Direction, Gap, Mark

C, S = Direction.CLIENT, Direction.SERVER
SEGMENT = 90
OLD = [
    (ssl.TLSVersion.TLSv1, "ECDHE-ECDSA-AES128-SHA"),
    (ssl.TLSVersion.TLSv1_1, "ECDHE-ECDSA-AES128-SHA"),
]
ALL = [*OLD, *CASES]


class Line(NamedTuple):
    """A line that was said, and where its record lies in the direction's ciphertext."""

    side: Direction
    start: int
    end: int
    octets: bytes


class Recorded(NamedTuple):
    """`hellos` are the octets of each side up to the end of its hello; without that there are no
    keys."""

    turns: list[tuple[Direction, bytes]]
    key_log: bytes
    lines: list[Line]
    hellos: tuple[int, int]


@cache
def recorded(version: ssl.TLSVersion, suite: str) -> Recorded:
    with TemporaryDirectory() as folder:
        ends = Ends(Path(folder), version, suite)
        at = [sum(len(o) for side, o in ends.turns if side is d) for d in Direction]
        lines = []
        for number in range(8):
            side = Direction(1 - number % 2)
            known = len(ends.turns)
            octets = b"line %d\r\n" % number * (1, 1, 20, 60)[number % 4]
            ends.say(side, octets)
            sealed = sum(len(each) for _, each in ends.turns[known:])
            lines.append(Line(side, at[side], at[side] + sealed, octets))
            at[side] += sealed
        # The hello is the first record of each side.
        first = [next(o for side, o in ends.turns if side is d) for d in Direction]
        hellos = tuple(5 + int.from_bytes(each[3:5], "big") for each in first)
        return Recorded(ends.turns, ends.log.read_bytes(), lines, (hellos[0], hellos[1]))


def replayed(
    said: Recorded, missing: list[tuple[Direction, int, int]]
) -> tuple[list[Data | Gap], TlsOpener, TlsInfo]:
    """What is opened where these ranges of the ciphertext are missing."""
    log, info = KeyLog(), TlsInfo()
    log.add(said.key_log)
    opener = TlsOpener(log, info)
    found: list[Data | Gap] = []
    at = [0, 0]
    for side, octets in said.turns:
        holes = sorted((a, b) for d, a, b in missing if d is side)
        for start, end, lost in _parts(at[side], at[side] + len(octets), holes):
            if lost:
                found += opener.gap(Gap(side, start, end - start, 7, 7, "lost"))
            else:
                piece = octets[start - at[side] : end - at[side]]
                found += opener.feed(Data(side, start, piece, (Mark(start, 7, 7),)))
        at[side] += len(octets)
    return found, opener, info


def _parts(start: int, end: int, holes: list[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    for a, b in holes:
        if b <= start or a >= end:
            continue
        if a > start:
            yield start, a, False
        yield max(a, start), min(b, end), True
        start = min(b, end)
    if start < end:
        yield start, end, False


def check(said: Recorded, missing: list[tuple[Direction, int, int]], chained: bool = False) -> None:
    found, opener, _ = replayed(said, missing)
    for side in Direction:
        heard = [each for each in found if each.direction is side]
        opened = [each.data for each in heard if isinstance(each, Data)]
        whole = [line for line in said.lines if line.side is side and not _torn(line, missing)]
        wanted = [line.octets for line in whole]
        if chained:
            # Without the end of the record before, a record of TLS 1.0 can't be opened.
            needed = [line.octets for line in whole if not _torn(line, missing, before=16)]
            assert set(needed) <= set(opened), missing
            assert set(opened) <= {line.octets for line in said.lines}
        else:
            assert opened == wanted, missing
        # Offsets go on, and what is missing has its place.
        at = heard[0].offset if heard else 0
        for each in heard:
            assert each.offset == at
            at += len(each.data) if isinstance(each, Data) else each.length
        lost = [line for line in said.lines if line.side is side and line not in whole]
        if lost and wanted and lost[0].start < whole[-1].start:
            assert any(isinstance(each, Gap) for each in heard)
        if opened and wanted and whole[-1] is [e for e in said.lines if e.side is side][-1]:
            assert opener.problems[side] is None


def _torn(line: Line, missing: list[tuple[Direction, int, int]], before: int = 0) -> bool:
    return any(
        side is line.side and start < line.end and end > line.start - before
        for side, start, end in missing
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("version", "suite"), ALL, ids=str)
def test_wherever_segments_are_missing_what_is_whole_is_opened(
    version: ssl.TLSVersion, suite: str
) -> None:
    said = recorded(version, suite)
    for side in Direction:
        end = max(line.end for line in said.lines if line.side is side)
        for start in range(said.hellos[side], end, SEGMENT):
            for length in (SEGMENT, 2 * SEGMENT, 7 * SEGMENT):
                missing = [(side, start, min(start + length, end))]
                check(said, missing, version is ssl.TLSVersion.TLSv1)


@given(st.sampled_from(CASES), st.data())
@settings(deadline=None, max_examples=200)
def test_several_holes_anywhere_cost_what_is_in_them(
    case: tuple[ssl.TLSVersion, str], data: st.DataObject
) -> None:
    said = recorded(*case)
    missing = []
    for side in Direction:
        end = max(line.end for line in said.lines if line.side is side)
        places = st.integers(said.hellos[side], end)
        edges = sorted(data.draw(st.lists(places, max_size=8, unique=True)))
        missing += [(side, a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    check(said, missing)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_many_records_may_be_missing(version: ssl.TLSVersion, tmp_path: Path) -> None:
    ends = Ends(tmp_path, version, "")
    start = sum(len(octets) for side, octets in ends.turns if side is C)
    for _ in range(1_000):
        ends.say(C, b"x")
    end = sum(len(octets) for side, octets in ends.turns if side is C)
    ends.say(C, b"QUIT\r\n")
    said = Recorded(ends.turns, ends.log.read_bytes(), [], (0, 0))
    found, opener, info = replayed(said, [(C, start, end)])
    gap, data = found
    assert isinstance(gap, Gap)
    assert isinstance(data, Data)
    assert (gap.length, data.data) == (1_000, b"QUIT\r\n")
    assert opener.problems == [None, None]
    assert info.decrypted


def test_the_search_is_over_when_its_budget_is() -> None:
    class Closed:
        before, around, stage = 0, 17, 1
        tries = 0

        def open(self, header: bytes, payload: bytes | memoryview, sequence: int) -> Content | None:
            self.tries += 1
            return None

        def number(self, payload: bytes | memoryview) -> int | None:
            return None

        def follow(self, octets: bytes | memoryview) -> None:
            pass

    opener, search = Closed(), Search(0, tls_search.BUDGET)
    at = 1 << 40
    while search.budget > 0:
        at += 100
        search.feed(Data(C, at, b"\x17\x03\x03\0\x20" * 20, (Mark(at, 0, 1),)))
        assert search.look([Candidate(opener, 0, None)]) is None
        assert search.held < 400
    assert search.budget <= 0
    assert opener.tries == tls_search.BUDGET


def test_a_hole_at_the_end_is_told(tmp_path: Path) -> None:
    ends = Ends(tmp_path, ssl.TLSVersion.TLSv1_3, "")
    start = sum(len(octets) for side, octets in ends.turns if side is C)
    ends.say(C, b"x")
    ends.say(C, b"y")
    end = sum(len(octets) for side, octets in ends.turns if side is C)
    said = Recorded(ends.turns, ends.log.read_bytes(), [], (0, 0))
    _, opener, _ = replayed(said, [(C, start, end)])
    assert opener.problems == ["octets are missing", None]


def test_a_dialogue_of_which_packets_are_missing_goes_on(tmp_path: Path) -> None:
    ends = Ends(tmp_path, ssl.TLSVersion.TLSv1_3, "")
    known = len(ends.turns)
    ends.say(S, b"220 mx.example ESMTP\r\n")
    ends.say(C, b"EHLO client.example\r\n")
    ends.say(S, b"250 mx.example\r\n")
    for number in range(6):
        ends.say(C, b"MAIL FROM:<a%d@example.org>\r\n" % number)
        ends.say(S, b"250 ok %d\r\n" % number)
        ends.say(C, b"RSET\r\n")
        ends.say(S, b"250 reset\r\n")
    ends.say(C, b"QUIT\r\n")
    ends.say(S, b"221 bye\r\n")
    turns = [("C" if side is C else "S", octets) for side, octets in ends.turns]
    segments = sum(-(-len(octets) // 1_000) for _, octets in turns[:known])
    path = tmp_path / "a.pcap"
    for lost in range(segments + 3, segments + 20):
        # Two of the client's and two of the server's, so that no record is torn.
        packets = connection(turns, server=465, lost=range(lost, lost + 4))
        path.write_bytes(pcap(packets))
        (session,) = read_sessions(path, key_logs=[str(ends.log)])
        assert session.exchanges[-1].command is not None
        assert session.exchanges[-1].command.verb == "QUIT"
        assert session.state == "quit"
        rules = {each.rule for each in session.findings}
        assert "gap" in rules
        assert "tls-not-opened" not in rules


# -- recordings ------------------------------------------------------------------------------------

CAPTURES = sorted((Path(__file__).parents[2] / "captures").glob("*-keys.pcapng"))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_whichever_packet_of_a_recording_is_missing_the_dialogue_goes_on(
    path: Path, tmp_path: Path
) -> None:
    whole = {session.client.port: session for session in read_sessions(path)}
    with open_capture(path) as reader:
        (batch,) = list(reader)
        secrets = [each.data for each in reader.secrets]
        wire = Wire("lo", reader.interfaces[0].linktype)
    frames = [
        batch.buffer[at : at + size]
        for at, size in zip(batch.offset.tolist(), batch.captured.tolist(), strict=True)
    ]
    opened = 0
    for lost in range(len(frames)):
        if len(frames[lost]) <= 66:
            continue
        fewer = tmp_path / f"{lost}.pcapng"
        with RecordingWriter(fewer, [wire]) as writer:
            for each in secrets:
                writer.secrets(each)
            for row, frame in enumerate(frames):
                if row != lost:
                    writer.packet(0, int(batch.time[row]), frame)
        for session in read_sessions(fewer):
            known = whole[session.client.port]
            if session.tls is None or not session.tls.decrypted:
                # Without both hellos there are no keys.
                assert frames[lost][66] == 0x16
                assert frames[lost][71] in (1, 2)
                continue
            # Packets are counted anew.
            said = Counter(_said(known, lost + 1)) - Counter(_said(session, 0))
            if said and "renegotiation" in path.name:
                # The hellos of the second handshake are encrypted, and as important.
                assert frames[lost][66] == 0x16
                continue
            assert not said, lost
            opened += 1
    assert opened > len(whole)


def _said(session: Session, lost: int) -> Iterator[tuple[str, bytes]]:
    """The commands of the dialogue but for what is in a packet that is lost."""
    for exchange in session.exchanges:
        command = exchange.command
        if command is not None and command.packet != lost and command.verb.isalpha():
            yield command.verb, command.argument
