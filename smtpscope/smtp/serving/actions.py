"""What a `Responder` wants done: small values that the I/O side carries out in their order.

An I/O side that has not carried out all of them yet (a `Delay` is running, say) keeps what comes
meanwhile and feeds it afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

from smtpscope.smtp.serving.envelope import Envelope


class Send(NamedTuple):
    """Write these octets to the client."""

    octets: bytes


class StartTls(NamedTuple):
    """Begin the TLS handshake; the 220 was sent before. Then call `secured`, or close.

    `handshake` is "good", "bad-certificate" (show one that no client accepts) or "refuse" (answer
    the ClientHello with an alert): see `faults`.
    """

    handshake: str = "good"


class MessageBegin(NamedTuple):
    """A message is about to come; its envelope will not change any more."""

    envelope: Envelope


class MessageData(NamedTuple):
    """The next octets of the message, dot-unstuffed; of a chunk, a view of what was fed."""

    octets: bytes | memoryview


class MessageEnd(NamedTuple):
    """The message is whole: store it, then call `stored` or `refuse`.

    `size` is in octets. `bare_lf`, `long_line`: a bare LF, a line above the limit was in it.
    """

    envelope: Envelope
    size: int
    bare_lf: bool = False
    long_line: bool = False


class MessageAbort(NamedTuple):
    """The message that was begun is to be thrown away: `reason` says why, for the log."""

    reason: str


class Turn(NamedTuple):
    """TURN: may `host`, which greeted, collect its mail (RFC 821 §3.8)? Call `accept` or `refuse`.

    With `accept` comes `Turned`. `identity` is None where nobody logged in.
    """

    host: bytes
    identity: bytes | None


class Atrn(NamedTuple):
    """ATRN: the mail for `domains`, or for all of the identity's (RFC 2645 §4); as with `Turn`."""

    domains: tuple[bytes, ...]
    identity: bytes | None


class Etrn(NamedTuple):
    """ETRN: start the queue for `node` (RFC 1985 §5). Call `accept` or `refuse`.

    `option` is b"" for a host, b"@" for a domain with all below it, b"#" for a named queue.
    """

    option: bytes
    node: bytes


class Turned(NamedTuple):
    """The roles are swapped: the I/O side now is the client, and waits for a 220.

    `octets` came behind the command: they belong to the new dialogue.
    """

    octets: bytes


class Delay(NamedTuple):
    """Wait that many seconds before the next action."""

    seconds: float


class Throttle(NamedTuple):
    """From here on move no more than that many octets a second, each way."""

    rate: int


class StopReading(NamedTuple):
    """Read nothing more, and keep the connection open until the client or a timeout ends it."""


class Close(NamedTuple):
    """Close when all is sent; `reset`: by a RST, at once."""

    reset: bool = False


class Note(NamedTuple):
    """Something to be recorded. `detail` may quote the wire: treat it as hostile.

    `kind`: fault, bare-lf, text-line-too-long, plaintext-discarded, overflow, login.
    """

    kind: str
    detail: str


Action = (
    Send
    | StartTls
    | MessageBegin
    | MessageData
    | MessageEnd
    | MessageAbort
    | Turn
    | Atrn
    | Etrn
    | Turned
    | Delay
    | Throttle
    | StopReading
    | Close
    | Note
)
