from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.message.addresses import addr_specs, split_mailboxes


@pytest.mark.parametrize(
    ("value", "entries", "specs"),
    [
        (b"", [], []),
        (b" a@x ", ["a@x"], ["a@x"]),
        (b"a@x, b@y", ["a@x", "b@y"], ["a@x", "b@y"]),
        (b"A <a@x>,\r\n\tB <b@y>", ["A <a@x>", "B <b@y>"], ["a@x", "b@y"]),
        (b",, a@x ,", ["a@x"], ["a@x"]),
        (b'"Doe, J." <j@x>, b@y', ['"Doe, J." <j@x>', "b@y"], ["j@x", "b@y"]),
        (b'"a\\", b" <j@x>, b@y', ['"a\\", b" <j@x>', "b@y"], ["j@x", "b@y"]),
        (b"j@x (Doe, J.), b@y", ["j@x (Doe, J.)", "b@y"], ["j@x", "b@y"]),
        (b'(5" (n, m) wide) j@x, "b" <b@y>', ['(5" (n, m) wide) j@x', '"b" <b@y>'], ["j@x", "b@y"]),
        (b"=?utf-8?q?Doe,_J=2E?= <j@x>, b@y", ["Doe, J. <j@x>", "b@y"], ["j@x", "b@y"]),
        (b"=?utf-8?q?Doe=2C?= <j@x>", ["Doe, <j@x>"], ["j@x"]),
        (b"T: a@x, B <b@y>;, c@z", ["T: a@x, B <b@y>;", "c@z"], ["a@x", "b@y", "c@z"]),
        (b"T: a@x; c@z", ["T: a@x;", "c@z"], ["a@x", "c@z"]),
        (b"undisclosed-recipients:;", ["undisclosed-recipients:;"], []),
        (b"a@x; b@y", ["a@x", "b@y"], ["a@x", "b@y"]),
        (b"<@r1,@r2:a@x>, b@y", ["<@r1,@r2:a@x>", "b@y"], ["a@x", "b@y"]),
        (b'<"a,b"@x>, b@y', ['<"a,b"@x>', "b@y"], ['"a,b"@x', "b@y"]),
        (b"a@[IPv6:::1], b@y", ["a@[IPv6:::1]", "b@y"], ["a@[IPv6:::1]", "b@y"]),
        (b"A <a@x> B <b@y>", ["A <a@x> B <b@y>"], ["a@x", "b@y"]),
        (b"<>", ["<>"], []),
        (b"root", ["root"], ["root"]),
        (b"John Doe", ["John Doe"], []),
        (b"John j@x", ["John j@x"], ["j@x"]),
        (b"a <a@x", ["a <a@x"], ["a@x"]),
        (b"a@x (oops, b@y", ["a@x (oops, b@y"], ["a@x"]),
        (b'"oops, a@x', ['"oops', "a@x"], ['"oops', "a@x"]),
        ("Zoë <zoë@x>".encode(), ["Zoë <zoë@x>"], ["zoë@x"]),
    ],
)
def test_an_address_list_is_split(value: bytes, entries: list[str], specs: list[str]) -> None:
    assert split_mailboxes(value) == entries
    assert addr_specs(value) == specs


@given(st.text(alphabet='a@x ,;:"\\()<>[]=?q\r\n', max_size=60))
def test_no_address_list_raises(text: str) -> None:
    split_mailboxes(text.encode())
    addr_specs(text.encode())
