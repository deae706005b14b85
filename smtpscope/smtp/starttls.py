"""Finds STARTTLS in a dialogue that is forwarded meanwhile, and the reply to it.

In: the octets of both sides as they come, in any chunks. Out: what may go on, and what has to wait
since STARTTLS (RFC 3207 §4) is a matter for whoever stands in between. Nothing else is held back,
save a line's first octets while they could still become that command.
"""

from __future__ import annotations

import re
from collections import deque
from enum import Enum, auto
from typing import NamedTuple

MAX_LINE = 4_096
"""Octets of a line that are looked at; a longer one is no command that matters here."""
MAX_PENDING = 10_000
"""Commands whose replies are counted; more are pipelined by nobody who means well."""

FAILED = "4.7.0 TLS with the server failed: "
"""What a client is told, behind the code, where whoever stands in between has no TLS for it."""

_WORD = b"STARTTLS"
_MESSAGE = b"."
_RESETS = (b"EHLO", b"LHLO", b"HELO", b"MAIL", b"RSET")
# Servers differ in what they strip off, and in whether they mind a parameter: their reply tells.
_COMMAND = re.compile(rb"[\0-\t\v-\x20]*STARTTLS(?:[\0-\t\v-\x20][^\n]*)?\n?\Z", re.IGNORECASE)
_BLANKS = bytes(each for each in range(0x21) if each != 0x0A)
_AROUND = _BLANKS + b"\n"
_MAY_BEGIN = b"sS" + _BLANKS
_KEYWORD = re.compile(rb"250[- ]STARTTLS[ \t]*\r?\n\Z", re.IGNORECASE)
_CHUNK = re.compile(rb"BDAT[ \t]+(\d{1,12})(?:[ \t]|\Z)")
_REPLY = re.compile(rb"(\d\d\d)(-)?")
_PIECE = re.compile(rb"[^\n]*\n|[^\n]+")


class Heard(NamedTuple):
    """Of a client: `forward` goes on; `command` is a STARTTLS line, b"" where there is none, and
    `behind` what stood behind it and waits with it.

    Without a `command`, `behind` stands behind DATA: whether it is a message the reply tells
    (nobody may say it before, RFC 2920 §3.1), and then it is to be given again."""

    forward: bytes
    command: bytes = b""
    behind: bytes = b""


class _Mode(Enum):
    LINES = auto()
    DATA = auto()
    CHUNK = auto()
    LINE_OF_AUTH = auto()
    """What comes next answers a challenge: it is no command, whatever it looks like."""


class StartTlsWatch:
    """One dialogue in the clear; with `strip` the server's offer of STARTTLS is taken out.

    The reply to a STARTTLS that was found is not counted: whoever deals with it takes it.
    """

    def __init__(self, *, strip: bool = False) -> None:
        self._strip = strip
        self._mode = _Mode.LINES
        self._held = b""
        self._line = bytearray()
        self._tail = b"\r\n"
        self._chunk = 0
        # The greeting answers the connection.
        self._pending: deque[bytes] = deque([b""])
        self._undecided = False
        self._lmtp = False
        self._accepted = 0
        self._reply = bytearray()
        self._flowing = False

    @property
    def awaited(self) -> int:
        """Replies that are still to come."""
        return len(self._pending)

    @property
    def takes_commands(self) -> bool:
        """What the client says next is a command, not part of something else."""
        return self._mode is _Mode.LINES

    def decide(self) -> None:
        """Wait no longer for the reply to DATA: what stands behind it is a message."""
        self._undecided = False

    def let_go(self) -> bytes:
        """What was held back, of a client that says nothing more."""
        held, self._held = self._held, b""
        return held

    def let_server_go(self) -> bytes:
        """The same of a server."""
        if not self._strip or self._flowing:
            return b""
        held = bytes(self._reply)
        self._reply.clear()
        return held

    # -- the client --------------------------------------------------------------------------------

    def client(self, octets: bytes) -> Heard:
        """What the client said."""
        if (
            # Nearly always it is one line, and another command.
            octets.find(b"\n") == len(octets) - 1
            and self._mode is _Mode.LINES
            and not (self._line or self._held)
            and octets[:1] not in _MAY_BEGIN
        ):
            self._command(octets)
            return Heard(octets)
        octets, self._held = self._held + octets, b""
        at, end = 0, len(octets)
        while at < end:
            if self._mode is _Mode.DATA:
                if self._undecided:
                    return Heard(octets[:at], b"", octets[at:])
                at = self._data(octets, at)
            elif self._mode is _Mode.CHUNK:
                taken = min(self._chunk, end - at)
                self._chunk -= taken
                at += taken
                if not self._chunk:
                    self._mode = _Mode.LINES
            else:
                feed = octets.find(b"\n", at)
                if feed < 0:
                    return self._partial(octets, at)
                piece = octets[at : feed + 1]
                if self._is_command(piece):
                    return Heard(octets[:at], piece, octets[feed + 1 :])
                self._command(piece)
                at = feed + 1
        return Heard(octets)

    def went_by(self, octets: bytes) -> None:
        """Count what has gone on behind a STARTTLS that was refused, whatever it is."""
        while octets:
            heard = self.client(octets)
            if heard.command:
                self._expect(_WORD)
            elif heard.behind:
                # Only the reply can tell, and this can't wait for it.
                self.decide()
            octets = heard.behind
        self._line += self._held
        self._held = b""

    def _is_command(self, piece: bytes) -> bool:
        return (
            not self._line
            and self._mode is _Mode.LINES
            and len(piece) < MAX_LINE
            and _COMMAND.match(piece) is not None
        )

    def _partial(self, octets: bytes, at: int) -> Heard:
        """A line that goes on later: only one that may become STARTTLS waits."""
        rest = octets[at:]
        if self._mode is _Mode.LINES and not self._line and len(rest) < MAX_LINE:
            word = rest.lstrip(_BLANKS).upper()
            if _WORD.startswith(word) or _COMMAND.match(rest):
                self._held = rest
                return Heard(octets[:at])
        self._line += rest[: MAX_LINE - len(self._line)]
        return Heard(octets)

    def _command(self, piece: bytes) -> None:
        """Count a line that is not STARTTLS."""
        # Of a line that is too long the same is looked at, however it came.
        if self._line:
            piece = bytes(self._line + piece[: MAX_LINE - len(self._line)])
            self._line.clear()
        elif len(piece) > MAX_LINE:
            piece = piece[:MAX_LINE]
        if self._mode is _Mode.LINE_OF_AUTH:
            self._mode = _Mode.LINES
            self._expect(b"AUTH")
            return
        piece = piece.strip(_AROUND).upper()
        verb = piece[:8].split(None, 1)[0] if piece else b""
        if verb == b"DATA":
            self._mode = _Mode.DATA
            self._tail = b"\r\n"
            self._undecided = len(self._pending) < MAX_PENDING
        elif verb == b"BDAT":
            found = _CHUNK.match(piece)
            self._chunk = int(found[1]) if found is not None else 0
            if self._chunk:
                self._mode = _Mode.CHUNK
            self._expect(_MESSAGE if piece.endswith(b"LAST") else b"BDAT")
            return
        elif verb == b"LHLO":
            self._lmtp = True
        self._expect(verb)

    def _data(self, octets: bytes, at: int) -> int:
        """Message data: where in `octets` it ends, or how far they go."""
        tail = self._tail
        joined = tail + octets[at : at + 5]
        early = joined.find(b"\r\n.\r\n")
        if early >= 0:
            stop = at + early + 5 - len(tail)
        else:
            found = octets.find(b"\r\n.\r\n", at)
            if found < 0:
                self._tail = (tail + octets[max(at, len(octets) - 4) :])[-4:]
                return len(octets)
            stop = found + 5
        self._mode = _Mode.LINES
        self._expect(_MESSAGE)
        return stop

    def _expect(self, command: bytes) -> None:
        if len(self._pending) < MAX_PENDING:
            self._pending.append(command)

    # -- the server --------------------------------------------------------------------------------

    def server(self, octets: bytes) -> bytes:
        """What the server said, less an offer that is to be taken out."""
        if not (self._strip or self._reply) and octets.find(b"\n") == len(octets) - 1:
            self._answer(octets)
            return octets
        kept: list[bytes] = []
        for piece in _PIECE.findall(octets):
            whole = piece.endswith(b"\n")
            if self._flowing:
                kept.append(piece)
            else:
                self._reply += piece
                if not whole and len(self._reply) <= MAX_LINE:
                    continue
                line = bytes(self._reply)
                kept.append(self._without_offer(line) if self._strip else line)
                self._flowing = not whole
                del self._reply[4:]
            if whole:
                self._answer(bytes(self._reply))
                self._reply.clear()
                self._flowing = False
        # What is not to be changed does not wait for the end of its line.
        return b"".join(kept) if self._strip else octets

    def _without_offer(self, line: bytes) -> bytes:
        if not self._pending or self._pending[0] not in (b"EHLO", b"LHLO"):
            return line
        if len(line) > MAX_LINE or _KEYWORD.match(line) is None:
            return line
        # The last line of a reply can't be left out: it gets the name that firewalls give it.
        return b"250 XXXXXXXA\r\n" if line[3:4] == b" " else b""

    def _answer(self, line: bytes) -> None:
        """Count a line of a reply."""
        found = _REPLY.match(line)
        if found is None or found[2] or not self._pending:
            return
        command = self._pending.popleft()
        code = found[1]
        if code == b"354" and command != b"DATA" and b"DATA" in self._pending:
            # It answers nothing else: a command before it was not answered at all.
            while command != b"DATA":
                command = self._pending.popleft()
        if command == b"AUTH" and code == b"334":
            self._mode = _Mode.LINE_OF_AUTH
        elif command == b"DATA":
            self._undecided = False
            if code != b"354" and self._mode is _Mode.DATA:
                self._mode = _Mode.LINES
        elif command == b"RCPT" and code[:1] == b"2":
            self._accepted += 1
        elif command == _MESSAGE:
            # LMTP answers for each recipient (RFC 2033 §4.2).
            if self._lmtp:
                self._pending.extendleft([b""] * (self._accepted - 1))
            self._accepted = 0
        elif command in _RESETS and code[:1] == b"2":
            self._accepted = 0


class ReplyReader:
    """One whole reply, of a server that may say more behind it."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, octets: bytes) -> tuple[bytes, bytes] | None:
        """The reply and what stands behind it, None as long as it is not whole.

        Raises ValueError where it is none, or longer than any.
        """
        self._octets += octets
        at = 0
        while (feed := self._octets.find(b"\n", at)) >= 0:
            found = _REPLY.match(self._octets, at)
            if found is None:
                raise ValueError("the server answered with what is no reply")
            at = feed + 1
            if not found[2]:
                return bytes(self._octets[:at]), bytes(self._octets[at:])
        if len(self._octets) > 16 * MAX_LINE:
            raise ValueError("the server's reply has no end")
        return None
