"""The Maildir on disk: who fails fails alone, and leaves nothing."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from smtpscope.errors import SmtpscopeError
from smtpscope.recorders.maildir import STALE, Maildir, MessageFile

MESSAGE = b"Subject: x\r\n\r\n\0\xff\nbinary\r\n"


def _names(tmp_path: Path, folder: str) -> list[str]:
    return sorted(os.listdir(tmp_path / "mail" / folder))


def _whole(maildir: Maildir) -> MessageFile:
    """A message that nothing is on disk of."""
    return MessageFile(maildir.folder, maildir.new_file().name, MESSAGE)


def _written(maildir: Maildir) -> MessageFile:
    """A message that another process has put into its file."""
    file = maildir.new_file()
    file.write(MESSAGE)
    file.close()
    return MessageFile(maildir.folder, file.name)


@pytest.mark.parametrize("make", [_whole, _written])
def test_what_is_committed_is_there_octet_by_octet(
    make: Callable[[Maildir], MessageFile], tmp_path: Path
) -> None:
    with closing(Maildir(tmp_path / "mail")) as maildir:
        files = [make(maildir) for _ in range(3)]
        assert maildir.commit(files) == [0, 0, 0]
    assert _names(tmp_path, "new") == sorted(file.name for file in files)
    for file in files:
        path = tmp_path / "mail" / "new" / file.name
        assert path.read_bytes() == MESSAGE
        assert path.stat().st_mode & 0o777 == 0o600
    assert _names(tmp_path, "tmp") == []


@pytest.mark.parametrize("call", ["open", "write", "fsync", "close", "rename"])
@pytest.mark.parametrize("make", [_whole, _written])
def test_who_fails_fails_without_others_and_leaves_nothing(
    call: str,
    make: Callable[[Maildir], MessageFile],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if (call, make) == ("write", _written):
        pytest.skip("nothing is written of what has been")
    with closing(Maildir(tmp_path / "mail")) as maildir:
        files = [make(maildir) for _ in range(11)]
        # Each of the two that wait for the disk meets one.
        victims = [files[2], files[8]]
        real: Callable[..., Any] = getattr(os, call)

        def failing(first: Any, *others: Any, **more: Any) -> Any:
            if any(victim.name in _name_of(first) for victim in victims):
                if call == "close":
                    real(first)
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(first, *others, **more)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            problems = maildir.commit(files)
    assert problems == [errno.ENOSPC if file in victims else 0 for file in files]
    assert _names(tmp_path, "new") == sorted(file.name for file in files if file not in victims)
    assert _names(tmp_path, "tmp") == []


def _name_of(first: Any) -> str:
    """The path of a file, or of a descriptor."""
    if isinstance(first, int):
        try:
            return os.readlink(f"/proc/self/fd/{first}")
        except OSError:
            return ""
    return str(first)


def test_names_that_may_not_be_on_disk_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def failing(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/new"):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    with closing(Maildir(tmp_path / "mail")) as maildir:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            assert maildir.commit([_whole(maildir)]) == [errno.EIO]
        assert _names(tmp_path, "new") == _names(tmp_path, "tmp") == []
        assert maildir.commit([_whole(maildir)]) == [0]


def test_each_file_and_then_the_folder_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    synced: list[str] = []

    def noting(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    with closing(Maildir(tmp_path / "mail")) as maildir:
        files = [_whole(maildir), _written(maildir)]
        monkeypatch.setattr(os, "fsync", noting)
        assert maildir.commit(files) == [0, 0]
    folder = str(tmp_path / "mail")
    *first, last = synced
    assert sorted(first) == sorted(f"{folder}/tmp/{file.name}" for file in files)
    assert last == f"{folder}/new"


def test_only_what_is_old_is_tidied(tmp_path: Path) -> None:
    Maildir(tmp_path / "mail").close()
    for name, age in (("old", STALE + 60), ("new", STALE - 60)):
        path = tmp_path / "mail" / "tmp" / name
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    Maildir(tmp_path / "mail").close()
    assert _names(tmp_path, "tmp") == ["new"]


def test_what_can_be_no_maildir_is_told(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "new").touch()
    with pytest.raises(SmtpscopeError, match="name another folder"):
        Maildir(tmp_path / "mail")
