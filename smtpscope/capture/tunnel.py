"""What precedes SMTP on a connection that was made through a proxy or a load balancer.

Stream events go in and the same events come out, less the octets of the tunnel's own handshake;
what the handshake said is kept as a `Tunnel`. HTTP CONNECT (RFC 9110 §9.3.6), again and again
where the proxy wants other credentials (§15.5.8), SOCKS5 (RFC 1928) with its user name and
password (RFC 1929), SOCKS4 and 4a, and the PROXY protocol, 1 and 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from smtpscope.stream import Closed, Data, Direction, Endpoint, Gap, Mark, Span, StreamEvent

# Octets of one direction that may wait for a decision.
MAX_HELD = 8192
# Requests that a proxy may answer with a challenge; the longest schemes need three.
MAX_CHALLENGES = 16

_PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
# PROXY protocol §2.1: the longest line there can be, with its CRLF.
_MAX_PROXY_V1 = 107
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_CONNECT = re.compile(rb"CONNECT +(\S+) .*HTTP/1\.[0-9]\r?\Z")
_STATUS = re.compile(rb"HTTP/1\.[0-9] +([0-9]{3})(?![0-9])")
_CREDENTIALS = re.compile(rb"\n(?:Proxy-)?Authorization[ \t]*:[ \t]*([^\r\n]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The handshake that led to the SMTP server.

    `kind` is "http-connect", "socks4", "socks5", "proxy-v1" or "proxy-v2". `target` is where the
    client asked to be led; its address may be a host name, quoted from the wire and so hostile
    until `display` has mapped it. `source` is the original client that a PROXY header names, and
    `target` then the address that this client had connected to. `accepted` is None where no
    answer was seen, and always for the PROXY protocol, which has none. `spans` are the octets
    taken out, `secrets` those among them that authenticate somebody.
    """

    kind: str
    target: Endpoint | None
    source: Endpoint | None
    accepted: bool | None
    spans: tuple[Span, ...]
    secrets: tuple[Span, ...]


class TunnelStripper:
    """Takes the tunnel's handshake off the events of one connection.

    Once `done`, nothing is held back and `feed` passes everything through: stop calling it.
    `tunnel` is known by then, or None where there is none. Only `Data` waits for that.
    """

    __slots__ = ("_challenges", "_ends", "_held", "_seen", "done", "tunnel")

    def __init__(self) -> None:
        self.tunnel: Tunnel | None = None
        self.done = False
        self._challenges = 0
        self._held: list[Data] = []
        # Where the handshake ends as far as it is read, and the octets behind it.
        self._ends = [0, 0]
        self._seen = (bytearray(), bytearray())

    def feed(self, event: StreamEvent) -> list[StreamEvent]:
        """Take one event and give those that may be passed on now, in order."""
        if self.done or not isinstance(event, Data | Gap | Closed):
            return [event]
        if isinstance(event, Data) and not (self._held or self._seen[0] or self._challenges):
            # A server that speaks first is behind no tunnel.
            self.done = event.direction is Direction.SERVER
            if self.done:
                return [event]
        if self._challenges and event.direction is Direction.SERVER and self._is_page(event):
            return [event] if isinstance(event, Gap) else []
        if not isinstance(event, Data):
            return [*self._decide(final=True), event]
        seen = self._seen[event.direction]
        seen += event.data[: MAX_HELD - len(seen)]
        self._held.append(event)
        return self._decide(final=len(seen) == MAX_HELD)

    def _is_page(self, event: Data | Gap | Closed) -> bool:
        """A challenge is followed by a page for the user, until the client asks again."""
        if self._seen[Direction.CLIENT] or isinstance(event, Closed) or self.tunnel is None:
            return False
        length = event.length if isinstance(event, Gap) else len(event.data)
        self._ends[Direction.SERVER] = event.offset + length
        self.tunnel = replace(self.tunnel, spans=self._spans())
        return True

    def _decide(self, final: bool) -> list[StreamEvent]:
        client, server = (_Messages(octets) for octets in self._seen)
        handshake = _Handshake(client, server)
        again = self._challenges > 0
        try:
            (_read_http if again else _read)(handshake)
        except _ShortError:
            if not final:
                return []
        except _ForeignError:
            if not again:
                handshake.kind = None
        if handshake.kind is not None:
            self._take_off(handshake, handshake.kind)
        held, self._held = self._held, []
        self._seen = (bytearray(), bytearray())
        rest = [left for event in held if (left := self._behind_handshake(event)) is not None]
        if handshake.challenged and self._challenges < MAX_CHALLENGES:
            self._challenges += 1
            return [passed for event in rest for passed in self.feed(event)]
        self.done = True
        return [*rest]

    def _take_off(self, handshake: _Handshake, kind: str) -> None:
        start = self._ends[Direction.CLIENT]
        secrets = [Span(way, start + begin, start + end) for way, begin, end in handshake.secrets]
        self._ends[Direction.CLIENT] += handshake.client.end
        self._ends[Direction.SERVER] += handshake.server.end
        self.tunnel = Tunnel(
            kind,
            handshake.target,
            handshake.source,
            handshake.accepted,
            self._spans(),
            (*(self.tunnel.secrets if self.tunnel else ()), *secrets),
        )

    def _spans(self) -> tuple[Span, ...]:
        return tuple(Span(way, 0, self._ends[way]) for way in Direction if self._ends[way])

    def _behind_handshake(self, data: Data) -> Data | None:
        end = self._ends[data.direction]
        return cut(data, end) if data.offset + len(data.data) > end else None


def cut(data: Data, start: int) -> Data:
    """`data` from stream offset `start` on, with the marks that belong to what is left."""
    if start <= data.offset:
        return data
    first = data.mark_at(start)
    later = (mark for mark in data.marks if mark.offset > start)
    marks = (Mark(start, first.time, first.packet), *later)
    return Data(data.direction, start, data.data[start - data.offset :], marks)


class _ShortError(Exception):
    """More octets are needed to go on."""


class _ForeignError(Exception):
    """This is no tunnel's handshake."""


class _Messages:
    """One direction's octets from its first on, read message by message.

    `end` is where the last whole message ended; `position` is inside the one being read.
    """

    __slots__ = ("end", "octets", "position")

    def __init__(self, octets: bytearray) -> None:
        self.octets = bytes(octets)
        self.position = 0
        self.end = 0

    def take(self, length: int) -> bytes:
        start = self.position
        if len(self.octets) < start + length:
            raise _ShortError
        self.position = start + length
        return self.octets[start : self.position]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def until_nul(self) -> bytes:
        end = self.octets.find(b"\0", self.position)
        if end < 0:
            raise _ShortError
        return self.take(end + 1 - self.position)[:-1]

    def head(self) -> bytes:
        """An HTTP message's head, its blank line included."""
        blank = _BLANK_LINE.search(self.octets, self.position)
        if not blank:
            raise _ShortError
        return self.take(blank.end() - self.position)

    def begins(self, prefix: bytes) -> bool:
        """Whether `prefix` comes next; raises _ShortError while that can't be told."""
        rest = self.octets[self.position : self.position + len(prefix)]
        if rest != prefix and prefix.startswith(rest):
            raise _ShortError
        return rest == prefix

    def next_is(self, octet: int) -> bool:
        return self.octets[self.position : self.position + 1] == bytes((octet,))

    def message_ends(self) -> None:
        self.end = self.position


class _Handshake:
    """What has been read so far; `kind` is set as soon as it can be nothing else."""

    __slots__ = (
        "accepted",
        "challenged",
        "client",
        "kind",
        "secrets",
        "server",
        "source",
        "target",
    )

    def __init__(self, client: _Messages, server: _Messages) -> None:
        self.client = client
        self.server = server
        self.kind: str | None = None
        self.target: Endpoint | None = None
        self.source: Endpoint | None = None
        self.accepted: bool | None = None
        self.challenged = False
        self.secrets: list[Span] = []


def _read(handshake: _Handshake) -> None:
    first = handshake.client.octets[:1]
    if not first:
        if handshake.server.octets:
            raise _ForeignError
        raise _ShortError
    reader = _READERS.get(first)
    if reader is None:
        raise _ForeignError
    reader(handshake)


def _read_http(handshake: _Handshake) -> None:
    client, server = handshake.client, handshake.server
    if not client.begins(b"CONNECT "):
        raise _ForeignError
    head = client.head()
    request = _CONNECT.match(head, 0, head.index(b"\n"))
    if not request:
        raise _ForeignError
    client.message_ends()
    handshake.kind = "http-connect"
    handshake.target = _authority(request[1])
    handshake.secrets += [
        Span(Direction.CLIENT, *found.span(1)) for found in _CREDENTIALS.finditer(head)
    ]
    if not server.begins(b"HTTP/1."):
        raise _ForeignError
    status = _STATUS.match(server.head())
    if not status:
        raise _ForeignError
    server.message_ends()
    handshake.accepted = status[1].startswith(b"2")
    handshake.challenged = status[1] == b"407"


def _read_socks4(handshake: _Handshake) -> None:
    client, server = handshake.client, handshake.server
    if client.take(2) != b"\x04\x01":
        raise _ForeignError
    port, address = client.number(2), client.take(4)
    client.until_nul()
    # SOCKS 4a: an address 0.0.0.x stands for a name that follows.
    if address[:3] == b"\0\0\0" and address[3]:
        host = _quoted(client.until_nul())
    else:
        host = str(IPv4Address(address))
    client.message_ends()
    handshake.kind = "socks4"
    handshake.target = Endpoint(host, port)
    reply = server.take(8)
    if reply[0] != 0:
        raise _ForeignError
    server.message_ends()
    handshake.accepted = reply[1] == 0x5A


def _read_socks5(handshake: _Handshake) -> None:
    """The client's messages are read as far as they go before the server's: it need not wait."""
    client, server = handshake.client, handshake.server
    client.take(1)
    methods = client.take(client.number(1))
    if not methods:
        raise _ForeignError
    client.message_ends()
    handshake.kind = "socks5"
    authenticates = client.next_is(1)
    if authenticates:
        _read_password(handshake)
    asks = client.next_is(5)
    if asks:
        _read_socks5_request(handshake)
    if server.number(1) != 5:
        raise _ForeignError
    method = server.number(1)
    server.message_ends()
    if method not in methods or method not in (0, 2):
        handshake.accepted = False if method == 0xFF else None
        return
    if method == 2:
        if not authenticates:
            raise _ShortError
        status = server.take(2)[1]
        server.message_ends()
        if status:
            handshake.accepted = False
            return
    if not asks:
        raise _ShortError
    version, reply, _ = server.take(3)
    _socks5_address(server)
    if version != 5:
        raise _ForeignError
    server.message_ends()
    handshake.accepted = reply == 0


def _read_password(handshake: _Handshake) -> None:
    client = handshake.client
    client.take(1)
    client.take(client.number(1))
    length = client.number(1)
    start = client.position
    client.take(length)
    client.message_ends()
    handshake.secrets.append(Span(Direction.CLIENT, start, start + length))


def _read_socks5_request(handshake: _Handshake) -> None:
    client = handshake.client
    client.take(3)
    handshake.target = _socks5_address(client)
    client.message_ends()


def _socks5_address(messages: _Messages) -> Endpoint:
    kind = messages.number(1)
    if kind == 1:
        host = str(IPv4Address(messages.take(4)))
    elif kind == 3:
        host = _quoted(messages.take(messages.number(1)))
    elif kind == 4:
        host = str(IPv6Address(messages.take(16)))
    else:
        raise _ForeignError
    return Endpoint(host, messages.number(2))


def _read_proxy_v1(handshake: _Handshake) -> None:
    client = handshake.client
    if not client.begins(b"PROXY "):
        raise _ForeignError
    line, ending, _ = client.octets[:_MAX_PROXY_V1].partition(b"\r\n")
    if not ending:
        raise _ForeignError if len(line) == _MAX_PROXY_V1 else _ShortError
    fields = line.decode("latin-1").split(" ")
    if fields[1] in ("TCP4", "TCP6") and len(fields) == 6:
        try:
            handshake.source = Endpoint(str(ip_address(fields[2])), _port(fields[4]))
            handshake.target = Endpoint(str(ip_address(fields[3])), _port(fields[5]))
        except ValueError:
            raise _ForeignError from None
    elif fields[1] != "UNKNOWN":
        raise _ForeignError
    client.take(len(line) + 2)
    client.message_ends()
    handshake.kind = "proxy-v1"


def _read_proxy_v2(handshake: _Handshake) -> None:
    client = handshake.client
    if not client.begins(_PROXY_V2):
        raise _ForeignError
    client.take(len(_PROXY_V2))
    command, family, length = client.number(1), client.number(1), client.number(2)
    if command >> 4 != 2 or command & 0x0F > 1:
        raise _ForeignError
    body = client.take(length)
    client.message_ends()
    handshake.kind = "proxy-v2"
    # A LOCAL connection (a health check) speaks for nobody.
    width = {0x11: 4, 0x21: 16}.get(family) if command & 1 else None
    if width and length >= 2 * width + 4:
        source, target = body[:width], body[width : 2 * width]
        ports = body[2 * width :]
        handshake.source = Endpoint(str(ip_address(source)), int.from_bytes(ports[:2], "big"))
        handshake.target = Endpoint(str(ip_address(target)), int.from_bytes(ports[2:4], "big"))


_READERS: dict[bytes, Callable[[_Handshake], None]] = {
    b"C": _read_http,
    b"\x04": _read_socks4,
    b"\x05": _read_socks5,
    b"P": _read_proxy_v1,
    b"\r": _read_proxy_v2,
}


def _authority(text: bytes) -> Endpoint | None:
    """The host and port of `host:port`, as HTTP CONNECT names its target."""
    host, colon, port = _quoted(text).rpartition(":")
    try:
        return Endpoint(host.removeprefix("[").removesuffix("]"), _port(port)) if colon else None
    except ValueError:
        return None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 0xFFFF):
        raise ValueError(text)
    return int(text)


def _quoted(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
