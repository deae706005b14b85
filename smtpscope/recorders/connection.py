"""One client of the server: carries out what the `Responder` wants, in its order.

Actions wait where a message is being stored, a delay runs, or a handshake is under way; what the
client sends meanwhile waits behind them.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from smtpscope.recorders.link import Link
from smtpscope.recorders.mailbox import Delivery
from smtpscope.recorders.message_head import head_of
from smtpscope.recorders.outbound import Taken
from smtpscope.smtp.requester import Requester, Step
from smtpscope.smtp.responder import Responder
from smtpscope.smtp.serving import actions as do
from smtpscope.smtp.serving import turning
from smtpscope.smtp.serving.service import Service
from smtpscope.stream import Direction, Endpoint

if TYPE_CHECKING:
    from smtpscope.recorders.server import Server

MAX_INPUT = 1 << 18
"""Octets that wait behind actions; beyond, the client is not read any more."""
SLICE = 0.1
"""Seconds of traffic that go at once where it is throttled."""
GRACE = 30.0
"""Seconds before the rate of a message counts."""


class Connection(asyncio.Protocol):
    """`implicit`: TLS is spoken from the first octet."""

    def __init__(self, server: Server, service: Service, *, implicit: bool) -> None:
        self._server = server
        self._service = service
        self._implicit = implicit
        self._actions: deque[do.Action] = deque()
        self._input = bytearray()
        self._waiting = False
        self._blocked = False
        self._stalled = False
        self._paused = False
        self._slowed = False
        self._rate = 0
        self._ended = False
        self._lost = False
        self._delivery: Delivery | None = None
        self._taken = Taken([], None)
        self._requester: Requester | None = None
        self._received = 0
        self._message_begun = 0.0

    # -- what asyncio calls ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        server = self._server
        self._transport = cast(asyncio.Transport, transport)
        self._loop = server.loop
        peer = transport.get_extra_info("peername") or ("0.0.0.0", 0)
        own = transport.get_extra_info("sockname") or ("0.0.0.0", 0)
        self.client = Endpoint(peer[0], peer[1])
        talk = server.ledger.talk(self.client, Endpoint(own[0], own[1]))
        self._link = Link(self._transport, server.ledger, talk, Direction.SERVER)
        self.begun = self.progress = self._loop.time()
        self._refusal = server.admit(self)
        self.responder = Responder(self._service, self.client, tls=self._implicit)
        if self._implicit:
            kind, actions = self.responder.handshake()
            self._actions.extend(actions)
            self._begin_tls(kind)
        else:
            self._do(self.responder.connect(self._refusal))

    def data_received(self, octets: bytes) -> None:
        try:
            self._hear(octets)
        except ssl.SSLError as error:
            self._link.note(f"TLS failed: {error.reason or error}")
            self._link.close()

    def eof_received(self) -> bool:
        self._link.heard_end()
        self._ended = True
        self._proceed()
        # What is owed is still said.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._link.lost(exc)
        if self._delivery is not None:
            self._delivery.abandon()
            self._delivery = None
        if self._requester is not None:
            self._steps(self._requester.eof())
        self._taken.release()
        self._server.leave(self)

    def pause_writing(self) -> None:
        self._blocked = True
        self._flow()

    def resume_writing(self) -> None:
        self._blocked = False
        self._flow()
        self._pump()

    # -- what the server calls ---------------------------------------------------------------------

    @property
    def storing(self) -> bool:
        """A message is on its way to the disk."""
        return self.responder.mode.name == "WAIT"

    def check(self, now: float) -> None:
        """End what takes too long."""
        limits = self._server.limits
        if limits.total and now - self.begun > limits.total:
            self._end("closing.total")
        elif self.responder.in_message and limits.rate:
            took = now - self._message_begun
            if took > GRACE and self._received < limits.rate * took:
                self._end("closing.slow")
        if limits.idle and now - self.progress > limits.idle:
            self._end("closing.idle")

    def shut_down(self) -> None:
        """End it in an orderly way; what is being stored is answered first."""
        if not self.storing:
            self._end("closing.shutdown")

    def give_up(self) -> None:
        """Nothing can be recorded any more: what is not stored never will be."""
        if self._delivery is not None:
            self._delivery.abandon()
            self._delivery = None

    def _end(self, key: str) -> None:
        if self._stalled or self._requester is not None or self.responder.over:
            self._link.close(reset=self._stalled)
        else:
            self._waiting = False
            self._actions.clear()
            self._do(self.responder.close(key))

    # -- input -------------------------------------------------------------------------------------

    def _hear(self, octets: bytes) -> None:
        link = self._link
        was_ready = link.tls is None or link.tls.ready
        plain = link.hear(octets)
        tls = link.tls
        if not was_ready and tls is not None and tls.ready:
            self._waiting = False
            self.progress = self._loop.time()
            if self._implicit:
                self._do(self.responder.secured() + self.responder.connect(self._refusal))
            else:
                self._do(self.responder.secured())
        if plain:
            if self._waiting or self._actions or self._input:
                self._input += plain
                self._proceed()
            else:
                self._feed(plain)
        if tls is not None and tls.ended and not self._ended:
            self._ended = True
            self._proceed()
        if tls is not None and tls.failure is not None:
            raise tls.failure
        if self._rate:
            self._slow_down(len(octets))

    def _feed(self, plain: bytes) -> None:
        if self._requester is not None:
            self.progress = self._loop.time()
            self._steps(self._requester.feed(plain))
            return
        actions = self.responder.feed(plain)
        if self.responder.in_message:
            self._received += len(plain)
            self.progress = self._loop.time()
        if actions:
            self._do(actions)
        elif self.responder.paused:
            self._flow()

    def _proceed(self) -> None:
        """Go on with what waits: actions, then input, then the client's end."""
        self._carry_out()
        while self._input and not self._waiting and not self._lost:
            plain = bytes(self._input)
            self._input.clear()
            self._feed(plain)
        if self._ended and not self._waiting and not self._input and not self._lost:
            if self._requester is not None:
                self._steps(self._requester.eof())
            elif not self.responder.over:
                self._do(self.responder.eof())
        self._flow()

    def _flow(self) -> None:
        """Read from the client, or let it wait."""
        pause = (
            self._blocked
            or self._stalled
            or len(self._input) > MAX_INPUT
            or self.responder.paused
            or self._slowed
        )
        if pause != self._paused and not self._lost:
            self._paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _slow_down(self, octets: int) -> None:
        self._slowed = True
        self._flow()
        self._loop.call_later(octets / self._rate, self._speed_up)

    def _speed_up(self) -> None:
        self._slowed = False
        self._flow()

    # -- actions -----------------------------------------------------------------------------------

    def _do(self, actions: list[do.Action]) -> None:
        self._actions.extend(actions)
        self.progress = self._loop.time()
        self._carry_out()

    def _carry_out(self) -> None:
        actions = self._actions
        while actions and not self._waiting and not self._lost:
            action = actions.popleft()
            _CARRY_OUT[type(action)](self, action)

    def _resume(self) -> None:
        if not self._lost:
            self._waiting = False
            self._proceed()

    def _send(self, action: do.Send) -> None:
        octets = action.octets
        if not self._rate:
            self._link.say(octets)
            return
        size = max(int(self._rate * SLICE), 1)
        self._link.say(octets[:size])
        if len(octets) > size:
            self._actions.appendleft(do.Send(octets[size:]))
            self._delay(do.Delay(SLICE))

    def _delay(self, action: do.Delay) -> None:
        self._waiting = True
        self._loop.call_later(action.seconds, self._resume)

    def _throttle(self, action: do.Throttle) -> None:
        self._rate = action.rate

    def _start_tls(self, action: do.StartTls) -> None:
        if self._input:
            # It came while the 220 was on its way: it counts for nothing inside TLS, and the
            # `Responder` throws it away (RFC 3207 §4.2).
            self.responder.feed(bytes(self._input))
            self._input.clear()
        self._begin_tls(action.handshake)

    def _begin_tls(self, kind: str) -> None:
        context = self._server.context(kind)
        self._waiting = True
        if context is None:
            # An alert would need a context: who refuses says nothing that is TLS.
            self._link.close()
        else:
            self._link.start_tls(context)

    def _message_begin(self, action: do.MessageBegin) -> None:
        host = self._service.settings.host
        self._received = 0
        self._message_begun = self._loop.time()
        self._delivery = self._server.mailbox.begin(head_of(action.envelope, host))

    def _message_data(self, action: do.MessageData) -> None:
        if self._delivery is not None:
            self._delivery.write(action.octets)

    def _message_end(self, action: do.MessageEnd) -> None:
        if self._delivery is None:
            self._stored(OSError("it was not begun"))
            return
        # What can't be recorded is not stored.
        self._server.ledger.then(self._commit)

    def _commit(self) -> None:
        delivery, self._delivery = self._delivery, None
        # Its client may have gone.
        if delivery is not None:
            delivery.commit(self._stored)

    def _stored(self, result: str | OSError) -> None:
        server = self._server
        if isinstance(result, OSError):
            self._link.note(f"the message could not be stored: {result.strerror or result}")
            actions = self.responder.refuse()
        else:
            server.stored()
            actions = self.responder.stored(result)
        if not self._lost:
            self._do(actions)
            self._proceed()
        # It may have been the last message that was wanted, whoever is there to hear of it.
        server.answered(self)

    def _message_abort(self, action: do.MessageAbort) -> None:
        if self._delivery is not None:
            self._delivery.abandon()
            self._delivery = None

    def _turn(self, action: do.Turn) -> None:
        settings = self._service.settings
        hosts = [action.host.decode("utf-8", "replace")]
        if settings.turn == "insecure" or turning.may_collect(settings, action.identity, hosts):
            self._hand_back(hosts, "turn.refused", always=True)
        else:
            self._do(self.responder.refuse())

    def _atrn(self, action: do.Atrn) -> None:
        hosts = [domain.decode("utf-8", "replace") for domain in action.domains]
        if turning.may_collect(self._service.settings, action.identity, hosts):
            own = turning.own_hosts(action.identity)
            self._hand_back(hosts or list(own), "atrn.none", always=False)
        else:
            self._do(self.responder.refuse())

    def _hand_back(self, hosts: list[str], refusal: str, *, always: bool) -> None:
        """Let the client have what is queued for these hosts."""
        self._taken = self._server.take(hosts)
        if not self._taken.messages and not always:
            self._taken.release()
            self._do(self.responder.refuse(refusal))
        else:
            self._do(self.responder.accept())

    def _turned(self, action: do.Turned) -> None:
        host = self._service.settings.host
        self._requester = Requester(host, self._taken.messages)
        if action.octets:
            self._steps(self._requester.feed(action.octets))

    def _etrn(self, action: do.Etrn) -> None:
        node = action.node.decode("utf-8", "replace")
        key, count = self._server.start_queue(node, below=action.option == b"@")
        if key in ("etrn.unable", "etrn.refused"):
            self._do(self.responder.refuse(key))
        else:
            self._do(self.responder.accept(key, count))

    def _stop_reading(self, action: do.StopReading) -> None:
        self._stalled = True
        self._flow()

    def _close(self, action: do.Close) -> None:
        self._link.close(reset=action.reset)

    def _note(self, action: do.Note) -> None:
        self._link.note(f"{action.kind}: {action.detail}")

    def _steps(self, steps: list[Step]) -> None:
        """What the client's half wants, once the roles are swapped."""
        self._taken.carry_out(steps, self._link)
        self._pump()

    def _pump(self) -> None:
        """Send a message of ours as fast as the client takes it."""
        requester = self._requester
        while requester is not None and not self._blocked and not self._lost:
            steps = requester.more()
            if not steps:
                return
            self._taken.carry_out(steps, self._link)


_CARRY_OUT: dict[type, Callable[..., None]] = {
    do.Send: Connection._send,
    do.StartTls: Connection._start_tls,
    do.MessageBegin: Connection._message_begin,
    do.MessageData: Connection._message_data,
    do.MessageEnd: Connection._message_end,
    do.MessageAbort: Connection._message_abort,
    do.Turn: Connection._turn,
    do.Atrn: Connection._atrn,
    do.Etrn: Connection._etrn,
    do.Turned: Connection._turned,
    do.Delay: Connection._delay,
    do.Throttle: Connection._throttle,
    do.StopReading: Connection._stop_reading,
    do.Close: Connection._close,
    do.Note: Connection._note,
}
"""What carries out an action, by its type."""
