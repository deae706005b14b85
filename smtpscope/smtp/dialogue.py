"""The one decoder of SMTP: stream events in, exchanges out, whatever the chunking.

`Dialogue` sends what the client says to a `CommandReader` and what the server says to a
`ReplyReader`, and pairs each reply with its command in order (RFC 5321 §4.2, RFC 2920 §3). Where
packets are missing it uses what some codes tell about the command that they answer. It observes
and never raises. LMTP: RFC 2033 §4.2; roles that turn: RFC 5321 appendix F.1, RFC 2645.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from smtpscope.smtp.commands import AUTHENTICATING, CommandReader, Mode
from smtpscope.smtp.replies import ReplyReader
from smtpscope.smtp.values import SENDERS, ContentSink, Exchange, Reply
from smtpscope.stream import Closed, Data, Defect, Direction, Gap, Mark, Span, StreamEvent

MAX_UNANSWERED = 10_000
"""Commands that wait for replies; beyond, the oldest counts as unanswered."""

MAX_TURNS = 16
"""Times that the sides may swap their roles; nobody does it more than once."""

ONLY_ANSWERS: dict[int, frozenset[str]] = {
    221: frozenset({"QUIT"}),
    235: AUTHENTICATING,
    334: AUTHENTICATING,
    354: frozenset({"DATA", "XEXCH50"}),
}
"""Codes that show which command they answer, used where replies may be missing."""

INTERMEDIATE = frozenset({334, 354})
"""Of these, the codes that decide what the client's next octets are: they are believed even where
no reply is known to be missing, for some servers leave one out."""

UNFINISHED = frozenset(
    {"data-unfinished", "chunk-unfinished", "line-unfinished", "capture-ends-here"}
)
"""Defects of what broke off: nobody owes it a reply."""

_DECIDING = frozenset().union(*ONLY_ANSWERS.values())

ENVELOPE_ENDS = SENDERS | {"RSET", "EHLO", "HELO", "LHLO"}
"""Accepted, these leave no recipient behind."""

CLOSING = frozenset({221, 421, 521})
"""The codes behind which the server closes the connection (RFC 7504 §2 has 521)."""

FAREWELL = CLOSING | {451, None}
"""What servers may say to a client that says nothing (Exchange has 451 for it), or text alone."""

_TLS = Mode.TLS
# Neither these nor a member of an enumeration are to be looked up for every event.
_OCTETS = (Data, Gap)


class Dialogue:
    """One SMTP or LMTP connection.

    `new_content` makes the sink for each message's octets. `midstream` says that the connection's
    beginning was not seen. When `upgraded` turns true, STARTTLS was accepted: `release` gives what
    followed it, and what is fed afterwards is taken as the dialogue inside TLS.
    """

    def __init__(self, new_content: Callable[[], ContentSink], *, midstream: bool = False) -> None:
        self.lmtp = False
        self._turns = 0
        self._new_content = new_content
        self._midstream = midstream
        self._commands = CommandReader(Direction.CLIENT, new_content, synced=not midstream)
        self._replies = ReplyReader(Direction.SERVER)
        self._asker = Direction.CLIENT
        self._heard = [False, False]
        self._greeted = False
        self._replies_gapped = False
        self._replies_lost = False
        self._answers_unheard = False
        self._unended = False
        self._closing = False
        self._parted = False
        self._upgraded_by = -1
        self._accepted_recipients = 0
        self._pending: deque[Exchange] = deque()
        self._deciding: Counter[str] = Counter()
        self._done: list[Exchange] = []

    def feed(self, event: StreamEvent) -> list[Exchange]:
        """The exchanges that `event` completes, in the order of their commands."""
        if isinstance(event, _OCTETS):
            direction = event.direction
            self._heard[direction] = True
            if direction is self._asker:
                exchange = self._commands.lone(event)
                if exchange is not None:
                    self._expect(exchange)
                else:
                    self._commands.feed(event)
                    self._read_commands()
            else:
                reply = self._replies.lone(event)
                if reply is not None:
                    self._hear(reply)
                else:
                    self._replies.feed(event)
                    self._read_replies()
        elif isinstance(event, Closed):
            self._unended = event.how == "end"
            self._closing = self._closing or event.how != "end"
            if event.how != "fin" or event.direction is not self._asker:
                self._end_replies()
        return self._take_done()

    def finish(self) -> list[Exchange]:
        """The connection is over: the exchanges that nobody will answer."""
        self._end_replies()
        for exchange in self._commands.finish(captured=self._closing or not self._unended):
            self._expect(exchange)
        self._drop_unbegun_message()
        # Behind a gap each reply may have been taken for that to the command before.
        rule = "reply-lost" if self._replies_gapped else "missing-reply"
        while self._pending:
            self._give_up(self._pending[0], rule)
        return self._take_done()

    def _drop_unbegun_message(self) -> None:
        message = self._commands.message
        if message is None or message.begun or message.exchange is None:
            return
        if message.exchange in self._pending:
            self._pending.remove(message.exchange)
            self._commands.message = None

    @property
    def pending(self) -> tuple[Exchange, ...]:
        """The exchanges that still wait for a reply, oldest first."""
        return tuple(self._pending)

    @property
    def one_sided(self) -> bool:
        """What one side said was captured, and nothing of the other, which must have spoken too.

        A server that greets and says farewell may well have met a client that says nothing.
        """
        client, server = self._heard
        return client is not server and (client or self._answers_unheard)

    @property
    def upgraded(self) -> bool:
        return self._commands.mode is _TLS

    def release(self) -> list[Data | Gap]:
        """What followed the accepted STARTTLS, of either side; the dialogue then starts anew."""
        events = [*self._commands.rest(), *self._replies.rest()]
        self._commands.mode = Mode.COMMAND
        return events

    # -- commands ----------------------------------------------------------------------------

    def _read_commands(self) -> None:
        commands = self._commands
        commands.alone = not self._heard[1 - self._asker]
        for exchange in commands.read():
            self._expect(exchange)
        while self._replies_lost and commands.go_on():
            for exchange in commands.read():
                self._expect(exchange)
        if self._pending:
            self._collect()

    def _expect(self, exchange: Exchange) -> None:
        command = exchange.command
        self._pending.append(exchange)
        if command is not None and command.verb in _DECIDING:
            self._deciding[command.verb] += 1
        if len(self._pending) > MAX_UNANSWERED:
            self._give_up(self._pending[0], "missing-reply")

    # -- replies -----------------------------------------------------------------------------

    def _read_replies(self) -> None:
        while (found := self._replies.next()) is not None:
            if isinstance(found, Gap):
                self._replies_gapped = self._replies_lost = True
                if not self._commands.idle:
                    self._read_commands()
            else:
                self._hear(found)
            if self.upgraded:
                break

    def _hear(self, reply: Reply) -> None:
        self._pair(reply)
        if reply.code in CLOSING:
            self._parted = True
        if not self._commands.idle:
            self._read_commands()

    def _end_replies(self) -> None:
        reply = self._replies.finish()
        if reply is not None:
            self._pair(reply)
            self._read_commands()

    def _pair(self, reply: Reply) -> None:
        if not self._greeted and self._is_greeting(reply):
            self._greeted = True
            # Who is refused may still say something; few servers answer it.
            self._parted = reply.code is not None and reply.code >= 400
            self._greet(reply)
            return
        self._greeted = True
        if self._replies_lost:
            self._replies_lost = False
            self._skip_earlier_flights()
        exchange = self._answered_by(reply)
        if exchange is None:
            self._add_unasked(reply)
            return
        message = self._commands.message
        if message is not None and message.may_be_ended_by(exchange, reply):
            self._commands.end_answered_message()
        if not exchange.replies:
            self._set_expected(exchange, reply)
        exchange.replies.append(reply)
        if reply.defects:
            exchange.defects.extend(reply.defects)
        self._follow(exchange, reply)
        self._collect()

    def _greet(self, reply: Reply) -> None:
        self._done.append(Exchange(None, [reply], list(reply.defects), greeting=True))

    def _is_greeting(self, reply: Reply) -> bool:
        if not (self._midstream or self._replies_gapped):
            return reply.code is not None
        return reply.code == 220 and not self._pending

    def _answered_by(self, reply: Reply) -> Exchange | None:
        for first in self._pending:
            if not first.answered:
                break
        else:
            return None
        holed = self._midstream or self._replies_gapped
        if not (holed or reply.code in INTERMEDIATE):
            return first
        if reply.code is None:
            return None
        verbs = ONLY_ANSWERS.get(reply.code)
        # Thousands may wait: look for one that fits only where there is one.
        if verbs and first.verb not in verbs and any(self._deciding[verb] for verb in verbs):
            for exchange in tuple(self._pending):
                if not exchange.answered and exchange.verb in verbs:
                    for skipped in tuple(self._pending):
                        if skipped is exchange:
                            return exchange
                        self._give_up(skipped, "reply-lost" if holed else "missing-reply")
        return first

    def _add_unasked(self, reply: Reply) -> None:
        self._answers_unheard = self._answers_unheard or reply.code not in FAREWELL
        self._done.append(Exchange(None, [reply], list(reply.defects)))

    def _set_expected(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code == 354 and exchange.verb == "XEXCH50":
            # The octets that it counts follow, and are answered by another reply.
            exchange.expected = 2
        elif exchange.last and reply.code == 353:
            # PRDR: one reply for each recipient and one for the message.
            exchange.expected = self._accepted_recipients + 2
        elif exchange.last and self.lmtp:
            exchange.expected = max(self._accepted_recipients, 1)

    def _follow(self, exchange: Exchange, reply: Reply) -> None:
        """What the reply means for the reading of what comes next."""
        verb = exchange.verb
        if exchange is self._commands.waiting:
            if verb in ("TURN", "ATRN") and reply.accepted and self._turns < MAX_TURNS:
                self._turn()
                return
            if verb in AUTHENTICATING:
                self._follow_auth(exchange, reply)
            self._commands.proceed(reply.code, Mark(0, reply.time, reply.packet))
            if self.upgraded:
                self._upgraded_by = reply.packet
        if verb == "LHLO" and reply.accepted:
            self.lmtp = True
        if verb == "RCPT":
            self._accepted_recipients += reply.accepted
        elif (exchange.last and exchange.answered) or (verb in ENVELOPE_ENDS and reply.accepted):
            self._accepted_recipients = 0

    def _follow_auth(self, exchange: Exchange, reply: Reply) -> None:
        auth = exchange.auth
        assert auth is not None
        if reply.code != 334:
            auth.finish(reply.code)
            return
        known = len(auth.defects)
        text = reply.lines[0]
        # Behind the code and one separator stands the challenge.
        start = reply.span.start + 4
        auth.challenge(text, Span(reply.span.direction, start, start + len(text)))
        exchange.defects.extend(auth.defects[known:])

    def _turn(self) -> None:
        """The sides swap their roles; the one that asked till now greets."""
        self._turns += 1
        asker = self._asker
        self._asker = asker.other
        commands, replies = self._commands, self._replies
        self._commands = CommandReader(self._asker, self._new_content, synced=True)
        self._replies = ReplyReader(asker)
        self._greeted = False
        for event in replies.rest():
            self._commands.feed(event)
        for event in commands.rest():
            self._replies.feed(event)
        self._read_commands()
        self._read_replies()

    # -- what is missing ---------------------------------------------------------------------

    def _skip_earlier_flights(self) -> None:
        """Replies are missing: a client that went on had those to all but its last flight."""
        last = self._pending[-1].command if self._pending else None
        earlier: list[Exchange] = []
        for exchange in self._pending:
            command = exchange.command
            # Thousands may wait, and a reply be missing each time: the last flight is left out.
            if command is None or last is None or command.packet == last.packet:
                break
            earlier.append(exchange)
        for exchange in earlier:
            self._give_up(exchange, "reply-lost")

    def _give_up(self, exchange: Exchange, rule: str) -> None:
        message = self._commands.message
        if message is not None and exchange is message.exchange:
            self._commands.end_message("data-unfinished", "its end was not seen")
        command = exchange.command
        if command is not None and command.verb == "LHLO" and not exchange.replies:
            # Its reply may be lost, and refusals are rare.
            self.lmtp = True
        # What came before TLS and behind STARTTLS, servers throw away (RFC 3207 §4.2).
        owed = command is not None and command.packet > self._upgraded_by and not self._parted
        owed = owed and not any(defect.rule in UNFINISHED for defect in exchange.defects)
        heard = self._heard[self._asker.other] and not self._unended
        if command is not None and owed and heard and not exchange.answered:
            if exchange.last and rule == "missing-reply":
                # Who is to keep the message is in doubt (RFC 5321 §4.2.5): no reply counts as much.
                rule = "message-unanswered"
            exchange.defects.append(Defect(rule, command.span))
        exchange.expected = len(exchange.replies)
        if exchange is self._commands.waiting:
            self._commands.proceed(None, Mark(0, exchange.time, 0))
        self._collect()

    def _collect(self) -> None:
        """Move what is complete to the finished ones, in order."""
        pending, message = self._pending, self._commands.message
        unended = message.exchange if message is not None else None
        while pending and pending[0].answered and pending[0] is not unended:
            exchange = pending.popleft()
            command = exchange.command
            if command is not None and command.verb in _DECIDING:
                self._deciding[command.verb] -= 1
            self._done.append(exchange)

    def _take_done(self) -> list[Exchange]:
        if not self._done:
            return []
        done, self._done = self._done, []
        return done
