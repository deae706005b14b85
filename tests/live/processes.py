"""Programs that a live recording starts: find them, start them, wait until they listen, stop them.

Nothing here knows about mail. Every process is started in a session of its own and stopped by
that session's number; readiness is read from the kernel's socket table, because a trial
connection would be in the recording.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 20.0
"""Seconds that anything here is waited for."""

LISTEN = "0A"


class MissingProgramError(Exception):
    """A program that the recording needs is not there; the message names it."""


class LiveError(Exception):
    """A program did not do what the recording needs; the message has its last words."""


def program(name: str) -> str:
    """The path of a program, looked for in the sbin folders too. MissingProgramError without it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        raise MissingProgramError(f"{name} is not installed")
    return found


def free_port() -> int:
    """A TCP port that nothing listens on, neither on 127.0.0.1 nor on ::1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def listens(*ports: int) -> bool:
    """Whether something listens on each of these TCP ports; asked of the kernel, unnoticed."""
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for row in Path(table).read_text().splitlines()[1:]:
            local, state = row.split()[1], row.split()[3]
            if state == LISTEN:
                listening.add(int(local.rpartition(":")[2], 16))
    return listening.issuperset(ports)


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Poll until it happened; LiveError that says what was waited for after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > deadline:
            raise LiveError(f"waited {PATIENCE:.0f} seconds in vain for {what}")
        time.sleep(0.02)


@contextmanager
def running(
    argv: Sequence[str | os.PathLike[str]],
    *,
    log: Path,
    ready: Callable[[], bool],
    stop_with: signal.Signals = signal.SIGTERM,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, its output in `log`, from the moment that it is ready to the block's end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [os.fspath(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=None if env is None else {**os.environ, **env},
        )
    try:
        wait_until(lambda: process.poll() is not None or ready(), f"{argv[0]} to be ready")
        if process.poll() is not None:
            raise LiveError(f"{argv[0]} ended at once:\n{log.read_text(errors='replace')}")
        yield process
    finally:
        _stop(process, stop_with)


def _stop(process: subprocess.Popen[bytes], stop_with: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(stop_with)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    try:
        # What a server forked stays in the session that was made for it.
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    allowed: Sequence[int] | None = (0,),
    text: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, `text` on its standard input.

    LiveError with its output when its exit status is not allowed (None: any is).
    """
    done = subprocess.run(
        [os.fspath(word) for word in argv],
        input=text,
        capture_output=True,
        timeout=6 * PATIENCE,
        env=None if env is None else {**os.environ, **env},
        cwd=cwd,
        check=False,
    )
    if allowed is not None and done.returncode not in allowed:
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise LiveError(f"{argv[0]} ended with status {done.returncode}:\n{said}")
    return done
