"""Two dialogues side by side."""

from __future__ import annotations

import random

import pytest
from support.transcript import Transcript, octets, session_of

from smtpscope.compare import CHANGED, LEFT, MAX_CELLS, RIGHT, SAME, Pair, compare
from smtpscope.stream import Direction
from smtpscope.transcript import Row, rows

SIDES = {"C": Direction.CLIENT, "S": Direction.SERVER}
GREETED = ("S: 220 mx", "C: EHLO a.test", "S: 250 mx")


def said(*turns: str) -> list[Row]:
    transcript = Transcript("made here")
    transcript.turns = [(SIDES[turn[0]], octets(turn[3:]) + b"\r\n") for turn in turns]
    return [row for row in rows(session_of(transcript)) if row.kind != "finding"]


def kinds(pairs: list[Pair]) -> list[tuple[str, str, str]]:
    return [
        (pair.kind, pair.left.text if pair.left else "", pair.right.text if pair.right else "")
        for pair in pairs
        if pair.kind != SAME
    ]


def test_a_dialogue_is_the_same_as_itself() -> None:
    found = compare(said(*GREETED), said(*GREETED))
    assert [pair.kind for pair in found] == [SAME, SAME, SAME]
    assert [pair.left for pair in found] == said(*GREETED)


def test_a_queue_id_changes_a_line_and_makes_no_other_one() -> None:
    message = (*GREETED, "C: DATA", "S: 354 go", "C: ", "C: .")
    (pair,) = (
        pair
        for pair in compare(
            said(*message, "S: 250 2.0.0 Ok: queued as 19F4F20C800"),
            said(*message, "S: 250 2.0.0 Ok: queued as 7D23A0C811B"),
        )
        if pair.kind != SAME
    )
    assert pair.kind == CHANGED
    assert pair.left is not None
    assert pair.right is not None
    ours, theirs = pair.differences
    assert [pair.left.text[slice(*each)] for each in ours] == ["19F4F20C800"]
    assert [pair.right.text[slice(*each)] for each in theirs] == ["7D23A0C811B"]


def test_a_command_that_one_lacks_stands_alone_with_its_reply() -> None:
    ours = said(*GREETED, "C: VRFY root", "S: 252 perhaps", "C: QUIT", "S: 221 bye")
    theirs = said(*GREETED, "C: QUIT", "S: 221 bye")
    assert kinds(compare(ours, theirs)) == [(LEFT, "VRFY root", ""), (LEFT, "252 perhaps", "")]
    assert kinds(compare(theirs, ours)) == [(RIGHT, "", "VRFY root"), (RIGHT, "", "252 perhaps")]


def test_another_answer_to_the_same_command_is_a_change() -> None:
    ask = (*GREETED, "C: MAIL FROM:<a@a.test>", "S: 250 ok", "C: RCPT TO:<b@b.test>")
    found = compare(said(*ask, "S: 250 2.1.5 ok"), said(*ask, "S: 550 5.1.1 no"))
    assert kinds(found) == [(CHANGED, "250 2.1.5 ok", "550 5.1.1 no")]
    ours, theirs = found[-1].differences
    assert "".join("250 2.1.5 ok"[slice(*each)] for each in ours) == "25025ok"
    assert "".join("550 5.1.1 no"[slice(*each)] for each in theirs) == "55051no"


def test_recipients_are_matched_by_their_address() -> None:
    def to(*names: str) -> list[Row]:
        asked = [(f"C: RCPT TO:<{name}@b.test>", "S: 250 ok") for name in names]
        return said(*GREETED, *(turn for pair in asked for turn in pair))

    found = kinds(compare(to("ann", "bob", "eve"), to("ann", "eve")))
    assert found == [(LEFT, "RCPT TO:<bob@b.test>", ""), (LEFT, "250 ok", "")]


def test_helo_stands_against_ehlo() -> None:
    found = kinds(compare(said("S: 220 mx", "C: HELO a.test"), said("S: 220 mx", "C: EHLO a.test")))
    assert found == [(CHANGED, "HELO a.test", "EHLO a.test")]


def test_extensions_are_matched_by_their_keyword() -> None:
    ours = said("S: 220 mx", "C: EHLO a", "S: 250-mx", "S: 250-SIZE 1000", "S: 250 DSN")
    theirs = said(
        *("S: 220 mx", "C: EHLO a", "S: 250-mx", "S: 250-PIPELINING"),
        *("S: 250-DSN", "S: 250 SIZE 2000"),
    )
    found = compare(ours, theirs)
    assert (RIGHT, "", "250-PIPELINING") in kinds(found)
    assert sorted(row.text for pair in found if (row := pair.left)) == sorted(
        row.text for row in ours
    )


def test_which_line_of_a_reply_is_the_last_is_no_difference() -> None:
    ours = said("S: 220 mx", "C: EHLO a", "S: 250-mx", "S: 250 SIZE")
    theirs = said("S: 220 mx", "C: EHLO a", "S: 250-mx", "S: 250-SIZE", "S: 250 DSN")
    assert kinds(compare(ours, theirs)) == [(RIGHT, "", "250 DSN")]


def test_one_empty_side_leaves_all_to_the_other() -> None:
    assert {pair.kind for pair in compare(said(*GREETED), [])} == {LEFT}
    assert {pair.kind for pair in compare([], said(*GREETED))} == {RIGHT}
    assert compare([], []) == []


@pytest.mark.parametrize("seed", range(20))
def test_every_row_comes_once_and_in_order(seed: int) -> None:
    chosen = random.Random(seed)
    verbs = ["NOOP", "RSET", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "X", "VRFY 12", ""]

    def dialogue() -> list[Row]:
        asked = [(f"C: {chosen.choice(verbs)}", f"S: {chosen.choice([250, 550])} x")]
        asked += [
            (f"C: {chosen.choice(verbs)}", f"S: {chosen.choice([250, 550])} x") for _ in range(30)
        ]
        return said("S: 220 mx", *(turn for pair in asked for turn in pair))

    ours, theirs = dialogue(), dialogue()
    found = compare(ours, theirs)
    assert [pair.left for pair in found if pair.left is not None] == ours
    assert [pair.right for pair in found if pair.right is not None] == theirs
    assert all(
        pair.kind == (LEFT if pair.right is None else RIGHT)
        for pair in found
        if pair.left is None or pair.right is None
    )


def row(number: int, said: str) -> Row:
    return Row(0, Direction.CLIENT, "command", said, "", number)


def test_long_stretches_without_a_likeness_are_matched_by_their_place() -> None:
    size = MAX_CELLS // 50
    # Neither stretch has a line that is there once, so that nothing anchors them.
    ours = [row(number, f"NOOP {'abcde'[number % 5]}") for number in range(size)]
    theirs = [row(number, f"NOOP {'edcba'[number % 5]}") for number in range(size)]
    found = compare(ours, theirs)
    assert [pair.left for pair in found if pair.left is not None] == ours
    assert [pair.right for pair in found if pair.right is not None] == theirs
    by_place = [pair for pair in found if pair.left and pair.left.exchange % 5 == 2]
    assert all(pair.kind == SAME and pair.right is not None for pair in by_place)


def test_a_long_line_differs_in_its_middle() -> None:
    words = " ".join("ab" for _ in range(MAX_CELLS // 50))
    found = compare([row(0, f"NOOP {words} x")], [row(0, f"NOOP {words} y")])
    (pair,) = found
    start = len(f"NOOP {words} ")
    assert pair.differences == ([(start, start + 1)], [(start, start + 1)])
