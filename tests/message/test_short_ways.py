"""What is read in one step because most messages are like that is read the same piece by piece."""

from __future__ import annotations

import re
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpscope import message as message_module
from smtpscope.message import Message, MessageBuilder, headers, read_message
from smtpscope.message.headers import MAX_HEADERS, MAX_VALUE, HeaderReader

FIELDS = st.sampled_from(
    [
        b"From: a@a.test\r\n",
        b"Subject: one\r\n\ttwo\r\n three\r\n",
        b"Subject:\r\n \r\n x\r\n",
        b"X : y\r\n",
        b"A:" + b"\r\n b" * 60 + b"\r\n",
        b"no field\r\n",
        b"--b: c\r\n",
        b"Lf: x\n",
        b"Cr: x\r",
        b"caf\xc3\xa9: x\r\n",
        b"Content-Type: text/plain\r\n",
        b"content-type: text/html; charset=UTF-8\r\n",
        b"CONTENT-TYPE: text/plain; charset=us-ascii\r\n",
        b"Content-Type: text/plain; charset=x-unknown\r\n",
        b"Content-Type: text/plain; name=a.txt\r\n",
        b"Content-Type: text\r\n",
        b"Content-Type: application/pdf\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: multipart/mixed\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Transfer-Encoding: 8bit\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Disposition: inline\r\n",
        b"Content-Disposition: attachment; filename=a\r\n",
        b"Content-Disposition: attachment\r\n",
    ]
)
LINES = st.sampled_from(
    [
        b"text\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b"caf\xe9",
        b"\xc3\xa9\r\n",
        b"x" * 999 + b"\r\n",
        b"--b\r\n",
        b"--b--\r\n",
        b"=41=\r\n",
        b"QUJD\r\n",
        b"begin 644 a\r\n#86)C\r\n`\r\nend\r\n",
    ]
)
MESSAGES = st.builds(
    lambda fields, blank, lines: b"".join([*fields, blank, *lines]),
    st.lists(FIELDS, max_size=5),
    st.sampled_from([b"\r\n", b"\r\n", b"\n", b""]),
    st.lists(LINES, max_size=8),
)


def read_slowly(content: bytes, piece: int = 1) -> Message:
    with (
        patch.object(message_module, "SLICE", piece),
        patch.object(headers, "_SECTION", re.compile(rb"(?!)")),
    ):
        builder = MessageBuilder()
        builder.feed(content)
        return builder.finish()


@given(MESSAGES)
@example(b"")
@example(b"\r\n")
@example(b"From: a@a.test\r\n\r\n")
@example(b"Content-Type: text/plain; charset=utf-8\r\n\r\ncaf\xe9")
def test_a_message_at_hand_is_read_as_one_that_comes_in_slices(content: bytes) -> None:
    assert read_message(content) == read_slowly(content)


@pytest.mark.parametrize(
    "section",
    [
        b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"A: " + b"b" * (MAX_VALUE + 1) + b"\r\n\r\n",
        b"A: " + b"b" * (MAX_VALUE - 1) + b"\r\n\r\n",
        b"A: b\r\n" + b"c" * 1001 + b": d\r\n\r\n",
    ],
)
def test_the_bounds_of_a_header_hold_on_both_ways(section: bytes) -> None:
    assert read_message(section) == read_slowly(section, 5_000)


def test_a_section_is_read_at_once_as_soon_as_its_blank_line_is_there() -> None:
    reader = HeaderReader()
    assert reader.read(b"A: b\r\nC: d\r\n\r\nbody", 0, False) == 14
    assert reader.done
    assert [name for name, _ in reader.headers] == [b"A", b"C"]
