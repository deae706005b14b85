"""The screen on a capture that grows: what comes is shown, and moves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.conversation import START, connection
from support.growing import FakeRecorder, Growing, Talk, news
from support.screens import (
    LOGIN,
    REFUSED,
    SENT,
    lines,
    main,
    opened,
    point,
    press,
    read,
    rows,
    settled,
    shown,
    told,
    turns,
    write,
)

from smtpscope.capture.recording import Rotation
from smtpscope.tui.home import HomeScreen
from smtpscope.tui.ladder import LadderScreen
from smtpscope.tui.message import MessageScreen
from smtpscope.tui.messages import MessagesPane
from smtpscope.tui.octets import OctetsScreen
from smtpscope.tui.prompts import ConfirmScreen

DIALOGUE = SENT.format(sender="ann@example.net", recipient="bob@example.org")


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Growing:
    return Growing(tmp_path, monkeypatch, recorder=FakeRecorder())


def sent(number: int) -> str:
    return SENT.format(sender=f"s{number}@example.net", recipient=f"r{number}@example.org")


def refused(number: int) -> str:
    return REFUSED.format(sender=f"s{number}@example.net", recipient=f"r{number}@example.org")


def some(recording: Growing, first: int, behind: int) -> None:
    """Whole sessions, every fifth of which is refused."""
    for number in range(first, behind):
        Talk(recording, turns(sent(number) if number % 5 else refused(number)), number).go()


# -- sessions that go on ---------------------------------------------------------------------------


async def test_an_open_session_grows_while_somebody_watches(recording: Growing) -> None:
    talk = Talk(recording, turns(DIALOGUE))
    async with opened(recording.review) as pilot:
        assert "no session yet" in shown(pilot)
        assert "sniffing eth0 · 0 packets · 0 dropped" in lines(pilot)[0]
        talk.go(4)
        await news(pilot)
        assert "sniffing eth0 · 4 packets · 0 dropped · 1 open" in lines(pilot)[0]
        assert "220 mx.example.org ESMTP" in shown(pilot)
        assert "MAIL FROM" not in shown(pilot)
        talk.go(5)
        await news(pilot)
        assert "MAIL FROM:<ann@example.net>" in shown(pilot)
        assert " open" in lines(pilot)[3]
        talk.go()
        await news(pilot)
        assert "221 2.0.0 Bye" in shown(pilot)
        assert " open" not in lines(pilot)[0]
        assert lines(pilot)[0].endswith("live")
        recording.end()
        await news(pilot)
        assert lines(pilot)[0].endswith("ended")


async def test_who_reads_a_line_stays_on_it_while_the_session_grows(recording: Growing) -> None:
    talk = Talk(recording, turns(DIALOGUE))
    async with opened(recording.review) as pilot:
        talk.go(9)
        await news(pilot)
        said = main(pilot).sessions
        await point(pilot, said.lines, "EHLO")
        facts = rows(said.facts)
        await press(pilot, "tab", "j")
        for _ in range(4):
            talk.go(2)
            await news(pilot)
            assert "EHLO" in said.lines.text(said.lines.cursor)
            assert rows(said.facts) == facts
            assert said.facts.cursor == 1
        said.lines.focus()
        await press(pilot, "G")
        talk.go()
        await news(pilot)
        assert "221" in said.lines.text(said.lines.cursor)


async def test_a_folded_reply_stays_unfolded_while_the_session_grows(recording: Growing) -> None:
    talk = Talk(recording, turns(DIALOGUE))
    async with opened(recording.review) as pilot:
        talk.go(9)
        await news(pilot)
        await point(pilot, main(pilot).sessions.lines, "250-mx")
        await press(pilot, "enter")
        assert any("PIPELINING" in row for row in rows(main(pilot).sessions.lines))
        talk.go()
        await news(pilot)
        assert any("PIPELINING" in row for row in rows(main(pilot).sessions.lines))
        assert "250-mx" in main(pilot).sessions.lines.text(main(pilot).sessions.lines.cursor)


async def test_an_open_session_shows_all_that_it_has(recording: Growing) -> None:
    message = b"Subject: Slow\r\n\r\n" + b"x" * 60 + b"\r\n"
    before, _, _ = DIALOGUE.partition("C: MESSAGE")
    talk = Talk(recording, [*turns(before), ("C", message)])
    async with opened(recording.review) as pilot:
        talk.go(16)
        await news(pilot)
        sessions = main(pilot).sessions
        await point(pilot, sessions.lines, "message")
        assert "Slow" in sessions.lines.text(sessions.lines.cursor)
        await press(pilot, "m")
        assert isinstance(pilot.app.screen, MessageScreen)
        assert "Slow" in shown(pilot)
        await press(pilot, "escape", "h")
        assert isinstance(pilot.app.screen, OctetsScreen)
        assert "Subject: Slow" in shown(pilot)
        await press(pilot, "enter", "escape", "escape", "l")
        assert isinstance(pilot.app.screen, LadderScreen)
        assert "RCPT" in shown(pilot)
        await press(pilot, "escape")
        assert main(pilot).is_current


async def test_the_last_word_is_shown_although_it_comes_with_the_end(
    recording: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smtpscope.tui import listing, said

    talk = Talk(recording, turns(DIALOGUE))
    async with opened(recording.review) as pilot:
        talk.go(9)
        await press(pilot, "f")
        await write(pilot, "from ~ ann")
        await press(pilot, "enter")
        await news(pilot)
        # Neither the list nor the dialogue would be made anew by now.
        monkeypatch.setattr(listing, "ANEW", 1_000)
        main(pilot).sessions.said._due = float("inf")
        monkeypatch.setattr(said, "SHARE", 1_000)
        talk.go()
        recording.end()
        await news(pilot)
        assert "221 2.0.0 Bye" in shown(pilot)
        assert "250 2.0.0" in lines(pilot)[3]


@pytest.mark.parametrize("doing", ["serving smtp://127.0.0.1:1025"])
async def test_a_server_tells_how_many_messages_it_has_taken(
    doing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Growing(tmp_path, monkeypatch, recorder=FakeRecorder(doing=doing))
    async with opened(recording.review) as pilot:
        some(recording, 1, 5)
        await news(pilot)
        assert f"{doing} · 4 messages" in lines(pilot)[0]
        assert "packets" not in lines(pilot)[0]


# -- the list --------------------------------------------------------------------------------------


async def test_what_comes_moves_nothing_and_is_counted(recording: Growing) -> None:
    async with opened(recording.review, size=(80, 24)) as pilot:
        some(recording, 0, 4)
        await news(pilot)
        await press(pilot, "j")
        assert "new" not in lines(pilot)[1]
        for behind in (14, 24):
            some(recording, behind - 10, behind)
            await news(pilot)
            assert main(pilot).sessions.list.cursor == 1
            assert main(pilot).sessions.session is not None
            assert main(pilot).sessions.session.number == 2
        hidden = main(pilot).sessions.list.below
        assert 10 < hidden < 20
        assert lines(pilot)[1].endswith(f" {hidden} new ↓")
        await press(pilot, "G")
        await news(pilot)
        assert "new" not in lines(pilot)[1]


async def test_the_newest_is_followed_until_somebody_looks_elsewhere(recording: Growing) -> None:
    async with opened(recording.review) as pilot:
        some(recording, 0, 30)
        await news(pilot)
        await press(pilot, "F")
        assert lines(pilot)[1].endswith("following")
        for behind in (35, 40):
            some(recording, behind - 5, behind)
            await news(pilot)
            assert main(pilot).sessions.list.cursor == behind - 1
            assert main(pilot).sessions.session is not None
            assert main(pilot).sessions.session.number == behind
        await press(pilot, "k")
        some(recording, 40, 45)
        await news(pilot)
        assert main(pilot).sessions.list.cursor == 38
        assert "new ↓" in lines(pilot)[1]
        await press(pilot, "F")
        assert main(pilot).sessions.list.cursor == 44
        some(recording, 45, 46)
        await news(pilot)
        assert main(pilot).sessions.list.cursor == 45
        await press(pilot, "F")
        some(recording, 46, 47)
        await news(pilot)
        assert main(pilot).sessions.list.cursor == 45


async def test_the_newest_is_followed_in_any_order(recording: Growing) -> None:
    async with opened(recording.review) as pilot:
        some(recording, 0, 30)
        await news(pilot)
        sessions = main(pilot).sessions
        await press(pilot, "O", "F")
        assert sessions.listing.descending
        assert sessions.list.cursor == 0
        some(recording, 30, 33)
        await news(pilot)
        assert sessions.session is not None
        assert (sessions.list.cursor, sessions.session.number) == (0, 33)
        await press(pilot, "j")
        some(recording, 33, 36)
        await news(pilot)
        assert sessions.session.number == 32
        assert lines(pilot)[1].endswith("3 new ↑")
        # Where the newest may be anywhere it is looked for at the end of all.
        sessions.listing.show(sort="client", descending=False)
        await settled(pilot)
        await press(pilot, "F")
        assert sessions.listing.sort == "number"
        assert sessions.session.number == 36


async def test_an_order_and_a_filter_keep_the_selection_and_its_line(recording: Growing) -> None:
    talk = Talk(recording, turns(sent(99)), 99)
    async with opened(recording.review) as pilot:
        some(recording, 0, 40)
        talk.go(9)
        await news(pilot)
        sessions = main(pilot).sessions
        sessions.listing.show(sort="from", descending=True)
        await settled(pilot)
        await press(pilot, "f")
        await write(pilot, "from ~ example")
        await press(pilot, "enter")
        await point(pilot, sessions.list, "s20@")
        await point(pilot, sessions.lines, "MAIL")
        sessions.list.focus()
        line = next(at for at, said in enumerate(lines(pilot)) if "▌" in said)
        for number in range(3):
            talk.go(2)
            Talk(recording, turns(sent(300 + number)), 300 + number).go()
            await news(pilot)
            assert sessions.row is not None
            assert "s20@" in sessions.row.senders
            assert "MAIL" in sessions.lines.text(sessions.lines.cursor)
            assert next(at for at, said in enumerate(lines(pilot)) if "▌" in said) == line
        assert f"{44} of {44}" in lines(pilot)[1]


async def test_a_session_that_a_filter_shows_no_more_leaves_the_cursor_where_it_is(
    recording: Growing,
) -> None:
    talk = Talk(recording, turns(sent(3)), 3)
    async with opened(recording.review) as pilot:
        some(recording, 1, 3)
        talk.go(4)
        some(recording, 6, 9)
        await news(pilot)
        await press(pilot, "f")
        await write(pilot, "not to ~ r3")
        await press(pilot, "enter")
        sessions = main(pilot).sessions
        await press(pilot, "j", "j")
        assert sessions.row is not None
        assert sessions.row.number == 3
        talk.go()
        await news(pilot)
        assert len(sessions.listing) == 5
        assert sessions.list.cursor == 2
        assert sessions.row.number == 4


async def test_messages_keep_the_selection_while_more_come(recording: Growing) -> None:
    async with opened(recording.review) as pilot:
        some(recording, 1, 4)
        await news(pilot)
        await press(pilot, "2", "j")
        pane = main(pilot).query_one(MessagesPane)
        pane.listing.show(descending=True)  # type: ignore[union-attr]
        await settled(pilot)
        await point(pilot, pane.list, "s2@")
        some(recording, 6, 9)
        await news(pilot)
        assert len(rows(pane.list)) == 6
        assert "s2@" in pane.list.text(pane.list.cursor)


async def test_a_pause_lets_the_view_stand_still_and_not_the_recording(recording: Growing) -> None:
    talk = Talk(recording, turns(DIALOGUE))
    async with opened(recording.review) as pilot:
        talk.go(9)
        await news(pilot)
        await press(pilot, "2")
        await press(pilot, "1", "p")
        pane = main(pilot).query_one(MessagesPane)
        before = lines(pilot)[2:30]
        talk.go()
        some(recording, 6, 9)
        await news(pilot)
        assert lines(pilot)[2:30] == before
        assert "paused" in lines(pilot)[0]
        assert "4 sessions" in lines(pilot)[0]
        assert rows(pane.list) == []
        recording.end()
        await news(pilot)
        assert lines(pilot)[2:30] == before
        await press(pilot, "p")
        await news(pilot)
        assert "221 2.0.0 Bye" in shown(pilot)
        assert len(main(pilot).sessions.listing) == 4
        assert len(rows(pane.list)) == 4
        assert lines(pilot)[0].endswith("ended")


# -- the recorder ----------------------------------------------------------------------------------


async def test_a_full_disk_is_told_and_stays_told(recording: Growing) -> None:
    async with opened(recording.review, size=(80, 24)) as pilot:
        some(recording, 1, 3)
        await news(pilot)
        recorder = recording.recorder
        assert recorder is not None
        recorder.die(
            "the disk is full: what was recorded until now is whole in /var/tmp/x.pcapng; make"
            " room or use --rotate"
        )
        recording.end()
        await news(pilot)
        assert any("make room or use --rotate" in each for each in told(pilot))
        assert lines(pilot)[0].endswith("ended: the disk is full")
        pilot.app.clear_notifications()
        await news(pilot)
        assert lines(pilot)[0].endswith("ended: the disk is full")
        await press(pilot, "G", "enter")
        assert "EHLO" in shown(pilot)


async def test_interfaces_that_go_and_come_are_told_each_time(recording: Growing) -> None:
    async with opened(recording.review) as pilot:
        for words in ("eth0 went down", "eth0 is up again") * 2:
            recording.comment(words)
            await news(pilot)
        said = [each.removeprefix("eth0.pcapng: ") for each in told(pilot)]
        assert said == ["eth0 went down", "eth0 is up again"] * 2


async def test_packets_that_the_kernel_dropped_are_counted(recording: Growing) -> None:
    async with opened(recording.review) as pilot:
        recording.comment("", dropped=1_234)
        await news(pilot)
        assert "1,234 dropped" in lines(pilot)[0]


async def test_what_has_been_rotated_away_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation = Rotation(4_000, None, 2)
    recording = Growing(tmp_path, monkeypatch, recorder=FakeRecorder(), rotation=rotation)
    async with opened(recording.review) as pilot:
        some(recording, 1, 20)
        await news(pilot)
        assert len(main(pilot).sessions.listing) == 19
        await press(pilot, "G")
        assert "EHLO" in shown(pilot)
        await press(pilot, "g")
        assert "has been rotated away" in main(pilot).sessions.lines.placeholder
        assert "s1@example" in shown(pilot)
        for key in ("m", "h", "l", "d", "enter", "escape"):
            await press(pilot, key)
        assert pilot.app.is_running


async def test_esc_ends_no_recording(recording: Growing) -> None:
    async with opened(recording.review) as pilot:
        some(recording, 1, 3)
        await news(pilot)
        await press(pilot, "enter", "escape", "escape", "escape", "2", "escape", "escape")
        assert recording.process.is_alive()
        assert recording.recorder is not None
        assert recording.recorder.alive
        assert lines(pilot)[0].endswith("live")


async def test_leaving_asks_while_it_is_recorded(recording: Growing) -> None:
    async with opened(recording.review) as pilot:
        await press(pilot, "q")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        assert "End the recording and leave?" in shown(pilot)
        await press(pilot, "q")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await press(pilot, "escape")
        assert main(pilot).is_current
        assert pilot.app.is_running
        await press(pilot, "q", "y")
        assert not pilot.app.is_running
        assert pilot.app.return_code == 0


async def test_ctrl_c_leaves_at_once(recording: Growing) -> None:
    async with opened(recording.review) as pilot:
        await pilot.press("ctrl+c")
        assert pilot.app.return_code == 130
    assert recording.recorder is not None
    assert recording.recorder.stopped


@pytest.mark.parametrize("what", ["detached", "ended", "followed"])
async def test_leaving_asks_nothing_where_nothing_ends(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = FakeRecorder(detached=what == "detached")
    recording = Growing(tmp_path, monkeypatch, recorder=None if what == "followed" else recorder)
    async with opened(recording.review) as pilot:
        if what == "ended":
            recorder.die(None)
        if what == "followed":
            assert "following eth0.pcapng" in lines(pilot)[0]
        await pilot.press("q")
        assert not pilot.app.is_running or pilot.app._exit
    assert not recorder.stopped or what != "detached"


async def test_another_capture_is_opened_after_a_question(
    recording: Growing, tmp_path: Path
) -> None:
    from support.screens import capture

    other = capture(tmp_path / "other.pcap", [LOGIN])
    read([other]).close()
    async with opened(recording.review) as pilot:
        recorder = recording.recorder
        assert recorder is not None
        pilot.app.memory.keep_captures((str(other),))  # type: ignore[attr-defined]
        pilot.app.action_home()  # type: ignore[attr-defined]
        await settled(pilot)
        assert isinstance(pilot.app.screen, HomeScreen)
        await press(pilot, "escape")
        assert main(pilot).is_current
        pilot.app.action_home()  # type: ignore[attr-defined]
        await settled(pilot)
        await point(pilot, pilot.app.screen.list, "other.pcap")  # type: ignore[attr-defined]
        await press(pilot, "enter")
        assert "This ends the recording (sniffing eth0)" in shown(pilot)
        await press(pilot, "n")
        assert isinstance(pilot.app.screen, HomeScreen)
        assert recorder.alive
        await press(pilot, "enter", "y")
        assert "other.pcap" in lines(pilot)[0]
        assert recorder.stopped


async def test_a_hundred_sessions_at_once_are_one_page(recording: Growing) -> None:
    packets = [
        packet
        for number in range(100)
        for packet in connection(turns(sent(number)), client=41_000 + number, start=START)
    ]
    async with opened(recording.review) as pilot:
        recording.record(sorted(packets, key=lambda packet: packet.time))
        await news(pilot)
        assert "100 sessions" in lines(pilot)[0]
        await press(pilot, "G")
        assert "EHLO" in shown(pilot)


async def test_a_session_that_nobody_reads_goes_to_what_broke_its_mail(recording: Growing) -> None:
    talk = Talk(recording, turns(REFUSED.format(sender="a@a.test", recipient="b@b.test")))
    async with opened(recording.review) as pilot:
        talk.go(5)
        await news(pilot)
        said = main(pilot).sessions
        assert said.lines.cursor == 0
        talk.go()
        await news(pilot)
        assert said.selected is not None
        assert said.selected.finding is not None
        assert said.selected.finding.rule == "user-unknown"
