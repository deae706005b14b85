"""What samples cannot show of the rules about order: how often they tell, and what they leave."""

from __future__ import annotations

import pytest
from support.conversation import connection, sessions
from support.samples import review

from smtpscope.findings.sequence import CHECKS
from smtpscope.findings.walk import State, Step
from smtpscope.session import Finding
from smtpscope.smtp.values import Exchange
from smtpscope.stream import Direction

HELLO = ("S: 220 mx.example.org ESMTP", "C: EHLO a.example.net", "S: 250 mx.example.org")
QUIT = ("C: QUIT", "S: 221 2.0.0 Bye")
MAIL = ("C: MAIL FROM:<ann@example.net>", "S: 250 ok")
RCPT = ("C: RCPT TO:<bob@example.org>", "S: 250 ok")


def findings(rule: str, *lines: str) -> list[Finding]:
    return [each for session in review(lines) for each in session.findings if each.rule == rule]


def rules(*lines: str) -> list[str]:
    return [each.rule for session in review(lines) for each in session.findings]


@pytest.mark.parametrize(
    ("rule", "turns"),
    [
        ("rcpt-before-mail", ("C: RCPT TO:<bob@example.org>", "S: 503 no")),
        ("nested-mail", MAIL),
        ("data-without-recipient", ("C: DATA", "S: 503 no")),
        ("pipelining-not-offered", ("C: NOOP x", "C: RSET", "C: RSET", *["S: 250 ok"] * 3)),
        ("turn", ("C: TURN", "S: 502 no")),
    ],
)
def test_what_is_done_again_and_again_is_told_once(rule: str, turns: tuple[str, ...]) -> None:
    assert len(findings(rule, *HELLO, *turns * 10, *QUIT)) == 1


def test_order_is_not_judged_where_the_capture_has_gaps() -> None:
    turns = [("S", b"220 mx.test ESMTP\r\n"), ("C", b"EHLO a.test\r\n"), ("S", b"250 mx.test\r\n")]
    turns += [("C", b"MAIL FROM:<a@a.test>\r\n"), ("S", b"250 ok\r\n")]
    turns += [("C", b"RCPT TO:<b@b.test>\r\n"), ("S", b"250 ok\r\n")]
    (whole,) = sessions(connection(turns))
    (holed,) = sessions(connection(turns, lost=[3]))
    assert whole.whole
    assert not holed.whole
    assert "closed-without-quit" in [each.rule for each in whole.findings]
    told = {each.rule for each in holed.findings if each.group == "sequence"}
    assert told <= {"reply-lost", "missing-reply"}


@pytest.mark.parametrize("end", ["fin", "rst"])
def test_who_closed_first_is_known(end: str) -> None:
    turns = [("S", b"220 mx.test ESMTP\r\n"), ("C", b"QUIT\r\n"), ("S", b"221 bye\r\n")]
    (session,) = sessions(connection(turns, end=end))
    assert session.closed_by is Direction.CLIENT
    (still_open,) = sessions(connection(turns, end=""))
    assert still_open.closed_by is None


def test_who_refused_everybody_is_counted() -> None:
    refused = ("C: RCPT TO:<x@example.org>", "S: 550 no") * 3
    (found,) = findings("data-without-recipient", *HELLO, *MAIL, *refused, "C: DATA", "S: 554 no")
    assert found.summary.endswith("all 3 were refused")


@pytest.mark.parametrize("code", [221, 421, 521])
def test_a_server_that_says_that_it_closes_owes_no_more_replies(code: int) -> None:
    told = rules(*HELLO, "C: GET / HTTP/1.1", "C: Host: mx", f"S: {code} No more", "S fin")
    assert "missing-reply" not in told
    assert "server-closed" not in told


def test_a_server_that_leaves_a_command_unanswered_says_nothing_of_closing() -> None:
    (found,) = findings("server-closed", *HELLO, *MAIL, "C: RCPT TO:<bob@example.org>", "S fin")
    assert found.summary.endswith("RCPT was not answered")
    assert found.span.direction is Direction.SERVER


def test_a_client_that_leaves_while_it_waits_is_told_of_once() -> None:
    told = rules(*HELLO, *MAIL, "C: RCPT TO:<bob@example.org>", "C fin", "S fin")
    assert told == ["missing-reply"]


def test_a_session_under_tls_ends_unseen() -> None:
    handshake = b"\x16\x03\x01\x00\x05hello\x17\x03\x03\x00\x05world"
    turns = [("S", b"220 mx.test ESMTP\r\n"), ("C", b"EHLO a.test\r\n")]
    turns += [("S", b"250-mx.test\r\n250 STARTTLS\r\n"), ("C", b"STARTTLS\r\n")]
    turns += [("S", b"220 go\r\n"), ("C", handshake), ("S", handshake)]
    (session,) = sessions(connection(turns))
    assert [each.rule for each in session.findings if each.group == "sequence"] == []


def test_the_roles_that_turned_are_judged_afresh() -> None:
    turned = ("S: 250 Turning", "C: 220 a.example.net", "S: MAIL FROM:<>", "C: 250 ok", "S: QUIT")
    told = rules(*HELLO, *MAIL, "C: TURN", *turned, "C: 221 Bye")
    assert "nested-mail" not in told
    assert "mail-before-hello" in told


def test_a_helo_looks_at_the_first_exchanges_alone_however_many_there_are() -> None:
    class Watched(list[Exchange]):
        copied = 0

        def __getitem__(self, index):
            found = super().__getitem__(index)
            self.copied += len(found) if isinstance(index, slice) else 1
            return found

    (session,) = review((HELLO[0], *("C: HELO a", "S: 501 no") * 50))
    session.exchanges = exchanges = Watched(session.exchanges)
    (check,) = CHECKS.commands["HELO"]
    for number, exchange in enumerate(exchanges):
        step = Step(session, number, exchange, exchange.command, exchange.reply, State())
        assert [*check(step)] or exchange.greeting
    assert exchanges.copied <= 10 * len(exchanges)
