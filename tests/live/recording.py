"""Record loopback TCP traffic with tcpdump (or dumpcap, for pcapng) into a file.

A recording begins when the recorder says that it listens, and ends when the connections that
were promised have been seen to close. Only frames of the given ports are kept.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import program, running, wait_until
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapReader

FIN, RST = 0x01, 0x04


@contextmanager
def recording(
    path: Path, *ports: int, connections: int = 1, nanoseconds: bool = False
) -> Iterator[None]:
    """Record the TCP traffic of these ports on lo into `path` while the block runs.

    A name that ends in .pcapng is written by dumpcap, others by tcpdump. On leaving, waits until
    that many connections have closed (both FINs acknowledged, or a reset).
    """
    expression = " or ".join(f"tcp port {port}" for port in ports)
    log = path.with_name(path.name + ".log")
    if path.suffix == ".pcapng":
        argv = [program("dumpcap"), "-q", "-i", "lo", "-s", "0", "-f", expression, "-w", str(path)]
        announcement = b"File: "
    else:
        argv = [program("tcpdump"), "-i", "lo", "-U", "-s", "0", "--immediate-mode", "-Z", "root"]
        argv += ["--time-stamp-precision=nano"] if nanoseconds else []
        argv += ["-w", str(path), expression]
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
    log.unlink()


def closed_connections(path: Path) -> int:
    """How many connections in a capture, still growing perhaps, have been closed by both or reset.

    The order of the frames doesn't matter: on lo two processors may record them out of turn.
    """
    ends: dict[tuple, dict[tuple, int]] = {}
    acknowledged: set[tuple] = set()
    reset = set()
    for frame, _ in RawPcapReader(str(path)):
        segment = Ether(frame)
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
