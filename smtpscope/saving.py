"""Saves what came from strangers: under a safe name, never over a file that is there, 0600."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO

from smtpscope.display import safe_filename
from smtpscope.errors import SmtpscopeError

MAX_TRIES = 1_000

_ADVICE = {
    errno.ENOSPC: "make room, or name another folder",
    errno.EDQUOT: "make room, or name another folder",
    errno.EFBIG: "name a folder on another file system",
    errno.EROFS: "name a folder that can be written to",
    errno.EACCES: "name a folder that you may write to",
    errno.EPERM: "name a folder that you may write to",
}
_LINKLESS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


def save(folder: str | Path, name: str, write: Callable[[BinaryIO], None]) -> Path:
    """Have `write` write a file in `folder`, whole or not at all; the path that it got.

    `name` may be a stranger's; where such a file is there, the name gets a number. Raises
    `SmtpscopeError`, and what `write` raises but for OSError.
    """
    where = Path(os.path.expanduser(folder))
    if not where.is_dir():
        raise SmtpscopeError(f"{where} is no folder; make it, or name another one")
    temporary = where / f".smtpscope-{secrets.token_hex(6)}"
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            # Some file systems tell only here that they are full.
            os.fsync(descriptor)
        return _named(temporary, where, safe_filename(name))
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "name another folder")
        raise SmtpscopeError(
            f"{where}: nothing was saved ({error.strerror or error}); {advice}"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def copy(file: IO[bytes]) -> Callable[[BinaryIO], None]:
    """What `save` writes: an open file, from its beginning."""

    def write(out: BinaryIO) -> None:
        file.seek(0)
        shutil.copyfileobj(file, out)

    return write


def _named(temporary: Path, folder: Path, name: str) -> Path:
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, suffix = name, ""
    for number in range(1, MAX_TRIES):
        tried = folder / (name if number == 1 else f"{stem}-{number}{dot}{suffix}")
        with suppress(FileExistsError):
            _move(temporary, tried)
            return tried
    raise SmtpscopeError(f"{folder} has too many files named {name}; name another folder")


def _move(temporary: Path, wanted: Path) -> None:
    """Unlike a renaming, this never replaces what is there, nor follows a link."""
    try:
        os.link(temporary, wanted)
    except OSError as error:
        if error.errno not in _LINKLESS:
            raise
        # On FAT and some shares no file has two names: take the name first, then fill it.
        os.close(os.open(wanted, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        temporary.replace(wanted)
