"""One index of every bundled capture and of odd ones, and a cache that is nobody's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.indexes import decoded, indexed, odd_captures

from smtpscope.index.store import Store
from smtpscope.index.views import Index
from smtpscope.places import bundled_captures
from smtpscope.session import Session


@dataclass(repr=False)
class Everything:
    """An index, and what is in it: the id of a session is its place in `sessions`, from 1 on."""

    index: Index
    sessions: list[Session]
    captures: list[int]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the indexes of this test lie."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "smtpscope" / "index"


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    folder = tmp_path_factory.mktemp("everything")
    captures = [*bundled_captures(), *odd_captures(folder)]
    found = decoded(captures)
    with indexed(Store(folder / "index"), captures) as index:
        sessions = [session for _, session in found]
        yield Everything(index, sessions, [number for number, _ in found])
