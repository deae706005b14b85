"""Wireshark's dumpcap, which captures for users who may not: its stream goes into our recording."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, NamedTuple

from smtpscope.errors import SmtpscopeError, UsageError
from smtpscope.recorders.bpf import CAPTURED, ports_expression
from smtpscope.recorders.owner import NoPermissionError, Task

_PATIENCE = 3.0
"""Seconds that dumpcap may take to end."""
_DELAY = 0.3
"""Seconds that a packet may stay in libpcap until dumpcap has it; at the end it doesn't wait."""


class Dumpcap(NamedTuple):
    """A running dumpcap: what it writes, and what it says."""

    process: subprocess.Popen[bytes]
    words: IO[bytes]

    @property
    def descriptor(self) -> int:
        """Where its capture comes from."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def finish(self) -> None:
        """Have it write what has arrived until now, its counters, and the end."""
        time.sleep(_DELAY)
        self.stop()

    def stop(self) -> None:
        """Have it end soon."""
        with suppress(OSError):
            self.process.send_signal(signal.SIGINT)

    def said(self) -> str:
        """Its last words, after its end."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_PATIENCE)
        self.words.seek(0)
        return self.words.read(1 << 16).decode("utf-8", "replace").strip()


def start(names: Sequence[str], task: Task) -> Dumpcap:
    """Start capturing. Raises NoPermissionError where there is no dumpcap.

    Whether it may capture shows when it writes something: see `refusal`.
    """
    command = shutil.which("dumpcap")
    if command is None:
        raise no_permission(names)
    words = [command, "-q", "-n", "-B", "32", "-s", str(CAPTURED), "-w", "-"]
    words += ["-f", task.filter or ports_expression(task.ports)]
    if _knows(command, "update-interval"):
        # How long a packet may wait for others; a quarter of a second in those that can't be told.
        words += ["--update-interval", "20"]
    if not task.promiscuous:
        words.append("-p")
    for name in names:
        words += ["-i", name]
    said = tempfile.TemporaryFile()  # noqa: SIM115  (the process and `said` go on using it)
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            # Ctrl-C in the terminal is the owner's affair.
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError:
        raise no_permission(names) from None
    return Dumpcap(process, said)


def _knows(command: str, option: str) -> bool:
    try:
        shown = subprocess.run([command, "-h"], capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return option.encode() in shown.stdout


def refusal(dumpcap: Dumpcap, names: Sequence[str], task: Task) -> SmtpscopeError:
    """Why it captures nothing."""
    said = dumpcap.said()
    first = next((line for line in said.splitlines() if line.strip()), "it said nothing")
    if "nvalid capture filter" in said:
        reason = next((line for line in said.splitlines() if line.startswith("  (")), first)
        return UsageError(
            f"the filter {task.filter!r} does not work: {reason.strip(' ().')}; see pcap-filter(7)"
        )
    if "ermission" in said or "ermitted" in said:
        return no_permission(names)
    return SmtpscopeError(f"dumpcap can't capture ({first}): check it with `dumpcap -D`")


def no_permission(names: Sequence[str]) -> NoPermissionError:
    """The three ways to become permitted, in one line."""
    interface = names[0] if names else "eth0"
    return NoPermissionError(
        f"capturing on {', '.join(names)} is not permitted: run it with sudo; or pipe a capture in"
        f" (sudo tcpdump -i {interface} -U -w - port 25 | smtpscope -); or let dumpcap capture for"
        " you as a member of the group wireshark (sudo usermod -aG wireshark $USER, then log in"
        " again)"
    )
