"""What `smtpscope info` tells of this machine, whatever lies in the folders."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from smtpscope import __version__, information
from smtpscope.cli import run
from smtpscope.index.store import Store
from smtpscope.places import bundled_captures
from smtpscope.review import Review

CAPTURE = next(path for path in bundled_captures() if path.name == "postfix-swaks.pcap")
DEADLINE = 60.0

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def index(home: Path) -> Path:
    """The folder of the indexes."""
    folder = home / ".cache" / "smtpscope" / "index"
    folder.mkdir(parents=True)
    return folder


def shown(captured: Captured) -> list[str]:
    """The lines of `smtpscope info`, all of which can be shown."""
    assert run(["info"]) == 0
    out, err = captured.readouterr()
    assert err == ""
    found = out.splitlines()
    assert all(line.isprintable() for line in found)
    assert all(len(line) < 1_000 for line in found)
    return found


def value(found: list[str], label: str) -> str:
    (line,) = [line for line in found if line.startswith(f"{label} ")]
    return line.removeprefix(label).strip()


def files(found: list[str]) -> list[str]:
    """What stands below the line of the index: the kept files, less their sizes and times."""
    at = next(number for number, line in enumerate(found) if line.startswith("index "))
    return [line[45:] for line in found[at + 1 :]]


def made(path: Path, key: object) -> None:
    """A file of SQLite that says that it is an index of `key`."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value)")
        connection.execute("INSERT INTO meta VALUES ('key', ?)", (key,))
        connection.commit()


# -- an ordinary machine -------------------------------------------------------------------------


def test_an_empty_home_is_told_with_all_paths_and_nothing_is_made(
    capsys: Captured, home: Path
) -> None:
    found = shown(capsys)
    assert value(found, "smtpscope") == __version__
    assert value(found, "SQLite") == sqlite3.sqlite_version
    assert value(found, "configuration") == f"{home}/.config/smtpscope/config.toml (not there)"
    assert value(found, "remembered") == f"{home}/.local/state/smtpscope/state.json (not there)"
    assert value(found, "index") == f"{home}/.cache/smtpscope/index (0.0 kB of at most 2,000.0 MB)"
    assert files(found) == []
    assert os.listdir(home) == []


def test_every_package_is_told_with_its_version(capsys: Captured) -> None:
    found = shown(capsys)
    for package in ("textual", "scapy", "numpy", "cryptography", "lark", "click", "zstandard"):
        assert value(found, package)[0].isdigit()


def test_a_package_that_is_not_there_says_so(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(information, "version", version)
    assert value(shown(capsys), "zstandard") == "not installed"


def test_the_configuration_is_told_with_its_size_and_its_mistakes(
    capsys: Captured, home: Path
) -> None:
    folder = home / ".config" / "smtpscope"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('cache_size = "1M"\ntime = 3\n"x\\u001b[2J" = 1\n')
    found = shown(capsys)
    assert value(found, "configuration").endswith("config.toml (0.0 kB)")
    mistakes = [line.strip() for line in found if line.startswith(" ")]
    assert mistakes[0].startswith(f"! {folder}/config.toml, line 1: x\\x1b[2J is not known")
    assert mistakes[1].startswith(f"! {folder}/config.toml, line 2: time is one of")
    assert value(found, "index").endswith("of at most 1.0 MB)")


def test_without_a_home_every_place_says_what_to_set(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "here")
    found = shown(capsys)
    for label, variable in (
        ("configuration", "XDG_CONFIG_HOME"),
        ("remembered", "XDG_STATE_HOME"),
        ("index", "XDG_CACHE_HOME"),
    ):
        assert value(found, label) == f"there is no home folder: set HOME or {variable}"


def test_the_index_of_a_capture_is_told_with_its_path(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    # What a URI takes for more than a letter may be in a path.
    cache = home / "a?b#c%41"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    review = Review([str(CAPTURE)], jobs=1)
    try:
        end = time.monotonic() + DEADLINE
        while review.reading and time.monotonic() < end:
            time.sleep(0.01)
        assert review.failure() is None
    finally:
        review.close()
    before = sorted(os.listdir(cache / "smtpscope" / "index"))
    found = shown(capsys)
    assert files(found) == [str(CAPTURE)]
    assert value(found, "index").startswith(f"{cache}/smtpscope/index (")
    assert sorted(os.listdir(cache / "smtpscope" / "index")) == before


def test_several_captures_and_copies_are_told_the_last_opened_first(
    capsys: Captured, index: Path
) -> None:
    made(index / "a-1-x.sqlite", '[[["/one.pcap", 1], ["/two.pcap", 2], ["/three.pcap", 3]]]')
    (index / "b.capture").write_bytes(bytes(2_500_000))
    os.utime(index / "a-1-x.sqlite", (2_000_000_000, 2_000_000_000))
    os.utime(index / "b.capture", (1_000_000_000, 1_000_000_000))
    found = shown(capsys)
    assert files(found) == ["/one.pcap and 2 more", "b.capture: a compressed capture, unpacked"]
    assert found[-1].split()[:2] == ["2.5", "MB"]
    assert found[-2].split()[2][:4] == "2033"


# -- an odd one ----------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [b"", b"what", b"SQLite format 3\0" + bytes(500)], ids=range(3))
def test_a_damaged_index_says_so(capsys: Captured, index: Path, octets: bytes) -> None:
    (index / "a-1-x.sqlite").write_bytes(octets)
    assert files(shown(capsys)) == ["a-1-x.sqlite: damaged; it is made anew when it is needed"]


@pytest.mark.parametrize(
    "key",
    [
        *(None, 3, 1.5, b"\xff", "", "what", "3", "null", "[]", "[3]", "[[]]", "[[3]]", "[[[]]]"),
        *('{"0": 1}', '[[{"0": 1}]]', "[" * 100_000, "[[" + "9" * 10_000 + "]]"),
    ],
    ids=range(17),
)
def test_an_index_of_nothing_that_can_be_read_is_damaged(
    capsys: Captured, index: Path, key: object
) -> None:
    made(index / "a-1-x.sqlite", key)
    assert files(shown(capsys)) == ["a-1-x.sqlite: damaged; it is made anew when it is needed"]


def test_an_index_without_its_table_is_damaged(capsys: Captured, index: Path) -> None:
    with closing(sqlite3.connect(index / "a-1-x.sqlite")) as connection:
        connection.execute("CREATE TABLE other (name TEXT)")
        connection.commit()
    assert "damaged" in files(shown(capsys))[0]


def test_a_folder_in_the_place_of_an_index_is_damaged(capsys: Captured, index: Path) -> None:
    (index / "a-1-x.sqlite").mkdir()
    assert "damaged" in files(shown(capsys))[0]


HOSTILE = (
    b"\x1b[2J\x07\n\x9b31m",
    "\u202e\u200b\u2028".encode(),
    b"\xff\xfe",
    b"a?mode=memory#b%00%41&c",
    b"[x][@click=x]y",
)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("suffix", [b".sqlite", b".capture"])
def test_a_file_of_any_name_is_told_so_that_it_can_be_shown(
    capsys: Captured, index: Path, name: bytes, suffix: bytes
) -> None:
    file = Path(os.fsdecode(os.fsencode(index) + b"/" + name + suffix))
    file.write_bytes(b"what")
    (found,) = files(shown(capsys))
    assert found.endswith((": a compressed capture, unpacked", "when it is needed"))


@pytest.mark.parametrize("name", ["\\u001b[2J", "\\u202e", "\\udcff", "\\ud800", "x" * 100_000])
def test_a_capture_of_any_name_is_told_so_that_it_can_be_shown(
    capsys: Captured, index: Path, name: str
) -> None:
    made(index / "a-1-x.sqlite", f'[[["/{name}", 1]]]')
    (found,) = files(shown(capsys))
    assert found.startswith("/")


def test_folders_of_any_name_are_told_so_that_they_can_be_shown(
    capsys: Captured, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(home) + os.fsdecode(b"/\x1b[2J\xff"))
    for label in ("configuration", "remembered", "index"):
        assert "/\\x1b[2J\\xff/smtpscope/" in value(shown(capsys), label)


@pytest.mark.parametrize("seconds", [-(10.0**15), 10.0**15, 10.0**30])
def test_a_file_of_a_time_that_is_none_has_no_date(
    capsys: Captured, index: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    (index / "b.capture").write_bytes(b"")
    (kept,) = Store.kept_in(index)
    monkeypatch.setattr(Store, "kept_in", lambda folder: [kept._replace(opened=seconds)])
    found = shown(capsys)
    assert "(no date)" in found[-1]
    assert files(found) == ["b.capture: a compressed capture, unpacked"]


def test_recordings_mail_and_queue_are_told_with_their_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "smtpscope" / "mail" / "new"
    folder.mkdir(parents=True)
    for number in range(3):
        (folder / str(number)).write_bytes(bytes(1_000))
    told = "\n".join(information.lines())
    assert f"{tmp_path}/smtpscope/mail (3 files, 3.0 kB)" in told
    assert f"{tmp_path}/smtpscope/queue (nothing)" in told
