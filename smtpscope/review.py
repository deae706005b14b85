"""Captures under review: their index, the process that fills it, and the details of a session.

What a viewer works on. An index that is there is opened; otherwise a process is started that
reads the captures while the viewer shows what there is already. One that is still being written is
followed, and its index is not kept.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from smtpscope.capture.parts import Part
from smtpscope.capture.pcap import open_capture
from smtpscope.details import Details, Place
from smtpscope.errors import NoCaptureError
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.index.rows import Progress
from smtpscope.index.store import DEFAULT_LIMIT, Store, key_of
from smtpscope.index.views import DamagedError, Index, SessionRow
from smtpscope.index.writer import Task, run
from smtpscope.processes import start
from smtpscope.recorder import Recorder


class Review:
    """One or several captures, as one list of sessions; or one that grows (`live`), which the
    `recorder` writes where it is ours. With `close` that ends, too.

    `problems` are lines for the user. Raises `NoCaptureError` where one is not there, or all are
    no captures.
    """

    def __init__(
        self,
        captures: Sequence[str],
        *,
        ports: frozenset[int] = frozenset(),
        policy: Policy = NO_POLICY,
        jobs: int | None = None,
        cache_limit: int = DEFAULT_LIMIT,
        live: bool = False,
        key_logs: tuple[str, ...] = (),
        recorder: Recorder | None = None,
    ) -> None:
        self.captures = tuple(os.path.abspath(capture) for capture in captures)
        _check(captures)
        self.names = tuple(Path(capture).name for capture in captures)
        self.policy = policy
        self._ports = ports
        self._key_logs = key_logs
        self._jobs = jobs
        self._process: BaseProcess | None = None
        self._store = Store(limit=cache_limit)
        self.problems = [self._store.problem] if self._store.problem else []
        self.stopped = False
        self.live = live
        self.recorder = recorder
        self.index = self._open()

    def _open(self) -> Index:
        try:
            key = key_of(self.captures, self._ports, self.policy, self._key_logs)
        except OSError as error:
            raise NoCaptureError(f"{error.filename}: {error.strerror}; check the path") from None
        found = None if self.live else self._store.find(key, self.names)
        if found is not None:
            return found
        path = self._store.new(key)
        task = Task(
            path,
            self.captures,
            self._ports,
            self.policy,
            self._jobs,
            self.live,
            self._key_logs,
        )
        self._process = start(run, task)
        return Index(path, key, self.names)

    def again(self) -> None:
        """Make the index anew: it was damaged, or the captures have changed."""
        self._end()
        path = self.index.path
        self.index.close()
        self._store.remove(path)
        self.stopped = False
        self.index = self._open()

    @property
    def doing(self) -> str:
        """What goes on with a capture that grows, in words for a title."""
        return self.recorder.doing if self.recorder is not None else f"following {self.names[0]}"

    @property
    def serves(self) -> bool:
        """Whether what is recorded is a server of ours."""
        return self.recorder is not None and self.recorder.name == "serve"

    @property
    def reading(self) -> bool:
        """Whether captures are still being read."""
        return self._process is not None and self._process.is_alive()

    def watch(self) -> None:
        """Look after the recorder: where it has ended, what it wrote is read to its end. To be
        called now and then."""
        if self.recorder is not None and not self.recorder.alive and self.reading:
            pid = self._process.pid if self._process is not None else None
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)

    def progress(self) -> Progress:
        """How far the reading is. Raises `DamagedError`."""
        return self.index.progress()

    def failure(self) -> str | None:
        """Why the recording or the reading ended before its time, None where it did not."""
        if self.recorder is not None and self.recorder.problem is not None:
            return self.recorder.problem
        if self._process is None or self._process.is_alive() or self.stopped:
            return None
        if self._process.exitcode == 0 or self.index.complete:
            return None
        return (
            "the process that read the captures ended early"
            f" (exit code {self._process.exitcode}): what is here is not all"
        )

    def stop(self) -> None:
        """End the reading; what has been read stays."""
        if self.reading:
            self.stopped = True
            self._end()

    def close(self) -> None:
        """End the recording and the reading, and leave nothing half-done behind."""
        if self.recorder is not None:
            self.recorder.stop()
        self._end()
        try:
            whole = self.index.complete
        except DamagedError:
            whole = False
        self.index.close()
        if not whole:
            self._store.remove(self.index.path)
        self._store.close()

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.join()

    def details(self, row: SessionRow, cancelled: Callable[[], bool] = lambda: False) -> Details:
        """The details of a session; of a compressed capture the first ones take their time.

        Raises `SmtpscopeError`, `DamagedError` among them.
        """
        packets, beside, secrets = self.index.details(row.id)
        place = Place(
            self._parts(row.capture, cancelled),
            self.names[row.capture],
            row.number,
            row.port,
            packets,
            beside,
            secrets,
            self.live and row.state == "open" and self.reading,
        )
        return Details(place, self.policy, cancelled)

    def _parts(self, capture: int, cancelled: Callable[[], bool]) -> list[Part]:
        if self.live:
            return self.index.parts()
        plain = self._store.plain(Path(self.captures[capture]), cancelled)
        return [Part(0, str(plain))]

    def notes(self) -> Iterator[str]:
        """What is to be told of the captures themselves: damage, drops, bounds."""
        for capture, note in self.index.notes():
            yield f"{self.names[capture]}: {note}"


def _check(captures: Sequence[str]) -> None:
    problem: NoCaptureError | None = None
    for capture in captures:
        try:
            open_capture(capture).close()
        except NoCaptureError as error:
            problem = error
            if not os.path.exists(capture):
                raise
        else:
            return
    if problem is not None:
        raise problem
