"""Names of captures as strangers choose them, and lines that are longer than any screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.conversation import connection
from support.hostile import TEXTS, check, dialogue
from support.packets import pcap
from support.screens import opened, press, read, rows, settled
from textual.widgets import Input

from smtpscope.tui.rowlist import RowList


@pytest.mark.parametrize(
    "name", ["[@click=app.quit]x[ y].pcap", "a\x1b[31mb\x07.pcap", "\u202e.pcap"]
)
async def test_names_of_captures_are_strangers_words_too(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "[bold]x[ bold]\x1b]0;y\x07"
    folder.mkdir()
    path = folder / name
    path.write_bytes(pcap(connection(dialogue(TEXTS["markup"]))))
    other = folder / f"2{name}"
    other.write_bytes(path.read_bytes())
    async with opened(read([path, other])) as pilot:
        check(pilot)
        path.unlink()
        await press(pilot, "k", "j", "k")
        check(pilot)
    async with opened(None) as pilot:
        check(pilot)
        await press(pilot, "enter")
        check(pilot)
        await press(pilot, "o")
        pilot.app.screen.query_one(Input).value = str(folder)[:-3]
        await settled(pilot)
        check(pilot)


async def test_a_line_of_ten_megabytes_is_shown_and_cut(tmp_path: Path) -> None:
    said = [
        ("S", b"220 mx\r\n"),
        ("C", b"EHLO " + b"a" * 10_000_000 + b"\r\n"),
        ("S", b"250 mx\r\n"),
        ("C", b"MAIL FROM:<a@b>\r\n"),
        ("S", b"250 ok\r\n"),
        ("C", b"RCPT TO:<a@b>\r\n"),
        ("S", b"250 ok\r\n"),
        ("C", b"DATA\r\n"),
        ("S", b"354 go\r\n"),
        ("C", b"Subject: " + b"s" * 1_000_000 + b"\r\n\r\n" + b"b" * 10_000_000 + b"\r\n.\r\n"),
        ("S", b"250 ok\r\n"),
    ]
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap(connection(said)))
    async with opened(read([path])) as pilot:
        check(pilot)
        await press(pilot, "enter", "j", "h")
        check(pilot)
        await press(pilot, "escape", "m", "j")
        check(pilot)
        assert all(len(row) < 5_000 for row in rows(pilot.app.screen.query_one("#text", RowList)))
