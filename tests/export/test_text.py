"""The text of a session: what its head says of the envelopes."""

from __future__ import annotations

import pytest
from support.transcript import Transcript, octets, session_of

from smtpscope.export import text
from smtpscope.stream import Direction

SIDES = {"C": Direction.CLIENT, "S": Direction.SERVER}
ENVELOPE = ("C: MAIL FROM:<a@a.test>", "S: 250 ok", "C: RCPT TO:<b@b.test>", "S: 250 ok")
REFUSED = ("C: MAIL FROM:<a@a.test>", "S: 250 ok", "C: RCPT TO:<b@b.test>", "S: 550 who?")
MESSAGE = ("C: DATA", "S: 354 go", "C: Subject: x", "C: ", "C: .")


@pytest.mark.parametrize(
    ("turns", "head"),
    [
        ((*ENVELOPE, *MESSAGE, "S: 250 ok"), "mail from a@a.test to b@b.test: accepted"),
        ((*ENVELOPE, *MESSAGE, "S: 554 spam"), "mail from a@a.test to b@b.test: not accepted"),
        ((*ENVELOPE, *MESSAGE), "mail from a@a.test to b@b.test: no answer seen"),
        ((*ENVELOPE, "C: RSET", "S: 250 ok"), "mail from a@a.test to b@b.test: no message sent"),
        (REFUSED, "mail from a@a.test, refused for b@b.test: no message sent"),
        (("C: MAIL FROM:<>", "S: 550 no"), "mail from <>: not accepted"),
    ],
)
def test_the_head_tells_what_became_of_each_envelope(turns: tuple[str, ...], head: str) -> None:
    transcript = Transcript("made here")
    lines = ("S: 220 mx.test", "C: EHLO c.test", "S: 250 mx.test", *turns)
    transcript.turns = [(SIDES[line[0]], octets(line[3:]) + b"\r\n") for line in lines]
    assert f"  {head}" in list(text.lines(session_of(transcript)))


def test_the_head_of_an_lmtp_session_names_those_who_did_not_get_the_message() -> None:
    transcript = Transcript("made here")
    lines = (
        "S: 220 mx.test", "C: LHLO c.test", "S: 250 mx.test", *ENVELOPE,
        "C: RCPT TO:<c@b.test>", "S: 250 ok", *MESSAGE, "S: 250 ok", "S: 452 full",
    )  # fmt: skip
    transcript.turns = [(SIDES[line[0]], octets(line[3:]) + b"\r\n") for line in lines]
    head = "  mail from a@a.test to b@b.test, refused for c@b.test: accepted"
    assert head in list(text.lines(session_of(transcript)))
