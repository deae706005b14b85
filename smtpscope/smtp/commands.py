"""The asking side of a dialogue: octets in, commands out, messages and AUTH lines included.

What the octets are depends on what the server said: `CommandReader` stops behind a command whose
reply decides (DATA, AUTH, STARTTLS, TURN …) until `proceed` tells it how to go on. `maildata`
reads the messages. What is no command becomes an "(unreadable)" stretch, and reading goes on at
the next line that has a command's shape. RFC 5321 §4.1, RFC 4954 §4.
"""

from __future__ import annotations

import enum
import re
from collections import deque
from collections.abc import Callable

from smtpscope import reference
from smtpscope.smtp import grammar
from smtpscope.smtp.framing import MAX_LINE, Line, Octets
from smtpscope.smtp.maildata import ChunkReader, Chunks, DataReader, MessageReader
from smtpscope.smtp.sasl import AuthExchange, has_credentials, is_likely_response
from smtpscope.smtp.values import SENDERS, Command, ContentSink, Exchange
from smtpscope.stream import Data, Defect, Direction, Gap, Mark, Span

MAX_WAITING = 1 << 20
"""Octets that wait for one reply; beyond, that reply counts as lost and positive."""

MAX_UPGRADES = 16
"""Times that TLS is looked for; beyond, what follows STARTTLS is read as commands."""

MAX_BEFORE_TLS = 2_000
"""Octets of plain text behind STARTTLS in which TLS is looked for where the reply is lost."""

AUTH_VERBS = frozenset({"AUTH", "X-EXPS"})
AUTHENTICATING = AUTH_VERBS | {"(auth)"}
LOGGED_IN = 235
"""The code behind which the client sends nothing more of its login (RFC 4954 §6)."""
HELLO_VERBS = frozenset({"HELO", "EHLO", "LHLO"})
PATH_VERBS = SENDERS | {"RCPT"}


class Mode(enum.IntEnum):
    """What the next octets are: a command line; not known before the reply to the last command; a
    line of an AUTH exchange; a message, or octets that a command has counted; TLS records."""

    COMMAND = 0
    WAIT = 1
    AUTH = 2
    MESSAGE = 3
    TLS = 4


TURNING: dict[str, dict[int, Mode]] = {
    "DATA": {354: Mode.MESSAGE},
    "STARTTLS": {220: Mode.TLS},
    "X-ANONYMOUSTLS": {220: Mode.TLS},
    "AUTH": {334: Mode.AUTH},
    "X-EXPS": {334: Mode.AUTH},
    "(auth)": {334: Mode.AUTH},
    "TURN": {},
    "ATRN": {},
    "XEXCH50": {354: Mode.MESSAGE},
}
"""The commands whose reply decides what the next octets are: reply code → mode. After any other
reply the next is a command."""

TLS_RECORD = b"\x16\x03"
"""How a TLS handshake begins: its record's type and major version (RFC 8446 §5.1)."""

# A NamedTuple's own constructor takes three times as long, and there are two for every command.
_new = tuple.__new__


_COMMAND = Mode.COMMAND
# Without the NULs, CRs and 8-bit octets that `_line_defects` tells.
_LONE = re.compile(rb"([A-Za-z]{1,32})(?: ([\x01-\x09\x0b\x0c\x0e-\x7f]*+))?+\r\n\Z")

NEARLY_AUTH = re.compile(rb"[^A-Z]*+X?AUTH", re.IGNORECASE)
"""What some servers take for AUTH, and what is meant for it: no secret is to be shown."""
_MISSPELT_AUTH = re.compile(
    rb"(?:[A-Z]?UTH|A[A-Z]?TH|AU[A-Z]?H|AUT[A-Z]?|UATH|ATUH|AUHT|[A-Z]AUTH|A[A-Z]UTH|AU[A-Z]TH)"
    rb" ++([A-Z0-9_-]{1,20})(?: ++([A-Z0-9+/]{2,}={0,2}))? *\Z",
    re.IGNORECASE,
)
"""AUTH with one letter too few, too many, wrong or in the wrong place; a mechanism; base64."""


class CommandReader:
    """Reads what one direction asks.

    `alone` is to be set by the owner while nothing of the other direction was seen: then no reply
    is waited for. `message` reads the message that has begun and is not over, `waiting` is the
    exchange whose reply decides how to go on.
    """

    def __init__(
        self, direction: Direction, new_content: Callable[[], ContentSink], *, synced: bool
    ) -> None:
        self.alone = False
        self.mode = Mode.COMMAND
        self.message: MessageReader | None = None
        self._auth: AuthExchange | None = None
        self.holed = not synced
        self._direction = direction
        self._new_content = new_content
        self._octets = Octets()
        self._input: deque[Data | Gap] = deque()
        self._queued = 0
        self._synced = synced
        self._mid_line = False
        self._stretch: Command | None = None
        self.waiting: Exchange | None = None
        self._auth_over = self._auth_refused = False
        self._chunks = Chunks(new_content)
        self._just_skipped = False
        self._upgrades = 0
        self._cut_off = False
        self._http = False
        self._found: list[Exchange] = []
        self._calm = synced

    @property
    def idle(self) -> bool:
        """There is nothing to read before more is fed."""
        return not (self._found or self._input or len(self._octets))

    def lone(self, event: Data | Gap) -> Exchange | None:
        """The exchange that `event` begins if it is one plain command line, as most of them are.

        None where it is more or less than that, or something was begun before: it is to be fed.
        """
        if self.mode is not _COMMAND or not self._calm or not isinstance(event, Data):
            return None
        match = _LONE.match(event.data)
        if match is None or len(event.data) > MAX_LINE:
            return None
        self._octets.pass_over(event)
        word, argument = match.groups()
        start = event.offset
        line = _new(Line, (event.data[:-2], b"\r\n", start, start + len(event.data)))
        self._ask(word.upper().decode("ascii"), argument or b"", line, event.marks[-1], [])
        return self._found.pop()

    def feed(self, event: Data | Gap) -> None:
        self._calm = False
        self._input.append(event)
        if isinstance(event, Data):
            self._queued += len(event.data)

    def read(self) -> list[Exchange]:
        """The exchanges that begin in what was fed, as far as it can be told by now."""
        while True:
            if _READERS[self.mode](self):
                continue
            if not self._input or self.mode in _STOPPED:
                break
            event = self._input.popleft()
            if isinstance(event, Gap):
                self._skip(event)
            else:
                self._queued -= len(event.data)
                self._octets.feed(event)
        found, self._found = self._found, []
        self._calm = self._synced and not (
            self._auth_over or self._mid_line or self._stretch or self._input or len(self._octets)
        )
        return found

    def proceed(self, code: int | None, mark: Mark) -> None:
        """The reply that was waited for has come with this code, at this time."""
        command = self._waiting_command
        verb = command.verb
        self.waiting = None
        mode = TURNING[verb].get(code or 0, Mode.COMMAND)
        if mode is Mode.TLS and not self._may_upgrade():
            mode = Mode.COMMAND
        self.mode = mode
        if mode is Mode.COMMAND and verb in AUTHENTICATING:
            # Logged in without any secret: replies and commands have lost step, likely.
            done = code == LOGGED_IN and self._auth is not None and self._auth.secret_length > 0
            self._auth_over = self._auth_refused = not done
            self._calm = self._calm and not self._auth_over
        if mode is Mode.MESSAGE:
            self._begin_message(command, mark)

    def go_on(self) -> bool:
        """The reply that is waited for may be lost; whether a client that went on shows that it is.

        What it went on with shows what the reply was.
        """
        octets, waiting = self._octets, self.waiting
        if waiting is None or waiting.command is None:
            return False
        self._fetch()
        if not len(octets):
            return False
        code, mode = next(iter(TURNING[waiting.command.verb].items()), (0, Mode.COMMAND))
        begin = octets.offset
        if mode is Mode.TLS:
            # Plain text may stand before it.
            record = octets.peek(MAX_BEFORE_TLS).find(TLS_RECORD)
            refused = record < 0
            begin += max(record, 0)
        else:
            line = octets.line()
            if line is None and not octets.overlong:
                return False
            octets.give_back(line.end - line.start if line is not None else 0)
            refused = line is not None and grammar.looks_like_command(line.text)
        mark = octets.mark(begin)
        if mark.packet <= waiting.command.packet:
            return False
        self.proceed(0 if refused else code, mark)
        return True

    def _may_upgrade(self) -> bool:
        self._upgrades += 1
        return self._upgrades <= MAX_UPGRADES

    def _fetch(self) -> None:
        """Take what was fed up to the next gap."""
        while self._input and isinstance(event := self._input[0], Data):
            self._queued -= len(event.data)
            self._octets.feed(event)
            self._input.popleft()

    def rest(self) -> list[Data | Gap]:
        """What was fed and not read."""
        left = self._octets.rest(self._direction)
        events = [*([left] if left else []), *self._input]
        self._input.clear()
        self._queued = 0
        return events

    def finish(self, *, captured: bool = True) -> list[Exchange]:
        """The connection is over: what was begun, as far as it came.

        Not `captured`: the capture is over, and the connection went on.
        """
        self.alone = True
        self._cut_off = not captured
        found = self.read()
        if self.message is not None:
            self._finish_message(self.message)
        elif len(self._octets) and self.mode in (Mode.COMMAND, Mode.AUTH):
            self._read_unfinished_line()
        self._end_stretch()
        found += self._found
        self._found = []
        return found

    # -- command lines -----------------------------------------------------------------------

    def _read_command(self) -> bool:
        octets = self._octets
        if self._mid_line:
            start = octets.offset
            if not len(octets):
                return False
            self._mid_line = not octets.skip_line()
            self._extend_stretch(start)
            return True
        if self._just_skipped:
            first = octets.peek(len(TLS_RECORD))
            if len(first) < len(TLS_RECORD) and TLS_RECORD.startswith(first):
                return False
            self._just_skipped = False
            if first == TLS_RECORD and self._may_upgrade():
                # STARTTLS was in the hole.
                self.mode = Mode.TLS
                return True
        line = octets.line()
        if line is None:
            if octets.overlong:
                self._synced = False
                self._mid_line = True
                return True
            return False
        verb, argument = grammar.split_command(line.text)
        if self._auth_over:
            # A client that did not wait may have sent its secrets to an exchange that was refused:
            # lines of one word.
            if self._synced and verb not in reference.VERBS and b" " not in line.text.strip():
                self._add_auth_line(line)
                return True
            self._auth_over = False
        if not self._synced:
            if line.text == b".":
                verb, argument = ".", b""
            elif not grammar.looks_like_command(line.text):
                self._extend_stretch(line.start)
                return True
            self._synced = True
            self._end_stretch()
        # In a path 8-bit octets may be UTF-8: the grammar judges them.
        defects = self._line_defects(line, eight_bit=verb not in PATH_VERBS)
        self._ask(verb, argument, line, octets.mark(line.end - 1), defects)
        return True

    def _ask(
        self, verb: str, argument: bytes, line: Line, mark: Mark, defects: list[Defect]
    ) -> None:
        span = _new(Span, (self._direction, line.start, line.end))
        command = Command(verb, argument, span, mark.time, mark.packet)
        exchange = Exchange(command, [], defects)
        text_end = line.start + len(line.text)
        where = _new(Span, (self._direction, text_end - len(argument), text_end))
        if verb in PATH_VERBS:
            if verb != "RCPT":
                self._chunks.lost = 0
                self._chunks.may_end(exchange)
            exchange.path = path = grammar.parse_path_argument(verb, argument, where)
            defects.extend(path.defects)
        elif verb in HELLO_VERBS:
            defects.extend(grammar.parse_hello(argument, where)[1])
            self._chunks.may_end(exchange)
        elif verb == "BDAT":
            self.message = self._chunks.begin(exchange, where)
            if self.message is not None:
                self.mode = Mode.MESSAGE
        elif verb in AUTH_VERBS:
            self._begin_auth(exchange, where)
        elif verb == "BURL":
            # The server fetches the message's last octets (RFC 4468 §3).
            exchange.last = argument.upper().endswith(b" LAST")
            if exchange.last:
                self._chunks.may_end(exchange)
        elif verb in ("RSET", "STARTTLS"):
            self._chunks.may_end(exchange)
        elif verb not in reference.VERBS and verb != ".":
            self._hide(command, line.text)
            # Nor are the fields of an HTTP request commands: they need not be told one by one.
            self._http = self._http or (verb in reference.HTTP_VERBS and b"HTTP/" in argument)
            if not self._http:
                defects.append(Defect("unknown-command", command.span, command.verb))
        self._found.append(exchange)
        if verb in TURNING:
            self._wait(exchange)

    def _hide(self, command: Command, text: bytes) -> None:
        """Redact what is no known command where it likely holds a secret.

        That is AUTH misspelt or left out, and what belongs to a login that was refused.
        """
        argument = command.argument
        before, _, word = text.rstrip(b" ").rpartition(b" ")
        if match := NEARLY_AUTH.match(text):
            shown = b"" if command.verb else match[0] + b" "
            command.redacted = shown + b"[redacted %d octets]" % len(argument)
        elif has_credentials(word):
            kept = argument[: argument.rfind(word)] if before else b""
            command.redacted = kept + AuthExchange("PLAIN", word).redacted[0].encode()
        elif (match := _MISSPELT_AUTH.match(text)) and reference.mechanism(match[1].decode()):
            self._auth_refused = True
            if match[2] is not None:
                hidden = AuthExchange("", match[2]).redacted[0].encode()
                command.redacted = b"%s %s" % (match[1], hidden)
        elif self._auth_refused and not before and is_likely_response(word):
            command.redacted = AuthExchange("", word).redacted[0].encode()
        else:
            return
        if not before and not match:
            # A word of letters was taken for a verb, which is shown.
            command.verb, command.argument = "", text

    def _command(self, verb: str, argument: bytes, line: Line) -> Command:
        mark = self._octets.mark(line.end - 1)
        span = _new(Span, (self._direction, line.start, line.end))
        return Command(verb, argument, span, mark.time, mark.packet)

    def _line_defects(self, line: Line, *, eight_bit: bool = True) -> list[Defect]:
        text = line.text
        if line.ending == b"\r\n" and text.isascii() and b"\r" not in text and b"\0" not in text:
            return []
        defects = []
        if line.ending == b"\n":
            defects.append(("bare-lf", line.end - 1))
        if b"\r" in text:
            defects.append(("bare-cr", line.start + text.index(b"\r")))
        if b"\0" in text:
            defects.append(("nul", line.start + text.index(b"\0")))
        if eight_bit and not text.isascii():
            first = next(index for index, octet in enumerate(text) if octet > 127)
            defects.append(("eight-bit", line.start + first))
        return [Defect(rule, Span(self._direction, at, at + 1)) for rule, at in defects]

    # -- AUTH --------------------------------------------------------------------------------

    def _begin_auth(self, exchange: Exchange, where: Span) -> None:
        command = exchange.command
        assert command is not None
        auth = AuthExchange.from_argument(command.argument, where)
        self._auth = auth
        command.redacted = auth.redacted_argument().encode()
        exchange.defects.extend(auth.defects)
        exchange.auth = auth

    def _read_auth(self) -> bool:
        line = self._octets.line()
        if line is None:
            if self._octets.overlong:
                self.mode = Mode.COMMAND
                return True
            return False
        if self.alone and grammar.looks_like_command(line.text):
            # Nobody tells when the exchange is over: a command shows it.
            self._octets.give_back(line.end - line.start)
            self.mode = Mode.COMMAND
            return True
        self._add_auth_line(line)
        self._wait(self._found[-1])
        return True

    def _add_auth_line(self, line: Line) -> None:
        auth = self._auth
        assert auth is not None
        known = len(auth.defects)
        where = Span(self._direction, line.start, line.start + len(line.text))
        auth.response(line.text, where)
        command = self._command("(auth)", line.text, line)
        command.redacted = auth.redacted[-1].encode()
        defects = [*self._line_defects(line), *auth.defects[known:]]
        self._found.append(Exchange(command, [], defects, auth=auth))

    # -- waiting -----------------------------------------------------------------------------

    def _read_on(self) -> bool:
        if not self.alone and self._queued + len(self._octets) <= MAX_WAITING:
            return False
        if not len(self._octets) and not self._input:
            return False
        # The reply that decides will never be seen: go by the command alone.
        mark = self._octets.mark(self._octets.offset)
        code, mode = next(iter(TURNING[self._waiting_command.verb].items()), (0, Mode.COMMAND))
        if mode is Mode.TLS and self._next_octet() != TLS_RECORD[:1]:
            code = 0
        self.proceed(code, mark)
        return True

    def _next_octet(self) -> bytes:
        ahead = self._input[0] if self._input else None
        return self._octets.peek(1) or (ahead.data[:1] if isinstance(ahead, Data) else b"")

    def _wait(self, exchange: Exchange) -> None:
        self.waiting = exchange
        self.mode = Mode.WAIT

    @property
    def _waiting_command(self) -> Command:
        assert self.waiting is not None
        assert self.waiting.command is not None
        return self.waiting.command

    # -- messages ----------------------------------------------------------------------------

    def _begin_message(self, command: Command, mark: Mark) -> None:
        if command.verb == "XEXCH50":
            size = command.argument.split(b" ")[0]
            self.message = ChunkReader(int(size) if size.isdigit() and len(size) < 10 else 0)
            return
        start = self._octets.offset
        self.message = message = DataReader(self._direction, start, mark, self._new_content())
        self._found.append(message.exchange)

    def _read_message(self) -> bool:
        assert self.message is not None
        if not self.message.read(self._octets):
            return False
        self._leave_message(self.message)
        return True

    def end_message(self, rule: str = "", detail: str = "") -> None:
        """Nothing more belongs to the message that is being read, though its end was not seen."""
        message = self.message
        assert message is not None
        message.end_unseen(rule, detail)
        self._leave_message(message)
        self._calm = False

    def end_answered_message(self) -> None:
        """The server has answered the message that is being read, and so its end has been sent."""
        message = self.message
        assert isinstance(message, DataReader)
        if not message.holed:
            self.end_message("end-of-data-unseen", "the server answered the message")
            return
        commands = message.take_back_commands()
        if commands is not None:
            self._octets = commands
        self.end_message()

    def _finish_message(self, message: MessageReader) -> None:
        if not message.begun:
            return
        rule, detail = message.finish(self._octets)
        if rule and self._cut_off:
            rule, detail = "capture-ends-here", "in a message"
        self.end_message(rule, detail)

    def _leave_message(self, message: MessageReader) -> None:
        # What follows a message that ended in a hole may begin anywhere.
        self._synced = not message.holed
        self.message = None
        self.mode = Mode.COMMAND

    # -- what cannot be read -----------------------------------------------------------------

    def _skip(self, gap: Gap) -> None:
        self.holed = True
        message = self.message
        if message is not None:
            if message.skip(gap, self._octets):
                return
            self._leave_message(message)
        self._chunks.lost += gap.length
        self._just_skipped = True
        start = self._octets.offset
        if self._octets.take(len(self._octets)):
            self._extend_stretch(start)
        self.mode = Mode.COMMAND
        self._mid_line = False
        self._synced = False

    def _extend_stretch(self, start: int) -> None:
        """The octets from `start` up to the next one are unreadable; neighbours become one."""
        end = self._octets.offset
        mark = self._octets.mark(end - 1)
        if self._stretch is None:
            span = Span(self._direction, start, end)
            self._stretch = Command("(unreadable)", b"", span, mark.time, mark.packet)
            return
        self._stretch.span = Span(self._direction, self._stretch.span.start, end)
        self._stretch.time, self._stretch.packet = mark.time, mark.packet

    def _end_stretch(self) -> None:
        if self._stretch is not None:
            self._add_stretch(self._stretch, "" if self.holed else "unreadable")
            self._stretch = None

    def _add_stretch(self, stretch: Command, rule: str, detail: str = "") -> None:
        exchange = Exchange(stretch, expected=0)
        if rule:
            exchange.defects.append(Defect(rule, stretch.span, detail))
        self._found.append(exchange)

    def _read_unfinished_line(self) -> None:
        start = self._octets.offset
        text = self._octets.take(len(self._octets))
        line = Line(text, b"", start, start + len(text))
        if self.mode is Mode.AUTH:
            self._add_auth_line(line)
        elif self._synced and grammar.split_command(text)[0] in reference.VERBS:
            verb, argument = grammar.split_command(text)
            unfinished = Exchange(self._command(verb, argument, line))
            if verb in AUTH_VERBS:
                end = self._octets.offset
                self._begin_auth(unfinished, Span(self._direction, end - len(argument), end))
            self._found.append(unfinished)
        elif self._cut_off:
            self._end_stretch()
            self._add_stretch(
                self._command("(unreadable)", b"", line), "capture-ends-here", "in a line"
            )
            return
        else:
            self._extend_stretch(start)
            return
        exchange = self._found[-1]
        assert exchange.command is not None
        rule, detail = (
            ("capture-ends-here", "in a line") if self._cut_off else ("line-unfinished", "")
        )
        exchange.defects.append(Defect(rule, exchange.command.span, detail))


_STOPPED = (Mode.WAIT, Mode.TLS)
_READERS: tuple[Callable[[CommandReader], bool], ...] = (
    CommandReader._read_command,
    CommandReader._read_on,
    CommandReader._read_auth,
    CommandReader._read_message,
    lambda reader: False,
)
"""What reads the next octets, by `Mode`."""
