"""The slow path to a TCP segment: odd links and tunnels through scapy, IP fragments put together.

In: the octets of one packet that the columns of `packets` can't read. Out: the innermost TCP
segment with its addresses, or why there is none. Whatever scapy raises is an unreadable packet.
IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200), IP in IP (RFC 2003, 2473), AH (RFC 4302).
"""

from __future__ import annotations

import enum
import importlib
import logging
import struct
import warnings
from typing import Any, NamedTuple

ETHERNET, RAW_IP, LINUX_SLL, LINUX_SLL2 = 1, 101, 113, 276

TCP = 6
IPV4_TUNNEL, IPV6_TUNNEL, GRE, AUTHENTICATION = 4, 41, 47, 51
TUNNELS = frozenset({IPV4_TUNNEL, IPV6_TUNNEL, GRE, AUTHENTICATION})
FRAGMENT = 44
EXTENSIONS = frozenset({0, 43, FRAGMENT, AUTHENTICATION, 60, 135, 139, 140})
"""IPv6 extension headers that another header follows in the clear."""

NESTING = 12
"""IP, tunnel and extension headers of one packet that are looked behind."""
DATAGRAM_BOUND = 1_024
"""Incomplete IP datagrams that are waited for."""
FRAGMENT_BOUND = 1_024
"""Fragments of one datagram."""
HELD_BOUND = 16 << 20
"""Octets of fragments that wait."""
PATIENCE = 60_000_000_000
"""Nanoseconds after which a datagram is given up (RFC 8200 §4.5)."""

_WIFI = ("scapy.layers.dot11",)
_PPP = ("scapy.layers.ppp",)
_MODULES: dict[int, tuple[str, ...]] = {
    ETHERNET: ("scapy.layers.l2", "scapy.layers.ppp", "scapy.contrib.mpls"),
    LINUX_SLL: ("scapy.layers.l2", "scapy.layers.ppp", "scapy.contrib.mpls"),
    LINUX_SLL2: ("scapy.layers.l2", "scapy.layers.ppp", "scapy.contrib.mpls"),
    9: _PPP,
    50: _PPP,
    51: _PPP,
    204: _PPP,
    104: ("scapy.contrib.chdlc",),
    105: _WIFI,
    119: _WIFI,
    127: _WIFI,
    192: ("scapy.layers.ppi", *_WIFI),
    117: ("scapy.layers.pflog",),
}
LINKTYPES = frozenset(_MODULES)
"""Link types that scapy can look behind."""


class Verdict(enum.Enum):
    """Why a packet gives no segment."""

    NOT_TCP = enum.auto()
    UNREADABLE = enum.auto()
    WAITING = enum.auto()
    """A fragment whose datagram is not complete."""


class Found(NamedTuple):
    """A TCP segment, header and payload; `missing` octets of it were not captured.

    Addresses have 16 octets; IPv4 ones are mapped (RFC 4291 §2.5.5.2).
    """

    source: bytes
    target: bytes
    segment: bytes
    missing: int


class _Datagram(NamedTuple):
    """One IP header read; `fragment` is (identification, offset, more), or None."""

    source: bytes
    target: bytes
    protocol: int
    payload: bytes
    missing: int
    fragment: tuple[int, int, bool] | None = None


class _UnreadableError(Exception):
    """The packet ends early or contradicts itself. Never leaves this module."""


class Dissector:
    """Finds TCP segments the slow way; holds the fragments of one capture that still wait."""

    def __init__(self) -> None:
        self._fragments = _Fragments()

    def dissect(self, linktype: int, frame: bytes, absent: int, time: int) -> Found | Verdict:
        """The innermost TCP segment of a frame of which `absent` more octets were not captured.

        `time` in nanoseconds is when it was captured. Never raises.
        """
        try:
            octets: bytes | None = frame
            if linktype != RAW_IP:
                if linktype in (105, *_RADIO_HEADER) and not _readable_wifi(linktype, frame):
                    return Verdict.NOT_TCP
                octets = _ip_inside(_link_layer(linktype), frame)
            if octets is None:
                return Verdict.NOT_TCP
            return self._innermost(octets, absent, time)
        except Exception:
            # The octets end early or contradict themselves, and scapy may fail on hostile ones in
            # ways that can't be listed.
            return Verdict.UNREADABLE

    def _innermost(self, octets: bytes, absent: int, time: int) -> Found | Verdict:
        datagram = _datagram(octets, absent)
        for _ in range(NESTING):
            if datagram.fragment:
                whole = self._fragments.add(datagram, time)
                if whole is None:
                    return Verdict.WAITING
                datagram = whole
            source, target, protocol, payload, missing, _fragment = datagram
            if protocol == TCP:
                return Found(source, target, payload, missing)
            if protocol in (IPV4_TUNNEL, IPV6_TUNNEL):
                datagram = _datagram(payload, missing)
            elif protocol == GRE:
                inner = _ip_inside(_gre(), payload)
                if inner is None:
                    return Verdict.NOT_TCP
                datagram = _datagram(inner, missing)
            elif protocol in EXTENSIONS:
                datagram = _behind_extension(datagram)
            else:
                return Verdict.NOT_TCP
        return Verdict.UNREADABLE


def _datagram(octets: bytes, absent: int) -> _Datagram:
    version = octets[0] >> 4
    if version == 4:
        length, identity, place = struct.unpack_from("!2xHHH", octets)
        source, target = struct.unpack_from("!4s4s", octets, 12)
        protocol, header = octets[9], (octets[0] & 15) * 4
        if header < 20:
            raise _UnreadableError
        prefix = bytes(10) + b"\xff\xff"
        source, target = prefix + source, prefix + target
        offset, more = (place & 0x1FFF) * 8, bool(place & 0x2000)
        fragment = (identity, offset, more) if offset or more else None
    elif version == 6:
        length, protocol, source, target = struct.unpack_from("!4xHBx16s16s", octets)
        header, fragment = 40, None
        length += header if length else 0
    else:
        raise _UnreadableError
    # Zero is what a card that segments for the stack leaves in the header.
    length = length or len(octets) + absent
    if length < header or len(octets) < header:
        raise _UnreadableError
    missing = max(length - len(octets), 0)
    return _Datagram(source, target, protocol, octets[header:length], missing, fragment)


def _behind_extension(datagram: _Datagram) -> _Datagram:
    payload = datagram.payload
    following, size = payload[0], payload[1]
    fragment = None
    if datagram.protocol == FRAGMENT:
        place, identity = struct.unpack_from("!2xHI", payload)
        if place & 0xFFF9:
            fragment = (identity, place & 0xFFF8, bool(place & 1))
        length = 8
    elif datagram.protocol == AUTHENTICATION:
        length = (size + 2) * 4
    else:
        length = (size + 1) * 8
    if length > len(payload):
        raise _UnreadableError
    return datagram._replace(protocol=following, payload=payload[length:], fragment=fragment)


class _Waiting:
    """The fragments of one datagram; `protocol` is what its first one says."""

    __slots__ = ("born", "held", "pieces", "protocol", "total")

    def __init__(self, born: int) -> None:
        self.born = born
        self.held = 0
        self.pieces: list[tuple[int, bytes]] = []
        self.protocol: int | None = None
        self.total: int | None = None

    def whole(self) -> bytes | None:
        """The datagram's payload once nothing is missing; where fragments overlap, the lower."""
        if self.total is None or self.protocol is None or self.held < self.total:
            return None
        octets = bytearray()
        for offset, piece in sorted(self.pieces, key=lambda item: item[0]):
            if offset > len(octets):
                return None
            octets += piece[len(octets) - offset :]
        return bytes(octets[: self.total]) if len(octets) >= self.total else None


class _Fragments:
    """Fragmented datagrams that are not complete, the oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[bytes, bytes, int, int], _Waiting] = {}
        self._held = 0

    def add(self, datagram: _Datagram, time: int) -> _Datagram | None:
        """Take one fragment; the datagram without its fragmentation once it is complete."""
        assert datagram.fragment is not None
        identity, offset, more = datagram.fragment
        piece = datagram.payload
        if datagram.missing or offset + len(piece) > 0xFFFF:
            raise _UnreadableError
        # IPv6 fragments may name different protocols (RFC 8200 §4.5), so only IPv4 keys have one.
        version_four = datagram.source.startswith(bytes(10) + b"\xff\xff")
        protocol = datagram.protocol if version_four else FRAGMENT
        key = (datagram.source, datagram.target, protocol, identity)
        waiting = self._waiting.get(key)
        if waiting is not None and abs(time - waiting.born) > PATIENCE:
            self._drop(key)
            waiting = None
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(time)
        if len(waiting.pieces) >= FRAGMENT_BOUND:
            self._drop(key)
            raise _UnreadableError
        waiting.pieces.append((offset, piece))
        waiting.held += len(piece)
        self._held += len(piece)
        if not offset:
            waiting.protocol = datagram.protocol
        if not more:
            waiting.total = offset + len(piece)
        octets = waiting.whole()
        if octets is not None:
            self._drop(key)
            assert waiting.protocol is not None
            return datagram._replace(protocol=waiting.protocol, payload=octets, fragment=None)
        while len(self._waiting) > DATAGRAM_BOUND or self._held > HELD_BOUND:
            self._drop(next(iter(self._waiting)))
        return None

    def _drop(self, key: tuple[bytes, bytes, int, int]) -> None:
        self._held -= self._waiting.pop(key).held


_RADIO_HEADER = {119: 144, 127: None, 192: None}
"""Octets before the 802.11 header; None where octets 2 and 3 tell them, little endian."""


def _readable_wifi(linktype: int, frame: bytes) -> bool:
    """Whether it is a data frame in the clear: scapy need not dissect beacons."""
    at = 0
    if linktype in _RADIO_HEADER:
        length = _RADIO_HEADER[linktype]
        at = struct.unpack_from("<2xH", frame)[0] if length is None else length
    return frame[at] & 0x0C == 0x08 and not frame[at + 1] & 0x40


def _scapy(*modules: str) -> Any:
    """scapy's configuration, with the layers of these modules loaded and its warnings off."""
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in ("scapy.layers.inet", "scapy.layers.inet6", *modules):
            importlib.import_module(module)
        return importlib.import_module("scapy.config").conf


def _link_layer(linktype: int) -> Any:
    return _scapy(*_MODULES[linktype]).l2types.num2layer[linktype]


def _gre() -> Any:
    _scapy("scapy.layers.ppp", "scapy.contrib.mpls", "scapy.contrib.erspan")
    return importlib.import_module("scapy.layers.l2").GRE


def _ip_inside(layer: Any, octets: bytes) -> bytes | None:
    """The outermost IP datagram that scapy finds in these octets, link padding and all."""
    ip = importlib.import_module("scapy.layers.inet").IP
    ipv6 = importlib.import_module("scapy.layers.inet6").IPv6
    found = layer(octets, stop_dissection_after=(ip, ipv6))
    while found:
        if isinstance(found, (ip, ipv6)):
            return bytes(found.original)
        found = found.payload
    return None
