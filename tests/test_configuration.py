"""What `config.toml` may say, and how a mistake in it is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.keys import _normalize_key_list

from smtpscope import configuration
from smtpscope.configuration import Configuration, check_keys, read_configuration


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = tmp_path / "config" / "smtpscope"
    made.mkdir(parents=True)
    return made


def reading(folder: Path, words: str | bytes) -> Configuration:
    octets = words.encode() if isinstance(words, str) else words
    (folder / "config.toml").write_bytes(octets)
    return read_configuration()


def problems(folder: Path, words: str) -> list[str]:
    """The problems, less the file's name that each begins with."""
    file = str(folder / "config.toml")
    found = reading(folder, words).problems
    assert all(problem.startswith(file) for problem in found)
    return [problem.removeprefix(file) for problem in found]


# -- what may be set -----------------------------------------------------------------------------


def test_without_a_file_everything_is_as_usual() -> None:
    found = read_configuration()
    assert found == Configuration()
    assert (found.theme, found.time, found.cache_size) == (None, "relative", 2_000_000_000)
    assert (found.keys, found.problems) == ({}, ())


def test_an_empty_file_is_as_good_as_none(folder: Path) -> None:
    assert reading(folder, "") == Configuration()
    assert reading(folder, "# nothing\n[keys]\n") == Configuration()


def test_everything_can_be_set(folder: Path) -> None:
    found = reading(
        folder,
        'theme = "smtpscope-light"\ntime = "utc"\ncache_size = "500M"\n\n'
        '[keys]\nfilter = "ctrl+f"\nnext = "n, ctrl+n"\n',
    )
    assert found == Configuration(
        "smtpscope-light", "utc", 500_000_000, {"filter": "ctrl+f", "next": "n,ctrl+n"}
    )


def test_another_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('time = "clock"')
    assert read_configuration(tmp_path / "other.toml").time == "clock"


@pytest.mark.parametrize("time", configuration.TIMES)
def test_each_way_to_tell_the_time_can_be_set(folder: Path, time: str) -> None:
    assert reading(folder, f'time = "{time}"') == Configuration(time=time)


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        ("0", 0),
        ("1_000", 1_000),
        ('"0"', 0),
        ('"5k"', 5_000),
        ('"5 kB"', 5_000),
        ('"500M"', 500_000_000),
        ('"500MB"', 500_000_000),
        ('"2G"', 2_000_000_000),
        ('"12B"', 12),
    ],
)
def test_a_size_is_a_number_with_or_without_a_unit(folder: Path, value: str, octets: int) -> None:
    assert reading(folder, f"cache_size = {value}") == Configuration(cache_size=octets)


@pytest.mark.parametrize(
    ("keys", "taken"),
    [("ctrl+f,f", "ctrl+f,f"), (" f , g ", "f,g"), ("f,", "f"), ("Ctrl+F,F", "ctrl+f,F")],
)
def test_several_keys_are_taken_however_they_are_spaced(
    folder: Path, keys: str, taken: str
) -> None:
    assert reading(folder, f'[keys]\nfilter = "{keys}"') == Configuration(keys={"filter": taken})


@pytest.mark.parametrize("character", sorted({*map(chr, range(33, 127)), "é", "€", "-"} - {","}))
def test_a_key_may_be_named_by_what_is_on_it(folder: Path, character: str) -> None:
    keys = {"filter": _normalize_key_list(character)}
    assert reading(folder, f"[keys]\nfilter = {json.dumps(character)}").keys == keys


def test_what_editors_on_windows_write_is_read(folder: Path) -> None:
    assert reading(folder, b'\xef\xbb\xbftime = "utc"\r\n') == Configuration(time="utc")


# -- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("\ntheme = 3", ", line 2: theme is the name of a theme"),
        ('time = "noon"', ", line 1: time is one of relative, delta, clock, utc"),
        ("time = [1]", ", line 1: time is one of relative, delta, clock, utc"),
        ("cache_size = -1", ', line 1: cache_size is a size such as "500M" or "2G"'),
        ("cache_size = 1.5", ', line 1: cache_size is a size such as "500M" or "2G"'),
        ("cache_size = true", ', line 1: cache_size is a size such as "500M" or "2G"'),
        ('cache_size = "much"', ', line 1: cache_size is a size such as "500M" or "2G"'),
        ('cache_size = "1.5G"', ', line 1: cache_size is a size such as "500M" or "2G"'),
        ('cache_size = "5m"', ', line 1: cache_size is a size such as "500M" or "2G"'),
        ("keys = 3", ", line 1: keys is a table: [keys], and below it lines such as"),
        ("\n[[keys]]\na = 1", ", line 2: keys is a table: [keys], and below it lines such as"),
        ("[keys]\nfilter = 3", ", line 2: filter is a key such as"),
        ('[keys]\nfilter = ""', ", line 2: filter is a key such as"),
        ('[keys]\nfilter = " , "', ", line 2: filter is a key such as"),
        ("[keys]\nfilter = []", ", line 2: filter is a key such as"),
        ("[keys]\n[keys.filter]\na = 1", ", line 2: filter is a key such as"),
        ('themes = "x"', ", line 1: themes is not known; theme is"),
        ("\n\n[key]\na = 1", ", line 3: key is not known; keys is"),
        ("colour = 1", ", line 1: colour is not known; known are theme, time, cache_size, keys"),
        ('"odd key" = 1', ", line 1: odd key is not known; known are"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_key(folder: Path, words: str, problem: str) -> None:
    (found,) = problems(folder, words)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        # The key of another table, and one that begins the same, are other keys.
        ('theme = "x"\n[keys]\ntheme = 3', ", line 3: theme is a key"),
        ("theme = 3\n[keys]\ntheme = 't'", ", line 1: theme is the name"),
        ("# time = 1\n\ntime = 1", ", line 3: time is one of"),
        ("[ keys ] # mine\n'filter' = 3", ", line 2: filter is a key"),
        ("\nkeys.filter = 3", ", line 2: filter is a key"),
        ("\nkeys = { filter = 3 }", ", line 2: filter is a key"),
    ],
)
def test_the_line_is_that_of_the_key_itself(folder: Path, words: str, problem: str) -> None:
    (found,) = problems(folder, words)
    assert found.startswith(problem)


def test_a_key_that_begins_like_another_one_is_not_taken_for_it(folder: Path) -> None:
    unknown, time = problems(folder, "time-zone = 1\ntime = 2")
    assert unknown.startswith(", line 1: time-zone is not known")
    assert time.startswith(", line 2: time is one of")


def test_every_mistake_is_told_and_the_rest_is_taken(folder: Path) -> None:
    words = 'theme = 3\ntime = "noon"\ncache_size = "x"\n[keys]\nfilter = 3\nquit = "x"\n'
    found = reading(folder, words)
    assert len(found.problems) == 4
    assert found.keys == {"quit": "x"}
    usual = Configuration()
    assert (found.theme, found.time, found.cache_size) == (None, usual.time, usual.cache_size)
    assert reading(folder, "theme = 3\ntime = 'utc'").time == "utc"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (b"theme = \n", "line 1"),
        (b"[keys\n", "line 1"),
        (b'time = "utc"\ntime = "utc"\n', "line 2"),
        (b"\x00", "line 1"),
        (b"a = 1\nb = '\xff'\n", "line 2: not UTF-8"),
        (b"a = " + b"[" * 100_000, "too deep"),
        (b"a = " + b"9" * 10_000, "4300 digits"),
    ],
)
def test_what_is_no_toml_is_told_with_its_place(folder: Path, words: bytes, reason: str) -> None:
    found = reading(folder, words)
    (problem,) = found.problems
    assert problem.startswith(f"{folder / 'config.toml'}")
    assert reason in problem
    assert found == Configuration(problems=(problem,))


def test_a_file_that_cannot_be_read_is_told_with_the_reason(folder: Path) -> None:
    (folder / "config.toml").mkdir()
    (problem,) = read_configuration().problems
    assert problem == f"{folder / 'config.toml'} cannot be read (Is a directory)"


def test_a_file_that_is_not_the_users_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refused)
    (problem,) = read_configuration().problems
    assert problem == f"{folder / 'config.toml'} cannot be read (Permission denied)"


def test_no_home_is_told_with_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "here")
    (problem,) = read_configuration().problems
    assert problem == (
        "config.toml cannot be read (there is no home folder: set HOME or XDG_CONFIG_HOME)"
    )


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), WORDS),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


def toml(value: object) -> str:
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value).lower()


@given(st.sampled_from(["theme", "time", "cache_size", "keys", "keys.filter", "x"]), VALUES)
def test_any_value_is_taken_or_told(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(f"{key} = {toml(value)}\n")
    found = read_configuration(file)
    assert len(found.problems) <= 1
    assert found.time in configuration.TIMES
    assert isinstance(found.theme, str | None)
    assert isinstance(found.cache_size, int)


# -- keys ----------------------------------------------------------------------------------------

IDS = {"filter": "f", "find": "slash", "copy": "y", "back": "escape,q", "leave": "escape"}


def checked(**keys: str) -> list[str]:
    return check_keys(Configuration(keys=keys), IDS)


def test_keys_that_are_free_or_not_remapped_are_no_problem() -> None:
    assert checked() == []
    assert checked(filter="ctrl+f", copy="c,ctrl+c") == []
    # Two that have the same key from the beginning are of two screens.
    assert checked(find="ctrl+f") == []


def test_keys_that_change_places_are_no_problem() -> None:
    assert checked(filter="y", copy="f") == []


def test_an_unknown_id_is_told_with_the_one_that_may_be_meant() -> None:
    assert checked(filtr="f") == [
        "config.toml: nothing has the id filtr in [keys]; filter may be meant"
    ]
    assert checked(zzz="x") == ["config.toml: nothing has the id zzz in [keys]; ? lists them"]


@pytest.mark.parametrize(
    ("keys", "problems"),
    [
        ({"filter": "y"}, ["y is the key of both filter and copy"]),
        ({"copy": "ctrl+c, f"}, ["f is the key of both filter and copy"]),
        ({"filter": "x", "copy": "x"}, ["x is the key of both filter and copy"]),
        ({"copy": "q"}, ["q is the key of both copy and back"]),
        ({"copy": "/"}, ["slash is the key of both find and copy"]),
        ({"copy": "f,"}, ["f is the key of both filter and copy"]),
        ({"copy": ",", "find": ","}, []),
        ({"copy": "f,y"}, ["f is the key of both filter and copy"]),
    ],
)
def test_a_key_that_two_have_is_told(keys: dict[str, str], problems: list[str]) -> None:
    assert checked(**keys) == [f"config.toml: {problem}" for problem in problems]
