"""What strangers sent is saved whole, under a safe name, and over nothing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn

import pytest

from smtpscope.errors import SmtpscopeError
from smtpscope.saving import MAX_TRIES, save


def writing(octets: bytes) -> Callable[[BinaryIO], None]:
    def write(file: BinaryIO) -> None:
        file.write(octets)

    return write


def failing(number: int) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_saved_for_the_user_alone(tmp_path: Path) -> None:
    path = save(tmp_path, "invoice.pdf", writing(b"%PDF"))
    assert path == tmp_path / "invoice.pdf"
    assert path.read_bytes() == b"%PDF"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["invoice.pdf"]


@pytest.mark.parametrize(
    ("name", "second"),
    [("a.pdf", "a-2.pdf"), ("a", "a-2"), ("a.tar.gz", "a.tar-2.gz")],
)
@pytest.mark.parametrize("links", [True, False])
def test_what_is_there_stays_and_the_next_one_gets_a_number(
    name: str, second: str, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    assert save(tmp_path, name, writing(b"1")).name == name
    assert save(tmp_path, name, writing(b"2")).name == second
    assert save(tmp_path, name, writing(b"3")).name == second.replace("2", "3")
    assert (tmp_path / name).read_bytes() == b"1"
    assert (tmp_path / second).read_bytes() == b"2"
    assert len(os.listdir(tmp_path)) == 3
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in tmp_path.iterdir())


@pytest.mark.parametrize("links", [True, False])
def test_a_link_in_the_way_is_never_followed(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", failing(errno.EOPNOTSUPP))
    (tmp_path / "note.txt").symlink_to(tmp_path / "not-there-yet")
    assert save(tmp_path, "note.txt", writing(b"x")).name == "note-2.txt"
    assert not (tmp_path / "not-there-yet").exists()


@pytest.mark.parametrize(
    "name",
    ["../../x", "/etc/passwd", "..\\..\\x", "con", "a\x1b[2Jb\n", "", "..", "\udcff", "·" * 900],
)
def test_a_strangers_name_stays_in_the_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    path = save(folder, name, writing(b"x"))
    assert path.parent == folder
    assert path.name.isprintable()
    assert os.listdir(folder) == [path.name]
    assert os.listdir(tmp_path) == ["in"]


def test_the_home_folder_may_be_written_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mail").mkdir()
    assert save("~/mail", "a.eml", writing(b"x")) == tmp_path / "mail" / "a.eml"


@pytest.mark.parametrize("folder", ["missing", "file", "nul\0", "~nobody-of-this-name/x"])
def test_what_is_no_folder_is_told(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    named = folder if folder.startswith("~") else tmp_path / folder
    with pytest.raises(SmtpscopeError, match="is no folder; make it"):
        save(named, "a", writing(b"x"))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "that can be written to"),
        (errno.EACCES, "that you may write to"),
        (errno.EIO, "name another folder"),
    ],
)
def test_a_folder_that_takes_no_file_is_told_with_what_to_do(
    number: int, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", failing(number))
    with pytest.raises(SmtpscopeError, match=f"nothing was saved.*{advice}"):
        save(tmp_path, "a", writing(b"x"))


def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(SmtpscopeError, match=r"No space left on device.*make room"):
        save(tmp_path, "a", writing(b"x" * 100_000))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [OSError("gone"), SmtpscopeError("gone"), KeyboardInterrupt])
def test_a_writer_that_fails_leaves_nothing(
    error: BaseException | type[BaseException], tmp_path: Path
) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    with pytest.raises((SmtpscopeError, KeyboardInterrupt)):
        save(tmp_path, "a", write)
    assert os.listdir(tmp_path) == []


def test_names_do_not_run_on_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def taken(source: Path, wanted: Path) -> None:
        tries.append(wanted)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", taken)
    with pytest.raises(SmtpscopeError, match="too many files named a"):
        save(tmp_path, "a", writing(b"x"))
    assert len(tries) < MAX_TRIES
    assert os.listdir(tmp_path) == []
