"""Transfer encodings undone while the octets pass: base64 and quoted-printable.

A decoder takes the encoded octets in any pieces, each once, and gives the decoded ones; where they
are cut makes no difference. Nothing here raises on what it reads; `broken` says that it was not
what the encoding allows. RFC 2045 §6.7 and §6.8.
"""

from __future__ import annotations

import binascii
import re
from typing import Protocol

import pybase64

MAX_PADDINGS = 1_000
"""Octets of base64 padding that are looked at in one body; those behind them count as junk."""

_LARGE = 8 * 1024
"""Octets of a piece that are worth being looked at as columns."""
_WHITE = b"\r\n\t "
_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)
_PADDING = re.compile(rb"=+")
_LONE_CR = re.compile(rb"(?<!=)((?:==)*+=)\r(?!\n)")
_BROKEN_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t\r\n]|\Z)")


class Decoder(Protocol):
    """Undoes one transfer encoding. `broken`: what came breaks its rules."""

    broken: bool

    def feed(self, octets: bytes) -> bytes:
        """What the next octets add to the decoded ones."""

    def finish(self) -> bytes:
        """What is left to decode at the end."""


class Base64Decoder:
    """Skips what is no base64, and decodes behind padding too.

    What one reader takes for the end hides content from it that others show. An incomplete last
    group gives the octets it has.
    """

    __slots__ = ("_carry", "_paddings", "broken")

    def __init__(self) -> None:
        self.broken = False
        self._carry = b""
        self._paddings = MAX_PADDINGS

    def feed(self, octets: bytes) -> bytes:
        digits = _without_line_ends(octets)
        if b"=" not in digits:
            return self._digits(self._carry + digits if self._carry else digits)
        digits = digits.translate(None, _WHITE)
        new = digits.count(b"=")
        if new > self._paddings:
            end = _nth_padding(digits, self._paddings)
            digits = digits[:end] + digits[end:].translate(None, b"=")
            self.broken = True
            new = self._paddings
        self._paddings -= new
        return self._padded(self._carry + digits)

    def finish(self) -> bytes:
        digits = self._carry.translate(None, b"=")
        self._carry = b""
        self.broken |= bool(digits)
        return binascii.a2b_base64(digits + b"==") if len(digits) > 1 else b""

    def _digits(self, digits: bytes) -> bytes:
        """Decode whole groups; the carry, which may hold padding of its own, comes first."""
        if b"=" in self._carry:
            return self._padded(digits)
        whole = len(digits) & ~3
        try:
            decoded = pybase64.b64decode(digits[:whole], validate=True)
        except binascii.Error:
            known = len(digits.translate(None, _WHITE))
            digits = digits.translate(None, _NOT_BASE64)
            self.broken |= len(digits) < known
            whole = len(digits) & ~3
            decoded = binascii.a2b_base64(digits[:whole])
        self._carry = digits[whole:].translate(None, _NOT_BASE64)
        self.broken |= len(self._carry) < len(digits) - whole
        return decoded

    def _padded(self, digits: bytes) -> bytes:
        known = len(digits)
        digits = digits.translate(None, _NOT_BASE64)
        self.broken |= len(digits) < known
        decoded: list[bytes] = []
        pending = b""
        position = 0
        for padding in _PADDING.finditer(digits):
            first, end = padding.span()
            pending += digits[position:first]
            position = end
            group = len(pending) % 4
            if group >= 2 and group + end - first >= 4:
                decoded.append(binascii.a2b_base64(pending + b"=="))
                self.broken |= group + end - first > 4
                pending = b""
            elif end < len(digits) or group < 2:
                self.broken = True
            else:
                # The rest of this padding may be still to come.
                pending += digits[first:end]
        if not pending.endswith(b"="):
            pending += digits[position:]
        whole = len(pending.rstrip(b"=")) & ~3
        decoded.append(binascii.a2b_base64(pending[:whole]))
        self._carry = pending[whole:]
        return b"".join(decoded)


def _without_line_ends(octets: bytes) -> bytes:
    """The octets less what ends their lines, and less other blanks where that is no more work."""
    if len(octets) >= _LARGE:
        # Who reads as much as this has loaded it.
        import numpy as np

        begin = octets.find(b"\n") + 1
        width = octets.find(b"\n", begin) + 1 - begin
        if begin and width > 2:
            # Nearly always all lines are equally long, and are columns then.
            count = (len(octets) - begin) // width
            end = begin + count * width
            lines = np.frombuffer(octets, np.uint8, count * width, begin).reshape(count, width)
            if lines[:, -2:].tobytes() == b"\r\n" * count:
                first, last = (
                    each.translate(None, _WHITE) for each in (octets[:begin], octets[end:])
                )
                return b"".join((first, lines[:, :-2].tobytes(), last))
    return octets.translate(None, _WHITE)


def _nth_padding(digits: bytes, count: int) -> int:
    """The offset behind the `count`-th padding octet."""
    end = 0
    for _ in range(count):
        end = digits.index(b"=", end) + 1
    return end


class QuotedPrintableDecoder:
    """Leaves what is no escape as it is; a CR alone ends a line too."""

    __slots__ = ("_carry", "broken")

    def __init__(self) -> None:
        self.broken = False
        self._carry = b""

    def feed(self, octets: bytes) -> bytes:
        octets = self._carry + octets if self._carry else octets
        whole = _whole_escapes(octets)
        self._carry = octets[whole:]
        return self._decode(octets[:whole] if self._carry else octets)

    def finish(self) -> bytes:
        octets, self._carry = self._carry, b""
        return self._decode(octets)

    def _decode(self, octets: bytes) -> bytes:
        if not self.broken and b"=" in octets:
            self.broken = _BROKEN_ESCAPE.search(octets) is not None
        if b"=\r" in octets:
            octets = _LONE_CR.sub(rb"\1\r\n", octets)
        return binascii.a2b_qp(octets)


def _whole_escapes(octets: bytes) -> int:
    """How many of the octets can be decoded whatever follows: those before an unfinished escape."""
    last = octets.rfind(b"=", -2)
    if last < 0:
        return len(octets)
    # An equals sign that another one escapes begins nothing.
    run = last + 1 - len(octets[: last + 1].rstrip(b"="))
    return last if run % 2 else len(octets)


def decoder_of(encoding: str) -> Decoder | None:
    """The decoder of a Content-Transfer-Encoding (lower-case); None leaves octets as they are."""
    if encoding == "base64":
        return Base64Decoder()
    if encoding == "quoted-printable":
        return QuotedPrintableDecoder()
    return None


def decode_base64(octets: bytes) -> bytes:
    """All of `octets` decoded, as `Base64Decoder` does it."""
    decoder = Base64Decoder()
    decoded = decoder.feed(octets)
    return decoded + decoder.finish()
