"""The form that begins a recording, by keyboard and mouse; Home, which leads to it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from support.growing import FakeRecorder, FakeStarting, Growing, Talk, news
from support.screens import (
    SENT,
    lines,
    main,
    opened,
    press,
    rows,
    settled,
    shown,
    told,
    turns,
    write,
)
from textual.pilot import Pilot
from textual.widgets import Input

from smtpscope.errors import SmtpscopeError
from smtpscope.places import recordings_folder
from smtpscope.recorder import RecorderError
from smtpscope.tui.home import HomeScreen
from smtpscope.tui.prompts import ConfirmScreen
from smtpscope.tui.sniff import SniffScreen

SIZES = [(120, 40), (80, 24)]

NOT_PERMITTED = RecorderError(
    "capturing on any is not permitted: run it with sudo; or pipe a capture in (sudo tcpdump -i any"
    " -U -w - port 25 | smtpscope -); or let dumpcap capture for you as a member of the group"
    " wireshark (sudo usermod -aG wireshark $USER, then log in again)",
    4,
)


def form(pilot: Pilot[Any]) -> SniffScreen:
    screen = pilot.app.screen
    assert isinstance(screen, SniffScreen)
    return screen


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Growing:
    """What the recorder writes that the form starts."""
    made = Growing(tmp_path, monkeypatch, recorder=FakeRecorder())
    made.adopt(monkeypatch)
    return made


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_interfaces_are_listed_and_any_comes_first(size: tuple[int, int]) -> None:
    async with opened(None, size=size, starting=FakeStarting()) as pilot:
        assert "s  sniff: record a network interface" in shown(pilot)
        await press(pilot, "s")
        listed = rows(form(pilot).list)
        assert listed[0].startswith("any  all interfaces that are up")
        assert listed[1] == "eth0  192.0.2.7, 2001:db8::7  up"
        assert listed[4] == "docker0  no address  down"
        assert form(pilot).list.cursor == 0
        assert form(pilot).list.has_focus
        assert "the SMTP ports: 25, 465, 587, 1025, 2525" in shown(pilot)
        assert "a new one in /home/ann/.local/state/smtpscope/recordings" in shown(pilot)
        assert "at 100 MB, the newest 10 are kept" in shown(pilot)
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, HomeScreen)


async def test_enter_starts_and_what_is_recorded_is_shown(recording: Growing) -> None:
    starting = FakeStarting(recording.recorder)
    async with opened(None, starting=starting) as pilot:
        await press(pilot, "s", "enter")
        assert starting.started == [("any", "", "")]
        assert "sniffing eth0" in lines(pilot)[0]
        Talk(recording, turns(SENT.format(sender="a@x.test", recipient="b@x.test"))).go()
        await news(pilot)
        assert "a@x.test" in shown(pilot)


async def test_interface_filter_and_file_are_what_is_recorded(recording: Growing) -> None:
    starting = FakeStarting(recording.recorder)
    async with opened(None, starting=starting) as pilot:
        await press(pilot, "s", "j", "j", "tab")
        await write(pilot, "host 192.0.2.25")
        await press(pilot, "tab")
        await write(pilot, "/var/tmp/mine.pcapng")
        assert "none: a file that you name grows" in shown(pilot)
        await press(pilot, "enter")
        assert starting.started == [("wlan0", "host 192.0.2.25", "/var/tmp/mine.pcapng")]
        assert main(pilot).is_current


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_the_mouse_does_it_too(recording: Growing, size: tuple[int, int]) -> None:
    starting = FakeStarting(recording.recorder)
    async with opened(None, size=size, starting=starting) as pilot:
        await press(pilot, "s")
        await pilot.click("#no")
        await settled(pilot)
        assert isinstance(pilot.app.screen, HomeScreen)
        await press(pilot, "s")
        await pilot.click("#interfaces", offset=(5, 2))
        await pilot.click("#filter")
        assert pilot.app.focused is form(pilot).query_one("#filter", Input)
        await pilot.click("#yes")
        await settled(pilot)
        assert starting.started == [("eth0", "", "")]
        assert main(pilot).is_current


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_without_permission_the_three_ways_are_told_in_full(size: tuple[int, int]) -> None:
    async with opened(None, size=size, starting=FakeStarting(error=NOT_PERMITTED)) as pilot:
        await press(pilot, "s", "enter")
        said = " ".join(shown(pilot).split())
        assert str(NOT_PERMITTED) in said
        assert form(pilot).list.has_focus
        await press(pilot, "j", "escape")
        assert isinstance(pilot.app.screen, HomeScreen)


async def test_what_cannot_start_now_is_told_before_anybody_tries() -> None:
    starting = FakeStarting(error=SmtpscopeError("leave smtpscope and start it again with sudo"))
    starting.refusal = "leave smtpscope and start it again with sudo"
    async with opened(None, starting=starting) as pilot:
        await press(pilot, "s")
        assert "start it again with sudo" in shown(pilot)
        await press(pilot, "enter")
        assert "start it again with sudo" in shown(pilot)


async def test_interfaces_that_cannot_be_listed_leave_any() -> None:
    class Blind(FakeStarting):
        def interfaces(self) -> Any:
            raise SmtpscopeError("the interfaces cannot be listed")

    async with opened(None, starting=Blind()) as pilot:
        await press(pilot, "s")
        assert "the interfaces cannot be listed" in shown(pilot)
        assert len(rows(form(pilot).list)) == 1


async def test_hostile_names_are_shown_masked() -> None:
    from support.growing import FakeInterface

    class Odd(FakeStarting):
        def interfaces(self) -> list[FakeInterface]:
            return [FakeInterface("e\x1b[31m[b]", ("192.0.2.1",))]

    async with opened(None, starting=Odd()) as pilot:
        await press(pilot, "s")
        assert "\x1b" not in shown(pilot)
        assert "[b]" in shown(pilot)


async def test_who_leaves_while_it_starts_leaves_no_recorder_behind() -> None:
    recorder, begin = FakeRecorder(), threading.Event()

    class Slow(FakeStarting):
        def start(self, interface: str, filter: str, path: str) -> Any:
            begin.wait(30)
            return recorder

    async with opened(None, starting=Slow()) as pilot:
        await press(pilot, "s")
        await pilot.press("enter")
        await pilot.pause()
        assert "starting to record any" in shown(pilot)
        starter = form(pilot)._starter
        await pilot.press("escape")
        await pilot.pause()
        begin.set()
        assert starter._thread is not None
        starter._thread.join(30)
        assert recorder.stopped
        assert isinstance(pilot.app.screen, HomeScreen)


async def test_a_second_recording_asks_before_the_first_one_ends(
    recording: Growing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = FakeStarting(recording.recorder)
    async with opened(None, starting=starting) as pilot:
        await press(pilot, "s", "enter")
        first = recording.recorder
        assert first is not None
        (tmp_path / "second").mkdir()
        second = Growing(
            tmp_path / "second", monkeypatch, recorder=FakeRecorder(doing="sniffing x")
        )
        second.adopt(monkeypatch)
        starting._recorder = second.recorder
        pilot.app.action_home()  # type: ignore[attr-defined]
        await settled(pilot)
        await press(pilot, "s", "enter")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await press(pilot, "n")
        assert form(pilot).is_current
        assert first.alive
        await press(pilot, "enter", "y")
        assert first.stopped
        assert "sniffing x" in lines(pilot)[0]


async def test_where_nothing_starts_recorders_home_says_so() -> None:
    async with opened(None) as pilot:
        await press(pilot, "s")
        assert told(pilot) == ["Recording begins with `smtpscope sniff`."]


async def test_what_is_to_be_known_is_told_at_home() -> None:
    starting = FakeStarting()
    starting.told = "This goes on as nobody."
    async with opened(None, starting=starting) as pilot:
        assert told(pilot) == ["This goes on as nobody."]


async def test_recordings_are_listed_at_home_and_those_that_came_since() -> None:
    folder = recordings_folder()
    folder.mkdir(parents=True)
    async with opened(None) as pilot:
        home = pilot.app.screen
        assert isinstance(home, HomeScreen)
        assert rows(home.list) == []
        path = folder / "sniff-20231114-221320-77.pcapng"
        path.write_bytes(b"x" * 1_000)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        await press(pilot, "question_mark", "escape")
        assert rows(home.list) == [f"{path.name}  {folder}  1.0 kB  2023-11-14 22:13:20"]
