"""Small builders for tests: capture files of every kind, and the packets to put into them.

Everything is made with `struct`, so that what the tests expect does not come from the code under
test. Addresses are written as text, times are nanoseconds since the epoch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

ETHERNET, RAW, LOOP, NULL, SLL, SLL2 = 1, 101, 108, 0, 113, 276

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10


class Packet(NamedTuple):
    """A captured frame. `original` is its length on the wire, if longer than what was captured."""

    frame: bytes
    time: int = 1_700_000_000_123_456_000
    original: int | None = None

    @property
    def wire_length(self) -> int:
        return len(self.frame) if self.original is None else self.original


def pcap(
    packets: Iterable[Packet],
    *,
    order: str = "<",
    magic: int = 0xA1B2C3D4,
    linktype: int = ETHERNET,
    snaplen: int = 262_144,
) -> bytes:
    """A pcap file. `magic` 0xa1b23c4d is nanoseconds, 0xa1b2cd34 the modified layout."""
    unit = 1 if magic == 0xA1B23C4D else 1000
    extra = bytes(8) if magic == 0xA1B2CD34 else b""
    parts = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, linktype)]
    for packet in packets:
        seconds, rest = divmod(packet.time, 1_000_000_000)
        lengths = len(packet.frame), packet.wire_length
        parts.append(struct.pack(order + "IIII", seconds, rest // unit, *lengths))
        parts.append(extra + packet.frame)
    return b"".join(parts)


class Pcapng:
    """Blocks of one section, in one byte order: `Pcapng(">").interface().packet(...).data`.

    Every method appends one block; `data` is what stands so far. Files of several sections are
    several of these, one behind the other.
    """

    def __init__(self, order: str = "<", comment: bytes = b"") -> None:
        self.order = order
        self.data = b""
        body = struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)
        self.block(0x0A0D0D0A, body + self.options((1, comment) if comment else None))

    def block(self, kind: int, body: bytes) -> Pcapng:
        body += bytes(-len(body) % 4)
        length = struct.pack(self.order + "I", len(body) + 12)
        self.data += struct.pack(self.order + "I", kind) + length + body + length
        return self

    def options(self, *options: tuple[int, bytes] | None) -> bytes:
        given = [option for option in options if option]
        parts = [
            struct.pack(self.order + "HH", code, len(value)) + value + bytes(-len(value) % 4)
            for code, value in given
        ]
        return b"".join(parts) + bytes(4) if given else b""

    def interface(
        self,
        linktype: int = ETHERNET,
        *,
        snaplen: int = 0,
        name: str = "",
        resolution: int | None = None,
        offset: int | None = None,
    ) -> Pcapng:
        """`resolution` is if_tsresol as on the wire, `offset` if_tsoffset in seconds."""
        options = self.options(
            (2, name.encode()) if name else None,
            None if resolution is None else (9, bytes([resolution])),
            None if offset is None else (14, struct.pack(self.order + "q", offset)),
        )
        return self.block(1, struct.pack(self.order + "HHI", linktype, 0, snaplen) + options)

    def packet(
        self,
        frame: bytes,
        stamp: int = 0,
        *,
        interface: int = 0,
        original: int | None = None,
        comment: bytes = b"",
    ) -> Pcapng:
        """An Enhanced Packet Block; `stamp` counts the interface's units."""
        head = (interface, stamp >> 32, stamp & 0xFFFFFFFF, len(frame), original or len(frame))
        body = struct.pack(self.order + "5I", *head) + frame + bytes(-len(frame) % 4)
        return self.block(6, body + self.options((1, comment) if comment else None))

    def old_packet(self, frame: bytes, stamp: int = 0, *, interface: int = 0) -> Pcapng:
        """An obsolete Packet Block."""
        head = (interface, 7, stamp >> 32, stamp & 0xFFFFFFFF, len(frame), len(frame))
        return self.block(2, struct.pack(self.order + "HH4I", *head) + frame)

    def simple_packet(self, frame: bytes, original: int | None = None) -> Pcapng:
        return self.block(3, struct.pack(self.order + "I", original or len(frame)) + frame)

    def names(self) -> Pcapng:
        record = struct.pack(self.order + "HH", 1, 9) + bytes([192, 0, 2, 1]) + b"a.ex\0"
        return self.block(4, record + bytes(3) + bytes(4))

    def statistics(self, interface: int, received: int, dropped: int) -> Pcapng:
        options = self.options(
            (4, struct.pack(self.order + "Q", received)),
            (5, struct.pack(self.order + "Q", dropped)),
        )
        return self.block(5, struct.pack(self.order + "III", interface, 0, 0) + options)

    def secrets(self, data: bytes, kind: int = 0x544C534B) -> Pcapng:
        return self.block(10, struct.pack(self.order + "II", kind, len(data)) + data)


def tcp(
    payload: bytes = b"",
    *,
    sport: int = 40_000,
    dport: int = 25,
    seq: int = 0,
    ack: int = 0,
    flags: int = ACK,
    options: bytes = b"",
) -> bytes:
    """A TCP segment; its checksum is left zero, as captures of offloading cards have it."""
    options += bytes(-len(options) % 4)
    words = 5 + len(options) // 4
    return (
        struct.pack("!HHIIBBHHH", sport, dport, seq, ack, words << 4, flags, 65_535, 0, 0)
        + options
        + payload
    )


def ipv4(
    payload: bytes,
    *,
    source: str = "192.0.2.1",
    target: str = "192.0.2.2",
    protocol: int = 6,
    options: bytes = b"",
    length: int | None = None,
    identity: int = 0,
    offset: int = 0,
    more: bool = False,
) -> bytes:
    """An IPv4 datagram. `length` overrides the total length, `offset` is that of a fragment."""
    options += bytes(-len(options) % 4)
    header = 20 + len(options)
    return (
        struct.pack(
            "!BBHHHBBH4s4s",
            0x40 | header // 4,
            0,
            header + len(payload) if length is None else length,
            identity,
            more << 13 | offset // 8,
            64,
            protocol,
            0,
            ip_address(source).packed,
            ip_address(target).packed,
        )
        + options
        + payload
    )


def ipv6(
    payload: bytes,
    *,
    source: str = "2001:db8::1",
    target: str = "2001:db8::2",
    protocol: int = 6,
    extensions: Iterable[tuple[int, bytes]] = (),
    length: int | None = None,
) -> bytes:
    """An IPv6 datagram. `extensions` are headers by number, each without its first octet."""
    chain = list(extensions)
    first, *following = [*(number for number, _ in chain), protocol]
    body = b"".join(
        bytes([after]) + content for after, (_, content) in zip(following, chain, strict=True)
    )
    body += payload
    return (
        struct.pack(
            "!IHBB16s16s",
            6 << 28,
            len(body) if length is None else length,
            first,
            64,
            ip_address(source).packed,
            ip_address(target).packed,
        )
        + body
    )


def fragment_extension(identity: int, offset: int, more: bool) -> tuple[int, bytes]:
    """An IPv6 fragment header for `ipv6(extensions=...)`."""
    return 44, struct.pack("!BHI", 0, offset | more, identity)


def ethernet(payload: bytes, ethertype: int | None = None, *, vlans: Iterable[int] = ()) -> bytes:
    """An Ethernet frame; `vlans` are the ethertypes of the tags, the outer one first."""
    tags = b"".join(struct.pack("!HH", tag, 7) for tag in vlans)
    kind = struct.pack("!H", network_type(payload) if ethertype is None else ethertype)
    return b"\x02\0\0\0\0\1\x02\0\0\0\0\2" + tags + kind + payload


def network_type(datagram: bytes) -> int:
    """The ethertype of an IP datagram."""
    return 0x86DD if datagram[0] >> 4 == 6 else 0x0800


def framed(datagram: bytes, linktype: int, *, order: str = "<") -> bytes:
    """An IP datagram as a link of this type carries it; `order` is that of the BSD loopback."""
    kind = struct.pack("!H", network_type(datagram))
    family = 30 if datagram[0] >> 4 == 6 else 2
    if linktype == ETHERNET:
        return ethernet(datagram)
    if linktype == SLL:
        return struct.pack("!HHH8s", 0, 1, 6, b"\2\0\0\0\0\1\0\0") + kind + datagram
    if linktype == SLL2:
        return kind + struct.pack("!HIHBB8s", 0, 1, 1, 0, 6, b"\2\0\0\0\0\1\0\0") + datagram
    if linktype == NULL:
        return struct.pack(order + "I", family) + datagram
    if linktype == LOOP:
        return struct.pack("!I", family) + datagram
    return datagram
