"""Capture sockets of Linux: opened by scapy, read without dissecting anything.

In: an interface and a filter program. Out: packets with the kernel's time stamps (nanoseconds since
the epoch), VLAN tags where they were, and counters (packet(7)). On loopback each packet comes once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from struct import Struct
from typing import Protocol

from smtpscope.errors import SmtpscopeError
from smtpscope.recorders.bpf import CAPTURED, NOTHING, attach
from smtpscope.recorders.interfaces import ETHERNET, InterfaceInfo
from smtpscope.recorders.owner import NoPermissionError

RECEIVE_BUFFER = 32 << 20
"""Octets that may wait for us in the kernel, for each interface."""

_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _STATISTICS, _AUXDATA, _IGNORE_OUTGOING = 1, 6, 8, 23
_MEMBER_PROMISCUOUS = 1
_OUTGOING = 4
_ALL_PROTOCOLS, _IPV4, _IPV6, _VLAN = 0x0003, 0x0800, 0x86DD, 0x8100
_VLAN_VALID, _VLAN_PROTOCOL_VALID = 0x10, 0x40
_SIOCGIFFLAGS, _IFF_UP = 0x8913, 1

_TIME = Struct("ll")
_AUXILIARY = Struct("IIIHHHH")
_COUNTERS = Struct("II")
_MEMBER = Struct("iHH8s")
_TAG = Struct(">HH")
_CONTROL = 128
"""Octets of control messages; time stamp and auxiliary data take 64."""

_GONE = {errno.ENETDOWN, errno.ENODEV, errno.ENXIO}

Append = Callable[[int, int, bytes, int], None]
"""What takes a packet: wire, time, octets, original length."""


class Tap(Protocol):
    """One interface that is captured from.

    `more` says that packets may be waiting; `down` that the interface is, `revive` whether it is
    back. `received` and `dropped` count what the kernel took, and what it had no room for, up to
    the last `count`.
    """

    name: str
    linktype: int
    more: bool
    down: bool
    received: int
    dropped: int

    def fileno(self) -> int: ...
    def drain(self, append: Append, wire: int, most: int) -> int: ...
    def count(self) -> None: ...
    def revive(self) -> bool: ...


class PacketSocket:
    """A tap on an AF_PACKET socket."""

    def __init__(self, interface: InterfaceInfo, program: bytes, promiscuous: bool) -> None:
        """Raises NoPermissionError, and SmtpscopeError where it can't be opened."""
        self.name = interface.name
        self.linktype = interface.linktype
        self.more = False
        self.down = False
        self.received = 0
        self.dropped = 0
        self._promiscuous = promiscuous
        self._buffer = bytearray(CAPTURED)
        self._loopback = interface.loopback
        self._check: Callable[[tuple[object, ...]], bool] | None = None
        try:
            self._open(program)
        except PermissionError:
            raise NoPermissionError("capturing is not permitted") from None
        except OSError as error:
            if error.errno in _GONE:
                raise SmtpscopeError(
                    f"{self.name} is down: bring it up first (ip link set {self.name} up)"
                ) from None
            raise SmtpscopeError(
                f"{self.name} can't be captured from ({error.strerror}): choose another with -D"
            ) from None

    def _open(self, program: bytes) -> None:
        if self.linktype == ETHERNET:
            from scapy.arch.linux import L2ListenSocket

            self._scapy = L2ListenSocket(iface=self.name, promisc=self._promiscuous)
            self._socket: socket.socket = self._scapy.ins
        else:
            # Without a link header, IP is the same on all of them. scapy's has no such mode.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            self._bind()
            self._check = _is_ip
        # What came before there was a filter is thrown away.
        attach(self._socket, NOTHING)
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(1, socket.MSG_DONTWAIT)
        self._set_options()
        self._read_counters()
        attach(self._socket, program)

    def _set_options(self) -> None:
        options = self._socket.setsockopt
        try:
            options(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            options(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        options(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        options(_SOL_PACKET, _AUXDATA, 1)
        if self._loopback:
            try:
                options(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            except OSError:
                # Linux before 4.20.
                self._check = _is_incoming

    def _bind(self) -> None:
        self._socket.bind((self.name, _ALL_PROTOCOLS))
        if self._promiscuous:
            index = socket.if_nametoindex(self.name)
            member = _MEMBER.pack(index, _MEMBER_PROMISCUOUS, 0, b"")
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self, append: Append, wire: int, most: int) -> int:
        """Append up to `most` packets, in the order in which they came; how many these were."""
        receive, buffers, view = self._socket.recvmsg_into, [self._buffer], memoryview(self._buffer)
        time_of, auxiliary_of, check = _TIME.unpack, _AUXILIARY.unpack_from, self._check
        flags = socket.MSG_DONTWAIT | socket.MSG_TRUNC
        appended = 0
        try:
            for _ in range(most):
                length, controls, _, address = receive(buffers, _CONTROL, flags)
                if check is not None and not check(address):
                    continue
                seconds = nanoseconds = status = tag = protocol = 0
                original = length
                for level, _, data in controls:
                    if level == _SOL_PACKET:
                        status, original, _, _, _, tag, protocol = auxiliary_of(data)
                    else:
                        seconds, nanoseconds = time_of(data)
                octets = bytes(view[:length])
                if status & _VLAN_VALID and self.linktype == ETHERNET:
                    # The kernel has taken the tag off.
                    protocol = protocol if status & _VLAN_PROTOCOL_VALID else _VLAN
                    octets = b"".join((octets[:12], _TAG.pack(protocol, tag), octets[12:]))
                    original += 4
                append(wire, seconds * 1_000_000_000 + nanoseconds, octets, original)
                appended += 1
            self.more = True
        except BlockingIOError:
            self.more = False
        except OSError as error:
            if error.errno not in _GONE:
                raise SmtpscopeError(
                    f"capturing from {self.name} failed ({error.strerror}): start it again"
                ) from None
            self.more = False
            self.down = True
        return appended

    def count(self) -> None:
        """Bring `received` and `dropped` up to date."""
        received, dropped = self._read_counters()
        self.received += received
        self.dropped += dropped

    def _read_counters(self) -> Sequence[int]:
        # Reading sets them back to zero.
        return _COUNTERS.unpack(self._socket.getsockopt(_SOL_PACKET, _STATISTICS, _COUNTERS.size))

    def revive(self) -> bool:
        """Go on if the interface is up again, be it the same or one of its name made anew."""
        request = Struct("16sH14x").pack(os.fsencode(self.name), 0)
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFFLAGS, request)
            if Struct("16xH14x").unpack(answer)[0] & _IFF_UP:
                # Needs no privilege.
                self._bind()
                self.down = False
        except OSError as error:
            if error.errno not in _GONE:
                raise SmtpscopeError(
                    f"{self.name} can't be captured from again ({error.strerror}): start it again"
                ) from None
        return not self.down


def _is_ip(address: tuple[object, ...]) -> bool:
    return address[1] in (_IPV4, _IPV6)


def _is_incoming(address: tuple[object, ...]) -> bool:
    return address[2] != _OUTGOING
