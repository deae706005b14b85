"""The rows that people read: what was said, what it means, what is hidden."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.transcript import Transcript, octets, session_of

from smtpscope.export.text import lines
from smtpscope.smtp.transaction import Transaction
from smtpscope.stream import Direction
from smtpscope.transcript import MAX_HOPS, Row, exchange_rows, rows

SIDES = {"C": Direction.CLIENT, "S": Direction.SERVER}


def transcript(*turns: str) -> Transcript:
    made = Transcript("made here")
    made.turns = [(SIDES[turn[0]], octets(turn[3:]) + b"\r\n") for turn in turns]
    return made


def shown(*turns: str, reveal: bool = False) -> list[Row]:
    """The rows of what was said, without what was found wrong in it."""
    session = session_of(transcript(*turns))
    return [row for row in rows(session, reveal=reveal) if row.kind != "finding"]


def test_a_reply_means_what_it_answers() -> None:
    found = shown(
        "S: 220 mx", "C: MAIL FROM:<a@a.test>", "S: 250 ok", "C: RCPT TO:<b@b.test>", "S: 250 ok"
    )
    assert [(row.text, row.meaning) for row in found if row.direction is Direction.SERVER] == [
        ("220 mx", "server ready: the session may begin"),
        ("250 ok", "sender accepted"),
        ("250 ok", "recipient accepted"),
    ]


def test_an_enhanced_code_is_spelled_out_where_something_failed() -> None:
    found = shown("S: 220 mx", "C: RCPT TO:<b@b.test>", "S: 550 5.1.1 no")
    assert "5.1.1: no such mailbox" in found[-1].meaning
    assert found[-1].kind == "reply5"


def test_each_line_of_the_ehlo_reply_has_its_meaning() -> None:
    found = shown("S: 220 mx", "C: EHLO a.test", "S: 250-mx", "S: 250-SIZE 1000", "S: 250 X-ODD")
    assert [row.text for row in found[-3:]] == ["250-mx", "250-SIZE 1000", "250 X-ODD"]
    assert "largest message" in found[-2].meaning
    assert found[-1].meaning == "unknown extension"
    assert found[-1].time is None


def test_a_message_is_one_line() -> None:
    found = shown("S: 220 mx", "C: DATA", "S: 354 go", "C: Subject: hi", "C: ", "C: .", "S: 250 ok")
    (message,) = [row for row in found if row.kind == "message"]
    assert message.text == '[message of 15 octets, subject "hi"]'


def test_a_message_tells_its_files_and_how_long_each_hop_took() -> None:
    found = shown(
        *("S: 220 mx", "C: DATA", "S: 354 go"),
        "C: Received: from b.test by c.test; Tue, 14 Nov 2023 22:13:25 +0000",
        "C: Received: from a.test by b.test; Tue, 14 Nov 2023 20:13:20 +0000",
        "C: Received: from laptop; some day",
        *("C: Content-Type: application/pdf; name=a.pdf", "C: ", "C: %PDF-", "C: .", "S: 250 ok"),
    )
    (message,) = [row for row in found if row.kind == "message"]
    assert message.text == "[message of 217 octets, a.pdf (7 octets)]"
    assert message.meaning.endswith("; it came through (unknown), b.test, c.test +7,205 s")


def test_a_long_way_is_shown_to_a_bound() -> None:
    hops = ["C: Received: from a.test by b.test; Tue, 14 Nov 2023 22:13:25 +0000"] * 12
    found = shown("S: 220 mx", "C: DATA", "S: 354 go", *hops, "C: ", "C: .", "S: 250 ok")
    (message,) = [row for row in found if row.kind == "message"]
    assert message.meaning.count("b.test") == MAX_HOPS
    assert message.meaning.endswith(", 2 more")


def test_parameters_are_explained() -> None:
    found = shown("S: 220 mx", "C: MAIL FROM:<> SIZE=2048 X-ODD=1", "S: 250 ok")
    assert "null sender" in found[1].meaning
    assert "SIZE: 2,048 octets expected" in found[1].meaning
    assert "X-ODD: unknown parameter" in found[1].meaning


def test_a_tls_handshake_with_a_plain_server_is_called_one() -> None:
    found = shown("S: 220 mx", "C: \\x16\\x03\\x01\\x02\\0\\x01", "S: 402 what")
    assert found[1].meaning == "no command; a TLS handshake, where the server speaks plain text"


def test_a_finding_stands_under_the_line_that_it_is_about() -> None:
    session = session_of(transcript("S: 220 mx.test", "C: MAIL FROM:a@a.test", "S: 250 ok"))
    found = list(rows(session))
    (at,) = [
        at for at, row in enumerate(found) if row.text.startswith("warning path-without-brackets: ")
    ]
    assert found[at].kind == "finding"
    assert found[at].meaning == "RFC 5321 §4.1.2"
    said = [row.kind for row in found[:at] if row.kind != "finding"]
    assert said == ["reply2", "command"]


def test_secrets_are_hidden_unless_they_are_asked_for() -> None:
    turns = ("S: 220 mx", "C: AUTH LOGIN", "S: 334 VXNlcm5hbWU6", "C: YW5u",
             "S: 334 UGFzc3dvcmQ6", "C: czNjcjN0", "S: 235 ok")  # fmt: skip
    hidden = " ".join(row.text for row in shown(*turns))
    assert "czNjcjN0" not in hidden
    assert "identity ann" in hidden
    assert "[redacted 6 octets]" in hidden
    assert "czNjcjN0" in " ".join(row.text for row in shown(*turns, reveal=True))


def test_what_a_terminal_would_obey_is_spelled() -> None:
    for row in shown(r"S: 220 \x1b]52;c;x\x07\xc2\x9b", r"C: HELO \xe2\x80\xae\x00", "S: 250 ok"):
        assert row.text.isprintable()
        assert row.meaning.isprintable()


def test_text_has_a_head_the_envelope_and_a_line_for_each_row() -> None:
    session = session_of(
        transcript(
            "S: 220 mx", "C: MAIL FROM:<a@a.test>", "S: 250 ok", "C: RCPT TO:<b@b.test>",
            "S: 250 ok", "C: RCPT TO:<c@b.test>", "S: 550 no", "C: QUIT", "S: 221 bye",
        )
    )  # fmt: skip
    found = list(lines(session))
    assert found[0] == "transcript #1  192.0.2.1:40000 → 192.0.2.2:25"
    assert found[1].endswith("ended by QUIT")
    assert found[2] == "  mail from a@a.test to b@b.test, refused for c@b.test: no message sent"
    assert found[3].lstrip().startswith("+0.001  S: 220 mx")
    assert found[3].endswith("  server ready: the session may begin")
    assert found[-1] == ""


def test_text_for_a_terminal_fits_its_width_where_meanings_are_long() -> None:
    session = session_of(
        transcript("S: 220 mx", "C: EHLO a.test", "S: 250-mx", "S: 250-8BITMIME", "S: 250 CHUNKING")
    )
    assert all(len(line) <= 80 for line in lines(session, width=80))
    assert any(len(line) > 80 for line in lines(session))


def test_colours_are_there_only_when_asked_for() -> None:
    session = session_of(transcript("S: 220 mx", "C: QUIT", "S: 221 bye"))
    assert "\x1b[" not in "\n".join(lines(session))
    assert "\x1b[" in "\n".join(lines(session, colour=True))


LMTP = ("S: 220 x LMTP", "C: LHLO a.test", "S: 250 x")
ENVELOPE = (
    *("C: MAIL FROM:<a@a.test>", "S: 250 ok"),
    *("C: RCPT TO:<b@b.test>", "S: 250 ok", "C: RCPT TO:<c@b.test>", "S: 250 ok"),
)
DELIVERED = ("S: 250 ok", "S: 452 full")


@pytest.mark.parametrize(
    "message", [("C: DATA", "S: 354 go", "C: x", "C: ."), ("C: BURL imap://c.test/d LAST",)]
)
def test_whom_a_reply_is_about_is_found_in_one_walk_over_the_transactions(
    message: tuple[str, ...],
) -> None:
    class Watched(list[Transaction]):
        walks = 0

        def __iter__(self) -> Iterator[Transaction]:
            self.walks += 1
            return super().__iter__()

    session = session_of(transcript(*LMTP, *(*ENVELOPE, *message, *DELIVERED) * 20))
    session.transactions = transactions = Watched(session.transactions)
    told = [
        row.meaning.split(":")[0] for row in rows(session) if row.text in ("250 ok", "452 full")
    ]
    assert told.count("for b@b.test") == told.count("for c@b.test") == 20
    assert transactions.walks <= 1
    last = session.exchanges[-1]
    alone = [row.meaning.split(":")[0] for row in exchange_rows(session, last, [])]
    assert alone[-2:] == ["for b@b.test", "for c@b.test"]
    assert transactions.walks <= 1
