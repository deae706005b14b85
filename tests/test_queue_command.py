"""`smtpscope queue`: add, list, remove, and what it says to mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtpscope.cli import run

MESSAGE = b"Subject: q\r\n\r\nhello\r\n"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def _add(tmp_path: Path, host: str, *recipients: str) -> int:
    path = tmp_path / "m.eml"
    path.write_bytes(MESSAGE)
    to = [word for each in recipients for word in ("--to", each)]
    return run(["queue", "add", "--for", host, "--from", "a@example.org", *to, str(path)])


def test_what_is_added_is_listed_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _add(tmp_path, "one.example", "b@one.example", "c@one.example") == 0
    first = capsys.readouterr().out.strip()
    assert _add(tmp_path, "two.example", "b@two.example") == 0
    capsys.readouterr()
    assert run(["queue", "list"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2
    assert shown[0].startswith(first)
    assert shown[0].endswith("one.example  <a@example.org> <b@one.example>, <c@one.example>")
    assert run(["queue", "list", "--for", "TWO.example"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert run(["queue", "remove", first]) == 0
    assert run(["queue", "remove", "--all"]) == 0
    assert run(["queue", "list"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["remove"], "queue list"),
        (["remove", "7", "--all"], "queue list"),
        (["remove", "7"], "7 is not in the queue"),
        (["add", "--for", "x", "--to", "nobody"], "is no address"),
        (["add", "--for", "x", "--to", "a@b\x1b"], "is no address"),
        (["add", "--for", "x"], "--to"),
        (["add", "--for", "x", "--to", "a@b", "/none"], "/none"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["queue", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_damaged_entry_is_told_and_the_others_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _add(tmp_path, "one.example", "b@one.example") == 0
    (tmp_path / "state" / "smtpscope" / "queue" / "x.json").write_text("{")
    capsys.readouterr()
    assert run(["queue", "list"]) == 0
    told = capsys.readouterr()
    assert told.out.count("\n") == 1
    assert "x.json" in told.err
