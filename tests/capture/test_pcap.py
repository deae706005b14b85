from __future__ import annotations

import gzip
import io
import os
import random
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zstandard
from support.packets import ETHERNET, RAW, Packet, Pcapng, pcap

from smtpscope.capture import pcapng, records
from smtpscope.capture.pcap import CaptureReader, Interface, Statistics, open_capture
from smtpscope.errors import NoCaptureError

SECOND = 1_000_000_000
PACKETS = [
    Packet(
        bytes([number % 251]) * number, time=SECOND * 1_700_000_000 + number * 1000, original=size
    )
    for number, size in ((1, None), (0, 1500), (60, 1514), (7, None), (1400, None))
]


def rows(reader: CaptureReader) -> list[tuple[int, bytes, int, int, int]]:
    """(number, octets, original length, time, interface) of every packet."""
    found = []
    for batch in reader:
        columns = (batch.offset, batch.captured, batch.original, batch.time, batch.interface)
        for index, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            offset, captured, original, time, interface = row
            octets = bytes(batch.buffer[offset : offset + captured])
            found.append((batch.first + index, octets, original, time, interface))
    return found


def read(data: bytes, block: int = 1 << 20) -> tuple[CaptureReader, list[tuple]]:
    reader = open_capture(io.BytesIO(data), block=block)
    return reader, rows(reader)


def expected(packets: list[Packet]) -> list[tuple[int, bytes, int, int, int]]:
    return [
        (number, packet.frame, packet.wire_length, packet.time, 0)
        for number, packet in enumerate(packets, 1)
    ]


def rich_pcapng(order: str = "<") -> bytes:
    first = (
        Pcapng(order, comment=b"made by hand")
        .interface(name="eth0", snaplen=96)
        .secrets(b"CLIENT_RANDOM 00 11\n")
        .packet(b"one", 1_700_000_000_000_001, comment=b"look here")
        .names()
        .interface(RAW, resolution=9, name="tun0")
        .packet(b"three", 1_700_000_000_000_000_002, interface=1, original=50)
        .simple_packet(b"simple!")
        .old_packet(b"ancient", 1_700_000_000_000_004, interface=0)
        .block(0x0BAD, b"vendor's own")
        .statistics(0, 10, 3)
        .statistics(0, 20, 5)
    )
    second = Pcapng(">" if order == "<" else "<").interface(113).packet(b"other", 5_000_000)
    return first.data + second.data


RICH_ROWS = [
    (1, b"one", 3, 1_700_000_000_000_001_000, 0),
    (2, b"three", 50, 1_700_000_000_000_000_002, 1),
    (3, b"simple!", 7, 0, 0),
    (4, b"ancient", 7, 1_700_000_000_000_004_000, 0),
    (5, b"other", 5, 5 * SECOND, 2),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34])
def test_every_variant_of_pcap_gives_the_same_packets(order: str, magic: int) -> None:
    reader, found = read(pcap(PACKETS, order=order, magic=magic, linktype=RAW, snaplen=1514))
    assert found == expected(PACKETS)
    assert reader.interfaces == [Interface(RAW, 1514, None)]
    assert (reader.format, reader.problems, reader.truncated) == ("pcap", [], None)


def test_a_nanosecond_pcap_keeps_the_last_nanosecond() -> None:
    packets = [Packet(b"x", time=1_700_000_000_123_456_789)]
    assert read(pcap(packets, magic=0xA1B23C4D))[1] == expected(packets)


def test_the_frame_check_bits_of_a_link_type_are_no_part_of_it() -> None:
    reader, _ = read(pcap(PACKETS, linktype=0x5400_0001))
    assert reader.interfaces[0].linktype == ETHERNET


@pytest.mark.parametrize("order", ["<", ">"])
def test_sections_of_both_byte_orders_make_one_pcapng_file(order: str) -> None:
    reader, found = read(rich_pcapng(order))
    assert found == RICH_ROWS
    assert reader.interfaces == [
        Interface(ETHERNET, 96, "eth0"),
        Interface(RAW, 0, "tun0"),
        Interface(113, 0, None),
    ]
    assert (reader.format, reader.problems, reader.truncated) == ("pcapng", [], None)


def test_what_a_pcapng_file_says_besides_packets_is_kept() -> None:
    reader, _ = read(rich_pcapng())
    assert reader.secrets == [(0x544C534B, b"CLIENT_RANDOM 00 11\n")]
    assert reader.comments == [(0, b"made by hand"), (1, b"look here")]
    assert reader.statistics == {0: Statistics(20, 5, None)}
    assert reader.skipped == {4: 1, 0x0BAD: 1}


def test_ten_thousand_sections_with_the_same_interface_have_one() -> None:
    one = Pcapng().interface(name="lo").packet(b"x", 7).statistics(0, 5, 1).data
    reader, found = read(one * 9_999 + Pcapng(">").interface(name="lo").statistics(0, 6, 2).data)
    assert [row[1:] for row in found] == [(b"x", 1, 7000, 0)] * 9_999
    assert reader.interfaces == [Interface(ETHERNET, 0, "lo")]
    assert reader.statistics == {0: Statistics(6, 2, None)}
    assert reader.problems == []


@pytest.mark.parametrize("block", [1, 50, 1 << 20])
def test_a_section_has_its_own_interfaces_from_the_first_that_differs(block: int) -> None:
    first = Pcapng().interface(name="a").interface(name="b").packet(b"1").packet(b"2", interface=1)
    fewer = Pcapng().interface(name="a").packet(b"3").packet(b"no", interface=1)
    other = Pcapng().interface(name="a").packet(b"4").interface(name="c").statistics(1, 3, 0)
    other.packet(b"5").packet(b"6", interface=1)
    more = Pcapng().interface(name="a").interface(name="c").interface(name="d")
    more.packet(b"7", interface=2).statistics(0, 9, 0)
    clock = Pcapng().interface(name="a", resolution=9).packet(b"8", 5).interface(name="c")
    clock.packet(b"9", 5, interface=1)
    data = b"".join(each.data for each in (first, fewer, other, more, clock))
    reader, found = read(data, block)
    assert [(row[1], row[4]) for row in found] == [
        (b"1", 0),
        (b"2", 1),
        (b"3", 0),
        (b"4", 0),
        (b"5", 2),
        (b"6", 3),
        (b"7", 4),
        (b"8", 5),
        (b"9", 6),
    ]
    assert [row[3] for row in found[-2:]] == [5, 5000]
    assert [each.name for each in reader.interfaces] == ["a", "b", "a", "c", "d", "a", "c"]
    assert {index: each.received for index, each in reader.statistics.items()} == {3: 3, 2: 9}
    assert len(reader.problems) == 1


def test_too_many_interfaces_give_no_packet_to_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcapng, "INTERFACE_BOUND", 3)
    first = Pcapng().interface(name="a").interface(name="b").packet(b"1", interface=1)
    second = Pcapng().interface(name="a").interface(name="x").interface(name="b")
    second.packet(b"2").packet(b"3", interface=1).packet(b"4", interface=2)
    reader, found = read(first.data + second.data + first.data)
    assert [(row[1], row[4]) for row in found] == [(b"1", 1), (b"2", 0), (b"1", 1)]
    assert len(reader.problems) == 4


def test_comments_on_statistics_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = Pcapng(">").interface()
    options = blocks.options((1, b"a burst"), (4, struct.pack(">Q", 8)), (1, b"later"))
    blocks.block(5, struct.pack(">III", 0, 0, 0) + options)
    reader, _ = read(blocks.data)
    assert reader.comments == [(0, b"a burst"), (0, b"later")]
    assert reader.statistics == {0: Statistics(8, None, None)}


def test_secrets_that_are_repeated_are_kept_once() -> None:
    section = Pcapng().secrets(b"one").secrets(b"two").data
    reader, _ = read(section * 3)
    assert reader.secrets == [(0x544C534B, b"one"), (0x544C534B, b"two")]


@pytest.mark.parametrize(
    ("resolution", "stamp", "time"),
    [
        (0, 1_700_000_000, 1_700_000_000 * SECOND),
        (3, 1_700_000_000_123, 1_700_000_000_123_000_000),
        (12, 1_700_000_000_123_456_789, 1_700_000_000_123_456),
        (0x80, 1_700_000_000, 1_700_000_000 * SECOND),
        (0x80 | 10, 1_700_000_000 << 10 | 512, 1_700_000_000_500_000_000),
        (0x80 | 32, 1_700_000_000 << 32 | 3 << 30, 1_700_000_000_750_000_000),
        (0x80 | 40, 1_000_000 << 40 | 1 << 38, 1_000_000_250_000_000),
    ],
)
def test_timestamps_count_what_the_interface_says(resolution: int, stamp: int, time: int) -> None:
    blocks = Pcapng().interface(resolution=resolution).packet(b"x", stamp)
    assert read(blocks.data)[1] == [(1, b"x", 1, time, 0)]


def test_a_timestamp_offset_is_added_in_seconds() -> None:
    blocks = Pcapng().interface(offset=-100).packet(b"x", 150_000_000)
    assert read(blocks.data)[1] == [(1, b"x", 1, 50 * SECOND, 0)]


@pytest.mark.parametrize(
    ("snaplen", "captured"), [(0, b"simple"), (5, b"simpl"), (1000, b"simple")]
)
def test_a_simple_packet_is_as_long_as_the_snap_length_lets_it(
    snaplen: int, captured: bytes
) -> None:
    blocks = Pcapng().interface(snaplen=snaplen).simple_packet(b"simple"[: snaplen or 6], 6)
    assert read(blocks.data)[1] == [(1, captured, 6, 0, 0)]


def test_a_comment_is_found_behind_other_options() -> None:
    blocks = Pcapng(">").interface()
    frame = struct.pack(">5I", 0, 0, 0, 1, 1) + b"x\0\0\0"
    options = blocks.options((2, b"\0\0\0\1"), (1, b"first"), (1, b"second"))
    reader, _ = read(blocks.block(6, frame + options).data)
    assert reader.comments == [(1, b"first"), (1, b"second")]


@pytest.mark.parametrize("data", [pcap(PACKETS), rich_pcapng(), rich_pcapng(">")])
@pytest.mark.parametrize("block", [1, 2, 3, 7, 16, 31, 100, 1000])
def test_the_size_of_the_blocks_read_changes_nothing(data: bytes, block: int) -> None:
    whole, rows_of_whole = read(data)
    pieces, rows_of_pieces = read(data, block)
    assert rows_of_pieces == rows_of_whole
    assert pieces.comments == whole.comments
    assert pieces.secrets == whole.secrets


@pytest.mark.parametrize("block", [1, 60, 1000, 1 << 20])
def test_a_file_gives_what_a_stream_gives(tmp_path: Path, block: int) -> None:
    data = rich_pcapng()
    file = tmp_path / "rich.pcapng"
    for cut in (0, 1, 40):
        file.write_bytes(data[: len(data) - cut])
        with open_capture(file, block=block) as reader:
            found = rows(reader)
        stream, wanted = read(data[: len(data) - cut], block)
        assert found == wanted
        assert (reader.truncated, reader.problems) == (stream.truncated, stream.problems)
        assert reader.consumed == reader.size


def test_a_file_that_is_cut_while_it_is_read_ends_there(tmp_path: Path) -> None:
    file = tmp_path / "cut.pcap"
    file.write_bytes(pcap([Packet(bytes(60), n) for n in range(100)]))
    with open_capture(file, block=1000) as reader:
        batches = iter(reader)
        count = len(next(batches))
        os.truncate(file, 500)
        count += sum(len(batch) for batch in batches)
    assert count < 100
    assert reader.truncated is not None


@pytest.mark.parametrize(
    ("data", "records"), [(pcap(PACKETS), 5), (rich_pcapng(), 14), (rich_pcapng(">"), 14)]
)
def test_a_file_cut_anywhere_gives_what_is_before_the_cut(data: bytes, records: int) -> None:
    _, all_rows = read(data)
    clean = 0
    for cut in range(4, len(data)):
        reader, found = read(data[:cut])
        assert found == all_rows[: len(found)]
        assert reader.problems == []
        clean += reader.truncated is None
        if reader.truncated:
            again, found_again = read(data[: reader.truncated])
            assert (again.truncated, found_again) == (None, found)
    assert clean == records


def damaged(data: bytes, times: int) -> Iterator[bytes]:
    random_ = random.Random(5321)
    for _ in range(times):
        octets = bytearray(data)
        for _ in range(random_.choice((1, 1, 2, 8))):
            octets[random_.randrange(4, len(data))] = random_.choice((0, 1, 6, 255, 0x0A))
        yield bytes(octets)


@pytest.mark.parametrize("data", [pcap(PACKETS), rich_pcapng(), rich_pcapng(">")])
@pytest.mark.parametrize("block", [13, 64, 300])
def test_damage_never_raises_and_reads_the_same_in_every_block_size(
    data: bytes, block: int
) -> None:
    for octets in damaged(data, 150):
        reader, found = read(octets)
        again, found_again = read(octets, block)
        assert found_again == found
        assert sorted(again.problems) == sorted(reader.problems)
        assert again.truncated == reader.truncated


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_damage_in_a_compressed_file_is_a_problem_not_an_exception(compress) -> None:
    data = pcap(PACKETS)
    for octets in damaged(compress(data), 150):
        try:
            reader, found = read(octets, 100)
        except NoCaptureError:
            continue
        assert reader.problems or reader.truncated is not None or len(found) == len(PACKETS)


def test_noise_behind_a_magic_number_never_raises() -> None:
    random_ = random.Random(821)
    for magic in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a"):
        for size in (0, 1, 20, 24, 100, 5000):
            reader, _ = read(magic + random_.randbytes(size))
            assert reader.problems or reader.truncated is not None or size == 20


def test_reading_goes_on_behind_damage_in_a_pcapng_file() -> None:
    blocks = Pcapng().interface().packet(b"before", 1)
    damage = b"\x06\0\0\0\x33\0\0\0 these octets are no block "
    rest = Pcapng().interface().packet(b"after", 2)
    data = blocks.data + damage + rest.data
    reader, found = read(data)
    assert [row[1] for row in found] == [b"before", b"after"]
    assert reader.problems == [
        f"malformed block, {len(damage)} octets skipped at octet {len(blocks.data)}"
    ]
    assert reader.truncated is None


def test_a_packet_of_an_unknown_interface_is_left_out_and_told() -> None:
    blocks = Pcapng().packet(b"too early").interface().packet(b"fine").packet(b"no", interface=1)
    reader, found = read(blocks.data)
    assert [row[:2] for row in found] == [(1, b"fine")]
    assert len(reader.problems) == 2


def test_an_impossible_record_length_ends_a_pcap_and_is_told() -> None:
    data = pcap(PACKETS) + struct.pack("<IIII", 1, 2, 300_000_000, 300_000_000) + bytes(100)
    reader, found = read(data)
    assert found == expected(PACKETS)
    offset = len(pcap(PACKETS))
    assert reader.problems == [
        f"impossible record length 300000000, reading ends at octet {offset}"
    ]
    assert reader.truncated is None


def test_a_tail_of_zeros_is_no_series_of_empty_packets() -> None:
    reader, found = read(pcap(PACKETS) + bytes(4096))
    assert found == expected(PACKETS)
    assert len(reader.problems) == 1


def test_a_record_longer_than_a_block_is_read_whole() -> None:
    packets = [Packet(os.urandom(200_000)), Packet(b"small"), Packet(os.urandom(262_144))]
    assert read(pcap(packets), 4096)[1] == expected(packets)


def test_interfaces_comments_and_problems_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "PROBLEM_BOUND", 3)
    monkeypatch.setattr(records, "COMMENT_BOUND", 4)
    monkeypatch.setattr(records, "SECRETS_BOUND", 8)
    blocks = Pcapng().interface()
    for number in range(9):
        blocks.packet(b"x", comment=b"comment").packet(b"y", interface=77 + number)
        blocks.interface().secrets(b"12345")
    reader, found = read(blocks.data)
    assert len(found) == 9
    assert [text for _, text in reader.comments] == [b"comm"] * 4
    assert len(reader.secrets) == 1
    assert reader.problems[3:] == ["more problems than are listed"]


def in_members(data: bytes) -> bytes:
    return gzip.compress(data[:100]) + gzip.compress(data[100:]) + bytes(512)


def in_frames(data: bytes) -> bytes:
    return b"".join(map(zstandard.ZstdCompressor().compress, (data[:100], data[100:])))


@pytest.mark.parametrize("compress", [gzip.compress, in_members, zstandard.compress, in_frames])
@pytest.mark.parametrize("data", [pcap(PACKETS), rich_pcapng()])
@pytest.mark.parametrize("block", [10, 1 << 20])
def test_a_compressed_capture_is_read_like_a_plain_one(compress, data, block) -> None:
    packed = compress(data)
    reader, found = read(packed, block)
    assert found == read(data)[1]
    assert (reader.problems, reader.truncated) == ([], None)
    assert reader.consumed == len(packed)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_compressed_capture_cut_anywhere_gives_what_is_before_the_cut(compress) -> None:
    random_ = random.Random(1652)
    packets = [Packet(random_.randbytes(1000)) for _ in range(400)]
    packed = compress(pcap(packets))
    seen = set()
    for cut in (0, 3, 20, *random_.sample(range(len(packed)), 40)):
        try:
            reader, found = read(packed[:cut])
        except NoCaptureError:
            continue
        assert found == expected(packets)[: len(found)]
        assert reader.truncated is not None
        seen.add(len(found))
    assert max(seen) > 200


def test_a_compressed_capture_need_not_fit_into_memory() -> None:
    data = pcap([Packet(bytes(262_000))]) + pcap([Packet(bytes(262_000))] * 100)[24:]
    reader = open_capture(io.BytesIO(gzip.compress(data)), block=300_000)
    assert max(len(batch.buffer) for batch in reader) < 1_000_000


def test_a_file_tells_its_size_and_how_much_of_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(PACKETS))
    with open_capture(path) as reader:
        assert reader.size == path.stat().st_size
        assert rows(reader) == expected(PACKETS)
        assert reader.consumed == reader.size
        assert reader.name == str(path)


def test_a_batch_points_into_the_uncompressed_file() -> None:
    data = pcap(PACKETS * 50)
    for batch in open_capture(io.BytesIO(gzip.compress(data)), block=5000):
        at = batch.position + batch.offset
        for start, length, here in zip(at, batch.captured, batch.offset, strict=True):
            assert data[start : start + length] == batch.buffer[here : here + length]
        assert np.frombuffer(batch.buffer, np.uint8).size == len(batch.buffer)


def test_a_live_pipe_gives_packets_before_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    seen = threading.Event()
    delivered = []

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(pcap(PACKETS[:2]))
            delivered.append(seen.wait(20))
            pipe.write(pcap(PACKETS[2:])[24:])

    writer = threading.Thread(target=write)
    writer.start()
    found = 0
    with open_capture(path) as reader:
        for batch in reader:
            found += len(batch)
            seen.set()
    writer.join()
    assert delivered == [True]
    assert found == len(PACKETS)
    assert reader.size is None


def test_a_dash_is_standard_input() -> None:
    code = (
        "from smtpscope.capture.pcap import open_capture\n"
        "reader = open_capture('-')\n"
        "print(sum(map(len, reader)), reader.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pcap(PACKETS), capture_output=True, check=True
    )
    assert done.stdout == b"5 standard input\n"


def refusal(source: object) -> str:
    with pytest.raises(NoCaptureError) as caught:
        open_capture(source)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_is_no_capture_is_refused_in_one_line_that_says_what_it_is(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.pcap")
    assert "is a directory" in refusal(tmp_path)
    for name, content, what in (
        ("empty", b"", "is empty"),
        ("text", b"Return-Path: <a@b.test>\r\n\r\nhello\r\n", "is text"),
        ("short", b"\xd4\xc3", "is no pcap"),
        ("noise", bytes(range(256)), "is no pcap"),
        ("gzip of text", gzip.compress(b"plain text"), "is text"),
        ("broken gzip", b"\x1f\x8b\x08\0" + b"\xff" * 40, "damaged"),
        ("broken zstd", b"\x28\xb5\x2f\xfd" + b"\xff" * 40, "damaged"),
        ("cut gzip", gzip.compress(pcap(PACKETS))[:9], "cut short"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert what in refusal(path), name
        assert str(path) in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.pcap"
    path.write_bytes(pcap(PACKETS))
    path.chmod(0)
    assert "permission" in refusal(path)


def test_a_stream_that_fails_is_a_capture_that_ends() -> None:
    class Failing(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            if self.tell() >= 150:
                raise OSError(5, "Input/output error")
            return super().read1(50)

    reader = open_capture(Failing(pcap(PACKETS)))
    assert rows(reader) == expected(PACKETS)[:3]
    assert reader.problems == ["reading failed (Input/output error) at octet 150"]
    assert reader.truncated is not None
