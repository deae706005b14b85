"""The ladder of a dialogue, in any width."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from support.conversation import connection, sessions
from support.transcript import Transcript, octets, session_of

from smtpscope.session import Session
from smtpscope.stream import Direction
from smtpscope.transcript import rows
from smtpscope.tui.ladder import MIN_WIDTH, Ladder
from smtpscope.tui.pieces import STYLES

SIDES = {"C": Direction.CLIENT, "S": Direction.SERVER}
WIDE = (
    "S: 220 mx ESMTP",
    "C: EHLO a.test",
    "S: 250-mx",
    "S: 250-SIZE 1000",
    "S: 250 SMTPUTF8",
    "C: MAIL FROM:<用户用户用户@例子.test> SMTPUTF8",
    "S: 250 2.1.0 好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的好的",
    "C: RCPT TO:<b@b.test>",
    "S: 550 5.1.1 no",
    "C: DATA",
    "S: 554 no valid recipients",
)


def session(*turns: str) -> Session:
    made = Transcript("made here")
    made.turns = [(SIDES[turn[0]], octets(turn[3:]) + b"\r\n") for turn in turns]
    return session_of(made)


def ladder(width: int, *turns: str) -> Ladder:
    found = session(*turns)
    return Ladder(found, list(rows(found)), width)


@pytest.mark.parametrize("width", [MIN_WIDTH, 57, 78, 118, 301])
def test_both_lines_stand_straight_whatever_is_said(width: int) -> None:
    made = ladder(width, *WIDE)
    assert {cell_len(made.plain(position)) for position in range(len(made))} == {width}
    assert all(made.plain(position)[9] == "│" for position in range(len(made)))
    assert all(made.plain(position)[-1] == "│" for position in range(len(made)))


@pytest.mark.parametrize("width", [MIN_WIDTH, 78, 118])
def test_the_ends_stand_above_their_lines(width: int) -> None:
    made = ladder(width, "S: 220 mx")
    head = "".join(piece.text for piece in made.head())
    assert cell_len(head) == width
    assert head[9:].startswith(str(made.session.client)[:10])
    assert head[-1] in str(made.session.server)[-1] + "…"


def test_arrows_point_to_who_is_spoken_to() -> None:
    made = ladder(78, "S: 220 mx", "C: QUIT", "S: 221 bye")
    spoken = [p for p in range(len(made)) if (row := made.row(p)) and row.kind != "finding"]
    said = [made.plain(position)[9:] for position in spoken]
    assert said[0].startswith("│◀──")
    assert said[0].endswith("─ 220 mx ─│")
    assert said[1].startswith("│─ QUIT ──")
    assert said[1].endswith("─▶│")
    assert said[2].startswith("│◀──")


def test_the_lines_of_a_reply_are_one_arrow() -> None:
    made = ladder(78, *WIDE)
    (hello,) = (p for p in range(len(made)) if "250-mx" in made.plain(p))
    assert "250-mx (+2 lines)" in made.plain(hello)
    parts = [at for at, row in enumerate(made.rows) if row.exchange == 1 and row.reply == 0]
    assert len(parts) == 3
    assert {made.position(index) for index in parts} == {hello}
    assert made.shown[hello] == parts[0]


def test_a_finding_stands_below_its_arrow_with_its_sign() -> None:
    made = ladder(118, *WIDE)
    findings = [p for p in range(len(made)) if (row := made.row(p)) and row.kind == "finding"]
    assert findings
    for position in findings:
        row = made.row(position)
        assert row is not None
        assert row.finding is not None
        assert row.finding.rule in made.plain(position)
        assert made.plain(position).lstrip()[1:].lstrip()[0] in "·●▲✖"
        assert {piece.style for piece in made.line(position)} == {
            "",
            "dim",
            row.finding.severity.word,
        }


def test_the_time_between_two_lines_stands_at_the_left() -> None:
    turns = [("S", b"220 mx\r\n"), ("C", b"QUIT\r\n"), ("S", b"221 bye\r\n")]
    (found,) = sessions(connection(turns))
    made = Ladder(found, [row for row in rows(found) if row.kind != "finding"], 78)
    # Packets are a millisecond apart, and three of the handshake come first.
    assert [made.plain(p)[:9] for p in range(3)] == ["     3ms ", "     1ms ", "     1ms "]


def test_what_was_pipelined_came_earlier_than_the_line_above() -> None:
    turns = [
        ("S", b"220 mx\r\n"),
        ("C", b"NOOP\r\nNOOP\r\n"),
        ("S", b"250 ok\r\n250 ok\r\n"),
    ]
    (found,) = sessions(connection(turns))
    made = Ladder(found, [row for row in rows(found) if row.kind != "finding"], 78)
    times = [made.plain(p)[:9].strip() for p in range(len(made))]
    assert times == ["3ms", "1ms", "1ms", "earlier", "0µs"]


def test_every_style_is_a_known_one() -> None:
    made = ladder(78, *WIDE, "C: NOOP \\x1b[31m", "S: what")
    styles = {piece.style for p in range(len(made)) for piece in made.line(p)}
    assert styles <= {*STYLES, ""}
    assert all(made.plain(position).isprintable() for position in range(len(made)))


def test_a_ladder_without_rungs_has_none() -> None:
    made = Ladder(session("S: 220 mx"), [], 78)
    assert len(made) == 0
    assert made.row(0) is None
    assert made.position(3) == 0
