"""Files of settings: what they may say, and where a mistake in them is."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from smtpscope.errors import UsageError
from smtpscope.recorders.serve_settings import read_settings

SAMPLE = files("smtpscope.recorders").joinpath("sample.toml").read_text()


def _read(tmp_path: Path, text: str, kind: str = "config") -> object:
    path = tmp_path / "file.toml"
    path.write_text(text)
    paths = {name: path if name == kind else None for name in ("config", "faults", "persona")}
    return read_settings(**paths, overrides={})


def test_the_sample_is_one(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SAMPLE)
    settings, etrn_hosts = read_settings(path, None, None, {"vrfy": "off", "hide": ["DSN"]})
    assert settings.host == "mx.example.org"
    assert [user.state for user in settings.users] == ["ok", "full", "moved"]
    assert settings.passwords == {"ann@example.org": "correct horse"}
    assert settings.lists["staff"] == ("ann@example.org", "bob@example.org")
    assert settings.replies["rcpt.unknown"].text == "Nobody of that name"
    assert [fault.act for fault in settings.faults] == ["reply", "drop"]
    assert dict(etrn_hosts) == {"node.example.org": "127.0.0.1:2526"}
    # What the command line says goes before.
    assert settings.vrfy == "off"
    assert settings.hide == {"DSN"}
    assert settings.etrn


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('host = "x"\nmax_size = "much"', "line 2, max_size: must be a number, not 'much'"),
        ("lmtp = 1", "line 1, lmtp: must be true or false, not 1"),
        ("# c\n\nhots = 'x'", "line 3, hots: there is no such key; did you mean host?"),
        ('vrfy = "maybe"', "line 1, vrfy: must be one of off, on, auth, not 'maybe'"),
        ("[[user]]\naddress = 'a'\n[[user]]\nname = 1", "line 4, name: must be a text, not 1"),
        ("[[user]]\nname = 'a'", "line 1, user: missing 1 required positional argument"),
        ("[[fault]]\nact = 'delay'\nseconds = -1", "line 3, seconds: must be 0 or more, not -1"),
        ("[[fault]]\nact = 'reply'", "line 1, code: reply needs it"),
        ("[[fault]]\nact = 'dance'", "line 2, act: must be one of reply"),
        ("[[fault]]\nact = 'close'\nprobability = true", "line 3, probability: must be a number"),
        (
            "[replies]\nrctp = { code = 1 }",
            "line 2, rctp: there is no such key; did you mean rcpt?",
        ),
        ("[replies]\nrcpt = { code = 'x' }", "line 2, code: must be a number, not 'x'"),
        ("[lists]\n'a b' = 'x'", "line 2, a b: must be a list of addresses"),
        ("user = 1", "line 1, user: must be tables, [[user]]"),
        ('a = """\nvrfy = 1\n"""\nvrfy = 2', "line 1, a: there is no such key"),
        ("hide = [1]", "line 1, hide: must be a list of texts"),
        ("= 1", "it has to be TOML"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_key(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        _read(tmp_path, text)
    assert words in str(caught.value)
    assert "file.toml" in str(caught.value)


def test_faults_and_personas_say_no_more_than_that(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="max_size: there is no such key"):
        _read(tmp_path, "max_size = 1", "faults")
    with pytest.raises(UsageError, match="fault: there is no such key"):
        _read(tmp_path, "[[fault]]\nact = 'close'", "persona")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read"):
        read_settings(tmp_path / "none.toml", None, None, {})
    path = tmp_path / "x.toml"
    path.write_bytes(b"host = '\xff'")
    with pytest.raises(UsageError, match="is no UTF-8 at octet 8"):
        read_settings(path, None, None, {})
