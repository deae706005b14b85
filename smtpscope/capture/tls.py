"""TLS as an onlooker sees it: which version, suite and name were agreed, and whether it held.

Octets of both directions go in, in order and in any chunking; a `TlsInfo` comes out, read from the
records and hellos that travel in clear (RFC 8446 §4.1, §4.2, §5.1; RFC 5246 §6.2, §7; RFC 6066 §3;
RFC 7301; RFC 5246 appendix E.2 for hellos in SSL 2.0 form). Nothing is decrypted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from smtpscope.capture.tls_fingerprints import ja3, ja4
from smtpscope.capture.tls_hello import Fields, client_hello, server_hello, version_name
from smtpscope.capture.tls_names import ALERT_LEVELS, ALERTS, VERSIONS
from smtpscope.stream import Data, Direction

# RFC 5246 §6.2.3: a ciphertext may be 2^14 octets and 2048 of expansion.
MAX_RECORD = (1 << 14) + 2048
MAX_HANDSHAKE = 1 << 16
MAX_ALERTS = 16
MAX_CERTIFICATE = 1 << 14
MAX_LISTED = 64

RECORD_TYPES = {
    20: "change_cipher_spec",
    21: "alert",
    22: "handshake",
    23: "application_data",
    24: "heartbeat",
}
"""RFC 8446 §5.1. What TLS 1.3 protects is application_data on the wire, whatever it is inside."""

_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE, _APPLICATION_DATA, _HEARTBEAT = range(20, 25)
_CLIENT_HELLO, _SERVER_HELLO, _CERTIFICATE, _SERVER_HELLO_DONE = 1, 2, 11, 14

# What the octets of a record's header can be, and those that a hello in SSL 2.0 form begins with.
_OCTET = range(256)
_RECORD = (range(20, 24), (3,), range(5), _OCTET, _OCTET)
_V2_HELLO = (range(0x80, 0x100), _OCTET, (_CLIENT_HELLO,), (0, 3), _OCTET)

# In TLS 1.3 an alert is an application_data record too: 2 octets, a content type, a tag of 16.
_LONGEST_SEALED_ALERT = 24


class Alert(NamedTuple):
    """An alert by its names (RFC 8446 §6); both are None where it was encrypted or lost."""

    direction: Direction
    level: str | None
    description: str | None


class Seen(NamedTuple):
    """A record as it is on the wire: its content type (0 for a hello in SSL 2.0 form), the octets
    behind its header, and when that header was there."""

    direction: Direction
    kind: int
    size: int
    time: int


@dataclass(slots=True)
class TlsInfo:
    """What is known of one TLS connection so far; lists of two are indexed by `Direction`.

    `version` and `cipher` are what the server chose, `offered` the highest version of the client's
    hello; a number without a name stands as hexadecimal ("0xC0FF"). `sni`, `alpn` (chosen, visible
    up to TLS 1.2) and `alpn_offered` (the first `MAX_PROTOCOLS`) quote the wire: hostile until
    `display` has mapped them. `ja3`, `ja4` and `ja3s` are the fingerprints of the client's first
    hello and of the server's last. `alerts` are the first `MAX_ALERTS`. `established`: both sides
    changed to encryption and neither gave up at once. `decrypted`: some of it was opened.
    `certificate` is the server's own one in DER, visible up to TLS 1.2 or where it was decrypted,
    None beyond `MAX_CERTIFICATE` octets. `records` counts the records begun, `octets` all that was
    fed, headers included, and `first` and `last` say when the octets of a side came; `listed` are
    the first `MAX_LISTED` records of both.
    """

    version: str | None = None
    offered: str | None = None
    sni: str | None = None
    cipher: str | None = None
    alpn: str | None = None
    alpn_offered: tuple[str, ...] = ()
    ja3: str | None = None
    ja4: str | None = None
    ja3s: str | None = None
    resumed: bool | None = None
    established: bool = False
    decrypted: bool = False
    alerts: list[Alert] = field(default_factory=list)
    certificate: bytes | None = None
    records: list[int] = field(default_factory=lambda: [0, 0])
    octets: list[int] = field(default_factory=lambda: [0, 0])
    first: list[int | None] = field(default_factory=lambda: [None, None])
    last: list[int | None] = field(default_factory=lambda: [None, None])
    listed: list[Seen] = field(default_factory=list)

    def take_certificates(self, listed: bytes) -> None:
        """The server's own certificate comes first in the list (RFC 5246 §7.4.2)."""
        own = Fields(listed).vector(3)
        if self.certificate is None and 0 < len(own) <= MAX_CERTIFICATE:
            self.certificate = own

    def take_alert(self, direction: Direction, octets: bytes, *, opened: bool = False) -> None:
        """An alert; `opened` tells what one was that may have been taken as encrypted."""
        level = description = None
        if len(octets) == 2:
            level = ALERT_LEVELS.get(octets[0], str(octets[0]))
            description = ALERTS.get(octets[1], str(octets[1]))
        alert, hidden = Alert(direction, level, description), Alert(direction, None, None)
        if opened and hidden in self.alerts:
            self.alerts[self.alerts.index(hidden)] = alert
        elif len(self.alerts) < MAX_ALERTS:
            self.alerts.append(alert)


def looks_like_tls(data: bytes | bytearray) -> bool | None:
    """Whether the first octets of one direction are a TLS record, or a hello in SSL 2.0 form.

    None while they could be one but the five octets that decide it are not all there.
    """
    old = data[:1] >= b"\x80"
    for octet, allowed in zip(data, _V2_HELLO if old else _RECORD, strict=False):
        if octet not in allowed:
            return False
    if len(data) < 5:
        return None
    if old:
        return int.from_bytes(data[3:5], "big") in VERSIONS
    return 0 < int.from_bytes(data[3:5], "big") <= MAX_RECORD


class TlsObserver:
    """Follows the records of one connection from the first octet of TLS on.

    `broken` has the reason why a direction is no longer followed, or None, by `Direction`.
    """

    __slots__ = ("_sides", "broken", "info")

    def __init__(self) -> None:
        self.info = TlsInfo()
        self.broken: list[str | None] = [None, None]
        self._sides = (_Side(), _Side())

    def feed(self, event: Data) -> None:
        """Take the next octets of one direction."""
        info, direction, data = self.info, event.direction, event.data
        info.octets[direction] += len(data)
        if info.first[direction] is None:
            info.first[direction] = event.time
        info.last[direction] = event.marks[-1].time
        if self.broken[direction] is not None:
            return
        side = self._sides[direction]
        position, size = 0, len(data)
        while position < size:
            if not side.left:
                missing = 5 - len(side.header)
                side.header += data[position : position + missing]
                position += missing
                if len(side.header) < 5:
                    return
                self._begin_record(direction, side, event, position)
                if self.broken[direction] is not None:
                    return
            taken = min(side.left, size - position)
            if side.kept and taken:
                side.payload += data[position : position + taken]
            side.left -= taken
            position += taken
            if not side.left:
                self._end_record(direction, side)

    def gap(self, direction: Direction, length: int) -> None:
        """Tell that the next `length` octets of one direction are missing.

        A gap inside a record costs that record. One that reaches beyond it ends the direction
        unless a record happens to begin right behind it.
        """
        side = self._sides[direction]
        inside = 0 < length <= side.left
        if not inside or side.type == _HANDSHAKE:
            side.torn = side.opaque = True
            side.skip = 0
            side.messages.clear()
        side.kept = False
        side.payload.clear()
        if inside:
            side.left -= length
            if not side.left:
                self._end_record(direction, side)
        else:
            side.left = 0
            side.header.clear()

    def _begin_record(self, direction: Direction, side: _Side, event: Data, position: int) -> None:
        header = side.header
        first = direction is Direction.CLIENT and not self.info.records[direction]
        number = header[3] << 8 | header[4]
        side.type = header[0]
        if _CHANGE_CIPHER_SPEC <= side.type <= _HEARTBEAT and header[1] == 3 and header[2] <= 4:
            if number > MAX_RECORD:
                self.broken[direction] = f"a record of {number} octets"
                return
            side.left = number
            side.kept = side.type == _HANDSHAKE or (side.type == _ALERT and number == 2)
        elif first and not side.torn and looks_like_tls(header):
            self.info.offered = version_name(number)
            number = max(((header[0] & 0x7F) << 8 | header[1]) - 3, 0)
            side.left = number
            side.type, side.kept = 0, False
        else:
            self.broken[direction] = (
                "no record behind a gap" if side.torn else f"no TLS record: {header.hex(' ')}"
            )
            return
        self.info.records[direction] += 1
        if len(self.info.listed) < MAX_LISTED:
            time = event.mark_at(event.offset + position - 1).time
            self.info.listed.append(Seen(direction, side.type, number, time))
        if side.type == _APPLICATION_DATA and number > _LONGEST_SEALED_ALERT:
            side.sealed = True
            self._settle()
        header.clear()

    def _end_record(self, direction: Direction, side: _Side) -> None:
        payload = bytes(side.payload)
        side.payload.clear()
        if side.type == _HANDSHAKE and side.kept:
            self._take_handshake(direction, side, payload)
        elif side.type == _ALERT:
            self.info.take_alert(direction, payload)
        elif side.type == _CHANGE_CIPHER_SPEC:
            self._take_change(direction, side)

    def _take_change(self, direction: Direction, side: _Side) -> None:
        """Up to TLS 1.2, a server that changes before it said ServerHelloDone resumes."""
        info = self.info
        if (
            direction is Direction.SERVER
            and info.version not in (None, "TLSv1.3")
            and not side.changed
            and not side.torn
        ):
            info.resumed = not side.hello_done
        side.changed = side.opaque = True
        side.messages.clear()
        self._settle()

    def _take_handshake(self, direction: Direction, side: _Side, payload: bytes) -> None:
        if side.opaque:
            # Ciphertext, but for the second hellos around a HelloRetryRequest.
            if int.from_bytes(payload[1:4], "big") == len(payload) - 4:
                self._take_message(direction, side, payload[0], payload[4:])
            return
        if side.skip:
            skipped = min(side.skip, len(payload))
            side.skip -= skipped
            payload = payload[skipped:]
        messages = side.messages
        messages += payload
        position = 0
        while len(messages) - position >= 4:
            end = position + 4 + int.from_bytes(messages[position + 1 : position + 4], "big")
            if end - position - 4 > MAX_HANDSHAKE:
                side.skip = max(end - len(messages), 0)
            elif end <= len(messages):
                body = bytes(messages[position + 4 : end])
                self._take_message(direction, side, messages[position], body)
            else:
                break
            position = end
        del messages[:position]

    def _take_message(self, direction: Direction, side: _Side, kind: int, body: bytes) -> None:
        if direction is Direction.CLIENT:
            if kind == _CLIENT_HELLO:
                self._take_client_hello(body)
        elif kind == _SERVER_HELLO:
            self._take_server_hello(body)
        elif kind == _CERTIFICATE:
            self.info.take_certificates(Fields(body).vector(3))
        elif kind == _SERVER_HELLO_DONE:
            side.hello_done = True

    def _take_client_hello(self, body: bytes) -> None:
        info, hello = self.info, client_hello(body)
        if hello is None:
            return
        info.offered = version_name(hello.version)
        if hello.sni is not None:
            info.sni = hello.sni
        if hello.alpn is not None:
            info.alpn_offered = hello.alpn
        if info.ja3 is None:
            info.ja3, info.ja4 = ja3(hello.offer), ja4(hello.offer)

    def _take_server_hello(self, body: bytes) -> None:
        info, hello = self.info, server_hello(body)
        if hello is None:
            return
        info.version = version_name(hello.version)
        info.alpn = hello.alpn
        info.ja3s = hello.ja3s
        if hello.cipher is not None:
            info.cipher = hello.cipher
        if info.version == "TLSv1.3":
            info.resumed = hello.shared_key
        self._settle()

    def _settle(self) -> None:
        client, server = self._sides
        changed = self.info.version not in (None, "TLSv1.3") and client.changed and server.changed
        if changed or (client.sealed and server.sealed):
            self.info.established = True


class _Side:
    """One direction: the record at hand, and the handshake messages that its records carry.

    `opaque`: handshake records may be ciphertext from here on. `torn`: octets are missing.
    `changed`: ChangeCipherSpec was seen. `sealed`: application data was, longer than an alert.
    """

    __slots__ = (
        "changed",
        "header",
        "hello_done",
        "kept",
        "left",
        "messages",
        "opaque",
        "payload",
        "sealed",
        "skip",
        "torn",
        "type",
    )

    def __init__(self) -> None:
        self.header = bytearray()
        self.payload = bytearray()
        self.messages = bytearray()
        self.type = 0
        self.left = 0
        self.skip = 0
        self.kept = False
        self.opaque = False
        self.torn = False
        self.changed = False
        self.sealed = False
        self.hello_done = False
