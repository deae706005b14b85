"""What is not sound, not finished or too much is thrown away, and nothing that is in use."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest
from support.indexes import QUIET, fill, found, indexed, key, write_capture

from smtpscope.index.store import Store
from smtpscope.index.views import DamagedError, Index


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "a.pcap", [QUIET] * 20)


def by(path: Path, process: int) -> Path:
    """An index, or part of a copy, as if that process had made it."""
    return path.rename(path.with_name(path.name.replace(f"-{os.getpid()}", f"-{process}")))


@pytest.fixture(scope="module")
def ended() -> int:
    """The id of a process that has ended."""
    process = get_context("spawn").Process()
    process.start()
    process.join()
    assert process.pid is not None
    return process.pid


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# -- not sound ------------------------------------------------------------------------------------


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _garbage(path: Path) -> None:
    path.write_bytes(b"garbage " * 4_096)


def _folder(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(10_000))


def _sql(sql: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(sql)

    return change


DAMAGES = {
    "cut": _cut,
    "empty": _empty,
    "garbage": _garbage,
    "zeros": _folder,
    "another version": _sql("PRAGMA user_version = 999"),
    "another application": _sql("PRAGMA application_id = 1"),
    "another key": _sql("UPDATE meta SET value = 'x' WHERE name = 'key'"),
    "no key": _sql("DELETE FROM meta"),
    "not said to be complete": _sql("DELETE FROM meta WHERE name = 'complete'"),
    "no tables": _sql("DROP TABLE meta"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_removed_and_made_anew(damage: str, cache: Path, capture: Path) -> None:
    store = Store()
    damaged = fill(store, [capture])
    DAMAGES[damage](damaged)
    assert found(store, capture) is None
    assert files(cache) == []
    with indexed(store, [capture]) as index:
        assert index.path != damaged
        assert index.progress().sessions == 20


def test_a_damaged_one_is_no_obstacle_to_a_sound_one(capture: Path) -> None:
    store = Store()
    paths = [fill(store, [capture]) for _ in range(2)]
    for damaged, sound in (sorted(paths), sorted(paths, reverse=True)):
        if sound.exists() and damaged.exists():
            _garbage(damaged)
            assert found(store, capture) == sound


def test_what_has_gone_is_told_as_damage(capture: Path) -> None:
    path = fill(Store(), [capture])
    path.unlink()
    with pytest.raises(DamagedError, match="gone"):
        Index(path, key([capture]), ["a.pcap"])


# -- unfinished -----------------------------------------------------------------------------------


def test_an_unfinished_index_is_not_found(capture: Path) -> None:
    store = Store()
    store.new(key([capture]))
    assert found(store, capture) is None


def test_what_a_dead_process_did_not_finish_is_thrown_away(
    ended: int, cache: Path, capture: Path
) -> None:
    store = Store()
    by(store.new(key([capture])), ended)
    by(store.new("another"), ended).write_bytes(b"")
    (cache / "nobodys.sqlite").write_bytes(b"garbage")
    kept = fill(store, [capture])
    assert files(cache) == [kept.name]


@pytest.mark.parametrize("made", ["just begun", "tables", "some rows"])
def test_what_a_living_process_did_not_finish_is_kept(
    made: str, cache: Path, capture: Path
) -> None:
    store = Store()
    path = by(store.new(key([capture])), os.getppid())
    if made == "just begun":
        _empty(path)
    elif made == "tables":
        _sql("DELETE FROM meta")(path)
    assert found(store, capture) is None
    mine = fill(store, [capture])
    assert files(cache) == sorted([path.name, mine.name])


def test_the_folder_may_have_any_name(tmp_path: Path, capture: Path, ended: int) -> None:
    store = Store(tmp_path / "100%41 what?mode=ro #1")
    kept = by(fill(store, [capture]), ended)
    store.new("another")
    assert found(store, capture) == kept


# -- no more than so much -------------------------------------------------------------------------


def opened(path: Path, time: int) -> Path:
    os.utime(path, (time, time))
    return path


def test_beyond_the_limit_what_was_not_opened_longest_goes(cache: Path, tmp_path: Path) -> None:
    captures = [write_capture(tmp_path / f"{name}.pcap", [QUIET]) for name in "abcd"]
    paths = [opened(fill(Store(), [each]), 1_000_000 + n) for n, each in enumerate(captures)]
    size = paths[0].stat().st_size
    assert found(Store(), captures[0]) == paths[0]
    assert [each.path for each in Store.kept_in(cache)] == [paths[0], *paths[:0:-1]]
    store = Store(limit=2 * size + size // 2)
    new = store.new("new")
    assert files(cache) == sorted(each.name for each in (paths[0], paths[3], new))


def test_below_the_limit_everything_stays(cache: Path, tmp_path: Path) -> None:
    captures = [write_capture(tmp_path / f"{name}.pcap", [QUIET]) for name in "abcd"]
    paths = [fill(Store(), [each]) for each in captures]
    Store(limit=sum(path.stat().st_size for path in paths)).new("new")
    assert len(files(cache)) == 5


def test_what_is_in_use_is_not_thrown_away(cache: Path, capture: Path, tmp_path: Path) -> None:
    other = fill(Store(), [write_capture(tmp_path / "b.pcap", [QUIET])])
    first, second = Store(limit=0), Store(limit=0)
    path = fill(first, [capture])
    first.new("another")
    assert path.exists()
    assert not other.exists()
    assert found(second, capture) == path
    second.new("another")
    assert path.exists()
    Store(limit=0).new("another")
    assert not path.exists()


def test_the_sizes_are_those_of_all_files_of_an_index(cache: Path, capture: Path) -> None:
    path = fill(Store(), [capture])
    Path(f"{path}-wal").write_bytes(bytes(1_000))
    (cache / "x.capture").write_bytes(bytes(10))
    sizes = {each.path.suffix: each.size for each in Store.kept_in(cache)}
    assert sizes == {".sqlite": path.stat().st_size + 1_000, ".capture": 10}
    assert Store.kept_in(cache / "not there") == []
