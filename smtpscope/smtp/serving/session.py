"""The state of one session on the server's side, and the one way out for its replies.

Commands read and change it; the `Responder` looks at `mode` to know what the next octets are.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from smtpscope.smtp.serving.actions import (
    Action,
    Close,
    MessageAbort,
    Note,
    Send,
    StopReading,
)
from smtpscope.smtp.serving.answers import Answer, Field, Form
from smtpscope.smtp.serving.content import MessageScanner
from smtpscope.smtp.serving.envelope import Envelope
from smtpscope.smtp.serving.faults import FaultCounter
from smtpscope.smtp.serving.login import Exchange
from smtpscope.smtp.serving.service import Service


class Mode(enum.IntEnum):
    """What the next octets are: a command line; a line of an AUTH exchange; message data; a chunk;
    kept, as the I/O side owes an answer; thrown away, as TLS is due; nobody's, as it is over."""

    COMMAND = 0
    AUTH = 1
    DATA = 2
    CHUNK = 3
    WAIT = 4
    TLS = 5
    OVER = 6


ERRORS = frozenset({500, 501, 502, 503, 504, 535, 555})
"""Replies to what a client did wrong: too many in a row end the session."""

_SERVICE_CLOSES = 421
_OVER = Mode.OVER
_NO_FIELDS: Mapping[str, Field] = {}


class Session:
    """One connection, from greeting to close.

    `refused`: the greeting said no, and only QUIT is answered. `tried_rcpt`: a RCPT of this
    transaction was answered, however. `recipients`: LMTP's accepted ones in order, each with the
    reply that it gets after the message, or None. `planned`: by DATA and ".", the reply that an
    address asked for. `spoiled`: why the message that is being read won't be taken.
    """

    __slots__ = (
        "begun",
        "chunk",
        "chunk_answer",
        "chunk_failed",
        "chunk_size",
        "chunk_taken",
        "client",
        "counter",
        "envelope",
        "errors",
        "exchange",
        "extended",
        "forms",
        "handshake",
        "hello",
        "identity",
        "last_chunk",
        "mails",
        "mechanism",
        "mode",
        "out",
        "planned",
        "received",
        "recipients",
        "refused",
        "reshape",
        "scanner",
        "service",
        "settings",
        "spoiled",
        "subject",
        "tls",
        "tried_rcpt",
        "waiting",
    )

    def __init__(self, service: Service, client: str, *, tls: bool) -> None:
        self.service = service
        self.settings = service.settings
        self.forms = service.voice.forms
        self.client = client
        self.tls = tls
        self.mode = Mode.COMMAND
        self.out: list[Action | bytes] = []
        self.refused = False
        self.errors = 0
        self.mails = 0
        self.counter = FaultCounter()
        self.reshape: Callable[[bytes], None] | None = None
        self.handshake = "good"
        self.hello: bytes | None = None
        self.extended = False
        self.identity: bytes | None = None
        self.exchange: Exchange | None = None
        self.mechanism = ""
        self.scanner: MessageScanner | None = None
        self.waiting = ""
        self.subject: dict[str, Field] = {}
        self.begun = False
        self.reset()

    def reset(self) -> None:
        """No transaction is open any more (RFC 5321 §4.1.1.5)."""
        if self.begun:
            self.abort("reset")
        self.envelope: Envelope | None = None
        self.tried_rcpt = False
        self.recipients: list[tuple[bytes, Answer | None]] = []
        self.planned: dict[str, Answer] = {}
        self.spoiled = ""
        self.received = 0
        self.chunk = self.chunk_size = 0
        self.chunk_taken = False
        self.last_chunk = False
        self.chunk_answer: Form | None = None
        self.chunk_failed = False

    def forget(self) -> None:
        """TLS has begun: all that was said before counts for nothing (RFC 3207 §4.2)."""
        self.reset()
        self.hello = None
        self.extended = False
        self.identity = None
        self.errors = 0
        self.mode = Mode.COMMAND

    # -- what goes out -----------------------------------------------------------------------

    def say(self, key: str, fields: Mapping[str, Field] = _NO_FIELDS) -> None:
        """Reply by key."""
        form = self.forms[key]
        octets = form.octets
        if octets is None:
            octets = self.service.voice.fill(form, fields)
        self.send(form.code, octets)

    def answer(self, answer: Answer) -> None:
        """A reply that is in no table."""
        self.say_form(self.service.voice.form(answer))

    def say_form(self, form: Form, fields: Mapping[str, Field] = _NO_FIELDS) -> None:
        self.send(form.code, self.service.voice.fill(form, fields))

    def send(self, code: int, octets: bytes) -> None:
        """The one way out for replies: counts errors, lets a fault have its way with them."""
        if self.mode is _OVER:
            return
        if code < 400:
            self.errors = 0
        elif code in ERRORS:
            self.errors += 1
            most = self.settings.max_errors
            if most and self.errors > most:
                self.errors = 0
                self.reshape = None
                self.say("closing.errors")
                self.end()
                return
        if self.reshape is not None:
            reshape, self.reshape = self.reshape, None
            reshape(octets)
            return
        self.out.append(octets)
        if code == _SERVICE_CLOSES:
            self.end()

    def note(self, kind: str, detail: str) -> None:
        self.out.append(Note(kind, detail))

    def abort(self, reason: str) -> None:
        """The message that was begun, if any, won't be finished."""
        if self.begun:
            self.begun = False
            self.out.append(MessageAbort(reason))

    def end(self, *, reset: bool = False) -> None:
        """Close; nothing is said or heard any more."""
        if self.mode is Mode.OVER:
            return
        self.abort("connection closed")
        self.mode = Mode.OVER
        self.out.append(Close(reset))

    def stall(self) -> None:
        """Say and hear nothing any more, but stay connected."""
        self.abort("connection stalled")
        self.mode = Mode.OVER
        self.out.append(StopReading())

    def take(self) -> list[Action]:
        """What is to be done now; replies that stand side by side become one `Send`."""
        out = self.out
        if not out:
            return []
        self.out = []
        actions: list[Action] = []
        replies: list[bytes] = []
        for item in out:
            if isinstance(item, bytes):
                replies.append(item)
                continue
            if replies:
                actions.append(Send(b"".join(replies)))
                replies = []
            actions.append(item)
        if replies:
            actions.append(Send(replies[0] if len(replies) == 1 else b"".join(replies)))
        return actions
