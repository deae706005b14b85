"""The forms that begin a proxy and a server, by keyboard and mouse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.growing import FakeRecorder, FakeStarting, Growing
from support.screens import lines, main, opened, press, settled, shown, told, write
from textual.pilot import Pilot
from textual.widgets import Input

from smtpscope.errors import UsageError
from smtpscope.tui.home import HomeScreen
from smtpscope.tui.launch import LaunchScreen

SIZES = [(120, 40), (80, 24)]


def form(pilot: Pilot[Any]) -> LaunchScreen:
    screen = pilot.app.screen
    assert isinstance(screen, LaunchScreen)
    return screen


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Growing:
    made = Growing(tmp_path, monkeypatch, recorder=FakeRecorder(doing="serving smtp://[::1]:1025"))
    made.adopt(monkeypatch)
    return made


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("p", ["smtp://mx.example.org:25", "127.0.0.1:2525", "intercept", "smtpscope ca export"]),
        ("v", ["starttls://127.0.0.1:1025", "off", "mail in the state folder", "--sample-config"]),
    ],
)
async def test_nobody_needs_the_manual(
    key: str, words: list[str], size: tuple[int, int], tmp_path: Path
) -> None:
    async with opened(None, size=size, starting=FakeStarting()) as pilot:
        await press(pilot, key)
        for each in [*words, "as behind `smtpscope", "a new one in", "Start"]:
            assert each in shown(pilot), each
        # Nothing is cut off.
        assert "…" not in shown(pilot)
        assert pilot.app.focused is form(pilot).query(Input).first()
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, HomeScreen)


async def test_enter_starts_what_is_filled_in_already(recording: Growing) -> None:
    starting = FakeStarting(recording.recorder)
    async with opened(None, starting=starting) as pilot:
        await press(pilot, "v", "enter")
        options = [("--listen", "starttls://127.0.0.1:1025"), ("--auth", "off")]
        assert starting.launched == [("serve", options, "")]
        assert main(pilot).is_current
        assert "serving smtp://[::1]:1025" in lines(pilot)[0]
        assert any("shown here" in each for each in told(pilot))


async def test_every_line_is_an_option_and_more_go_as_they_are(recording: Growing) -> None:
    starting = FakeStarting(recording.recorder)
    starting.warnings = ["0.0.0.0:25 is open to other machines"]
    async with opened(None, starting=starting) as pilot:
        await press(pilot, "p")
        await write(pilot, " smtps://mx.example.org ")
        await press(pilot, "tab")
        await write(pilot, " [::1]:2525")
        await press(pilot, "tab", "ctrl+u")
        await press(pilot, "tab")
        await write(pilot, "~/mine.pcapng")
        await press(pilot, "tab")
        await write(pilot, "--legs client")
        await press(pilot, "ctrl+s")
        (name, options, more) = starting.launched[0]
        assert (name, more) == ("proxy", "--legs client")
        assert options == [
            ("--upstream", "smtps://mx.example.org"),
            ("--listen", "127.0.0.1:2525"),
            ("--listen", "[::1]:2525"),
            ("--write", str(Path("~/mine.pcapng").expanduser())),
        ]
        assert "0.0.0.0:25 is open to other machines" in told(pilot)


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_a_proxy_wants_its_server_named(size: tuple[int, int]) -> None:
    starting = FakeStarting()
    async with opened(None, size=size, starting=starting) as pilot:
        await press(pilot, "p")
        await pilot.click("#yes")
        await settled(pilot)
        assert "Name the server that clients are to be led to" in shown(pilot)
        assert not starting.launched
        await pilot.click("#no")
        await settled(pilot)
        assert isinstance(pilot.app.screen, HomeScreen)


async def test_what_cannot_be_is_told_and_can_be_mended(recording: Growing) -> None:
    starting = FakeStarting(recording.recorder, UsageError("'x' is not one of 'client', 'server'"))
    async with opened(None, starting=starting) as pilot:
        await press(pilot, "v", "enter")
        assert "'x' is not one of 'client', 'server'" in shown(pilot)
        assert isinstance(pilot.app.screen, LaunchScreen)
        starting._error = None
        await press(pilot, "enter")
        assert main(pilot).is_current


async def test_where_nothing_can_be_started_the_command_is_told() -> None:
    async with opened(None) as pilot:
        await press(pilot, "p")
        assert isinstance(pilot.app.screen, HomeScreen)
        assert any("smtpscope proxy" in each for each in told(pilot))
