"""The reverse of reassembly: what crossed a socket, as the TCP segments that a recording holds.

In: who said what when, as a program sees it. Out: IP packets (link type RAW) with a handshake,
segments in order and a close, which decode to the same octets (RFC 9293 §3.5, §3.6). No socket
tells of retransmissions and windows: there are none. TCP checksums are zero, IP's are right.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from functools import lru_cache
from struct import Struct

from smtpscope.stream import Direction, Endpoint

LINKTYPE_RAW = 101

SERVER_LEGS = "smtpscope-server-legs"
"""The interface of a proxy's own connections to the server, beside those of its clients: they say
the same once more."""

SEGMENT = 65_000
"""Octets of one segment: the most that fits into an IP packet, less a little."""

_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16
_MASK = 0xFFFFFFFF

_IPV4 = Struct(">BBHHHBBH8sHHIIBBHHH").pack
_IPV6 = Struct(">IHBB32sHHIIBBHHH").pack
"""The headers of IP and TCP in one."""
_HEADER = 20
_DONT_FRAGMENT = 0x4000

_RANDOM = random.Random()
"""Of sequence numbers: no packet with them is ever sent, so that nobody need not guess them."""

Append = Callable[[int, bytes, str], None]
"""Takes a time (ns since the epoch), a packet, and a comment on it."""


class Talk:
    """One connection between a client and a server, written down as it goes on."""

    __slots__ = ("_append", "_closed", "_heads", "_note", "_numbers", "_ports", "_six", "_sums")

    def __init__(
        self, append: Append, client: Endpoint, server: Endpoint, time: int, note: str = ""
    ) -> None:
        """The client connects at `time`; `note` is said of its first segment."""
        self._append = append
        self._note = note
        self._closed = [False, False]
        addresses = [_address(client.address), _address(server.address)]
        self._six = any(len(each) == 16 for each in addresses)
        if self._six:
            addresses = [each if len(each) == 16 else _mapped(each) for each in addresses]
        self._heads = [b"".join(addresses), b"".join(reversed(addresses))]
        self._sums = [_words(head) for head in self._heads]
        self._ports = [(client.port, server.port), (server.port, client.port)]
        self._numbers = [_RANDOM.getrandbits(32), _RANDOM.getrandbits(32)]
        self._segment(Direction.CLIENT, b"", _SYN, time)
        self._segment(Direction.SERVER, b"", _SYN | _ACK, time)
        self._segment(Direction.CLIENT, b"", _ACK, time)

    def data(self, direction: Direction, octets: bytes | memoryview, time: int) -> None:
        """One side has said something."""
        if len(octets) <= SEGMENT:
            self._segment(direction, octets, _PSH | _ACK, time)
            return
        for at in range(0, len(octets), SEGMENT):
            self._segment(direction, octets[at : at + SEGMENT], _PSH | _ACK, time)

    def note(self, text: str) -> None:
        """Something to be said of the next segment."""
        self._note = f"{self._note}; {text}" if self._note else text

    def close(self, direction: Direction, time: int, *, reset: bool = False) -> None:
        """One side will say nothing more; once is enough."""
        if not self._closed[direction]:
            self._segment(direction, b"", (_RST if reset else _FIN) | _ACK, time)
            self._closed[direction] = True
            if reset:
                self._closed[direction.other] = True

    def _segment(
        self, direction: Direction, octets: bytes | memoryview, flags: int, time: int
    ) -> None:
        numbers = self._numbers
        seq = numbers[direction]
        ack = numbers[1 - direction] if flags & _ACK else 0
        numbers[direction] = (seq + len(octets) + bool(flags & (_SYN | _FIN))) & _MASK
        source, target = self._ports[direction]
        head = self._heads[direction]
        size = _HEADER + len(octets)
        tcp = source, target, seq, ack, 5 << 4, flags, 0xFFFF, 0, 0
        if self._six:
            packet = _IPV6(6 << 28, size, 6, 64, head, *tcp) + octets
        else:
            length = _HEADER + size
            total = self._sums[direction] + 0x4500 + length + _DONT_FRAGMENT + 0x4006
            total = (total & 0xFFFF) + (total >> 16)
            total = 0xFFFF - ((total & 0xFFFF) + (total >> 16))
            packet = _IPV4(0x45, 0, length, 0, _DONT_FRAGMENT, 64, 6, total, head, *tcp) + octets
        note, self._note = self._note, ""
        self._append(time, packet, note)


@lru_cache(1_000)
def _address(address: str) -> bytes:
    """An IP address as octets, whatever its zone."""
    bare = address.partition("%")[0]
    return socket.inet_pton(socket.AF_INET6 if ":" in bare else socket.AF_INET, bare)


def _mapped(address: bytes) -> bytes:
    return bytes(10) + b"\xff\xff" + address


@lru_cache(1_000)
def _words(octets: bytes) -> int:
    return sum(int.from_bytes(octets[at : at + 2]) for at in range(0, len(octets), 2))
