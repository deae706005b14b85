"""Recordings: pcapng files that are appended to, a whole block at a time, and never rewritten.

In: packets, key logs and counters in the order in which they are to be read. Out: a file, or with
rotation a series of files each of which is a capture by itself: little-endian, in nanoseconds
(draft-ietf-opsawg-pcapng §4.1-4.7). A tail cut by a crash is repaired by the next recording.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from struct import Struct
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

from smtpscope import __version__
from smtpscope.capture.repair import repairable
from smtpscope.errors import RecordingError

FLUSH = 1 << 20
"""Octets of blocks that are gathered at most before they are written."""
NEAR = 256 << 20
"""Octets at the end of a file that stay in memory, for those who read along."""
SECRETS_KEPT = 1 << 20
"""Octets of secrets that a rotated recording repeats at the start of each file, newest last."""

TLS_KEY_LOG = 0x544C534B

_SECTION, _INTERFACE, _STATISTICS, _ENHANCED, _SECRETS = 0x0A0D0D0A, 1, 5, 6, 10
_END, _COMMENT = 0, 1
_SHB_OS, _SHB_USERAPPL = 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL, _IF_FILTER, _IF_OS = 2, 3, 9, 11, 12
_ISB_IFRECV, _ISB_OSDROP = 4, 7
_NANOSECONDS = b"\x09"
_LIBPCAP = b"\0"
_OPTION_BOUND = 0xFFFC
"""Octets of an option's value: its length has 16 bits, and a multiple of four needs no padding."""

_WORD = Struct("<I").pack
_LONG = Struct("<Q").pack
_OPTION = Struct("<HH").pack
_SECTION_BODY = Struct("<IHHq").pack(0x1A2B3C4D, 1, 0, -1)
_INTERFACE_BODY = Struct("<HHI").pack
_STATISTICS_BODY = Struct("<III").pack
_ENHANCED_HEAD = Struct("<7I").pack
_SECRETS_BODY = Struct("<II").pack
_TAIL = tuple(Struct(f"<{padding}xI").pack for padding in range(4))
"""The end of a block, by the octets of padding before it."""

_STEP = 16 << 20
"""Octets from one look at what lies behind to the next."""

_FRAME = 12
"""Octets of a block beside its body."""


class Wire(NamedTuple):
    """One interface of a recording; `linktype` as in the LINKTYPE list, `snaplen` 0 is no limit.

    `filter` is the capture filter in libpcap's words.
    """

    name: str
    linktype: int = 1
    snaplen: int = 0
    filter: str = ""
    description: str = ""


class Rotation(NamedTuple):
    """When a recording goes on in another file: beyond `size` octets or after `seconds`.

    `keep` files are kept, and at least the one that is being written; the oldest is removed.
    """

    size: int | None
    seconds: float | None
    keep: int


class RecordingWriter:
    """Appends to a recording, from one thread; nobody else can append to it at the same time.

    Blocks are gathered until `flush`, or until there are `FLUSH` octets. With `rotation`,
    `rec.pcapng` becomes `rec-00001.pcapng` and so on, behind those that are there already; the
    next one is begun only when nothing more is appended to the one before. `clock` counts the
    seconds of a file's age.

    Every method may raise RecordingError; then the writer takes no more, and what was written
    is whole.
    """

    def __init__(
        self,
        path: Path,
        wires: Sequence[Wire],
        *,
        rotation: Rotation | None = None,
        clock: Callable[[], float] = monotonic,
        on_first: Callable[[], object] = lambda: None,
    ) -> None:
        """`on_first` is called when there is something to flush where there was nothing."""
        self._named = self._path = path
        self._file = -1
        self._size = self._start = self._crowded = 0
        self._since = 0.0
        self._wires = list(wires)
        self._rotation = rotation
        self._clock = clock
        self._on_first = on_first
        self.packets = 0
        """Those that were appended."""
        self.offset = 0
        """Where in the file that was named this recording begins, behind earlier ones."""
        self._refusal = ""
        self._blocks = bytearray()
        self._limit = FLUSH
        self._kept: deque[bytes] = deque()
        self._kept_octets = 0
        if rotation is None:
            self._begin(path)
            return
        if rotation.size is not None:
            self._limit = min(FLUSH, rotation.size)
        earlier = _series(path.parent, path.stem, path.suffix)
        if earlier and _is_locked(earlier[-1]):
            raise RecordingError(_busy(earlier[-1]))
        self._begin_next()

    @property
    def path(self) -> Path:
        """The file that is being written."""
        return self._path

    def packet(
        self,
        wire: int,
        time: int,
        octets: bytes | bytearray | memoryview,
        original: int | None = None,
        comment: str = "",
    ) -> None:
        """Append a packet of interface `wire` at `time` (nanoseconds since the epoch).

        `original` is its length on the wire where `octets` are not all of it. Wireshark reads
        packets of up to 262,144 octets.
        """
        if wire >= len(self._wires):
            raise IndexError(f"interface {wire} of {len(self._wires)}")
        captured = len(octets)
        padding = -captured & 3
        length = 32 + captured + padding
        if comment:
            options = bytes(padding) + _options((_COMMENT, _text(comment)))
            length += len(options) - padding
            tail = options + _WORD(length)
        else:
            tail = _TAIL[padding](length)
        if original is None:
            original = captured
        high, low = time >> 32, time & 0xFFFFFFFF
        head = _ENHANCED_HEAD(_ENHANCED, length, wire, high, low, captured, original)
        # Joined first and appended at once: an exception in between leaves no half of a block.
        block = b"".join((head, octets, tail))
        blocks = self._blocks
        if not blocks:
            self._on_first()
        blocks += block
        self.packets += 1
        if len(blocks) > self._limit:
            self.flush()

    def secrets(self, key_log: bytes) -> None:
        """Append lines of a TLS key log; the packets that need them have to come later."""
        if not key_log:
            return
        block = _block(_SECRETS, _SECRETS_BODY(TLS_KEY_LOG, len(key_log)) + _padded(key_log))
        if self._rotation is not None:
            self._kept.append(block)
            self._kept_octets += len(block)
            while self._kept_octets > SECRETS_KEPT and len(self._kept) > 1:
                self._kept_octets -= len(self._kept.popleft())
        self._append(block)

    def statistics(
        self,
        wire: int,
        time: int,
        *,
        received: int | None = None,
        dropped: int | None = None,
        comment: str = "",
    ) -> None:
        """Append counters of interface `wire` since the recording began.

        `received` counts packets, `dropped` those that the kernel had no room for.
        """
        if wire >= len(self._wires):
            raise IndexError(f"interface {wire} of {len(self._wires)}")
        options = _options(
            (_COMMENT, _text(comment)),
            (_ISB_IFRECV, b"" if received is None else _LONG(received)),
            (_ISB_OSDROP, b"" if dropped is None else _LONG(dropped)),
        )
        stamp = _STATISTICS_BODY(wire, time >> 32, time & 0xFFFFFFFF)
        self._append(_block(_STATISTICS, stamp + options))

    def add_wire(self, wire: Wire) -> int:
        """Append an interface that appears later; its number for `packet`."""
        # Each new file begins with all wires, so none may be waiting when a file begins.
        self.flush()
        self._wires.append(wire)
        self._blocks += _interface(wire)
        self._write()
        return len(self._wires) - 1

    def flush(self) -> None:
        """Write what has been gathered, to the next file where it is time for that."""
        if self._refusal:
            self._blocks.clear()
            raise RecordingError(self._refusal)
        if not self._blocks:
            return
        if self._is_due():
            try:
                self._next()
            except RecordingError as error:
                # The old file is whole and may still have room for what is waiting.
                self._write()
                raise self._refuse(str(error)) from None
        self._write()

    def close(self) -> None:
        """Write what has been gathered, and end."""
        if self._file < 0:
            return
        try:
            if not self._refusal:
                self._write()
        finally:
            file, self._file = self._file, -1
            self._refuse(self._refusal or f"{self._path}: the recording is closed")
            try:
                os.close(file)
            except OSError as error:
                raise RecordingError(self._failure(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _append(self, block: bytes) -> None:
        if not self._blocks:
            self._on_first()
        self._blocks += block
        if len(self._blocks) > self._limit:
            self.flush()

    def _write(self) -> None:
        blocks = self._blocks
        try:
            done = 0
            while done < len(blocks):
                with memoryview(blocks) as view, view[done:] as rest:
                    done += os.write(self._file, rest)
            self._size += len(blocks)
            blocks.clear()
            if self._size > self._crowded:
                self._make_room()
        except BaseException as error:
            # Also where a signal's handler raises: the file knows how much it got.
            self._settle()
            if isinstance(error, OSError):
                raise self._refuse(self._failure(error)) from None
            raise

    def _make_room(self) -> None:
        """Have what is far behind written to the disk, and what is there already leave memory."""
        self._crowded = self._size + _STEP
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                os.posix_fadvise(self._file, 0, self._size - NEAR, os.POSIX_FADV_DONTNEED)

    def _settle(self) -> None:
        """Cut the file back to its last whole block; what it doesn't have goes on waiting."""
        with suppress(OSError):
            whole = _whole(self._blocks, os.fstat(self._file).st_size - self._size)
            self._size += whole
            del self._blocks[:whole]
            os.ftruncate(self._file, self._size)

    def _refuse(self, why: str) -> RecordingError:
        """Take no more from now on. A limit that everything exceeds spares `packet` a test."""
        self._refusal = why
        self._limit = -1
        return RecordingError(why)

    def _failure(self, error: OSError) -> str:
        number = error.errno or 0
        what, advice = _FAILURES.get(
            number, (f"writing failed ({error.strerror or error})", "record to another file")
        )
        if number in _FULL and self._rotation is not None:
            advice = "make room or keep fewer files with --rotate"
        return f"{what}: what was recorded until now is whole in {self._path}; {advice}"

    def _is_due(self) -> bool:
        rotation = self._rotation
        if rotation is None or self._size <= self._start:
            return False
        if rotation.size is not None:
            # However many secrets a file begins with, as much again has to be worth it.
            bound = max(rotation.size, 2 * self._start)
            if self._size + len(self._blocks) > bound:
                return True
        return rotation.seconds is not None and self._clock() - self._since >= rotation.seconds

    def _next(self) -> None:
        old = self._file
        self._begin_next()
        with suppress(OSError):
            os.close(old)

    def _begin_next(self) -> None:
        """Begin the file behind those that are there, and remove the ones beyond `keep`."""
        assert self._rotation is not None
        named = self._named
        there = _series(named.parent, named.stem, named.suffix)
        for number in count(_number(there[-1]) + 1 if there else 1):
            path = named.with_name(f"{named.stem}-{number:05d}{named.suffix}")
            # Somebody else's file of that name is not appended to.
            if not os.path.lexists(path):
                break
        self._begin(path)
        there.append(path)
        for oldest in there[: -max(1, self._rotation.keep)]:
            # A file that can't be removed is no reason to stop recording.
            with suppress(OSError):
                oldest.unlink()

    def _begin(self, path: Path) -> None:
        header = b"".join((_section(), *map(_interface, self._wires), *self._kept))
        self._file, self._size = _open(path, header)
        if self._rotation is None:
            self.offset = self._size - len(header)
        self._path = path
        self._start = self._size
        self._crowded = self._size + NEAR
        self._since = self._clock()


def successor(path: Path) -> Path | None:
    """The file that follows `path` in a rotated recording, None where there is none (yet).

    Once there is one, nothing more is appended to `path`.
    """
    match = _NUMBERED.fullmatch(path.name)
    if match is None:
        return None
    own = int(match["number"])
    for later in _series(path.parent, match["stem"], match["suffix"]):
        # A header is written in one go: a file without octets is being made, or was given up.
        with suppress(OSError):
            if _number(later) > own and later.stat().st_size:
                return later
    return None


def files_from(path: Path) -> list[Path]:
    """The files of a rotated recording that are there, in their order, from `path` on, which may
    be gone."""
    match = _NUMBERED.fullmatch(path.name)
    if match is None:
        return [path]
    there = _series(path.parent, match["stem"], match["suffix"])
    return [each for each in there if _number(each) >= int(match["number"])]


def number_in_series(path: Path) -> int:
    """The number of a file of a rotated recording, 0 of a file that is none."""
    match = _NUMBERED.fullmatch(path.name)
    return int(match["number"]) if match is not None else 0


def series_of(path: Path) -> Path:
    """What all files of a rotated recording have in common; another file's own path."""
    match = _NUMBERED.fullmatch(path.name)
    return path if match is None else path.with_name(match["stem"] + match["suffix"])


_NUMBERED = re.compile(
    r"(?P<stem>.*)-(?P<number>[0-9]{5}|[1-9][0-9]{5,})(?P<suffix>(?:\.[^.]*)?)", re.DOTALL
)


def _number(path: Path) -> int:
    match = _NUMBERED.fullmatch(path.name)
    return int(match["number"]) if match else 0


def _series(folder: Path, stem: str, suffix: str) -> list[Path]:
    """The files of one rotated recording that are there, in their order."""
    found: list[tuple[int, Path]] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _NUMBERED.fullmatch(entry.name)
            if match and match["stem"] == stem and match["suffix"] == suffix:
                found.append((int(match["number"]), folder / entry.name))
    return [each for _, each in sorted(found)]


def _section() -> bytes:
    options = _options((_SHB_OS, _system()), (_SHB_USERAPPL, _text(f"smtpscope {__version__}")))
    return _block(_SECTION, _SECTION_BODY + options)


def _interface(wire: Wire) -> bytes:
    options = _options(
        (_IF_NAME, _text(wire.name)),
        (_IF_DESCRIPTION, _text(wire.description)),
        (_IF_TSRESOL, _NANOSECONDS),
        (_IF_FILTER, _LIBPCAP + _text(wire.filter) if wire.filter else b""),
        (_IF_OS, _system()),
    )
    return _block(_INTERFACE, _INTERFACE_BODY(wire.linktype, 0, wire.snaplen) + options)


def _system() -> bytes:
    system = os.uname()
    return _text(f"{system.sysname} {system.release}")


def _text(text: str) -> bytes:
    octets = text.encode("utf-8", "backslashreplace")
    if len(octets) < _OPTION_BOUND:
        return octets
    return octets[: _OPTION_BOUND - 1].decode("utf-8", "ignore").encode()


def _options(*options: tuple[int, bytes]) -> bytes:
    """Those that have a value, and the end of options."""
    parts = [_OPTION(code, len(value)) + _padded(value) for code, value in options if value]
    return b"".join((*parts, _OPTION(_END, 0))) if parts else b""


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) & 3)


def _block(kind: int, body: bytes) -> bytes:
    length = _WORD(len(body) + _FRAME)
    return b"".join((_WORD(kind), length, body, length))


def _whole(blocks: bytearray, end: int) -> int:
    """Where in our own `blocks` the last one ends that is whole before `end`."""
    at = 0
    while at < end:
        following = at + int.from_bytes(blocks[at + 4 : at + 8], "little")
        if following > end:
            break
        at = following
    return at


_FULL = {errno.ENOSPC, errno.EDQUOT}
_FAILURES = {
    errno.ENOSPC: ("the disk is full", "make room or use --rotate"),
    errno.EDQUOT: ("the disk quota is used up", "make room or use --rotate"),
    errno.EFBIG: ("the file may not become larger", "use --rotate or raise the limit"),
}
"""By errno, what happened to a recording, and what to do next."""

_REFUSALS = {
    errno.ENOENT: ("is in a folder that is missing", "make it, or name another file"),
    errno.ENOTDIR: ("is in a folder that is none", "name another file"),
    errno.EISDIR: ("is a directory", "name a file in it"),
    errno.ELOOP: ("is a symbolic link", "name the file that it points to"),
    errno.EACCES: ("may not be written", "name a file that you may write to"),
    errno.EPERM: ("may not be written", "name a file that you may write to"),
    errno.EROFS: ("is on a read-only file system", "name a file elsewhere"),
    errno.ENOSPC: ("finds no room on the disk", "make room, or name a file elsewhere"),
    errno.EDQUOT: ("finds the disk quota used up", "make room, or name a file elsewhere"),
    errno.ENXIO: ("is no ordinary file", "name another file"),
}
"""By errno, why a recording can't be begun, and what to do next."""

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""A link could lead anywhere, and opening a pipe could wait forever."""


def _open(path: Path, header: bytes) -> tuple[int, int]:
    """Open, lock and repair a recording and append `header`: its descriptor, and its size."""
    made = True
    try:
        try:
            file = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            made = False
            file = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from None
    before = None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.ENXIO, "no ordinary file")
        if not _lock(file):
            # Whoever was faster has it now, even where it was made here.
            made = False
            raise RecordingError(_busy(path))
        end = repairable(file, path)
        os.ftruncate(file, end)
        before = end
        done = 0
        while done < len(header):
            done += os.write(file, header[done:])
    except BaseException as error:
        if before is not None:
            with suppress(OSError):
                os.ftruncate(file, before)
        if made:
            with suppress(OSError):
                path.unlink()
        os.close(file)
        if isinstance(error, OSError):
            raise _unusable(path, error) from None
        raise
    return file, before + len(header)


def _unusable(path: Path, error: OSError | ValueError) -> RecordingError:
    reason = getattr(error, "strerror", None) or str(error)
    what, advice = _REFUSALS.get(
        getattr(error, "errno", None) or 0, (f"cannot be written ({reason})", "name another file")
    )
    return RecordingError(f"{path} {what}; {advice}")


def _busy(path: Path) -> str:
    return f"{path} is being recorded into by another process; choose another file"


def _lock(file: int) -> bool:
    """Keep other writers away, as far as the file system can; False where one is at work."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # Some file systems know no locks, and a recording without one is better than none.
        return True
    return True


def _is_locked(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return not _lock(file)
    finally:
        os.close(file)
