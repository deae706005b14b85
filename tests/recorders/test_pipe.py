"""Recording from a pipe: every packet, number and key of the stream, as soon as it has come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until
from recorder import Recorder, packets, recorded, recorder

from smtpscope.capture.pcap import open_capture
from smtpscope.places import bundled_captures

CAPTURES = [path for path in bundled_captures() if path.suffix != ".gz"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, Pipe]]:
    reading, writing = os.pipe()
    end = Pipe(writing)
    yield reading, end
    end.close()
    os.close(reading)


class Pipe:
    """The writing end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def write(self, octets: bytes) -> None:
        assert self._descriptor is not None
        while octets:
            octets = octets[os.write(self._descriptor, octets) :]

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextmanager
def piping(descriptor: int, path: Path, **task: Any) -> Iterator[Recorder]:
    told = {"fd": descriptor, "path": str(path), **task}
    with recorder(told, module="pipe", pass_fds=[descriptor]) as process:
        yield process


@pytest.mark.parametrize("source", CAPTURES[::4], ids=lambda path: path.name)
def test_a_stream_is_recorded_whole(source: Path, folder: Path, pipe: tuple[int, Pipe]) -> None:
    reading, end = pipe
    path = folder / "one.pcapng"
    end.write(source.read_bytes()[:60_000])
    with piping(reading, path) as process:
        end.write(source.read_bytes()[60_000:])
        end.close()
        assert process.first == {"ready": str(path), "interfaces": [], "how": "pipe"}
        wanted = packets(source)
        assert process.answer() == {"ended": "input", "packets": len(wanted), "dropped": 0}
        assert process.process.wait(5) == 0
    assert [one[:3] for one in packets(path)] == [one[:3] for one in wanted]
    with open_capture(source) as theirs, open_capture(path) as ours:
        assert sum(map(len, theirs)) == sum(map(len, ours))
        assert theirs.secrets == ours.secrets
        assert [one.linktype for one in theirs.interfaces] == [
            one.linktype for one in ours.interfaces
        ]


def test_packets_are_there_at_once(folder: Path, pipe: tuple[int, Pipe]) -> None:
    reading, end = pipe
    path = folder / "one.pcapng"
    source = next(path for path in CAPTURES if path.name == "postfix-swaks.pcap")
    octets = source.read_bytes()
    end.write(octets[:24])
    with piping(reading, path) as process:
        assert "ready" in process.first
        at = 24
        for number, packet in enumerate(packets(source)[:20], 1):
            following = at + 16 + len(packet.octets)
            end.write(octets[at:following])
            # No other one comes that would push it out.
            wait_until(recorded(path, number), "a packet")
            at = following
        # Half a record stays out, and is told.
        end.write(octets[at : at + 10])
        assert process.end() == {"ended": "owner", "packets": 20, "dropped": 0}
    assert packets(path) != packets(source)
    assert len(packets(path)) == 20


def test_a_limit_of_packets_holds(folder: Path, pipe: tuple[int, Pipe]) -> None:
    reading, end = pipe
    path = folder / "one.pcapng"
    source = next(path for path in CAPTURES if path.name == "postfix-swaks.pcap")
    end.write(source.read_bytes())
    with piping(reading, path, packets=5) as process:
        assert process.answer() == {"ended": "packets", "packets": 5, "dropped": 0}
    assert [one[:3] for one in packets(path)] == [one[:3] for one in packets(source)[:5]]


def test_what_is_no_capture_is_told(folder: Path, pipe: tuple[int, Pipe]) -> None:
    reading, end = pipe
    end.write(b"tcpdump: eth0: You don't have permission\n")
    end.close()
    with piping(reading, folder / "one.pcapng") as process:
        assert process.first["status"] == 5
        assert "is text, not a capture" in process.first["error"]
    assert not (folder / "one.pcapng").exists()


def test_a_task_without_a_pipe_is_told(folder: Path) -> None:
    with recorder({"path": str(folder / "one.pcapng")}, module="pipe") as process:
        assert process.first["status"] == 2
