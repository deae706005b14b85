"""Files of settings: what they may say, and where a mistake in them is."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.errors import UsageError
from smtpscope.recorders.serve_settings import Configured, Where, places, read_settings

SAMPLE = files("smtpscope.recorders").joinpath("sample.toml").read_text()


def _read(tmp_path: Path, text: str, kind: str = "config") -> Configured:
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
        ("[[user]]\nname = 'a'", "line 1, address: has to be there"),
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
        ("= 1", "line 1: Invalid statement; it has to be TOML"),
        ("a = 1\n\nb = [", "line 3: Invalid value; it has to be TOML"),
        ("max_size = -1", "line 1, max_size: must be 0 or more, not -1"),
        ("scram_iterations = 0", "line 1, scram_iterations: must be 1 or more"),
        ("max_line = 1.0", "line 1, max_line: must be a number, not 1.0"),
        ("x = " + "9" * 5_000, "make it simpler"),
        ("x = " + "[" * 5_000, "file.toml"),
        ("hide = [\n'DSN',\n'PIPELINNING']", "line 3, hide: 'PIPELINNING' is not known; did you"),
        ("mechanisms = ['PLAIM']", "did you mean PLAIN?"),
        (
            "[logins]\nann = 'auth.wek'",
            "line 2, ann: there is no such reply; did you mean auth.weak",
        ),
        ("[etrn_hosts]\nx = 'here'", "line 2, x: must be such as 127.0.0.1:2525, not 'here'"),
        ("etrn_hosts.x = 'h:70000'", "line 1, x: must be such as"),
        ('[replies]\n"rcpt.unknown" = "{nam}"', "line 2, text: has no {nam}; there are {host}"),
        ('[replies."rcpt.unknown"]\ntext = "a"\ncode = 99', "line 3, code: must be from 200"),
        ("replies.mail.code = 250\nreplies.mail.enhanced = '9'", "line 2, enhanced: must be such"),
        ("[[fault]]\nact = 'close'\nseconds = 1", "line 3, seconds: is nothing that close needs"),
        ("[[fault]]\nact = 'close'\non = '(gretting)'", "line 3, on: must be a command"),
        ("lmtp = true\nhost = 'bücher'", "line 2, host: must be 1 to 255 visible ASCII"),
        ('host = "a\\r\\nb"', "such as mx.example.org, not 'a\\r\\nb'"),
        ("host = ''", "line 1, host: must be 1 to 255"),
        (f"host = '{'x' * 400}'", "… (400 characters)"),
        ("[[fault]]\non = 'RCPT'", "line 1, act: has to be there"),
        ("[[fault]]\nact = 'garbage'\ngarbage = '€'", "line 3, garbage: must have characters"),
        ("fault = [\n{ act = 'close' },\n{ act = 'clos' },\n]", "line 3, act: must be one of"),
        (
            "[[fault]] # ]\nact = 'close' # '''\n[[ \"fault\" ]]\nnth = -1\nact='drop'",
            "line 4, nth",
        ),
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
    with pytest.raises(UsageError, match=r"x\.toml line 1: no UTF-8 at octet 8"):
        read_settings(path, None, None, {})


def test_octets_are_what_characters_stand_for(tmp_path: Path) -> None:
    text = '\ufeff[[fault]]\nact = "garbage"\ngarbage = "\\u00ff\\u0000"\n'
    settings, _ = _read(tmp_path, text, "faults")
    assert settings.faults[0].garbage == b"\xff\0"


def test_an_extension_of_ones_own_can_be_hidden_too(tmp_path: Path) -> None:
    text = "extensions = ['SIZE 9', 'XFOO bar']\nhide = ['xfoo', 'dsn']\ndisabled = ['vrfy']"
    settings, _ = _read(tmp_path, text)
    assert settings.hide == {"XFOO", "DSN"}
    assert settings.disabled == {"VRFY"}


# -- lines of keys and tables, in every layout ---------------------------------------------------

TEXT = """\
# [[no]] table
host = "a # ] [[x]]"  # "
"quoted.key" = 'it\\'
sites."a b".'c' . d = 1979-05-27 07:32:00 # '
long = \"\"\"
[table]
key = 1 \\\"\"\"
\"\"\"\"
other = '''
[[fault]]''''
list = [ # ]
    "x]", # [
    [1, 2], { p = 1, q = [
        3 ] },
]
inline = { a = "}", "b.c" = { d = 1 } }

[ table . "x.y" ] # [z]
  key = true
[[fault]]
act = "close"
[[fault]]
text = "[[fault]]"
  [fault.sub]
  key = 1
[[fault.more]]
key = 2
[fault.more.deep]
last = 1e3"""

EXPECTED: dict[Where, int] = {
    ("host",): 2,
    ("quoted.key",): 3,
    ("sites", "a b", "c", "d"): 4,
    ("long",): 5,
    ("other",): 9,
    ("list",): 11,
    ("list", 0): 12,
    ("list", 1, 1): 13,
    ("list", 2, "p"): 13,
    ("list", 2, "q"): 13,
    ("list", 2, "q", 0): 14,
    ("inline", "a"): 16,
    ("inline", "b.c", "d"): 16,
    ("table", "x.y"): 18,
    ("table", "x.y", "key"): 19,
    ("fault", 0): 20,
    ("fault", 0, "act"): 21,
    ("fault", 1): 22,
    ("fault", 1, "text"): 23,
    ("fault", 1, "sub"): 24,
    ("fault", 1, "sub", "key"): 25,
    ("fault", 1, "more", 0): 26,
    ("fault", 1, "more", 0, "key"): 27,
    ("fault", 1, "more", 0, "deep", "last"): 29,
}


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_layout(ending: str) -> None:
    found = places(TEXT.replace("\n", ending))
    assert {where: found.get(where) for where in EXPECTED} == EXPECTED
    # What is in there, and nothing else.
    assert set(found) == set(_wheres(tomllib.loads(TEXT)))


def _wheres(value: Any, where: Where = ()) -> list[Where]:
    found = [where] if where else []
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, each in items:
        found += _wheres(each, (*where, key))
    return found


@given(st.text(alphabet="ab=[]{}\"'#,.\n \\1"))
def test_nothing_hangs_or_raises(text: str) -> None:
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(places(text)) == set(_wheres(said))
