"""The other views: messages, findings, statistics, the table; and where their keys lead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from textual.pilot import Pilot

from smtpscope.tui.filterbar import FilterBar
from smtpscope.tui.findings import FindingsPane
from smtpscope.tui.message import MessageScreen
from smtpscope.tui.messages import MessagesPane
from smtpscope.tui.statistics import StatisticsPane


async def test_the_mailbox_has_every_message_with_its_outcome(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "2")
        pane = main(pilot).query_one(MessagesPane)
        (row,) = rows(pane.list)
        assert row.split()[:3] == ["1", "2023-11-14", "22:13:20"] or "2023-11-14" in row
        for words in ("ann@example.net", "bob@example.org", "Lunch", "250 accepted"):
            assert words in shown(pilot)


async def test_enter_and_m_open_the_message_of_the_mailbox(tmp_path: Path) -> None:
    for key in ("enter", "m"):
        async with opened(read([mixed(tmp_path)])) as pilot:
            await press(pilot, "2", key)
            assert isinstance(pilot.app.screen, MessageScreen)
            assert "Subject: Lunch" in shown(pilot)


async def test_the_mailbox_follows_the_filter_and_sorts(tmp_path: Path) -> None:
    async with opened(read([many(tmp_path)])) as pilot:
        await press(pilot, "2")
        pane = main(pilot).query_one(MessagesPane)
        assert len(rows(pane.list)) == 160
        await press(pilot, "f")
        await write(pilot, "number <= 3")
        await press(pilot, "enter")
        assert [row.split()[3] for row in rows(pane.list)] == [
            "s1@example.net",
            "s2@example.net",
        ]
        assert main(pilot).tab == 1
        await press(pilot, "O")
        assert rows(pane.list)[0].split()[3] == "s2@example.net"
        await press(pilot, "o")
        assert "received↑" in shown(pilot)


async def test_slash_searches_the_mailbox(tmp_path: Path) -> None:
    async with opened(read([many(tmp_path)])) as pilot:
        await press(pilot, "2", "slash")
        await write(pilot, "r151@")
        await press(pilot, "enter")
        pane = main(pilot).query_one(MessagesPane)
        assert "r151@example.org" in rows(pane.list)[pane.list.cursor]


async def test_findings_are_grouped_by_rule_the_worst_first(tmp_path: Path) -> None:
    async with opened(read(bundled("postfix-smuggling.pcap", "exim-errors.pcap"))) as pilot:
        await press(pilot, "3")
        found = rows(main(pilot).query_one(FindingsPane).list)
        assert "✖ error" in found[0]
        severities = [row.split()[1] for row in found]
        order = ["error", "warning", "note", "chat"]
        assert severities == sorted(severities, key=order.index)
        assert "To do" in shown(pilot)


async def test_enter_on_a_finding_leads_to_its_sessions_and_e_to_the_line(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "3")
        pane = main(pilot).query_one(FindingsPane)
        await point(pilot, pane.list, "user-unknown")
        await press(pilot, "enter")
        assert main(pilot).query_one(FilterBar).field.value == "finding == user-unknown"
        assert main(pilot).tab == 0
        assert main(pilot).sessions.session is not None
        assert main(pilot).sessions.session.number == 2
        await press(pilot, "e")
        row = main(pilot).sessions.selected
        assert row is not None
        assert row.finding is not None


async def test_findings_sort_by_every_column(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "3")
        pane = main(pilot).query_one(FindingsPane)
        seen = set()
        for _ in pane.list.columns:
            await press(pilot, "o")
            seen.add(pane.list.sorted_by)
            before = rows(pane.list)
            await press(pilot, "O")
            assert sorted(rows(pane.list)) == sorted(before)
            await press(pilot, "O")
        assert len(seen) == len(pane.list.columns)


async def test_statistics_count_codes_and_names_and_show_latencies(tmp_path: Path) -> None:
    async with opened(read([many(tmp_path)])) as pilot:
        await press(pilot, "4")
        pane = main(pilot).query_one(StatisticsPane)
        numbers, names = rows(pane.numbers), rows(pane.names)
        assert "200 sessions, 160 messages" in numbers[0]
        assert any(row.split()[:2] == ["550", "40"] for row in numbers)
        (hello,) = (row.split() for row in numbers if row.startswith("EHLO"))
        assert hello[-1] == "200"
        assert hello[1] in ("2ms", "3ms")
        assert any("192.0.2.2:25" in row and "200" in row for row in names)
        assert any(row.startswith("client.example.net") for row in names)


async def test_statistics_follow_the_filter(tmp_path: Path) -> None:
    async with opened(read([many(tmp_path)])) as pilot:
        await press(pilot, "4", "f")
        await write(pilot, "class == 5")
        await press(pilot, "enter")
        pane = main(pilot).query_one(StatisticsPane)
        assert rows(pane.numbers)[0].startswith("40 sessions, 0 messages")


async def test_enter_on_a_figure_shows_its_sessions(tmp_path: Path) -> None:
    async with opened(read([many(tmp_path)])) as pilot:
        await press(pilot, "4")
        pane = main(pilot).query_one(StatisticsPane)
        await point(pilot, pane.numbers, "550 ")
        await press(pilot, "enter")
        assert main(pilot).query_one(FilterBar).field.value == "code == 550"
        assert len(main(pilot).sessions.listing) == 40
        await press(pilot, "4", "tab")
        await point(pilot, pane.names, "192.0.2.1 ")
        await press(pilot, "enter")
        field = main(pilot).query_one(FilterBar).field
        assert field.value == '(code == 550) and client == "192.0.2.1"'
        assert len(main(pilot).sessions.listing) == 40


async def test_the_table_is_searched_while_one_types() -> None:
    async with opened(read(bundled("postfix-swaks.pcap"))) as pilot:
        await press(pilot, "5", "slash")
        table = main(pilot).table
        await write(pilot, "mailbox full")
        assert any("4.2.2" in row or "X.2.2" in row for row in rows(table.list))
        await press(pilot, "escape")
        assert len(rows(table.list)) > 500
        await press(pilot, "slash")
        await write(pilot, "550")
        await press(pilot, "enter")
        assert rows(table.list)[0].split()[0] == "550"
        assert table.list.has_focus
        assert "permanent" in shown(pilot) or "no such" in shown(pilot)


async def test_every_row_of_the_table_can_be_looked_up() -> None:
    from smtpscope.tui.table import about, known

    assert len(known()) > 500
    for each in known():
        found = list(about(each, 70))
        assert found, each
        assert all(piece.text.isprintable() for line in found for piece in line), each


async def test_message_parts_are_shown_and_saved(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "m", "j", "j")
        assert "lunch at noon?" in shown(pilot)
        await press(pilot, "j")
        assert "25 50 44 46" in shown(pilot)
        await press(pilot, "s", "ctrl+u")
        await write(pilot, str(tmp_path))
        await press(pilot, "enter")
        assert (tmp_path / "menu.pdf").read_bytes() == b"%PDF-1.4\n"
        assert any("menu.pdf" in each for each in told(pilot))
        await press(pilot, "S", "enter")
        assert (tmp_path / "message-1-1.eml").read_bytes().startswith(b"From: Ann")
        assert (tmp_path / "message-1-1.eml").stat().st_mode & 0o777 == 0o600


async def test_saving_where_that_cannot_be_is_told(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "m", "S", "ctrl+u")
        await write(pilot, str(tmp_path / "nowhere"))
        await press(pilot, "enter")
        assert any("is no folder" in each for each in told(pilot))
        assert pilot.app.is_running


async def test_a_session_that_the_filter_hides_is_shown_without_the_filter(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        await press(pilot, "f")
        await write(pilot, "number == 1")
        await press(pilot, "enter")
        main(pilot).show_session(3)
        await settled(pilot)
        assert main(pilot).sessions.session is not None
        assert main(pilot).sessions.session.number == 3
        assert main(pilot).query_one(FilterBar).field.value == ""


async def test_several_captures_are_one_list(tmp_path: Path) -> None:
    names = ("postfix-swaks.pcap", "exim-errors.pcap", "postfix-lmtp.pcap")
    async with opened(read(bundled(*names))) as pilot:
        assert "3 captures" in lines(pilot)[0]
        assert len(main(pilot).sessions.listing) == 3
        await press(pilot, "f")
        await write(pilot, 'capture ~ "exim"')
        await press(pilot, "enter")
        assert len(main(pilot).sessions.listing) == 1


async def test_esc_leads_back_from_where_a_row_has_led(tmp_path: Path) -> None:
    """With the filter that was there before; what was typed since stays."""
    async with opened(read([*bundled("exim-errors.pcap"), mixed(tmp_path)])) as pilot:
        bar = main(pilot).query_one(FilterBar)
        for before in ("", "code >= 200"):
            bar.put(before)
            await settled(pilot)
            await press(pilot, "3", "enter")
            assert "finding == " in bar.field.value
            await press(pilot, "enter", "escape")
            assert "finding == " in bar.field.value
            await press(pilot, "escape")
            assert bar.field.value == before
            assert main(pilot).tab == 2
        await press(pilot, "enter")
        bar.put("code == 250")
        await settled(pilot)
        await press(pilot, "escape")
        assert bar.field.value == "code == 250"
        assert main(pilot).tab == 0


async def test_where_a_filter_shows_nothing_it_is_named(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        main(pilot).query_one(FilterBar).put("zzzzz")
        await settled(pilot)
        for key, words in (("2", "no messages"), ("3", "nothing was found"), ("4", "no sessions")):
            await press(pilot, key)
            await settled(pilot)
            assert f"{words} with this filter: f, then Esc" in shown(pilot)


async def test_codes_are_searched_for_in_what_was_said(tmp_path: Path) -> None:
    captures = [mixed(tmp_path), *bundled("postfix-lmtp.pcap")]
    async with opened(read(captures)) as pilot:
        await settled(pilot)
        for words in ("452", "4.2.2"):
            await press(pilot, "g", "slash", "ctrl+u")
            await write(pilot, words)
            await press(pilot, "enter")
            await settled(pilot)
            row = main(pilot).sessions.row
            assert row is not None
            assert row.last == 452


async def test_a_message_that_some_did_not_get_says_for_how_many(tmp_path: Path) -> None:
    for capture, words in (("postfix-lmtp.pcap", "2/4 accepted"), ("exim-exim-prdr.pcap", "2/3")):
        async with opened(read(bundled(capture))) as pilot:
            await press(pilot, "2")
            await settled(pilot)
            assert words in shown(pilot)


async def test_how_many_more_recipients_there_are_is_kept_where_a_name_is_cut() -> None:
    async with opened(read(bundled("postfix-lmtp.pcap")), size=(80, 24)) as pilot:
        await settled(pilot)
        listed = [line for line in lines(pilot)[:8] if "… +" in line]
        assert any("… +3 " in line for line in listed)
        await press(pilot, "2")
        await settled(pilot)
        assert any("… +3 " in line for line in lines(pilot)[:8])


async def test_a_secret_s_octets_offer_no_packet() -> None:
    async with opened(read(bundled("exim-swaks-auth-plain.pcap"))) as pilot:
        await settled(pilot)
        await point(pilot, main(pilot).sessions.lines, "redacted")
        await press(pilot, "h")
        await settled(pilot)
        assert "these octets hold a secret" in shown(pilot)
        assert "packet in full" not in shown(pilot)


async def test_a_dialogue_opens_at_what_broke_the_mail_or_what_the_filter_names() -> None:
    async with opened(read(bundled("exim-auth-refused.pcap", "exim-errors.pcap"))) as pilot:
        await settled(pilot)
        sessions = main(pilot).sessions
        assert sessions.list.has_focus
        assert finding(pilot) == "login-unavailable"
        assert "login-unavailable" in sessions.lines.text(sessions.lines.cursor)
        # Coming from the list, e begins at the first one.
        await press(pilot, "e")
        assert finding(pilot) == "login-unavailable"
        await press(pilot, "e")
        assert finding(pilot) == "auth-in-cleartext"
        main(pilot).narrow("verb == QUIT")
        await settled(pilot)
        assert "QUIT" in sessions.lines.text(sessions.lines.cursor)
        await press(pilot, "escape", "escape")
        await settled(pilot)
        assert finding(pilot) == "login-unavailable"
        main(pilot).narrow("code == 503 and client ~ 127")
        await settled(pilot)
        assert sessions.session is not None
        assert sessions.session.capture == "exim-errors.pcap"
        assert " 503" in sessions.lines.text(sessions.lines.cursor)


async def test_e_goes_to_what_is_wrong_with_the_selected_message() -> None:
    async with opened(read(bundled("exim-auth-refused.pcap", "exim-exim-prdr.pcap"))) as pilot:
        await settled(pilot)
        await press(pilot, "2", "e")
        await settled(pilot)
        sessions = main(pilot).sessions
        assert sessions.session is not None
        assert sessions.session.capture == "exim-exim-prdr.pcap"
        assert sessions.lines.has_focus
        assert finding(pilot) == "mailbox-full"
        # And Esc leads back to it, by way of the list.
        await press(pilot, "escape", "escape")
        assert main(pilot).tab == 1
        await press(pilot, "v")
        await settled(pilot)
        assert "message of" in sessions.lines.text(sessions.lines.cursor)


async def test_e_goes_to_the_selected_rule_s_lines_even_to_notes() -> None:
    async with opened(read(bundled("exim-errors.pcap", "exim-vrfy-expn.pcap"))) as pilot:
        await settled(pilot)
        await press(pilot, "3")
        await settled(pilot)
        pane = main(pilot).query_one(FindingsPane)
        for rule in [row.split()[2] for row in rows(pane.list)]:
            await press(pilot, "3")
            await settled(pilot)
            await point(pilot, pane.list, f" {rule} ")
            await press(pilot, "e")
            await settled(pilot)
            assert main(pilot).sessions.lines.has_focus
            assert finding(pilot) == rule
            await press(pilot, "escape", "escape")
            await settled(pilot)
            assert main(pilot).query_one(FilterBar).field.value == ""


async def test_a_refusal_of_several_lines_is_not_folded_till_somebody_folds_it() -> None:
    async with opened(read(bundled("exim-errors.pcap"))) as pilot:
        await settled(pilot)
        lines_of = main(pilot).sessions.lines
        assert any("503 Too many syntax or protocol errors" in row for row in rows(lines_of))
        await point(pilot, lines_of, "503-sender already given")
        await press(pilot, "enter")
        assert not any("503 Too many" in row for row in rows(lines_of))
        assert any("(+1 line)" in row for row in rows(lines_of))


async def test_what_is_sealed_says_how_to_open_it_and_what_is_well_that_it_is() -> None:
    async with opened(read(bundled("exim-msmtp-smtps.pcap"))) as pilot:
        await settled(pilot)
        await press(pilot, "m")
        assert any("SSLKEYLOGFILE" in each for each in told(pilot))
        for _ in range(3):
            await press(pilot, "e")
            await settled(pilot)
        assert told(pilot).count("Nothing was found to be wrong in what is shown.") == 1


async def test_the_filter_takes_keys_at_once_and_a_click(tmp_path: Path) -> None:
    async with opened(read([mixed(tmp_path)])) as pilot:
        main(pilot).action_filter()
        bar = main(pilot).query_one(FilterBar)
        # Before anything else happens, for the next key may be there already.
        assert pilot.app.focused is bar.field
        await settled(pilot)
        assert "number" in shown(pilot)
        assert "capture" in shown(pilot)
        await press(pilot, "escape")
        await pilot.click(FilterBar, offset=(20, 0))
        await settled(pilot)
        assert bar.field.has_focus


def finding(pilot: Pilot[Any]) -> str | None:
    """The rule of the finding at the cursor of the dialogue."""
    row = main(pilot).sessions.selected
    return row.finding.rule if row is not None and row.finding is not None else None
