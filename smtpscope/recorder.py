"""Starts recorders and looks after them: processes that write recordings and nothing else.

A recorder is told its task in one line of JSON and answers in such lines. It ends when it is told
to, or when its standard input ends, so that it does not outlive who started it: unless it was
detached, or mail passes through it and who started it was killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from smtpscope.errors import SmtpscopeError
from smtpscope.processes import command_of

PATIENCE = 10.0
"""Seconds in which a recorder that was told to end does so."""
_MOMENT = 0.2
MAX_ANSWER = 1 << 20
"""Octets of one answer."""

_DOING = {"sniff": "sniffing", "proxy": "forwarding", "serve": "serving", "pipe": "recording"}


class RecorderError(SmtpscopeError):
    """A recorder could not begin."""

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class Recorder:
    """A recorder: `name` is its module in `smtpscope.recorders`.

    It waits for `begin`, so that who starts it may give up privileges meanwhile. `path` is the
    recording, or the first of its files where it is `rotated`; `problem` says why it ended before
    its time.
    """

    def __init__(
        self, name: str, *, detached: bool = False, descriptors: tuple[int, ...] = ()
    ) -> None:
        self.name = name
        self.path = ""
        self.told: dict[str, Any] = {}
        self.problem: str | None = None
        self.detached = detached
        self.rotated = False
        self._answers = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command_of(f"smtpscope.recorders.{name}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=descriptors,
        )

    def begin(self, task: Mapping[str, Any]) -> None:
        """Let it begin. Raises `RecorderError` where it can't; it has ended then."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            with suppress(BrokenPipeError):
                stdin.write(json.dumps(task).encode() + b"\n")
                stdin.flush()
            answer = self._wait_for_answer()
        except BaseException:
            # Who is interrupted here knows of no recorder that would have to end.
            self.stop()
            raise
        if "ready" not in answer:
            self.stop()
            message = answer.get("error") or self.problem or "the recorder did not begin"
            raise RecorderError(message, int(answer.get("status", 1)))
        self.told = answer
        self.path = str(answer["ready"])
        self.rotated = bool(task.get("rotation"))
        if self.detached:
            stdin.close()

    @property
    def doing(self) -> str:
        """What it does, in words for a title."""
        where = ", ".join(self.told.get("interfaces", ()))
        return f"{_DOING[self.name]} {where}" if where else "recording standard input"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still records."""
        if self._process.poll() is None:
            return True
        self._ended()
        return False

    @property
    def ends_with_us(self) -> bool:
        """Whether it records, and ends when this process does."""
        return not self.detached and self.alive

    def ask_to_end(self) -> None:
        """Tell it to end, and do not wait; one that was detached goes on."""
        if not self.detached:
            self._say_end()

    def wait(self, enough: Callable[[], bool]) -> None:
        """Wait until it has ended, or it is `enough`."""
        while not enough():
            try:
                self._process.wait(_MOMENT)
            except subprocess.TimeoutExpired:
                continue
            self._ended()
            return

    def stop(self) -> None:
        """End it and wait until all is written; one that was detached goes on."""
        if self.detached and self._process.poll() is None and self.path:
            return
        self._say_end()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._ended()

    def _say_end(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        if not stdin.closed:
            with suppress(BrokenPipeError):
                stdin.write(b"end\n")
                stdin.close()

    def _ended(self) -> None:
        """Take its last words."""
        stdout = self._process.stdout
        assert stdout is not None
        if stdout.closed:
            return
        self._answers += stdout.read()
        stdout.close()
        for line in self._answers.splitlines():
            with suppress(ValueError):
                answer = json.loads(line)
                self.told |= answer
                self.problem = answer.get("error", self.problem)
        if self._process.returncode and self.problem is None:
            self.problem = self._died()
        self._errors.close()

    def _wait_for_answer(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        # Not by line: what is read ahead is to be found later.
        while b"\n" not in self._answers and len(self._answers) < MAX_ANSWER:
            octets = os.read(stdout.fileno(), 4096)
            if not octets:
                break
            self._answers += octets
        line, _, self._answers = self._answers.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    def _died(self) -> str:
        with suppress(ValueError):
            self._errors.seek(0)
            words = self._errors.read(MAX_ANSWER).decode("utf-8", "replace").strip().splitlines()
            said = f" ({words[-1]})" if words else ""
            return f"the recorder ended by itself{said}: what it wrote is whole"
        return "the recorder ended by itself: what it wrote is whole"
