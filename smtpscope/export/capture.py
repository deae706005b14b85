"""Sessions as a capture of their own: their packets, and the keys that open their TLS."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from smtpscope.capture.pcap import PacketBatch
from smtpscope.capture.recording import RecordingWriter, Wire


class CaptureWriter:
    """Writes a pcapng file, one session behind the other; to be used in a `with`.

    Every method may raise RecordingError.
    """

    def __init__(self, path: Path) -> None:
        self._recording = RecordingWriter(path, ())
        self._wires: dict[int, int] = {}

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._recording.close()

    def add(self, packets: Iterable[PacketBatch], secrets: bytes) -> None:
        """Append the packets of a session, and before them the `secrets` of its TLS, lines of a key
        log."""
        recording = self._recording
        recording.secrets(secrets)
        for batch in packets:
            wires = [self._wire(interface.linktype) for interface in batch.interfaces]
            view = memoryview(batch.buffer)
            columns = (batch.offset, batch.captured, batch.original, batch.time, batch.interface)
            for row in zip(*(column.tolist() for column in columns), strict=True):
                start, captured, original, time, interface = row
                octets = view[start : start + captured]
                recording.packet(wires[interface], time, octets, original)

    def _wire(self, linktype: int) -> int:
        if linktype not in self._wires:
            self._wires[linktype] = self._recording.add_wire(Wire("", linktype))
        return self._wires[linktype]
