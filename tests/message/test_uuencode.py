"""Files that stand in a text as uuencode."""

from __future__ import annotations

import binascii
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.message import Message, extract_part, read_message
from smtpscope.message.mime import StructureReader

FILE = bytes(range(256)) * 2


def uuencoded(octets: bytes, name: bytes = b"a.bin", end: bytes = b"`\nend\n") -> bytes:
    lines = [binascii.b2a_uu(octets[at : at + 45]) for at in range(0, len(octets), 45)]
    return b"begin 644 " + name + b"\n" + b"".join(lines) + end


def text(body: bytes) -> bytes:
    return b"Subject: x\n\n" + body


def rules(message: Message) -> list[str]:
    return [flaw.rule for flaw in message.flaws]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_file_in_a_text_is_an_attachment_and_a_child_of_it(line_end: bytes) -> None:
    content = text(b"see below\n" + uuencoded(FILE) + b"bye\n").replace(b"\n", line_end)
    message = read_message(content)
    (file,) = message.attachments
    assert (file.filename, file.size, file.magic) == ("a.bin", 512, FILE[:16])
    (child,) = message.root.children
    assert content[child.start :].startswith(b"begin 644 a.bin")
    assert content[child.end :].startswith(b"end")
    assert message.root.size == message.root.end - message.root.body
    out = io.BytesIO()
    extract_part([content], file.number, out)
    assert out.getvalue() == FILE


def test_a_text_may_hold_several_files() -> None:
    content = text(uuencoded(b"one", b"1") + b"and\n" + uuencoded(b"two", b"2"))
    attachments = read_message(content).attachments
    assert [(file.filename, file.magic) for file in attachments] == [("1", b"one"), ("2", b"two")]


@pytest.mark.parametrize(
    "body",
    [
        b"begin 644 a\n",
        b"begin 644 a\nnot data\n",
        b"to begin 644 a\n" + binascii.b2a_uu(b"abc") + b"end\n",
        b"begin again tomorrow\n" + binascii.b2a_uu(b"abc") + b"end\n",
    ],
)
def test_what_only_looks_like_a_file_is_text(body: bytes) -> None:
    message = read_message(text(body))
    assert message.attachments == []
    assert message.root.children == []


@pytest.mark.parametrize("end", [b"", b"\nmore text\n", b"lower case is no data\n", b"x" * 500])
def test_a_file_without_end_gives_what_it_has(end: bytes) -> None:
    message = read_message(text(uuencoded(FILE, end=end)))
    assert message.attachments[0].size == 512
    assert "uuencode-broken" in rules(message)
    assert "uuencode-broken" not in rules(read_message(text(uuencoded(FILE))))


PIECES = [uuencoded(b"abc"), uuencoded(FILE), b"begin 644 x\n", b"end\n", b"\n", b"#86)C\n", b"M"]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join), st.integers(1, 90))
def test_any_chunking_finds_the_same_files(body: bytes, step: int) -> None:
    content = text(body)
    reader = StructureReader()
    for at in range(0, len(content), step):
        reader.feed(content[at : at + step])
    assert reader.finish() == StructureReader().finish(content)
