"""Every key of the main screen, pressed as a user would."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.packets import pcap
from support.screens import (
    bundled,
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

from smtpscope.session import Severity
from smtpscope.tui.compare import CompareScreen
from smtpscope.tui.exporting import ExportScreen
from smtpscope.tui.filterbar import FilterBar
from smtpscope.tui.help import HelpScreen
from smtpscope.tui.ladder import LadderScreen
from smtpscope.tui.message import MessageScreen
from smtpscope.tui.octets import OctetsScreen, PacketScreen
from smtpscope.tui.prompts import ConfirmScreen


async def test_the_first_session_is_selected_and_its_dialogue_is_there(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        said = shown(pilot)
        assert "mixed.pcap" in lines(pilot)[0]
        assert "3 sessions" in lines(pilot)[0]
        assert "ann@example.net" in said
        assert "EHLO client.example.net" in said
        assert "Reply 220" in said


async def test_j_and_k_and_arrows_move_and_the_dialogue_follows(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        for key, cursor in (("j", 1), ("down", 2), ("k", 1), ("up", 0), ("up", 0)):
            await press(pilot, key)
            assert sessions.list.cursor == cursor
            assert sessions.session is not None
            assert sessions.session.number == cursor + 1


async def test_pages_and_both_ends_are_one_key_away(tmp_path: Path) -> None:
    async with opened(read([many(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        await press(pilot, "G")
        assert sessions.list.cursor == 199
        await press(pilot, "pageup")
        page = 199 - sessions.list.cursor
        assert 5 < page < 40
        await press(pilot, "g")
        assert sessions.list.cursor == 0
        await press(pilot, "pagedown")
        assert sessions.list.cursor == page
        await press(pilot, "end", "home")
        assert sessions.list.cursor == 0


async def test_enter_makes_the_dialogue_full_height_and_esc_leads_back(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        await press(pilot, "enter")
        assert sessions.lines.has_focus
        assert not sessions.list.display
        await press(pilot, "escape")
        assert sessions.list.display
        assert sessions.list.has_focus


async def test_tab_goes_round_list_dialogue_and_explanation(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        seen = []
        for _ in range(3):
            await press(pilot, "tab")
            assert pilot.app.focused is not None
            seen.append(pilot.app.focused.id)
        assert seen == ["dialogue", "explanation", "sessions"]
        assert sessions.list.has_focus


async def test_the_explanation_follows_the_line(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        await press(pilot, "j", "enter")
        await point(pilot, sessions.lines, "RCPT")
        assert "RCPT" in str(sessions.facts.border_title)
        assert any("<nobody@example.org>" in row for row in rows(sessions.facts))


async def test_enter_on_a_folded_reply_unfolds_it(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        await press(pilot, "enter", "j", "j")
        assert "(+2 lines)" in rows(sessions.lines)[2]
        await press(pilot, "enter")
        assert [row.split()[-1] for row in rows(sessions.lines)[3:5]] == ["1000000", "PIPELINING"]
        await press(pilot, "enter")
        assert "MAIL" in rows(sessions.lines)[3]


async def test_numbers_choose_the_view_and_esc_leads_back(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        for key, words in (
            ("2", "Lunch"),
            ("3", "user-unknown"),
            ("4", "Replies by code"),
            ("5", "the server speaks first"),
            ("1", "Reply 220"),
        ):
            await press(pilot, key)
            assert words in shown(pilot)
            assert main(pilot).tab == int(key) - 1
        await press(pilot, "4", "escape")
        assert main(pilot).tab == 0


async def test_f_filters_while_it_is_typed(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "f")
        await write(pilot, "code >= 500")
        assert len(main(pilot).sessions.listing) == 1
        await press(pilot, "enter")
        assert "1 of 3" in lines(pilot)[1]
        assert main(pilot).sessions.list.has_focus


async def test_a_filter_that_cannot_be_read_is_coloured_and_told(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "f")
        await write(pilot, "code >> 5")
        field = main(pilot).query_one(FilterBar).field
        assert field.has_class("-unreadable")
        assert "column 7: expected" in lines(pilot)[1]
        assert len(main(pilot).sessions.listing) == 3
        await press(pilot, "enter")
        assert field.has_focus


async def test_the_filter_is_completed_by_tab(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "f")
        await write(pilot, "sev")
        assert "severity" in lines(pilot)[1]
        await press(pilot, "tab")
        assert main(pilot).query_one(FilterBar).field.value == "severity"


async def test_esc_in_the_filter_clears_it(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "f")
        await write(pilot, "code >= 500")
        await press(pilot, "enter", "f", "escape")
        assert len(main(pilot).sessions.listing) == 3
        assert main(pilot).sessions.list.has_focus


async def test_earlier_filters_come_again_with_the_arrow_keys(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        for words in ("code >= 500", "helo"):
            await press(pilot, "f", "ctrl+u")
            await write(pilot, words)
            await press(pilot, "enter")
        field = main(pilot).query_one(FilterBar).field
        await press(pilot, "f", "up")
        assert field.value == "helo"
        await press(pilot, "up")
        assert field.value == "code >= 500"
        await press(pilot, "down", "down")
        assert field.value == ""
    async with opened(read([mixed(tmp_path)])) as pilot:
        # Another run remembers them.
        await press(pilot, "f", "up")
        assert main(pilot).query_one(FilterBar).field.value == "helo"


async def test_slash_searches_the_list_and_n_goes_on(tmp_path: Path) -> None:
    async with opened(read([many(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        await press(pilot, "slash")
        await write(pilot, "r15")
        await press(pilot, "enter")
        assert sessions.list.cursor == 15
        await press(pilot, "n")
        assert sessions.list.cursor == 150
        await press(pilot, "N")
        assert sessions.list.cursor == 15
        await press(pilot, "N")
        assert sessions.list.cursor == 159
        assert "Searched on from the end." in told(pilot)
        await press(pilot, "n")
        assert sessions.list.cursor == 15
        assert "Searched on from the beginning." in told(pilot)
        await press(pilot, "slash", "ctrl+u")
        await write(pilot, "r159")
        await press(pilot, "enter", "n")
        assert sessions.list.cursor == 159
        assert "No more: r159" in told(pilot)
        await press(pilot, "slash", "ctrl+u")
        await write(pilot, "nowhere")
        await press(pilot, "enter")
        assert sessions.list.cursor == 159
        assert "Not found: nowhere" in told(pilot)


async def test_slash_searches_the_dialogue_where_that_has_the_focus(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        await press(pilot, "enter", "slash")
        await write(pilot, "quit")
        await press(pilot, "enter")
        assert "QUIT" in rows(sessions.lines)[sessions.lines.cursor]
        found = sessions.lines.cursor
        await press(pilot, "slash", "ctrl+u")
        await write(pilot, "ehlo")
        await press(pilot, "enter")
        assert sessions.lines.cursor < found
        assert "Searched on from the beginning." in told(pilot)


async def test_e_passes_over_notes_where_something_is_worse(tmp_path: Path) -> None:
    captures = [mixed(tmp_path), *bundled("postfix-smuggling.pcap", "exim-curl-smtps-keys.pcapng")]
    async with opened(read(captures)) as pilot:
        sessions = main(pilot).sessions
        await settled(pilot)
        seen = []
        for _ in range(20):
            await press(pilot, "e")
            await settled(pilot)
            if "No more findings." in told(pilot):
                break
            assert sessions.selected is not None
            assert sessions.selected.finding is not None
            seen.append(sessions.selected.finding.severity)
        assert len(seen) > 3
        assert min(seen) == Severity.WARNING
    async with opened(read(bundled("exim-curl-smtps-keys.pcapng"))) as pilot:
        await settled(pilot)
        await press(pilot, "e")
        await settled(pilot)
        selected = main(pilot).sessions.selected
        assert selected is not None
        assert selected.finding is not None
        assert selected.finding.severity == Severity.NOTE


async def test_e_goes_to_the_next_finding_in_whatever_session(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        seen = []
        for _ in range(12):
            await press(pilot, "e")
            row = sessions.selected
            assert row is not None
            assert sessions.session is not None
            assert row.finding is not None
            seen.append((sessions.session.number, row.finding.rule))
            if "No more findings." in told(pilot):
                break
        assert (2, "user-unknown") in seen
        assert (3, "auth-in-cleartext") in seen
        assert [number for number, _ in seen] == sorted(number for number, _ in seen)
        await press(pilot, "E")
        assert sessions.selected is not None
        assert sessions.selected.finding is not None


async def test_m_opens_the_message_and_esc_leads_back(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "m")
        assert isinstance(pilot.app.screen, MessageScreen)
        assert "Subject: Lunch" in shown(pilot)
        await press(pilot, "escape", "j", "m")
        assert not isinstance(pilot.app.screen, MessageScreen)
        assert "This session has no message." in told(pilot)


async def test_h_shows_octets_and_enter_their_packet(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "enter", "j", "h")
        assert isinstance(pilot.app.screen, OctetsScreen)
        assert "45 48 4c 4f" in shown(pilot)
        assert "packet 5" in shown(pilot)
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, PacketScreen)
        assert "sport" in shown(pilot)
        assert "Packet 5 " in lines(pilot)[0]
        await press(pilot, "right_square_bracket")
        assert "Packet 6 " in lines(pilot)[0]
        await press(pilot, "left_square_bracket", "left_square_bracket")
        assert "Packet 4 " in lines(pilot)[0]
        await press(pilot, "escape", "escape")
        assert main(pilot).is_current


async def test_l_draws_the_ladder_and_enter_leads_to_the_line(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        await press(pilot, "l")
        screen = pilot.app.screen
        assert isinstance(screen, LadderScreen)
        assert "▶" in shown(pilot)
        await point(pilot, screen.rungs, "MAIL FROM")
        await press(pilot, "enter")
        assert "MAIL FROM" in rows(sessions.lines)[sessions.lines.cursor]
        assert sessions.lines.has_focus


async def test_d_twice_sets_two_sessions_side_by_side(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "d", "j", "d")
        screen = pilot.app.screen
        assert isinstance(screen, CompareScreen)
        assert "Session 1 and session 2" in lines(pilot)[0]
        await press(pilot, "n")
        assert "≠" in rows(screen.rows)[screen.rows.cursor] or any(
            sign in rows(screen.rows)[screen.rows.cursor] for sign in "<>"
        )
        await press(pilot, "escape")
        assert main(pilot).is_current


async def test_d_sets_the_two_marked_sessions_side_by_side(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "space", "j", "space", "d")
        assert isinstance(pilot.app.screen, CompareScreen)
        assert "Session 1 and session 3" in lines(pilot)[0]


async def test_t_goes_through_the_ways_to_show_times(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        first = [rows(sessions.lines)[0]]
        for _ in range(3):
            await press(pilot, "t")
            first.append(rows(sessions.lines)[0])
        assert first[0].lstrip().startswith("+0.003 ")
        assert first[1].lstrip().startswith("+0.003 ")
        assert first[2].lstrip().startswith("22:13:20.003 ")
        assert first[3].lstrip().startswith("22:13:20.003Z")
        await press(pilot, "t")
        assert rows(sessions.lines)[0] == first[0]


async def test_o_sorts_by_one_column_after_the_other_and_its_capital_turns_round(
    tmp_path: Path,
) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        seen = []
        for _ in sessions.list.columns:
            await press(pilot, "o")
            seen.append(sessions.listing.sort)
        assert seen == [
            column.key for column in (*sessions.list.columns[1:], sessions.list.columns[0])
        ]
        await press(pilot, "O")
        assert "3" in rows(sessions.list)[0][:8]
        assert "#↓" in shown(pilot)


async def test_the_cursor_stays_on_its_session_when_the_order_changes(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        sessions = main(pilot).sessions
        await press(pilot, "O")
        assert sessions.list.cursor == 2
        assert sessions.session is not None
        assert sessions.session.number == 1


async def test_space_marks_sessions(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "space", "space")
        assert main(pilot).marked == {1, 2}
        assert "2 marked" in lines(pilot)[1]
        await press(pilot, "k", "space")
        assert main(pilot).marked == {1}


async def test_y_copies_the_line(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "enter", "j", "y")
        assert "EHLO client.example.net" in pilot.app.clipboard
        assert "Copied." in told(pilot)


async def test_secrets_are_revealed_only_when_that_is_confirmed_and_are_hidden_again(
    tmp_path: Path,
) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "G", "R")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await press(pilot, "enter")
        assert "AGFubgBob3BlZnVs" not in shown(pilot)
        await press(pilot, "R", "y")
        assert "AGFubgBob3BlZnVs" in shown(pilot)
        assert "secrets are shown" in lines(pilot)[1]
        await press(pilot, "R")
        assert "AGFubgBob3BlZnVs" not in shown(pilot)
        assert "secrets are shown" not in shown(pilot)
        assert "[redacted" in shown(pilot)


async def test_octets_of_a_secret_are_hidden_until_it_is_revealed(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "G", "enter", "g", "j", "j", "j")
        assert "AUTH PLAIN" in rows(main(pilot).sessions.lines)[3]
        await press(pilot, "h")
        assert "41 47 46 75" not in shown(pilot)
        assert "R in the dialogue reveals it" in shown(pilot)
        await press(pilot, "escape", "R", "y", "h")
        assert "41 47 46 75" in shown(pilot)


async def test_the_newest_is_followed(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "F")
        assert main(pilot).sessions.list.cursor == 2
        assert "Following the newest session." in told(pilot)
        await press(pilot, "F")
        assert "Not following." in told(pilot)


async def test_x_asks_what_to_export(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "x")
        assert isinstance(pilot.app.screen, ExportScreen)
        await press(pilot, "escape")
        assert main(pilot).is_current


async def test_the_question_mark_helps_with_the_keys_of_where_you_are(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "question_mark")
        assert isinstance(pilot.app.screen, HelpScreen)
        assert "Next finding" in shown(pilot)
        await press(pilot, "escape", "m", "question_mark")
        assert "Save the whole message" in shown(pilot)
        assert "Next finding" not in shown(pilot)


async def test_q_quits(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await pilot.press("q")
        assert pilot.app._exit


EVERY_KEY = "1 2 3 4 5 m h l d e E t o O space x y R F n N j k g G enter escape tab left right"


@pytest.mark.parametrize("key", EVERY_KEY.split())
async def test_no_key_fails_where_there_is_nothing(tmp_path: Path, key: str) -> None:
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(pcap([]))
    async with opened(read([empty])) as pilot:
        await press(pilot, key)
        assert pilot.app.is_running
