"""A client for `Responder`: plays dialogues against one, in any chunking, and keeps what it did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from support.transcript import octets

from smtpscope.smtp.responder import Responder
from smtpscope.smtp.serving import actions as do
from smtpscope.smtp.serving.envelope import Envelope
from smtpscope.smtp.serving.service import Service
from smtpscope.smtp.serving.settings import Settings, User
from smtpscope.stream import Endpoint

CLIENT = Endpoint("192.0.2.1", 40_000)

FULL = Settings(
    host="mx.test",
    starttls=True,
    auth="users",
    passwords={"tim": "tanstaaftanstaaf", "user": "pencil", "ann@x.test": "pa55word"},
    users=(
        User("fred@mx.test", "Fred Foonly"),
        User("sam@mx.test", "Sam Smith"),
        User("joe@mx.test", "Joe Smith", state="disabled"),
        User("busy@mx.test", state="busy"),
        User("full@mx.test", state="full"),
        User("bad@mx.test", state="not-allowed"),
        User("fwd@mx.test", "Fern Forward", state="forward", target="fern@far.test"),
        User("moved@mx.test", "Max Moved", state="moved", target="max@far.test"),
        User("jürgen@mx.test", "Jürgen"),
    ),
    lists={"all": ("fred@mx.test", "sam@mx.test", "else@far.test")},
    null_domains=frozenset({"null.test"}),
    vrfy="on",
    expn="on",
    turn="auth",
    atrn=True,
    etrn=True,
)
"""A server with everything on."""


@dataclass
class Wanted:
    """What the I/O side of these tests answers."""

    identifier: str = "1"
    refuse_message: object = None
    turning: object = True
    etrn: tuple[str, int] = ("", 0)
    each: tuple[object, ...] = ()


@dataclass
class Played:
    """What a responder did, in order: texts for what is no reply."""

    said: bytes = b""
    events: list[object] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    turned: bytes | None = None
    closed: bool = False

    def codes(self) -> list[int]:
        """The codes of all replies."""
        return [int(line[:3]) for line in self.said.split(b"\r\n") if line[3:4] == b" "]


class Client:
    """One connection to a responder."""

    def __init__(
        self, settings: Settings | Service, wanted: Wanted | None = None, *, tls: bool = False
    ) -> None:
        service = settings if isinstance(settings, Service) else Service(settings, nonce=NONCE)
        self.responder = Responder(service, CLIENT, tls=tls)
        self.wanted = wanted or Wanted()
        self.played = Played()
        self._message = b""

    def connect(self, refusal: str = "") -> bytes:
        return self.carry_out(self.responder.connect(refusal))

    def say(self, data: bytes, sizes: Iterable[int] = ()) -> bytes:
        """Send octets, cut into pieces of these sizes; what the server says to them."""
        said = b""
        cuts: Iterator[int] = iter(sizes)
        while data:
            size = max(next(cuts, len(data)), 1)
            said += self.carry_out(self.responder.feed(data[:size]))
            data = data[size:]
        return said

    def line(self, text: str, sizes: Iterable[int] = ()) -> bytes:
        return self.say(text.encode() + b"\r\n", sizes)

    def carry_out(self, actions: list[do.Action]) -> bytes:
        """Do what is wanted, and answer at once what wants an answer."""
        said = b""
        played, responder = self.played, self.responder
        for action in actions:
            match action:
                case do.Send(data):
                    said += data
                    played.said += data
                    self._add(data)
                case do.MessageData(data):
                    self._message += bytes(data)
                case do.MessageBegin(envelope):
                    self._message = b""
                    played.events.append("begin")
                    played.envelopes.append(replace(envelope))
                case do.MessageEnd(size=size):
                    assert size == len(self._message)
                    played.messages.append(self._message)
                    played.events.append(("message", self._message))
                    refusal = self.wanted.refuse_message
                    if refusal is not None:
                        said += self.carry_out(responder.refuse(refusal))
                    else:
                        said += self.carry_out(
                            responder.stored(self.wanted.identifier, self.wanted.each)
                        )
                case do.StartTls():
                    played.events.append(action)
                case do.Note(kind, detail):
                    played.notes.append((kind, detail))
                case do.Turn() | do.Atrn():
                    played.events.append(action)
                    agreed = self.wanted.turning
                    said += self.carry_out(
                        responder.accept() if agreed is True else responder.refuse(agreed)
                    )
                case do.Etrn():
                    played.events.append(action)
                    key, count = self.wanted.etrn
                    refused = key in ("etrn.unable", "etrn.refused")
                    said += self.carry_out(
                        responder.refuse(key) if refused else responder.accept(key, count)
                    )
                case do.Turned(data):
                    played.turned = data
                case do.Close():
                    played.closed = True
                    played.events.append(action)
                case _:
                    played.events.append(action)
        return said

    def _add(self, data: bytes) -> None:
        events = self.played.events
        if events and isinstance(events[-1], bytes):
            events[-1] += data
        else:
            events.append(data)


def NONCE() -> str:  # noqa: N802 - it stands for a constant
    return "nonce"


def play(
    settings: Settings,
    transcript: str,
    sizes: Iterable[int] | None = None,
    wanted: Wanted | None = None,
) -> Played:
    """Play a transcript's C: lines, and hold what comes against its S: lines.

    Lines of one side that follow each other are one flight; `sizes` cuts the octets of all of the
    client's flights. Endings as in `support.transcript`. `(tls)` marks a handshake that is done.
    """
    client = Client(settings, wanted)
    cuts = iter(sizes) if sizes is not None else iter(())
    said = client.connect()
    flight = b""
    for row in [*[line.strip() for line in transcript.strip().splitlines()], "S:end"]:
        side, _, text = row.partition(":")
        if row.startswith("#") or not row:
            continue
        if side == "C":
            ending = b"\r\n"
            for mark, octet in (("<LF>", b"\n"), ("<none>", b"")):
                if text.endswith(mark):
                    text, ending = text.removesuffix(mark), octet
            flight += octets(text.removeprefix(" ")) + ending
            continue
        while flight:
            size = max(next(cuts, len(flight)), 1)
            said += client.say(flight[:size])
            flight = flight[size:]
        if row == "(tls)":
            said += client.carry_out(client.responder.secured())
        elif text != "end":
            expected = octets(text.removeprefix(" ")) + b"\r\n"
            assert said[: len(expected)] == expected, (row, said)
            said = said[len(expected) :]
    assert said == b""
    return client.played
