"""One client of the proxy and its connection to the server: what either says goes to the other.

A `Relay` begins with a task that reaches the server and speaks TLS where it is spoken from the
first octet; from then on octets go on as they come, until a client says STARTTLS and another task
shakes hands with both sides. Nobody is ever led back to plaintext.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING

from smtpscope.capture.tunnel import TunnelStripper
from smtpscope.errors import SmtpscopeError
from smtpscope.recorders.leg import BrokenLegError, Leg
from smtpscope.recorders.link import Link
from smtpscope.smtp.starttls import FAILED, StartTlsWatch
from smtpscope.stream import Data, Direction, Mark

if TYPE_CHECKING:
    from smtpscope.recorders.forwarding import Proxy

PATIENCE = 60.0
"""Seconds that a handshake, a greeting or a PROXY header may take."""
LINGER = 2.0
"""Seconds that a client has for the last words: while it talks, closing would reset them away."""
_OFFER = b"STARTTLS"
_ITSELF = "that is this proxy itself"


class Relay:
    """`implicit`: the client speaks TLS from the first octet. `touched`: somebody said something
    since it was last looked at."""

    def __init__(self, proxy: Proxy, *, implicit: bool) -> None:
        self._proxy = proxy
        self._implicit = implicit
        self.client = Leg(self, Direction.SERVER)
        self.server: Leg | None = None
        self.touched = False
        self.silent = 0.0
        """Seconds of silence until it was last looked at."""
        self._watch: StartTlsWatch | None = None
        self._task: asyncio.Task[None] | None = None
        self._open = False

    # -- what the legs tell ------------------------------------------------------------------------

    def connected(self, leg: Leg, transport: asyncio.Transport, own: Direction) -> Link:
        """A connection is there; how it is recorded."""
        if leg is self.client:
            talk = self._proxy.talk(leg.peer, leg.local)
            refusal = self._proxy.admit(self)
            self._start(self._refuse(refusal, 0) if refusal else self._begin())
        else:
            talk = self._proxy.upstream_talk(leg.local, leg.peer, of=self.client)
        return Link(transport, self._proxy.ledger, talk, own)

    def failed(self, leg: Leg) -> None:
        """TLS has failed where it was spoken; a task that waits for it knows by itself."""
        if self._open:
            who = "client" if leg is self.client else "server"
            self._note(f"proxy: TLS with the {who} failed: {leg.problem}")
            self.close()

    def ended(self, leg: Leg) -> None:
        """A peer says nothing more: nor do we, to the other one."""
        if not self._open:
            if leg is self.client and leg.take == self._say_goodbye:
                self.close()
            return
        other = self._other(leg)
        if self._watch is not None:
            watch = self._watch
            other.link.say(watch.let_go() if leg is self.client else watch.let_server_go())
        if other.ended:
            self.close()
        else:
            other.link.end()

    def on_lost(self, leg: Leg) -> None:
        """A connection is gone, and the other one goes with it."""
        server = self.server
        if leg is self.client:
            if server is not None and not server.lost:
                server.link.close(reset=leg.was_reset)
            elif self._task is not None:
                self._task.cancel()
        elif self._open and not self.client.lost:
            self.client.link.close(reset=leg.was_reset)
        if self.client.lost and (server is None or server.lost):
            self._proxy.leave(self)

    def blocked(self, leg: Leg, blocked: bool) -> None:
        """A peer takes no more for now, or takes more again."""
        if leg is not self.client:
            self.client.hold(blocked)
        elif self.server is not None:
            self.server.hold(blocked)

    # -- what the proxy does with it ---------------------------------------------------------------

    def check(self, passed: float, idle: float) -> None:
        """Another `passed` seconds are over; end it where it was silent for `idle`."""
        if self.touched:
            self.touched, self.silent = False, 0.0
        else:
            self.silent += passed
        if idle and self.silent > idle:
            self._note(f"proxy: ended after {self.silent:.0f} s of silence")
            for leg in self._legs():
                leg.abort()

    def close(self) -> None:
        """End both connections in an orderly way."""
        for leg in self._legs():
            leg.link.close()

    # -- the beginning -----------------------------------------------------------------------------

    async def _begin(self) -> None:
        proxy = self._proxy
        try:
            if proxy.settings.proxy_protocol:
                await self._take_header()
            server = await self._reach()
        except (BrokenLegError, TimeoutError) as error:
            if self.server is not None:
                self.server.link.close()
            reason = str(error) or "it takes too long"
            if not self.client.lost:
                where = proxy.settings.upstream
                await self._refuse(f"421 4.4.1 {where} cannot be used: {reason}", LINGER)
            return
        if self._implicit and not await self._secure_client():
            return
        secured = self.client.link.tls is not None or server.link.tls is not None
        policy = proxy.settings.starttls
        if not secured and policy != "pass":
            self._watch = StartTlsWatch(strip=policy == "strip")
        self._go_on(server)

    async def _reach(self) -> Leg:
        """Connect to the server, with TLS where that comes first. Raises BrokenLegError."""
        proxy = self._proxy
        upstream = proxy.settings.upstream
        server = Leg(self, Direction.CLIENT)
        if proxy.leads_back:
            raise BrokenLegError(_ITSELF)
        try:
            async with asyncio.timeout(proxy.settings.connect_timeout):
                await proxy.loop.create_connection(lambda: server, upstream.host, upstream.port)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise BrokenLegError(reason) from None
        if server.problem:
            raise BrokenLegError(server.problem)
        self.server = server
        if self.client.lost:
            server.link.close(reset=self.client.was_reset)
            raise BrokenLegError("the client has gone")
        if proxy.is_own(server.peer, server.local):
            proxy.found_itself()
            raise BrokenLegError(_ITSELF)
        if upstream.kind != "smtp":
            async with asyncio.timeout(PATIENCE):
                if upstream.kind == "starttls":
                    await self._start_tls_ahead(server)
                else:
                    await self._secure_server(server)
        return server

    async def _start_tls_ahead(self, server: Leg) -> None:
        """STARTTLS of our own, before the client has said a word; it gets the greeting later."""
        greeting = await server.reply()
        if not greeting.startswith(b"2"):
            # Whatever the client would say to that goes on in the clear.
            raise BrokenLegError(f"the server greets with {_said(greeting)}")
        server.link.say(b"EHLO " + self._proxy.settings.host.encode() + b"\r\n")
        offered = await server.reply()
        if _OFFER not in offered.upper():
            raise BrokenLegError("the server does not offer STARTTLS")
        server.link.say(b"STARTTLS\r\n")
        answer = await server.reply()
        if not answer.startswith(b"220"):
            raise BrokenLegError(f"STARTTLS was answered {_said(answer)}")
        self._forget(server, "the server")
        await self._secure_server(server)
        server.kept[:0] = greeting

    async def _take_header(self) -> None:
        """The PROXY header that stands before everything else. Raises BrokenLegError."""
        client, stripper, offset = self.client, TunnelStripper(), 0
        async with asyncio.timeout(PATIENCE):
            while not stripper.done:
                while not client.kept:
                    await client.change()
                octets = client.taken()
                said = Data(Direction.CLIENT, offset, octets, (Mark(offset, time.time_ns(), 0),))
                offset += len(octets)
                for event in stripper.feed(said):
                    if isinstance(event, Data):
                        client.kept += event.data
        if stripper.tunnel is None or not stripper.tunnel.kind.startswith("proxy-"):
            raise BrokenLegError("the connection did not begin with a PROXY header")

    async def _refuse(self, words: str, patience: float) -> None:
        """Tell the client why there is no server for it, and end once it ends, or after so many
        seconds."""
        if self._implicit and self.client.link.tls is None and not await self._secure_client():
            return
        self._note(f"proxy: {words}")
        self.client.link.say(_reply(words))
        self.client.link.end()
        self.client.hand_over(_ignore)
        with suppress(BrokenLegError, TimeoutError):
            async with asyncio.timeout(patience):
                while True:
                    await self.client.change()
        self.client.link.close()

    # -- octets ------------------------------------------------------------------------------------

    def _go_on(self, server: Leg) -> None:
        """From here on octets go on as they come."""
        self._open = True
        server.hand_over(self._from_server)
        self.client.hand_over(self._from_client)
        for leg in (self.client, server):
            # It may have ended while nobody listened.
            if leg.problem:
                self.failed(leg)
            elif leg.lost:
                self.on_lost(leg)
            elif leg.ended:
                self.ended(leg)

    def _from_client(self, plain: bytes) -> None:
        server = self.server
        assert server is not None
        watch = self._watch
        if watch is None:
            server.link.say(plain)
            return
        heard = watch.client(plain)
        if heard.forward:
            server.link.say(heard.forward)
        if heard.command or heard.behind:
            self.client.take = self.client.keep
            # Until this is settled, one side's end is not the other's.
            self._open = False
            self._start(self._deal_with(heard.command, heard.behind))

    def _from_server(self, plain: bytes) -> None:
        if self._watch is not None:
            plain = self._watch.server(plain)
        if plain:
            self.client.link.say(plain)

    # -- STARTTLS ----------------------------------------------------------------------------------

    async def _deal_with(self, command: bytes, behind: bytes) -> None:
        """A client has said STARTTLS, or something behind DATA before that is answered."""
        server, watch, settings = self.server, self._watch, self._proxy.settings
        assert server is not None
        assert watch is not None
        try:
            # Replies keep their order: those to earlier commands come first.
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    while watch.awaited:
                        await server.change()
            watch.decide()
            if not (command and watch.takes_commands):
                # It stood behind what asks for other things than commands.
                self.client.kept[:0] = command + behind
                self._go_on(server)
            elif settings.starttls == "strip":
                self._answer_ourselves(b"502 5.5.1 STARTTLS is not available\r\n", behind)
            elif settings.starttls == "refuse":
                words = b"454 4.7.0 TLS is not available due to a temporary reason\r\n"
                self._answer_ourselves(words, behind)
            else:
                await self._intercept(server, command, behind)
        except BrokenLegError as error:
            self._fail(server, str(error))

    def _answer_ourselves(self, reply: bytes, behind: bytes) -> None:
        self._note("proxy: STARTTLS was answered by the proxy, as --starttls says")
        assert self.server is not None
        self.client.link.say(reply)
        self.client.kept[:0] = behind
        self._go_on(self.server)

    async def _intercept(self, server: Leg, command: bytes, behind: bytes) -> None:
        client, injection = self.client, self._proxy.settings.injection
        behind += client.taken()
        if behind:
            done = {"drop": "dropped", "forward": "forwarded in the clear", "refuse": "refused"}
            self._note(
                f"proxy: {len(behind)} octets of plaintext stood behind STARTTLS: {done[injection]}"
            )
            if injection == "refuse":
                self._refuse_injection()
                return
            if injection == "forward":
                command += behind
        server.take = server.keep
        server.link.say(command)
        reply = await server.reply()
        if not reply.startswith(b"220"):
            client.link.say(reply)
            # There is no TLS that it could be smuggled into.
            if injection == "drop":
                client.kept[:0] = behind
            elif self._watch is not None:
                self._watch.went_by(behind)
            self._go_on(server)
            return
        self._forget(server, "the server")
        try:
            async with asyncio.timeout(PATIENCE):
                await self._secure_server(server)
        except TimeoutError:
            raise BrokenLegError("it took too long") from None
        came = len(client.kept)
        self._forget(client, "the client")
        if came and injection == "refuse":
            self._refuse_injection()
            return
        client.link.say(reply)
        self._watch = None
        if await self._secure_client():
            self._go_on(server)

    def _refuse_injection(self) -> None:
        self.client.link.say(b"554 5.5.1 nothing may be pipelined behind STARTTLS\r\n")
        self.close()

    def _fail(self, server: Leg, reason: str) -> None:
        """The client wanted TLS, and the server has none, or is gone: nothing goes on."""
        words = f"454 {FAILED}{reason}"
        self._note(f"proxy: {words}")
        server.link.close()
        self.client.link.say(_reply(words))
        self.client.taken()
        self.client.hand_over(self._say_goodbye)
        if self.client.ended:
            self.close()

    async def _secure_server(self, server: Leg) -> None:
        """Shake hands with the server. Raises BrokenLegError."""
        proxy = self._proxy
        await server.secure(proxy.upstream_context(), name=proxy.settings.upstream.host)
        tls = server.link.tls
        assert tls is not None
        version, cipher = tls.object.version(), tls.object.cipher()
        self._note(
            f"proxy: TLS with the server is {version or '?'}, {cipher[0] if cipher else '?'}"
        )

    async def _secure_client(self) -> bool:
        """Shake hands with the client, as the server; False where that fails."""
        tls = self.server.link.tls if self.server is not None else None
        shown = tls.object.getpeercert(binary_form=True) if tls is not None and tls.ready else None
        client = self.client
        try:
            async with asyncio.timeout(PATIENCE):
                await client.secure(self._proxy.client_context(shown, client.local.address))
        except (BrokenLegError, TimeoutError, SmtpscopeError) as error:
            self._note(f"proxy: TLS with the client failed: {str(error) or 'it took too long'}")
            self.close()
            return False
        return True

    def _say_goodbye(self, plain: bytes) -> None:
        """The server is gone, and what was said to it would not be protected."""
        if plain[:4].upper() == b"QUIT":
            self.client.link.say(b"221 2.0.0 goodbye\r\n")
        else:
            self.client.link.say(f"421 {FAILED}nothing goes on\r\n".encode())
        self.client.link.close()

    def _forget(self, leg: Leg, who: str) -> None:
        """What was said in the clear before the handshake is nothing that was said under TLS."""
        if leg.kept:
            self._note(f"proxy: {who} said {len(leg.kept)} octets before the handshake: dropped")
            leg.taken()

    # -- small things ------------------------------------------------------------------------------

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._task = task = self._proxy.loop.create_task(work)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.close()
            self._proxy.loop.call_exception_handler(
                {"message": "a relay failed", "exception": error}
            )

    def _legs(self) -> list[Leg]:
        legs = [self.client] if self.server is None else [self.client, self.server]
        return [leg for leg in legs if not leg.lost]

    def _other(self, leg: Leg) -> Leg:
        assert self.server is not None
        return self.server if leg is self.client else self.client

    def _note(self, text: str) -> None:
        """Of the client's connection, where that is recorded."""
        leg = self.client
        if self._proxy.settings.legs == "server" and self.server is not None:
            leg = self.server
        leg.link.note(text)


def _ignore(plain: bytes) -> None:
    """It is recorded, and nobody's matter any more."""


def _said(reply: bytes) -> str:
    return reply.decode("utf-8", "replace").strip()


def _reply(words: str) -> bytes:
    """A reply of one line, whatever a server said that is quoted in it."""
    line = "".join(each if each.isprintable() else " " for each in words)
    return line.encode("utf-8", "replace")[:500] + b"\r\n"
