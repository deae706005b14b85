"""Messages on their way out behind DATA: line ends, dots, and what they need of a server.

RFC 5321 §2.3.8 and §4.5.2, RFC 6152 §3, RFC 6531 §3.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_PIECE = 1 << 16
"""Octets of a message that are taken at once; what comes of them may be twice as long."""

END = b".\r\n"
"""What ends a message, on a line of its own."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_EMPTY_LINE = re.compile(rb"(?:\r\n?+|\n)[\r\n]")


def stuffed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A message as it is sent, in pieces, and without the `END` that is due then.

    Every line ends with CRLF, and a dot at its beginning is doubled.
    """
    held = b""
    at_start = True
    for whole in pieces:
        for at in range(0, len(whole), MAX_PIECE):
            octets = held + whole[at : at + MAX_PIECE]
            # Of a CR nobody knows yet what follows.
            held = b"\r" if octets.endswith(b"\r") else b""
            octets = octets[: len(octets) - len(held)]
            if octets:
                lines = _LINE_END.sub(b"\r\n", octets)
                dotted = b"\r\n" + lines if at_start else lines
                dotted = dotted.replace(b"\r\n.", b"\r\n..")
                yield dotted[2:] if at_start else dotted
                at_start = lines.endswith(b"\r\n")
    if held or not at_start:
        yield b"\r\n"


def eight_bit(pieces: Iterator[bytes]) -> tuple[bool, bool]:
    """Whether octets above 127 are in the header, and in the body, of a message."""
    in_header = ended = False
    # An empty line may be cut anywhere, and may be the first one.
    before = b"\n"
    for piece in pieces:
        if ended:
            if not piece.isascii():
                return in_header, True
            continue
        octets = before + piece
        empty = _EMPTY_LINE.search(octets)
        if empty is None:
            in_header = in_header or not octets.isascii()
            before = octets[-2:]
        else:
            ended = True
            in_header = in_header or not octets[: empty.start()].isascii()
            if not octets[empty.end() :].isascii():
                return in_header, True
    return in_header, False
