"""What is used where a system has less: libpcap's sockets, and old kernels' loopback."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from namespace import Namespace

from smtpscope.recorders import sockets
from smtpscope.recorders.bpf import expression_program
from smtpscope.recorders.interfaces import choose_interfaces

pytestmark = pytest.mark.live

# In a process of its own: scapy changes its mind about interfaces when it has loaded libpcap.
LIBPCAP = """
import select, socket
from smtpscope.errors import UsageError
from smtpscope.recorders.interfaces import choose_interfaces
from smtpscope.recorders.libpcap import LibpcapSocket
(loopback,) = choose_interfaces(["lo"])
tap = LibpcapSocket(loopback, "udp port 2525", False)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for payload in (b"one", b"two"):
    client.sendto(payload, ("127.0.0.1", 2525))
seen = []
while len(seen) < 2 and select.select([tap], [], [], 5)[0]:
    tap.drain(lambda *packet: seen.append(packet), 0, 10)
tap.count()
print(tap.linktype, tap.dropped, [octets[42:44 + 1] for _, _, octets, _ in seen])
try:
    LibpcapSocket(loopback, "udp prt 2525", False)
except UsageError as error:
    print("syntax error" in str(error))
"""


def test_libpcaps_sockets_give_the_same(namespace: Namespace) -> None:
    argv = [*namespace.prefix, sys.executable, "-c", LIBPCAP]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["1 0 [b'one', b'two']", "True"]


def test_a_kernel_that_can_not_ignore_outgoing_packets_gives_no_doubles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "_IGNORE_OUTGOING", 250)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        (loopback,) = choose_interfaces(["lo"])
        program = expression_program(f"udp port {server.getsockname()[1]}", loopback)
        tap = sockets.PacketSocket(loopback, program, False)
        for number in range(5):
            server.sendto(b"%d" % number, server.getsockname())
        seen: list[bytes] = []
        tap.drain(lambda _wire, _time, octets, _original: seen.append(octets[42:]), 0, 100)
    assert seen == [b"%d" % number for number in range(5)]
