"""Mail that goes out: on a connection whose roles were swapped, or to a host that ETRN names.

`Taken` are messages of the queue that are being delivered; a message leaves the queue only when
the other side has accepted it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import cast

from smtpscope.recorders.ledger import Ledger
from smtpscope.recorders.link import Link
from smtpscope.recorders.queue import Queue
from smtpscope.smtp.requester import (
    Close,
    Delivered,
    Failed,
    Outgoing,
    Requester,
    Send,
    Step,
)
from smtpscope.stream import Direction, Endpoint

PATIENCE = 60.0
"""Seconds in which a host must answer."""


class Taken:
    """Messages that nobody else delivers meanwhile, until `release`."""

    def __init__(self, messages: Sequence[Outgoing], queue: Queue | None) -> None:
        self.messages = messages
        self._queue = queue
        self._stack = ExitStack()

    @classmethod
    def of(cls, queue: Queue, hosts: Sequence[str]) -> Taken:
        """Those that are queued for `hosts`."""
        taken = cls([], queue)
        entries = taken._stack.enter_context(queue.take(hosts))
        taken.messages = [entry.outgoing() for entry in entries]
        return taken

    def release(self) -> None:
        """Whatever is left may be delivered by others."""
        self._stack.close()

    def carry_out(self, steps: Sequence[Step], link: Link) -> None:
        """Do what a `Requester` wants."""
        for step in steps:
            match step:
                case Send(octets):
                    link.say(octets)
                case Delivered(id=id, later=later):
                    if self._queue is not None and later:
                        # They were refused for now, and wait for another time.
                        self._queue.keep(id, later)
                    elif self._queue is not None:
                        self._queue.remove(id)
                case Failed(id=id, reason=reason):
                    link.note(f"queued message {id} was not taken: {reason}")
                case Close():
                    self.release()
                    link.close()


class Outbound(asyncio.Protocol):
    """A connection to a host that is to have what is queued for it; `done` is called at its end."""

    def __init__(
        self, ledger: Ledger, host: str, taken: Taken, done: Callable[[Outbound], object]
    ) -> None:
        self._ledger = ledger
        self._taken = taken
        self._done = done
        self._requester = Requester(host, taken.messages)
        self._link: Link | None = None
        self._blocked = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop, where: str) -> None:
        """Connect to "host:port"."""
        self._loop = loop
        self._task = loop.create_task(self._connect(where))

    def end(self) -> None:
        """Deliver no more."""
        if self._link is not None:
            self._link.close()
        elif self._task is not None:
            self._task.cancel()

    async def _connect(self, where: str) -> None:
        host, _, port = where.rpartition(":")
        try:
            async with asyncio.timeout(PATIENCE):
                await self._loop.create_connection(lambda: self, host.strip("[]"), int(port))
        except (OSError, ValueError, TimeoutError, asyncio.CancelledError):
            # Nobody is there: what is queued stays queued.
            self._finish()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        talk = self._ledger.talk(Endpoint(own[0], own[1]), Endpoint(peer[0], peer[1]))
        self._link = Link(cast(asyncio.Transport, transport), self._ledger, talk, Direction.CLIENT)
        self._wait()

    def data_received(self, octets: bytes) -> None:
        assert self._link is not None
        self._wait()
        steps = self._requester.feed(self._link.hear(octets))
        self._taken.carry_out(steps, self._link)
        self._pump()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._pump()

    def _pump(self) -> None:
        """Send a message as fast as the host takes it."""
        while self._link is not None and not self._blocked:
            steps = self._requester.more()
            if not steps:
                return
            self._taken.carry_out(steps, self._link)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._link is not None:
            self._link.lost(exc)
            self._taken.carry_out(self._requester.eof(), self._link)
        self._finish()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(PATIENCE, self.end)

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._taken.release()
        self._done(self)
