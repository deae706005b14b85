"""Whole TCP connections as packets: handshake, what both sides say, and how it ends."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

from support.packets import ACK, FIN, RST, SYN, Packet, ethernet, ipv4, pcap, tcp

from smtpscope.reading import read_sessions
from smtpscope.session import Session

START = 1_700_000_000_000_000_000
STEP = 1_000_000
SEGMENT = 1_000


def connection(
    turns: Iterable[tuple[str, bytes]],
    *,
    client: int = 40_000,
    server: int = 25,
    start: int = START,
    end: str = "fin",
    handshake: bool = True,
    lost: Iterable[int] = (),
) -> Iterator[Packet]:
    """The packets of one connection from 192.0.2.1 to 192.0.2.2.

    `turns`: ("C" or "S", octets); each is cut into segments of 1,000 octets. `end` is "fin",
    "rst" or "" for a capture that ends first. `lost` are the numbers, from 0, of the payload
    segments that the capture lacks. Packets are a millisecond apart.
    """
    sequence = {"C": 1_000, "S": 9_000_000}
    ports = {"C": (client, server), "S": (server, client)}
    hosts = {"C": ("192.0.2.1", "192.0.2.2"), "S": ("192.0.2.2", "192.0.2.1")}
    missing = set(lost)
    clock = start

    def packet(side: str, payload: bytes, flags: int) -> Packet:
        nonlocal clock
        other = "S" if side == "C" else "C"
        source, target = hosts[side]
        sport, dport = ports[side]
        segment = tcp(
            payload,
            sport=sport,
            dport=dport,
            seq=sequence[side],
            ack=sequence[other] if flags & ACK else 0,
            flags=flags,
        )
        sequence[side] += len(payload) + bool(flags & (SYN | FIN))
        clock += STEP
        return Packet(ethernet(ipv4(segment, source=source, target=target)), clock - STEP)

    if handshake:
        yield packet("C", b"", SYN)
        yield packet("S", b"", SYN | ACK)
        yield packet("C", b"", ACK)
    number = 0
    for side, octets in turns:
        for at in range(0, len(octets), SEGMENT):
            made = packet(side, octets[at : at + SEGMENT], ACK)
            if number not in missing:
                yield made
            number += 1
    if end == "fin":
        yield packet("C", b"", FIN | ACK)
        yield packet("S", b"", FIN | ACK)
        yield packet("C", b"", ACK)
    elif end == "rst":
        yield packet("C", b"", RST)


def sessions(packets: Iterable[Packet], ports: Iterable[int] = (25, 465)) -> list[Session]:
    """What is read of a capture of these packets."""
    return list(read_sessions(io.BytesIO(pcap(packets)), ports=frozenset(ports)))
