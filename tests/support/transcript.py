"""Transcripts: dialogues written down as they would be seen, with what the decoder must say.

Lines: `C:` and `S:` are what client and server send, with CRLF unless the line ends in `<LF>`,
`<CR>` or `<none>`; `\\xNN` and its kin stand for octets. `C<12` and `S<12` are gaps of so many
octets. `=` expects an exchange (`VERB argument | codes`), `!` a defect (`rule direction`), `@`
a message (its octets, with escapes). `#` is a comment, the first one with the rule's source.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from smtpscope.decode import SessionDecoder
from smtpscope.session import Content, Session
from smtpscope.smtp.dialogue import Dialogue
from smtpscope.smtp.values import Exchange
from smtpscope.stream import (
    Closed,
    Data,
    Direction,
    Endpoint,
    Gap,
    Mark,
    Opened,
    StreamEvent,
)

_SIDES = {"C": Direction.CLIENT, "S": Direction.SERVER}
_ENDINGS = {"<LF>": b"\n", "<CR>": b"\r", "<none>": b""}


@dataclass
class Transcript:
    title: str
    midstream: bool = False
    turns: list[tuple[Direction, bytes | int]] = field(default_factory=list)
    exchanges: list[str] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)


def octets(line: str) -> bytes:
    return re.sub(
        rb"\\(x[0-9a-fA-F]{2}|[rnt0\\])",
        lambda m: (
            bytes([int(m[1][1:], 16)])
            if m[1][:1] == b"x"
            else {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}[m[1]]
        ),
        line.encode(),
    )


def load(path: Path) -> Iterator[Transcript]:
    """The transcripts of a file; each begins with a comment line behind an empty one."""
    transcript: Transcript | None = None
    for line in path.read_text().splitlines():
        if not line:
            if transcript:
                yield transcript
            transcript = None
        elif line.startswith("#"):
            if transcript is None:
                transcript = Transcript(line[1:].strip())
            if "midstream" in line:
                transcript.midstream = True
        else:
            assert transcript is not None, f"{path}: no comment before {line!r}"
            _add(transcript, line)
    if transcript:
        yield transcript


def _add(transcript: Transcript, line: str) -> None:
    if line[0] in "CS" and line[1:2] in (":", "<"):
        side = _SIDES[line[0]]
        if line[1] == "<":
            transcript.turns.append((side, int(line[2:])))
            return
        body = line[3:]
        ending = b"\r\n"
        for mark, octet in _ENDINGS.items():
            if body.endswith(mark):
                body, ending = body.removesuffix(mark), octet
        transcript.turns.append((side, octets(body) + ending))
    elif line[0] == "=":
        transcript.exchanges.append(line[2:])
    elif line[0] == "!":
        transcript.defects.append(line[2:])
    elif line[0] == "@":
        transcript.messages.append(octets(line[2:]))
    else:
        raise ValueError(f"what is {line!r}?")


def events(transcript: Transcript, sizes: Iterable[int] | None = None) -> Iterator[StreamEvent]:
    """The transcript as stream events; `sizes` cuts the octets of each flight into pieces.

    A flight is what one side sends until the other one speaks; it comes in one packet.
    """
    offsets = {Direction.CLIENT: 0, Direction.SERVER: 0}
    cuts = iter(sizes) if sizes is not None else None
    packet = 0
    flights: list[tuple[Direction, bytes | int]] = []
    for side, turn in transcript.turns:
        last = flights[-1] if flights else None
        if last and last[0] is side and isinstance(turn, bytes) and isinstance(last[1], bytes):
            flights[-1] = (side, last[1] + turn)
        else:
            flights.append((side, turn))
    for side, turn in flights:
        packet += 1
        time = packet * 1_000_000
        if isinstance(turn, int):
            yield Gap(side, offsets[side], turn, time, packet, "lost")
            offsets[side] += turn
            continue
        while turn:
            size = next(cuts, len(turn)) if cuts is not None else len(turn)
            piece, turn = turn[:size], turn[size:]
            yield Data(side, offsets[side], piece, (Mark(offsets[side], time, packet),))
            offsets[side] += len(piece)
    for side in Direction:
        yield Closed("fin", side, (packet + 1) * 1_000_000, packet + 1)


@dataclass
class Outcome:
    """What a dialogue gave, as comparable text."""

    exchanges: list[str]
    defects: list[str]
    messages: list[bytes]
    raw: list[Exchange]


class _Kept(Content):
    """A content sink that remembers its octets."""

    def __init__(self) -> None:
        super().__init__()
        self.octets = b""

    def feed(self, data: bytes) -> None:
        super().feed(data)
        self.octets += data


def run(transcript: Transcript, sizes: Iterable[int] | None = None) -> Outcome:
    dialogue = Dialogue(_Kept, midstream=transcript.midstream)
    found: list[Exchange] = []
    for event in events(transcript, sizes):
        found += dialogue.feed(event)
        if dialogue.upgraded:
            for kept in dialogue.release():
                found += dialogue.feed(kept)
    found += dialogue.finish()
    messages: list[bytes] = []
    seen: list[object] = []
    for exchange in found:
        content = exchange.content
        if isinstance(content, _Kept) and content not in seen and exchange.last:
            seen.append(content)
            messages.append(content.octets)
    return Outcome(
        [_spell(exchange) for exchange in found],
        sorted(
            f"{defect.rule} {defect.span.direction.name.lower()}"
            for exchange in found
            for defect in exchange.defects
        ),
        messages,
        found,
    )


def _spell(exchange: Exchange) -> str:
    command = exchange.command
    if command is None:
        asked = "(greeting)" if exchange.greeting else "(none)"
    else:
        argument = command.redacted if command.redacted is not None else command.argument
        asked = f"{command.verb} {argument.decode('latin-1')}".strip()
    codes = " ".join(str(reply.code) for reply in exchange.replies) or "-"
    return f"{asked} | {codes}".lstrip()


def session_of(transcript: Transcript) -> Session:
    """The whole session of a transcript, as `decode` makes it."""
    opened = Opened(0, Endpoint("192.0.2.1", 40_000), Endpoint("192.0.2.2", 25), True, 0)
    decoder = SessionDecoder(opened, "transcript")
    for event in events(transcript):
        decoder.feed(event)
    session = decoder.finish()
    session.number = 1
    return session
