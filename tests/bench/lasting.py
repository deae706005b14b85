"""An hour of SMTP in minutes: what every process holds while a recording and its index go on.

    python tests/bench/lasting.py [GIGABYTES]

Sends so much (10) through a pipe to the recorder, which rotates its recording, and has that
followed into an index, as the screen does; then sends it to `read --format events -`. Prints the
resident memory of each process (MB) every few seconds. Sessions: nine in ten with a message of
2 kB, one in ten with 1 MB.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import Process
from pathlib import Path
from struct import pack_into, unpack_from

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.conversation import connection
from support.packets import pcap

from smtpscope.findings.walk import NO_POLICY
from smtpscope.index.rows import create
from smtpscope.index.views import Index
from smtpscope.index.writer import Task, run
from smtpscope.recorder import Recorder

PERIOD = 3.0
SESSIONS = 60
TURN = 3
"""Seconds that these take in the capture."""
HEADER = 24
CLIENT = bytes((192, 0, 2, 1))


def dialogue(size: int) -> list[tuple[str, bytes]]:
    line = b"x" * 76 + b"\r\n"
    return [
        ("S", b"220 mx.example ESMTP\r\n"),
        ("C", b"EHLO client.example\r\n"),
        ("S", b"250-mx.example\r\n250 SIZE 10000000\r\n"),
        ("C", b"MAIL FROM:<a@example.org>\r\n"),
        ("S", b"250 ok\r\n"),
        ("C", b"RCPT TO:<b@example.net>\r\n"),
        ("S", b"250 ok\r\n"),
        ("C", b"DATA\r\n"),
        ("S", b"354 go\r\n"),
        ("C", b"Subject: hi\r\n\r\n" + line * (size // len(line)) + b".\r\n"),
        ("S", b"250 2.0.0 queued\r\n"),
        ("C", b"QUIT\r\n"),
        ("S", b"221 bye\r\n"),
    ]


def pieces(total: int) -> Iterator[bytes]:
    """A capture of so many octets: the same sessions again and again, of ever new clients."""
    packets = [
        packet
        for number in range(SESSIONS)
        for packet in connection(
            dialogue(1_000_000 if number % 10 == 0 else 2_000), client=20_000 + number
        )
    ]
    whole = pcap(packets)
    yield whole[:HEADER]
    pattern, places, records = whole[HEADER:], [], []
    at = pattern.find(CLIENT)
    while at >= 0:
        places.append(at)
        at = pattern.find(CLIENT, at + 4)
    at = 0
    while at < len(pattern):
        seconds, _, captured, _ = unpack_from("<4I", pattern, at)
        records.append((at, seconds))
        at += 16 + captured
    sent, turn = HEADER, 0
    while sent < total:
        octets = bytearray(pattern)
        address = (10 << 24 | turn).to_bytes(4)
        for place in places:
            octets[place : place + 4] = address
        for place, seconds in records:
            pack_into("<I", octets, place, seconds + turn * TURN)
        yield bytes(octets)
        sent += len(octets)
        turn += 1


def feed(descriptor: int, total: int) -> None:
    for piece in pieces(total):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    os.close(descriptor)


def memory(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1]
    except (OSError, IndexError):
        return 0.0
    return int(fields.split()[0]) / 1000


def watch(
    what: str, pids: dict[str, int], goes_on: Callable[[], bool], done: Callable[[], str]
) -> None:
    print(f"\n{what}: MB of {', '.join(pids)}")
    began, peak = time.monotonic(), dict.fromkeys(pids, 0.0)
    due = began
    while goes_on():
        for name, pid in pids.items():
            peak[name] = max(peak[name], memory(pid))
        if time.monotonic() >= due:
            due += PERIOD
            now = "  ".join(f"{memory(pid):7.1f}" for pid in pids.values())
            print(f"{time.monotonic() - began:6.0f} s  {now}  {done()}", flush=True)
        time.sleep(0.1)
    print("  peak   " + "  ".join(f"{each:7.1f}" for each in peak.values()), flush=True)


def recorded(total: int, folder: Path) -> None:
    reading, writing = os.pipe()
    sender = Process(target=feed, args=(writing, total))
    sender.start()
    os.close(writing)
    recorder = Recorder("pipe", descriptors=(reading,))
    os.close(reading)
    recorder.begin(
        {"fd": reading, "path": str(folder / "r.pcapng"), "rotation": [100_000_000, None, 20]}
    )
    path = folder / "index.sqlite"
    create(path, "key")
    task = Task(path, (recorder.path,), frozenset(), NO_POLICY, None, follow=True)
    writer = Process(target=run, args=(task,))
    writer.start()
    index = Index(path, "key", ["r"])
    pids = {"recorder": recorder.pid, "index": writer.pid or 0}
    last = ""

    def done() -> str:
        nonlocal last
        progress = index.progress()
        last = f"{progress.sessions:,} sessions, {progress.consumed / 1e9:.1f} GB"
        return last

    stopped = False

    def goes_on() -> bool:
        nonlocal stopped
        if not recorder.alive and not stopped and writer.pid:
            stopped = True
            os.kill(writer.pid, 2)
        return writer.is_alive()

    watch("recorded, rotated, followed into an index", pids, goes_on, done)
    print("  ended  ", done(), "; notes:", [note for _, note in index.notes()][:3])
    sender.join()
    recorder.stop()


def printed(total: int) -> None:
    reading, writing = os.pipe()
    sender = Process(target=feed, args=(writing, total))
    sender.start()
    os.close(writing)
    command = [sys.executable, "-m", "smtpscope", "read", "--format", "events", "-"]
    reader = subprocess.Popen(command, stdin=reading, stdout=subprocess.DEVNULL)
    os.close(reading)
    watch("read --format events -", {"reader": reader.pid}, lambda: reader.poll() is None, str)
    sender.join()


if __name__ == "__main__":
    octets = int(float(sys.argv[1] if len(sys.argv) > 1 else 10) * 1e9)
    with tempfile.TemporaryDirectory(prefix="smtpscope-bench-") as made:
        recorded(octets, Path(made))
    printed(octets)
