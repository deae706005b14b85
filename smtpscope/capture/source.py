"""Where the octets of a capture come from: a file, a pipe or a stream, compressed or not.

In: a path, "-" or a binary stream. Out: the uncompressed octets in blocks of a size that the
caller chooses. A source that fails while it is read is a source that ends, and says why. One that
is followed goes on where others end.
"""

from __future__ import annotations

import os
import select
import stat
import time
import zlib
from collections.abc import Callable
from io import FileIO
from typing import IO, cast

from smtpscope.capture.growing import Growing, GrowingFile, GrowingPipe
from smtpscope.capture.parts import Part
from smtpscope.errors import NoCaptureError

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

_COMPRESSED_BLOCK = 128 << 10
_MORSEL = 256
"""Octets of a zstd stream that are decompressed at once where nothing bounds what comes of them."""
_PATIENCE = 0.05
"""Seconds that a pipe may take to fill a block once it has delivered something."""
_IMPATIENCE = 0.005
"""The same for one that is followed."""

Read = Callable[[int], bytes]


class Source:
    """A readable stream that counts, decompresses and never raises once it is open.

    `size` is the length of the underlying file, None where there is none; `consumed` how much of
    it has been read; `problem` says in words why it ended before its time. With `follow`, nothing
    may mean nothing as yet: `ended` tells that it is the end. A file that is followed is read from
    `offset` on; what else there is has none.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | IO[bytes],
        *,
        follow: bool = False,
        offset: int = 0,
    ) -> None:
        self.consumed = 0
        self.offset = 0
        self.size: int | None = None
        self.problem: str | None = None
        self._follow = follow
        self._growing: Growing | None = None
        self._file: FileIO | None = None
        self._again = False
        if isinstance(source, str | os.PathLike):
            self.name = os.fspath(source)
            self._raw = self._open(self.name, offset)
        else:
            self.name = str(getattr(source, "name", "stream"))
            self._raw = getattr(source, "read1", None) or source.read
        self._read: Read = self._counted
        self._held = b""

    def _open(self, name: str, offset: int) -> Read:
        where: str | int = name
        if name == "-":
            self.name, where = "standard input", 0
        try:
            # An open file belongs to this object, which closes it; descriptor 0 is not ours.
            file = open(where, "rb", buffering=0, closefd=where != 0)  # noqa: SIM115
        except FileNotFoundError:
            raise NoCaptureError(f"{name}: no such file; check the path") from None
        except IsADirectoryError:
            raise NoCaptureError(f"{name} is a directory; name a capture file in it") from None
        except PermissionError:
            raise NoCaptureError(
                f"{name}: permission to read is denied; change its mode or run as its owner"
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise NoCaptureError(f"{self.name} cannot be read ({reason}); check it") from None
        self._file = file
        if file.isatty():
            file.close()
            raise NoCaptureError(f"{self.name} is a terminal; pipe a capture into it")
        status = os.fstat(file.fileno())
        patient = _patient(file.fileno(), _IMPATIENCE if self._follow else _PATIENCE)
        if not stat.S_ISREG(status.st_mode):
            if not self._follow:
                return patient
            self._growing = GrowingPipe(file.fileno(), patient)
            return self._growing.read
        if not self._follow or where == 0:
            self.size = status.st_size
            self._again = True
            return file.read
        self.offset = file.seek(offset)
        self._growing = GrowingFile(name, file)
        return self._growing.read

    @property
    def ended(self) -> bool:
        """Whether nothing was read because nothing more will come."""
        return self._growing is None or self._growing.ended

    @property
    def follows(self) -> bool:
        """Whether what is read may still grow: it is handed out as it comes."""
        return self._growing is not None

    @property
    def parts(self) -> list[Part]:
        """The files that were read of what is followed."""
        return self._growing.parts if self._growing is not None else []

    def stop(self) -> None:
        """Follow no more: it ends where it ends now."""
        if self._growing is not None:
            self._growing.stop()

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._growing is not None:
            self._growing.close()
        if self._file is not None:
            self._file.close()

    def read(self, size: int) -> bytes:
        """Up to `size` octets; none at the end."""
        if self._held:
            octets, self._held = self._held[:size], self._held[size:]
            return octets
        return self._read(size)

    def more(self, rest: bytes, size: int) -> bytes:
        """`rest`, which ends what was read, and up to `size` octets behind it; alone at the end."""
        if not rest or self._held or not self._again:
            piece = self.read(size)
            return rest + piece if rest else piece
        # To read some octets again is quicker than to put large pieces together.
        assert self._file is not None
        self._file.seek(-len(rest), os.SEEK_CUR)
        self.consumed -= len(rest)
        octets = self._read(len(rest) + size)
        # A file that was cut meanwhile ends here.
        return octets if len(octets) > len(rest) else rest

    def peek(self, size: int) -> bytes:
        """The next `size` octets, fewer only at the end; they will be read again."""
        while len(self._held) < size:
            octets = self._read(size - len(self._held))
            self._held += octets
            # A pipe is waited for.
            if not octets and (self.ended or self.parts):
                break
        return self._held[:size]

    def decompress(self) -> None:
        """Deliver the content from now on, if what comes next is a gzip or zstd stream."""
        magic = self.peek(4)
        if magic.startswith(GZIP):
            self._read = _Gunzip(self, self._held).read
        elif magic.startswith(ZSTD):
            unzstd = _GrowingUnzstd if self.follows else _Unzstd
            self._read = unzstd(self, self._held).read
        else:
            return
        self._again = False
        self._held = b""

    def give_up(self, problem: str) -> bytes:
        """Say why there is nothing more, and deliver nothing."""
        self.problem = self.problem or problem
        if self._growing is not None:
            self._growing.ended = True
        return b""

    def _counted(self, size: int) -> bytes:
        try:
            octets = bytes(self._raw(size))
        except (OSError, ValueError) as error:
            return self.give_up(f"reading failed ({getattr(error, 'strerror', None) or error})")
        self.consumed += len(octets)
        if self._growing is not None:
            self.problem = self.problem or self._growing.problem
        return octets

    def compressed(self) -> bytes:
        """The next octets of the compressed file; none at its end, or where there are none as yet:
        `ended` tells."""
        return self._counted(_COMPRESSED_BLOCK)


class _Gunzip:
    """The content of a gzip file of one or more members, as far as it goes (RFC 1952 §2.2)."""

    def __init__(self, source: Source, head: bytes) -> None:
        self._source = source
        self._pending = head
        self._member = zlib.decompressobj(wbits=31)
        self._between = False
        self._done = False

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        room = size
        while room and not self._done and (octets := self._some(room)):
            parts.append(octets)
            room -= len(octets)
            if self._source.follows:
                break
        return b"".join(parts)

    def _some(self, room: int) -> bytes:
        while True:
            if self._between and not self._next_member():
                return b""
            self._pending = self._pending or self._source.compressed()
            if not self._pending:
                if not self._source.ended:
                    return b""
                self._done = True
                return self._source.give_up("the gzip stream is cut short")
            try:
                octets = self._member.decompress(self._pending, room)
            except zlib.error:
                self._done = True
                return self._source.give_up("the gzip stream is damaged")
            self._pending = self._member.unconsumed_tail
            if self._member.eof:
                self._between = True
                self._pending = self._member.unused_data
            if octets:
                return octets

    def _next_member(self) -> bool:
        """Begin with the next member, if there is one (as yet)."""
        rest = self._pending.lstrip(b"\0")
        while len(rest) < 2 and (more := self._source.compressed()):
            rest = (rest + more).lstrip(b"\0")
        self._pending = rest
        if len(rest) < 2 and not self._source.ended:
            return False
        self._between = False
        self._done = not rest.startswith(GZIP)
        if rest and self._done:
            self._source.give_up("something else follows the gzip stream")
        self._member = zlib.decompressobj(wbits=31)
        return not self._done


class _Unzstd:
    """The content of a zstd file of one or more frames, as far as it goes (RFC 8878)."""

    def __init__(self, source: Source, head: bytes) -> None:
        import zstandard

        self._source = source
        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor().stream_reader(
            cast(IO[bytes], _Compressed(source, head)),
            read_size=_COMPRESSED_BLOCK,
            read_across_frames=True,
        )

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        room = size
        try:
            while room and (octets := self._reader.read(min(room, _COMPRESSED_BLOCK))):
                parts.append(octets)
                room -= len(octets)
        except self._error:
            self._source.give_up("the zstd stream is damaged")
        return b"".join(parts)


class _GrowingUnzstd:
    """The same of a stream that grows: all that has come, and nothing is waited for.

    `_Unzstd` takes a moment in which nothing comes for the end. Fed in small pieces, no more than
    8 MB come of one.
    """

    def __init__(self, source: Source, head: bytes) -> None:
        import zstandard

        self._source = source
        self._pending = memoryview(head)
        self._content = bytearray()
        self._error = zstandard.ZstdError
        self._stream = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

    def read(self, size: int) -> bytes:
        try:
            while len(self._content) < size:
                if not self._pending and not self._content:
                    self._pending = memoryview(self._source.compressed())
                if not self._pending:
                    break
                piece, self._pending = self._pending[:_MORSEL], self._pending[_MORSEL:]
                self._content += self._stream.decompress(piece)
        except self._error:
            self._pending = memoryview(b"")
            self._source.give_up("the zstd stream is damaged")
        octets = bytes(self._content[:size])
        del self._content[:size]
        return octets


class _Compressed:
    """What zstandard reads from: the octets already looked at, then the source."""

    def __init__(self, source: Source, head: bytes) -> None:
        self._source = source
        self._head = head

    def read(self, size: int) -> bytes:
        octets, self._head = self._head, b""
        return octets or self._source.compressed()


def _patient(descriptor: int, patience: float) -> Read:
    """Read a live pipe: block for the first octets, then take what follows within `patience`.

    A writer in full flow gives large blocks this way, and a slow one is not waited for.
    """

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)

    def read(size: int) -> bytes:
        octets = os.read(descriptor, size)
        parts = [octets]
        room = size - len(octets)
        until = time.monotonic() + patience
        while octets and room and (left := until - time.monotonic()) > 0:
            if not poll.poll(left * 1000):
                break
            octets = os.read(descriptor, room)
            parts.append(octets)
            room -= len(octets)
        return b"".join(parts)

    return read
