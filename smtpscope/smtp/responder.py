"""The server's half of SMTP and LMTP: octets of a client in, actions for the I/O side out.

`Responder` cuts what comes into command lines, AUTH lines, message data and chunks, has `serving`
answer them, and stops wherever the I/O side has to answer first. However the octets are chunked,
the same is done. RFC 5321 §2.3.8, §4.1.1.4, §4.5.3.1; RFC 2920 §3.2; RFC 3207 §4.2; RFC 4954 §4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smtpscope.smtp.grammar import split_command
from smtpscope.smtp.serving import authentication, opening, transfer, turning
from smtpscope.smtp.serving.actions import Action
from smtpscope.smtp.serving.answers import Answer, Form
from smtpscope.smtp.serving.commands import dispatch
from smtpscope.smtp.serving.envelope import Envelope
from smtpscope.smtp.serving.faults import AUTH_LINE as AUTH_LINE_ON
from smtpscope.smtp.serving.sabotage import around
from smtpscope.smtp.serving.service import AUTH_LINE, Service
from smtpscope.smtp.serving.session import Mode, Session
from smtpscope.stream import Endpoint

MAX_LINE = 65_536
"""Octets of a line that are kept while its end is looked for; far beyond what is allowed."""

MAX_AHEAD = 1 << 20
"""Octets that are kept while the I/O side owes an answer; whoever sends more is sent away."""

ENOUGH_AHEAD = 1 << 16
"""Octets ahead from which on `paused` asks to read no more for now."""

_COMMAND, _OVER, _WAIT, _TLS = Mode.COMMAND, Mode.OVER, Mode.WAIT, Mode.TLS

_REFUSALS = {
    "message": "stored.no-mailbox",
    "turn": "turn.refused",
    "atrn": "atrn.refused",
    "etrn": "etrn.refused",
}
"""What is said where the I/O side refuses without a word of its own."""


class Responder:
    """One connection of a server. Nothing that a client sends raises.

    Every method gives what is to be done now. `MessageEnd`, `Turn`, `Atrn` and `Etrn` each want
    one answer, by `stored`, `accept` or `refuse`, and `StartTls` wants `secured`; until then what
    is fed is kept, or behind STARTTLS thrown away. An answer that nobody waits for is a
    RuntimeError, but one that comes when all is over does no harm.
    """

    def __init__(self, service: Service, client: Endpoint, *, tls: bool = False) -> None:
        """`tls`: the connection is under TLS from its first octet."""
        self._session = Session(service, client.address, tls=tls)
        self._buffer: bytes | bytearray = b""
        self._at = 0
        self._searched = 0
        self._overlong = False
        self._discarded = 0
        self._flooded = False
        self._ended = False

    # -- what an I/O side may want to know -----------------------------------------------------

    @property
    def mode(self) -> Mode:
        return self._session.mode

    @property
    def over(self) -> bool:
        """`Close`, `StopReading` or `Turned` was given: nothing that is fed counts any more."""
        return self._session.mode is _OVER

    @property
    def paused(self) -> bool:
        """Better read no more until the answer that is owed was given."""
        return self._session.mode is _WAIT and len(self._buffer) - self._at >= ENOUGH_AHEAD

    @property
    def envelope(self) -> Envelope | None:
        """The transaction that is open."""
        return self._session.envelope

    @property
    def hello(self) -> bytes | None:
        """What the client calls itself."""
        return self._session.hello

    @property
    def identity(self) -> bytes | None:
        """Who logged in."""
        return self._session.identity

    @property
    def in_message(self) -> bool:
        """Message octets are being read."""
        return self._session.mode in (Mode.DATA, Mode.CHUNK)

    # -- what happens --------------------------------------------------------------------------

    def handshake(self) -> tuple[str, list[Action]]:
        """To be asked before a handshake that begins the connection: as `StartTls.handshake`."""
        kind = opening.handshake(self._session)
        return kind, self._session.take()

    def connect(self, refusal: str = "") -> list[Action]:
        """The greeting; `refusal` is the key of another one, such as "greeting.busy"."""
        opening.greet(self._session, refusal or self._session.settings.greeting)
        return self._session.take()

    def feed(self, octets: bytes) -> list[Action]:
        """The client has sent these octets."""
        session = self._session
        if self._at == len(self._buffer):
            self._buffer = octets
            self._at = self._searched = 0
        elif session.mode is _WAIT and len(self._buffer) - self._at + len(octets) > MAX_AHEAD:
            self._flooded = True
            self._buffer = b""
            self._at = 0
        else:
            if not isinstance(self._buffer, bytearray):
                self._buffer = bytearray(self._buffer[self._at :])
                self._searched -= self._at
                self._at = 0
            self._buffer += octets
        return self._proceed()

    def eof(self) -> list[Action]:
        """The client will send nothing more; what is owed to it comes first."""
        self._ended = True
        return self._proceed()

    def secured(self) -> list[Action]:
        """The handshake is done: what was said before is forgotten, and TLS is on."""
        session = self._session
        if session.mode is _TLS:
            session.forget()
            if self._discarded:
                session.note("plaintext-discarded", f"{self._discarded} octets behind STARTTLS")
            self._discarded = 0
        session.tls = True
        return self._proceed()

    def stored(self, identifier: str, each: Sequence[Answer | None] = ()) -> list[Action]:
        """The message is on disk, under this name.

        `each`: LMTP's replies for the envelope's recipients in order, None for the usual one.
        """
        if not self._owed("message"):
            return []
        transfer.stored(self._session, identifier, each)
        return self._proceed()

    def accept(self, key: str = "", count: int = 0) -> list[Action]:
        """Agree to TURN, ATRN or ETRN. `key` names another reply than the usual one.

        Those of ETRN are etrn.none (251), etrn.pending (252) and, with `count`, etrn.count (253).
        """
        if not self._owed("turn", "atrn", "etrn"):
            return []
        rest = bytes(self._buffer[self._at :])
        turning.accept(self._session, key, count, rest)
        return self._proceed()

    def refuse(self, answer: Answer | str = "") -> list[Action]:
        """Refuse what waits for an answer, by the key of a reply or by one of your own."""
        session = self._session
        kind = session.waiting
        if not self._owed(*_REFUSALS):
            return []
        form = self._form(answer or _REFUSALS[kind])
        if kind == "message":
            transfer.refuse(session, form)
        else:
            turning.refuse(session, form)
        return self._proceed()

    def close(self, key: str = "closing.shutdown") -> list[Action]:
        """End the session from this side: closing.shutdown, closing.idle, closing.total, …"""
        session = self._session
        if session.mode is not _OVER:
            session.reshape = None
            if session.mode is not _TLS:
                session.say(key)
            session.end()
        return session.take()

    # -- reading -------------------------------------------------------------------------------

    def _proceed(self) -> list[Action]:
        """Read on as far as can be read now."""
        session = self._session
        while self._at < len(self._buffer):
            if not _READERS[session.mode](self):
                break
        if self._flooded and session.mode is not _WAIT:
            session.note("overflow", f"more than {MAX_AHEAD} octets were sent ahead")
            self._flooded = False
            session.say("closing.overflow")
            session.end()
        if self._ended and session.mode is not _WAIT:
            session.end()
        return session.take()

    def _read_command(self) -> bool:
        line = self._line()
        if line is None:
            return False
        text, crlf = line
        session = self._session
        verb, argument = split_command(text)
        longest = session.service.longest
        if self._overlong or len(text) + 2 > longest.get(verb, longest[""]):
            self._overlong = False
            session.say("line.too-long")
        elif crlf or self._tolerate_bare_lf("in a command"):
            dispatch(session, verb, argument)
        return True

    def _read_auth(self) -> bool:
        line = self._line()
        if line is None:
            return False
        text, crlf = line
        session = self._session
        if self._overlong or len(text) + 2 > AUTH_LINE:
            self._overlong = False
            authentication.abandon(session, "auth.too-long")
        elif not crlf and not self._tolerate_bare_lf("in an AUTH exchange"):
            authentication.give_up(session)
        elif session.service.faults:
            around(
                session,
                AUTH_LINE_ON,
                b"",
                lambda: authentication.respond(session, text),
                lambda: authentication.give_up(session),
            )
        else:
            authentication.respond(session, text)
        return True

    def _read_data(self) -> bool:
        buffer, at = self._buffer, self._at
        piece = buffer if not at and isinstance(buffer, bytes) else bytes(memoryview(buffer)[at:])
        taken = transfer.read_data(self._session, piece)
        self._at = at + taken if taken >= 0 else len(buffer)
        self._searched = self._at
        return True

    def _read_chunk(self) -> bool:
        buffer, at = self._buffer, self._at
        count = min(self._session.chunk, len(buffer) - at)
        piece: bytes | memoryview
        if isinstance(buffer, bytes):
            piece = buffer if count == len(buffer) else memoryview(buffer)[at : at + count]
        else:
            piece = bytes(memoryview(buffer)[at : at + count])
        self._at = self._searched = at + transfer.read_chunk(self._session, piece)
        return True

    def _wait(self) -> bool:
        return False

    def _discard(self) -> bool:
        if self._session.mode is _TLS:
            self._discarded += len(self._buffer) - self._at
        self._buffer = b""
        self._at = 0
        return False

    def _line(self) -> tuple[bytes, bool] | None:
        """The next line without its ending, and whether that is CRLF; None where no LF has come.

        Of a line that is too long to keep only the end comes, and `_overlong` says so.
        """
        buffer, at = self._buffer, self._at
        newline = buffer.find(b"\n", max(at, self._searched))
        if newline < 0:
            if len(buffer) - at > MAX_LINE:
                # The last octet may be the CR of its ending.
                self._buffer = bytes(buffer[-1:])
                self._at = 0
                self._overlong = True
            self._searched = len(self._buffer)
            return None
        self._at = self._searched = newline + 1
        if newline > at and buffer[newline - 1] == 0x0D:
            return bytes(buffer[at : newline - 1]), True
        return bytes(buffer[at:newline]), False

    def _tolerate_bare_lf(self, where: str) -> bool:
        self._session.note("bare-lf", where)
        if self._session.settings.bare_lf != "reject":
            return True
        self._session.say("line.bare-lf")
        return False

    def _owed(self, *kinds: str) -> bool:
        """Whether an answer to one of these is owed and still of use."""
        session = self._session
        if session.mode is _OVER:
            return False
        if session.waiting not in kinds:
            waiting = session.waiting or "nothing"
            raise RuntimeError(f"no answer is owed to {' or '.join(kinds)}: {waiting} waits")
        if session.waiting == "message":
            session.waiting = ""
            session.mode = _COMMAND
        return True

    def _form(self, answer: Answer | str) -> Form:
        if isinstance(answer, str):
            return self._session.forms[answer]
        return self._session.service.voice.form(answer)


_READERS: tuple[Callable[[Responder], bool], ...] = (
    Responder._read_command,
    Responder._read_auth,
    Responder._read_data,
    Responder._read_chunk,
    Responder._wait,
    Responder._discard,
    Responder._discard,
)
"""What reads the next octets, by `Mode`."""
