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
_DATA = _PSH | _ACK
_MASK = 0xFFFFFFFF

_IPV4 = Struct(">2sH6sH12sIIBB6s").pack
_IPV6 = Struct(">4sH2s36sIIBB6s").pack
"""The headers of IP and TCP in one: what is the same in all of them is octets."""
_VERSION_4, _VERSION_6 = b"\x45\0", b"\x60\0\0\0"
_DONT_FRAGMENT = b"\0\0\x40\0\x40\x06"
"""Identification, flags, 64 hops, and TCP behind it."""
_TCP_NEXT = b"\x06\x40"
_WINDOW = b"\xff\xff\0\0\0\0"
"""And no checksum, no urgent data."""
_PORT = Struct(">H").pack
_HEADER = 20
_OFFSET = 5 << 4

_RANDOM = random.Random()
"""Of sequence numbers: no packet with them is ever sent, so that nobody need not guess them."""

Append = Callable[..., None]
"""Takes a time (ns since the epoch), a packet, and where there is one a `comment` on it."""


class Talk:
    """One connection between a client and a server, written down as it goes on."""

    __slots__ = (
        "_append",
        "_client_seq",
        "_closed",
        "_down",
        "_note",
        "_server_seq",
        "_six",
        "_sum",
        "_up",
    )

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
        ends = zip(addresses, (_PORT(client.port), _PORT(server.port)), strict=True)
        (one, its), (other, others) = ends
        self._up = one + other + its + others
        self._down = other + one + others + its
        # The same for both directions: it is a sum.
        self._sum = _words(_VERSION_4 + _DONT_FRAGMENT + one + other) + 2 * _HEADER
        self._client_seq, self._server_seq = _RANDOM.getrandbits(32), _RANDOM.getrandbits(32)
        self._segment(Direction.CLIENT, b"", _SYN, time, 1)
        self._segment(Direction.SERVER, b"", _SYN | _ACK, time, 1)
        self._segment(Direction.CLIENT, b"", _ACK, time, 0)

    def data(self, direction: Direction, octets: bytes | memoryview, time: int) -> None:
        """One side has said something."""
        size = len(octets)
        if size <= SEGMENT:
            self._segment(direction, octets, _DATA, time, size)
            return
        for at in range(0, size, SEGMENT):
            self.data(direction, octets[at : at + SEGMENT], time)

    def note(self, text: str) -> None:
        """Something to be said of the next segment."""
        self._note = f"{self._note}; {text}" if self._note else text

    def close(self, direction: Direction, time: int, *, reset: bool = False) -> None:
        """One side will say nothing more; once is enough."""
        if not self._closed[direction]:
            self._segment(direction, b"", (_RST if reset else _FIN) | _ACK, time, not reset)
            self._closed[direction] = True
            if reset:
                self._closed[direction.other] = True

    def _segment(
        self, direction: Direction, octets: bytes | memoryview, flags: int, time: int, moves: int
    ) -> None:
        """`moves`: by how much the sequence number grows."""
        seq, ack, head = self._client_seq, self._server_seq, self._up
        if direction:
            seq, ack, head = ack, seq, self._down
            self._server_seq = (seq + moves) & _MASK
        else:
            self._client_seq = (seq + moves) & _MASK
        if not flags & _ACK:
            ack = 0
        said = len(octets)
        if self._six:
            size = said + _HEADER
            ip = _IPV6(_VERSION_6, size, _TCP_NEXT, head, seq, ack, _OFFSET, flags, _WINDOW)
        else:
            size = said + 2 * _HEADER
            check = -(self._sum + said) % 0xFFFF
            ip = _IPV4(
                _VERSION_4, size, _DONT_FRAGMENT, check, head, seq, ack, _OFFSET, flags, _WINDOW
            )
        if note := self._note:
            self._note = ""
            self._append(time, ip + octets, comment=note)
        else:
            self._append(time, ip + octets)


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
