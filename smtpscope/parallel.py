"""Reads a capture with several processes, each of which decodes a share of its connections.

Every worker reads the file and reports what it found to `read_rendered`, which puts the sessions in
order and joins what only several of them show; the worker that has the session then renders it.
What comes out is the same for any number of workers.
"""

from __future__ import annotations

import os
import signal
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Generic, NamedTuple, TypeVar

from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.pcap import open_capture
from smtpscope.errors import SmtpscopeError
from smtpscope.findings import join
from smtpscope.findings.across import Joined
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.processes import quick_context
from smtpscope.reading import (
    SMTP_PORTS,
    Finished,
    OnProgress,
    Report,
    Sequencer,
    ShareDecoder,
    capture_notes,
    eviction_notes,
    read_sessions,
    spare_collector,
)
from smtpscope.session import Session

SHARE = 16_000_000
"""Octets of a capture below which one more process costs more time than it saves."""

AHEAD = 4
MAX_AHEAD = 64
"""Batches that a worker decodes before its sessions are put in order: the first number where
they are many, the second where they are few, for of some batches one share may be the larger."""
MANY = 10_000
"""Exchanges that are many for the sessions that wait."""

_T = TypeVar("_T")

Render = Callable[[Session], _T | None]
"""Makes of a session what is wanted, or None of one that is not."""


class Rendered(NamedTuple, Generic[_T]):
    """What was made of a session; `worst` is the severity of its worst finding, -1 without one."""

    worst: int
    what: _T


class _Task(NamedTuple, Generic[_T]):
    """What all workers are told; with spawn it is pickled."""

    source: Path
    shares: int
    ports: frozenset[int]
    policy: Policy
    trails: bool
    key_logs: tuple[str, ...]
    render: Render[_T]


class _Batch(NamedTuple):
    """A worker's report on a batch; its sessions stay there and go by share and place."""

    share: int
    report: Report[tuple[int, int]]
    consumed: int
    size: int | None


class _Done(NamedTuple):
    """A worker's last word."""

    evicted: int
    notes: list[str]


class _Resume(NamedTuple):
    """Where the worker of a share goes on that one before it has begun: it has reported on so many
    `batches`, of whose sessions those at `places` are still to be rendered; `ahead` of its reports
    have not been answered with results."""

    batches: int
    places: frozenset[int]
    ahead: int


_FROM_THE_START = _Resume(0, frozenset(), 0)

_Results = list[Rendered[_T] | None]

_Order = list[tuple[int, int, Joined]]
"""What is to be written, by place: the session's number, and what it shows beside the others."""


def usual_jobs(source: str | Path) -> int:
    """How many processes are worth it for this file."""
    return max(1, min(_processors(), _size(source) // SHARE))


def _size(source: str | Path) -> int:
    """The octets of a plain file; 0 for what can be read only once, or not at all."""
    try:
        known = os.stat(source)
    except (OSError, ValueError):
        return 0
    return known.st_size if stat.S_ISREG(known.st_mode) else 0


def _processors() -> int:
    # Not every system tells which of them this process may use.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_rendered(
    source: str | Path,
    render: Render[_T],
    jobs: int,
    *,
    ports: frozenset[int] = SMTP_PORTS,
    policy: Policy = NO_POLICY,
    trails: bool = False,
    key_logs: Sequence[str] = (),
    on_progress: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Iterator[Rendered[_T]]:
    """The sessions of a capture file as `render` makes them, in the order of their first packets.

    `render` goes to other processes, and so must be a function of a module or a
    `partial` of one. What is no plain file is read by this process alone. The rest is as with
    `read_sessions`. Raises `NoCaptureError` where the input is no capture, `SmtpscopeError` where a
    worker dies, and the one that does its share again.
    """
    if jobs == 1 or not _size(source):
        for session in read_sessions(
            source,
            ports=ports,
            policy=policy,
            trails=trails,
            key_logs=key_logs,
            on_progress=on_progress,
            on_note=on_note,
        ):
            result = _rendered(session, render)
            if result is not None:
                yield result
        return
    with open_capture(source):
        # What is no capture is told here.
        pass
    context = quick_context()
    task = _Task(Path(source), jobs, ports, policy, trails, tuple(key_logs), render)
    workers: list[_Worker[_T]] = []
    try:
        for share in range(jobs):
            workers.append(_Worker(task, share, context, workers))
        for worker in workers:
            worker.listen()
        yield from (each for each in _collect(workers, on_progress) if each is not None)
        done = [worker.done() for worker in workers]
    finally:
        for worker in workers:
            worker.stop()
    if on_note is not None:
        problems = [worker.problem for worker in workers if worker.problem is not None]
        evicted = eviction_notes(sum(each.evicted for each in done))
        for note in done[0].notes + evicted + problems:
            on_note(note)


def _collect(
    workers: list[_Worker[_T]], on_progress: OnProgress | None
) -> Iterator[Rendered[_T] | None]:
    sequencer: Sequencer[tuple[int, int]] = Sequencer()
    awaited: deque[_Worker[_T]] = deque()
    while batches := [batch for worker in workers if (batch := worker.batch()) is not None]:
        orders: list[_Order] = [[] for _ in workers]
        for number, joined, (share, place) in sequencer.add(batch.report for batch in batches):
            orders[share].append((place, number, joined))
            awaited.append(workers[share])
        for batch in batches:
            workers[batch.share].order(orders[batch.share])
        while awaited and awaited[0].results:
            yield awaited.popleft().results.popleft()
        if on_progress is not None:
            on_progress(batches[0].consumed, batches[0].size, sequencer.begun)
    for worker in awaited:
        yield worker.result()


class _Worker(Generic[_T]):
    """A worker as its owner sees it. A thread takes what it sends, so that neither waits for the
    other to read.

    Where its process dies another one does its share again, once; `problem` tells of that.
    """

    def __init__(
        self, task: _Task[_T], share: int, context: BaseContext, earlier: list[_Worker[_T]]
    ) -> None:
        self.problem: str | None = None
        self.results: deque[Rendered[_T] | None] = deque()
        self._task = task
        self._share = share
        self._received: SimpleQueue[_Batch | _Done | _Results[_T] | Exception | None] = (
            SimpleQueue()
        )
        self._done: _Done | None = None
        self._batches = self._answered = 0
        self._orders: deque[_Order] = deque()
        self._unrendered: set[int] = set()
        self._start(context, [each._pipe for each in earlier], _FROM_THE_START)

    def _start(self, context: BaseContext, earlier: list[Connection], resume: _Resume) -> None:
        self._pipe, theirs = context.Pipe()
        # What a forked process has of ours would keep the pipes open when this process is gone.
        forked = context.get_start_method() == "fork"
        ours = [self._pipe, *earlier] if forked else []
        self._process = context.Process(  # type: ignore[attr-defined]
            target=_work, args=(theirs, self._task, self._share, ours, resume), daemon=True
        )
        self._process.start()
        theirs.close()

    def listen(self) -> None:
        """Take what it sends; only once all workers have been started."""
        Thread(target=self._receive, args=(self._pipe,), daemon=True).start()

    def batch(self) -> _Batch | None:
        """The report on its next batch; None behind the last one."""
        while self._done is None:
            message = self._next()
            if isinstance(message, _Batch):
                return message
        return None

    def order(self, order: _Order) -> None:
        self._orders.append(order)
        self._send(order)

    def _send(self, order: _Order) -> None:
        # What a worker died of is found in what it sent.
        with suppress(OSError):
            self._pipe.send(order)

    def result(self) -> Rendered[_T] | None:
        """The next result, which must have been ordered."""
        while not self.results:
            self._next()
        return self.results.popleft()

    def done(self) -> _Done:
        while self._done is None:
            self._next()
        return self._done

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()

    def _next(self) -> _Batch | None:
        message = self._received.get()
        if isinstance(message, _Batch):
            self._batches += 1
            self._unrendered.update([each.place for each in message.report.finished])
            return message
        if message is None:
            self._again()
        elif isinstance(message, Exception):
            raise message
        elif isinstance(message, _Done):
            self._done = message
        else:
            self._answered += 1
            self._unrendered.difference_update([place for place, _, _ in self._orders.popleft()])
            self.results.extend(message)
        return None

    def _receive(self, pipe: Connection) -> None:
        try:
            while True:
                self._received.put(pipe.recv())
        except (EOFError, OSError):
            self._received.put(None)

    def _again(self) -> None:
        """The process died: have another one do its share, up to what is known of it in silence.

        Raises `SmtpscopeError` where that one dies, too.
        """
        self._process.join(1)
        died = (
            f"a process that read a share of the capture died (exit code {self._process.exitcode})"
        )
        if self.problem is not None:
            raise SmtpscopeError(f"{died}, as one before it: free some memory, or use --jobs 1")
        self.problem = f"{died}: its share was read again"
        self._pipe.close()
        ahead = self._batches - self._answered
        self._start(quick_context(), [], _Resume(self._batches, frozenset(self._unrendered), ahead))
        self.listen()
        for order in self._orders:
            self._send(order)


def _work(
    pipe: Connection, task: _Task[_T], share: int, ours: list[Connection], resume: _Resume
) -> None:
    """A worker: decodes its share, and renders the sessions that it is ordered to.

    What goes wrong here is raised there. `ours` are the owner's ends of pipes.
    """
    for each in ours:
        each.close()
    # Ctrl-C comes to all processes of the terminal; the owner ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spare_collector()
    try:
        _decode(pipe, task, share, resume)
    except (BrokenPipeError, EOFError):
        # The owner has gone.
        pass
    except Exception as error:
        pipe.send(error)


def _decode(pipe: Connection, task: _Task[_T], share: int, resume: _Resume) -> None:
    sessions: dict[int, Session] = {}
    ahead = resume.ahead
    known = resume.batches
    waiting = 0

    def keep(finished: Iterable[Finished[Session]]) -> None:
        nonlocal waiting
        for place, _, session in finished:
            sessions[place] = session
            waiting += len(session.exchanges)

    def report(found: Report[Session]) -> None:
        nonlocal ahead, known
        if known:
            known -= 1
            wanted = (each for each in found.finished if each.place in resume.places)
            keep(wanted)
            return
        keep(found.finished)
        finished = [Finished(place, trace, (share, place)) for place, trace, _ in found.finished]
        kept = Report(found.begun, finished, found.open_since)
        pipe.send(_Batch(share, kept, reader.consumed, reader.size))
        ahead += 1
        while ahead > MAX_AHEAD or (ahead > AHEAD and waiting > MANY) or pipe.poll():
            write()

    def write() -> None:
        nonlocal ahead, waiting
        results: _Results[_T] = []
        for place, number, joined in pipe.recv():
            session = sessions.pop(place)
            waiting -= len(session.exchanges)
            join(session, number, joined)
            results.append(_rendered(session, task.render))
        pipe.send(results)
        ahead -= 1

    key_log = KeyLog(task.key_logs)
    with open_capture(task.source) as reader:
        decoder = ShareDecoder(
            Path(reader.name).name,
            task.ports,
            task.policy,
            share,
            task.shares,
            trails=task.trails,
            comments=reader.comments,
            secrets=reader.secrets,
            key_log=key_log,
        )
        for batch in reader:
            report(decoder.feed(batch))
        report(decoder.finish())
        while ahead:
            write()
        notes = capture_notes(reader, decoder.unreadable) + key_log.problems
        pipe.send(_Done(decoder.evicted, notes))


def _rendered(session: Session, render: Render[_T]) -> Rendered[_T] | None:
    what = render(session)
    if what is None:
        return None
    return Rendered(max([finding.severity for finding in session.findings], default=-1), what)
