"""Every screen, with what strangers write to do harm in every field that a capture can fill.

What is painted is looked at as it goes to the terminal: nothing in it acts, hides, reorders, is
wider than it seems, or can be clicked.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.hostile import TEXTS, check, check_rows, evil_capture, harm
from support.screens import main, opened, press, read, settled
from textual.command import CommandPalette
from textual.events import Paste
from textual.widgets import Input, OptionList

from smtpscope.tui.app import ScopeApp
from smtpscope.tui.compare import CompareScreen
from smtpscope.tui.exporting import ExportScreen
from smtpscope.tui.filterbar import FilterBar
from smtpscope.tui.help import HelpScreen
from smtpscope.tui.ladder import LadderScreen
from smtpscope.tui.message import MessageScreen
from smtpscope.tui.octets import OctetsScreen, PacketScreen

LARGE, SMALL, NARROW = (120, 40), (80, 24), (61, 17)

FEW = [list(TEXTS).index(name) for name in ("markup", "clipboard", "hidden", "wide", "emoji")]
"""Sessions to look at where a look takes its time; all of them where it does not."""


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of sessions, each with one of `TEXTS` in every field; then TLS, and a tunnel."""
    return evil_capture(tmp_path_factory.mktemp("evil") / "evil.pcap")


@pytest.mark.parametrize("size", [LARGE, SMALL, NARROW], ids=str)
async def test_dialogues_and_what_explains_them(evil: Path, size: tuple[int, int]) -> None:
    async with opened(read([evil]), size=size, reveal=True) as pilot:
        sessions = main(pilot).sessions
        assert check_rows(sessions.list) == len(TEXTS) + 2
        for number in range(len(TEXTS) + 2) if size == LARGE else FEW[2:]:
            sessions.list.go(number)
            await settled(pilot)
            check(pilot)
            dialogue = sessions.dialogue
            assert dialogue is not None
            for at in reversed(range(len(dialogue))):
                dialogue.toggle(at)
            sessions.lines.rows_changed()
            check_rows(sessions.lines)
            for at in range(number % 2, len(dialogue), 2 if size == LARGE else 5):
                sessions.lines.cursor = at
                sessions.said.explain()
                check_rows(sessions.facts)
                assert not harm(str(sessions.facts.border_title))
            await settled(pilot)
            check(pilot)


@pytest.mark.parametrize("size", [LARGE, NARROW], ids=str)
async def test_ladders_octets_and_packets(evil: Path, size: tuple[int, int]) -> None:
    async with opened(read([evil]), size=size, reveal=True) as pilot:
        sessions = main(pilot).sessions
        for number in (*FEW[1:3], len(TEXTS)) if size == LARGE else FEW[3:]:
            sessions.list.go(number)
            sessions.list.focus()
            await press(pilot, "l")
            assert isinstance(pilot.app.screen, LadderScreen)
            check(pilot)
            assert check_rows(pilot.app.screen.rungs)
            await press(pilot, "escape", "enter", "j", "h")
            assert isinstance(pilot.app.screen, OctetsScreen) or number == len(TEXTS)
            check(pilot)
            if isinstance(pilot.app.screen, OctetsScreen):
                assert check_rows(pilot.app.screen.rows)
                await press(pilot, "enter")
                assert isinstance(pilot.app.screen, PacketScreen)
                check(pilot)
                assert check_rows(pilot.app.screen.rows)
                await press(pilot, "escape", "escape")
            await press(pilot, "escape")


async def test_two_sessions_side_by_side(evil: Path) -> None:
    async with opened(read([evil]), size=SMALL) as pilot:
        sessions = main(pilot).sessions
        for number in FEW[1:4]:
            sessions.list.go(number)
            await press(pilot, "d", "j", "d")
            screen = pilot.app.screen
            assert isinstance(screen, CompareScreen)
            check(pilot)
            assert check_rows(screen.rows)
            await press(pilot, "escape")


@pytest.mark.parametrize("size", [LARGE, NARROW], ids=str)
async def test_messages_their_parts_and_bodies(evil: Path, size: tuple[int, int]) -> None:
    async with opened(read([evil]), size=size) as pilot:
        await press(pilot, "2")
        mailbox = main(pilot).messages.list
        assert check_rows(mailbox) >= len(TEXTS) - 1
        for number in range(0, len(mailbox.source), 3) if size == LARGE else FEW[3:4]:
            mailbox.go(number)
            await press(pilot, "enter")
            screen = pilot.app.screen
            assert isinstance(screen, MessageScreen)
            check(pilot)
            for part in range(check_rows(screen.tree_rows)):
                screen.tree_rows.go(part)
                await settled(pilot)
                check_rows(screen.text_rows)
            check(pilot)
            await press(pilot, "escape")


@pytest.mark.parametrize("size", [LARGE, SMALL, NARROW], ids=str)
async def test_findings_and_statistics(evil: Path, size: tuple[int, int]) -> None:
    async with opened(read([evil]), size=size) as pilot:
        await press(pilot, "3")
        pane = main(pilot).findings
        assert check_rows(pane.list)
        check(pilot)
        await press(pilot, "4")
        figures = main(pilot).statistics
        assert check_rows(figures.numbers)
        assert check_rows(figures.names) > len(TEXTS)
        check(pilot)
        await press(pilot, "tab", "G")
        check(pilot)


async def test_a_name_that_becomes_a_filter(evil: Path) -> None:
    async with opened(read([evil]), size=LARGE) as pilot:
        pane = main(pilot).statistics
        field = main(pilot).query_one(FilterBar).field
        await press(pilot, "4")
        names = [at for at, filter in enumerate(pane._filters[pane.names]) if filter]
        assert len(names) > len(TEXTS)
        for at in names[::25]:
            await press(pilot, "4")
            pane.names.focus()
            pane.names.go(at)
            await press(pilot, "enter")
            assert field.value
            assert len(main(pilot).sessions.listing), field.value
            check(pilot)
            await press(pilot, "f")
            check(pilot)
            field.action_select_all()
            await press(pilot, "ctrl+c")
            assert not harm(pilot.app.clipboard)
            await press(pilot, "escape")


async def test_help_export_table_and_notes_over_hostile_sessions(evil: Path) -> None:
    async with opened(read([evil]), size=SMALL) as pilot:
        await press(pilot, "enter", "question_mark")
        assert isinstance(pilot.app.screen, HelpScreen)
        check(pilot)
        await press(pilot, "escape", "x")
        assert isinstance(pilot.app.screen, ExportScreen)
        check(pilot)
        await press(pilot, "escape", "5")
        check(pilot)
        assert isinstance(pilot.app, ScopeApp)
        for evil_text in TEXTS.values():
            pilot.app.tell(evil_text.decode("utf-8", "surrogateescape"))
            await settled(pilot)
            check(pilot)
            pilot.app.clear_notifications()


async def test_the_palette_finds_sessions_and_shows_their_words(evil: Path) -> None:
    async with opened(read([evil]), size=LARGE) as pilot:
        for words in ("1", "日本"):
            await pilot.press("ctrl+p")
            await pilot.pause()
            assert isinstance(pilot.app.screen, CommandPalette)
            pilot.app.screen.query_one(Input).value = words
            await pilot.pause(0.2)
            await pilot.app.workers.wait_for_complete()
            await pilot.pause()
            check(pilot)
            for option in pilot.app.screen.query_one(OptionList).options:
                assert not harm(str(option.prompt).replace("\n", ""))
            await pilot.press("escape")
            await settled(pilot)


async def test_what_is_copied_is_harmless(evil: Path) -> None:
    async with opened(read([evil]), size=LARGE) as pilot:
        sessions = main(pilot).sessions
        for number in FEW[1:3]:
            sessions.list.focus()
            sessions.list.go(number)
            await press(pilot, "y", "tab", "j", "y")
            assert pilot.app.clipboard
            assert not harm(pilot.app.clipboard)
            await press(pilot, "tab", "y")
            assert not harm(pilot.app.clipboard)


async def test_a_picture_of_hostile_sessions_can_be_taken(evil: Path) -> None:
    async with opened(read([evil]), size=LARGE) as pilot:
        for number in FEW:
            main(pilot).sessions.list.go(number)
            await settled(pilot)
            picture = pilot.app.export_screenshot()
            assert not harm(picture.replace("\n", "").replace("\xa0", "").replace("&#160;", ""))


async def test_no_click_does_more_than_select(evil: Path) -> None:
    async with opened(read([evil]), size=LARGE) as pilot:
        sessions, messages = main(pilot).sessions, main(pilot).messages
        await press(pilot, "2")
        for key, widgets in (
            ("2", (messages.list,)),
            ("1", (sessions.list, sessions.lines, sessions.facts)),
        ):
            await press(pilot, key)
            for widget in widgets:
                for y in range(1, widget.size.height, 5):
                    await pilot.click(widget, offset=(7 * y % widget.size.width, y))
                    assert main(pilot).is_current
                await settled(pilot)
                check(pilot)


async def test_what_covers_a_part_of_a_wide_sign(evil: Path) -> None:
    async with opened(read([evil]), size=(81, 25)) as pilot:
        for number in FEW[3:]:
            main(pilot).sessions.list.go(number)
            for key in ("x", "R"):
                await press(pilot, key)
                check(pilot)
                await press(pilot, "escape")


async def test_what_is_pasted_is_masked(evil: Path) -> None:
    async with opened(read([evil]), size=LARGE) as pilot:
        for keys in (("f",), ("slash",), ("ctrl+p",)):
            await pilot.press(*keys)
            await pilot.pause()
            for evil_text in TEXTS.values():
                pilot.app.post_message(Paste(evil_text.decode("utf-8", "surrogateescape")))
            await pilot.pause(0.1)
            assert isinstance(pilot.app.focused, Input)
            assert pilot.app.focused.value
            check(pilot)
            await press(pilot, "ctrl+u", "escape")


async def test_dragging_selects_nothing(evil: Path) -> None:
    async with opened(read([evil]), size=LARGE) as pilot:
        await pilot.mouse_down(offset=(3, 3))
        await pilot.hover(offset=(90, 30))
        await pilot.mouse_up(offset=(90, 30))
        assert not pilot.app.screen.get_selected_text()
        check(pilot)
