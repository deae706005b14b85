"""On a terminal the screen is opened, and left as it was found; elsewhere lines are printed."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smtpscope.places import bundled_captures

ROOT = Path(__file__).parents[1]
CAPTURE = next(path for path in bundled_captures() if path.name == "postfix-swaks.pcap")
PATIENCE = 30.0
ON, OFF = b"\x1b[?1049h", b"\x1b[?1049l"
"""The terminal's other screen, on which applications draw."""


class Terminal:
    """A terminal of 100×30 with the program on it."""

    def __init__(self, arguments: tuple[str, ...], home: Path, **environment: str) -> None:
        ours, theirs = pty.openpty()
        os.set_blocking(ours, False)
        self._ours = ours
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "smtpscope", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            start_new_session=True,
            env={
                **os.environ,
                "TERM": "xterm-256color",
                "COLUMNS": "100",
                "LINES": "30",
                "XDG_CACHE_HOME": str(home / "cache"),
                "XDG_STATE_HOME": str(home / "state"),
                "XDG_CONFIG_HOME": str(home / "config"),
                **environment,
            },
        )
        os.close(theirs)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def wait_for(self, words: bytes) -> None:
        """Read until the words have come since the last call."""
        until = time.monotonic() + PATIENCE
        while words not in self.seen:
            assert time.monotonic() < until, (words, self.seen[-2_000:])
            assert self._read() or self.process.poll() is None, self.seen[-2_000:]
        self.seen = self.seen.partition(words)[2]

    def _read(self) -> bool:
        select.select([self._ours], [], [], 0.1)
        try:
            octets = os.read(self._ours, 1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.seen += octets
        return bool(octets)

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def status(self) -> int:
        """Wait for the end, reading what still comes."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < until, self.seen[-2_000:]
            self._read()
        while self._read() and time.monotonic() < until:
            pass
        return self.process.returncode


@contextmanager
def terminal(home: Path, *arguments: str, **environment: str) -> Iterator[Terminal]:
    made = Terminal(arguments, home, **environment)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("arguments", [(str(CAPTURE),), ("read", str(CAPTURE))])
def test_a_capture_is_shown_and_q_leaves(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with terminal(tmp_path, *arguments) as screen:
        screen.wait_for(ON)
        screen.wait_for(b"EHLO")
        screen.press(b"q")
        assert screen.status() == 0
        assert OFF in screen.seen
        assert b"Traceback" not in screen.seen


def test_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    with terminal(tmp_path, str(CAPTURE)) as screen:
        screen.wait_for(b"EHLO")
        screen.press(b"\x03")
        assert screen.status() == 130
        assert OFF in screen.seen


def test_who_is_told_to_end_leaves_the_terminal_as_it_was_found(tmp_path: Path) -> None:
    with terminal(tmp_path, str(CAPTURE)) as screen:
        screen.wait_for(b"EHLO")
        screen.process.send_signal(signal.SIGTERM)
        assert screen.status() == 0
        assert OFF in screen.seen
        assert b"Traceback" not in screen.seen


def test_a_second_opening_finds_the_index(tmp_path: Path) -> None:
    for _ in range(2):
        with terminal(tmp_path, str(CAPTURE)) as screen:
            screen.wait_for(b"EHLO")
            screen.press(b"q")
            assert screen.status() == 0
        (index,) = (tmp_path / "cache" / "smtpscope" / "index").iterdir()
        assert index.suffix == ".sqlite"


def test_home_is_shown_without_arguments(tmp_path: Path) -> None:
    with terminal(tmp_path) as screen:
        screen.wait_for(b"demo")
        screen.press(b"d")
        screen.wait_for(b"captures")
        screen.wait_for(b"EHLO")
        screen.press(b"q")
        assert screen.status() == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-tui",),
        ("--format", "text"),
        ("--format", "jsonl"),
        ("--fail-on", "error"),
    ],
)
def test_who_wants_lines_gets_lines(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with terminal(tmp_path, "read", *arguments, str(CAPTURE)) as screen:
        assert screen.status() == 0
        assert ON not in screen.seen
        assert b"RCPT" in screen.seen


def test_a_dumb_terminal_gets_lines(tmp_path: Path) -> None:
    with terminal(tmp_path, str(CAPTURE), TERM="dumb") as screen:
        assert screen.status() == 0
        assert ON not in screen.seen


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("nothing.pcap",), 5, b"nothing.pcap"),
        (("README.md",), 5, b"README.md"),
        (("read", "-Y", "code >> 5", str(CAPTURE)), 2, b"column 7"),
    ],
)
def test_what_cannot_be_shown_is_told_without_a_screen(
    tmp_path: Path, arguments: tuple[str, ...], status: int, words: bytes
) -> None:
    with terminal(tmp_path, *arguments) as screen:
        assert screen.status() == status
        assert words in screen.seen
        assert ON not in screen.seen


def test_a_filter_and_secrets_of_the_command_line_reach_the_screen(tmp_path: Path) -> None:
    login = str(CAPTURE.with_name("exim-swaks-auth-plain.pcap"))
    with terminal(tmp_path, "read", "--reveal-secrets", "-Y", "auth", login) as screen:
        screen.wait_for(b"1 of 1")
        screen.wait_for(b"AUTH PLAIN A")
        screen.press(b"q")
        assert screen.status() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_nothing_is_left_running_when_the_screen_is_killed(tmp_path: Path) -> None:
    with terminal(tmp_path, str(CAPTURE)) as screen:
        screen.wait_for(b"EHLO")
        group = os.getpgid(screen.process.pid)
        screen.process.send_signal(signal.SIGKILL)
        screen.process.wait()
        until = time.monotonic() + PATIENCE
        while _members(group):
            assert time.monotonic() < until
            time.sleep(0.05)


def _members(group: int) -> list[int]:
    """The processes of a group that are alive: nobody may be there to bury the others."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of) == group and state != "Z":
            found.append(int(entry.name))
    return found


def test_info_tells_where_the_index_lies(tmp_path: Path) -> None:
    with terminal(tmp_path, str(CAPTURE)) as screen:
        screen.wait_for(b"EHLO")
        screen.press(b"q")
        screen.status()
    with terminal(tmp_path, "info") as screen:
        assert screen.status() == 0
        assert str(tmp_path / "cache" / "smtpscope" / "index").encode() in screen.seen
        assert b"postfix-swaks.pcap" in screen.seen
