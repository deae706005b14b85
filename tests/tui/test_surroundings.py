"""What is around the views: home, palette, help, configuration, export, the mouse, and trouble."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.screens import (
    bundled,
    capture,
    lines,
    main,
    many,
    mixed,
    opened,
    point,
    press,
    read,
    rows,
    settled,
    shown,
    told,
    write,
)
from textual.command import CommandPalette
from textual.widgets import Input, RadioButton

from smtpscope.configuration import Configuration, read_configuration
from smtpscope.export import jsonl
from smtpscope.memory import Memory
from smtpscope.reading import read_sessions
from smtpscope.review import Review
from smtpscope.tui.exporting import ExportScreen
from smtpscope.tui.filterbar import FilterBar
from smtpscope.tui.help import HelpScreen
from smtpscope.tui.home import HomeScreen
from smtpscope.tui.main import MainScreen
from smtpscope.tui.message import MessageScreen

# -- home ------------------------------------------------------------------------------------------


async def test_without_captures_home_is_shown(tmp_path: Path) -> None:
    async with opened(None) as pilot:
        assert isinstance(pilot.app.screen, HomeScreen)
        assert "none yet" in shown(pilot)
        await press(pilot, "escape", "enter", "o", "escape")
        assert isinstance(pilot.app.screen, HomeScreen)


async def test_a_path_is_completed_and_opened(tmp_path: Path) -> None:
    mixed(tmp_path)
    async with opened(None) as pilot:
        await press(pilot, "o")
        await write(pilot, f"{tmp_path}/mi")
        await press(pilot, "tab")
        assert pilot.app.screen.query_one(Input).value == f"{tmp_path}/mixed.pcap"
        await press(pilot, "enter")
        await until_read(pilot)
        assert "3 sessions" in lines(pilot)[0]


async def test_what_is_no_capture_is_told_and_home_stays(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader")
    async with opened(None) as pilot:
        for name in ("letter.txt", "nothing.pcap"):
            await press(pilot, "o")
            await write(pilot, f"{tmp_path}/{name}")
            await press(pilot, "enter")
            assert name in told(pilot)[-1]
            assert isinstance(pilot.app.screen, HomeScreen)


async def test_recent_captures_are_remembered_and_opened_by_enter(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])):
        pass
    async with opened(read([many(tmp_path)])):
        pass
    async with opened(None) as pilot:
        found = rows(pilot.app.screen.query_one("ColumnList"))  # type: ignore[arg-type]
        assert [row.split()[0] for row in found] == ["many.pcap", "mixed.pcap"]
        await press(pilot, "j", "enter")
        assert "3 sessions" in lines(pilot)[0]


async def test_a_capture_that_has_gone_is_told_so(tmp_path: Path) -> None:
    path = mixed(tmp_path)
    async with opened(read([path])):
        pass
    path.unlink()
    async with opened(None) as pilot:
        assert "gone" in shown(pilot)
        await press(pilot, "enter")
        assert "no such file" in told(pilot)[-1]


async def test_d_shows_the_demonstration() -> None:
    read(bundled()).close()
    async with opened(None) as pilot:
        await press(pilot, "d")
        await until_read(pilot)
        assert "captures" in lines(pilot)[0]
        assert len(main(pilot).sessions.listing) > 50


async def test_other_captures_are_opened_from_the_palette(tmp_path: Path) -> None:
    read([many(tmp_path)]).close()
    async with opened(read([mixed(tmp_path)])) as pilot:
        await pilot.app.run_action("home")
        await settled(pilot)
        assert isinstance(pilot.app.screen, HomeScreen)
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, MainScreen)
        await pilot.app.run_action("home")
        await press(pilot, "o")
        await write(pilot, f"{tmp_path}/many.pcap")
        await press(pilot, "enter")
        await until_read(pilot)
        assert "200 sessions" in lines(pilot)[0]
        assert len([each for each in pilot.app.screen_stack if isinstance(each, MainScreen)]) == 1


async def until_read(pilot: object) -> None:
    app = pilot.app  # type: ignore[attr-defined]
    for _ in range(3_000):
        await settled(pilot)  # type: ignore[arg-type]
        if app.review is not None and not app.review.reading:
            break
        await pilot.pause(0.01)  # type: ignore[attr-defined]
    main(pilot).news()  # type: ignore[arg-type]
    await settled(pilot)  # type: ignore[arg-type]


# -- palette and help ------------------------------------------------------------------------------


async def test_the_palette_has_every_action_and_every_session(tmp_path: Path) -> None:
    async with opened(read([many(tmp_path)])) as pilot:
        commands = {each.title for each in pilot.app.get_system_commands(pilot.app.screen)}
        assert {
            "Filter",
            "Ladder",
            "Export",
            "Theme",
            "Home: open other captures, record",
            "Quit",
        } <= commands
        await pilot.press("ctrl+p")
        assert isinstance(pilot.app.screen, CommandPalette)
        for key in "r77@":
            await pilot.press({"@": "at"}.get(key, key))
        for _ in range(500):
            await pilot.pause(0.01)
            if "Session 78" in shown(pilot):
                break
        assert "r77@example.org" in shown(pilot)
        await pilot.press("enter", "enter")
        await settled(pilot)
        session = main(pilot).sessions.session
        assert session is not None
        assert session.number == 78


async def test_keys_are_remapped_by_id(home: Path, tmp_path: Path) -> None:
    folder = home / "config" / "smtpscope"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('time = "utc"\n[keys]\nfilter = "ctrl+f"\nnonsense = "z"\n')
    async with opened(read([mixed(tmp_path)]), configuration=read_configuration()) as pilot:
        assert any("nonsense" in each for each in told(pilot))
        await press(pilot, "f")
        assert not main(pilot).query_one(FilterBar).field.has_focus
        await press(pilot, "ctrl+f")
        assert main(pilot).query_one(FilterBar).field.has_focus
        await press(pilot, "escape", "question_mark")
        assert isinstance(pilot.app.screen, HelpScreen)
        assert any("Ctrl+F" in line and "Filter" in line for line in lines(pilot))
        assert rows(main(pilot).sessions.lines)[0].lstrip().startswith("22:13:20.003Z")


async def test_a_theme_that_was_picked_is_remembered(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        assert pilot.app.theme == "smtpscope-dark"
        pilot.app.theme = "smtpscope-light"
        await settled(pilot)
    async with opened(read([mixed(tmp_path)])) as pilot:
        assert pilot.app.theme == "smtpscope-light"


async def test_a_theme_that_is_not_known_is_told(tmp_path: Path) -> None:
    configured = Configuration(theme="nothing")
    async with opened(read([mixed(tmp_path)]), configuration=configured) as pilot:
        assert pilot.app.theme == "smtpscope-dark"
        assert any("no theme nothing" in each for each in told(pilot))


# -- export ----------------------------------------------------------------------------------------


async def choose(pilot: object, format: str, folder: Path, what: int = 0) -> None:
    screen = pilot.app.screen  # type: ignore[attr-defined]
    assert isinstance(screen, ExportScreen)
    for button in screen.query(RadioButton):
        if str(button.label) == format:
            button.value = True
    screen.query("#what RadioButton").results(RadioButton)
    list(screen.query("#what RadioButton").results(RadioButton))[what].value = True
    field = screen.query_one(Input)
    field.value = str(folder)
    field.focus()
    await press(pilot, "enter")  # type: ignore[arg-type]


async def test_a_session_is_exported_as_text_and_as_json(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "G", "x")
        await choose(pilot, "annotated text", tmp_path)
        text = (tmp_path / "mixed-session-3.txt").read_text()
        assert "[redacted" in text
        assert "AGFubgBob3BlZnVs" not in text
        await press(pilot, "x")
        await choose(pilot, "JSON lines", tmp_path)
        (line,) = (tmp_path / "mixed-session-3.jsonl").read_text().splitlines()
        assert json.loads(line)["number"] == 3


async def test_marked_and_shown_sessions_are_exported_in_their_order(tmp_path: Path) -> None:
    async with opened(read([many(tmp_path)])) as pilot:
        await press(pilot, "space", "j", "space", "x")
        await choose(pilot, "JSON lines", tmp_path, what=1)
        found = (tmp_path / "many-sessions.jsonl").read_text().splitlines()
        assert [json.loads(line)["number"] for line in found] == [1, 3]
        await press(pilot, "O", "f")
        await write(pilot, "number <= 5")
        await press(pilot, "enter", "x")
        await choose(pilot, "JSON lines", tmp_path, what=2)
        found = (tmp_path / "many-sessions-2.jsonl").read_text().splitlines()
        assert [json.loads(line)["number"] for line in found] == [5, 4, 3, 2, 1]


async def test_messages_are_exported_as_eml_files(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "x")
        await choose(pilot, "messages as .eml files", tmp_path, what=1)
        assert (tmp_path / "message-1-1.eml").read_bytes().startswith(b"From: Ann")
        await press(pilot, "j", "x")
        await choose(pilot, "messages as .eml files", tmp_path)
        assert "no message" in shown(pilot)


async def test_packets_are_exported_as_a_capture_with_its_keys(tmp_path: Path) -> None:
    captures = bundled("exim-errors.pcap", "postfix-curl-starttls-keys.pcapng")
    async with opened(read(captures)) as pilot:
        await press(pilot, "x")
        await choose(pilot, "packets, for Wireshark", tmp_path, what=1)
    (path,) = tmp_path.glob("*.pcapng")
    sessions = list(read_sessions(path))
    expected = [session for each in captures for session in read_sessions(each)]
    assert len(sessions) == len(expected) == 2
    for session, original in zip(sessions, expected, strict=True):
        session.number, session.capture = original.number, original.capture
        found, wanted = (json.loads(jsonl.dumps(each)) for each in (session, original))
        # How quick the server was before is known of its own capture alone.
        del found["timing"], wanted["timing"]
        assert found == wanted
    assert sessions[1].tls is not None
    assert sessions[1].tls.decrypted


async def test_an_export_that_fails_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "x")
        await choose(pilot, "JSON lines", tmp_path / "nowhere")
        assert "is no folder" in shown(pilot)
        assert isinstance(pilot.app.screen, ExportScreen)
        assert not list(tmp_path.glob("*.jsonl"))


# -- the mouse -------------------------------------------------------------------------------------


async def test_a_click_selects_and_a_double_click_opens(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        await pilot.click("#sessions", offset=(10, 2))
        await settled(pilot)
        assert sessions.list.cursor == 1
        await pilot.click("#sessions", offset=(10, 1), times=2)
        await settled(pilot)
        assert sessions.has_class("-full")


async def test_a_click_on_a_head_sorts_and_a_second_one_turns_round(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        head = lines(pilot)[2]
        for descending in (False, True):
            await pilot.click("#sessions", offset=(head.index("from") + 1, 0))
            await settled(pilot)
            assert (sessions.listing.sort, sessions.listing.descending) == ("from", descending)


async def test_the_wheel_scrolls(tmp_path: Path) -> None:
    async with opened(read([many(tmp_path)])) as pilot:
        listed = main(pilot).sessions.list
        listed.scroll_down(animate=False)
        listed.scroll_relative(y=10, animate=False)
        await settled(pilot)
        assert not any("s0@example.net" in line for line in lines(pilot)[3:15])
        await press(pilot, "j")
        assert any("s1@example.net" in line for line in lines(pilot)[3:15])


async def test_tabs_and_keys_at_the_bottom_can_be_clicked(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        for word, tab in (("Messages", 1), ("Table", 4), ("Sessions", 0)):
            await pilot.click("#keys", offset=(lines(pilot)[-1].index(word) + 1, 0))
            await settled(pilot)
            assert main(pilot).tab == tab
        await pilot.click("#keys", offset=(lines(pilot)[-1].index("message") + 1, 0))
        await settled(pilot)
        assert isinstance(pilot.app.screen, MessageScreen)
        await pilot.click("#keys", offset=(lines(pilot)[-1].index("back") + 1, 0))
        await settled(pilot)
        assert main(pilot).is_current


# -- trouble ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(59, 30), (100, 15), (20, 5)])
async def test_a_terminal_too_small_says_how_large_it_must_be(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    async with opened(read([mixed(tmp_path)]), size=size) as pilot:
        assert "60×16" in shown(pilot).replace("\n", " ")
        await pilot.resize_terminal(100, 30)
        await settled(pilot)
        assert "ann@example.net" in shown(pilot)
        await pilot.resize_terminal(*size)
        await settled(pilot)
        assert "ann@example.net" not in shown(pilot)


async def test_a_capture_that_vanishes_leaves_the_list_and_says_so(tmp_path: Path) -> None:
    path = mixed(tmp_path)
    async with opened(read([path])) as pilot:
        path.unlink()
        await press(pilot, "j")
        assert "cannot be read any more" in shown(pilot)
        assert "eve@example" in shown(pilot)
        for key in ("m", "h", "l", "d", "k", "d", "2", "enter", "escape", "x", "escape"):
            await press(pilot, key)
        assert pilot.app.is_running


async def test_a_capture_that_is_cut_while_it_is_open_is_told(tmp_path: Path) -> None:
    path = mixed(tmp_path)
    async with opened(read([path])) as pilot:
        os.truncate(path, 200)
        await press(pilot, "j")
        assert "shorter than it was" in shown(pilot)


async def test_an_index_that_cannot_be_written_is_told_and_the_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    async with opened(Review([str(mixed(tmp_path))])) as pilot:
        await until_read(pilot)
        assert any("made anew each time" in each for each in told(pilot))
        assert any("cannot be remembered" in each for each in told(pilot))
        assert "3 sessions" in lines(pilot)[0]
        await press(pilot, "j")
        assert "no such user" in shown(pilot)


async def test_an_index_that_is_damaged_while_it_is_open_is_made_anew(tmp_path: Path) -> None:
    review = read([mixed(tmp_path)])
    async with opened(review) as pilot:
        review.index.path.write_bytes(b"nonsense" * 1000)
        main(pilot).news()
        await until_read(pilot)
        await press(pilot, "j")
        assert "3 sessions" in lines(pilot)[0]
        assert "no such user" in shown(pilot)


async def test_what_is_wrong_with_a_capture_is_told(tmp_path: Path) -> None:
    path = mixed(tmp_path)
    os.truncate(path, path.stat().st_size - 10)
    async with opened(read([path])) as pilot:
        assert any("mixed.pcap" in each and "cut" in each for each in told(pilot))


async def test_the_first_filter_and_secrets_come_from_the_command_line(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)]), filter="auth", reveal=True) as pilot:
        assert len(main(pilot).sessions.listing) == 1
        assert "AGFubgBob3BlZnVs" in shown(pilot)


async def test_colours_can_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(read(bundled("exim-errors.pcap"))) as pilot:
        await press(pilot, "3")
        for sign in ("▲ warning", "● note", "· chat"):
            assert sign in shown(pilot)


async def test_a_session_with_nothing_said_says_so(tmp_path: Path) -> None:
    path = capture(tmp_path / "silent.pcap", ["S: 220 mx"])
    async with opened(read([path])) as pilot:
        assert "220 mx" in shown(pilot)
        await point(pilot, main(pilot).sessions.lines, "220")


def test_memory_is_not_shared_between_tests() -> None:
    assert Memory().recent == []


async def test_a_key_leads_home_and_esc_back(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "H")
        assert isinstance(pilot.app.screen, HomeScreen)
        await press(pilot, "escape")
        assert main(pilot).is_current
