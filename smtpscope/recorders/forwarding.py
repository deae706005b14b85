"""The proxy: its listeners, its limits, and what all its relays share.

It runs in one thread and one event loop and decodes nothing; everything that crosses a socket is
in the `Ledger` first.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

from smtpscope.capture.synth import Talk
from smtpscope.errors import UsageError
from smtpscope.recorders.authority import Authority, Configure
from smtpscope.recorders.certificate_names import Names, names_of
from smtpscope.recorders.ledger import Ledger
from smtpscope.recorders.leg import Leg
from smtpscope.recorders.listener import KINDS, SWEEP, Listener, Listening, is_host, parts
from smtpscope.recorders.relay import Relay
from smtpscope.recorders.tls import KeyLog
from smtpscope.stream import Endpoint

PATIENCE = 5.0
"""Seconds that connections have to end when the proxy does."""
DEFAULT_PORTS = {"smtp": 25, "starttls": 587, "smtps": 465}


class Upstream(NamedTuple):
    """The server: `kind` is smtp (the client decides on TLS), starttls or smtps (we do)."""

    kind: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Self:
        """Of "smtp://mx.example.org" or "smtps://[::1]:465"; without a kind it is smtp. Raises
        ValueError."""
        kind, host, port = parts(url)
        if port is None:
            port = str(DEFAULT_PORTS.get(kind, 0))
        if kind not in KINDS or not is_host(host) or not port.isdecimal():
            raise ValueError(
                f"{url!r} is no server: name one such as smtp://mx.example.org:25,"
                " starttls://mx.example.org:587 or smtps://[2001:db8::1]:465"
            )
        if not 0 < int(port) < 65_536:
            raise ValueError(f"{url!r} has no port: they go from 1 to 65535")
        return cls(kind, host, int(port))

    def __str__(self) -> str:
        return str(Listener(self.kind, self.host, self.port))


class ProxySettings(NamedTuple):
    """How a proxy behaves. Paths are of PEM files, times in seconds; 0 is no limit.

    `starttls` and `injection` are as the options of these names; `legs` are recorded. `host` is
    what it calls itself where it has to say EHLO.
    """

    upstream: Upstream
    host: str = "localhost"
    starttls: str = "intercept"
    injection: str = "drop"
    legs: str = "both"
    proxy_protocol: bool = False
    insecure_upstream: bool = False
    upstream_ca: str | None = None
    upstream_cert: str | None = None
    upstream_key: str | None = None
    client_ca: str | None = None
    connect_timeout: float = 30.0
    idle: float = 900.0
    connections: int = 5_000


class Proxy(Listening):
    """A proxy with its listeners."""

    def __init__(
        self, settings: ProxySettings, ledger: Ledger, key_log: KeyLog, *, authority: Path | None
    ) -> None:
        """`authority`: the folder of the CA, None where no client is to speak TLS with us.

        Raises `SmtpscopeError`.
        """
        super().__init__()
        self.settings = settings
        self.ledger = ledger
        self.connections = 0
        self._authority = None
        if authority is not None:
            self._authority = Authority(authority, key_log if settings.legs != "server" else None)
            self._authority.check()
        self._upstream_context = _upstream_context(settings)
        if settings.legs != "client":
            key_log.attach(self._upstream_context)
        self._configure = self._ask_client if settings.client_ca else None
        if settings.client_ca:
            # A mistake in it is told now, and not to the first client.
            self._ask_client(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._own: list[tuple[str, int]] = []
        self._led_back = float("-inf")
        self._relays: set[Relay] = set()

    async def listen(self, listeners: Sequence[Listener]) -> list[Listener]:
        """Listen; where, with the ports that were chosen. Raises SmtpscopeError."""
        found = []
        for listener in listeners:
            implicit = listener.kind == "smtps"
            make = partial(_client_leg, self, implicit)
            server = await self._listen(listener, make)
            names = [each.getsockname() for each in server.sockets]
            self._own += [(name[0], name[1]) for name in names]
            found.append(listener._replace(port=names[0][1]))
        await self._check_upstream()
        return found

    async def serve(self) -> None:
        """Forward until `end` is called; then all connections end."""
        before = self.loop.time()

        def look() -> None:
            nonlocal before
            now = self.loop.time()
            for relay in list(self._relays):
                relay.check(now - before, self.settings.idle)
            before = now

        await self._sweep(look)
        for relay in list(self._relays):
            relay.close()
        if self.failure is not None:
            # An end that can't be recorded is not waited for.
            return
        await self._emptied(PATIENCE)

    # -- what relays ask ---------------------------------------------------------------------------

    def admit(self, relay: Relay) -> str:
        """A client has come; what refuses it, "" for a welcome."""
        self._relays.add(relay)
        self._empty.clear()
        self.connections += 1
        limit = self.settings.connections
        if limit and len(self._relays) > limit:
            return "421 4.3.2 too many connections at once"
        return ""

    def leave(self, relay: Relay) -> None:
        """Both connections of a relay have gone."""
        self._relays.discard(relay)
        if not self._relays:
            self._empty.set()

    def talk(self, client: Endpoint, server: Endpoint) -> Talk:
        """How a client's connection is recorded."""
        if self.settings.legs == "server":
            return Talk(_forget, client, server, 0)
        return self.ledger.talk(client, server)

    def upstream_talk(self, client: Endpoint, server: Endpoint, *, of: Leg) -> Talk:
        """How our own connection to the server is recorded, for the sake of a client's."""
        legs = self.settings.legs
        if legs == "client":
            return Talk(_forget, client, server, 0)
        note = f"proxy: for the client {of.peer}, who connected to {of.local}"
        return self.ledger.talk(client, server, wire=int(legs == "both"), note=note)

    def upstream_context(self) -> ssl.SSLContext:
        """What a handshake with the server needs."""
        return self._upstream_context

    def client_context(self, shown: bytes | None, local: str) -> ssl.SSLContext:
        """What a handshake with a client needs that connected to the address `local`: a certificate
        for the names that the server has `shown` (DER), and for ours. Where it shows none, the
        client gets the one that it asks for (SNI). Raises SmtpscopeError."""
        names = names_of(shown) if shown is not None else Names()
        hosts = [self.settings.upstream.host, local]
        with suppress(ValueError):
            if ipaddress.ip_address(local).is_loopback:
                hosts.append("localhost")
        configure = self._configure if shown is not None else self._answer_names
        return self._context(names.including(*hosts), configure)

    @property
    def leads_back(self) -> bool:
        """Whether a moment ago the server was this proxy: a name's address may change."""
        return self.loop.time() - self._led_back < SWEEP

    def found_itself(self) -> None:
        """A connection has led back to us, and its other end would connect to us, too."""
        self._led_back = self.loop.time()

    def is_own(self, peer: Endpoint, local: Endpoint) -> bool:
        """Whether a connection from `local` to `peer` has led back to us."""
        return any(
            port == peer.port and _reaches(_address(host), _address(peer.address), local)
            for host, port in self._own
        )

    # -- the rest ----------------------------------------------------------------------------------

    async def _check_upstream(self) -> None:
        """Raise UsageError where the server is this proxy; a name may become known later."""
        upstream = self.settings.upstream
        with suppress(OSError):
            found = await self.loop.getaddrinfo(
                upstream.host, upstream.port, type=socket.SOCK_STREAM
            )
            for *_, address in found:
                peer = Endpoint(str(address[0]), int(address[1]))
                if self.is_own(peer, peer):
                    raise UsageError(
                        f"{upstream} is where this proxy listens itself: name the server with"
                        " --upstream"
                    )

    def _context(self, names: Names, configure: Configure | None) -> ssl.SSLContext:
        assert self._authority is not None
        # A new context begins with an empty key log.
        self.ledger.keep_secrets()
        return self._authority.context(names, configure)

    def _answer_names(self, context: ssl.SSLContext) -> None:
        """Have a certificate for whatever name is asked for."""
        if self._configure is not None:
            self._configure(context)
        context.sni_callback = self._answer_name

    def _answer_name(self, tls: ssl.SSLObject, name: str | None, _: object) -> None:
        names = Names().including(name or "")
        if names:
            tls.context = self._context(names, self._configure)

    def _ask_client(self, context: ssl.SSLContext) -> None:
        """Have clients show a certificate."""
        try:
            context.load_verify_locations(self.settings.client_ca)
        except OSError as error:
            what = "a PEM file of certificates"
            raise _unusable("--client-ca", self.settings.client_ca, error, what) from None
        context.verify_mode = ssl.CERT_REQUIRED


def _client_leg(proxy: Proxy, implicit: bool) -> Leg:
    return Relay(proxy, implicit=implicit).client


def _upstream_context(settings: ProxySettings) -> ssl.SSLContext:
    """Raises UsageError where a file is of no use."""
    try:
        context = ssl.create_default_context(cafile=settings.upstream_ca)
    except OSError as error:
        raise _unusable("--upstream-ca", settings.upstream_ca, error) from None
    # Python 3.13 asks for extensions that mail servers' private CAs do without, and nobody else
    # misses.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if settings.insecure_upstream:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.upstream_cert:
        try:
            context.load_cert_chain(settings.upstream_cert, settings.upstream_key)
        except OSError as error:
            raise _unusable("--upstream-cert", settings.upstream_cert, error) from None
    return context


def _unusable(
    option: str, path: str | None, error: OSError, what: str = "a PEM file"
) -> UsageError:
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return UsageError(f"{path} cannot be used for {option} ({reason}): it is {what}")


def _forget(when: int, packet: bytes, comment: str = "") -> None:
    """Take what is not to be recorded."""


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(text: str) -> _Address:
    """Without its zone; of an IPv4 address that IPv6 wraps up, the former."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _reaches(listened: _Address, address: _Address, local: Endpoint) -> bool:
    """Whether who listens there hears what goes to `address` from `local`."""
    if listened.version != address.version:
        return False
    if address.is_unspecified:
        # Who connects to it comes to this machine.
        address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")
    if listened == address:
        return True
    ours = address.is_loopback or (address == _address(local.address) and _is_ours(address))
    return listened.is_unspecified and ours


def _is_ours(address: _Address) -> bool:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((str(address), 0))
        return True
    return False
