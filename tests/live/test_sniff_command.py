"""`smtpscope sniff` as it is typed: what it prints, how it ends, what is left when it is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE, free_port, listens, program, running, wait_until

from smtpscope.capture.pcap import open_capture
from smtpscope.reading import read_sessions

pytestmark = pytest.mark.live


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a server that takes every message."""
    number = free_port()
    command = [program("smtp-sink"), "-u", "nobody", f"127.0.0.1:{number}", "100"]
    with running(command, log=tmp_path / "sink", ready=lambda: listens(number)):
        yield number


def _send(port: int, sessions: int) -> None:
    source = program("smtp-source")
    command = [source, "-m", str(sessions), f"127.0.0.1:{port}"]
    subprocess.run(command, check=True, timeout=PATIENCE)


class Sniffing:
    """A running command; `path` is its recording."""

    def __init__(self, process: subprocess.Popen[str], told: list[str]) -> None:
        self.process = process
        self.told = told
        self.path = Path(re.split("[;:] ", told[-1].split(" into ")[1])[0])

    def recorders(self) -> list[int]:
        """The processes that it started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(child) for child in children.read_text().split()]

    def interrupt(self) -> str:
        """Press Ctrl-C; what else it prints."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=PATIENCE)[0]


@contextmanager
def sniffing(port: int, *options: str) -> Iterator[Sniffing]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "smtpscope", "sniff", "-i", "lo"),
            *("-f", f"tcp port {port}", "--port", str(port), *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told: list[str] = []
    try:
        while not told or " into " not in told[-1]:
            line = process.stderr.readline()
            assert line, told
            told.append(line.strip())
        yield Sniffing(process, told)
    finally:
        process.kill()
        process.wait()


def test_a_session_is_an_object_when_it_has_ended_and_so_many_are_enough(port: int) -> None:
    with sniffing(port, "--format", "jsonl", "-a", "sessions:3") as sniff:
        _send(port, 3)
        out, err = sniff.process.communicate(timeout=PATIENCE)
    sessions = [json.loads(line) for line in out.splitlines()]
    assert [each["number"] for each in sessions] == [1, 2, 3]
    assert {each["state"] for each in sessions} == {"quit"}
    assert sniff.process.returncode == 0
    assert "packets are in" in err


def test_an_exchange_is_a_line_as_it_completes(port: int) -> None:
    with sniffing(port, "--format", "events") as sniff:
        _send(port, 1)
        assert sniff.process.stdout is not None
        events: list[dict[str, Any]] = []
        while not events or events[-1]["event"] != "end":
            events.append(json.loads(sniff.process.stdout.readline()))
        verbs = [each["exchange"]["command"] for each in events[:-1]]
        assert [verb and verb["verb"] for verb in verbs] == [
            *(None, "HELO", "MAIL", "RCPT", "DATA", ".", "QUIT")
        ]
        assert sniff.interrupt() == ""
    assert sniff.process.returncode == 130


def test_ctrl_c_ends_the_recording_and_shows_all_of_it(port: int) -> None:
    with sniffing(port, "--format", "jsonl") as sniff:
        _send(port, 200)
        out = sniff.interrupt()
    assert sniff.process.returncode == 130
    assert len(out.splitlines()) == 200
    assert [session.state for session in read_sessions(sniff.path)] == ["quit"] * 200


def test_a_rotated_recording_is_shown_whole(port: int, shared: Path) -> None:
    path = shared / "r.pcapng"
    options = ("-w", str(path), "--rotate", "20k", "--keep", "3", "--format", "jsonl")
    with sniffing(port, *options) as sniff:
        assert sniff.process.stdout is not None
        for number in range(1, 61):
            _send(port, 1)
            assert json.loads(sniff.process.stdout.readline())["number"] == number
        assert sniff.interrupt() == ""
    left = sorted(path.parent.glob("r-*.pcapng"))
    assert len(left) == 3
    assert int(left[0].stem.rpartition("-")[2]) > 2


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that anybody may write into."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="smtpscope-test-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_the_recording_ends_whole_when_its_owner_is_killed(port: int) -> None:
    with sniffing(port) as sniff:
        (recorder,) = sniff.recorders()
        _send(port, 10)
        sniff.process.kill()
        sniff.process.wait()
        wait_until(lambda: not Path(f"/proc/{recorder}").exists(), "the recorder to end")
    with open_capture(sniff.path) as reader:
        assert sum(map(len, reader)) > 100
    assert reader.truncated is None
    assert reader.statistics[0].received


def test_a_detached_recording_goes_on_when_its_owner_is_killed(port: int) -> None:
    with sniffing(port, "--detach", "-a", "duration:600", "--format", "events") as sniff:
        pass
    pid = int(sniff.told[-1].split()[2])
    try:
        _send(port, 10)
        _wait_for_sessions(sniff.path, 10)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the recorder to end")
    with open_capture(sniff.path) as reader:
        assert sum(map(len, reader)) > 100
    assert reader.truncated is None


def _wait_for_sessions(path: Path, count: int) -> None:
    def there() -> bool:
        return sum(session.state == "quit" for session in read_sessions(path)) == count

    wait_until(there, "the sessions to be recorded")


def test_who_decodes_has_no_right_to_capture(port: int) -> None:
    with sniffing(port) as sniff:
        lines = Path(f"/proc/{sniff.process.pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        # Reading every file is what is left where nobody may not read this Python.
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"):
            assert int(status[name], 16) in (0, 1 << 2), name
        assert int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1"
        (recorder,) = sniff.recorders()
        lines = Path(f"/proc/{recorder}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        assert "0" not in status["Uid"].split() + status["Gid"].split() + status["Groups"].split()
        assert not any(int(status[name], 16) for name in status if name.startswith("Cap"))
        sniff.interrupt()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("-f", "tcp prot 25"), 2, "syntax error"),
        (("-i", "nowhere0"), 2, "nowhere0"),
        (("-Y", "code >"), 2, "column"),
        (("-w", "/root/x/y.pcapng"), 1, "/root/x/y.pcapng"),
        (("--rotate", "10Q"), 2, "100M"),
        (("--keep", "3"), 2, "--rotate"),
        (("-a", "never:1"), 2, "sessions:NUMBER"),
    ],
)
def test_what_cannot_be_is_told_with_its_status(
    options: tuple[str, ...], status: int, words: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "smtpscope", "sniff", "-i", "lo", *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
