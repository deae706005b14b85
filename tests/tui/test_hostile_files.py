"""Files that strangers name: attachments that are saved, and captures that are opened."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pytest
from support.conversation import connection
from support.hostile import TEXTS, check, check_rows, dialogue, harm, word
from support.packets import pcap
from support.screens import SENT, main, opened, press, read, settled, told, turns, write
from textual.widgets import Input

from smtpscope.memory import Memory
from smtpscope.tui.columns import ColumnList
from smtpscope.tui.exporting import ExportScreen
from smtpscope.tui.message import MessageScreen
from smtpscope.tui.prompts import PathInput

NAMES = {
    "../../evil.txt": "evil.txt",
    "/etc/passwd": "passwd",
    "..\\..\\evil.bat": "evil.bat",
    "a/b": "b",
    "con": "_con",
    "NUL.txt": "_NUL.txt",
    "..": "part",
    ".bashrc": "bashrc",
    "-rf": "rf",
    "~root": "root",
    "C:evil": "C_evil",
    "new\r\nline.txt": "new__line.txt",
    "gp\u202efdp.exe": "gp_fdp.exe",
    "\x1b]52;c;aGk=\x07.txt": "_]52;c;aGk=_.txt",
    "[@click=app.quit]x[/].txt": "].txt",
    "x" * 200 + ".txt": "x" * 116 + ".txt",
    "y" * 10_000 + ".txt": "y" * 120,
    "$(reboot) `x`;&|.sh": "$(reboot) `x`;&_.sh",
    "taken.txt": "taken-2.txt",
    "linked.txt": "linked-2.txt",
}


def letter(names: list[str]) -> bytes:
    """A message with an attachment of each name, and one without any."""
    parts = [b"Content-Type: application/x; name*=utf-8''" + quote(each).encode() for each in names]
    parts.append(b'Content-Type: application/x; name=""\r\nContent-Disposition: attachment')
    return (
        b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"".join(b"--b\r\n" + part + b"\r\n\r\nevil\r\n" for part in parts)
        + b"--b--\r\n"
    )


def everything(folder: Path) -> set[Path]:
    return {each for each in folder.rglob("*") if "home" not in each.parts}


async def test_attachments_stay_in_the_folder_and_replace_nothing(tmp_path: Path) -> None:
    path = tmp_path / "names.pcap"
    said = turns(SENT.format(sender="a@x.test", recipient="b@x.test"), letter(list(NAMES)))
    path.write_bytes(pcap(connection(said)))
    folder = tmp_path / "deep" / "deeper"
    folder.mkdir(parents=True)
    (folder / "taken.txt").write_text("mine")
    (tmp_path / "mine.txt").write_text("mine")
    (folder / "linked.txt").symlink_to(tmp_path / "mine.txt")
    before = everything(tmp_path)
    async with opened(read([path])) as pilot:
        await press(pilot, "m")
        screen = pilot.app.screen
        assert isinstance(screen, MessageScreen)
        assert len(screen.tree_rows.source) == len(NAMES) + 3
        for row, wanted in enumerate([*NAMES.values(), None], 2):
            screen.tree_rows.go(row)
            screen.scope.save_folder = str(folder)
            earlier = everything(tmp_path)
            await pilot.press("s", "enter")
            await settled(pilot)
            check(pilot)
            (saved,) = everything(tmp_path) - earlier
            assert saved.parent == folder
            assert wanted is None or saved.name == wanted
            assert saved.is_file()
            assert saved.stat().st_mode & 0o777 == 0o600
            assert saved.name.split("-")[0] in told(pilot)[-1]
    assert (folder / "taken.txt").read_text() == "mine"
    assert (tmp_path / "mine.txt").read_text() == "mine"
    for each in everything(tmp_path) - before:
        assert each.parent == folder
        assert not harm(each.name)


@pytest.fixture
def captures(tmp_path: Path) -> list[str]:
    """Captures that strangers named, in folders of such names."""
    found = []
    for number, evil in enumerate(TEXTS.values()):
        name = evil.replace(b"\0", b"").replace(b"/", b"")[:120]
        folder = os.path.join(os.fsencode(tmp_path), name + b"\nx")
        os.mkdir(folder)
        path = os.path.join(folder, name + b"\n%d.pcap" % number)
        with open(path, "wb") as file:
            file.write(pcap(connection(dialogue(evil, b"Subject: x\r\n\r\nx\r\n"))))
        found.append(os.fsdecode(path))
    return found


async def test_names_of_captures_are_strangers_words_too(captures: list[str]) -> None:
    async with opened(read(captures)) as pilot:
        assert check_rows(main(pilot).sessions.list) == len(TEXTS)
        for number in range(len(captures)):
            main(pilot).sessions.list.go(number)
            await settled(pilot)
            check(pilot)
        main(pilot).sessions.list.go(list(TEXTS).index("colours"))
        await settled(pilot)
        for path in captures:
            os.unlink(path)
        for keys in ("h", "l", "m"):
            await press(pilot, keys)
            check(pilot)
            await press(pilot, "escape")
        for number in range(0, len(captures), 4):
            main(pilot).sessions.list.go(number)
            await settled(pilot)
            check(pilot)
            assert "cannot be read any more" in main(pilot).sessions.lines.placeholder


async def test_home_shows_names_of_captures_harmlessly(captures: list[str]) -> None:
    memory = Memory()
    for path in captures:
        memory.keep_captures((path,))
    async with opened(None) as pilot:
        kept = pilot.app.screen.query_one(ColumnList)
        assert check_rows(kept) == len(captures)
        check(pilot)
        for path in captures:
            os.unlink(path)
        for number in range(0, len(captures), 4):
            kept.go(number)
            await press(pilot, "enter", "y")
            assert not harm(pilot.app.clipboard)
            check(pilot)
            pilot.app.clear_notifications()


async def test_paths_that_are_typed_or_completed_are_masked(captures: list[str]) -> None:
    async with opened(None) as pilot:
        await press(pilot, "o")
        field = pilot.app.screen.query_one(Input)
        for path in captures[::3]:
            for typed in (path, os.path.dirname(path)[:-4]):
                field.value = typed
                field.cursor_position = len(typed) // 2
                await settled(pilot)
                check(pilot)
            field.action_select_all()
            await press(pilot, "ctrl+c")
            assert not harm(pilot.app.clipboard)
            await press(pilot, "ctrl+x")
            assert not harm(pilot.app.clipboard)


async def test_the_export_of_a_hostile_capture_has_a_harmless_name(
    captures: list[str], tmp_path: Path
) -> None:
    for number in range(0, len(captures), 7):
        folder = tmp_path / f"exported {number}"
        folder.mkdir()
        async with opened(read([captures[number]])) as pilot:
            await press(pilot, "x")
            assert isinstance(pilot.app.screen, ExportScreen)
            pilot.app.screen.query_one(PathInput).value = str(folder)
            await press(pilot, "ctrl+s")
            check(pilot)
        (saved,) = folder.iterdir()
        assert not harm(saved.name)
        assert not harm(saved.read_text().replace("\n", ""))
        assert saved.stat().st_mode & 0o777 == 0o600


async def test_an_attachment_named_by_an_encoded_word_is_named_harmlessly(tmp_path: Path) -> None:
    evil = TEXTS["clipboard"] + b"/../" + TEXTS["bidi"]
    body = (
        b"Content-Type: application/x\r\nContent-Disposition: attachment; filename="
        + word(evil)
        + b"\r\n\r\nx\r\n"
    )
    path = tmp_path / "one.pcap"
    said = turns(SENT.format(sender="a@x.test", recipient="b@x.test"), body)
    path.write_bytes(pcap(connection(said)))
    folder = tmp_path / "saved"
    folder.mkdir()
    async with opened(read([path])) as pilot:
        await press(pilot, "m", "j", "s", "ctrl+u")
        await write(pilot, str(folder))
        await press(pilot, "enter")
        check(pilot)
    (saved,) = folder.iterdir()
    assert not harm(saved.name)
