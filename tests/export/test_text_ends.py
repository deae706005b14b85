"""How a session ended, in a few words."""

from __future__ import annotations

import pytest
from support.conversation import connection, sessions

from smtpscope.export.text import how_it_ended

HELLO = [("S", b"220 mx.test ESMTP\r\n"), ("C", b"EHLO a.test\r\n"), ("S", b"250 mx.test\r\n")]


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([("C", b"QUIT\r\n"), ("S", b"221 bye\r\n")], "ended by QUIT"),
        ([("C", b"QUIT\r\n")], "closed behind QUIT, no 221 seen"),
        ([("C", b"NOOP\r\n"), ("S", b"250 ok\r\n")], "closed without a goodbye"),
        ([], "closed without a goodbye"),
    ],
)
def test_a_goodbye_that_nobody_answered_is_told(turns: list[tuple[str, bytes]], words: str) -> None:
    (session,) = sessions(connection([*HELLO, *turns]))
    assert how_it_ended(session) == words
