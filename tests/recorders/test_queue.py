"""The queue for TURN, ATRN and ETRN: whole entries only, delivered by one session at a time."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smtpscope.errors import SmtpscopeError
from smtpscope.recorders import queue as module
from smtpscope.recorders.queue import STALE, Queue

MESSAGE = b"Subject: q\r\n\r\n\xff\0binary\r\n"


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue")


def _add(queue: Queue, host: str = "one.example", *recipients: str) -> str:
    return queue.add(host, "ann@example.org", recipients or ("bob@one.example",), MESSAGE).id


def test_an_entry_is_what_was_added_and_nobody_elses(queue: Queue, tmp_path: Path) -> None:
    added = queue.add("One.Example", "", ["bob@x", "jürgen@x"], io.BytesIO(MESSAGE))
    (found,) = Queue(tmp_path / "queue").waiting("one.example")
    assert found == added
    assert found.path.read_bytes() == MESSAGE
    assert found.size == len(MESSAGE)
    assert b"".join(found.outgoing().read()) == MESSAGE
    assert (tmp_path / "queue").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "queue").iterdir()} == {0o600}
    assert queue.waiting("two.example") == []


def test_the_oldest_comes_first(queue: Queue) -> None:
    ids = [_add(queue, host) for host in ("a.example", "b.example", "A.EXAMPLE")]
    assert [each.id for each in queue.waiting()] == ids
    with queue.take(["b.example", "a.example", "B.example"]) as taken:
        assert [each.id for each in taken] == ids


def test_what_is_removed_is_gone(queue: Queue, tmp_path: Path) -> None:
    first, second = _add(queue), _add(queue)
    assert queue.remove(first)
    assert not queue.remove(first)
    assert [each.id for each in queue.waiting()] == [second]
    outside = tmp_path / "x.json"
    outside.write_text("{}")
    for id in ("../x", "", "a\0b", "x" * 5_000):
        assert not queue.remove(id)
        assert not queue.keep(id, [])
    assert outside.exists()


def test_two_sessions_never_have_the_same_message(queue: Queue, tmp_path: Path) -> None:
    other = Queue(tmp_path / "queue")
    first = _add(queue)
    with queue.take(["one.example"]) as taken:
        second = _add(queue)
        with other.take(["one.example"]) as rest:
            assert [each.id for each in rest] == [second]
        assert [each.id for each in taken] == [first]
        queue.remove(first)
    with other.take(["ONE.example"]) as taken:
        assert [each.id for each in taken] == [second]


def test_a_message_may_stay_for_some_of_its_recipients(queue: Queue, tmp_path: Path) -> None:
    id = _add(queue, "one.example", "a@x", "b@x", "c@x")
    assert queue.keep(id, ["b@x"])
    (left,) = Queue(tmp_path / "queue").waiting()
    assert (left.id, left.recipients, left.path.read_bytes()) == (id, ("b@x",), MESSAGE)


def test_no_more_than_some_are_taken_at_once(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TAKEN", 2)
    ids = [_add(queue) for _ in range(3)]
    with queue.take(["one.example"]) as taken:
        assert [each.id for each in taken] == ids[:2]


def test_who_is_killed_lets_go(queue: Queue, tmp_path: Path) -> None:
    _add(queue)
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from smtpscope.recorders.queue import Queue\n"
        "with Queue(Path(sys.argv[1])).take(['one.example']) as taken:\n"
        "    print(len(taken), flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "queue")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path.cwd()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        with queue.take(["one.example"]) as taken:
            assert taken == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with queue.take(["one.example"]) as taken:
        assert len(taken) == 1


GOOD = {"host": "h", "sender": "s", "recipients": ["r"], "size": 1, "added": 1.0}


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\xff",
        b"[]",
        b"7",
        b"[" * 100_000,
        b'{"host": "h"}',
        *(
            json.dumps({**GOOD, name: value}).encode()
            for name, value in (
                ("host", None),
                ("sender", 1),
                ("recipients", "abc"),
                ("recipients", [1]),
                ("added", float("nan")),
                ("added", "x"),
            )
        ),
    ],
)
def test_a_damaged_entry_is_told_and_harms_no_other(
    entry: bytes, queue: Queue, tmp_path: Path
) -> None:
    id = _add(queue)
    (tmp_path / "queue" / "bad.json").write_bytes(entry)
    (tmp_path / "queue" / "bad.eml").write_bytes(MESSAGE)
    assert [each.id for each in queue.waiting()] == [id]
    (problem,) = queue.problems
    assert "bad.json" in problem
    assert queue.remove("bad")
    assert [each.id for each in queue.waiting()] == [id]
    assert queue.problems == []


def test_an_entry_without_its_message_is_damaged(queue: Queue, tmp_path: Path) -> None:
    (tmp_path / "queue" / "x.json").write_text(json.dumps(GOOD))
    assert queue.waiting() == []
    assert "x.eml" in queue.problems[0]
    (tmp_path / "queue" / "x.eml").mkdir()
    os.mkfifo(tmp_path / "queue" / "y.json")
    assert queue.waiting() == []
    assert len(queue.problems) == 2


def test_what_never_became_an_entry_goes_when_it_is_old(queue: Queue, tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    kept = _add(queue)
    old = time.time() - STALE - 60
    for name in ("tmpabc", ".x.json-12", "half.eml", "notes.txt", f"{kept}.eml"):
        (folder / name).touch()
        os.utime(folder / name, (old, old))
    (folder / "new.eml").touch()
    Queue(folder)
    assert {path.name for path in folder.iterdir()} == {
        *("new.eml", "notes.txt", f"{kept}.eml", f"{kept}.json")
    }


def test_what_cannot_be_kept_leaves_nothing(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    for calls in range(3):
        left = calls

        def some(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                full(descriptor)

        monkeypatch.setattr(os, "fsync", some)
        with pytest.raises(SmtpscopeError, match=r"No space left on device.*make room"):
            _add(queue)
        assert list((tmp_path / "queue").iterdir()) == []
