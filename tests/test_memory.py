"""What is remembered, and that nothing in the file or its folder is in the way of that."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpscope import memory
from smtpscope.memory import MAX_CAPTURES, MAX_FILTERS, MAX_OCTETS, Memory


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the state lies; it is made when something is remembered."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "smtpscope"


def written(folder: Path, state: object) -> Memory:
    """What is remembered where the file holds `state`."""
    folder.mkdir(parents=True, exist_ok=True)
    octets = state if isinstance(state, bytes) else json.dumps(state).encode()
    (folder / "state.json").write_bytes(octets)
    return Memory()


def captures(remembered: Memory) -> list[tuple[str, ...]]:
    return [recent.captures for recent in remembered.recent]


# -- what is remembered --------------------------------------------------------------------------


def test_nothing_is_remembered_at_first_and_nothing_is_made(folder: Path) -> None:
    found = Memory()
    assert (found.recent, found.filters, found.problem) == ([], [], None)
    assert found.theme(None) is None
    assert not folder.exists()


def test_captures_are_remembered_the_last_opened_first() -> None:
    remembered = Memory()
    remembered.keep_captures(("/a.pcap",))
    remembered.keep_captures(("/a.pcap", "/b.pcap"))
    remembered.keep_captures(("/c.pcap",))
    assert captures(Memory()) == [("/c.pcap",), ("/a.pcap", "/b.pcap"), ("/a.pcap",)]
    assert Memory().recent == remembered.recent


def test_a_capture_that_is_opened_again_is_there_once() -> None:
    for name in ("/a.pcap", "/b.pcap", "/a.pcap"):
        Memory().keep_captures((name,))
    assert captures(Memory()) == [("/a.pcap",), ("/b.pcap",)]


def test_filters_are_remembered_the_last_used_first_and_each_once() -> None:
    for each in ("code >= 500", 'to ~ "é"', "code >= 500"):
        Memory().keep_filter(each)
    assert Memory().filters == ["code >= 500", 'to ~ "é"']


def test_a_file_name_that_is_no_utf_8_is_remembered() -> None:
    name = os.fsdecode(b"/\xff\x1b.pcap")
    Memory().keep_captures((name,))
    assert captures(Memory()) == [(name,)]


def test_a_picked_theme_wins_until_another_one_is_configured() -> None:
    Memory().keep_theme("dracula", None)
    assert Memory().theme(None) == "dracula"
    assert Memory().theme("nord") == "nord"
    Memory().keep_theme("gruvbox", "nord")
    assert Memory().theme("nord") == "gruvbox"
    assert Memory().theme(None) is None


def test_two_that_remember_by_turns_lose_nothing() -> None:
    one, other = Memory(), Memory()
    one.keep_filter("first")
    other.keep_filter("second")
    other.keep_captures(("/a.pcap",))
    one.keep_captures(("/b.pcap",))
    other.keep_theme("dracula", None)
    one.keep_filter("third")
    for found in (one, Memory()):
        assert found.filters == ["third", "second", "first"]
        assert captures(found) == [("/b.pcap",), ("/a.pcap",)]
        assert found.theme(None) == "dracula"


def test_another_folder_may_be_named(tmp_path: Path, folder: Path) -> None:
    Memory(tmp_path / "other").keep_filter("a")
    assert Memory(tmp_path / "other").filters == ["a"]
    assert not folder.exists()


def test_the_lists_are_the_callers_own() -> None:
    remembered = Memory()
    remembered.keep_filter("a")
    remembered.filters.clear()
    remembered.recent.append(memory.Recent(("/a",), 0.0))
    assert (remembered.filters, remembered.recent) == (["a"], [])


# -- bounds --------------------------------------------------------------------------------------


def test_so_many_are_remembered_and_the_oldest_are_forgotten(folder: Path) -> None:
    many = [f"f{number}" for number in range(MAX_FILTERS)]
    recent = [[[f"/{number}"], number] for number in range(MAX_CAPTURES)]
    remembered = written(folder, {"filters": many, "recent": recent})
    remembered.keep_filter("new")
    remembered.keep_captures(("/new",))
    assert Memory().filters == ["new", *many[:-1]]
    assert captures(Memory()) == [("/new",), *((f"/{n}",) for n in range(MAX_CAPTURES - 1))]


def test_more_than_that_is_not_taken_from_the_file_either(folder: Path) -> None:
    found = written(folder, {"filters": ["a"] * 1_000, "recent": [[["/a"], 1]] * 1_000})
    assert len(found.filters) == MAX_FILTERS
    assert len(found.recent) == MAX_CAPTURES


def test_what_is_larger_than_anybody_means_is_not_remembered() -> None:
    remembered = Memory()
    remembered.keep_filter("small")
    remembered.keep_filter("x" * MAX_OCTETS)
    remembered.keep_captures(tuple(f"/{number}.pcap" for number in range(100_000)))
    remembered.keep_theme("x" * MAX_OCTETS, None)
    assert (Memory().filters, Memory().recent, Memory().theme(None)) == (["small"], [], None)
    assert remembered.problem is None


def test_the_largest_file_that_is_written_is_read_again(folder: Path) -> None:
    words = memory.MAX_WORDS - 2
    largest = {
        "filters": [f"{number:03}".ljust(words, "x") for number in range(MAX_FILTERS)],
        "recent": [
            [[f"/{number:02}".ljust(memory.MAX_NAMES - 4, "x")], 1e10 / 3]
            for number in range(MAX_CAPTURES)
        ],
        "theme": ["x" * 900, "y" * 900],
    }
    remembered = written(folder, largest)
    assert len(remembered.filters) == MAX_FILTERS
    remembered.keep_filter("é" * (words // 6))
    assert (folder / "state.json").stat().st_size < MAX_OCTETS
    assert len(Memory().filters) == MAX_FILTERS
    assert len(Memory().recent) == MAX_CAPTURES
    assert Memory().theme("y" * 900) == "x" * 900


# -- a file that is not ours ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"what",
        b"\xff\xfe",
        b'{"filters": ["a"]',
        b"[" * 100_000,
        b'{"filters":' + b"[" * 900,
        b'{"filters": ["a"], "x": ' + b"9" * 10_000 + b"}",
        b"[]",
        b"null",
        b'{"filters": ["' + b"a" * MAX_OCTETS + b'"]}',
    ],
    ids=range(10),
)
def test_what_is_no_state_is_as_good_as_nothing(folder: Path, octets: bytes) -> None:
    found = written(folder, octets)
    assert (found.filters, found.recent, found.theme("nord")) == ([], [], "nord")
    found.keep_filter("new")
    assert Memory().filters == ["new"]
    assert found.problem is None


@pytest.mark.parametrize(
    "recent",
    [
        [["/a"]],
        [["/a"], None],
        [["/a"], "yesterday"],
        [["/a"], -1],
        [["/a"], 1e300],
        [["/a"], 10**400],
        [["/a"], float("nan")],
        [["/a"], float("inf")],
        [[], 1],
        [[""], 1],
        [["/a\0"], 1],
        [["/\ud800"], 1],
        [["/a", 3], 1],
        ["/a", 1],
        [{"/a": 1}, 1],
        {"captures": ["/a"]},
        "/a",
        3,
        None,
    ],
)
def test_an_odd_capture_is_left_out_and_the_others_stay(folder: Path, recent: object) -> None:
    found = written(folder, {"recent": [[["/b"], 1], recent, [["/c"], 2, "more"]]})
    assert captures(found) == [("/b",), ("/c",)]
    found.keep_captures(("/d",))
    assert captures(Memory()) == [("/d",), ("/b",), ("/c",)]


@pytest.mark.parametrize("filter", [None, 3, ["a"], {"a": "b"}, "x" * 10_000])
def test_an_odd_filter_is_left_out_and_the_others_stay(folder: Path, filter: object) -> None:
    found = written(folder, {"filters": ["a", filter, "b"]})
    assert found.filters == ["a", "b"]
    found.keep_filter("c")
    assert Memory().filters == ["c", "a", "b"]


DEEP: list[Any] = []
for _ in range(900):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "theme",
    [None, "dracula", [], [None, None], [3, None], [["dracula"], None], ["a", None, DEEP]],
    ids=range(7),
)
def test_an_odd_theme_is_none(folder: Path, theme: object) -> None:
    assert written(folder, {"theme": theme}).theme("nord") == "nord"
    assert written(folder, {"theme": theme}).theme(None) in (None, "a")


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=3),
        st.sampled_from(["/a", "recent", "filters", "theme"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=8,
)
STATES = st.one_of(
    JSON, st.fixed_dictionaries({}, optional={"recent": JSON, "filters": JSON, "theme": JSON})
)


@given(STATES)
@example({"recent": {"a": 1}, "filters": "abc", "theme": "ab"})
@example({"recent": [[["/a"], 10**400], [["/a"], True]]})
def test_any_state_is_read_and_written_over(
    tmp_path_factory: pytest.TempPathFactory, state: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "state.json").write_text(json.dumps(state))
    found = Memory(folder)
    assert all(isinstance(each, str) for each in found.filters)
    assert all(recent.captures and recent.opened >= 0 for recent in found.recent)
    assert isinstance(found.theme(None), str | None)
    found.keep_captures(("/new.pcap",))
    found.keep_filter("new")
    found.keep_theme("dracula", None)
    assert found.problem is None
    assert Memory(folder).recent[0].captures == ("/new.pcap",)
    assert Memory(folder).filters[0] == "new"
    assert Memory(folder).theme(None) == "dracula"
    assert Memory(folder).filters == found.filters


# -- the file and its folder ---------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_file_and_folder_are_the_users_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        Memory().keep_filter("a")
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    assert mode(folder / "state.json") == 0o600
    assert os.listdir(folder) == ["state.json"]


def test_a_file_that_others_may_read_is_closed(folder: Path) -> None:
    remembered = written(folder, {"filters": ["a"]})
    (folder / "state.json").chmod(0o666)
    folder.chmod(0o755)
    remembered.keep_filter("b")
    assert (mode(folder), mode(folder / "state.json")) == (0o700, 0o600)
    assert Memory().filters == ["b", "a"]


def test_a_folder_that_cannot_be_made_is_told_once_something_is_to_be_remembered(
    tmp_path: Path,
) -> None:
    (tmp_path / "state").write_text("a file")
    remembered = Memory()
    assert remembered.problem is None
    remembered.keep_filter("a")
    assert remembered.problem is not None
    assert remembered.problem.startswith("what you do cannot be remembered (")
    assert "cannot be made" in remembered.problem
    assert remembered.filters == ["a"]
    assert Memory().filters == []


def test_a_full_disk_is_told_and_what_was_remembered_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Memory().keep_filter("a")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    remembered = Memory()
    remembered.keep_filter("b")
    assert remembered.problem == "what you do cannot be remembered (No space left on device)"
    assert Memory().filters == ["a"]
    assert os.listdir(folder) == ["state.json"]


def test_a_folder_in_the_place_of_the_file_is_told(folder: Path) -> None:
    (folder / "state.json").mkdir(parents=True)
    remembered = Memory()
    remembered.keep_filter("a")
    assert remembered.problem is not None
    assert remembered.problem.startswith("what you do cannot be remembered (")


def test_no_home_is_told_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "here")
    remembered = Memory()
    remembered.keep_filter("a")
    assert remembered.problem is not None
    assert "set HOME or XDG_STATE_HOME" in remembered.problem
