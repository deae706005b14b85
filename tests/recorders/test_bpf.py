"""Filters: our own program for a list of ports accepts exactly what libpcap's does."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from recorder import packets

from smtpscope.errors import UsageError
from smtpscope.places import bundled_captures
from smtpscope.recorders.bpf import (
    CAPTURED,
    attach,
    expression_program,
    ports_expression,
    ports_program,
)
from smtpscope.recorders.interfaces import ETHERNET, RAW_IP, InterfaceInfo

PORTS = (25, 465, 587, 1025, 2525)


def interface(linktype: int = ETHERNET) -> InterfaceInfo:
    return InterfaceInfo("lo", "loopback", (), True, True, linktype)


@contextmanager
def kernel(program: bytes) -> Iterator[Filter]:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        attach(receiver, program)
        yield Filter(sender, receiver)


class Filter:
    """A program in the kernel, which every datagram of a socket pair has to pass."""

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        self._sender = sender
        self._receiver = receiver
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)

    def accepts(self, octets: bytes) -> bool:
        self._sender.send(octets)
        try:
            return self._receiver.recv(1 << 20, socket.MSG_DONTWAIT) == octets
        except BlockingIOError:
            return False


def assert_same(frames: Iterable[bytes], linktype: int, ports: tuple[int, ...] = PORTS) -> int:
    accepted = 0
    theirs = expression_program(ports_expression(ports, linktype), interface(linktype))
    with kernel(ports_program(ports, linktype)) as our, kernel(theirs) as their:
        for frame in frames:
            if frame:
                assert our.accepts(frame) == their.accepts(frame), frame[:80].hex()
                accepted += our.accepts(frame)
    return accepted


@pytest.mark.parametrize("path", bundled_captures(), ids=lambda path: path.name)
def test_of_every_bundled_capture_the_same_packets_are_accepted(path: Path) -> None:
    frames = {packet.octets for packet in packets(path)}
    ports = {port for frame in frames for port in struct.unpack_from(">HH", frame + bytes(64), 34)}
    for some in (PORTS, (*sorted(ports)[:3], 1)):
        assert_same(frames, ETHERNET, some)
        assert_same((frame[:12] + b"\x81\0\0\5" + frame[12:] for frame in frames), ETHERNET, some)
        assert_same((frame[14:] for frame in frames), RAW_IP, some)


def ipv4(payload: bytes, *, protocol: int = 6, options: bytes = b"", fragment: int = 0) -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | words, 0, 0, 1, fragment, 64, protocol, 0)
    return head + bytes(8) + options + payload


def ipv6(payload: bytes, *, following: int = 6) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(payload), following, 64) + bytes(32) + payload


def tcp(source: int, destination: int) -> bytes:
    return struct.pack(">HHIIBBHHH", source, destination, 0, 0, 0x50, 0, 0, 0, 0)


def ethernet(kind: int, payload: bytes, tags: bytes = b"") -> bytes:
    return bytes(12) + tags + struct.pack(">H", kind) + payload


HEADERS = {
    "from": (0x0800, ipv4(tcp(25, 40000)), True),
    "to": (0x0800, ipv4(tcp(40000, 2525)), True),
    "another port": (0x0800, ipv4(tcp(40000, 80)), False),
    "options": (0x0800, ipv4(tcp(1, 25), options=bytes([1] * 40)), True),
    "first fragment": (0x0800, ipv4(tcp(1, 25), fragment=0x2000), True),
    "later fragment": (0x0800, ipv4(tcp(1, 25), fragment=0x2010), False),
    "do not fragment": (0x0800, ipv4(tcp(1, 25), fragment=0x4000), True),
    "udp": (0x0800, ipv4(tcp(1, 25), protocol=17), False),
    "ipv6 from": (0x86DD, ipv6(tcp(465, 1)), True),
    "ipv6 to": (0x86DD, ipv6(tcp(1, 587)), True),
    "ipv6 another": (0x86DD, ipv6(tcp(1, 588)), False),
    "ipv6 udp": (0x86DD, ipv6(tcp(1, 25), following=17), False),
    "arp": (0x0806, ipv4(tcp(1, 25)), False),
    "cut short": (0x0800, ipv4(b"\0\0"), False),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_are_told_apart(name: str) -> None:
    kind, packet, wanted = HEADERS[name]
    for tag in (b"", b"\x81\0\0\7", b"\x88\xa8\0\7", b"\x91\0\0\7"):
        assert assert_same([ethernet(kind, packet, tag)], ETHERNET) == wanted
    if kind != 0x0806:
        assert assert_same([packet], RAW_IP) == wanted
    assert not assert_same([ethernet(kind, packet, b"\x81\0\0\7" * 2)], ETHERNET)


def test_damaged_headers_are_judged_as_libpcap_judges_them() -> None:
    chance = random.Random(25)
    frames = []
    for kind, packet, _ in HEADERS.values():
        for tag in (b"", b"\x81\0\0\7"):
            for _ in range(100):
                frame = bytearray(ethernet(kind, packet, tag))
                for _ in range(chance.randint(1, 3)):
                    frame[chance.randrange(12, len(frame))] = chance.randrange(256)
                frames.append(bytes(frame + bytes(64)))
    assert assert_same(frames, ETHERNET) > 100
    assert assert_same([frame[14:] for frame in frames], RAW_IP) > 100


def test_a_long_list_of_ports_still_works() -> None:
    ports = tuple(range(1000, 1500))
    with kernel(ports_program(ports, ETHERNET)) as our:
        for port in (1000, 1250, 1499):
            assert our.accepts(ethernet(0x0800, ipv4(tcp(1, port))))
        assert not our.accepts(ethernet(0x0800, ipv4(tcp(1, 1500))))
    for wrong in ((), tuple(range(1, 502))):
        with pytest.raises(UsageError, match="-f"):
            ports_program(wrong, ETHERNET)


def test_packets_are_accepted_whole() -> None:
    program = expression_program("tcp", interface())
    ends = [row[3] for row in struct.iter_unpack("HBBI", program) if row[0] == 6]
    assert sorted(ends) == [0, CAPTURED]


def test_a_wrong_expression_is_answered_in_libpcaps_words() -> None:
    with pytest.raises(UsageError, match=r"'tcp prt 25'.*syntax error.*pcap-filter"):
        expression_program("tcp prt 25", interface())
    with pytest.raises(UsageError, match="on lo"):
        expression_program("ether host 1:2:3:4:5:6", interface(RAW_IP))


def test_without_libpcap_the_ports_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import scapy.arch.common

    def missing(*_: object, **__: object) -> None:
        raise ImportError

    monkeypatch.setattr(scapy.arch.common, "compile_filter", missing)
    with pytest.raises(UsageError, match="need libpcap"):
        expression_program("tcp", interface())
    assert ports_program(PORTS, ETHERNET)
