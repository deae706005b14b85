"""Is this flow SMTP? By what it says first, whatever its port.

`Candidate` follows a flow from its SYN until its first payloads tell; `may_be_smtp` looks at the
first four octets of many payloads at once. A greeting or an EHLO shows SMTP (RFC 5321 §3.1,
§4.1.1.1), also behind an HTTP CONNECT (RFC 9110 §9.3.6), a SOCKS handshake (RFC 1928 §3) or a
PROXY protocol line.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from smtpscope.capture.log import Buffer
from smtpscope.capture.tcp import ACK, FIN, RST, SYN, Row
from smtpscope.capture.trail import Trail

#: What a flow may say before it is dismissed undecided: payload segments and octets.
WATCHED_SEGMENTS = 16
WATCHED_OCTETS = 8192
#: Octets of a payload that the tests of its first line look at.
OPENING = 512
FTP = 21

_GREETING = re.compile(rb"(?:220|554)[ -]")
_SMTP_GREETING = re.compile(rb"(?:220|554)[ -][^\r\n]*(?:SMTP|LMTP)", re.IGNORECASE)
_HELLO = re.compile(rb"(?:EHLO|HELO|LHLO)(?:[ \t\r\n]|\Z)", re.IGNORECASE)
_LATER_HELLO = re.compile(rb"\n(?:EHLO|HELO|LHLO)[ \t\r\n]", re.IGNORECASE)
_COMMAND = re.compile(
    rb"(?:EHLO|HELO|LHLO)(?:[ \t\r\n]|\Z)|MAIL FROM:|RCPT TO:",
    re.IGNORECASE,
)
_TUNNEL = re.compile(
    rb"CONNECT \S+:\d+ |PROXY (?:TCP4|TCP6|UNKNOWN)[ \r]|\x04\x01.{6}",
    re.DOTALL,
)


def _folded(words: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(words, ">u4").astype(np.uint32) | np.uint32(0x20202020)


# First four octets, letters in lower case, of what may be SMTP: anywhere, and at a flow's start.
_ANYWHERE = _folded(b"EHLOHELOLHLOMAILRCPT220 220-554 554-")
_AT_START = _folded(b"CONNPROX")


class Candidate:
    """A flow on another port, from its SYN until its first payloads tell what it is."""

    __slots__ = (
        "_client",
        "_segments",
        "_server",
        "_tunnel",
        "client_is_lower",
        "key",
        "octets",
        "rows",
        "trail",
    )

    def __init__(self, key: int, syn: Row) -> None:
        self.key = key
        self.trail: Trail | None = None
        self.client_is_lower = syn[2] if not syn[5] & ACK else not syn[2]
        self.rows: list[Row] = []
        self.octets = bytearray()
        self._segments = 0
        self._client = b""
        self._server = b""
        self._tunnel = False

    def take(self, buffer: Buffer, row: Row, ports: tuple[int, int]) -> bool | None:
        """Whether the flow is SMTP; None where that is still open."""
        _, _, forward, _, _, flags, start, length, _ = row
        if flags & SYN and any(row[2:4] == known[2:4] for known in self.rows):
            return None
        payload = bytes(buffer[start : start + length])
        if payload or flags & SYN:
            self.rows.append((*row[:6], len(self.octets), length, row[8]))
            self.octets += payload
        if not payload:
            return False if flags & (FIN | RST) else None
        self._segments += 1
        if forward == self.client_is_lower:
            self._client += payload
        else:
            self._server += payload
        verdict = self._verdict(payload, ports)
        if verdict is None and (
            flags & (FIN | RST)
            or self._segments >= WATCHED_SEGMENTS
            or len(self.octets) >= WATCHED_OCTETS
        ):
            return False
        return verdict

    def _verdict(self, payload: bytes, ports: tuple[int, int]) -> bool | None:
        client, server = self._client, self._server
        self._tunnel = self._tunnel or _begins_tunnel(client)
        if _HELLO.match(client) or (_SMTP_GREETING.match(server) and FTP not in ports):
            return True
        if self._tunnel:
            behind = _HELLO.match(payload) or _LATER_HELLO.search(client)
            return True if behind or _SMTP_GREETING.search(server) else None
        spoken = _may_become(
            client, b"EHLO", b"HELO", b"LHLO", b"CONNECT ", b"PROXY ", b"\4", b"\5"
        )
        greeted = _GREETING.match(server) or _may_become(server, b"220 ", b"220-", b"554 ", b"554-")
        return None if spoken and greeted else False


def first_words(buffer: Buffer, start: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The first four octets of payloads as one number each, letters in lower case."""
    octets = np.frombuffer(buffer, np.uint8)
    words = np.zeros(len(start), np.uint32)
    for place in range(4):
        words <<= np.uint32(8)
        words |= octets[np.minimum(start + place, len(octets) - 1)]
    return words | np.uint32(0x20202020)


def may_be_smtp(words: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which payloads may be SMTP by their `first_words`, wherever in a flow they stand."""
    found: NDArray[np.bool_] = np.isin(words, _ANYWHERE)
    return found


def may_begin_smtp(words: NDArray[np.uint32], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which payloads, the first ones of their flows, may lead to SMTP or are too short to tell."""
    first_octet = words >> 24
    # Lower case turned the SOCKS versions 4 and 5 into $ and %.
    found: NDArray[np.bool_] = (
        np.isin(words, _AT_START) | (first_octet == 0x24) | (first_octet == 0x25)
    )
    found |= lengths < 4
    return found


def is_smtp(payload: bytes) -> bool:
    """This payload shows that its flow is SMTP from here on."""
    return bool(_COMMAND.match(payload) or _SMTP_GREETING.match(payload))


def said_by_client(payload: bytes) -> bool | None:
    """Whether the client said this; None where it does not show."""
    if _COMMAND.match(payload):
        return True
    return False if _GREETING.match(payload) else None


def _begins_tunnel(client: bytes) -> bool:
    socks5 = client[:1] == b"\x05" and len(client) > 2 and len(client) == 2 + client[1]
    return socks5 or _TUNNEL.match(client) is not None


def _may_become(text: bytes, *words: bytes) -> bool:
    folded = text.upper()
    return any(word.startswith(folded) for word in words)
