"""The proxy beside HAProxy's TCP mode and mitmproxy's reverse TCP mode.

    python tests/bench/proxying.py [SESSIONS] [--mitmdump PATH]

Needs Postfix's smtp-source and smtp-sink, and haproxy; mitmdump is left out where it is missing.
SESSIONS (20,000) of one message of 2 kB, ten at once, through each of them in turns (a tenth of
that through mitmproxy); twenty messages of 20 MB; the time that a command takes longer than
without anything in between; then a message of 2 GB to a receiver that is slow. Ours records both
legs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

HAPROXY = """
global
  nbthread {threads}
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen smtp
  bind 127.0.0.1:{port}
  server sink 127.0.0.1:{sink}
"""
ROUNDS = 3
COMMANDS = 2_000
LARGE = 2_000_000_000


def free() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        return int(found.getsockname()[1])


@contextmanager
def running(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    for _ in range(200):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nobody listens on port {port}")


def start(process: subprocess.Popen[bytes], path: Path, sink: int) -> int:
    """Give our proxy its task; its port."""
    assert process.stdin is not None
    assert process.stdout is not None
    options = {"listen": ["127.0.0.1:0"], "upstream": f"smtp://127.0.0.1:{sink}"}
    task = {"path": str(path), "options": {**options, "starttls": "intercept"}}
    process.stdin.write(json.dumps(task).encode() + b"\n")
    process.stdin.flush()
    return int(json.loads(process.stdout.readline())["ports"][0])


def load(port: int, messages: int, size: int, at_once: int) -> float:
    """Seconds that smtp-source takes."""
    began = time.monotonic()
    options = ["-s", str(at_once), "-m", str(messages), "-l", str(size)]
    subprocess.run(["smtp-source", *options, f"127.0.0.1:{port}"], check=True)
    return time.monotonic() - began


def latencies(port: int) -> list[float]:
    """Microseconds from a command to its reply, one at a time."""
    found = []
    with closing(socket.create_connection(("127.0.0.1", port))) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.recv(1_000)
        for _ in range(COMMANDS):
            began = time.perf_counter()
            link.sendall(b"NOOP\r\n")
            link.recv(1_000)
            found.append((time.perf_counter() - began) * 1e6)
    return sorted(found)


def percentiles(found: list[float]) -> tuple[float, float]:
    return found[len(found) // 2], found[len(found) * 99 // 100]


def memory(pid: int) -> float:
    fields = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1]
    return int(fields.split()[0]) / 1000


def sessions(ports: dict[str, int], count: int) -> None:
    ratios: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        rates = {}
        for name, port in ports.items():
            some = count // 10 if name == "mitmproxy" else count
            rates[name] = some / load(port, some, 2_048, 10)
        tell("sessions/s", rates, ratios)
    medians(ratios)


def throughput(ports: dict[str, int]) -> None:
    ratios: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        rates = {}
        for name, port in ports.items():
            rates[name] = 400 / load(port, 20, 20_000_000, 1)
        tell("MB/s", rates, ratios)
    medians(ratios)


def tell(unit: str, rates: dict[str, float], ratios: dict[str, list[float]]) -> None:
    print(unit.rjust(12), *(f"{name} {rate:,.0f}".rjust(20) for name, rate in rates.items()))
    for name, rate in rates.items():
        if name not in ("smtpscope", "nothing"):
            ratios.setdefault(name, []).append(rates["smtpscope"] / rate)
    sys.stdout.flush()


def medians(ratios: dict[str, list[float]]) -> None:
    for name, found in ratios.items():
        print(f"  {statistics.median(found):.2f} times {name}'s (median of {len(found)})")


def delays(ports: dict[str, int]) -> None:
    direct = percentiles(latencies(ports["nothing"]))
    print(f"a command takes {direct[0]:.0f} us (p50), {direct[1]:.0f} us (p99) without a proxy")
    for name, port in ports.items():
        if name != "nothing":
            p50, p99 = percentiles(latencies(port))
            print(f"  with {name} {p50 - direct[0]:+.0f} us (p50), {p99 - direct[1]:+.0f} us (p99)")


class SlowSink(threading.Thread):
    """Takes a message as slowly as it is told to."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.start()

    def run(self) -> None:
        link, _ = self._server.accept()
        link.sendall(b"220 slow\r\n")
        taken = 0
        while octets := link.recv(1 << 16):
            taken += len(octets)
            # Slow at first, and then as fast as it goes, so that the bench has an end.
            if taken < 20_000_000:
                time.sleep(0.01)


def large(folder: Path) -> None:
    slow = SlowSink()
    argv = [sys.executable, "-m", "smtpscope.recorders.proxy"]
    piece = (b"y" * 76 + b"\r\n") * 13_000
    with running(*argv) as process:
        port = start(process, folder / "large.pcapng", slow.port)
        with closing(socket.create_connection(("127.0.0.1", port))) as link:
            link.recv(1_000)
            before = peak = memory(process.pid)
            sent = 0
            while sent < LARGE:
                link.sendall(piece)
                sent += len(piece)
                peak = max(peak, memory(process.pid))
    print(f"{before:.0f} MB before, {peak:.0f} MB at most while {sent / 1e9:.1f} GB went through")


def main(count: int, mitmdump: str | None) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="smtpscope-bench-")))
        os.environ["XDG_STATE_HOME"] = str(folder)
        sink = free()
        stack.enter_context(running("smtp-sink", "-u", "nobody", f"127.0.0.1:{sink}", "500"))
        wait_for(sink)
        argv = [sys.executable, "-m", "smtpscope.recorders.proxy"]
        ours = stack.enter_context(running(*argv))
        ports = {"nothing": sink, "smtpscope": start(ours, folder / "proxy.pcapng", sink)}
        ports["HAProxy"] = free()
        settings = folder / "haproxy.cfg"
        settings.write_text(
            HAPROXY.format(threads=os.cpu_count(), port=ports["HAProxy"], sink=sink)
        )
        stack.enter_context(running("haproxy", "-f", str(settings)))
        if mitmdump:
            port = free()
            mode = f"reverse:tcp://127.0.0.1:{sink}@{port}"
            stack.enter_context(running(mitmdump, "-q", "--mode", mode))
            ports["mitmproxy"] = port
        for port in ports.values():
            wait_for(port)
        sessions(ports, count)
        throughput({name: port for name, port in ports.items() if name != "mitmproxy"})
        delays(ports)
        (folder / "proxy.pcapng").unlink()
        large(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("sessions", nargs="?", type=int, default=20_000)
    parser.add_argument("--mitmdump", default=shutil.which("mitmdump"))
    given = parser.parse_args()
    main(given.sessions, given.mitmdump)
