"""Who starts recorders: with what rights, how often, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smtpscope import sniffing
from smtpscope.errors import SmtpscopeError, UsageError
from smtpscope.options import DEFAULT_ROTATION
from smtpscope.recorder import RecorderError
from smtpscope.sniffing import Sniffer, Wanted


class FakeRecorder:
    made: list[FakeRecorder]

    def __init__(self, name: str, *, detached: bool = False) -> None:
        self.task: dict[str, Any] = {}
        self.stopped = False
        self.made.append(self)

    def begin(self, task: dict[str, Any]) -> None:
        if task["filter"] == "forbidden":
            raise RecorderError("not permitted", 4)
        self.task = task

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeRecorder.made = []
    monkeypatch.setattr(sniffing, "Recorder", FakeRecorder)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sniffing, "_is_privileged", lambda: False)


@pytest.mark.usefixtures("ordinary")
def test_an_ordinary_user_has_a_new_recorder_each_time(tmp_path: Path) -> None:
    sniffer = Sniffer([2600])
    sniffer.ready()
    assert FakeRecorder.made == []
    sniffer.start("any")
    sniffer.start("eth0", " host a ", str(tmp_path / "x.pcapng"))
    first, second = (recorder.task for recorder in FakeRecorder.made)
    assert first["interfaces"] == ["any"]
    assert first["ports"] == [25, 465, 587, 1025, 2525, 2600]
    assert Path(first["path"]).parent == tmp_path / "state/smtpscope/recordings"
    assert first["rotation"] == DEFAULT_ROTATION
    assert first["user"] is None
    assert (second["interfaces"], second["filter"]) == (["eth0"], "host a")
    assert (second["path"], second["rotation"]) == (str(tmp_path / "x.pcapng"), None)
    assert not sniffer.refusal


@pytest.mark.usefixtures("ordinary")
def test_who_is_not_permitted_may_try_again() -> None:
    sniffer = Sniffer()
    with pytest.raises(RecorderError, match="not permitted") as caught:
        sniffer.start("any", "forbidden")
    assert caught.value.exit_status == 4
    sniffer.start("any")


@pytest.mark.usefixtures("ordinary")
def test_a_file_may_lie_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    sniffer = Sniffer()
    sniffer.start("any", path="~/x.pcapng")
    assert FakeRecorder.made[0].task["path"] == "/home/ann/x.pcapng"
    # A shell has done that already for whoever wanted it.
    assert sniffer.task(Wanted(path="~/x.pcapng"))["path"] == os.path.abspath("~/x.pcapng")


def test_who_has_privileges_and_did_not_give_them_up_does_not_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sniffing, "_is_privileged", lambda: True)
    sniffer = Sniffer()
    assert "sudo smtpscope sniff" in sniffer.refusal
    with pytest.raises(SmtpscopeError, match="start it again"):
        sniffer.start("any")
    assert FakeRecorder.made == []


def test_where_privileges_cannot_be_given_up_nothing_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(user: object) -> None:
        raise SmtpscopeError("privileges can't be given up")

    monkeypatch.setattr(sniffing, "_is_privileged", lambda: True)
    monkeypatch.setattr(sniffing, "_become", refuse)
    sniffer = Sniffer()
    sniffer.ready()
    assert sniffer.refusal == "privileges can't be given up"
    assert FakeRecorder.made[0].stopped


@pytest.mark.parametrize(
    ("filter", "path", "error"),
    [
        ("tcp prot 25", "", "syntax error"),
        ("", "/nowhere/x.pcapng", "/nowhere/x.pcapng cannot be written"),
        ("", "/etc", "/etc cannot be written"),
        ("", "/dev/null", "no ordinary file"),
    ],
)
def test_the_one_recorder_is_not_spent_on_a_mistake(
    filter: str, path: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sniffing, "_is_privileged", lambda: True)
    monkeypatch.setattr(sniffing, "_become", lambda user: None)
    monkeypatch.setenv("SUDO_UID", str(os.getuid() or 65534))
    sniffer = Sniffer()
    sniffer.give_up()
    monkeypatch.setattr(sniffer, "_user", None)
    with pytest.raises((UsageError, SmtpscopeError), match=error):
        sniffer.start("lo", filter, path)
    sniffer.start("lo")
    assert "start it again with sudo" in sniffer.refusal
    with pytest.raises(SmtpscopeError, match="again with sudo"):
        sniffer.start("lo")
    assert len(FakeRecorder.made) == 1


AS_ROOT = """
import json, subprocess, sys
from pathlib import Path
from smtpscope.errors import SmtpscopeError
from smtpscope.sniffing import Sniffer

def status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}

sniffer = Sniffer()
sniffer.ready()
before = status("self")
recorder = sniffer.start("lo")
during = status(recorder.pid)
try:
    sniffer.start("lo")
except SmtpscopeError as error:
    refused = str(error)
recorder.stop()
# As the process does that decodes it.
reading = "import sys; print(open(sys.argv[1], 'rb').read(4).hex())"
read = subprocess.run([sys.executable, "-c", reading, recorder.path], stdout=-1).stdout.decode()
print(json.dumps([before, during, refused, read, recorder.path]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
def test_root_gives_up_everything_before_anything_is_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_ROOT], capture_output=True, text=True, timeout=60, check=True
    )
    screen, recorder, refused, read, path = json.loads(done.stdout)
    assert read.strip() == "0a0d0d0a"
    Path(path).unlink()
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"):
        # Reading every file is what is left where nobody may not read this Python.
        assert int(screen[name], 16) in (0, 1 << 2), name
        assert int(recorder[name], 16) == 0, name
    assert screen["NoNewPrivs"] == recorder["NoNewPrivs"] == "1"
    assert "0" not in recorder["Uid"].split()
    assert "start it again with sudo" in refused
