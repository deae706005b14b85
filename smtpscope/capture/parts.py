"""The files of a capture: one, or those of a recording that was rotated while it was read.

Together they are read as one file, in which each part has a place; single packets are found again
by their places.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

from smtpscope.errors import SmtpscopeError


class Part(NamedTuple):
    """A file that begins at octet `start` of the whole."""

    start: int
    path: str


class Parts:
    """Reads octets of the whole. A context manager; files are opened when they are needed."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._open: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def read(self, offset: int, size: int) -> bytes:
        """`size` octets at `offset` of the whole. Raises SmtpscopeError where they have gone."""
        number = max(
            (number for number, part in enumerate(self._parts) if part.start <= offset), default=0
        )
        start = self._parts[number].start
        try:
            octets = os.pread(self._descriptor(number), size, offset - start)
        except (OSError, ValueError, OverflowError) as error:
            raise SmtpscopeError(f"the capture cannot be read ({error}); open it again") from None
        if len(octets) != size:
            raise SmtpscopeError("the capture is shorter than it was; open it again")
        return octets

    def _descriptor(self, number: int) -> int:
        if self._open is not None and self._open[0] == number:
            return self._open[1]
        self._close()
        path = self._parts[number].path
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            if len(self._parts) > 1:
                raise SmtpscopeError(
                    f"{path} has been rotated away, and these packets with it: the list stays;"
                    " --keep more files to keep details longer"
                ) from None
            raise SmtpscopeError(_unreadable(path, "No such file or directory")) from None
        except OSError as error:
            raise SmtpscopeError(_unreadable(path, error.strerror)) from None
        self._open = (number, descriptor)
        return descriptor

    def _close(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None


def _unreadable(path: str, reason: str | None) -> str:
    return (
        f"the capture cannot be read any more ({reason}): the list stays, but details need {path}"
    )
