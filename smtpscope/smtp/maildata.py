"""The messages among what one direction sends: octets in, content out, each message's end found.

`DataReader` reads what follows DATA up to the lone dot, `ChunkReader` the octets that BDAT or
XEXCH50 has counted, and `Chunks` joins the chunks of one message. Where octets of a message are
missing, its end may be too: the server's reply and lines that look like commands show it. RFC 5321
§4.1.1.4, RFC 3030 §2.
"""

from __future__ import annotations

from collections.abc import Callable

from smtpscope.smtp import grammar
from smtpscope.smtp.framing import DataScanner, Octets
from smtpscope.smtp.values import Command, ContentSink, Exchange, Reply
from smtpscope.stream import Defect, Direction, Gap, Mark, Span

MAX_BEHIND_HOLE = 65_536
"""Octets behind a hole in a message that are kept until its reply: they may hold commands."""


class DataReader:
    """Reads one message from behind DATA up to the lone dot; `exchange` is that of this dot."""

    __slots__ = ("_behind_hole", "_command", "_content", "_direction", "_scanner", "exchange")

    def __init__(self, direction: Direction, start: int, mark: Mark, content: ContentSink) -> None:
        self._direction = direction
        self._command = Command(".", b"", Span(direction, start, start), mark.time, mark.packet)
        self.exchange = Exchange(self._command, content=content, last=True)
        self._content = content
        self._scanner = DataScanner(direction, start)
        self._behind_hole: Octets | None = None

    @property
    def begun(self) -> bool:
        """Something of it was seen, or is known to be missing."""
        return self._command.span.end > self._command.span.start

    @property
    def holed(self) -> bool:
        """Octets of it are missing, and its end was not seen behind them."""
        return self._behind_hole is not None

    def read(self, octets: Octets) -> bool:
        """Take what belongs to the message; whether it is over.

        One that is still `holed` then has ended in the hole.
        """
        if not len(octets):
            return False
        behind = self._behind_hole
        if behind is not None:
            if self.exchange.answered:
                return self._read_lines(octets)
            self._remember(behind, octets)
        return self._take(octets, len(octets))

    def skip(self, gap: Gap, octets: Octets) -> bool:
        """Octets are missing; whether all of them count as the message's."""
        if len(octets):
            # A line that was begun before them.
            self._take(octets, len(octets))
        self._content.feed(self._scanner.gap(gap.length))
        self._content.gap(gap.length)
        self._extend_to(gap.offset + gap.length)
        self._behind_hole = Octets()
        return True

    def may_be_ended_by(self, exchange: Exchange, reply: Reply) -> bool:
        """Whether the reply to `exchange` shows that the server saw the end of the message.

        It does where octets of the message are missing, and where the message stopped at what
        some servers take for the end; an acceptance also where that stands further up.
        """
        if exchange is not self.exchange:
            return False
        scanner = self._scanner
        return self.holed or scanner.at_odd_end or (reply.accepted and scanner.has_odd_end)

    def take_back_commands(self) -> Octets | None:
        """What ends the octets behind the last hole and looks like commands: not the message's."""
        behind = self._behind_hole
        if behind is None:
            return None
        start = -1
        while (line := behind.line()) is not None:
            if not grammar.looks_like_command(line.text):
                start = -1
            elif start < 0:
                start = line.start
        if start < 0 or behind.overlong:
            return None
        behind.give_back(behind.offset - start)
        self._extend_to(start)
        return behind

    def end_unseen(self, rule: str = "", detail: str = "") -> None:
        """Nothing more of it comes: `rule` and `detail` say what is wrong with that."""
        self._content.feed(self._scanner.gap(0))
        self.exchange.defects.extend(self._scanner.defects)
        if rule:
            self.exchange.defects.append(Defect(rule, self._command.span, detail))

    def finish(self, octets: Octets) -> tuple[str, str]:
        """The connection is over: what is wrong with that, as a rule and a detail, or nothing."""
        if self.holed and self.exchange.answered:
            if len(octets):
                self._take(octets, len(octets))
            return "", ""
        return "data-unfinished", "the connection ended before the lone dot"

    def _take(self, octets: Octets, count: int) -> bool:
        piece = octets.take(count)
        content, used = self._scanner.feed(piece)
        if content:
            self._content.feed(content)
        over = used >= 0
        if over:
            octets.give_back(len(piece) - used)
            self.exchange.defects.extend(self._scanner.defects)
            self._behind_hole = None
        _extend(self._command, octets)
        return over

    def _read_lines(self, octets: Octets) -> bool:
        """The reply came before the hole was known: a command shows that the end was in it."""
        while (line := octets.line()) is not None or octets.overlong:
            count = len(octets)
            if line is not None:
                count = line.end - line.start
                octets.give_back(count)
                if grammar.looks_like_command(line.text):
                    self.end_unseen()
                    return True
            if self._take(octets, count):
                return True
        return False

    def _remember(self, behind: Octets, octets: Octets) -> None:
        data = octets.rest(self._direction)
        assert data is not None
        octets.give_back(len(data.data))
        behind.feed(data)
        behind.take(max(len(behind) - MAX_BEHIND_HOLE, 0))

    def _extend_to(self, end: int) -> None:
        self._command.span = self._command.span._replace(end=end)


class ChunkReader:
    """Reads octets that a command has counted; `exchange` is that of a BDAT, None for others'."""

    __slots__ = ("_remaining", "exchange")
    begun = True
    holed = False

    def __init__(self, size: int, exchange: Exchange | None = None) -> None:
        self.exchange = exchange
        self._remaining = size

    def read(self, octets: Octets) -> bool:
        """Take what belongs to the chunk; whether it is over."""
        piece = octets.take(self._remaining)
        self._remaining -= len(piece)
        if piece and self.exchange is not None:
            assert self.exchange.content is not None
            assert self.exchange.command is not None
            self.exchange.content.feed(piece)
            _extend(self.exchange.command, octets)
        return not self._remaining

    def skip(self, gap: Gap, octets: Octets) -> bool:
        """Octets are missing; whether all of them are the chunk's."""
        lost = min(self._remaining, gap.length)
        if self.exchange is not None and self.exchange.content is not None:
            self.exchange.content.gap(lost)
        self._remaining -= lost
        return lost == gap.length

    def may_be_ended_by(self, exchange: Exchange, reply: Reply) -> bool:
        """No reply shows the end of a chunk: its count does."""
        return False

    def end_unseen(self, rule: str = "", detail: str = "") -> None:
        """Nothing more of it comes: `rule` and `detail` say what is wrong with that."""
        if rule and self.exchange is not None and self.exchange.command is not None:
            self.exchange.defects.append(Defect(rule, self.exchange.command.span, detail))

    def finish(self, octets: Octets) -> tuple[str, str]:
        """The connection is over: what is wrong with that, as a rule and a detail, or nothing."""
        return "chunk-unfinished", f"{self._remaining} octets did not come"


MessageReader = DataReader | ChunkReader


class Chunks:
    """Makes one message of the chunks that follow each other (RFC 3030 §2)."""

    __slots__ = ("_content", "_ending", "_new_content", "lost")

    def __init__(self, new_content: Callable[[], ContentSink]) -> None:
        self._new_content = new_content
        self._content: ContentSink | None = None
        self._ending: Exchange | None = None
        self.lost = 0

    def begin(self, exchange: Exchange, where: Span) -> ChunkReader | None:
        """What reads the chunk of this BDAT, whose argument stands at `where`, if it has octets.

        `lost` octets are missing before it, since MAIL or the last chunk: one may have been there.
        """
        assert exchange.command is not None
        size, last, defects = grammar.parse_bdat(exchange.command.argument, where)
        exchange.defects.extend(defects)
        if size is None:
            return None
        self._settle()
        if self._content is None:
            self._content = self._new_content()
        if self.lost:
            self._content.gap(self.lost)
            self.lost = 0
        exchange.content = self._content
        exchange.last = last
        if last:
            self._content = None
        return ChunkReader(size, exchange) if size else None

    def may_end(self, exchange: Exchange) -> None:
        """The next chunk begins a message, unless this command turns out to be refused.

        Before its reply has come the client is believed: it has given up the chunks so far.
        """
        if self._content is not None:
            self._settle()
            self._ending = exchange

    def _settle(self) -> None:
        ending, self._ending = self._ending, None
        if ending is not None and (ending.reply is None or ending.reply.accepted):
            self._content = None


def _extend(command: Command, octets: Octets) -> None:
    """What was taken of `octets` belongs to the command."""
    end = octets.offset
    mark = octets.mark(end - 1)
    span = command.span
    command.span = Span(span.direction, span.start, end)
    command.time = mark.time
    command.packet = mark.packet
