"""Messages made to overload their readers: what is held of them stays small, and is told."""

from __future__ import annotations

import base64
import hashlib
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import repeat

# Readers of large messages load it when they need it, and it is not what they hold.
import numpy as np  # noqa: F401
import pytest

from smtpscope.message import SLICE, Message, MessageBuilder, extract_part

MEGABYTE = 1_000_000
HEAD = b"From: a@a.test\r\nMIME-Version: 1.0\r\n"
MIXED = HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
FILE = b"Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"


def a_thousand_parts() -> Iterator[bytes]:
    yield MIXED
    yield from repeat(b"--b\r\n" + FILE + b"QUJD" * 1_000 + b"\r\n", 1_000)
    yield b"--b--\r\n"


def a_large_field() -> Iterator[bytes]:
    yield HEAD + b"Subject: "
    yield from repeat(b"x" * 900 + b"\r\n ", 4_000)
    yield b"\r\n\r\nbody\r\n"


def many_fields() -> Iterator[bytes]:
    yield HEAD
    yield from repeat(b"X-Field: y\r\n" * 100, 3_000)
    yield b"\r\nbody\r\n"


def nested_multiparts() -> Iterator[bytes]:
    yield HEAD
    for depth in range(10_000):
        yield b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (depth, depth)


def nested_messages() -> Iterator[bytes]:
    yield (HEAD + b"Content-Type: message/rfc822\r\n\r\n") * 64
    yield from repeat(b"y" * 78 + b"\r\n", 40_000)


def many_parts() -> Iterator[bytes]:
    yield MIXED
    yield from repeat(b"--b\r\n" * 100, 6_000)


def long_boundaries() -> Iterator[bytes]:
    """Many are open, and each that opens or closes has lines behind it that look nearly so."""
    yield HEAD
    names = [b"%03d" % depth + b"." * 950 for depth in range(60)]
    for name in names:
        yield b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n" % (name, name)
    for _ in range(60):
        yield b"Content-Type: multipart/mixed; boundary=z\r\n\r\n" + b"--\r\n" * 1_000
        yield b"--z--\r\n" + b"--\r\n" * 1_000 + b"--%b\r\n" % names[-1]
    yield b"\r\nx\r\n"
    yield from (b"--%b--\r\n" % name for name in reversed(names))


def escapes() -> Iterator[bytes]:
    yield HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    yield from repeat(b"=41=\r\n==" * 100, 4_000)


def equals_signs() -> Iterator[bytes]:
    yield HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    yield from repeat(b"=" * 1_000, 3_000)


def one_line() -> Iterator[bytes]:
    yield HEAD + b"\r\n"
    yield from repeat(b"z" * 1_000, 3_000)


def read(pieces: Iterator[bytes]) -> Message:
    builder = MessageBuilder()
    for piece in pieces:
        builder.feed(piece)
    return builder.finish()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (a_thousand_parts, {}),
        (a_large_field, {"message-bound": "a header of 3,612,048 octets"}),
        (many_fields, {"message-bound": "a header of 3,600,037 octets"}),
        (nested_multiparts, {"message-bound": "parts nested more than 64 deep"}),
        (nested_messages, {"message-bound": "messages nested more than 8 deep"}),
        (many_parts, {"message-bound": "more than 2,000 parts"}),
        (long_boundaries, {}),
        (escapes, {"quoted-printable-broken": "text/plain"}),
        (equals_signs, {"quoted-printable-broken": "text/plain"}),
        (one_line, {}),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_a_hostile_message_is_told_and_hardly_held(
    made: Callable[[], Iterator[bytes]], told: dict[str, str]
) -> None:
    tracemalloc.start()
    try:
        message = read(made())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {flaw.rule: flaw.detail for flaw in message.flaws} == told
    assert message.truncated == ("message-bound" in told)
    assert message.size == sum(map(len, made()))
    assert peak < 2 * MEGABYTE


def test_messages_that_never_end_hold_little_each() -> None:
    builders = [MessageBuilder() for _ in range(100)]
    line = b"A line of text that is about as long as lines are.\r\n"
    tracemalloc.start()
    try:
        for builder in builders:
            builder.feed(HEAD + b"\r\n")
            for _ in range(50):
                builder.feed(line * 100)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < len(builders) * (SLICE + 8_000)


def test_a_large_attachment_is_extracted_without_being_held() -> None:
    line = base64.b64encode(bytes(range(57))) + b"\r\n"

    def chunks() -> Iterator[bytes]:
        yield MIXED + b"--b\r\n\r\nhello\r\n--b\r\n" + FILE
        yield from repeat(line * 100, 700)
        yield b"--b--\r\n"

    (attachment,) = read(chunks()).attachments
    assert attachment.size == 57 * 100 * 700
    with tempfile.TemporaryFile() as file:
        tracemalloc.start()
        try:
            extract_part(chunks(), attachment.number, file)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MEGABYTE / 2
        file.seek(0)
        assert hashlib.file_digest(file, "sha256").hexdigest() == attachment.sha256
        assert file.tell() == attachment.size
