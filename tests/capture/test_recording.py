from __future__ import annotations

import errno
import io
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.packets import Packet, Pcapng, pcap

from smtpscope import __version__
from smtpscope.capture import recording, repair
from smtpscope.capture.pcap import CaptureReader, Interface, Statistics, open_capture
from smtpscope.capture.recording import RecordingWriter, Rotation, Wire, successor
from smtpscope.errors import RecordingError

WIRES = (Wire("lo", 1, 262_144, "tcp port 25", "the loopback"), Wire("tun0", 101))
INTERFACES = [Interface(1, 262_144, "lo"), Interface(101, 0, "tun0")]
TIME = 1_700_000_000_123_456_789
KEYS = b"CLIENT_RANDOM 00 11\n"

Row = tuple[bytes, int, int, int]
"""(octets, original length, time, interface) of a packet."""


def rows(reader: CaptureReader) -> list[Row]:
    found = []
    for batch in reader:
        columns = (batch.offset, batch.captured, batch.original, batch.time, batch.interface)
        for row in zip(*(column.tolist() for column in columns), strict=True):
            offset, captured, original, time, interface = row
            found.append(
                (bytes(batch.buffer[offset : offset + captured]), original, time, interface)
            )
    return found


def read(source: Path | bytes) -> tuple[CaptureReader, list[Row]]:
    reader = open_capture(io.BytesIO(source) if isinstance(source, bytes) else source)
    return reader, rows(reader)


def whole(source: Path | bytes) -> list[Row]:
    """The packets of a recording in which nothing is cut or malformed."""
    reader, found = read(source)
    assert (reader.problems, reader.truncated) == ([], None)
    return found


def fill(writer: RecordingWriter) -> list[Row]:
    """Append one block of each kind; the packets among them."""
    writer.packet(0, TIME, b"first", 1500, "hällo")
    writer.secrets(KEYS)
    writer.packet(1, TIME + 1, bytearray(b"second"))
    writer.statistics(0, TIME + 2, received=7, dropped=3, comment="a burst")
    writer.packet(0, TIME + 3, memoryview(b"thirdly!"))
    return [
        (b"first", 1500, TIME, 0),
        (b"second", 6, TIME + 1, 1),
        (b"thirdly!", 8, TIME + 3, 0),
    ]


def record(path: Path) -> list[Row]:
    with RecordingWriter(path, WIRES) as writer:
        return fill(writer)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(RecordingError) as caught:
        RecordingWriter(path, WIRES, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path.parent) in message
    assert caught.value.exit_status == 1
    return message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rec.pcapng"


def test_what_is_recorded_is_read_back(path: Path) -> None:
    packets = record(path)
    reader, found = read(path)
    assert found == packets
    assert reader.interfaces == INTERFACES
    assert reader.secrets == [(recording.TLS_KEY_LOG, KEYS)]
    assert sorted(reader.comments) == [(0, b"a burst"), (1, "hällo".encode())]
    assert reader.statistics == {0: Statistics(7, None, 3)}
    assert (reader.problems, reader.truncated, reader.skipped) == ([], None, {})


def test_a_recording_is_its_owners_alone(path: Path) -> None:
    record(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_in_the_file_before_a_flush_and_everything_after_it(path: Path) -> None:
    with RecordingWriter(path, WIRES) as writer:
        assert whole(path) == []
        packets = fill(writer)
        assert whole(path) == []
        writer.flush()
        assert whole(path) == packets


def test_blocks_are_written_by_themselves_before_they_fill_the_memory(path: Path) -> None:
    frame = bytes(60_000)
    with RecordingWriter(path, WIRES) as writer:
        for number in range(20):
            writer.packet(0, number, frame)
        assert len(whole(path)) == 18


def test_an_exception_of_the_caller_keeps_what_was_given_before(path: Path) -> None:
    given: list[Row] = []

    def recorder() -> None:
        with RecordingWriter(path, WIRES) as writer:
            given.extend(fill(writer))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        recorder()
    assert whole(path) == given


@pytest.mark.parametrize(
    "wrong",
    [
        lambda writer: writer.packet(2, TIME, b"no such interface"),
        lambda writer: writer.statistics(2, TIME),
        lambda writer: writer.packet(0, -1, b"before 1970"),
        lambda writer: writer.packet(0, TIME, "text"),
    ],
)
def test_what_makes_no_block_leaves_none(path: Path, wrong: Callable[..., None]) -> None:
    with RecordingWriter(path, WIRES) as writer:
        packets = fill(writer)
        with pytest.raises((IndexError, TypeError, struct.error)):
            wrong(writer)
        writer.packet(0, 1, b"behind")
    assert whole(path) == [*packets, (b"behind", 6, 1, 0)]


def test_an_interface_may_appear_later(path: Path) -> None:
    with RecordingWriter(path, ()) as writer:
        assert [writer.add_wire(wire) for wire in WIRES] == [0, 1]
        packets = fill(writer)
    reader, found = read(path)
    assert (found, reader.interfaces) == (packets, INTERFACES)


def test_long_and_odd_words_are_cut_to_what_an_option_holds(path: Path) -> None:
    with RecordingWriter(path, [Wire("\udcff" + "ä" * 40_000)]) as writer:
        writer.packet(0, TIME, b"x", comment="ö" * 40_000)
    reader, found = read(path)
    assert found == [(b"x", 1, TIME, 0)]
    assert reader.interfaces[0].name is not None
    assert set(reader.interfaces[0].name) == {*"\\udcff", "ä"}


def test_no_secrets_are_no_block(path: Path) -> None:
    with RecordingWriter(path, WIRES) as writer:
        writer.secrets(b"")
    assert read(path)[0].secrets == []


packets_given = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 2**63 - 1),
        st.binary(max_size=80),
        st.none() | st.integers(0, 2**32 - 1),
        st.text(max_size=20).filter(lambda text: "\udcff" not in text),
    ),
    max_size=20,
)


@given(packets_given)
def test_every_packet_comes_back_as_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, packets: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("recording") / "rec.pcapng"
    with RecordingWriter(path, WIRES) as writer:
        for packet in packets:
            writer.packet(*packet)
    reader, found = read(path)
    assert found == [
        (octets, len(octets) if original is None else original, time, wire)
        for wire, time, octets, original, _ in packets
    ]
    assert reader.comments == [
        (number, packet[4].encode("utf-8", "backslashreplace"))
        for number, packet in enumerate(packets, 1)
        if packet[4]
    ]


# What is there already


def test_an_empty_file_is_used(path: Path) -> None:
    path.touch()
    assert record(path) == whole(path)


def test_a_recording_goes_on_behind_the_one_that_is_there(path: Path) -> None:
    assert record(path) + record(path) == whole(path)
    assert read(path)[0].interfaces == INTERFACES


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_file_of_another_program_goes_on(path: Path, order: str) -> None:
    path.write_bytes(Pcapng(order).interface(name="x").packet(b"theirs", 7).names().data)
    packets = record(path)
    found = whole(path)
    assert found[0] == (b"theirs", 6, 7000, 0)
    assert [row[:3] for row in found[1:]] == [row[:3] for row in packets]


@pytest.mark.parametrize("piece", [12, 13, 64, 4 << 20])
def test_a_crash_anywhere_loses_nothing_but_the_cut_block(
    path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "_PIECE", piece)
    record(path)
    big = Pcapng(">").interface().packet(b"other", 5).data
    data = path.read_bytes() + big + path.read_bytes()
    everything = whole(data)
    most = 0
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        before = read(path)[1] if cut >= 4 else []
        assert before == everything[: len(before)]
        with RecordingWriter(path, WIRES) as writer:
            writer.packet(0, TIME, b"again")
        found = whole(path)
        assert found[:-1] == before
        assert found[-1][:3] == (b"again", 5, TIME)
        most = max(most, len(found))
    assert most == len(everything) + 1


@pytest.mark.parametrize("zeros", [1, 4, 12, 5000])
def test_zeros_that_a_power_cut_left_are_a_tail(path: Path, zeros: int) -> None:
    packets = record(path)
    data = path.read_bytes()
    for end in (len(data), len(data) - 8):
        path.write_bytes(data[:end] + bytes(zeros))
        kept = read(data[:end])[1]
        again = record(path)
        assert whole(path) == kept + again
    assert again == packets


@pytest.mark.parametrize("piece", [16, 4 << 20])
def test_damage_in_the_middle_is_told_and_nothing_is_changed(
    path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(path)
    data = path.read_bytes()
    # The length of the first packet's block: too short, unaligned, or leading beyond the end.
    at = data.index(b"\x06\0\0\0") + 4
    monkeypatch.setattr(repair, "_PIECE", piece)
    for length in (0, 8, 33, 64, 4_000, 1 << 25, 0xFFFFFFF0):
        damaged = data[:at] + length.to_bytes(4, "little") + data[at + 4 :]
        path.write_bytes(damaged)
        assert f"is damaged at octet {at - 4} of {len(data)}" in refusal(path)
        assert path.read_bytes() == damaged


def test_a_cut_packet_that_holds_blocks_is_refused_rather_than_thrown_away(path: Path) -> None:
    # A damaged length in front of whole packets looks the same.
    with RecordingWriter(path, WIRES) as writer:
        writer.packet(0, TIME, Pcapng().interface().packet(b"inside").data)
    data = path.read_bytes()[:-8]
    path.write_bytes(data)
    assert "is damaged at octet" in refusal(path)
    assert path.read_bytes() == data


def test_a_block_larger_than_a_piece_is_passed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "_PIECE", 1000)
    frame = bytes(range(256)) * 40
    for _ in range(2):
        with RecordingWriter(path, WIRES) as writer:
            writer.packet(0, TIME, frame)
    assert whole(path) == [(frame, len(frame), TIME, 0)] * 2


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("rotation", [None, Rotation(4_000, None, 100)])
def test_what_lies_far_behind_may_leave_memory(
    refused: bool, rotation: Rotation | None, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int, int]] = []

    def advise(file: int, start: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        told.append((start, size, os.fstat(file).st_size))
        if refused:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", advise)
    monkeypatch.setattr(recording, "NEAR", 2_000)
    monkeypatch.setattr(recording, "_STEP", 500)
    with RecordingWriter(path, WIRES, rotation=rotation) as writer:
        for number in range(200):
            writer.packet(0, number, bytes(100))
            writer.flush()
    # What is near stays, and not every packet is a reason.
    assert 20 < len(told) < 80
    assert all((start, size) == (0, there - 2_000) for start, size, there in told)
    paths = sorted(path.parent.glob("*.pcapng"))
    assert sum(len(whole(each)) for each in paths) == 200


@pytest.mark.parametrize(
    "content",
    [
        b"some text\n",
        b"\0",
        pcap([Packet(b"x")]),
        b"\x0a\x0d\x0d\x0a no section, but long enough",
        bytes(100),
        b"\x1f\x8b\x08\0 packed",
    ],
)
def test_any_other_file_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refusal(path) == f"{path} is no pcapng recording; name another file"
    assert path.read_bytes() == content


def test_places_that_hold_no_recording_are_refused_in_one_line(tmp_path: Path) -> None:
    assert "is a directory; name a file in it" in refusal(tmp_path / ".")
    assert "folder that is missing; make it" in refusal(tmp_path / "none" / "rec.pcapng")
    (tmp_path / "file").touch()
    assert "name another file" in refusal(tmp_path / "file" / "rec.pcapng")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link; name the file" in refusal(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()
    os.mkfifo(tmp_path / "pipe")
    assert "is no ordinary file; name another" in refusal(tmp_path / "pipe")
    assert "name another file" in refusal(tmp_path / ("x" * 300))
    assert "name another file" in refusal(tmp_path / "null\0octet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_refused(path: Path) -> None:
    record(path)
    path.chmod(0o400)
    assert "may not be written" in refusal(path)
    path.parent.chmod(0o500)
    assert "may not be written" in refusal(path.with_name("new.pcapng"))
    path.parent.chmod(0o700)


def test_a_read_only_file_system_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    assert "is on a read-only file system; name a file elsewhere" in refusal(path)


def test_two_writers_never_share_a_file(path: Path) -> None:
    with RecordingWriter(path, WIRES) as writer:
        packets = fill(writer)
        assert refusal(path) == (
            f"{path} is being recorded into by another process; choose another file"
        )
    assert whole(path) == packets
    assert record(path) == packets


# Writes that fail


class Disk:
    """Takes `room` octets, and then fails in the way of `error`."""

    def __init__(self, room: int, error: BaseException) -> None:
        self.room = room
        self.error = error
        self._write = os.write

    def write(self, file: int, octets: bytes | memoryview) -> int:
        if not self.room and len(octets):
            raise self.error
        done = self._write(file, octets[: self.room])
        self.room -= done
        return done


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, BaseException], None]]:
    def fails(room: int, error: BaseException) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(os, "write", Disk(room, error).write)

    yield fails
    monkeypatch.undo()


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_whole_blocks_wherever_it_strikes(
    path: Path, disk: Callable[..., None]
) -> None:
    packets = record(path)
    data = path.read_bytes()
    header = data.index(b"\x06\0\0\0")
    most = 0
    for room in range(header, len(data)):
        path.unlink()
        disk(room, FULL)
        writer = RecordingWriter(path, WIRES)
        fill(writer)
        with pytest.raises(RecordingError) as caught:
            writer.flush()
        message = f"the disk is full: what was recorded until now is whole in {path}; make room"
        assert str(caught.value) == f"{message} or use --rotate"
        found = whole(path)
        assert found == packets[: len(found)]
        most = max(most, len(found))
        for _ in range(2):
            with pytest.raises(RecordingError, match="the disk is full"):
                writer.packet(0, TIME, b"more")
            with pytest.raises(RecordingError, match="the disk is full"):
                writer.flush()
        writer.close()
        writer.close()
        assert whole(path) == found
        disk(1 << 20, FULL)
        assert found + record(path) == whole(path)
    assert most == 2


def test_a_header_that_finds_no_room_leaves_everything_as_it_was(
    path: Path, disk: Callable[..., None]
) -> None:
    packets = record(path)
    new = path.with_name("new.pcapng")
    for room in range(150):
        disk(room, FULL)
        assert "finds no room on the disk; make room" in refusal(path)
        disk(room, FULL)
        refusal(new)
        assert not new.exists()
    assert whole(path) == packets


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EFBIG, "the file may not become larger"),
        (errno.EIO, "writing failed \\(Input/output error\\)"),
    ],
)
def test_every_failure_says_what_is_whole_and_what_to_do(
    path: Path, disk: Callable[..., None], number: int, words: str
) -> None:
    writer = RecordingWriter(path, WIRES)
    packets = fill(writer)
    disk(90, OSError(number, os.strerror(number)))
    with pytest.raises(RecordingError, match=words):
        writer.close()
    assert whole(path) == packets[:1]
    writer.close()


def test_a_writer_that_is_closed_takes_no_more(path: Path) -> None:
    writer = RecordingWriter(path, WIRES)
    writer.close()
    with pytest.raises(RecordingError, match="is closed"):
        writer.packet(0, TIME, b"late")


def test_an_interrupt_in_the_middle_of_a_write_doubles_and_loses_nothing(
    path: Path, disk: Callable[..., None]
) -> None:
    record(path)
    size = path.stat().st_size
    for room in range(size - 300):
        path.unlink()
        with RecordingWriter(path, WIRES) as writer:
            packets = fill(writer)
            disk(room, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                writer.flush()
            assert whole(path) == packets[: len(whole(path))]
            disk(1 << 20, FULL)
        assert whole(path) == packets


def test_the_limit_of_the_system_on_a_file_is_a_failure_like_others(path: Path) -> None:
    code = f"""
import resource
from pathlib import Path
from smtpscope.capture.recording import RecordingWriter, Wire
from smtpscope.errors import RecordingError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, 100_001))
writer = RecordingWriter(Path({str(path)!r}), [Wire("lo")])
try:
    while True:
        writer.packet(0, 1, bytes(1000))
except RecordingError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60
    )
    assert done.stdout.startswith("the file may not become larger: what was recorded until now")
    assert whole(path) == [(bytes(1000), 1000, 1, 0)] * 96


# Rotation


def series(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


def test_a_file_that_is_large_enough_is_followed_by_the_next(path: Path) -> None:
    given = []
    with RecordingWriter(path, WIRES, rotation=Rotation(2000, None, 100)) as writer:
        first = writer.path
        writer.secrets(KEYS)
        for number in range(100):
            writer.packet(number % 2, TIME + number, bytes(number))
            given.append((bytes(number), number, TIME + number, number % 2))
            if not number % 3:
                writer.flush()
    assert first == path.with_name("rec-00001.pcapng")
    found, data, file = [], b"", first
    while True:
        reader, packets = read(file)
        assert (reader.problems, reader.truncated, reader.interfaces) == ([], None, INTERFACES)
        assert reader.secrets == [(recording.TLS_KEY_LOG, KEYS)]
        assert packets
        assert file.stat().st_size <= 2000
        found += packets
        data += file.read_bytes()
        following = successor(file)
        if following is None:
            break
        file = following
    assert file == writer.path
    assert len(series(path)) > 4
    assert found == given
    together, packets = read(data)
    assert packets == given
    assert together.interfaces == INTERFACES
    assert together.secrets == [(recording.TLS_KEY_LOG, KEYS)]
    assert (together.problems, together.truncated) == ([], None)


def test_a_file_that_is_old_enough_is_followed_by_the_next(path: Path) -> None:
    now = 0.0
    with RecordingWriter(path, WIRES, rotation=Rotation(None, 60, 9), clock=lambda: now) as writer:
        for now in (0.0, 59.9, 60.0, 61.0, 119.0, 300.0, 9999.0):
            writer.packet(0, int(now), b"x")
            writer.flush()
            writer.flush()
        now = 99_999.0
        writer.flush()
        writer.statistics(0, TIME, received=7)
    times = [[time for _, _, time, _ in whole(path.with_name(name))] for name in series(path)]
    assert times == [[0, 59], [60, 61, 119], [300], [9999]]
    assert read(writer.path)[0].statistics == {0: Statistics(7, None, None)}


def test_the_next_file_is_whole_before_the_one_before_is_left(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = os.write
    states = []

    def write(file: int, octets: bytes | memoryview) -> int:
        names = series(path)
        states.append((os.readlink(f"/proc/self/fd/{file}").rsplit("/", 1)[1] == names[-1], names))
        for name in names[:-1]:
            following = successor(path.with_name(name))
            assert following is None or whole(following) is not None
        return writing(file, octets)

    monkeypatch.setattr(os, "write", write)
    with RecordingWriter(path, WIRES, rotation=Rotation(600, None, 9)) as writer:
        for number in range(10):
            writer.packet(0, number, bytes(100))
            writer.flush()
    assert all(is_last for is_last, _ in states)
    assert len(states[-1][1]) > 3


def test_no_more_files_are_kept_than_asked_for(path: Path) -> None:
    other = path.with_name("record-00001.pcapng")
    other.touch()
    with RecordingWriter(path, WIRES, rotation=Rotation(500, None, 3)) as writer:
        for number in range(20):
            writer.packet(0, number, bytes(200))
            writer.flush()
            assert len(series(path)) <= 4
    assert other.exists()
    last = [int(name[4:9]) for name in series(path)[:-1]]
    assert len(last) == 3
    assert last[2] - last[0] == 2
    with RecordingWriter(path, WIRES, rotation=Rotation(500, None, 0)) as writer:
        assert series(path) == [writer.path.name, other.name]


def test_numbers_go_on_behind_the_files_that_are_there(path: Path) -> None:
    for name in ("rec-00007.pcapng", "rec-99999.pcapng", "rec-000000123456.pcapng", "rec.pcapng"):
        path.with_name(name).touch()
    with RecordingWriter(path, WIRES, rotation=Rotation(None, None, 9)) as writer:
        assert writer.path.name == "rec-100000.pcapng"
    assert path.stat().st_size == 0


def test_a_series_that_is_being_recorded_is_not_begun_again(path: Path) -> None:
    rotation = Rotation(None, None, 9)
    with RecordingWriter(path, WIRES, rotation=rotation) as writer:
        assert str(writer.path) in refusal(path, rotation=rotation)
        assert len(series(path)) == 1
    RecordingWriter(path, WIRES, rotation=rotation).close()
    assert len(series(path)) == 2


@pytest.mark.parametrize("size", [0, 20, 300, 600])
def test_an_interface_that_appears_later_is_in_every_later_file_once(path: Path, size: int) -> None:
    with RecordingWriter(path, WIRES[:1], rotation=Rotation(size, None, 99)) as writer:
        for number in range(10):
            writer.packet(0, number, bytes(100))
        writer.add_wire(WIRES[1])
        for number in range(10, 20):
            writer.packet(1, number, bytes(100))
    names = series(path)
    assert len(names) >= 4
    assert [row[2:] for name in names for row in whole(path.with_name(name))] == [
        (number, number // 10) for number in range(20)
    ]
    assert read(path.with_name(names[-1]))[0].interfaces == INTERFACES


def test_each_file_begins_with_the_latest_secrets_and_not_with_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "SECRETS_KEPT", 200)
    with RecordingWriter(path, WIRES, rotation=Rotation(1000, None, 99)) as writer:
        for number in range(50):
            writer.secrets(b"%040d" % number)
            writer.packet(0, number, bytes(100))
            writer.flush()
    with_packets = 0
    for name in series(path):
        reader, packets = read(path.with_name(name))
        kept = [int(data) for _, data in reader.secrets]
        assert kept == list(range(kept[0], kept[-1] + 1))
        first = packets[0][2]
        assert kept[0] == max(0, first - 2)
        assert kept[-1] == packets[-1][2]
        with_packets += len(packets)
    assert with_packets == 50


def test_more_secrets_than_a_file_may_be_large_do_not_make_a_file_a_packet(path: Path) -> None:
    with RecordingWriter(path, WIRES, rotation=Rotation(1000, None, 999)) as writer:
        writer.secrets(bytes(5000))
        for number in range(100):
            writer.packet(0, number, bytes(100))
            writer.flush()
    assert 2 <= len(series(path)) <= 5


def test_a_next_file_that_finds_no_room_loses_nothing_of_the_old_one(
    path: Path, disk: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RecordingWriter(path, WIRES, rotation=Rotation(700, None, 9))
    packets = fill(writer)
    writer.flush()
    writer.packet(0, 1, bytes(400))
    opening = os.open

    def refuse(*arguments: Any) -> int:
        if str(arguments[0]).endswith("rec-00002.pcapng"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return opening(*arguments)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RecordingError, match=r"rec-00002\.pcapng finds no room on the disk"):
        writer.flush()
    with pytest.raises(RecordingError, match=r"rec-00002\.pcapng finds no room on the disk"):
        writer.packet(0, TIME, b"x")
    writer.close()
    assert whole(writer.path) == [*packets, (bytes(400), 400, 1, 0)]


def test_a_full_disk_of_a_rotated_recording_asks_for_fewer_files(
    path: Path, disk: Callable[..., None]
) -> None:
    writer = RecordingWriter(path, WIRES, rotation=Rotation(None, None, 9))
    writer.packet(0, TIME, b"x")
    disk(3, FULL)
    with pytest.raises(RecordingError, match="keep fewer files"):
        writer.close()


def test_the_successor_is_the_next_number_that_is_there(tmp_path: Path) -> None:
    names = ("r-00001.p", "r-00005.p", "r-99999.p", "r-100000.p", "r-00003.q", "r.p", "s-00002.p")
    for name in names:
        (tmp_path / name).write_bytes(b"header")
    (tmp_path / "r-00004.p").touch()
    found = {name: successor(tmp_path / name) for name in (*names, "r-00000.p", "gone-1.p")}
    assert {name: path.name for name, path in found.items() if path} == {
        "r-00000.p": "r-00001.p",
        "r-00001.p": "r-00005.p",
        "r-00005.p": "r-99999.p",
        "r-99999.p": "r-100000.p",
    }
    assert successor(tmp_path / "missing" / "r-00001.p") is None
    assert successor(tmp_path / "-00001") is None


@pytest.mark.parametrize("name", ["rec", "rec.a.b", "rec.", ".rec", "rec-00001.x", "äöü.pcapng"])
def test_every_name_can_be_rotated(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with RecordingWriter(path, WIRES, rotation=Rotation(300, None, 99)) as writer:
        file: Path | None = writer.path
        for number in range(8):
            writer.packet(0, number, bytes(200))
            writer.flush()
    found = []
    while file is not None:
        found += [row[2] for row in whole(file)]
        file = successor(file)
    assert found == list(range(8))


# Witnesses


def witness(*command: str | Path) -> str:
    if shutil.which(str(command[0])) is None:
        if os.environ.get("SMTPSCOPE_CI"):
            pytest.fail(f"{command[0]} is not installed, and SMTPSCOPE_CI demands it")
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout


def test_tshark_reads_the_same_packets(path: Path) -> None:
    record(path)
    record(path)
    asked = [f"-eframe.{field}" for field in ("time_epoch", "cap_len", "len", "comment")]
    asked += [f"-eframe.interface_{field}" for field in ("name", "description")]
    lines = witness("tshark", "-r", path, "-T", "fields", *asked).splitlines()
    assert [line.split("\t") for line in lines] == [
        ["1700000000.123456789", "5", "1500", "hällo", "lo", "the loopback"],
        ["1700000000.123456790", "6", "6", "", "tun0", ""],
        ["1700000000.123456792", "8", "8", "", "lo", "the loopback"],
    ] * 2


def test_capinfos_reads_what_a_recording_says_of_itself(path: Path) -> None:
    record(path)
    lines = [line.strip() for line in witness("capinfos", "-M", path).splitlines()]
    system = os.uname()
    for line in (
        f"Capture oper-sys:    {system.sysname} {system.release}",
        f"Capture application: smtpscope {__version__}",
        "Number of interfaces in file: 2",
        "Name = lo",
        "Description = the loopback",
        "Capture length = 262144",
        "Filter string = tcp port 25",
        "Time precision = nanoseconds (9)",
        f"Operating system = {system.sysname} {system.release}",
        "Number of stat entries = 1",
        "Number of decryption secrets in file: 1",
    ):
        assert line in lines
