"""Where things lie, and that nobody else gets at them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpscope import places
from smtpscope.errors import SmtpscopeError

FOLDERS = [
    (places.cache_folder, "XDG_CACHE_HOME", ".cache/smtpscope"),
    (places.config_folder, "XDG_CONFIG_HOME", ".config/smtpscope"),
    (places.state_folder, "XDG_STATE_HOME", ".local/state/smtpscope"),
]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def made(path: Path, mode: int) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for _, variable, _ in FOLDERS:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.mark.parametrize(("folder", "variable", "usual"), FOLDERS)
def test_folders_lie_where_the_specification_says(
    folder: Callable[[], Path],
    variable: str,
    usual: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert folder() == home / usual
    monkeypatch.setenv(variable, "/elsewhere")
    assert folder() == Path("/elsewhere/smtpscope")
    monkeypatch.setenv(variable, "relative/is/ignored")
    assert folder() == home / usual
    monkeypatch.setenv(variable, "")
    assert folder() == home / usual


def test_no_home_is_told_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(SmtpscopeError, match="set HOME or XDG_STATE_HOME"):
        places.state_folder()
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    assert places.state_folder() == Path("/elsewhere/smtpscope")


def test_a_relative_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "here")
    with pytest.raises(SmtpscopeError, match="set HOME"):
        places.cache_folder()


def test_all_folders_that_are_made_are_the_users_alone(tmp_path: Path) -> None:
    folder = tmp_path / "missing" / "smtpscope" / "index"
    before = os.umask(0)
    try:
        assert places.private_folder(folder) == folder
    finally:
        os.umask(before)
    assert [mode(each) for each in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3


def test_folders_of_ours_that_others_may_read_are_closed_and_no_others(tmp_path: Path) -> None:
    above = made(tmp_path / "shared", 0o755)
    ours = made(above / "smtpscope", 0o775)
    index = made(ours / "index", 0o755)
    places.private_folder(index)
    assert [mode(each) for each in (above, ours, index)] == [0o755, 0o700, 0o700]


def test_a_folder_above_that_happens_to_have_our_name_is_left_alone(tmp_path: Path) -> None:
    sources = made(tmp_path / "smtpscope", 0o755)
    places.private_folder(sources / "cache" / "smtpscope" / "index")
    assert mode(sources) == 0o755


def test_a_folder_that_somebody_else_owns_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "smtpscope", 0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(SmtpscopeError, match="smtpscope is not yours alone: remove it"):
        places.private_folder(folder / "index")


def test_a_folder_that_stays_open_to_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "smtpscope", 0o722)
    # Some file systems take a mode and do nothing.
    monkeypatch.setattr(Path, "chmod", lambda self, mode: None)
    with pytest.raises(SmtpscopeError, match="not yours alone"):
        places.private_folder(folder)


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "smtpscope").write_text("")
    for folder in (tmp_path / "smtpscope", tmp_path / "smtpscope" / "index"):
        with pytest.raises(SmtpscopeError, match="cannot be made"):
            places.private_folder(folder)


def test_a_file_is_written_for_the_user_alone_in_place_of_another(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text("what was there before, and longer")
    file.chmod(0o666)
    places.write_private(file, b"new")
    assert file.read_bytes() == b"new"
    assert mode(file) == 0o600
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_link_is_replaced_and_what_it_leads_to_is_left(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    link = tmp_path / "state.json"
    link.symlink_to(other)
    places.write_private(link, b"new")
    assert other.read_text() == "precious"
    assert not link.is_symlink()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "state.json"
    file.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        places.write_private(file, b"new")
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state.json"]
