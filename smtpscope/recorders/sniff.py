"""Record from network interfaces: a process that opens sockets, drops every privilege, and appends.

`python -m smtpscope.recorders.sniff` never looks into a packet. What arrives is in the recording
within about ten milliseconds, or as soon as a MiB has gathered; what the kernel had no room for is
counted there. Who may not open sockets gets the same through dumpcap, a quarter of a second later.
"""

from __future__ import annotations

import selectors
import sys
import time
from collections.abc import Sequence

from smtpscope.capture.recording import RecordingWriter, Wire
from smtpscope.errors import RecordingError
from smtpscope.recorders import bpf, dumpcap
from smtpscope.recorders.interfaces import InterfaceInfo, choose_interfaces
from smtpscope.recorders.libpcap import LibpcapSocket
from smtpscope.recorders.owner import NoPermissionError, Owner, Task, serve
from smtpscope.recorders.privilege import User, drop, target
from smtpscope.recorders.sockets import PacketSocket, Tap

_TURN = 1_000
"""Packets that are read of one interface before the next one has its turn."""
_GATHER = 0.002
"""Seconds that packets may wait in the kernel for others, so that fewer writes take more."""
_COUNT = 1.0
"""Seconds between two looks at the kernel's counters."""
_REVIVE = 0.2
"""Seconds between two looks at an interface that is down."""
_LAST = 1.0
"""Seconds that reading what has arrived until the end may take."""


def record(owner: Owner) -> None:
    """Record as the owner's task says until there is a reason to end."""
    task = owner.task()
    interfaces = choose_interfaces(task.interfaces)
    user = target(task.user)
    try:
        taps = [_open(interface, task) for interface in interfaces]
    except NoPermissionError:
        _record_dumpcap(owner, task, [interface.name for interface in interfaces], user)
        return
    drop(user)
    owner.attend(task)
    wires = [
        Wire(tap.name, tap.linktype, bpf.CAPTURED, _filter(task, tap.linktype)) for tap in taps
    ]
    with _begin(task, wires, user) as writer:
        owner.start_clock(task.seconds)
        owner.tell(
            ready=str(writer.path),
            offset=writer.offset,
            interfaces=[tap.name for tap in taps],
            how="socket",
        )
        loop = _Loop(owner, taps, writer, task.packets)
        reason = loop.run()
    owner.tell(ended=reason, packets=loop.packets, dropped=sum(tap.dropped for tap in taps))


def _open(interface: InterfaceInfo, task: Task) -> Tap:
    if sys.platform != "linux":
        return LibpcapSocket(interface, _filter(task, interface.linktype), task.promiscuous)
    if task.filter:
        program = bpf.expression_program(task.filter, interface)
    else:
        program = bpf.ports_program(task.ports, interface.linktype)
    return PacketSocket(interface, program, task.promiscuous)


def _filter(task: Task, linktype: int) -> str:
    return task.filter or bpf.ports_expression(task.ports, linktype)


def _begin(task: Task, wires: Sequence[Wire], user: User | None) -> RecordingWriter:
    try:
        return RecordingWriter(task.path, wires, rotation=task.rotation)
    except RecordingError as error:
        if user is None:
            raise
        raise RecordingError(
            f"{error} (recording goes on as {user.name}, who has to be permitted to write there:"
            " /var/tmp is such a folder)"
        ) from None


class _Loop:
    """Packets on their way from the interfaces into the recording; `packets` counts them."""

    def __init__(
        self, owner: Owner, taps: Sequence[Tap], writer: RecordingWriter, most: int | None
    ) -> None:
        self.packets = 0
        self._owner = owner
        self._taps = taps
        self._writer = writer
        self._left = most if most is not None else sys.maxsize
        self._told = [(0, 0)] * len(taps)
        self._next_count = time.monotonic() + _COUNT

    def run(self) -> str:
        """Record until there is a reason to end, and give it."""
        with selectors.DefaultSelector() as selector:
            for wire, tap in enumerate(self._taps):
                selector.register(tap, selectors.EVENT_READ, wire)
            for descriptor in self._owner.descriptors:
                selector.register(descriptor, selectors.EVENT_READ, None)
            while True:
                keys = [key for key, _ in selector.select(self._timeout())]
                heard = {key.fd for key in keys if key.data is None}
                if reason := self._owner.listen(heard.__contains__):
                    self._finish()
                    return reason
                appended = sum(self._drain(key.data) for key in keys if key.data is not None)
                if not self._left:
                    self._finish()
                    return "packets"
                if time.monotonic() >= self._next_count:
                    self._look()
                if not any(tap.more for tap in self._taps):
                    self._writer.flush()
                    if appended:
                        time.sleep(_GATHER)

    def _timeout(self) -> float:
        return max(0.0, min(self._owner.left, self._next_count - time.monotonic()))

    def _drain(self, wire: int) -> int:
        tap = self._taps[wire]
        was_down = tap.down
        appended = tap.drain(self._writer.packet, wire, min(self._left, _TURN))
        self.packets += appended
        self._left -= appended
        if tap.down and not was_down:
            self._count(wire, f"{tap.name} went down")
            self._next_count = min(self._next_count, time.monotonic() + _REVIVE)
        return appended

    def _look(self) -> None:
        """Write counters that have changed, and see whether interfaces are up again."""
        for wire, tap in enumerate(self._taps):
            if tap.down and tap.revive():
                self._count(wire, f"{tap.name} is up again")
            self._count(wire)
        pause = _REVIVE if any(tap.down for tap in self._taps) else _COUNT
        self._next_count = time.monotonic() + pause

    def _count(self, wire: int, comment: str = "", *, last: bool = False) -> None:
        tap = self._taps[wire]
        tap.count()
        counters = (tap.received, tap.dropped)
        if comment or last or counters != self._told[wire]:
            self._told[wire] = counters
            self._writer.statistics(
                wire, time.time_ns(), received=tap.received, dropped=tap.dropped, comment=comment
            )

    def _finish(self) -> None:
        """Take what has arrived, but not for ever, and say the last counters."""
        until = time.monotonic() + _LAST
        for wire, tap in enumerate(self._taps):
            tap.more = not tap.down
            while tap.more and self._left and time.monotonic() < until:
                self._drain(wire)
            self._count(wire, last=True)


def _record_dumpcap(owner: Owner, task: Task, names: Sequence[str], user: User | None) -> None:
    # numpy is needed here alone.
    from smtpscope.capture.pcap import open_capture
    from smtpscope.errors import NoCaptureError
    from smtpscope.recorders import pipe

    process = dumpcap.start(names, task)
    try:
        drop(user)
        owner.attend(task)
        inlet = pipe.Inlet(process.descriptor, owner)
        try:
            reader = open_capture(inlet)  # type: ignore[arg-type]
        except NoCaptureError:
            raise dumpcap.refusal(process, names, task) from None
        inlet.stop = process.finish
        with reader, _begin(task, [], user) as writer:
            owner.start_clock(task.seconds)
            owner.tell(
                ready=str(writer.path),
                offset=writer.offset,
                interfaces=list(names),
                how="dumpcap",
            )
            copied = pipe.copy(reader, inlet, writer, task)
    finally:
        process.stop()
    pipe.finish(owner, task, copied)


if __name__ == "__main__":
    serve(record)
