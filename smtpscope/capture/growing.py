"""What is still being written: a file that grows, the files of a rotated recording, a live pipe.

`read` never blocks for longer than a moment: it gives what there is, and nothing where there is
nothing as yet. `ended` says that nothing more will come.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Protocol

from smtpscope.capture.parts import Part
from smtpscope.capture.recording import number_in_series, successor

MOMENT = 0.02
"""Seconds that are waited at once."""


class Growing(Protocol):
    """Something that is followed; `stop` makes it end where it ends now."""

    ended: bool
    problem: str | None
    parts: list[Part]

    def read(self, size: int) -> bytes: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


class GrowingFile:
    """A file that somebody appends to, from where it stands, and those that follow it where it is
    rotated."""

    def __init__(self, path: str, file: FileIO) -> None:
        self.ended = False
        self.problem: str | None = None
        self.parts = [Part(0, os.path.abspath(path))]
        self._file = file
        self._read = file.tell()
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        stopped = self._stopped
        part = self.parts[-1]
        octets = self._some(size)
        if octets:
            return octets
        following = successor(Path(part.path))
        # Nothing is written to a file whose successor is there, but it may have been just before.
        octets = self._some(size)
        if octets:
            return octets
        if following is not None:
            self._go_on(following)
        elif os.fstat(self._file.fileno()).st_size < self._read - part.start:
            self.problem = "the file was cut while it was followed"
            self.ended = True
        elif stopped:
            self.ended = True
        else:
            time.sleep(MOMENT)
        return b""

    def _some(self, size: int) -> bytes:
        octets = self._file.read(size) or b""
        self._read += len(octets)
        return octets

    def _go_on(self, following: Path) -> None:
        try:
            file = FileIO(str(following))
        except FileNotFoundError:
            # It was rotated away this very moment; there is another one by now.
            return
        skipped = number_in_series(following) - number_in_series(Path(self.parts[-1].path)) - 1
        if skipped:
            self.problem = f"{skipped:,} files were rotated away before they were read"
        self._file.close()
        self._file = file
        self.parts.append(Part(self._read, str(following)))


class GrowingPipe:
    """A pipe into which somebody writes now and then."""

    def __init__(self, descriptor: int, read: Callable[[int], bytes]) -> None:
        self.ended = False
        self.problem: str | None = None
        self.parts: list[Part] = []
        self._read = read
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """Whoever opened it closes it."""

    def read(self, size: int) -> bytes:
        stopped = self._stopped
        if not self._poll.poll(MOMENT * 1000):
            self.ended = stopped
            return b""
        octets = self._read(size)
        self.ended = not octets
        return octets
