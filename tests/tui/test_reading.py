"""The screen while a capture is still being read: rows come, keys answer, Esc stops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.growing import Process
from support.screens import lines, main, many, opened, press, rows, settled, shown, told, write
from textual.pilot import Pilot

from smtpscope import review as reviews
from smtpscope.findings.walk import NO_POLICY
from smtpscope.index.rows import Row
from smtpscope.index.schema import entry_of
from smtpscope.index.writer import Task, _Writer
from smtpscope.reading import read_sessions
from smtpscope.review import Review
from smtpscope.session import Session
from smtpscope.tui.findings import FindingsPane
from smtpscope.tui.messages import MessagesPane


class Reading:
    """A review whose capture is read at the test's pace."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.process = Process()
        monkeypatch.setattr(reviews, "start", lambda target, task: self.process)
        capture = many(folder, 60)
        self._sessions: Iterator[Session] = read_sessions(capture, trails=True)
        self.review = Review([str(capture)])
        path = self.review.index.path
        self._writer = _Writer(Task(path, self.review.captures, frozenset(), NO_POLICY, 1))

    def read(self, count: int) -> None:
        for _ in range(count):
            session = next(self._sessions)
            self._writer._sessions += 1
            self._writer._pending.append(Row(self._writer._sessions, 0, entry_of(session)))
        self._writer._consumed = count * 1_000
        self._writer._flush()

    def finish(self) -> None:
        self.read(60 - self._writer._sessions)
        self._writer._flush(done=True)
        self.process.exitcode = 0


async def news(pilot: Pilot[None]) -> None:
    main(pilot).news()
    main(pilot)._count()
    await settled(pilot)


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reading:
    return Reading(tmp_path, monkeypatch)


async def test_rows_appear_while_the_rest_is_read(reading: Reading) -> None:
    async with opened(reading.review) as pilot:
        assert "no sessions yet" in shown(pilot)
        reading.read(3)
        await news(pilot)
        assert "3 sessions" in lines(pilot)[0]
        assert "Esc stops" in lines(pilot)[0]
        assert "s2@example.net" in shown(pilot)
        assert "EHLO client.example.net" in shown(pilot)
        reading.finish()
        await news(pilot)
        assert "60 sessions" in lines(pilot)[0]
        assert "Esc stops" not in lines(pilot)[0]


async def test_new_rows_never_move_the_selection(reading: Reading) -> None:
    async with opened(reading.review) as pilot:
        reading.read(5)
        await news(pilot)
        await press(pilot, "j", "j")
        for _ in range(3):
            reading.read(10)
            await news(pilot)
            assert main(pilot).sessions.list.cursor == 2
            assert main(pilot).sessions.session is not None
            assert main(pilot).sessions.session.number == 3


async def test_the_newest_is_followed_where_that_is_wanted(reading: Reading) -> None:
    async with opened(reading.review) as pilot:
        reading.read(5)
        await news(pilot)
        await press(pilot, "F")
        for count in (15, 25):
            reading.read(10)
            await news(pilot)
            assert main(pilot).sessions.list.cursor == count - 1
        await press(pilot, "k")
        reading.read(10)
        await news(pilot)
        assert main(pilot).sessions.list.cursor == 23


async def test_rows_below_are_counted_where_the_newest_is_not_in_sight(reading: Reading) -> None:
    async with opened(reading.review) as pilot:
        reading.read(5)
        await news(pilot)
        await press(pilot, "F", "g")
        reading.read(30)
        await news(pilot)
        assert " new ↓" in lines(pilot)[1]
        await press(pilot, "G")
        await news(pilot)
        assert " new ↓" not in lines(pilot)[1]


async def test_the_view_stands_still_while_it_is_paused(reading: Reading) -> None:
    async with opened(reading.review) as pilot:
        reading.read(5)
        await news(pilot)
        await press(pilot, "p")
        reading.read(10)
        await news(pilot)
        assert "paused" in lines(pilot)[0]
        assert "15 sessions" in lines(pilot)[0]
        assert len(main(pilot).sessions.listing) == 5
        reading.finish()
        await news(pilot)
        assert len(main(pilot).sessions.listing) == 5
        await press(pilot, "p")
        assert len(main(pilot).sessions.listing) == 60


async def test_esc_stops_and_keeps_what_is_there(reading: Reading) -> None:
    async with opened(reading.review) as pilot:
        reading.read(7)
        await news(pilot)
        await press(pilot, "escape")
        assert not reading.process.is_alive()
        assert "stopped" in lines(pilot)[0]
        assert "7 sessions" in lines(pilot)[0]
        assert any("was stopped" in each for each in told(pilot))
        await press(pilot, "G", "enter")
        assert "EHLO" in shown(pilot)


async def test_filters_and_views_follow_what_is_read(reading: Reading) -> None:
    async with opened(reading.review) as pilot:
        reading.read(10)
        await news(pilot)
        await press(pilot, "f")
        await write(pilot, "code >= 500")
        await press(pilot, "enter")
        assert len(main(pilot).sessions.listing) == 2
        reading.read(10)
        await news(pilot)
        assert len(main(pilot).sessions.listing) == 4
        await press(pilot, "3")
        before = rows(main(pilot).query_one(FindingsPane).list)
        assert any("user-unknown" in row and "4" in row for row in before)
        reading.read(30)
        await news(pilot)
        await news(pilot)
        after = rows(main(pilot).query_one(FindingsPane).list)
        assert any("user-unknown" in row and "10" in row for row in after)
        await press(pilot, "f", "escape", "2")
        assert len(rows(main(pilot).query_one(MessagesPane).list)) == 40
        reading.finish()
        await news(pilot)
        assert len(rows(main(pilot).query_one(MessagesPane).list)) == 48


async def test_a_reader_that_dies_is_told(reading: Reading) -> None:
    async with opened(reading.review) as pilot:
        reading.read(4)
        await news(pilot)
        reading.process.exitcode = -9
        await news(pilot)
        assert any("ended early (exit code -9)" in each for each in told(pilot))
        assert "4 sessions" in lines(pilot)[0]
        await press(pilot, "G")
        assert "EHLO" in shown(pilot)
