"""Speed and memory of reading messages: usual ones, and those made to overload their readers.

    .venv/bin/python tests/bench/messages.py [--scale 1.0]

Each message is made while it is read, in a process of its own: its peak is what the reader holds
beside the empty process. Nothing is asserted about time.
"""

from __future__ import annotations

import argparse
import base64
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from itertools import repeat

from smtpscope.message import Message, MessageBuilder

_MEGABYTE = 1_000_000
_PIECE = 64 * 1024

_HEAD = b"From: a@a.test\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nMIME-Version: 1.0\r\n"
_MIXED = _HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
_FILE = b"Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"


def small(_: float) -> Iterator[bytes]:
    """2.4 kB of plain text with ten fields"""
    fields = b"".join(b"X-Field-%d: some value of a usual length %d\r\n" % (n, n) for n in range(7))
    yield _HEAD + fields + b"\r\n" + b"A line of text that is about as long as lines are.\r\n" * 38


def attachment(_: float) -> Iterator[bytes]:
    """an attachment of 1 MB in base64"""
    yield _MIXED + b"--b\r\n" + _FILE
    yield base64.encodebytes(os.urandom(1_000_000)).replace(b"\n", b"\r\n") + b"--b--\r\n"


def parts(scale: float) -> Iterator[bytes]:
    """100 MB in 1,000 parts"""
    body = base64.encodebytes(os.urandom(73_000)).replace(b"\n", b"\r\n")
    yield _MIXED
    yield from repeat(b"--b\r\n" + _FILE + body, int(1_000 * scale))
    yield b"--b--\r\n"


def header(scale: float) -> Iterator[bytes]:
    """a field of 10 MB"""
    yield _HEAD + b"Subject: "
    yield from repeat(b"x" * 998 + b"\r\n ", int(10_000 * scale))
    yield b"\r\n\r\nbody\r\n"


def fields(scale: float) -> Iterator[bytes]:
    """10 MB of fields"""
    yield _HEAD
    yield from repeat(b"Received: from a by b; never\r\n" * 1_000, int(330 * scale))
    yield b"\r\nbody\r\n"


def nested(scale: float) -> Iterator[bytes]:
    """10,000 nested multiparts"""
    for depth in range(int(10_000 * scale)):
        yield b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (depth, depth)


def embedded(scale: float) -> Iterator[bytes]:
    """64 nested messages, 100 MB in the innermost"""
    yield (_HEAD + b"Content-Type: message/rfc822\r\n\r\n") * 64
    yield from repeat(b"y" * 98 + b"\r\n", int(1_000_000 * scale))


def nearly(scale: float) -> Iterator[bytes]:
    """32 MiB of lines that begin like a delimiter"""
    yield _MIXED + b"--b\r\n\r\n"
    yield from repeat(b"\r\n--bx" * 1_000, int(32 * 1024**2 / 6_000 * scale))


def delimiters(scale: float) -> Iterator[bytes]:
    """32 MiB of delimiters"""
    yield _MIXED
    yield from repeat(b"--b\r\n" * 1_000, int(32 * 1024**2 / 5_000 * scale))


def escapes(scale: float) -> Iterator[bytes]:
    """32 MiB of quoted-printable that is all escapes"""
    yield _HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n"
    yield b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
    yield from repeat(b"=41=\r\n==" * 1_000, int(32 * 1024**2 / 8_000 * scale))


def padding(scale: float) -> Iterator[bytes]:
    """32 MiB of base64 that is all padding"""
    yield _HEAD + _FILE
    yield from repeat(b"QQ==" * 1_000, int(32 * 1024**2 / 4_000 * scale))


def uuencode(scale: float) -> Iterator[bytes]:
    """32 MiB of beginnings of uuencode"""
    yield _HEAD + b"\r\n"
    yield from repeat(b"begin 644 a\n#86)C\n" * 1_000, int(32 * 1024**2 / 18_000 * scale))


_CASES = (small, attachment, parts, header, fields, nested, embedded)
_CASES += (nearly, delimiters, escapes, padding, uuencode)


def read(pieces: Iterator[bytes]) -> Message:
    builder = MessageBuilder()
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= _PIECE:
            builder.feed(bytes(held))
            held.clear()
    builder.feed(bytes(held))
    return builder.finish()


def _measure(name: str, scale: float) -> None:
    case = {each.__name__: each for each in _CASES}[name]
    octets = 0
    began = time.perf_counter()
    for piece in case(scale):
        octets += len(piece)
    making = time.perf_counter() - began
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if octets < 10_000:
        pieces = [*case(scale)]
        making = 0.0
        runs = 10_000
    else:
        pieces = []
        runs = 1
    began = time.perf_counter()
    for _ in range(runs):
        message = read(iter(pieces) if pieces else case(scale))
    taken = (time.perf_counter() - began - making) / runs
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    told = ", ".join(flaw.rule for flaw in message.flaws) or "nothing"
    print(f"{case.__doc__ or '':52} {octets / _MEGABYTE:8.1f} {taken * 1000:10.3f}", end="")
    print(f" {peak / _MEGABYTE:8.1f} {message.parts:6}  {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    print(f"{'message':52} {'MB':>8} {'ms':>10} {'peak MB':>8} {'parts':>6}  told")
    context = multiprocessing.get_context("spawn")
    for case in _CASES:
        process = context.Process(target=_measure, args=(case.__name__, options.scale))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
