"""Transcripts through the dialogue: the exchanges they must give, in every chunking."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.transcript import Outcome, Transcript, load, run

from smtpscope.decode import SessionDecoder
from smtpscope.session import Content
from smtpscope.smtp.commands import MAX_UPGRADES
from smtpscope.smtp.dialogue import Dialogue
from smtpscope.smtp.values import Exchange
from smtpscope.stream import Data, Direction, Endpoint, Gap, Mark, Opened, Span

FOLDER = Path(__file__).parent / "transcripts"
TRANSCRIPTS = [
    pytest.param(transcript, id=f"{path.stem}: {transcript.title}")
    for path in sorted(FOLDER.glob("*.txt"))
    for transcript in load(path)
]


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
def test_a_transcript_gives_its_exchanges_defects_and_messages(transcript: Transcript) -> None:
    outcome = run(transcript)
    expected = [line.encode().decode("unicode_escape") for line in transcript.exchanges]
    assert outcome.exchanges == expected
    assert outcome.defects == sorted(transcript.defects)
    assert outcome.messages == transcript.messages


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_chunking_gives_the_same(transcript: Transcript, size: int) -> None:
    whole = run(transcript)
    pieces = run(transcript, iter(lambda: size, 0))
    assert _comparable(pieces) == _comparable(whole)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_random_chunkings_give_the_same(data: st.DataObject) -> None:
    transcript = data.draw(st.sampled_from([each.values[0] for each in TRANSCRIPTS]))
    sizes = data.draw(st.lists(st.integers(1, 40), max_size=60))
    assert _comparable(run(transcript, sizes)) == _comparable(run(transcript))


def _comparable(outcome: Outcome) -> list[object]:
    return [
        (
            exchange.command
            and (
                exchange.command.verb,
                exchange.command.argument,
                exchange.command.span,
                exchange.command.time,
            ),
            exchange.replies,
            exchange.defects,
        )
        for exchange in outcome.raw
    ] + outcome.messages


@pytest.mark.parametrize("cut", [9, 10, 11])
def test_tls_behind_starttls_is_seen_where_only_the_client_was_captured(cut: int) -> None:
    octets = b"STARTTLS\r\n\x16\x03\x01"
    dialogue = Dialogue(Content)
    for start, piece in ((0, octets[:cut]), (cut, octets[cut:])):
        dialogue.feed(Data(Direction.CLIENT, start, piece, (Mark(start, 1, 1),)))
    assert dialogue.upgraded


@pytest.mark.parametrize("chunks", [["first", "hole", "last"], ["hole", "last"]])
def test_a_message_lacks_the_chunk_that_was_in_a_gap(chunks: list[str]) -> None:
    dialogue = Dialogue(Content)
    offset, found = 0, []
    for number, chunk in enumerate(["MAIL FROM:<>", *chunks], 1):
        octets = {"first": b"BDAT 3\r\none", "last": b"BDAT 5 LAST\r\nthree"}.get(chunk)
        if chunk == "hole":
            found += dialogue.feed(Gap(Direction.CLIENT, offset, 12, number, number, "lost"))
            offset += 12
            continue
        octets = octets or chunk.encode() + b"\r\n"
        data = Data(Direction.CLIENT, offset, octets, (Mark(offset, number, number),))
        found += dialogue.feed(data)
        offset += len(octets)
    found += dialogue.finish()
    content = found[-1].content
    assert isinstance(content, Content)
    assert content.finish().missing == 12


def test_what_only_looks_like_tls_behind_a_gap_is_read_as_plain_text() -> None:
    decoder = SessionDecoder(
        Opened(0, Endpoint("192.0.2.1", 40_000), Endpoint("192.0.2.2", 25), True, 0), "test"
    )
    server, octets = b"220 mx.test\r\n", b"\x16\x03x\r\nNOOP\r\n"
    decoder.feed(Data(Direction.SERVER, 0, server, (Mark(0, 1, 1),)))
    decoder.feed(Gap(Direction.CLIENT, 0, 10, 2, 2, "lost"))
    decoder.feed(Data(Direction.CLIENT, 10, octets, (Mark(10, 2, 2),)))
    decoder.feed(Data(Direction.SERVER, len(server), b"250 ok\r\n", (Mark(len(server), 3, 3),)))
    session = decoder.finish()
    verbs = [exchange.command.verb for exchange in session.exchanges if exchange.command]
    assert verbs == ["(unreadable)", "NOOP"]


def test_tls_that_never_begins_is_looked_for_a_few_times_only() -> None:
    dialogue = Dialogue(Content)
    said = {Direction.CLIENT: b"STARTTLS\r\n", Direction.SERVER: b"220 ok\r\n"}
    upgrades = 0
    for number in range(1, 2 * MAX_UPGRADES + 20):
        # The first 220 is the greeting.
        side = Direction(number % 2)
        start = (number - 1) // 2 * len(said[side])
        dialogue.feed(Data(side, start, said[side], (Mark(start, number, number),)))
        if dialogue.upgraded:
            upgrades += 1
            dialogue.release()
    assert upgrades == MAX_UPGRADES


def test_offsets_stand_behind_holes_in_a_message_that_was_answered() -> None:
    dialogue = Dialogue(Content)
    offsets = {Direction.CLIENT: 0, Direction.SERVER: 0}
    found = []
    said: list[tuple[Direction, bytes | int]] = [
        (Direction.SERVER, b"220 mx.test\r\n"),
        (Direction.CLIENT, b"DATA\r\n"),
        (Direction.SERVER, b"354 Go\r\n"),
        (Direction.CLIENT, b"line one\r\nli"),
        (Direction.SERVER, b"250 Ok\r\n"),
        (Direction.CLIENT, 100),
        (Direction.CLIENT, b"part of a li"),
        (Direction.CLIENT, 50),
        (Direction.CLIENT, b"rest\r\nQUIT\r\n"),
        (Direction.SERVER, b"221 Bye\r\n"),
    ]
    for packet, (side, what) in enumerate(said, 1):
        at = offsets[side]
        if isinstance(what, int):
            found += dialogue.feed(Gap(side, at, what, packet, packet, "lost"))
            offsets[side] += what
        else:
            found += dialogue.feed(Data(side, at, what, (Mark(at, packet, packet),)))
            offsets[side] += len(what)
    quit_ = found[-1].command
    assert quit_ is not None
    assert quit_.verb == "QUIT"
    assert quit_.span == Span(
        Direction.CLIENT, offsets[Direction.CLIENT] - 6, offsets[Direction.CLIENT]
    )


class Counted(deque[Exchange]):
    """Counts the steps of those who walk over it."""

    steps = 0

    def __iter__(self) -> Iterator[Exchange]:
        for exchange in super().__iter__():
            self.steps += 1
            yield exchange


def test_a_reply_missing_before_each_costs_no_walk_over_all_that_wait() -> None:
    dialogue = Dialogue(Content, midstream=True)
    dialogue._pending = waiting = Counted()
    dialogue.feed(Data(Direction.CLIENT, 0, b"NOOP\r\n" * 9_900, (Mark(0, 1, 1),)))
    for packet in range(2, 302):
        at = (packet - 2) * 9
        dialogue.feed(Gap(Direction.SERVER, at, 1, packet, packet, "lost"))
        reply = Data(Direction.SERVER, at + 1, b"250 ok\r\n", (Mark(at + 1, packet, packet),))
        assert len(dialogue.feed(reply)) == 1
    assert waiting.steps < 3_000


def test_an_earlier_flight_whose_replies_are_missing_is_given_up() -> None:
    dialogue = Dialogue(Content, midstream=True)
    flights = ((b"NOOP\r\n", 1), (b"VRFY x\r\nHELP\r\n", 2), (b"RSET\r\nQUIT\r\n", 3))
    offset = 0
    for octets, packet in flights:
        dialogue.feed(Data(Direction.CLIENT, offset, octets, (Mark(offset, packet, packet),)))
        offset += len(octets)
    dialogue.feed(Gap(Direction.SERVER, 0, 24, 4, 4, "lost"))
    found = dialogue.feed(Data(Direction.SERVER, 24, b"250 ok\r\n", (Mark(24, 4, 4),)))
    answers = [(each.command and each.command.verb, len(each.replies)) for each in found]
    assert answers == [("NOOP", 0), ("VRFY", 0), ("HELP", 0), ("RSET", 1)]
