"""A capture that grows under the test's hands, and is shown as it comes.

Nothing runs beside the test: what is recorded is decoded at once, in this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from support.conversation import START, connection
from support.packets import Packet
from support.screens import main, settled
from textual.pilot import Pilot

from smtpscope import review as reviews
from smtpscope.capture import growing
from smtpscope.capture import recording as recordings
from smtpscope.capture.recording import RecordingWriter, Rotation, Wire
from smtpscope.errors import SmtpscopeError
from smtpscope.findings.walk import NO_POLICY
from smtpscope.index import live
from smtpscope.index.live import LiveWriter
from smtpscope.index.writer import Task
from smtpscope.reading import SMTP_PORTS
from smtpscope.review import Review
from smtpscope.tui import listing, said


class Process:
    """Stands for the process that fills the index: it goes on until the test says otherwise."""

    pid = None

    def __init__(self) -> None:
        self.exitcode: int | None = None

    def is_alive(self) -> bool:
        return self.exitcode is None

    def terminate(self) -> None:
        self.exitcode = -15 if self.exitcode is None else self.exitcode

    def join(self) -> None:
        pass


class FakeRecorder:
    """Stands for a recorder: it lives until the test says otherwise."""

    pid = 4711

    def __init__(self, path: str = "", doing: str = "sniffing eth0", detached: bool = False):
        self.name = "serve" if doing.startswith("serving") else "sniff"
        self.path = path
        self.doing = doing
        self.detached = detached
        self.told: dict[str, Any] = {}
        self.problem: str | None = None
        self.alive = True
        self.stopped = False

    @property
    def ends_with_us(self) -> bool:
        return not self.detached and self.alive

    def die(self, problem: str | None) -> None:
        self.problem, self.alive = problem, False

    def stop(self) -> None:
        if not self.detached:
            self.stopped, self.alive = True, False


class Growing:
    """A recording and its review; `recorder` writes it, as far as the screen knows."""

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        *,
        recorder: FakeRecorder | None = None,
        rotation: Rotation | None = None,
    ) -> None:
        # The size of what is recorded is shown, and must not be this machine's.
        monkeypatch.setattr(recordings, "_system", lambda: b"Linux")
        monkeypatch.setattr(recordings, "__version__", "1")
        monkeypatch.setattr(growing, "MOMENT", 0)
        monkeypatch.setattr(live, "PERIOD", -1)
        monkeypatch.setattr(live, "IDLE_PERIOD", -1)
        monkeypatch.setattr(live, "SHARE", 0)
        monkeypatch.setattr(said, "SHARE", 0)
        monkeypatch.setattr(listing, "ANEW", 0)
        self.process = Process()
        monkeypatch.setattr(reviews, "start", lambda target, task: self.process)
        self.writer = RecordingWriter(folder / "eth0.pcapng", [Wire("eth0")], rotation=rotation)
        self.path = str(self.writer.path)
        self.recorder = recorder
        if recorder is not None:
            recorder.path = self.path
        self.review = Review([self.path], live=True, recorder=recorder)  # type: ignore[arg-type]
        self._follow(self.review.index.path)

    def _follow(self, index: Path) -> None:
        self._live = LiveWriter(index, self.path, SMTP_PORTS, NO_POLICY)
        self._steps = self._live.steps()
        self._look()

    def adopt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the next review that the screen makes be the one of this recording."""
        self.review.recorder = None
        self.review.close()
        self._live.close()

        def begin(target: object, task: Task) -> Process:
            self._follow(task.path)
            return self.process

        self.process = Process()
        monkeypatch.setattr(reviews, "start", begin)

    def record(self, packets: Iterable[Packet]) -> None:
        """Packets arrive."""
        for packet in packets:
            self.writer.packet(0, packet.time, packet.frame, packet.original)
        self.writer.flush()
        self._look()

    def comment(self, words: str, dropped: int = 0) -> None:
        """The recorder says something of the interface."""
        self.writer.statistics(0, START, received=1, dropped=dropped, comment=words)
        self.writer.flush()
        self._look()

    def end(self) -> None:
        """The recording has ended, and all of it is read."""
        self.writer.close()
        self._live.stop()
        for _ in self._steps:
            pass
        self._live.close()
        self.process.exitcode = 0

    def _look(self) -> None:
        # Nothing comes in between where another file begins.
        quiet = 0
        while quiet < 4:
            quiet = 0 if next(self._steps) else quiet + 1


class Talk:
    """One session, whose packets arrive when the test wants them; `number` counts from 0."""

    def __init__(self, recording: Growing, turns: Iterable[tuple[str, bytes]], number: int = 0):
        start = START + number * 60_000_000_000
        self._recording = recording
        self._packets: Iterator[Packet] = connection(turns, client=40_000 + number, start=start)

    def go(self, count: int = 1_000_000) -> None:
        """So many packets more, or all."""
        self._recording.record(islice(self._packets, count))


async def news(pilot: Pilot[Any]) -> None:
    """The screen looks for what has come, until it shows it."""
    for _ in range(3):
        main(pilot).news()
        main(pilot)._count()
        await settled(pilot)


class FakeInterface:
    """An interface as the form sees it."""

    def __init__(self, name: str, addresses: tuple[str, ...], up: bool = True):
        self.name, self.addresses, self.up = name, addresses, up
        self.loopback = name == "lo"


class FakeStarting:
    """Stands for what starts recorders: `started` is what was asked for."""

    rotation = "another file is begun at 100 MB, the newest 10 are kept"
    told = ""
    refusal = ""
    folder = "/home/ann/.local/state/smtpscope/recordings"

    def __init__(self, recorder: FakeRecorder | None = None, error: SmtpscopeError | None = None):
        self.started: list[tuple[str, str, str]] = []
        self.launched: list[tuple[str, list[tuple[str, str]], str]] = []
        self.warnings: list[str] = []
        self._recorder = recorder
        self._error = error

    def interfaces(self) -> list[FakeInterface]:
        return [
            FakeInterface("eth0", ("192.0.2.7", "2001:db8::7")),
            FakeInterface("wlan0", ("198.51.100.3",)),
            FakeInterface("lo", ("127.0.0.1", "::1")),
            FakeInterface("docker0", (), up=False),
        ]

    def start(self, interface: str, filter: str, path: str) -> Any:
        self.started.append((interface, filter, path))
        return self._begun()

    def launch(self, name: str, options: Any, more: str, warn: Any) -> Any:
        self.launched.append((name, options, more))
        for warning in self.warnings:
            warn(warning)
        return self._begun()

    def _begun(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._recorder
