"""What the command line does with captures that are still being written: record, follow, show.

Recording is another process's work; this one prints what it decodes, or opens the screen. Ctrl-C,
SIGTERM and SIGHUP end the recording first, and what it has is then shown to its end.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from smtpscope.errors import SmtpscopeError, UsageError
from smtpscope.options import (
    FOUND,
    INTERRUPTED,
    key_logs,
    tell,
    tell_notes,
    text_options,
    wants_screen,
)
from smtpscope.places import new_recording
from smtpscope.recorder import Recorder

if TYPE_CHECKING:
    from smtpscope.tui.forms import Starting

IMPATIENCE = 0.5
"""Seconds after which another signal is meant as one."""


class Showing(NamedTuple):
    """How sessions are shown: the options that all commands have, and the ports for SMTP.

    `starting` starts recordings that are asked for on the screen.
    """

    ports: frozenset[int]
    format: str
    reveal_secrets: bool
    tls_keylog: tuple[str, ...]
    local_domain: tuple[str, ...]
    fail_on: str | None
    filter: str
    no_tui: bool
    starting: Starting | None = None

    def screen(self, *, piped: bool = False) -> bool:
        """Whether the screen is wanted, and possible."""
        return wants_screen(self.no_tui, self.fail_on, piped=piped)


def follow_captures(files: Sequence[str], showing: Showing, *, on: bool = True) -> None:
    """Follow a capture: a file, a FIFO or standard input ("-"); the exit status is raised. `on`: go
    on where a file ends, too."""
    if len(files) > 1:
        raise UsageError("one capture at a time can be followed, or shown as events")
    (name,) = files
    if name == "-" and showing.screen(piped=True):
        pipe = os.dup(0)
        # From here on the keyboard is what is read.
        os.dup2(os.open("/dev/tty", os.O_RDWR), 0)
        recorder = Recorder("pipe", descriptors=(pipe,))
        os.close(pipe)
        task = {"fd": pipe, "path": str(new_recording("pipe")), "rotation": None, "detach": False}
        recorder.begin(task)
        _show(recorder.path, showing, recorder)
    elif os.path.isfile(name) and showing.screen():
        _show(name, showing)
    else:
        _print(name, showing, to_end=not on and os.path.isfile(name))


def record(
    recorder: Recorder,
    task: Mapping[str, Any],
    showing: Showing,
    sessions: int | None = None,
    *,
    quiet: bool = False,
) -> None:
    """Let a recorder begin, and show what it records until it ends, or so many `sessions` have
    ended; the exit status is raised. `quiet`: nobody looks, and nothing is said but what went
    wrong. Raises `RecorderError`."""
    with _leaving():
        try:
            recorder.begin(task)
            # Whatever is said on ports of ours is SMTP.
            showing = showing._replace(ports=showing.ports.union(recorder.told.get("ports", ())))
            if quiet and sessions is None and showing.fail_on is None:
                _wait(recorder)
            elif quiet:
                _print(recorder.path, showing, recorder, sessions, quiet=True)
            elif showing.screen():
                _show(recorder.path, showing, recorder)
            elif task["detach"]:
                _tell_detached(recorder)
            else:
                _print(recorder.path, showing, recorder, sessions)
        finally:
            # Only who is killed leaves without a word.
            recorder.stop()


def _wait(recorder: Recorder) -> None:
    with _ending(recorder) as ending:
        recorder.wait(lambda: ending.signal is not None)
    if recorder.problem is not None:
        raise SmtpscopeError(recorder.problem)
    if ending.signal == signal.SIGINT:
        raise click.exceptions.Exit(INTERRUPTED)


def _show(path: str, showing: Showing, recorder: Recorder | None = None) -> None:
    from smtpscope.findings.relay import policy_of
    from smtpscope.tui.start import start

    status = start(
        [path],
        ports=showing.ports,
        policy=policy_of(showing.local_domain),
        filter=showing.filter,
        reveal=showing.reveal_secrets,
        key_logs=key_logs(showing.tls_keylog),
        live=True,
        recorder=recorder,
        starting=showing.starting,
    )
    if recorder is not None:
        tell_end(recorder)
    raise click.exceptions.Exit(status)


def _print(
    path: str,
    showing: Showing,
    recorder: Recorder | None = None,
    sessions: int | None = None,
    *,
    quiet: bool = False,
    to_end: bool = False,
) -> None:
    from smtpscope import filters
    from smtpscope.export.events import JsonEvents, TextEvents
    from smtpscope.findings.relay import policy_of
    from smtpscope.following import Follower
    from smtpscope.reading import SMTP_PORTS, spare_collector
    from smtpscope.session import Severity
    from smtpscope.watching import Sessions, Silent, print_live

    reveal = showing.reveal_secrets
    spare_collector()
    say: Callable[[str], None] = _say_nothing if quiet else tell
    events: JsonEvents | TextEvents | Sessions | Silent
    if quiet:
        events = Silent()
    elif showing.format == "events":
        events = JsonEvents(reveal=reveal)
    elif showing.format == "jsonl":
        events = Sessions(reveal=reveal)
    else:
        events = TextEvents(**text_options(reveal))
    filter = filters.parse(showing.filter) if showing.filter.strip() else None
    # As long as a pipe has said nothing at all there is nothing that could end in an orderly way.
    follower = Follower(
        path,
        ports=SMTP_PORTS | showing.ports,
        policy=policy_of(showing.local_domain),
        key_logs=key_logs(showing.tls_keylog),
        # What the file had before is nothing of this recording.
        offset=recorder.told.get("offset", 0) if recorder is not None else 0,
    )
    if to_end:
        follower.stop()
    with _ending(recorder) as ending:
        if recorder is not None:
            # Who reads this may press Ctrl-C at once, and loses nothing.
            say(f"{recorder.doing}, recording into {recorder.path}; Ctrl-C ends it")

        def watch() -> None:
            if ending.signal is not None or (recorder is not None and not recorder.alive):
                follower.stop()

        printed = print_live(
            follower,
            events,
            sys.stdout,
            filter=filter,
            tell=say,
            sessions=sessions,
            watch=watch,
        )
    if not quiet:
        tell_notes(follower.reader.name, follower.notes())
    if recorder is not None:
        tell_end(recorder, say)
    if ending.signal == signal.SIGINT:
        raise click.exceptions.Exit(INTERRUPTED)
    if showing.fail_on is not None and printed.worst >= Severity[showing.fail_on.upper()]:
        raise click.exceptions.Exit(FOUND)


class _Ending:
    """Whether a signal told this process to end, and which; a second one is obeyed at once."""

    def __init__(self, recorder: Recorder | None) -> None:
        self.signal: int | None = None
        self._taken = 0.0
        self._recorder = recorder

    def take(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            # timeout(1) tells the process, and then all of its group.
            if time.monotonic() - self._taken < IMPATIENCE:
                return
            raise KeyboardInterrupt
        self.signal = number
        self._taken = time.monotonic()
        if self._recorder is not None:
            self._recorder.ask_to_end()


@contextmanager
def _ending(recorder: Recorder | None) -> Iterator[_Ending]:
    """Signals end what is done within in an orderly way; the recorder ends with it."""
    ending = _Ending(recorder)
    with _handling(ending.take, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        try:
            yield ending
        finally:
            if recorder is not None:
                recorder.stop()


@contextmanager
def _leaving() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is done within as Ctrl-C does, through every `finally`: who died
    of them would leave a recorder that begins, and forwards for ever."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    with _handling(leave, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals
) -> Iterator[None]:
    """Have a handler for these signals, but for those that nohup(1) has us ignore."""
    before = {
        number: signal.signal(number, handler)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


def _say_nothing(words: str) -> None:
    """Take what nobody wants to hear."""


def tell_end(recorder: Recorder, say: Callable[[str], None] = tell) -> None:
    """Say what became of a recording. Raises `SmtpscopeError` where it did not go well."""
    if recorder.detached and recorder.alive:
        _tell_detached(recorder)
        return
    if recorder.problem is not None:
        raise SmtpscopeError(recorder.problem)
    packets, dropped = (recorder.told.get(each, 0) for each in ("packets", "dropped"))
    lost = f", {dropped:,} dropped" if dropped else ""
    first, *others = _files(recorder)
    where = f"{first} to {os.path.basename(others[-1])}" if others else first
    if first == recorder.path:
        say(f"{packets:,} packets{lost} are in {where}")
    else:
        say(f"{packets:,} packets{lost} were recorded; the newest are in {where}")


def _files(recorder: Recorder) -> list[str]:
    """The files of a recording, oldest first: of a rotated one those that are left."""
    from smtpscope.capture.recording import files_from

    left = files_from(Path(recorder.path)) if recorder.rotated else []
    return [str(each) for each in left] or [recorder.path]


def _tell_detached(recorder: Recorder) -> None:
    first, *_ = _files(recorder)
    tell(
        f"process {recorder.pid} records into {first}: smtpscope read --follow"
        f" {first} shows it, kill {recorder.pid} ends it"
    )
