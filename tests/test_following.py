"""A capture that grows is followed: what it shows at the end is what the whole capture shows."""

from __future__ import annotations

import gzip
import json
import os
import random
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from jsonschema import Draft202012Validator
from support.conversation import connection
from support.packets import pcap

from smtpscope.capture import growing
from smtpscope.capture.pcap import open_capture
from smtpscope.capture.recording import RecordingWriter, Rotation, Wire, successor
from smtpscope.details import Details, Place
from smtpscope.errors import NoCaptureError, SmtpscopeError
from smtpscope.export import jsonl
from smtpscope.export.events import JsonEvents, TextEvents, schema
from smtpscope.findings import across, probing, timing
from smtpscope.following import Follower, Watched
from smtpscope.places import bundled_captures
from smtpscope.reading import read_sessions

CAPTURES = [path for path in bundled_captures() if path.suffix not in (".gz", ".zst")]
BESIDE = across.RULES.keys() | probing.RULES.keys() | timing.RULES.keys()
"""What depends on the order in which sessions end."""

TURNS = [
    ("S", b"220 mx.example ESMTP\r\n"),
    ("C", b"EHLO client.example\r\n"),
    ("S", b"250-mx.example\r\n250 SIZE 1000\r\n"),
    ("C", b"MAIL FROM:<a@example.org>\r\n"),
    ("S", b"250 ok\r\n"),
    ("C", b"RCPT TO:<b@example.net>\r\n"),
    ("S", b"550 5.1.1 no such user\r\n"),
    ("C", b"QUIT\r\n"),
    ("S", b"221 bye\r\n"),
]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "MOMENT", 0)


class Growing:
    """A capture file that grows by a piece whenever its follower finds nothing new."""

    def __init__(self, path: Path, pieces: list[bytes]) -> None:
        self.path = path
        self._pieces = iter(pieces)
        path.write_bytes(next(self._pieces))

    def follow(self, **options: object) -> Iterator[list[Watched]]:
        follower = Follower(self.path, **options)  # type: ignore[arg-type]
        for touched in follower:
            yield touched
            if not touched:
                piece = next(self._pieces, None)
                if piece is None:
                    follower.stop()
                else:
                    with self.path.open("ab") as file:
                        file.write(piece)


def _cut(octets: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    pieces = [octets[:64]]
    at = 64
    while at < len(octets):
        size = chance.choice((1, 7, 60, 400, 3_000, 20_000))
        pieces.append(octets[at : at + size])
        at += size
    return pieces


def _alone(line: str) -> dict[str, object]:
    """A session's object without what it shows beside others."""
    found = json.loads(line)
    del found["timing"]
    found["findings"] = [each for each in found["findings"] if each["rule"] not in BESIDE]
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_a_capture_that_grew_shows_the_sessions_of_the_whole_one(
    path: Path, tmp_path: Path
) -> None:
    octets = path.read_bytes()
    wanted = [_alone(jsonl.dumps(session)) for session in read_sessions(path)]
    for seed in range(3 if len(octets) < 100_000 else 1):
        ended = [
            watched
            for touched in Growing(tmp_path / path.name, _cut(octets, seed)).follow()
            for watched in touched
            if watched.ended
        ]
        ended.sort(key=lambda watched: watched.number)
        assert [_alone(jsonl.dumps(each.session)) for each in ended] == wanted


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_events_tell_every_exchange_once_and_every_finding(path: Path) -> None:
    events = JsonEvents()
    check = Draft202012Validator(schema())
    exchanges: dict[int, list[object]] = {}
    found: dict[int, Counter[str]] = {}
    ended: dict[int, Watched] = {}
    for touched in _whole(path):
        for watched in touched:
            lines = [*events.exchanges(watched, watched.take())]
            if watched.ended:
                lines += events.end(watched)
                ended[watched.number] = watched
            for line in lines:
                event = json.loads(line)
                check.validate(event)
                number = event["session"]
                if event["event"] == "exchange":
                    exchanges.setdefault(number, []).append(event["exchange"])
                rules = (each["rule"] for each in event["findings"])
                found.setdefault(number, Counter()).update(rules)
    for number, watched in ended.items():
        session = json.loads(jsonl.dumps(watched.session))
        assert exchanges.get(number, []) == session["exchanges"]
        told = {each["rule"] for each in session["findings"]}
        assert told <= set(found[number])


def _whole(path: Path) -> Iterator[list[Watched]]:
    follower = Follower(path)
    follower.stop()
    return iter(follower)


def test_an_exchange_is_told_as_soon_as_its_reply_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    packets = list(connection(TURNS))
    octets = [pcap(packets[:count]) for count in range(len(packets) + 1)]
    pieces = [octets[0], *(after[len(before) :] for before, after in pairwise(octets))]
    told = [
        len(watched.take()) for touched in Growing(path, pieces).follow() for watched in touched
    ]
    # The greeting, then each command with its reply; nothing is kept back until the end.
    assert [count for count in told if count] == [1] * 5
    assert told[-1] == 0


def test_text_lines_come_with_their_sessions_number_and_secrets_are_redacted(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.pcap"
    secret = [*TURNS[:3], ("C", b"AUTH PLAIN AGFubgBoaWRkZW4=\r\n"), ("S", b"235 ok\r\n")]
    packets = sorted(
        [
            *connection(TURNS, client=1_111),
            *connection(secret, client=2_222, start=1_700_000_000 * 10**9 + 1),
        ],
        key=lambda packet: packet.time,
    )
    path.write_bytes(pcap(packets))
    events = TextEvents()
    lines: list[str] = []
    for touched in _whole(path):
        for watched in touched:
            lines += events.exchanges(watched, watched.take())
            if watched.ended:
                lines += events.end(watched)
    assert all(line.startswith(("#1 ", "#2 ")) for line in lines)
    shown = "\n".join(lines)
    assert "AGFubgBoaWRkZW4=" not in shown
    assert "hidden" not in shown
    assert "550 5.1.1 no such user" in shown
    assert lines[-1].startswith("#2") or lines[-1].startswith("#1")


def test_an_open_session_is_judged_by_what_was_said_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(connection(TURNS[:6], end="")))
    follower = Follower(path)
    (watched,) = next(iter(follower))
    session = watched.snapshot()
    assert session.state == "open"
    assert [each.command.verb for each in session.exchanges if each.command] == ["EHLO", "MAIL"]
    assert not {"missing-reply", "capture-ends-here"} & {each.rule for each in session.findings}


def test_snapshots_change_nothing(tmp_path: Path) -> None:
    chunks = [
        *TURNS[:5],
        ("C", b"RCPT TO:<c@example.net>\r\n"),
        ("S", b"250 ok\r\n"),
        ("C", b"BDAT 10\r\n0123456789"),
        ("S", b"250 ok\r\n"),
        ("C", b"BDAT 5 LAST\r\nabcde"),
        ("S", b"250 2.0.0 queued\r\n"),
        *TURNS[-2:],
    ]
    path = tmp_path / "a.pcap"
    packets = list(connection(chunks))
    octets = [pcap(packets[:count]) for count in range(len(packets) + 1)]
    pieces = [octets[0], *(after[len(before) :] for before, after in pairwise(octets))]
    last = None
    for touched in Growing(path, pieces).follow():
        for watched in touched:
            jsonl.dumps(watched.snapshot())
            last = watched
    assert last is not None
    (whole,) = read_sessions(path)
    assert _alone(jsonl.dumps(last.session)) == _alone(jsonl.dumps(whole))
    assert last.session.messages[0].size == 15


# -- recordings -----------------------------------------------------------------------------------


def _record(path: Path, sessions: int, rotation: Rotation | None = None) -> list[Path]:
    """A recording of so many sessions one after the other; its files."""
    files = []
    with RecordingWriter(path, [Wire("lo")], rotation=rotation) as writer:
        for number in range(sessions):
            start = 1_700_000_000_000_000_000 + number * 10**9
            for packet in connection(TURNS, client=20_000 + number, start=start):
                writer.packet(0, packet.time, packet.frame)
                writer.flush()
                if not files or files[-1] != writer.path:
                    files.append(writer.path)
    return files


def test_a_rotated_recording_is_followed_from_file_to_file(tmp_path: Path) -> None:
    files = _record(tmp_path / "r.pcapng", 30, Rotation(4_000, None, 1_000))
    assert len(files) > 5
    follower = Follower(files[0], trails=True)
    follower.stop()
    ended = [each for touched in follower for each in touched if each.ended]
    assert [each.session.state for each in ended] == ["quit"] * 30
    assert [part.path for part in follower.reader.parts] == [str(file) for file in files]
    assert len(follower.reader.interfaces) == 1


def test_a_follower_that_is_too_slow_says_what_was_rotated_away(tmp_path: Path) -> None:
    files = _record(tmp_path / "r.pcapng", 30, Rotation(4_000, None, 1_000))
    follower = Follower(files[0])
    ticks = iter(follower)
    next(ticks)
    for file in files[1:-2]:
        file.unlink()
    follower.stop()
    list(ticks)
    assert any("rotated away" in note for note in follower.notes())


def test_a_file_that_is_cut_while_it_is_followed_ends_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(connection(TURNS, end="")))
    follower = Follower(path)
    ticks = iter(follower)
    next(ticks)
    os.truncate(path, 100)
    for _ in ticks:
        pass
    assert any("was cut" in note for note in follower.notes())


def test_what_is_no_capture_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("nothing")
    with pytest.raises(NoCaptureError, match="is text"):
        Follower(path)
    with pytest.raises(NoCaptureError, match="no such file"):
        Follower(tmp_path / "none")


def test_a_pipe_is_followed_to_its_end(tmp_path: Path) -> None:
    octets = CAPTURES[0].read_bytes()
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe, open(writing, "wb", buffering=0) as end:
        wanted = [session.state for session in read_sessions(CAPTURES[0])]
        assert len(octets) < 60_000
        end.write(octets)
        end.close()
        follower = Follower(f"/dev/fd/{pipe.fileno()}")
        ended = sorted(
            (each.number, each.session.state)
            for touched in follower
            for each in touched
            if each.ended
        )
    assert [state for _, state in ended] == wanted


def test_a_reader_that_follows_gives_the_packets_of_every_piece(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    octets = pcap(connection(TURNS))
    path.write_bytes(octets[:100])
    with open_capture(path, follow=True) as reader:
        seen = 0
        for batch in reader.follow():
            if batch is not None:
                seen += len(batch)
            elif path.stat().st_size < len(octets):
                path.write_bytes(octets[: path.stat().st_size + 90])
            else:
                reader.stop()
    assert seen == len(list(connection(TURNS)))
    assert reader.truncated is None


def _gzip(pieces: list[bytes], *, members: bool) -> list[bytes]:
    packer = zlib.compressobj(wbits=31)
    packed = []
    for number, piece in enumerate(pieces, 1):
        ends = members or number == len(pieces)
        octets = packer.compress(piece)
        packed.append(octets + packer.flush(zlib.Z_FINISH if ends else zlib.Z_SYNC_FLUSH))
        if members:
            packer = zlib.compressobj(wbits=31)
    return packed


def _zstd(pieces: list[bytes], *, members: bool) -> list[bytes]:
    compressor = zstandard.ZstdCompressor()
    packer = compressor.compressobj()
    packed = []
    for piece in pieces:
        octets = packer.compress(piece)
        how = zstandard.COMPRESSOBJ_FLUSH_FINISH if members else zstandard.COMPRESSOBJ_FLUSH_BLOCK
        packed.append(octets + packer.flush(how))
        if members:
            packer = compressor.compressobj()
    return packed


@pytest.mark.parametrize("members", [False, True])
@pytest.mark.parametrize("pack", [_gzip, _zstd])
@pytest.mark.parametrize("cut", [0, 1])
def test_what_grows_compressed_is_shown_as_far_as_it_goes(
    pack: Callable[..., list[bytes]], members: bool, cut: int, tmp_path: Path
) -> None:
    """Also where a piece ends in the middle of a member's first octets."""
    path = tmp_path / "a.pcap.gz"
    octets = pcap(connection(TURNS))
    first, *packed = pack([octets[:100], octets[100:400], octets[400:]], members=members)
    path.write_bytes(first)
    waiting = [part for each in packed for part in (each[:cut], each[cut:]) if part]
    shown: list[int] = []
    with open_capture(path, follow=True) as reader:
        seen = 0
        for batch in reader.follow():
            if batch is not None:
                seen += len(batch)
            elif waiting:
                with path.open("ab") as file:
                    file.write(waiting.pop(0))
            else:
                shown.append(seen)
                reader.stop()
    assert shown[0] == seen == len(list(connection(TURNS)))
    assert len(shown) == 1
    assert reader.truncated is None


def test_a_compressed_file_that_ends_early_says_so_when_it_is_followed_no_more(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.pcap.gz"
    path.write_bytes(gzip.compress(pcap(connection(TURNS)))[:-4])
    with open_capture(path, follow=True) as reader:
        for _ in reader.follow():
            reader.stop()
    assert any("cut short" in each for each in reader.problems)


def test_the_successor_of_a_plain_recording_is_none(tmp_path: Path) -> None:
    (path,) = _record(tmp_path / "plain.pcapng", 1)
    assert successor(path) is None


def test_details_of_what_was_rotated_away_say_so(tmp_path: Path) -> None:
    files = _record(tmp_path / "r.pcapng", 30, Rotation(4_000, None, 1_000))
    follower = Follower(files[0], trails=True)
    follower.stop()
    ended = [each for touched in follower for each in touched if each.ended]
    parts = follower.reader.parts
    for watched in (ended[0], ended[14], ended[29]):
        place = Place(parts, "r", watched.number, 25, watched.session.packets, "")
        again = Details(place).session()
        assert len(again.exchanges) == len(watched.session.exchanges)
    files[0].unlink()
    place = Place(parts, "r", 1, 25, ended[0].session.packets, "")
    with pytest.raises(SmtpscopeError, match="has been rotated away"):
        Details(place).session()
