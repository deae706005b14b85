"""STARTTLS is found wherever it is a command and nowhere else, however the octets are cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtpscope.smtp.starttls import MAX_LINE, ReplyReader, StartTlsWatch

CLIENT, SERVER = "C", "S"

Talk = Sequence[tuple[str, bytes]]
"""Who says what, in this order."""


class Seen(NamedTuple):
    """What became of a dialogue up to its first STARTTLS."""

    forward: bytes
    command: bytes
    behind: bytes
    told: bytes
    awaited: int


def watched(talk: Talk, cuts: Sequence[int], *, strip: bool = False) -> Seen:
    """What a watch makes of a dialogue each part of which comes in pieces, of the lengths `cuts`
    again and again; nothing but the beginning of a STARTTLS is held back meanwhile."""
    watch = StartTlsWatch(strip=strip)
    lengths = list(cuts)
    forward, command, behind, told = bytearray(), b"", bytearray(), bytearray()
    said, waiting = 0, b""

    def hear(octets: bytes) -> None:
        nonlocal command, waiting
        heard = watch.client(octets)
        forward.extend(heard.forward)
        command = heard.command
        if command:
            behind.extend(heard.behind)
        else:
            waiting = heard.behind
        held = said - len(forward) - len(command) - len(behind) - len(waiting)
        assert 0 <= held < MAX_LINE

    for who, octets in talk:
        at = 0
        while at < len(octets):
            lengths.append(lengths.pop(0))
            piece = octets[at : at + lengths[-1]]
            at += len(piece)
            if who == SERVER:
                told += watch.server(piece)
            elif command:
                behind += piece
            else:
                said += len(piece)
                waiting += piece
            if waiting:
                again, waiting = waiting, b""
                hear(again)
    told += watch.let_server_go()
    behind += waiting
    if not command:
        forward += watch.let_go()
    return Seen(bytes(forward), command, bytes(behind), bytes(told), watch.awaited)


# -- a reference -----------------------------------------------------------------------------------


class Model:
    """The same, octet by octet, of nothing but the standards' words."""

    def __init__(self, *, strip: bool) -> None:
        self.strip = strip
        self.mode = "lines"
        self.line = b""
        self.message = b""
        self.chunk = 0
        self.waiting = ["greeting"]
        self.accepted = 0
        self.lmtp = False
        self.reply = b""
        self.undecided = False
        self.forward, self.command, self.behind, self.told = b"", b"", b"", b""

    def seen(self) -> Seen:
        return Seen(
            self.forward + self.line if not self.command else self.forward,
            self.command,
            self.behind,
            self.told + self.reply,
            len(self.waiting),
        )

    def client(self, octet: bytes) -> None:
        if self.command or self.undecided:
            self.behind += octet
        elif self.mode == "data":
            self.forward += octet
            self.message += octet
            if (b"\r\n" + self.message).endswith(b"\r\n.\r\n"):
                self.mode = "lines"
                self.waiting.append("message")
        elif self.chunk:
            self.forward += octet
            self.chunk -= 1
        else:
            self.line += octet
            if octet == b"\n":
                line, self.line = self.line, b""
                if not self.is_starttls(line):
                    self.forward += line
                    self.take(line[:MAX_LINE])

    def is_starttls(self, line: bytes) -> bool:
        words = re.split(rb"[\x00-\x20]", line.lstrip(bytes(range(0x21))))
        if self.mode != "lines" or len(line) >= MAX_LINE or words[0].upper() != b"STARTTLS":
            return False
        self.command = line
        return True

    def take(self, line: bytes) -> None:
        if self.mode == "auth":
            self.mode = "lines"
            self.waiting.append("AUTH")
            return
        words = line.strip(bytes(range(0x21))).upper().split()
        verb = words[0].decode("latin-1") if words else ""
        self.waiting.append(verb)
        if verb == "DATA":
            self.mode, self.message = "data", b""
            self.undecided = True
        elif verb == "BDAT":
            if len(words) > 1 and re.fullmatch(rb"\d{1,12}", words[1]):
                self.chunk = int(words[1])
            if words[-1].endswith(b"LAST"):
                self.waiting[-1] = "message"
        elif verb == "LHLO":
            self.lmtp = True

    def server(self, octet: bytes) -> None:
        self.reply += octet
        if octet != b"\n":
            return
        line, self.reply = self.reply, b""
        offers = re.fullmatch(rb"250[- ]STARTTLS[ \t]*\r?\n", line, re.IGNORECASE)
        if len(line) > MAX_LINE:
            offers = None
        if self.strip and offers and self.waiting and self.waiting[0] in ("EHLO", "LHLO"):
            self.told += b"" if line[3:4] == b"-" else b"250 XXXXXXXA\r\n"
        else:
            self.told += line
        if not re.match(rb"\d\d\d(?!-)", line) or not self.waiting:
            return
        verb, good = self.waiting.pop(0), line[:1] == b"2"
        if line[:3] == b"354" and "DATA" in self.waiting:
            verb = "DATA"
            del self.waiting[: self.waiting.index("DATA") + 1]
        if verb == "AUTH" and line[:3] == b"334":
            self.mode = "auth"
        elif verb == "DATA":
            if line[:3] != b"354":
                self.mode = "lines"
            self.undecided = False
            waited, self.behind = self.behind, b""
            for at in range(len(waited)):
                self.client(waited[at : at + 1])
        elif verb == "RCPT" and good:
            self.accepted += 1
        elif verb == "message":
            if self.lmtp:
                self.waiting[:0] = ["more"] * (self.accepted - 1)
            self.accepted = 0
        elif verb in ("EHLO", "LHLO", "HELO", "MAIL", "RSET") and good:
            self.accepted = 0


def modelled(talk: Talk, *, strip: bool = False) -> Seen:
    model = Model(strip=strip)
    for who, octets in talk:
        for at in range(len(octets)):
            (model.server if who == SERVER else model.client)(octets[at : at + 1])
    return model.seen()


COMMANDS = [
    b"STARTTLS\r\n",
    b"starttls \r\n",
    b"\tStartTLS\n",
    b"STARTTLS now\r\n",
    b"\0STARTTLS\x0b\r\n",
    b"STARTTLSX\r\n",
    b"XSTARTTLS\r\n",
    b"STARTTL",
    b"S",
    b" ",
    b"EHLO client.example\r\n",
    b"LHLO client.example\r\n",
    b"MAIL FROM:<>\r\n",
    b"RCPT TO:<a@b.example>\r\n",
    b"DATA\r\n",
    b"  data  \r\n",
    b"Subject: x\r\n\r\nSTARTTLS\r\n",
    b".\r\n",
    b"..\r\n",
    b"\r\n.\r\n",
    b"BDAT 10\r\n",
    b"BDAT 10 LAST\r\nSTARTTLS\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT x\r\n",
    b"AUTH LOGIN\r\n",
    b"*\r\n",
    b"RSET\r\n",
    b"\r\n",
    b"\n",
    b" " * 12 + b"NOOP\r\n",
    b"QUIT",
    b"\0\xff\x80\r",
    b"BDAT 3" + b" " * MAX_LINE + b"LAST\r\n",
    b"STARTTLS" + b" " * MAX_LINE + b"\r\n",
    b"x" * (MAX_LINE + 1) + b"\r\n",
]
REPLIES = [
    b"220 mx.example ESMTP\r\n",
    b"250-mx.example\r\n250-STARTTLS\r\n250 SIZE\r\n",
    b"250-mx.example\r\n250 starttls\r\n",
    b"250-STARTTLS" + b" " * MAX_LINE + b"\r\n",
    b"250 ok\r\n",
    b"250",
    b"334 VXNlcm5hbWU6\r\n",
    b"354 go on\r\n",
    b"503 no\r\n",
    b"nonsense\r\n",
    b"25\n",
    b"\r\n",
    b"\xff" * 20,
]
parts = st.one_of(
    st.tuples(st.just(CLIENT), st.sampled_from(COMMANDS) | st.binary(max_size=12)),
    st.tuples(st.just(SERVER), st.sampled_from(REPLIES) | st.binary(max_size=12)),
)
talks = st.lists(parts, max_size=14)
cuttings = st.lists(st.sampled_from([1, 1, 2, 3, 7, 30, 5_000]), min_size=1, max_size=8)


@given(talks, cuttings, st.booleans())
@example([(CLIENT, b" " * 12 + b"NOOP\r\n")], [5_000], False)
@example([(CLIENT, b"DATA\r\nNOOP\r\nSTARTTLS\r\n"), (SERVER, b"220 a\r\n503 b\r\n")], [30], False)
@example([(CLIENT, b"DATA\r\n.\r\nSTARTTLS\r\n"), (SERVER, b"220 a\r\n354 b\r\n")], [3], False)
@example([(CLIENT, b"NOOP\r\nDATA\r\nS"), (SERVER, b"220 a\r\n354 b\r\n")], [7], False)
@example([(CLIENT, b"BDAT 3" + b" " * MAX_LINE + b"LAST\r\n")], [7], False)
@example([(SERVER, b"421 bye")], [1], True)
@example(
    [
        (CLIENT, b"EHLO a\r\n"),
        (SERVER, b"220 mx\r\n250-STARTTLS" + b" " * MAX_LINE + b"\r\n"),
    ],
    [1],
    True,
)
@settings(max_examples=250)
def test_any_cutting_gives_what_the_model_says(
    talk: Talk, cuts: Sequence[int], strip: bool
) -> None:
    assert watched(talk, cuts, strip=strip) == modelled(talk, strip=strip)


@given(talks, cuttings)
def test_what_is_not_stripped_goes_on_unchanged_and_at_once(
    talk: Talk, cuts: Sequence[int]
) -> None:
    seen = watched(talk, cuts)
    said = {who: b"".join(octets for each, octets in talk if each == who) for who in "CS"}
    assert seen.forward + seen.command + seen.behind == said[CLIENT]
    assert seen.told == said[SERVER]


# -- single rules ----------------------------------------------------------------------------------


def lines(text: str) -> list[tuple[str, bytes]]:
    """A dialogue of lines that begin with "C: " or "S: "."""
    said = (line.strip().partition(": ") for line in text.strip().splitlines())
    return [(who, rest.encode() + b"\r\n") for who, _, rest in said]


# RFC 3207 §4 has no parameters, RFC 5321 §4.5.3.1.4 no case, and servers tolerate blanks.
@pytest.mark.parametrize(
    "command",
    [b"STARTTLS\r\n", b"sTaRtTlS \t\r\n", b" STARTTLS\n", b"STARTTLS x\r\n", b"STARTTLS\x0c\r\n"],
)
def test_starttls_is_found_and_what_stands_behind_it_waits(command: bytes) -> None:
    talk = [(CLIENT, b"EHLO a\r\n" + command + b"MAIL FROM:<>\r\n\x16\x03")]
    for cuts in ([1], [3, 2], [9], [1_000]):
        seen = watched(talk, cuts)
        assert seen[:3] == (b"EHLO a\r\n", command, b"MAIL FROM:<>\r\n\x16\x03")


@pytest.mark.parametrize(
    "talk",
    [
        # RFC 5321 §4.1.1.4: what follows DATA is the message, up to CRLF.CRLF alone
        """
        C: DATA
        S: 354 go
        C: STARTTLS
        C: ..
        C: STARTTLS
        """,
        # RFC 3030 §2: so are the octets of a chunk
        """
        C: BDAT 20
        C: STARTTLS
        C: STARTTLS
        """,
        # RFC 4954 §4: what answers a challenge is no command
        """
        S: 220 mx
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: STARTTLS
        S: 334 UGFzc3dvcmQ6
        C: starttls
        """,
        # A word that only begins like it
        """
        C: STARTTLSX
        C: XSTARTTLS
        C: START TLS
        """,
    ],
)
def test_what_only_looks_like_starttls_goes_on(talk: str) -> None:
    for cuts in ([1], [4, 3], [1_000]):
        assert not watched(lines(talk), cuts).command


@pytest.mark.parametrize(
    "talk",
    [
        """
        S: 220 mx
        C: DATA
        S: 503 5.5.1 no recipients
        C: STARTTLS
        """,
        """
        S: 220 mx
        C: DATA
        S: 354 go
        C: .
        C: STARTTLS
        """,
        """
        S: 220 mx
        C: BDAT 4
        C: ab
        C: STARTTLS
        """,
        """
        S: 220 mx
        C: AUTH PLAIN
        S: 334
        C: *
        S: 501 cancelled
        C: STARTTLS
        """,
    ],
)
def test_behind_a_message_or_authentication_it_is_a_command_again(talk: str) -> None:
    for cuts in ([1], [4, 3], [1_000]):
        assert watched(lines(talk), cuts).command == b"STARTTLS\r\n"


def test_replies_to_a_pipelined_group_are_awaited() -> None:
    watch = StartTlsWatch()
    watch.server(b"220 mx\r\n")
    heard = watch.client(b"EHLO a\r\nNOOP\r\nSTARTTLS\r\n")
    assert heard.command
    assert watch.awaited == 2
    watch.server(b"250-mx\r\n250 SIZE\r\n250")
    assert watch.awaited == 1
    watch.server(b" ok\r\n")
    assert watch.awaited == 0


def test_only_data_is_answered_354_so_that_others_were_not_answered_at_all() -> None:
    watch = StartTlsWatch()
    watch.server(b"220 mx\r\n")
    # A server that does not mind an empty line
    watch.client(b"\r\n")
    watch.client(b"DATA\r\n")
    assert watch.client(b"hello").behind == b"hello"
    watch.server(b"354 go\r\n")
    assert watch.awaited == 0
    assert watch.client(b"STARTTLS\r\n.\r\n").forward


# RFC 2033 §4.2: a reply for each recipient that was accepted
@pytest.mark.parametrize("last", ["DATA", "BDAT"])
def test_lmtp_owes_a_reply_for_each_recipient(last: str) -> None:
    watch = StartTlsWatch()
    watch.server(b"220 mx\r\n")
    watch.client(b"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\n")
    if last == "BDAT":
        # Pipelined: nobody knows yet who is accepted.
        watch.client(b"BDAT 2 LAST\r\nhi")
    watch.server(b"250 mx\r\n250 ok\r\n250 a\r\n550 b\r\n250 c\r\n")
    if last == "DATA":
        watch.client(b"DATA\r\n")
        watch.server(b"354 go\r\n")
        watch.client(b"hi\r\n.\r\n")
    assert watch.client(b"STARTTLS\r\n").command
    assert watch.awaited
    watch.server(b"250 a\r\n")
    assert watch.awaited
    watch.server(b"250 c\r\n")
    assert not watch.awaited


def test_an_offer_is_taken_out_and_the_reply_stays_whole() -> None:
    watch = StartTlsWatch(strip=True)
    told = watch.server(b"220 mx\r\n")
    watch.client(b"EHLO a\r\n")
    told += watch.server(b"250-mx\r\n250-STARTTLS\r\n250-SIZE\r\n250 STARTTLS\r\n")
    assert told == b"220 mx\r\n250-mx\r\n250-SIZE\r\n250 XXXXXXXA\r\n"


# -- one reply -------------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([b"250-a\r\n", b"250-\n", b"454-x y\r\n"]), max_size=3),
    st.sampled_from([b"220 go\r\n", b"220\r\n", b"454 no\n"]),
    st.binary(max_size=20),
    cuttings,
)
def test_a_reply_is_read_and_what_stands_behind_it_is_told(
    first: list[bytes], last: bytes, behind: bytes, cuts: Sequence[int]
) -> None:
    reader, whole, lengths, at = ReplyReader(), b"".join(first) + last, list(cuts), 0
    octets = whole + behind
    while True:
        lengths.append(lengths.pop(0))
        found = reader.feed(octets[at : at + lengths[-1]])
        at += lengths[-1]
        if found is not None:
            break
        assert at < len(whole)
    assert found == (whole, octets[len(whole) : at])


@pytest.mark.parametrize("octets", [b"SSH-2.0-x\r\n", b"\r\n", b"22\r\n", b"250-a\r\nfoo\r\n"])
def test_what_is_no_reply_is_refused(octets: bytes) -> None:
    for size in (1, 4, 100):
        with pytest.raises(ValueError, match="no reply"):
            read([octets[at : at + size] for at in range(0, len(octets), size)])


@pytest.mark.parametrize("octets", [b"2" * 1_000, b"250-more\r\n" * 100])
def test_a_reply_without_an_end_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError, match="no end"):
        read([octets] * 1_000)


def read(pieces: Sequence[bytes]) -> None:
    reader = ReplyReader()
    for piece in pieces:
        reader.feed(piece)
