"""Where things lie on this machine: the folders of the XDG Base Directory Specification.

Folders that are made here are the user's alone (0700), files 0600 and written whole or not at all.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from smtpscope.errors import SmtpscopeError

NAME = "smtpscope"


def cache_folder() -> Path:
    """What may be thrown away at any time."""
    return _folder("XDG_CACHE_HOME", ".cache")


def config_folder() -> Path:
    """What the user writes."""
    return _folder("XDG_CONFIG_HOME", ".config")


def state_folder() -> Path:
    """What is remembered from one run to the next."""
    return _folder("XDG_STATE_HOME", ".local/state")


def bundled_captures() -> list[Path]:
    """The captures of the package, or of the checkout that it runs from."""
    package = Path(__file__).parent
    for folder in (package / "captures", package.parent / "captures"):
        found = sorted(path for path in folder.glob("*.pcap*") if path.is_file())
        if found:
            return found
    raise SmtpscopeError("the bundled captures are missing: install smtpscope again")


def recordings_folder() -> Path:
    """Where recordings lie that nobody named."""
    return state_folder() / "recordings"


def new_recording(kind: str, folder: Path | None = None) -> Path:
    """A path for a recording that nobody named; in a folder of its own where there is no home."""
    name = f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.pcapng"
    if folder is not None:
        return folder / name
    try:
        return private_folder(recordings_folder()) / name
    except SmtpscopeError:
        return Path(tempfile.mkdtemp(prefix="smtpscope-")) / name


def _folder(variable: str, usual: str) -> Path:
    # The specification has relative paths ignored.
    named = os.environ.get(variable, "")
    if os.path.isabs(named):
        return Path(named) / NAME
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise SmtpscopeError(f"there is no home folder: set HOME or {variable}")
    return Path(home) / usual / NAME


def private_folder(path: Path) -> Path:
    """Make a folder that is the user's alone, 0700, and so is that of ours which it lies in.

    What is missing above is made, 0700 as the specification says. Raises `SmtpscopeError` where
    that can't be, and where somebody else owns such a folder or others may write to it.
    """
    try:
        for missing in reversed([each for each in path.parents if not each.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        for ours in reversed(path.parents[: _depth(path)]):
            _take(ours)
        _take(path)
    except OSError as error:
        raise SmtpscopeError(f"{path} cannot be made ({error.strerror or error})") from None
    return path


def _depth(path: Path) -> int:
    """How many folders above it are ours: up to the last one that has our name."""
    upwards = path.parts[::-1]
    return upwards.index(NAME) if NAME in upwards else 0


def _take(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    known = folder.stat()
    if known.st_uid == os.geteuid() and stat.S_IMODE(known.st_mode) & 0o077:
        folder.chmod(0o700)
        known = folder.stat()
    if known.st_uid != os.geteuid() or stat.S_IMODE(known.st_mode) & 0o022:
        raise SmtpscopeError(f"{folder} is not yours alone: remove it, or make it yours")


def write_private(path: Path, octets: bytes) -> None:
    """Write a file as a whole, 0600, in place of one that may be there. Raises OSError."""
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
