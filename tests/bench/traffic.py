"""Makes captures to measure with: recorded from Postfix's smtp-source and smtp-sink, or generated.

Run by `review.py` as a program of its own, `traffic.py record|generate SESSIONS FILE`: a child's
peak memory as the kernel counts it begins with its parent's, so the parent has to stay small.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

PORT = 2525
_PARALLEL = 20
_MESSAGE = 2000
_SLAB = 20_000
_DIGITS = b"#######"
_SERVER = bytes((10, 255, 0, 1))
_DEADLINE = 300
_QUIET = subprocess.DEVNULL


def can_record() -> bool:
    """Postfix's tools and tcpdump are installed, and tcpdump may capture on loopback."""
    if not all(shutil.which(name) for name in ("smtp-source", "smtp-sink", "tcpdump")):
        return False
    listed = subprocess.run(["tcpdump", "-D"], capture_output=True, text=True, check=False)
    return re.search(r"^\d+\.lo\b", listed.stdout, re.MULTILINE) is not None


def record(sessions: int, file: Path) -> None:
    """Send `sessions` messages over loopback, a connection each, and record them.

    Raises RuntimeError where a program fails, or the kernel dropped packets.
    """
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    sink = subprocess.Popen(["smtp-sink", *user, "-c", f"127.0.0.1:{PORT}", "1000"], stdout=_QUIET)
    try:
        _await_listener()
        sniffer = _start_sniffer(file)
        try:
            options = f"-s {_PARALLEL} -m {sessions} -l {_MESSAGE} -M client.example.com"
            envelope = ["-f", "sender@example.com", "-t", "reader@example.net"]
            subprocess.run(
                ["smtp-source", *options.split(), *envelope, f"127.0.0.1:{PORT}"],
                check=True,
                timeout=_DEADLINE,
            )
        finally:
            # What was captured last waits in the kernel for tcpdump.
            time.sleep(1)
            sniffer.send_signal(signal.SIGINT)
            said = sniffer.communicate()[1]
    finally:
        sink.terminate()
        sink.wait()
    dropped = re.search(r"(\d+) packets dropped by kernel", said)
    if dropped is None or int(dropped[1]):
        raise RuntimeError(f"the recording is not whole: {said.strip()}")


def _start_sniffer(file: Path) -> subprocess.Popen[str]:
    sniffer = subprocess.Popen(
        ["tcpdump", "-i", "lo", "-B", "32768", "-s", "0", "-w", str(file), f"port {PORT}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert sniffer.stderr is not None
    for line in sniffer.stderr:
        if "listening on" in line:
            return sniffer
    raise RuntimeError(f"tcpdump ended with status {sniffer.wait()}")


def _await_listener() -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", PORT), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise RuntimeError(f"smtp-sink does not listen on port {PORT}") from None
            time.sleep(0.05)


def generate(sessions: int, file: Path) -> None:
    """Write a pcap of `sessions` sessions, of which so many as `_PARALLEL` go on at a time."""
    with file.open("wb") as out:
        out.write(bytes.fromhex("d4c3b2a1 02000400 00000000 00000000 00000400 01000000"))
        for first in range(0, sessions, _SLAB):
            _generate_slab(first, min(_SLAB, sessions - first), out)


def _generate_slab(first: int, count: int, out: BinaryIO) -> None:
    import numpy as np

    whole = -(-count // _PARALLEL) * _PARALLEL
    number = np.arange(first, first + whole)
    digits = number[:, None] // 10 ** np.arange(len(_DIGITS))[::-1] % 10 + ord("0")
    address = np.array([10 << 24]) + 1 + number // 50_000
    port = 10_000 + number % 50_000
    packets = _packets()
    columns = []
    for index, (from_client, template) in enumerate(packets):
        frame = np.tile(np.frombuffer(template, np.uint8), (whole, 1))
        place = 16 + 14 + (12 if from_client else 16)
        frame[:, place : place + 4] = address.astype(">u4")[:, None].view(np.uint8)
        place = 16 + 14 + 20 + (0 if from_client else 2)
        frame[:, place : place + 2] = port.astype(">u2")[:, None].view(np.uint8)
        for found in re.finditer(_DIGITS, template):
            frame[:, found.start() : found.end()] = digits
        step = (number // _PARALLEL * len(packets) + index) * _PARALLEL + number % _PARALLEL
        stamp = np.stack([1_700_000_000 + step * 10 // 1_000_000, step * 10 % 1_000_000], axis=1)
        frame[:, 0:8] = stamp.astype("<u4").view(np.uint8)
        columns.append(frame.reshape(whole // _PARALLEL, -1))
    out.write(np.concatenate(columns, axis=1).tobytes())


def _packets() -> list[tuple[bool, bytes]]:
    """One session as pcap records, each with whether the client sent it.

    Where the times, the client's address and port and the session's number come is left open.
    """
    body = b"".join(b"X" * 98 + b"\r\n" for _ in range(_MESSAGE // 100))
    head = (
        b"From: <sender-#######@example.com>\r\nTo: <reader@example.net>\r\n"
        b"Subject: performance test #######\r\nMessage-Id: <#######@client.example.com>\r\n\r\n"
    )
    dialogue = [
        (False, b"220 mail.example.net ESMTP\r\n"),
        (True, b"EHLO client.example.com\r\n"),
        (False, b"250-mail.example.net\r\n250-PIPELINING\r\n250 8BITMIME\r\n"),
        (True, b"MAIL FROM:<sender-#######@example.com>\r\n"),
        (False, b"250 2.1.0 Ok\r\n"),
        (True, b"RCPT TO:<reader@example.net>\r\n"),
        (False, b"250 2.1.5 Ok\r\n"),
        (True, b"DATA\r\n"),
        (False, b"354 End data with <CR><LF>.<CR><LF>\r\n"),
        (True, head + body + b".\r\n"),
        (False, b"250 2.0.0 Ok: queued as #######\r\n"),
        (True, b"QUIT\r\n"),
        (False, b"221 2.0.0 Bye\r\n"),
    ]
    seq = {True: 1000, False: 2000}
    packets = [
        (True, record_of(True, seq, 0x02)),
        (False, record_of(False, seq, 0x12)),
        (True, record_of(True, seq, 0x10)),
    ]
    for from_client, payload in dialogue:
        packets.append((from_client, record_of(from_client, seq, 0x18, payload)))
    for from_client in (True, False):
        packets.append((from_client, record_of(from_client, seq, 0x11)))
        packets.append((not from_client, record_of(not from_client, seq, 0x10)))
    return packets


def record_of(
    from_client: bool, seq: dict[bool, int], flags: int, payload: bytes = b"", port: int = PORT
) -> bytes:
    """A segment as a pcap record; the client's address and port are left open, and the time."""
    numbers = seq[from_client].to_bytes(4) + (seq[not from_client] if flags != 2 else 0).to_bytes(4)
    seq[from_client] += len(payload) + (flags & 0x03 != 0)
    ports = (bytes(2), port.to_bytes(2))
    addresses = (bytes(4), _SERVER)
    if not from_client:
        ports, addresses = ports[::-1], addresses[::-1]
    tcp = b"".join(ports) + numbers + bytes((0x50, flags)) + b"\xff\xff" + bytes(4) + payload
    ip = b"\x45\0" + (20 + len(tcp)).to_bytes(2) + b"\0\0\x40\0\x40\x06\0\0" + b"".join(addresses)
    frame = bytes(12) + b"\x08\0" + ip + tcp
    return bytes(8) + len(frame).to_bytes(4, "little") * 2 + frame


if __name__ == "__main__":
    make = {"record": record, "generate": generate}[sys.argv[1]]
    make(int(sys.argv[2]), Path(sys.argv[3]))
