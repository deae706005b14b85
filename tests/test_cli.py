"""The command line as its users meet it: output, diagnostics, exit status."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from smtpscope.cli import run
from smtpscope.places import bundled_captures

CAPTURE = next(path for path in bundled_captures() if path.name == "postfix-swaks.pcap")
PROGRAM = [sys.executable, "-m", "smtpscope"]
ROOT = Path(__file__).parent.parent

Captured = pytest.CaptureFixture[str]


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        env=os.environ | environment,
        cwd=ROOT,
        check=False,
    )


def one_line(captured: Captured) -> str:
    """What was printed on standard error, which has to be one line and all that was printed."""
    out, err = captured.readouterr()
    assert out == ""
    assert err.startswith("smtpscope: ")
    assert err.endswith("\n")
    assert err.removesuffix("\n").isprintable()
    return err


# -- what it is given ----------------------------------------------------------------------------


def test_a_capture_is_read_with_or_without_the_word_read(capsys: Captured) -> None:
    assert run(["read", str(CAPTURE)]) == 0
    with_word = capsys.readouterr()
    assert run([str(CAPTURE)]) == 0
    assert capsys.readouterr() == with_word
    assert "EHLO" in with_word.out
    assert with_word.err == ""


def test_every_bundled_capture_is_shown_by_demo(capsys: Captured) -> None:
    assert run(["demo"]) == 0
    shown = capsys.readouterr().out
    assert all(path.name in shown for path in bundled_captures())


def test_standard_input_is_read(capsys: Captured) -> None:
    with CAPTURE.open("rb") as file:
        found = subprocess.run(
            [*PROGRAM, "read", "-"], stdin=file, capture_output=True, cwd=ROOT, check=False
        )
    assert found.returncode == 0
    assert b"EHLO" in found.stdout
    assert found.stderr == b""


def test_a_fifo_is_read(tmp_path: Path, capsys: Captured) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(CAPTURE.read_bytes(),))
    writer.start()
    assert run(["read", str(fifo)]) == 0
    writer.join()
    assert "EHLO" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"To whom it may concern\n", "is text"),
        (bytes(range(256)), "is no pcap or pcapng capture"),
        (gzip.compress(b"To whom\n"), "is text"),
        (gzip.compress(CAPTURE.read_bytes())[:12], "cannot be read"),
    ],
    ids=["empty", "text", "binary", "compressed text", "cut"],
)
def test_a_file_that_is_no_capture_is_told_in_one_line(
    tmp_path: Path, capsys: Captured, content: bytes, words: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert run(["read", str(file)]) == 5
    assert words in one_line(capsys)


def test_a_missing_file_is_told_in_one_line(tmp_path: Path, capsys: Captured) -> None:
    assert run(["read", str(tmp_path / "absent.pcap")]) == 5
    assert "absent.pcap: no such file" in one_line(capsys)


def test_a_directory_is_told_in_one_line(tmp_path: Path, capsys: Captured) -> None:
    assert run(["read", str(tmp_path)]) == 5
    assert "is a directory" in one_line(capsys)


def test_the_null_device_is_an_empty_file(capsys: Captured) -> None:
    assert run(["read", os.devnull]) == 5
    assert "is empty" in one_line(capsys)


def test_a_name_that_no_file_can_have_is_told_in_one_line(capsys: Captured) -> None:
    assert run(["read", "a\0b"]) == 5
    assert "cannot be read" in one_line(capsys)


def test_an_unreadable_file_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "secret.pcap"
    shutil.copy(CAPTURE, file)
    file.chmod(0)
    tmp_path.chmod(0o755)
    drop = (
        "import os, sys\n"
        "from smtpscope.cli import run\n"
        "import smtpscope.parallel, smtpscope.export.text, smtpscope.progress\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "sys.exit(run(['read', sys.argv[1]]))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", drop, str(file)], capture_output=True, cwd=ROOT, check=False
    )
    if b"setgroups" in found.stderr or b"no such file" in found.stderr:
        pytest.skip("privileges can't be dropped here")
    assert found.returncode == 5
    assert b"permission" in found.stderr
    assert found.stderr.count(b"\n") == 1


def test_the_name_of_a_file_cannot_write_to_the_terminal(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "a\x1b[31m\u202e\udcff.pcap"
    assert run(["read", str(file)]) == 5
    assert "a\\x1b[31m\\u{202e}\\xff.pcap" in one_line(capsys)
    shutil.copy(CAPTURE, file)
    for form in ("text", "jsonl"):
        assert run(["read", "--format", form, str(file)]) == 0
        out = capsys.readouterr().out
        assert "\\u{202e}" in out.replace("\\\\", "\\")
        assert all(line.isprintable() for line in out.splitlines())


# -- what is damaged -----------------------------------------------------------------------------


def test_a_capture_that_is_cut_short_is_shown_and_told(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "cut.pcap"
    file.write_bytes(CAPTURE.read_bytes()[:1500])
    assert run(["read", str(file)]) == 0
    out, err = capsys.readouterr()
    assert "EHLO" in out
    assert err.count("\n") == 1
    assert "cut.pcap: cut short: the packet at octet 1,406" in err


def test_a_gzip_file_that_is_cut_short_is_shown_and_told(tmp_path: Path, capsys: Captured) -> None:
    file = tmp_path / "cut.pcap.gz"
    file.write_bytes(gzip.compress(CAPTURE.read_bytes())[:-100])
    assert run(["read", str(file)]) == 0
    out, err = capsys.readouterr()
    assert "EHLO" in out
    assert "cut.pcap.gz: the gzip stream is cut short" in err


def test_many_problems_of_a_capture_are_told_in_a_few_lines(
    tmp_path: Path, capsys: Captured
) -> None:
    block = (b"\x06\0\0\0" + b"\x20\0\0\0" + bytes(20)) + b"\x20\0\0\0"
    section = b"\n\r\r\n\x1c\0\0\0\x4d\x3c\x2b\x1a\1\0\0\0" + b"\xff" * 8 + b"\x1c\0\0\0"
    file = tmp_path / "unknown-interfaces.pcapng"
    file.write_bytes(section + block * 50)
    assert run(["read", str(file)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 50
    assert all("unknown-interfaces.pcapng: " in line for line in lines)


@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_a_bad_file_among_others_keeps_none_of_them_from_being_read(
    tmp_path: Path, capsys: Captured, form: str
) -> None:
    bad = tmp_path / "bad.pcap"
    bad.write_bytes(b"no capture\n")
    absent = tmp_path / "absent.pcap"
    arguments = ["read", "--format", form, str(CAPTURE), str(bad), str(absent), str(CAPTURE)]
    assert run(arguments) == 5
    out, err = capsys.readouterr()
    assert run(["read", "--format", form, str(CAPTURE)]) == 0
    assert out == 2 * capsys.readouterr().out
    assert err.count("\n") == 2
    assert "bad.pcap is text" in err
    assert "absent.pcap: no such file" in err


# -- how it is used ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["read"],
        ["read", "--format", "xml", str(CAPTURE)],
        ["read", "--no-such-option", str(CAPTURE)],
        ["read", "--port", "70000", str(CAPTURE)],
        ["explain"],
        ["demo", "one-word-too-many"],
        ["schema", "--format", "xml"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2_and_told_on_standard_error(
    capsys: Captured, arguments: list[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: smtpscope" in err
    assert "Error: " in err


def test_help_and_version_are_status_0(capsys: Captured) -> None:
    for arguments in (["--help"], ["-h"], ["--version"], ["read", "--help"], ["explain", "-h"]):
        assert run(arguments) == 0
        assert "smtpscope" in capsys.readouterr().out


def test_an_option_can_come_from_the_environment(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPSCOPE_READ_FORMAT", "jsonl")
    assert run(["read", str(CAPTURE)]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "smtpscope.session/1"


def test_secrets_are_shown_only_on_demand(capsys: Captured) -> None:
    capture = next(path for path in bundled_captures() if path.name == "exim-swaks-auth-plain.pcap")
    for form in ("text", "jsonl"):
        assert run(["read", "--format", form, str(capture)]) == 0
        hidden = capsys.readouterr().out
        assert "[redacted" in hidden
        assert run(["read", "--reveal-secrets", "--format", form, str(capture)]) == 0
        shown = capsys.readouterr().out
        assert "[redacted" not in shown


def test_explain_knows_commands_and_codes(capsys: Captured) -> None:
    assert run(["explain", "550", "RCPT"]) == 0
    assert "550" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["1.2.3"], "there is no 1.2.3: an enhanced status code begins with 2, 4 or 5"),
        (["550", "9.1.1", "RCPT"], "there is no 9.1.1"),
        (["250", "FOO"], "nothing is known about “FOO”: leave it out."),
        (["5.1.10", "x"], "nothing is known about “x”"),
    ],
)
def test_explain_says_which_words_it_does_not_know(
    words: list[str], told: str, capsys: Captured
) -> None:
    assert run(["explain", *words]) == 2
    output = capsys.readouterr()
    assert told in output.err
    assert output.out == ""


@pytest.mark.parametrize("words", ["250 to RCPT", "550 at end of data", "X.7.1", "command line"])
def test_explain_takes_what_people_say(words: str, capsys: Captured) -> None:
    assert run(["explain", *words.split()]) == 0


def test_a_word_that_explain_does_not_know_is_status_2(capsys: Captured) -> None:
    assert run(["explain", "nosuchword\x1b[31m"]) == 2
    assert "nosuchword\\x1b" in one_line(capsys)


def test_schema_prints_a_valid_json_schema(capsys: Captured) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert run(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.validators.validator_for(schema).check_schema(schema)


@pytest.mark.parametrize(
    ("command", "domains", "relays"),
    [
        ("read", [], False),
        ("read", ["example.com"], True),
        ("read", ["Example.COM."], True),
        ("read", ["example.com", "example.net"], False),
        ("read", ["example.com", "example.org"], False),
        ("read", ["net"], False),
        ("demo", ["example.com"], True),
    ],
)
def test_what_is_relayed_is_told_to_who_says_which_domains_are_local(
    capsys: Captured, command: str, domains: list[str], relays: bool
) -> None:
    files = [str(CAPTURE)] if command == "read" else []
    options = [f"--local-domain={domain}" for domain in domains]
    assert run([command, "--fail-on", "error", *options, *files]) == (3 if relays else 0)
    assert ("open-relay" in capsys.readouterr().out) is relays


@pytest.mark.parametrize(
    "domain",
    [
        *("", ".", "@example.org", "ann@example.org", "*.example.org", "a..b", "-a.org", "a b.org"),
        *("[192.0.2.1]", "x" * 64 + ".org", ".".join(["x" * 60] * 5), "a\x1b[31m", "\udcff.org"),
    ],
)
def test_what_is_no_domain_can_be_no_local_one(capsys: Captured, domain: str) -> None:
    assert run(["read", "--local-domain", domain, str(CAPTURE)]) == 2
    assert "is no domain" in one_line(capsys)


# -- the process ---------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from smtpscope.cli import run\n"
        "run(['--help'])\n"
        "heavy = {'numpy', 'scapy', 'textual', 'zstandard', 'cryptography', 'email', 'asyncio'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=False)
    assert found.stderr == b""
    assert found.returncode == 0


def test_a_reader_that_has_enough_ends_the_program_quietly() -> None:
    process = subprocess.Popen(
        [*PROGRAM, "read", *[str(CAPTURE)] * 200],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_ctrl_c_is_status_130_without_a_traceback() -> None:
    process = subprocess.Popen(
        [*PROGRAM, "read", str(CAPTURE), "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err


def test_ctrl_c_ends_the_wait_for_a_pipe_that_says_nothing(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [*PROGRAM, "read", "--follow", "--format", "text", str(fifo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    # It can be opened when it is being read.
    with fifo.open("wb"):
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in err


@pytest.mark.parametrize("form", ["text", "jsonl"])
def test_a_terminal_that_knows_ascii_only_gets_what_it_can_show(form: str) -> None:
    found = program(
        "read", "--format", form, str(CAPTURE), PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0"
    )
    assert found.returncode == 0
    assert found.stderr == b""
    assert found.stdout.isascii()
    if form == "jsonl":
        json.loads(found.stdout)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_closed_standard_streams_are_no_crash(closed: str) -> None:
    command = f'"$0" -m smtpscope read "$1" {closed}'
    found = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, str(CAPTURE)],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert found.returncode == 0
    assert found.stderr == b""


def test_a_full_disk_is_told_in_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "wb") as full:
        found = subprocess.run(
            [*PROGRAM, "read", str(CAPTURE)],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            check=False,
        )
    assert found.returncode == 1
    assert found.stderr.startswith(b"smtpscope: ")
    assert found.stderr.count(b"\n") == 1


def test_events_of_a_file_end_where_it_ends() -> None:
    found = program("read", "--format", "events", "--fail-on", "error", str(CAPTURE))
    assert found.returncode == 0
    lines = [json.loads(line) for line in found.stdout.splitlines()]
    assert [line["event"] for line in lines[-1:]] == ["end"]
    assert len(lines) > 1
