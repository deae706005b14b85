"""The server beside aiosmtpd: sessions and octets a second, and what it holds.

    python tests/bench/serving.py [MESSAGES]

Needs Postfix's smtp-source, and aiosmtpd (pip install aiosmtpd). MESSAGES (10,000) of 2 kB, a new
connection each, ten at once; twenty of 20 MB; then 2,000 idle connections, 10,000 fuzzed ones, and
a message of 2 GB. Ours records everything and has each message fsynced in a Maildir. aiosmtpd runs
twice: with its own handler that writes a Maildir (without fsync), and with one that throws away.
"""

from __future__ import annotations

import json
import random
import resource
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

PEER = """
import sys, time
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
class Sink:
    async def handle_DATA(self, server, session, envelope):
        return "250 ok"
port, folder = sys.argv[1:]
handler = Mailbox(folder) if folder else Sink()
controller = Controller(handler, hostname="127.0.0.1", port=int(port), data_size_limit=0)
controller.start()
print("ready", flush=True)
sys.stdin.read()
controller.stop()
"""
IDLE = 2_000
FUZZED = 10_000
LARGE = 2_000_000_000
WORDS = (
    *(b"EHLO a\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b>\r\n", b"DATA\r\n", b".\r\n"),
    *(b"BDAT 5\r\n", b"RSET\r\n", b"QUIT\r\n", b"VRFY x\r\n", b"x" * 2_000, b"\0\n", b"HELP\r\n"),
)


class Running(NamedTuple):
    pid: int
    port: int


@contextmanager
def ours(folder: Path) -> Iterator[Running]:
    options = {
        "listen": ["smtp://127.0.0.1:0"],
        "maildir": str(folder / "mail"),
        "settings": {"max_size": 0},
        "limits": {},
    }
    argv = [sys.executable, "-m", "smtpscope.recorders.serve"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        task = {"path": str(folder / "r.pcapng"), "options": options}
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
        yield Running(process.pid, json.loads(process.stdout.readline())["ports"][0])
        process.stdin.close()


@contextmanager
def theirs(folder: Path | None = None) -> Iterator[Running]:
    """aiosmtpd; without a `folder` it keeps nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-c", PEER, str(port), str(folder / "theirs") if folder else ""]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        yield Running(process.pid, port)
        process.stdin.close()


def load(port: int, messages: int, size: int, at_once: int) -> float:
    """Seconds that smtp-source takes."""
    began = time.monotonic()
    options = ["-s", str(at_once), "-m", str(messages), "-l", str(size)]
    subprocess.run(["smtp-source", *options, f"127.0.0.1:{port}"], check=True)
    return time.monotonic() - began


def memory(pid: int) -> float:
    fields = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1]
    return int(fields.split()[0]) / 1000


def compare(messages: int) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="smtpscope-bench-") as made,
        ours(Path(made)) as we,
        theirs(Path(made)) as keeper,
        theirs() as sink,
    ):
        for _ in range(3):
            took = (load(each.port, messages, 2_048, 10) for each in (we, keeper, sink))
            tell("sessions/s", messages, *took)
        for _ in range(3):
            took = (load(each.port, 20, 20_000_000, 1) for each in (we, keeper, sink))
            tell("MB/s", 400, *took)


def tell(unit: str, amount: int, our: float, keeper: float, sink: float) -> None:
    print(
        f"{amount / our:8,.0f} {unit}, aiosmtpd {amount / keeper:8,.0f} ({keeper / our:.2f} times),"
        f" throwing away {amount / sink:8,.0f} ({sink / our:.2f} times)",
        flush=True,
    )


def endure() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="smtpscope-bench-") as made, ours(Path(made)) as we:
        print(f"{memory(we.pid):.1f} MB at the beginning")
        idle = [socket.create_connection(("127.0.0.1", we.port)) for _ in range(IDLE)]
        for each in idle:
            each.recv(100)
        print(f"{memory(we.pid):.1f} MB with {IDLE:,} idle connections", flush=True)
        honest(we.port)
        for each in idle:
            each.close()
        chance = random.Random(1)
        for number in range(FUZZED):
            with closing(socket.create_connection(("127.0.0.1", we.port))) as link:
                said = b"".join(chance.choices(WORDS, k=chance.randrange(1, 10)))
                link.sendall(said if number % 4 else chance.randbytes(300))
        print(f"{memory(we.pid):.1f} MB after {FUZZED:,} fuzzed dialogues", flush=True)
        honest(we.port)
        large(we)


def honest(port: int) -> None:
    began = time.monotonic()
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("a@example.org", "b@example.net", "hello")
    print(f"  an honest client takes {(time.monotonic() - began) * 1e3:.1f} ms", flush=True)


def large(we: Running) -> None:
    piece = (b"y" * 76 + b"\r\n") * 13_000
    peak, sent = 0.0, 0
    with closing(socket.create_connection(("127.0.0.1", we.port))) as link:
        file = link.makefile("rb")
        file.readline()
        for line in (b"HELO a", b"MAIL FROM:<>", b"RCPT TO:<a@b.example>", b"DATA"):
            link.sendall(line + b"\r\n")
            file.readline()
        began = time.monotonic()
        while sent < LARGE:
            link.sendall(piece)
            sent += len(piece)
            peak = max(peak, memory(we.pid))
        link.sendall(b".\r\n")
        reply = file.readline().decode().strip()
    rate = sent / (time.monotonic() - began) / 1e6
    print(f"{peak:.1f} MB at most while {sent / 1e9:.1f} GB came, {rate:.0f} MB/s: {reply}")


if __name__ == "__main__":
    compare(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
    endure()
