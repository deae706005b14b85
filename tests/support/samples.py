"""Sample dialogues of rules, as `smtpscope/findings/samples/*.txt` has them, and what they give.

A sample begins with `= rule` (the rule fires) or `= not rule` (it must not); what follows, up to
the next one, is the dialogue. `C:` and `S:` are what client and server send, with CRLF unless the
line ends in `<LF>`, `<CR>` or `<none>` (`<CR><LF>` is text, as servers say it behind 354); `\\xNN`,
`\\r`, `\\n`, `\\0` and `\\\\` stand for octets. `C<12` is a gap of 12 octets. `+ 2.5` lets so many
seconds pass. `C fin`, `S fin`, `C rst`, `S rst` end the connection there, `end` ends the capture;
without one of these the client closes first, then the server. `port 465` is the server's port.
`----` begins the next session of the same client, a second later. `#` is a comment; the first one
names the source.
"""

from __future__ import annotations

from collections.abc import Iterator

from support.transcript import octets

from smtpscope.decode import SessionDecoder
from smtpscope.findings import join
from smtpscope.findings.across import Across, trace_of
from smtpscope.session import Session
from smtpscope.stream import Closed, Data, Direction, Endpoint, Gap, Mark, Opened, StreamEvent

SIDES = {"C": Direction.CLIENT, "S": Direction.SERVER}
ENDINGS = {"<LF>": b"\n", "<CR>": b"\r", "<none>": b""}
FLIGHT = 1_000_000
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def review(lines: tuple[str, ...]) -> list[Session]:
    """The sessions of a dialogue, with all their findings."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if line == "----":
            parts.append([])
        elif line and not line.startswith("#"):
            parts[-1].append(line)
    across = Across()
    sessions = []
    clock = START
    for number, part in enumerate(parts, 1):
        session = _session(part, number, clock)
        join(session, number, across.add(trace_of(session)))
        sessions.append(session)
        clock = session.end + SECOND
    return sessions


def _session(lines: list[str], number: int, start: int) -> Session:
    port = next((int(line[5:]) for line in lines if line.startswith("port ")), 25)
    client, server = Endpoint("192.0.2.1", 40_000 + number), Endpoint("192.0.2.2", port)
    decoder = SessionDecoder(Opened(start, client, server, True, 0), "sample")
    for event in _events(lines, start):
        decoder.feed(event)
    return decoder.finish()


def _events(lines: list[str], clock: int) -> Iterator[StreamEvent]:
    offsets = {Direction.CLIENT: 0, Direction.SERVER: 0}
    packet, last, ended = 0, None, False
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "+":
            clock += round(float(rest) * SECOND)
            last = None
        elif word == "end":
            yield Closed("end", Direction.CLIENT, clock, packet)
            ended = True
        elif word in SIDES and rest in ("fin", "rst"):
            yield Closed(rest, SIDES[word], clock, packet)
            ended = True
        elif line[0] in SIDES and line[1] == "<":
            side = SIDES[line[0]]
            yield Gap(side, offsets[side], int(line[2:]), clock, packet, "lost")
            offsets[side] += int(line[2:])
        elif line[0] in SIDES and line[1] == ":":
            side = SIDES[line[0]]
            if side is not last:
                # What one side sends until the other speaks comes in one packet.
                packet += 1
                clock += FLIGHT
                last = side
            body, ending = line[3:], b"\r\n"
            mark = next((each for each in ENDINGS if body.endswith(each)), "")
            if mark and not body.endswith("<CR><LF>"):
                body, ending = body.removesuffix(mark), ENDINGS[mark]
            data = octets(body) + ending
            yield Data(side, offsets[side], data, (Mark(offsets[side], clock, packet),))
            offsets[side] += len(data)
        elif word != "port":
            raise ValueError(f"what is {line!r}?")
    if not ended:
        for side in Direction:
            yield Closed("fin", side, clock + FLIGHT, packet + 1)
