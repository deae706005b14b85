"""What a recorder keeps up with on loopback: packets a second and drops, and scapy's beside it.

    python tests/bench/sniff.py [SESSIONS]

Needs root, Postfix's smtp-source and smtp-sink. First SESSIONS sessions (20,000) of smtp-source at
full speed, then datagrams as fast as one processor sends them; each is recorded by our recorder,
and then by scapy's AsyncSniffer with the same filter.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PORT = 2525
DATAGRAMS = 600_000
QUIET = subprocess.DEVNULL

SCAPY = """
import sys, time
from struct import unpack
from scapy.all import AsyncSniffer, conf
socket = conf.L2listen(iface="lo", filter=sys.argv[1], promisc=False)
sniffer = AsyncSniffer(opened_socket=socket, store=False, prn=lambda packet: seen.append(1))
seen = []
sniffer.start()
time.sleep(0.5)
print("ready", flush=True)
sys.stdin.read()
time.sleep(3)
taken, dropped = unpack("II", socket.ins.getsockopt(263, 6, 8))
print(len(seen), dropped, flush=True)
"""


class Result(NamedTuple):
    packets: int
    dropped: int
    seconds: float
    processor: float


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ours(expression: str, load: Callable[[], None], path: Path) -> Result:
    task = {"interfaces": ["lo"], "filter": expression, "path": str(path)}
    argv = [sys.executable, "-m", "smtpscope.recorders.sniff"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
        ready = json.loads(process.stdout.readline())
        if "ready" not in ready:
            sys.exit(ready["error"])
        start, before = time.monotonic(), processor_seconds(process.pid)
        load()
        seconds = time.monotonic() - start
        time.sleep(0.5)
        spent = processor_seconds(process.pid) - before
        process.stdin.close()
        ended = json.loads(process.stdout.readline())
    return Result(ended["packets"], ended["dropped"], seconds, spent)


def scapys(expression: str, load: Callable[[], None]) -> Result:
    argv = [sys.executable, "-c", SCAPY, expression]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        start, before = time.monotonic(), processor_seconds(process.pid)
        load()
        seconds = time.monotonic() - start
        process.stdin.close()
        packets, dropped = map(int, process.stdout.readline().split())
        return Result(packets, dropped, seconds, processor_seconds(process.pid) - before)


def mail(sessions: int) -> None:
    argv = ["smtp-source", "-s", "20", "-m", str(sessions), "-l", "2000"]
    subprocess.run([*argv, f"127.0.0.1:{PORT}"], check=True)


def datagrams() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        sink.bind(("127.0.0.1", PORT))
        client.connect(("127.0.0.1", PORT))
        payload = bytes(200)
        for _ in range(DATAGRAMS):
            client.send(payload)


def show(what: str, result: Result) -> None:
    print(
        f"{what:34} {result.packets:>9,} packets recorded of {result.packets + result.dropped:>9,},"
        f" {result.dropped:>9,} dropped; {result.packets / result.seconds:>8,.0f} packets/s for"
        f" {result.seconds:5.1f} s; recorder {result.processor:5.1f} s of a processor"
    )


def main() -> None:
    sessions = int(sys.argv[1]) if sys.argv[1:] else 20_000
    if os.geteuid() != 0 or not (shutil.which("smtp-source") and shutil.which("smtp-sink")):
        sys.exit("needs root and Postfix's smtp-source and smtp-sink")
    folder = Path(tempfile.mkdtemp(prefix="smtpscope-bench-", dir="/tmp"))
    folder.chmod(0o777)
    sink = ["smtp-sink", "-u", "nobody", f"127.0.0.1:{PORT}", "1000"]
    try:
        with subprocess.Popen(sink, stdout=QUIET, stderr=QUIET) as server:
            time.sleep(0.5)
            tcp, udp = f"tcp port {PORT}", f"udp port {PORT}"
            mails = f"{sessions:,} sessions"
            show(f"{mails}, smtpscope", ours(tcp, lambda: mail(sessions), folder / "mail.pcapng"))
            show(f"{mails}, AsyncSniffer", scapys(tcp, lambda: mail(sessions)))
            server.terminate()
        show("datagrams, smtpscope", ours(udp, datagrams, folder / "udp.pcapng"))
        show("datagrams, AsyncSniffer", scapys(udp, datagrams))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
