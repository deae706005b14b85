"""The answering side of a dialogue: octets in, replies out, single and multi-line.

A reply is read as RFC 5321 §4.2 and §4.2.1 have it: three digits, a dash on all lines but the
last. Lines that do not fit stay in the reply as they are and are told as defects; runs of lines
without any code become one reply whose code is None.
"""

from __future__ import annotations

import re
from collections import deque

from smtpscope.smtp import grammar
from smtpscope.smtp.framing import MAX_LINE, Line, Octets
from smtpscope.smtp.values import Reply
from smtpscope.stream import Data, Defect, Direction, Gap, Mark, Span

MAX_LINES = 1_000
"""Lines of one reply that are kept together; EHLO and HELP stay far below."""

_LONE = re.compile(rb"([0-9]{3}) ([^\r\n]*+)\r\n\Z")

# A NamedTuple's own constructor takes three times as long, and there is one for every reply.
_new = tuple.__new__


class ReplyReader:
    """Reads the replies of one direction."""

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._octets = Octets()
        self._input: deque[Data | Gap] = deque()
        self._code: int | None = None
        self._lines: list[bytes] = []
        self._defects: list[Defect] = []
        self._start = 0
        self._end = 0
        self._mark = Mark(0, 0, 0)
        self._mid_line = False
        self._after_gap = False
        self._resumed: int | None = None
        self._calm = True

    def lone(self, event: Data | Gap) -> Reply | None:
        """The reply that `event` is from its first octet to its last, as nearly every one is.

        None where it is more or less than that, or something was begun before: it is to be fed.
        """
        if not self._calm or not isinstance(event, Data):
            return None
        match = _LONE.match(event.data)
        if match is None or len(event.data) > MAX_LINE:
            return None
        self._octets.pass_over(event)
        code, text = match.groups()
        start = event.offset
        span = _new(Span, (self._direction, start, start + len(event.data)))
        _, time, packet = event.marks[-1]
        return Reply(int(code), (text,), grammar.parse_enhanced(text), span, time, packet)

    def feed(self, event: Data | Gap) -> None:
        self._calm = False
        self._input.append(event)

    def next(self) -> Reply | Gap | None:
        """The next reply, or a gap that stands before it; None when more octets are needed."""
        octets = self._octets
        while True:
            while not self._mid_line and (line := octets.line()) is not None:
                reply = self._add(line)
                if reply is not None:
                    resumed, self._resumed = self._resumed, None
                    if resumed is None or reply.code != resumed:
                        return reply
            if octets.overlong and self._skip_long_line():
                continue
            if not self._input:
                self._calm = not (
                    self._lines
                    or self._defects
                    or self._mid_line
                    or self._after_gap
                    or self._resumed is not None
                    or len(octets)
                )
                return None
            event = self._input[0]
            if isinstance(event, Data):
                octets.feed(event)
            else:
                self._cut()
                if self._lines:
                    # The rest of this reply may come behind the gap: it is no new one.
                    cut = self._finish_reply()
                    self._resumed = cut.code
                    return cut
                self._after_gap = True
            self._input.popleft()
            if isinstance(event, Gap):
                return event

    def finish(self) -> Reply | None:
        """The stream is over: what was begun, as far as it came."""
        self._cut()
        if self._defects and not self._lines:
            # A line without end is all that came.
            _, start, end = self._defects[0].span
            self._begin(None, start)
            self._append(b"", end)
        return self._finish_reply() if self._lines else None

    def rest(self) -> list[Data | Gap]:
        """What was fed and not read."""
        left = self._octets.rest(self._direction)
        events = [*([left] if left else []), *self._input]
        self._input.clear()
        return events

    def _skip_long_line(self) -> bool:
        """Pass over a line that is too long to keep; whether its end was there."""
        octets = self._octets
        if not self._mid_line:
            self._note("reply-too-long", octets.offset, octets.offset + MAX_LINE)
        self._mid_line = not octets.skip_line()
        return not self._mid_line

    def _add(self, line: Line) -> Reply | None:
        code, separator, text = grammar.parse_reply_line(line.text)
        after_gap, self._after_gap = self._after_gap, False
        if code is None:
            # Behind a gap the first line is likely the end of one whose beginning is lost.
            return None if after_gap else self._add_stray(line)
        if self._lines and self._code is None:
            # A run of lines that are no reply ends where one begins.
            self._octets.give_back(line.end - line.start)
            return self._finish_reply()
        if separator == b" " and not self._lines and line.ending == b"\r\n":
            self._code, self._start = code, line.start
            return self._reply((text,), line.end, self._octets.mark(line.end - 1))
        self._begin(code, line.start)
        if code != self._code:
            self._note("reply-codes-differ", line.start, line.end, str(code))
        if line.ending != b"\r\n":
            self._note("bare-lf", line.end - 1, line.end)
        if separator == b"" and text:
            self._note("reply-syntax", line.start, line.end, "no space or dash behind the code")
        self._append(text, line.end)
        if separator == b"-" and len(self._lines) < MAX_LINES:
            return None
        return self._finish_reply()

    def _add_stray(self, line: Line) -> Reply | None:
        if not self._lines or self._code is not None:
            self._note("reply-syntax", line.start, line.end, "no reply code")
        self._begin(None, line.start)
        self._append(line.text, line.end)
        return self._finish_reply() if len(self._lines) >= MAX_LINES else None

    def _cut(self) -> None:
        """The line that was begun will not be completed."""
        octets = self._octets
        start = octets.offset
        piece = octets.take(len(octets))
        if self._mid_line or not piece:
            self._mid_line = False
            return
        code, _, text = grammar.parse_reply_line(piece)
        self._begin(code, start)
        self._append(piece if code is None else text, start + len(piece))
        self._note("reply-unfinished", start, self._end)

    def _begin(self, code: int | None, start: int) -> None:
        if not self._lines:
            self._code = code
            self._start = start

    def _append(self, text: bytes, end: int) -> None:
        self._lines.append(text)
        self._end = end
        self._mark = self._octets.mark(end - 1)

    def _finish_reply(self) -> Reply:
        lines, self._lines = tuple(self._lines), []
        return self._reply(lines, self._end, self._mark)

    def _reply(self, lines: tuple[bytes, ...], end: int, mark: Mark) -> Reply:
        code = self._code
        defects: tuple[Defect, ...] = ()
        if self._defects:
            defects = tuple(self._defects)
            self._defects.clear()
        return Reply(
            code,
            lines,
            grammar.parse_enhanced(lines[0]) if code is not None else None,
            _new(Span, (self._direction, self._start, end)),
            mark.time,
            mark.packet,
            defects,
        )

    def _note(self, rule: str, start: int, end: int, detail: str = "") -> None:
        if len(self._defects) < MAX_LINES:
            self._defects.append(Defect(rule, Span(self._direction, start, end), detail))
