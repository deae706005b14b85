"""Record loopback TCP traffic with tcpdump (or dumpcap, for pcapng) into a file.

A recording begins when the recorder says that it listens, and ends when the connections that
were promised have been seen to close. Only frames of the given ports are kept.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import LiveError, program, running, wait_until
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether  # noqa: F401 - loads the layers that PcapReader looks up
from scapy.utils import PcapReader

FIN, RST = 0x01, 0x04

Endpoint = tuple[str, int]
Flow = tuple[Endpoint, ...]


@contextmanager
def recording(
    path: Path,
    *ports: int,
    connections: int = 1,
    nanoseconds: bool = False,
    interface: str = "lo",
) -> Iterator[None]:
    """Record the TCP traffic of these ports into `path` while the block runs.

    A name that ends in .pcapng is written by dumpcap, others by tcpdump. On leaving, waits until
    that many connections have closed (both FINs acknowledged, or a reset).
    """
    expression = " or ".join(f"tcp port {port}" for port in ports)
    log = path.with_name(path.name + ".log")
    if path.suffix == ".pcapng":
        options = f"-q -i {interface} -s 0 -f".split()
        argv = [program("dumpcap"), *options, expression, "-w", str(path)]
        announcement = b"File: "
    else:
        # In immediate mode each frame takes a slot as long as the snapshot: room for 512 of them.
        options = f"-i {interface} -U --immediate-mode -s 131072 -B 65536 -Z root".split()
        options += ["--time-stamp-precision=nano"] if nanoseconds else []
        argv = [program("tcpdump"), *options, "-w", str(path), expression]
        announcement = b"listening on"
    with running(
        argv,
        log=log,
        ready=lambda: announcement in log.read_bytes(),
        stop_with=signal.SIGINT,
    ):
        yield
        wait_until(
            lambda: closed_connections(path) >= connections,
            f"the end of {connections} connections in {path.name}",
        )
    if not re.search(rb"(^|\D)0 packets dropped by kernel|/0 \(", log.read_bytes()):
        raise LiveError(f"frames are missing in {path.name}: {log.read_text()}")
    log.unlink()


def closed_connections(path: Path) -> int:
    """How many connections in a capture, still growing perhaps, have been closed by both or reset.

    The order of the frames doesn't matter: on lo two processors may record them out of turn.
    """
    ends: dict[Flow, dict[Endpoint, int]] = {}
    acknowledged: set[tuple[Flow, Endpoint, int]] = set()
    reset: set[Flow] = set()
    for segment in PcapReader(str(path)):
        if TCP not in segment:
            continue
        tcp, ip = segment[TCP], segment[TCP].underlayer
        sender, receiver = (ip.src, tcp.sport), (ip.dst, tcp.dport)
        flow = tuple(sorted((sender, receiver)))
        acknowledged.add((flow, receiver, tcp.ack))
        if tcp.flags.value & FIN:
            end = (tcp.seq + len(tcp.payload) + 1) & 0xFFFFFFFF
            ends.setdefault(flow, {})[sender] = end
        if tcp.flags.value & RST:
            reset.add(flow)
    closed = {
        flow
        for flow, fins in ends.items()
        if len(fins) == 2 and all((flow, *fin) in acknowledged for fin in fins.items())
    }
    return len(closed | reset)
