"""Start a recorder the way its owner does, and read what it has recorded."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from processes import PATIENCE, program

from smtpscope.capture.pcap import open_capture


def as_nobody() -> list[str]:
    """What a command begins with to run as a user who may not capture, but may read our Python."""
    reading = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    return [program("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", *reading]


class Packet(NamedTuple):
    time: int
    octets: bytes
    original: int
    interface: str


def packets(path: Path) -> list[Packet]:
    """The packets of a capture file."""
    with open_capture(path) as reader:
        return [
            Packet(
                int(batch.time[row]),
                batch.buffer[at : at + int(batch.captured[row])],
                int(batch.original[row]),
                str(batch.interfaces[batch.interface[row]].name),
            )
            for batch in reader
            for row, at in enumerate(batch.offset.tolist())
        ]


class Recorder:
    """A running recorder. `first` is its first answer."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid
        self._rest = b""
        self.first = self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line that it says; {} where it says nothing more."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self._rest:
            assert select.select([descriptor], [], [], PATIENCE)[0], "the recorder says nothing"
            octets = os.read(descriptor, 1 << 16)
            if not octets:
                return {}
            self._rest += octets
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def leave(self) -> None:
        """Go as its owner."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> dict[str, Any]:
        """Leave, and have its last answer."""
        self.leave()
        answer = self.answer()
        assert self.process.wait(PATIENCE) == 0
        return answer

    def status(self) -> dict[str, str]:
        """What /proc knows of its privileges."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}


@contextmanager
def recorder(
    task: Mapping[str, Any],
    *,
    module: str = "sniff",
    prefix: Sequence[str] = (),
    env: Mapping[str, str | None] | None = None,
    pass_fds: Sequence[int] = (),
    **options: Any,
) -> Iterator[Recorder]:
    """Run a recorder on a task until the block's end; what is None in `env` is unset."""
    variables: dict[str, str | None] = {**os.environ, "SUDO_UID": None, "SUDO_GID": None}
    variables |= dict(env or {})
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", f"smtpscope.recorders.{module}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={name: value for name, value in variables.items() if value is not None},
        pass_fds=pass_fds,
        **options,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
        yield Recorder(process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()


def recorded(path: Path, wanted: int) -> Callable[[], bool]:
    """Whether at least so many packets are in the file by now."""
    return lambda: path.exists() and len(packets(path)) >= wanted
