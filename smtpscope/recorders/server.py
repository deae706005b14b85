"""The minimal server: listeners, limits, and what all its connections share.

It runs in one thread and one event loop; messages are stored by another process (`mailbox`), and
everything that crosses a socket is in the `Ledger` first.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from smtpscope.recorders.certificates import Certificates
from smtpscope.recorders.connection import Connection
from smtpscope.recorders.ledger import Ledger
from smtpscope.recorders.listener import KINDS, Listener, Listening
from smtpscope.recorders.mailbox import Mailbox
from smtpscope.recorders.outbound import Outbound, Taken
from smtpscope.recorders.queue import Queue
from smtpscope.smtp.serving.faults import FaultCounter
from smtpscope.smtp.serving.service import Service
from smtpscope.smtp.serving.settings import Settings

FAREWELL = 2.0
"""Seconds in which clients may end by themselves after the last message that was wanted."""
PATIENCE = 10.0
"""Seconds that connections have to end when the server does."""


class Limits(NamedTuple):
    """What connections may do; 0 is no limit. Times in seconds, `rate` in octets a second."""

    connections: int = 2_500
    per_client: int = 0
    idle: float = 300.0
    total: float = 0.0
    rate: int = 0


class Server(Listening):
    """A server with its listeners."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        ledger: Ledger,
        mailbox: Mailbox,
        queue: Queue,
        certificates: Certificates,
        *,
        etrn_hosts: dict[str, str],
        exit_after: int = 0,
    ) -> None:
        super().__init__()
        self.limits = limits
        self.ledger = ledger
        self.mailbox = mailbox
        self.messages = 0
        self._queue = queue
        self._certificates = certificates
        self._etrn_hosts = {node.casefold(): where for node, where in etrn_hosts.items()}
        self._exit_after = exit_after
        counter = FaultCounter()
        self._services = {
            kind: Service(replace(settings, starttls=kind == "starttls"), counter=counter)
            for kind in KINDS
        }
        self._connections: set[Connection] = set()
        self._outbound: set[Outbound] = set()
        self._clients: Counter[str] = Counter()

    async def listen(self, listeners: Sequence[Listener]) -> list[Listener]:
        """Listen; where, with the ports that were chosen. Raises SmtpscopeError."""
        found = []
        for listener in listeners:
            make = partial(
                Connection,
                self,
                self._services[listener.kind],
                implicit=listener.kind == "smtps",
            )
            server = await self._listen(listener, make)
            found.append(listener._replace(port=server.sockets[0].getsockname()[1]))
        return found

    async def serve(self) -> None:
        """Serve until `end` is called; then what was acknowledged is finished, and the rest hears
        421."""

        def look() -> None:
            now = self.loop.time()
            for connection in list(self._connections):
                connection.check(now)

        await self._sweep(look)
        if self.failure is not None:
            # What can't be recorded is not acknowledged, and an end like that not waited for.
            for connection in list(self._connections):
                connection.give_up()
            return
        if self._enough():
            # Who has sent the last message may say goodbye.
            await self._emptied(FAREWELL)
        for connection in list(self._connections):
            connection.shut_down()
        for outbound in list(self._outbound):
            outbound.end()
        await self._emptied(PATIENCE)

    # -- what connections ask ----------------------------------------------------------------------

    def admit(self, connection: Connection) -> str:
        """A connection has come; the key of the greeting that refuses it, "" for a welcome."""
        address = connection.client.address
        self._connections.add(connection)
        self._empty.clear()
        self._clients[address] += 1
        limits = self.limits
        too_many = limits.connections and len(self._connections) > limits.connections
        greedy = limits.per_client and self._clients[address] > limits.per_client
        return "greeting.busy" if too_many or greedy or self._ending.is_set() else ""

    def leave(self, connection: Connection) -> None:
        """A connection has gone."""
        self._connections.discard(connection)
        address = connection.client.address
        self._clients[address] -= 1
        if not self._clients[address]:
            del self._clients[address]
        if not self._connections:
            self._empty.set()

    def stored(self) -> None:
        """A message is on disk."""
        self.messages += 1

    def answered(self, connection: Connection) -> None:
        """The client knows what became of its message, or has gone before."""
        if self._enough():
            self.end()
        elif self._ending.is_set():
            connection.shut_down()

    def _enough(self) -> bool:
        return bool(self._exit_after) and self.messages >= self._exit_after

    def context(self, kind: str) -> ssl.SSLContext | None:
        """What a handshake needs; None where it is to be refused."""
        return self._certificates.context(kind)

    def take(self, hosts: Sequence[str]) -> Taken:
        """The messages queued for these hosts; nobody else has them meanwhile."""
        return Taken.of(self._queue, hosts)

    def start_queue(self, node: str, *, below: bool) -> tuple[str, int]:
        """ETRN: the key of the reply, and how many messages are on their way.

        `below`: with all that is below the domain ("@", RFC 1985 §5.3), and what has no place of
        its own there goes where the domain's goes. A named queue ("#") has the name that its
        messages were queued for, and is found like a host.
        """
        node = node.casefold()
        places = self._etrn_hosts
        hosts = {node}
        if below:
            known = {*places, *(entry.host.casefold() for entry in self._queue.waiting())}
            hosts |= {host for host in known if host.endswith(f".{node}")}
        found: dict[str, list[str]] = {}
        for host in sorted(hosts):
            where = places.get(host) or places.get(node)
            if where is not None:
                found.setdefault(where, []).append(host)
        if not found:
            return "etrn.refused", 0
        count = sum(self._deliver(each, where) for where, each in found.items())
        return ("etrn.count", count) if count else ("etrn.none", 0)

    def _deliver(self, hosts: list[str], where: str) -> int:
        """Send to "host:port" what is queued for these hosts; how many messages that are."""
        taken = self.take(hosts)
        if not taken.messages:
            taken.release()
            return 0
        host = self._services["smtp"].settings.host
        outbound = Outbound(self.ledger, host, taken, self._outbound.discard)
        self._outbound.add(outbound)
        outbound.start(self.loop, where)
        return len(taken.messages)
