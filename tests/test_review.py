"""Captures under review: read in a process of its own, one list, and nothing half-done left."""

from __future__ import annotations

import gzip
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.conversation import START, connection
from support.indexes import MINUTE, ODD, QUIET, decoded, write_capture
from support.packets import pcap

from smtpscope import review as module
from smtpscope.errors import NoCaptureError, SmtpscopeError
from smtpscope.filters import parse
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.index import store as store_module
from smtpscope.index.views import MESSAGES, DamagedError, SessionRow
from smtpscope.index.writer import Task, _Writer, run
from smtpscope.places import bundled_captures
from smtpscope.processes import start
from smtpscope.review import Review
from smtpscope.session import Session

PATIENCE = 30.0
"""Seconds after which something that does not come is a failure."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the indexes of this test lie."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "smtpscope" / "index"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_capture(tmp_path / "good.pcap", [QUIET, *ODD[:3]])


@pytest.fixture
def reviewed(request: pytest.FixtureRequest) -> Callable[..., Review]:
    """Opens captures for review, and closes the review at the end."""

    def opened(*captures: Path, **options: object) -> Review:
        review = Review([str(path) for path in captures], **options)  # type: ignore[arg-type]
        request.addfinalizer(review.close)
        return review

    return opened


def finished(review: Review) -> Review:
    """The review, once the process that reads the captures has ended."""
    if review._process is not None:
        review._process.join(PATIENCE)
    assert not review.reading
    return review


def rows(review: Review, filter: str = "") -> list[SessionRow]:
    view = review.index.view(filter=parse(filter))
    view.fill()
    found = view.rows(0, len(view))
    view.close()
    return found


def tables(review: Review) -> list[object]:
    """All that the index has of the sessions."""
    messages = review.index.view(MESSAGES)
    messages.fill()
    found = [(row, review.index.details(row.id)) for row in rows(review)]
    return [found, messages.rows(0, len(messages)), [*review.notes()]]


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# -- read -----------------------------------------------------------------------------------------


def test_an_index_is_made_and_found_again(
    good: Path, reviewed: Callable[..., Review], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = finished(reviewed(good))
    assert first.problems == []
    assert first.failure() is None
    assert first.index.complete
    progress = first.progress()
    size = good.stat().st_size
    assert progress[:4] == (0, size, size, 4)
    assert progress.done
    assert len(rows(first)) == 4
    monkeypatch.setattr(module, "start", None)
    second = reviewed(good)
    assert not second.reading
    assert second.failure() is None
    assert second.index.path == first.index.path
    assert rows(second) == rows(first)


def test_several_captures_are_one_list_in_their_order(
    good: Path, tmp_path: Path, reviewed: Callable[..., Review]
) -> None:
    other = write_capture(tmp_path / "other.pcap", ODD)
    captures = [other, good, *bundled_captures()[:5], other]
    review = finished(reviewed(*captures))
    assert review.names == tuple(path.name for path in captures)
    expected = decoded(captures)
    assert [(row.capture, row.number, row.start) for row in rows(review)] == [
        (number, session.number, session.start) for number, session in expected
    ]
    assert [row.id for row in rows(review, "capture == other.pcap")] == [
        id for id, (_, session) in enumerate(expected, 1) if session.capture == "other.pcap"
    ]
    assert {row.capture for row in rows(review, "capture ~ other")} == {0, len(captures) - 1}


def test_several_processes_make_the_same_index(
    reviewed: Callable[..., Review], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    captures = [
        write_capture(tmp_path / "a.pcap", [*ODD, QUIET] * 4),
        bundled_captures()[0],
        *[path for path in bundled_captures() if path.suffix == ".gz"],
    ]
    found = []
    for jobs in (1, 2):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache {jobs}"))
        found.append(tables(finished(reviewed(*captures, jobs=jobs))))
    assert found[0] == found[1]


def test_ports_and_policy_are_those_of_the_review(
    tmp_path: Path, reviewed: Callable[..., Review]
) -> None:
    mute = write_capture(tmp_path / "mute.pcap", [()], server=2_526)
    relay = write_capture(tmp_path / "relay.pcap", ODD[:2], port=41_000)
    assert len(rows(finished(reviewed(mute)))) == 0
    assert len(rows(finished(reviewed(mute, ports=frozenset({2_526}))))) == 1
    policy = Policy(frozenset({"example.org"}))
    review = finished(reviewed(relay, policy=policy))
    for row, (_, session) in zip(rows(review), decoded([relay], policy), strict=True):
        assert review.details(row).session().findings == session.findings


def test_what_is_to_be_told_of_a_capture_names_it(
    good: Path, reviewed: Callable[..., Review]
) -> None:
    good.write_bytes(good.read_bytes()[:-5])
    review = finished(reviewed(good))
    (note,) = review.notes()
    assert note.startswith("good.pcap: cut short")
    assert review.index.complete


# -- captures that are none -----------------------------------------------------------------------


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "letter.txt"
    path.write_text("no capture\n" * 100)
    return path


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_that_is_no_capture_is_told_and_the_others_are_read(
    place: int, good: Path, text: Path, cache: Path, reviewed: Callable[..., Review]
) -> None:
    captures = [good, bundled_captures()[0]]
    captures.insert(place, text)
    review = finished(reviewed(*captures))
    (note,) = review.notes()
    assert note.startswith("letter.txt: ")
    assert "no capture" in note or "not a capture" in note, note
    assert review.failure() is None
    assert review.progress().done
    expected = [(number, session.number) for number, session in decoded_of(captures, text)]
    assert [(row.capture, row.number) for row in rows(review)] == expected


def decoded_of(captures: list[Path], without: Path) -> Iterator[tuple[int, Session]]:
    for number, path in enumerate(captures):
        if path != without:
            yield from ((number, session) for _, session in decoded([path]))


def test_what_could_not_be_read_is_tried_again_next_time(
    good: Path, text: Path, cache: Path, tmp_path: Path
) -> None:
    review = finished(Review([str(good), str(text)]))
    assert not review.index.complete
    review.close()
    assert files(cache) == []


def test_only_captures_that_are_none_are_no_review(good: Path, text: Path, tmp_path: Path) -> None:
    for captures in ([text], [text, text], [tmp_path], [text, tmp_path]):
        with pytest.raises(NoCaptureError) as caught:
            Review([str(path) for path in captures])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", ["alone", "first", "last", "with text"])
def test_a_capture_that_is_not_there_is_no_review(
    order: str, good: Path, text: Path, tmp_path: Path, cache: Path
) -> None:
    none = tmp_path / "none.pcap"
    captures = {
        "alone": [none, tmp_path / "nor this"],
        "first": [none, good],
        "last": [good, none],
        "with text": [text, none],
    }[order]
    with pytest.raises(NoCaptureError, match=rf"{none}: .*check the path"):
        Review([str(path) for path in captures])
    assert not cache.exists() or files(cache) == []


# -- captures that go away ------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_the_list_stays_when_the_capture_has_gone(
    packed: bool, good: Path, reviewed: Callable[..., Review]
) -> None:
    if packed:
        good.write_bytes(gzip.compress(good.read_bytes()))
    review = finished(reviewed(good))
    row = rows(review)[1]
    details = review.details(row)
    assert details.session().helo == b""
    good.unlink()
    if not packed:
        with pytest.raises(SmtpscopeError, match=r"cannot be read any more.*list stays.*good.pcap"):
            details.session()
    with pytest.raises(SmtpscopeError, match=r"cannot be read any more.*list stays.*good.pcap"):
        review.details(row).session()
    assert rows(review)[1] == row
    with pytest.raises(NoCaptureError, match="check the path"):
        review.again()


def test_a_capture_that_is_shorter_says_to_open_it_again(
    good: Path, reviewed: Callable[..., Review]
) -> None:
    review = finished(reviewed(good))
    os.truncate(good, 400)
    with pytest.raises(SmtpscopeError, match="shorter than it was; open it again"):
        review.details(rows(review)[-1]).session()


# -- while it is read -----------------------------------------------------------------------------


class Pipe:
    """A capture that comes when the test says so, and has no end before."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.sessions = 0
        # Nobody is kept waiting when it is opened.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._write(pcap([]))

    def send_until_shown(self, review: Review) -> None:
        """Write sessions until there are some in the index."""
        until = time.monotonic() + PATIENCE
        while not review.progress().sessions:
            assert time.monotonic() < until
            assert review.reading, [*review.notes()]
            if self.sessions < 100:
                begin = START + self.sessions * MINUTE
                packets = connection(QUIET, client=40_000 + self.sessions, start=begin)
                self._write(pcap(packets)[24:])
                self.sessions += 1
            time.sleep(0.01)

    def _write(self, octets: bytes) -> None:
        assert os.write(self._descriptor, octets) == len(octets)

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    # A look at it would take its beginning away.
    monkeypatch.setattr(module, "_check", lambda captures: None)
    found = Pipe(tmp_path / "live.pcap")
    yield found
    found.close()


def test_what_has_been_read_stays_when_reading_is_stopped(pipe: Pipe, cache: Path) -> None:
    review = Review([str(pipe.path)])
    pipe.send_until_shown(review)
    review.stop()
    assert review.stopped
    assert not review.reading
    assert review.failure() is None
    assert not review.progress().done
    shown = rows(review)
    assert 1 <= len(shown) == review.progress().sessions <= pipe.sessions
    assert {row.state for row in shown} == {"quit"}
    review.stop()
    review.close()
    assert files(cache) == []


def test_a_process_that_is_killed_is_told(pipe: Pipe, cache: Path) -> None:
    review = Review([str(pipe.path)])
    pipe.send_until_shown(review)
    assert review.failure() is None
    assert review._process is not None
    assert review._process.pid is not None
    os.kill(review._process.pid, signal.SIGKILL)
    finished(review)
    told = review.failure()
    assert told is not None
    assert "ended early (exit code -9)" in told
    assert rows(review)
    review.close()
    assert files(cache) == []


def test_a_review_that_is_closed_early_leaves_nothing(pipe: Pipe, cache: Path) -> None:
    review = Review([str(pipe.path)])
    pipe.send_until_shown(review)
    process = review._process
    assert files(cache)
    review.close()
    assert process is not None
    assert not process.is_alive()
    assert files(cache) == []


def test_reading_ends_when_who_started_it_has_gone(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store_module.Store().new("key")
    writer = _Writer(Task(path, (str(good),), frozenset(), NO_POLICY, 1))
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(SystemExit):
        writer.fill()
    writer.close()


# -- an index that is not sound -------------------------------------------------------------------


def test_a_damaged_index_is_made_again(good: Path, cache: Path) -> None:
    review = finished(Review([str(good)]))
    before, damaged = rows(review), review.index.path
    damaged.write_bytes(b"garbage " * 10_000)
    with pytest.raises(DamagedError):
        rows(review)
    review.again()
    assert review.index.path != damaged
    assert rows(finished(review)) == before
    assert review.failure() is None
    review.close()
    assert files(cache) == [review.index.path.name]


def test_an_index_that_is_damaged_at_the_end_is_removed(good: Path, cache: Path) -> None:
    review = finished(Review([str(good)]))
    review.index.path.write_bytes(b"garbage " * 10_000)
    review.close()
    assert files(cache) == []


def test_a_process_that_can_not_write_ends_without_a_word(
    good: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = store_module.Store().new("key")
    path.write_bytes(b"garbage " * 10_000)
    process = start(run, Task(path, (str(good),), frozenset(), NO_POLICY, 1))
    process.join(PATIENCE)
    assert process.exitcode == 1
    assert capfd.readouterr() == ("", "")


def test_no_room_for_an_index_is_told(
    good: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, key: str) -> None:
        path.write_bytes(b"")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store_module, "create", full)
    with pytest.raises(SmtpscopeError, match=r"disk is full.*make room there"):
        Review([str(good)])
    assert files(cache) == []


def test_a_folder_that_takes_no_index_is_told_and_another_one_used(
    good: Path, cache: Path, reviewed: Callable[..., Review]
) -> None:
    cache.parent.parent.write_text("a file")
    review = finished(Review([str(good)]))
    (problem,) = review.problems
    assert "it is made anew each time" in problem
    assert len(rows(review)) == 4
    folder = review.index.path.parent
    review.close()
    assert not folder.exists()


def test_a_small_cache_keeps_what_is_under_review(
    tmp_path: Path, reviewed: Callable[..., Review]
) -> None:
    plain = write_capture(tmp_path / "a.pcap", [QUIET] * 3)
    packed = tmp_path / "a.pcap.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    review = finished(reviewed(packed, cache_limit=plain.stat().st_size))
    for row in rows(review):
        assert review.details(row).session().state == "quit"
    assert len(rows(review)) == 3
