"""Record what another program captures: tcpdump's or dumpcap's stream, from a pipe.

`python -m smtpscope.recorders.pipe` reads the descriptor that its task names. Each packet is in the
recording as soon as it has come; counters, secrets and comments of the stream go with it.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import IO, NamedTuple, cast

from smtpscope.capture.pcap import CaptureReader, PacketBatch, open_capture
from smtpscope.capture.recording import RecordingWriter, Wire
from smtpscope.capture.records import Statistics
from smtpscope.errors import UsageError
from smtpscope.recorders.owner import Owner, Task, serve
from smtpscope.recorders.privilege import drop

_MOST = 1000.0
"""Seconds that nobody has to wait longer than."""
_PATIENCE, _LAST = 3.0, 1.0
"""Seconds that a writer who was told to stop may take, and that reading what it has may take."""


class Inlet:
    """The reading end of the pipe: it ends where the writer ends, or when the owner says so.

    `before_waiting` is called when nothing more is there for the moment, `stop` once when the owner
    wants to end: what the writer has then is still read.
    """

    name = "the pipe"

    def __init__(self, descriptor: int, owner: Owner) -> None:
        self.before_waiting: Callable[[], None] = _nothing
        self.stop: Callable[[], None] | None = None
        self._until: float | None = None
        self._descriptor = descriptor
        self._owner = owner
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        for heard in owner.descriptors:
            self._poll.register(heard, select.POLLIN)

    def read(self, size: int) -> bytes:
        """Up to `size` octets, as soon as there are any; none at the end."""
        ready = self._ready(0)
        if self._descriptor not in ready:
            self.before_waiting()
        while not self._owner.listen(ready.__contains__):
            if self._descriptor in ready:
                return os.read(self._descriptor, size)
            ready = self._ready(min(self._owner.left, _MOST))
        return self._rest(size)

    def _rest(self, size: int) -> bytes:
        """What the writer has when the owner wants to end."""
        if self._until is None:
            # Nobody stops a writer for us: what is in the pipe by now is all.
            patience = 0.0
            if self.stop is not None:
                self.stop()
                patience = _PATIENCE
            self._until = time.monotonic() + patience
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLIN)
        left = self._until - time.monotonic()
        if left > -_LAST and self._ready(left):
            return os.read(self._descriptor, size)
        return b""

    def _ready(self, seconds: float) -> set[int]:
        return {descriptor for descriptor, _ in self._poll.poll(max(0, seconds * 1000))}


class Copied(NamedTuple):
    """How a stream ended."""

    packets: int
    dropped: int
    problems: list[str]


def copy(reader: CaptureReader, inlet: Inlet, writer: RecordingWriter, task: Task) -> Copied:
    """Append the packets of a capture to a recording until it ends, or `task.packets` are there."""
    return _Copy(reader, writer, task).run(inlet)


class _Copy:
    """A stream on its way into a recording."""

    def __init__(self, reader: CaptureReader, writer: RecordingWriter, task: Task) -> None:
        self._reader = reader
        self._writer = writer
        self._filter = task.filter
        self._most = task.packets
        self._packets = 0
        self._time = 0
        self._wires: list[int] = []
        self._secrets = 0
        self._comments = 0
        self._counted: dict[int, Statistics] = {}

    def run(self, inlet: Inlet) -> Copied:
        inlet.before_waiting = self._catch_up
        for batch in self._reader:
            self._append(batch)
            if self._packets == self._most:
                break
        self._catch_up()
        dropped = sum(
            counters.dropped_by_system or counters.dropped or 0
            for counters in self._reader.statistics.values()
        )
        return Copied(self._packets, dropped, self._reader.problems)

    def _append(self, batch: PacketBatch) -> None:
        self._add_wires()
        # What says nothing of its place comes before all packets that came with it: keys have to.
        for secret in self._reader.secrets[self._secrets :]:
            self._writer.secrets(secret.data)
        self._secrets = len(self._reader.secrets)
        new = self._reader.comments[self._comments :]
        self._comments = len(self._reader.comments)
        comments = {one.packet: one.text.decode("utf-8", "replace") for one in new if one.packet}
        count = len(batch)
        if self._most is not None:
            count = min(count, self._most - self._packets)
        columns = (batch.interface, batch.time, batch.offset, batch.captured, batch.original)
        rows = zip(*(column[:count].tolist() for column in columns), strict=True)
        wires, packet, buffer = self._wires, self._writer.packet, memoryview(batch.buffer)
        for number, (wire, when, at, captured, original) in enumerate(rows, batch.first):
            comment = comments.get(number, "") if comments else ""
            packet(wires[wire], when, buffer[at : at + captured], original, comment)
        self._packets += count
        self._time = int(batch.time[count - 1]) if count else self._time

    def _add_wires(self) -> None:
        for interface in self._reader.interfaces[len(self._wires) :]:
            name = interface.name or self._reader.name
            wire = Wire(name, interface.linktype, interface.snaplen, self._filter)
            self._wires.append(self._writer.add_wire(wire))

    def _catch_up(self) -> None:
        """Write all that has come."""
        self._add_wires()
        for index, counters in self._reader.statistics.items():
            if self._counted.get(index) != counters and index < len(self._wires):
                self._counted[index] = counters
                self._writer.statistics(
                    self._wires[index],
                    self._time,
                    received=counters.received,
                    dropped=counters.dropped_by_system or counters.dropped,
                )
        self._writer.flush()


def record(owner: Owner) -> None:
    """Record from the descriptor of the owner's task until there is a reason to end."""
    task = owner.task()
    if task.descriptor is None:
        raise UsageError("no pipe is named: use `smtpscope -`")
    # Loaded as long as we may read it: a compressed stream needs it.
    import zstandard  # noqa: F401

    # A pipe takes no privilege: it is recorded as who we are, into that user's folders.
    drop(None)
    owner.attend(task)
    inlet = Inlet(task.descriptor, owner)
    with (
        open_capture(cast(IO[bytes], inlet)) as reader,
        RecordingWriter(task.path, [], rotation=task.rotation) as writer,
    ):
        owner.start_clock(task.seconds)
        owner.tell(ready=str(writer.path), interfaces=[], how="pipe")
        copied = copy(reader, inlet, writer, task)
    finish(owner, task, copied)


def finish(owner: Owner, task: Task, copied: Copied) -> None:
    """Tell how a stream ended."""
    reason = "packets" if copied.packets == task.packets else owner.reason or "input"
    problems = {"problems": copied.problems} if copied.problems else {}
    owner.tell(ended=reason, packets=copied.packets, dropped=copied.dropped, **problems)


def _nothing() -> None:
    pass


if __name__ == "__main__":
    serve(record)
