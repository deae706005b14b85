"""What a session keeps of its exchanges, and what it lets go."""

from __future__ import annotations

import pytest
from support.conversation import connection, sessions

from smtpscope import session as module
from smtpscope.decode import SessionDecoder
from smtpscope.findings.walk import NO_POLICY
from smtpscope.session import Content

START = (("S", b"220 mx ESMTP\r\n"), ("C", b"EHLO a\r\n"), ("S", b"250 mx\r\n"))


def test_a_message_given_up_between_two_chunks_lets_its_octets_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[int] = []

    class Watched(Content):
        def __init__(self) -> None:
            super().__init__()
            contents.append(self)

        def feed(self, data: bytes) -> None:
            super().feed(data)
            held.append(sum(content.message is None for content in contents))

    contents: list[Watched] = []
    _, _, *others = SessionDecoder.__init__.__defaults__ or ()
    defaults = (NO_POLICY, Watched, *others)
    monkeypatch.setattr(SessionDecoder.__init__, "__defaults__", defaults)
    turns = [*START]
    for _ in range(20):
        turns += [("C", b"MAIL FROM:<a@b>\r\n"), ("S", b"250 ok\r\n")]
        turns += [("C", b"BDAT 4\r\nabcd"), ("S", b"250 ok\r\n")]
        turns += [("C", b"RSET\r\n"), ("S", b"250 ok\r\n")]
    (session,) = sessions(connection(turns))
    assert [message.size for message in session.messages] == [4] * 20
    assert max(held) == 2


def test_chunks_of_one_message_stay_together() -> None:
    turns = [*START, ("C", b"MAIL FROM:<a@b>\r\n"), ("S", b"250 ok\r\n")]
    for chunk in (b"BDAT 4\r\nabcd", b"BDAT 4\r\nefgh", b"BDAT 2 LAST\r\nij"):
        turns += [("C", chunk), ("S", b"250 ok\r\n")]
    (session,) = sessions(connection(turns))
    assert [message.size for message in session.messages] == [10]


def test_nothing_grows_beyond_the_exchanges_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EXCHANGES", 10)
    turns = [*START]
    for _ in range(20):
        turns += [("C", b"MAIL FROM:<a@b>\r\n"), ("S", b"250 ok\r\n")]
        turns += [("C", b"AUTH PLAIN AGEAYg==\r\n"), ("S", b"535 no\r\n")]
    turns += [("C", b"QUIT\r\n"), ("S", b"221 bye\r\n")]
    (session,) = sessions(connection(turns))
    assert len(session.exchanges) == 10
    assert len(session.transactions) == 4
    assert len(session.auths) == 4
    assert session.state == "quit"
    assert [finding.summary for finding in session.findings if finding.rule == "session-bound"] == [
        "the session is too long to be kept whole: 33 exchanges left out"
    ]
