"""Keys, clicks and sizes as a cat on the keyboard has them; and captures of too much and nothing.

SMTPSCOPE_FUZZ_KEYS is how many keys each test presses, the seed is SMTPSCOPE_FUZZ_SEED.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from support.conversation import connection
from support.growing import FakeRecorder, FakeStarting, Growing, Talk
from support.hostile import check, evil_capture
from support.packets import pcap
from support.screens import SENT, bundled, main, opened, press, read, settled, turns
from textual.pilot import Pilot

from smtpscope.tui.app import ScopeApp
from smtpscope.tui.ladder import LadderScreen
from smtpscope.tui.octets import OctetsScreen
from smtpscope.tui.prompts import PathInput

KEYS = int(os.environ.get("SMTPSCOPE_FUZZ_KEYS", "40"))
SEED = int(os.environ.get("SMTPSCOPE_FUZZ_SEED", "1"))

SIZES = [(120, 40), (80, 24), (61, 17)]
ODD_SIZES = [*SIZES, (60, 16), (59, 15), (20, 5), (1, 1), (99, 30), (100, 30), (240, 80)]

MOVES = "j k g G down up left right pagedown pageup home end tab shift+tab"
DOES = (
    "1 2 3 4 5 f slash n N e E m h l d t space x y R F o O s S v p left_square_bracket"
    " right_square_bracket question_mark ctrl+p ctrl+s ctrl+u ctrl+x ctrl+v ctrl+c a delete"
)
LEADS = "enter escape"


def some_key(chance: random.Random) -> str:
    return chance.choice(chance.choice((MOVES, DOES, DOES, LEADS)).split())


async def hammer(pilot: Pilot[Any], chance: random.Random, sizes: list[tuple[int, int]]) -> None:
    """Press keys, click, resize; look now and then whether all is well."""
    pressed: list[str] = []
    app = pilot.app
    for count in range(KEYS):
        key = some_key(chance)
        # Nothing is to be saved outside the folder of the test.
        if not (isinstance(app.focused, PathInput) and key in ("slash", "enter", "ctrl+v")):
            pressed.append(key)
            await pilot.press(key)
        if count % 10 == 9 and sizes:
            pressed.append(str(size := chance.choice(sizes)))
            await pilot.resize_terminal(*size)
        if count % 7 == 6:
            width, height = app.screen.size
            at = chance.randrange(width), chance.randrange(height)
            pressed.append(str(at))
            await pilot.click(offset=at, times=chance.choice((1, 2)))
        if count % 5 == 4:
            # All that is asked for comes, in time.
            try:
                await settled(pilot)
                check(pilot)
            except Exception as error:
                error.add_note(f"after {' '.join(pressed)}")
                raise app._exception or error from None
    await settled(pilot)
    check(pilot)


@pytest.fixture
def unending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing quits, not the palette either."""

    async def action_quit(app: ScopeApp) -> None:
        pass

    monkeypatch.setattr(ScopeApp, "action_quit", action_quit)
    monkeypatch.setattr(ScopeApp, "action_interrupt", action_quit)


@pytest.mark.usefixtures("unending")
@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_no_keys_break_it_on_any_size(size: tuple[int, int]) -> None:
    async with opened(read(bundled()), size=size) as pilot:
        await hammer(pilot, random.Random(f"{SEED} {size}"), [])


@pytest.mark.usefixtures("unending")
async def test_no_keys_break_it_while_the_size_changes() -> None:
    async with opened(read(bundled())) as pilot:
        await hammer(pilot, random.Random(SEED), ODD_SIZES)


@pytest.mark.usefixtures("unending")
async def test_no_keys_break_it_on_hostile_sessions(tmp_path: Path) -> None:
    async with opened(read([evil_capture(tmp_path / "evil.pcap")]), size=(80, 24)) as pilot:
        await hammer(pilot, random.Random(SEED), ODD_SIZES)


@pytest.mark.usefixtures("unending")
async def test_no_keys_break_it_where_there_is_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(pcap([]))
    async with opened(read([empty]), size=(80, 24)) as pilot:
        await hammer(pilot, random.Random(SEED), ODD_SIZES)


@pytest.mark.usefixtures("unending")
async def test_no_keys_break_it_while_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Growing(tmp_path, monkeypatch, recorder=FakeRecorder(detached=True))
    said = list(turns(SENT.format(sender="a@x.test", recipient="b@x.test")))
    talks = [Talk(recording, said, number) for number in range(12)]
    chance = random.Random(SEED)
    async with opened(recording.review, starting=FakeStarting(recording.recorder)) as pilot:
        monkeypatch.setattr(pilot.app, "open", lambda captures: None)
        monkeypatch.setattr(pilot.app, "watch_recorder", lambda recorder: None)
        for turn in range(2):
            for talk in talks:
                talk.go(chance.randrange(16))
            await hammer(pilot, chance, SIZES if turn else [])
        recording.end()
        await settled(pilot)
        check(pilot)


async def test_a_session_of_twenty_thousand_exchanges(tmp_path: Path) -> None:
    count = 20_000
    said = [("S", b"220 mx\r\n"), ("C", b"EHLO a\r\n"), ("S", b"250 mx\r\n")]
    for number in range(0, count, 40):
        said.append(("C", b"".join(b"VRFY u%d\r\n" % (number + each) for each in range(40))))
        said.append(("S", b"252 2.0.0 perhaps\r\n" * 40))
    path = tmp_path / "many.pcap"
    path.write_bytes(pcap(connection(said)))
    async with opened(read([path])) as pilot:
        sessions = main(pilot).sessions
        assert sessions.session is not None
        assert len(sessions.session.exchanges) == count + 2
        await press(pilot, "enter", "G")
        assert "perhaps" in check(pilot)
        for key in ("pageup", "t", "slash", "escape", "e", "E", "right", "h"):
            await press(pilot, key)
            check(pilot)
        assert isinstance(pilot.app.screen, OctetsScreen)
        await press(pilot, "escape", "l", "G")
        assert isinstance(pilot.app.screen, LadderScreen)
        assert "perhaps" in check(pilot)
        await pilot.resize_terminal(80, 24)
        await settled(pilot)
        check(pilot)
