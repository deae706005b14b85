"""Between TCP and SMTP: passes plain text on, and of TLS what a key log opens; it observes both.

At a connection's beginning, and again after `expect` said that STARTTLS was accepted, the octets
themselves tell what they are (RFC 8446 §5.1). Plain text where TLS must begin is passed on and
told (RFC 3207 §4; CVE-2011-0411).
"""

from __future__ import annotations

from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.tls import TlsObserver, looks_like_tls
from smtpscope.capture.tls_open import TlsOpener
from smtpscope.capture.tunnel import cut
from smtpscope.stream import (
    Closed,
    Data,
    Defect,
    Direction,
    Gap,
    Noted,
    Opened,
    Span,
    StreamEvent,
)

_HANDSHAKE = b"\x16\x03"
_CODE = b"220"
_INJECTED = (
    "commands, which a faulty server takes for the client's under TLS (CVE-2011-0411)",
    "replies, which a faulty client takes for the server's under TLS (CVE-2020-14954)",
)
"""What plain text may do, by `Direction`."""


class TlsStage:
    """One connection's TLS. `mode` is "implicit" or "starttls" once TLS was seen to begin."""

    def __init__(self, log: KeyLog | None = None) -> None:
        self.observer: TlsObserver | None = None
        self.opener: TlsOpener | None = None
        self._log = log
        self.mode: str | None = None
        self._expected: str | None = "implicit"
        self._held: list[StreamEvent] = []
        self._plain: dict[Direction, Noted] = {}
        self._answer = b""

    @property
    def idle(self) -> bool:
        """There is no TLS, and none can begin before `expect`: all that is fed is passed on."""
        return self._expected is None and self.observer is None

    def expect(self) -> None:
        """STARTTLS was accepted: TLS begins with what is fed next."""
        self._expected = "starttls"
        self._plain.clear()

    def feed(self, event: StreamEvent) -> list[StreamEvent]:
        """The events that belong to the plain dialogue, in order."""
        if self.observer is not None:
            return self._observe(event)
        if self._expected is None or isinstance(event, Opened | Noted):
            return [event]
        if isinstance(event, Gap) and self._expected == "starttls" and not self._held:
            return self._begin([event])
        self._held.append(event)
        passed = self._decide(final=not isinstance(event, Data))
        if isinstance(event, Closed):
            passed[0:0] = self._tell()
        return passed

    def _decide(self, *, final: bool) -> list[StreamEvent]:
        passed: list[StreamEvent] = []
        while self._held and self._expected is not None:
            event = self._held[0]
            if isinstance(event, Data):
                verdict = looks_like_tls(self._first_octets(event.direction))
                if verdict is None and not final:
                    return passed
                if verdict:
                    held, self._held = self._held, []
                    return passed + self._begin(held)
                self._held[0:1] = self._plain_part(event, passed)
            else:
                passed.append(self._held.pop(0))
        passed += self._held
        self._held = []
        return passed

    def _first_octets(self, direction: Direction) -> bytes:
        octets = b""
        for event in self._held:
            if isinstance(event, Data) and event.direction is direction and len(octets) < 16:
                octets += event.data[:16]
        return octets

    def _plain_part(self, data: Data, passed: list[StreamEvent]) -> list[StreamEvent]:
        """Pass the plain text in `data` on; what is left of it is to be looked at again."""
        if self._expected == "implicit":
            self._expected = None
            passed.append(data)
            return []
        length = _record_within(data.data)
        end = data.offset + length
        if data.direction not in self._plain:
            span = Span(data.direction, data.offset, end)
            defect = Defect("plaintext-behind-starttls", span, _INJECTED[data.direction])
            self._plain[data.direction] = Noted(defect, data.time, data.marks[0].packet)
        if length < len(data.data):
            marks = tuple([mark for mark in data.marks if mark.offset < end])
            passed.append(data._replace(data=data.data[:length], marks=marks))
            return [cut(data, end)]
        passed.append(data)
        if len(self._plain) == len(Direction):
            # Both sides go on in plain text: there is no TLS here.
            self._expected = None
            passed[0:0] = self._tell()
        return []

    def _tell(self) -> list[StreamEvent]:
        """What was said in plain text: by one side before TLS, or by both instead of it."""
        told, self._plain = [*self._plain.values()], {}
        if len(told) == len(Direction) and self._expected is None:
            defect = told[0].defect._replace(detail="both sides went on without TLS")
            return [told[0]._replace(defect=defect)]
        return [*told]

    def _begin(self, events: list[StreamEvent]) -> list[StreamEvent]:
        self.observer = TlsObserver()
        if self._log is not None:
            self.opener = TlsOpener(self._log, self.observer.info)
        self.mode = self._expected
        passed = self._tell()
        for event in events:
            passed += self._observe(event)
        return passed

    def _observe(self, event: StreamEvent) -> list[StreamEvent]:
        observer, opener = self.observer, self.opener
        assert observer is not None
        if isinstance(event, Data):
            if self._is_plain_answer(event):
                return [event]
            observer.feed(event)
            return [*opener.feed(event)] if opener is not None else []
        if isinstance(event, Gap):
            observer.gap(event.direction, event.length)
            return [*opener.gap(event)] if opener is not None else []
        return [event] if isinstance(event, Closed | Noted) else []

    def _is_plain_answer(self, data: Data) -> bool:
        """A server that knows no TLS here greets, or answers the client's as if it were a command:
        its first octets are those of a reply."""
        if data.direction is Direction.CLIENT or self.mode != "implicit":
            return False
        if len(self._answer) < len(_CODE):
            self._answer += data.data[: len(_CODE) - len(self._answer)]
        return self._answer.isdigit()


def _record_within(octets: bytes) -> int:
    """Where behind the first octet a TLS record may begin; the length where none does."""
    at = octets.find(_HANDSHAKE, 1)
    while at >= 0 and looks_like_tls(octets[at : at + 5]) is False:
        at = octets.find(_HANDSHAKE, at + 1)
    return at if at >= 0 else len(octets)
