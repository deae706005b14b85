"""Who started a recorder: its task comes in as one line of JSON, its answers go out as such lines.

The answers are {"ready": PATH, "interfaces": […], "how": "socket"|"dumpcap"|"pipe"}, with the
"offset" at which this recording begins where the file may have others before; and at the end
{"ended": REASON, "packets": n, "dropped": n}; or {"error": TEXT, "status": the exit status}. Any
word behind the task ends the recording. The end of standard input without one means that the owner
was killed, which ends it, too, unless somebody else depends on it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from smtpscope.capture.recording import Rotation
from smtpscope.errors import SmtpscopeError, UsageError

TASK_BOUND = 1 << 20
"""Octets of a task."""


class NoPermissionError(SmtpscopeError):
    """The kernel refuses to let this user capture."""

    exit_status = 4


class Task(NamedTuple):
    """What to record, and where. `user` is the uid and gid to go on as, `descriptor` an open pipe,
    `options` what only one kind of recorder knows.

    `filter` "" means the TCP `ports`; `seconds` and `packets` end the recording, None never.
    """

    path: Path
    interfaces: tuple[str, ...] = ()
    filter: str = ""
    ports: tuple[int, ...] = ()
    promiscuous: bool = False
    descriptor: int | None = None
    rotation: Rotation | None = None
    packets: int | None = None
    seconds: float | None = None
    detach: bool = False
    user: tuple[int, int] | None = None
    options: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Read a task. Raises UsageError."""
        try:
            said = json.loads(line)
            rotation, user = said.get("rotation"), said.get("user")
            return cls(
                path=Path(said["path"]),
                interfaces=tuple(map(str, said.get("interfaces", ()))),
                filter=said.get("filter", "").strip(),
                ports=tuple(sorted({int(port) & 0xFFFF for port in said.get("ports", ())})),
                promiscuous=bool(said.get("promiscuous")),
                descriptor=said.get("fd"),
                rotation=Rotation(*rotation) if rotation else None,
                packets=said.get("packets"),
                seconds=said.get("seconds"),
                detach=bool(said.get("detach")),
                user=(int(user[0]), int(user[1])) if user else None,
                options=dict(said.get("options", {})),
            )
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise UsageError(
                f"a recorder reads its task as a line of JSON ({error}): use `smtpscope sniff`"
            ) from None


class Owner:
    """The owner's words: the task, and whatever ends the recording.

    `reason` is why it has to end, None as long as it goes on; `descriptors` become readable when
    `listen` has something to hear. Signals and the clock are the owner's words, too.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.descriptors: list[int] = []
        self._deadline: float | None = None
        self._outlive = False

    def task(self) -> Task:
        """Read the task; no octet behind its line. Raises UsageError."""
        line = b""
        while not line.endswith(b"\n") and len(line) < TASK_BOUND:
            octet = os.read(0, 1)
            if not octet:
                break
            line += octet
        return Task.from_json(line)

    def attend(self, task: Task, *, outlive: bool = False) -> None:
        """Hear signals and standard input from now on; or, detached, signals alone. With `outlive`
        an owner that is killed leaves a recorder that is detached."""
        wakeup, waker = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self.descriptors = [wakeup]
        self._on(signal.SIGTERM)
        self._outlive = outlive
        if task.detach:
            self._detach()
        else:
            self._on(signal.SIGHUP)
            # Ctrl-C goes to all processes of a terminal: the owner decides, and tells us.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.descriptors.append(0)

    def start_clock(self, seconds: float | None) -> None:
        """End the recording `seconds` from now."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the recording has to end."""
        return float("inf") if self._deadline is None else self._deadline - time.monotonic()

    def listen(self, ready: Callable[[int], bool]) -> str | None:
        """`reason`, after listening to those of `descriptors` that are `ready`."""
        if self.descriptors and ready(self.descriptors[0]):
            with suppress(BlockingIOError):
                os.read(self.descriptors[0], 512)
        if 0 in self.descriptors and ready(0):
            self.descriptors.remove(0)
            if os.read(0, 512) or not self._outlive:
                self.reason = self.reason or "owner"
            else:
                self._detach()
        if self.left <= 0:
            self.reason = self.reason or "seconds"
        return self.reason

    def tell(self, **answer: Any) -> None:
        """Answer; nobody listens where the owner has gone, which is no error."""
        with suppress(OSError):
            os.write(1, json.dumps(answer).encode() + b"\n")

    def _detach(self) -> None:
        with suppress(PermissionError):
            # Refused to who leads a group already, and so needs it no more.
            os.setsid()
        self._on(signal.SIGINT)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on(self, number: signal.Signals) -> None:
        def end(*_: object) -> None:
            self.reason = self.reason or number.name

        signal.signal(number, end)


def serve(record: Callable[[Owner], None]) -> None:
    """Run a recorder to its end and leave with its exit status; every error is told."""
    owner = Owner()
    try:
        record(owner)
    except SmtpscopeError as error:
        owner.tell(error=str(error), status=error.exit_status)
        sys.exit(error.exit_status)
    except Exception as error:
        owner.tell(error=f"the recorder failed ({type(error).__name__}: {error})", status=1)
        sys.exit(1)
