"""What this smtpscope is, and where what it keeps on this machine lies: versions, paths, sizes."""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from smtpscope import __version__, configuration, memory
from smtpscope.configuration import read_configuration
from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.index.store import Kept, Store
from smtpscope.places import cache_folder, config_folder, state_folder

_PACKAGES = ("textual", "scapy", "numpy", "cryptography", "lark", "click", "zstandard")
_WIDTH = 15


def lines() -> Iterator[str]:
    """Everything, a line each."""
    yield _line("smtpscope", __version__)
    yield _line("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    yield _line("SQLite", sqlite3.sqlite_version)
    for package in _PACKAGES:
        yield _line(package, _version(package))
    known = read_configuration()
    yield _line("configuration", _file(config_folder, configuration.FILE))
    for problem in known.problems:
        yield _line("", f"! {text(problem, 300)}")
    yield _line("remembered", _file(state_folder, memory.FILE))
    for name in ("recordings", "mail", "queue", "ca"):
        yield _line(name, _folder(name))
    yield from _cache(known.cache_size)


def _folder(name: str) -> str:
    """What lies in a folder of the state folder."""
    try:
        folder = state_folder() / name
    except SmtpscopeError as error:
        return str(error)
    sizes = []
    for path in folder.rglob("*"):
        # It may be taken away this very moment.
        with suppress(OSError):
            if path.is_file():
                sizes.append(path.stat().st_size)
    kept = f"{len(sizes):,} files, {_size(sum(sizes))}" if sizes else "nothing"
    return f"{text(str(folder))} ({kept})"


def _cache(limit: int) -> Iterator[str]:
    try:
        folder = cache_folder() / "index"
    except SmtpscopeError as error:
        yield _line("index", str(error))
        return
    kept = Store.kept_in(folder)
    size = sum(each.size for each in kept)
    yield _line("index", f"{text(str(folder))} ({_size(size)} of at most {_size(limit)})")
    for each in kept:
        yield _line("", f"{_size(each.size):>9}  {_time(each.opened)}  {_of(each)}")


def _of(kept: Kept) -> str:
    name = text(kept.path.name, 300)
    if kept.path.suffix != ".sqlite":
        return f"{name}: a compressed capture, unpacked"
    try:
        # Who only reads leaves the files beside it behind.
        uri = f"{kept.path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = 'key'").fetchone()
        first, *others = [str(identity[0]) for identity in json.loads(row[0])[0]]
    except (sqlite3.Error, ValueError, TypeError, LookupError, RecursionError):
        return f"{name}: damaged; it is made anew when it is needed"
    return text(first, 300) + (f" and {len(others):,} more" if others else "")


def _time(opened: float) -> str:
    try:
        return datetime.fromtimestamp(opened).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        # A file may claim to be of any time.
        return f"{'(no date)':<16}"


def _line(label: str, words: str) -> str:
    return f"{label:<{_WIDTH}} {words}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _file(folder: Callable[[], Path], name: str) -> str:
    try:
        path = folder() / name
    except SmtpscopeError as error:
        return str(error)
    try:
        size = _size(path.stat().st_size)
    except OSError:
        size = "not there"
    return f"{text(str(path))} ({size})"


def _size(octets: int) -> str:
    if octets < 1_000_000:
        return f"{octets / 1_000:,.1f} kB"
    return f"{octets / 1_000_000:,.1f} MB"
