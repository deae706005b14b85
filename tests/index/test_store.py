"""Where indexes are kept: found again by what they are of, and nobody else's."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.indexes import QUIET, fill, found, key, write_capture

from smtpscope.findings.walk import Policy
from smtpscope.index.rows import create
from smtpscope.index.store import Store, key_of

LOCAL = Policy(frozenset({"example.org"}))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "a.pcap", [QUIET] * 20)


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# -- found again ----------------------------------------------------------------------------------


def test_an_index_is_found_again_by_another_store(cache: Path, capture: Path) -> None:
    store = Store()
    assert store.folder == cache
    assert store.problem is None
    assert found(store, capture) is None
    path = fill(store, [capture])
    assert found(store, capture) == found(Store(), capture) == path


def test_a_link_to_a_capture_names_the_same_capture(capture: Path, tmp_path: Path) -> None:
    store = Store()
    path = fill(store, [capture])
    link = tmp_path / "link.pcap"
    link.symlink_to(capture)
    assert found(store, link) == path


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def _append(path: Path) -> None:
    known = path.stat()
    with open(path, "ab") as file:
        file.write(b"\0")
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))


def _replace(path: Path) -> None:
    known = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(known.st_atime_ns, known.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("change", [_touch, _append, _replace])
def test_a_capture_that_has_changed_has_another_index(
    change: Callable[[Path], None], capture: Path
) -> None:
    store = Store()
    fill(store, [capture])
    change(capture)
    assert found(store, capture) is None


def test_what_it_was_read_with_is_part_of_an_index(capture: Path, tmp_path: Path) -> None:
    other = write_capture(tmp_path / "b.pcap", [QUIET])
    one, two = str(capture), str(other)
    none, local = Policy(), LOCAL
    keys = [
        key_of([one], frozenset(), none),
        key_of([two], frozenset(), none),
        key_of([one, two], frozenset(), none),
        key_of([two, one], frozenset(), none),
        key_of([one], frozenset({26}), none),
        key_of([one], frozenset({26, 27}), none),
        key_of([one], frozenset(), local),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of([one], frozenset({27, 26}), none) == keys[5]
    store = Store()
    fill(store, [capture])
    assert [store.find(each, ["a.pcap"]) for each in keys[1:]] == [None] * 6


def test_a_capture_that_is_not_there_has_no_key(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        key([tmp_path / "none.pcap"])


def test_nobody_else_gets_at_an_index(cache: Path, capture: Path) -> None:
    store = Store()
    path = store.new(key([capture]))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO notes VALUES (0, 'x')")
        connection.commit()
        made = [*cache.iterdir()]
        assert {path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")} == {
            *made
        }
        assert {stat.S_IMODE(each.stat().st_mode) for each in made} == {0o600}
    for folder in (cache, cache.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_index_is_made_over_nothing(capture: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(FileExistsError):
        create(tmp_path / "taken", "key")
    assert (tmp_path / "taken").read_text() == "mine"


# -- a folder that takes none ---------------------------------------------------------------------


def _blocked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    cache.parent.parent.write_text("a file")
    return "cannot be made"


def _foreign(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    cache.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    return "not yours alone"


def _read_only(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    usual = os.open

    def refusing(path: str | Path, flags: int, mode: int = 0o777, **rest: int) -> int:
        if cache in Path(path).parents:
            raise OSError(30, "Read-only file system")
        return usual(path, flags, mode, **rest)

    monkeypatch.setattr(os, "open", refusing)
    return "Read-only file system"


@pytest.mark.parametrize("hinder", [_blocked, _foreign, _read_only])
def test_a_folder_that_takes_no_file_is_told_and_another_one_used(
    hinder: Callable[[Path, pytest.MonkeyPatch], str],
    cache: Path,
    capture: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reason = hinder(cache, monkeypatch)
    store = Store()
    assert store.problem is not None
    assert reason in store.problem
    assert store.problem.endswith("it is made anew each time")
    assert cache not in (store.folder, *store.folder.parents)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    path = fill(store, [capture])
    assert found(store, capture) == path
    assert path.parent == store.folder
    store.close()
    assert not store.folder.exists()


def test_the_usual_folder_stays_when_its_store_is_closed(cache: Path, capture: Path) -> None:
    store = Store()
    path = fill(store, [capture])
    store.close()
    assert files(cache) == [path.name]
