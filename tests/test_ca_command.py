"""`smtpscope ca`: show, export, renew, what they refuse, and that no key ever comes out."""

from __future__ import annotations

import os
import pty
import ssl
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from smtpscope.cli import run
from smtpscope.recorders import authority as module

ROOT = Path(__file__).parent.parent

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the CA lies."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "smtpscope" / "ca" / module.FILE


def fingerprint(captured: Captured) -> str:
    (line,) = [each for each in captured.readouterr().out.splitlines() if "SHA-256" in each]
    return line.split()[1]


def test_show_makes_it_says_so_and_tells_all(file: Path, capsys: Captured) -> None:
    assert run(["ca", "show"]) == 0
    first = capsys.readouterr()
    assert first.err == f"smtpscope: made a new CA in {file.parent}\n"
    lines = dict(line.split(maxsplit=1) for line in first.out.splitlines() if "valid" not in line)
    assert lines["subject"].startswith("smtpscope CA (")
    assert len(lines["SHA-256"]) == 32 * 3 - 1
    assert lines["file"].startswith(str(file))
    assert "valid from  2" in first.out
    assert "(729 days left)" in first.out
    assert run(["ca", "show"]) == 0
    assert capsys.readouterr() == (first.out, "")


def test_export_writes_what_clients_trust(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    named = tmp_path / "ca.pem"
    assert run(["ca", "export", str(named)]) == 0
    assert capsysbinary.readouterr().out == b""
    assert run(["ca", "export"]) == 0
    assert run(["ca", "export", "-"]) == 0
    assert capsysbinary.readouterr() == (named.read_bytes() * 2, b"")
    assert run(["ca", "export", "--der"]) == 0
    assert capsysbinary.readouterr().out == ssl.PEM_cert_to_DER_cert(named.read_text())
    ssl.create_default_context(cafile=str(named))


def test_export_overwrites_nothing_unless_it_is_told_to(
    file: Path, tmp_path: Path, capsys: Captured
) -> None:
    named = tmp_path / "ca.pem"
    named.write_text("mine")
    assert run(["ca", "export", str(named)]) == 2
    assert "say --force" in capsys.readouterr().err
    assert named.read_text() == "mine"
    assert run(["ca", "export", "--force", str(named)]) == 0
    assert named.read_text().startswith("-----BEGIN CERTIFICATE-----\n")
    # The key least of all.
    key = file.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(file)
    for path in (file, link):
        assert run(["ca", "export", "--force", str(path)]) == 2
    assert file.read_bytes() == key


@pytest.mark.parametrize("name", ["no/such/folder/ca.pem", ".", "a\0b"])
def test_export_tells_where_it_cannot_write(name: str, tmp_path: Path, capsys: Captured) -> None:
    assert run(["ca", "export", "--force", f"{tmp_path}/{name}"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_renew_makes_another_one_and_says_that_it_has_to_be_trusted(
    file: Path, capsys: Captured
) -> None:
    assert run(["ca", "show"]) == 0
    first = fingerprint(capsys)
    assert run(["ca", "renew"]) == 2
    assert "say --yes" in capsys.readouterr().err
    assert run(["ca", "show"]) == 0
    assert fingerprint(capsys) == first
    assert run(["ca", "renew", "--yes"]) == 0
    told = capsys.readouterr()
    assert "clients have to trust the new CA" in told.err
    assert first not in told.out
    assert file.stat().st_mode & 0o777 == 0o600


def test_where_there_is_none_renew_needs_no_yes(file: Path) -> None:
    assert run(["ca", "renew"]) == 0
    assert file.exists()


@pytest.mark.parametrize(
    ("answer", "status"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x03", 130)]
)
def test_renew_asks_on_a_terminal(file: Path, answer: bytes, status: int) -> None:
    assert run(["ca", "show"]) == 0
    before = file.read_bytes()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_A_TERMINAL, "ca", "renew"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    while b"[y/N]: " not in seen:
        seen += os.read(ours, 1 << 10)
    # A Ctrl-C is lost that comes between the question and the wait for its answer.
    while not _sleeps(process.pid):
        assert process.poll() is None
    os.write(ours, answer)
    assert process.wait(30) == status
    os.close(ours)
    assert (file.read_bytes() == before) == (status != 0)


def _sleeps(pid: int) -> bool:
    """Whether a process waits for something."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        return stat.read_text().rpartition(") ")[2].startswith("S")
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False)
    return found.stdout.startswith((b"S", b"I"))


_ON_A_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C comes from a terminal of one's own.
from smtpscope.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["show", "export"])
def test_one_that_runs_out_is_shown_with_what_to_do(
    command: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["ca", "show"]) == 0
    capsys.readouterr()
    usual = module._now
    for passed, words in ((710, "runs out in 19 days"), (731, "has run out on 20")):
        monkeypatch.setattr(module, "_now", lambda by=passed: usual() + timedelta(days=by))
        assert run(["ca", command]) == 0
        told = capsys.readouterr()
        assert words in told.err
        assert "smtpscope ca renew" in told.err
        assert "-1 days" not in told.out


def test_a_damaged_one_is_told_and_renewed(file: Path, capsys: Captured) -> None:
    assert run(["ca", "show"]) == 0
    file.write_bytes(file.read_bytes()[:150])
    for command in ("show", "export"):
        capsys.readouterr()
        assert run(["ca", command]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert "is damaged" in told.err
        assert told.err.count("\n") == 1
    assert run(["ca", "renew", "--yes"]) == 0
    assert run(["ca", "show"]) == 0


def test_no_command_lets_the_key_out(
    file: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    keys = []
    for arguments in (
        ["show"],
        ["export"],
        ["export", "--der"],
        ["export", str(tmp_path / "x")],
        ["export", "--der", str(tmp_path / "y")],
        ["renew"],
        ["renew", "--yes"],
        ["show"],
    ):
        run(["ca", *arguments])
        keys.append(file.read_bytes())
    said = b"".join(capsysbinary.readouterr())
    said += (tmp_path / "x").read_bytes() + (tmp_path / "y").read_bytes()
    assert b"PRIVATE" not in said
    for octets in set(keys):
        key = serialization.load_pem_private_key(octets, None)
        number = key.private_numbers().private_value  # type: ignore[union-attr]
        assert number.to_bytes(32, "big") not in said
        # The number is in the first two lines; what follows is the public key.
        for line in octets.split(b"-----")[2].split()[:2]:
            assert line not in said
    assert len(set(keys)) == 2
