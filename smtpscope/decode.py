"""From one connection to its session: wires the stages, tunnel → TLS → SMTP → findings.

Nothing here raises on what the packets hold. Which connections there are, and in which order their
sessions come, is the business of `reading`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.tls_stage import TlsStage
from smtpscope.capture.tunnel import TunnelStripper
from smtpscope.findings import judge
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.session import Content, Session, SessionBuilder, message_of
from smtpscope.smtp.dialogue import Dialogue
from smtpscope.smtp.values import ContentSink, Exchange
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
from smtpscope.timing import measure

MAX_DEFECTS = 10_000
"""Defects told of one session."""

MAX_COMMENTS = 20
"""Comments told of what comes at once."""

NO_COMMENTS: Mapping[int, bytes] = MappingProxyType({})

CLOCK_STEP = 100_000_000
"""Nanoseconds by which packets of one connection may go back in time: captures of several
interfaces are out of order by less."""

_GAP_RULES = {"lost": "gap", "snaplen": "snaplen-cut", "bound": "reassembly-bound"}


class SessionDecoder:
    """One connection's events in, its `Session` out; `content` makes what takes a message.

    `session` and `defects` are what is known so far. `key_log` has the secrets of TLS, and `tap`
    sees what the dialogue gets.
    """

    def __init__(
        self,
        opened: Opened,
        capture: str,
        policy: Policy = NO_POLICY,
        content: Callable[[], Content] = Content,
        comments: Mapping[int, bytes] = NO_COMMENTS,
        key_log: KeyLog | None = None,
        tap: Callable[[StreamEvent], object] | None = None,
    ) -> None:
        self._policy = policy
        self._builder = SessionBuilder(opened, capture)
        self.session = self._builder.session
        self._comments = comments
        self._dialogue = Dialogue(content, midstream=not opened.handshake)
        self._tunnel = TunnelStripper()
        self._tls = TlsStage(key_log)
        self._tap = tap
        # Nothing but the dialogue has a say in what comes: no tunnel, no TLS.
        self._plain = False
        self.defects: list[Defect] = []
        self._closing: str | None = None
        self._newest = opened.packet
        self._clock_told = False
        self._heard = [0, 0]
        if not opened.handshake:
            self.session.whole = False
            self.note(Defect("midstream", Span(Direction.CLIENT, 0, 0)))

    def feed(self, event: StreamEvent) -> list[Exchange]:
        """The exchanges that `event` completed."""
        session, dialogue = self.session, self._dialogue
        if self._comments:
            self._look_for_comments(event)
        last = event.marks[-1] if isinstance(event, Data) else event
        time = last.time
        if time >= session.end:
            session.end = time
            self._newest = last.packet
        elif time < session.end - CLOCK_STEP:
            self._check_clock(event, time, last.packet)
        if self._plain and not isinstance(event, Noted):
            if not isinstance(event, Data):
                self._observe(event)
            if self._tap is not None:
                self._tap(event)
            found = dialogue.feed(event)
            if dialogue.upgraded:
                self._upgrade(found)
        else:
            found = []
            for passed in self._tunnel.feed(event):
                self._decode(passed, found)
            self._plain = self._tunnel.done and self._tls.idle
        if found:
            self._add(found)
        return found

    def finish(self, *, ended: bool = True) -> Session:
        """The session: nothing more of it will come, or (not `ended`) is known as yet."""
        session = self.session
        self._add(self._dialogue.finish())
        for transaction in session.transactions:
            message_of(transaction)
        self._describe(session)
        self._tell_unopened()
        if ended and session.tls is None and self._dialogue.one_sided:
            self.note(Defect("one-direction", Span(Direction.CLIENT, 0, 0)))
        if session.state != "quit" and self._closing is not None:
            session.state = self._closing
        if session.dropped:
            detail = f"{session.dropped:,} exchanges left out"
            self.note(Defect("session-bound", Span(Direction.CLIENT, 0, 0), detail))
        if session.dropped or self._dialogue.one_sided:
            session.whole = False
        self._judge(session, ended)
        return session

    def _tell_unopened(self) -> None:
        """What could have been opened, for there were secrets, and was not."""
        opener = self._tls.opener
        if opener is None or not opener.keys.used:
            return
        for direction, problem in zip(Direction, opener.problems, strict=True):
            if problem is not None:
                end = opener.ends[direction]
                self.note(Defect("tls-not-opened", Span(direction, end, end), problem))

    def snapshot(self) -> Session:
        """What is complete of a session that goes on: it holds until the next event is fed."""
        known = self.session
        session = replace(known)
        # A message that still comes in chunks can't be summed up.
        under_way = [exchange for exchange in known.exchanges[-1:] if _comes(exchange.content)]
        if under_way:
            session.exchanges = [each for each in known.exchanges if not _comes(each.content)]
            session.transactions = [each for each in known.transactions if not _comes(each.content)]
        self._describe(session)
        self._judge(session, ended=False)
        return session

    def _describe(self, session: Session) -> None:
        session.lmtp = session.lmtp or self._dialogue.lmtp
        session.tunnel = self._tunnel.tunnel
        if self._tls.observer is not None:
            session.tls = self._tls.observer.info
            session.tls_mode = self._tls.mode
        if self._tls.opener is not None:
            session.secrets = self._tls.opener.keys.used

    def _judge(self, session: Session, ended: bool) -> None:
        pipelining = any(each.keyword == "PIPELINING" for each in session.capabilities)
        session.timing = measure(session.exchanges, pipelining=pipelining)
        session.findings = judge(session, self.defects, MAX_DEFECTS, self._policy, ended=ended)

    def _look_for_comments(self, event: StreamEvent) -> None:
        """What whoever recorded a packet says of it is shown where its octets are."""
        comments = self._comments
        if isinstance(event, Data):
            found = [
                (comments[mark.packet], Span(event.direction, mark.offset, mark.offset))
                for mark in event.marks
                if mark.packet in comments
            ]
        elif isinstance(event, Closed) and event.packet in comments:
            end = self._heard[event.direction]
            found = [(comments[event.packet], Span(event.direction, end, end))]
        else:
            found = []
        if isinstance(event, Data):
            self._heard[event.direction] = event.offset + len(event.data)
        for text, span in found[:MAX_COMMENTS]:
            defect = Defect("packet-comment", span, text.decode("utf-8", "replace"))
            self.session.beside = (*self.session.beside, defect)

    def _check_clock(self, event: StreamEvent, time: int, packet: int) -> None:
        """A later packet with an earlier time; one that only waited in the reassembly has both."""
        if packet > self._newest and not self._clock_told:
            self._clock_told = True
            start = Span(Direction.CLIENT, 0, 0)
            if isinstance(event, Data):
                start = Span(event.direction, event.offset, event.offset)
            back = (self.session.end - time) / 1e9
            self.note(Defect("clock-backwards", start, f"{back:,.3f} s at packet {packet:,}"))

    def _decode(self, event: StreamEvent, found: list[Exchange]) -> None:
        if not isinstance(event, Data):
            self._observe(event)
        self._pass_tls([event], found)

    def _upgrade(self, found: list[Exchange]) -> None:
        """STARTTLS was accepted: what followed it is to pass the TLS stage."""
        self._plain = False
        self._tls.expect()
        self._pass_tls([*self._dialogue.release()], found)

    def _pass_tls(self, todo: list[StreamEvent], found: list[Exchange]) -> None:
        dialogue = self._dialogue
        while todo:
            plain = self._tls.feed(todo.pop(0))
            for index, passed in enumerate(plain):
                if isinstance(passed, Noted):
                    self.note(passed.defect)
                    continue
                if self._tap is not None:
                    self._tap(passed)
                found += dialogue.feed(passed)
                if dialogue.upgraded:
                    self._tls.expect()
                    todo[0:0] = [*dialogue.release(), *plain[index + 1 :]]
                    break

    def _observe(self, event: StreamEvent) -> None:
        if isinstance(event, Gap):
            self.session.whole = False
            span = Span(event.direction, event.offset, event.offset + event.length)
            self.note(Defect(_GAP_RULES[event.reason], span, f"{event.length:,} octets"))
        elif isinstance(event, Closed) and event.how != "end" and self._closing is None:
            # An RST behind a FIN is what a closed socket says to late octets: no cut session.
            self._closing = "reset" if event.how == "rst" else "closed"
            self.session.closed_by = event.direction

    def note(self, *defects: Defect) -> None:
        """Take what was seen elsewhere of this connection; to be called before `finish`."""
        self.defects.extend(defects[: MAX_DEFECTS - len(self.defects)])

    def _add(self, exchanges: list[Exchange]) -> None:
        for exchange in exchanges:
            self._builder.add(exchange)
            if exchange.defects:
                self.note(*exchange.defects)


def _comes(content: ContentSink | None) -> bool:
    """Whether a message still comes, in chunks."""
    return isinstance(content, Content) and content.message is None
