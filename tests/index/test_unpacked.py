"""Compressed captures are unpacked once, whole or not at all, while there is room."""

from __future__ import annotations

import errno
import gzip
import os
import stat
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread

import pytest
import zstandard
from support.indexes import QUIET, write_capture

from smtpscope.errors import SmtpscopeError
from smtpscope.index import store as store_module
from smtpscope.index import unpacked
from smtpscope.index.store import Store

FORMATS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": lambda octets: zstandard.ZstdCompressor().compress(octets),
}


def never() -> bool:
    return False


def always() -> bool:
    return True


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "a.pcap", [QUIET] * 30)


@pytest.fixture(params=FORMATS)
def compressed(plain: Path, request: pytest.FixtureRequest) -> Path:
    found = plain.with_name(f"a.pcap.{request.param}")
    found.write_bytes(FORMATS[request.param](plain.read_bytes()))
    return found


def test_a_plain_capture_is_read_where_it_is(plain: Path, cache: Path) -> None:
    assert Store().plain(plain, always) == plain
    assert os.listdir(cache) == []


def test_a_capture_that_has_gone_is_for_its_reader_to_tell(tmp_path: Path, cache: Path) -> None:
    assert Store().plain(tmp_path / "none", never) == tmp_path / "none"
    assert os.listdir(cache) == []


def test_a_compressed_capture_is_unpacked_once(
    compressed: Path, plain: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Store().plain(compressed, never)
    assert copy.parent == cache
    assert copy.read_bytes() == plain.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert os.listdir(cache) == [copy.name]
    os.utime(copy, (0, 0))
    monkeypatch.setattr(store_module, "unpack", None)
    assert Store().plain(compressed, never) == copy
    # It was opened last.
    assert copy.stat().st_mtime > 0


def test_a_capture_that_has_changed_is_unpacked_again(compressed: Path, plain: Path) -> None:
    store = Store()
    before = store.plain(compressed, never)
    other = plain.read_bytes() + plain.read_bytes()[24:]
    compressed.write_bytes(FORMATS[compressed.suffix[1:]](other))
    after = store.plain(compressed, never)
    assert after != before
    assert after.read_bytes() == other


@pytest.mark.parametrize("room", [-1, 0])
def test_a_copy_takes_no_more_than_the_limit(
    compressed: Path, plain: Path, cache: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked, "BLOCK", 1_000)
    store = Store(limit=plain.stat().st_size + room)
    if room < 0:
        with pytest.raises(SmtpscopeError, match=rf"{compressed.name} has more than .*cache_size"):
            store.plain(compressed, never)
        assert os.listdir(cache) == []
    else:
        assert store.plain(compressed, never).read_bytes() == plain.read_bytes()


def test_room_is_made_for_a_copy(plain: Path, compressed: Path, cache: Path) -> None:
    size = plain.stat().st_size
    store = Store(limit=size)
    for time, name in enumerate(("1.capture", "2.capture"), 1_000):
        (cache / name).write_bytes(bytes(size))
        os.utime(cache / name, (time, time))
    copy = store.plain(compressed, never)
    assert sorted(os.listdir(cache)) == sorted(["2.capture", copy.name])


def test_a_copy_that_nobody_waits_for_leaves_nothing(
    compressed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked, "BLOCK", 1_000)
    asked = iter([False, False, True])
    store = Store()
    with pytest.raises(SmtpscopeError, match="cancelled"):
        store.plain(compressed, lambda: next(asked))
    assert os.listdir(cache) == []
    assert store.plain(compressed, never).exists()


def test_a_full_disk_is_told_and_leaves_nothing(
    compressed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()

    def full(part: Path, copy: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SmtpscopeError, match=r"No space left on device.*where there is room"):
        store.plain(compressed, never)
    assert os.listdir(cache) == []


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_what_is_cut_short_is_unpacked_as_far_as_it_goes(
    compressed: Path, plain: Path, kept: float
) -> None:
    octets = compressed.read_bytes()
    compressed.write_bytes(octets[: int(len(octets) * kept)])
    copy = Store().plain(compressed, never).read_bytes()
    assert plain.read_bytes().startswith(copy)
    assert len(copy) < plain.stat().st_size


def test_two_threads_unpack_a_capture_once(
    compressed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store()
    begun, go = Event(), Event()
    times = []
    usual = unpacked.unpack

    def slow(capture: Path, copy: Path, limit: int, cancelled: Callable[[], bool]) -> None:
        times.append(copy)
        begun.set()
        assert go.wait(30)
        usual(capture, copy, limit, cancelled)

    monkeypatch.setattr(store_module, "unpack", slow)
    copies: list[Path] = []
    threads = [
        Thread(target=lambda: copies.append(store.plain(compressed, never))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    go.set()
    for thread in threads:
        thread.join(30)
    assert len(times) == 1
    assert len(set(copies)) == 1
    assert len(copies) == 3


def test_the_part_that_a_dead_process_left_is_thrown_away(compressed: Path, cache: Path) -> None:
    process = get_context("spawn").Process()
    process.start()
    process.join()
    store = Store()
    left = cache / f"0123.capture-{process.pid}"
    living = cache / f"0123.capture-{os.getppid()}"
    for part in (left, living):
        part.write_bytes(b"half")
    copy = store.plain(compressed, never)
    assert sorted(os.listdir(cache)) == sorted([living.name, copy.name])
