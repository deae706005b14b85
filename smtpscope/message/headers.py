"""Header fields: a message's octets in; names with raw values, and structured values, out.

Reads what is in the wild as well as RFC 5322 §2.2 (fields, folding) and RFC 2231 (parameters).
Nothing here raises on what it reads, and all of it is linear in the octets.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from smtpscope.message.text import decode_octets, decode_text, unfold

MAX_HEADERS = 1_000
"""Fields kept of one header section."""

MAX_VALUE = 64 * 1024
"""Octets kept of one field's value."""

MAX_SECTION = 1024 * 1024
"""Octets of names and values kept of one header section."""


class Header(NamedTuple):
    """One field: its name and its value as on the wire, folds included, less the line ending."""

    name: bytes
    value: bytes

    @property
    def text(self) -> str:
        """The value unfolded and decoded (`decode_text`)."""
        return decode_text(self.value)


class HeaderSection(NamedTuple):
    """A header section: `body` is the offset behind it; `cut`: a bound kept part of it out."""

    headers: list[Header]
    body: int
    cut: bool


class Parameter(NamedTuple):
    """A parameter's octets; `charset` is None unless RFC 2231 syntax was used."""

    octets: bytes
    charset: str | None

    @property
    def text(self) -> str:
        """Decoded; encoded words too, which no RFC allows here and many mailers write."""
        if self.charset is None:
            return decode_text(self.octets)
        return decode_octets(self.octets, self.charset)


# The common field, in one step: CRLF line ends and few folds. Any other takes the general way.
_FIELD = re.compile(
    rb"(?!--)([!-9;-~]{1,1000}+)[ \t]*+:([^\r\n]*+(?:\r\n[ \t][^\r\n]*+){0,50})\r\n(?![ \t])"
)
# A name does not begin with "--": that is a delimiter line that lacks the blank line before it.
_NAME = re.compile(rb"(?!--)([!-9;-~]{1,1000}+)[ \t]*+:")
_FIELD_END = re.compile(rb"\r\n(?![ \t])|\n(?![ \t])|\r(?![\n \t])")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE = re.compile(rb"\n\r?\n|\r\r\n?")


def read_headers(content: bytes, start: int = 0) -> HeaderSection:
    """The header section that begins at offset `start`.

    It ends behind the first blank line, or before the first line that is neither a field nor a
    continuation. Lines may end in CRLF, LF or CR. An mbox "From " line before it is skipped.
    """
    headers: list[Header] = []
    kept = 0
    cut = False
    position = start
    match_field = _FIELD.match
    if content.startswith(b"From ", start) and _NAME.match(content, start) is None:
        second_line = _behind(_LINE_END.search(content, start), content)
        if _NAME.match(content, second_line) is not None:
            position = second_line
    while True:
        if (field := match_field(content, position)) is not None:
            name, value = field.groups()
            field_end = field.end()
        elif (field := _NAME.match(content, position)) is not None:
            name = field[1]
            line_end = _FIELD_END.search(content, field.end())
            value = content[field.end() : len(content) if line_end is None else line_end.start()]
            field_end = _behind(line_end, content)
        else:
            break
        if len(value) > MAX_VALUE:
            value = value[:MAX_VALUE]
            cut = True
        kept += len(name) + len(value)
        if kept > MAX_SECTION or len(headers) == MAX_HEADERS:
            body = _behind(_BLANK_LINE.search(content, position), content)
            return HeaderSection(headers, body, True)
        headers.append(Header(name, value))
        position = field_end
    blank = _LINE_END.match(content, position)
    return HeaderSection(headers, position if blank is None else blank.end(), cut)


def _behind(match: re.Match[bytes] | None, content: bytes) -> int:
    return len(content) if match is None else match.end()


def first_value(headers: list[Header], name: bytes) -> bytes | None:
    """The raw value of the first field called `name` (lower-case), None where there is none."""
    length = len(name)
    for header_name, value in headers:
        if len(header_name) == length and header_name.lower() == name:
            return value
    return None


_PARAMETER = re.compile(
    rb';\s*+([^\s=;"]++)\s*+=\s*+(?:"([^"\\]*(?:\\.[^"\\]*)*)"?|([^;]*))', re.DOTALL
)
_CONTINUATION = re.compile(rb"([^*]+)\*(\d{1,4})(\*?)")


def parse_parameters(value: bytes) -> tuple[str, dict[str, Parameter]]:
    """The first word of a structured field, lower-case, and its parameters by lower-case name.

    Percent-encoding and continuations (RFC 2231 §3 and §4) are resolved and win over a plain
    parameter of the same name; otherwise the first of a name counts. An unquoted value may hold
    spaces, a quoted one may lack its end. The mapping is shared: it is not to be changed.
    """
    # Few values of these fields differ from message to message.
    return _parse_again(value) if len(value) <= 256 else _parse(value)


def _parse(value: bytes) -> tuple[str, dict[str, Parameter]]:
    value = unfold(value)
    semicolon = value.find(b";")
    if semicolon < 0:
        return _first_word(value), {}
    parameters: dict[str, Parameter] = {}
    extended: dict[str, list[tuple[int, bool, bytes]]] = {}
    for raw_name, quoted, bare in _PARAMETER.findall(value, semicolon):
        octets = quoted.replace(b'\\"', b'"').replace(b"\\\\", b"\\") if quoted else bare.rstrip()
        name = raw_name.lower()
        if b"*" not in name:
            parameters.setdefault(name.decode("latin-1"), Parameter(octets, None))
        elif (match := _CONTINUATION.fullmatch(name)) is not None:
            piece = (int(match[2]), bool(match[3]), octets)
            extended.setdefault(match[1].decode("latin-1"), []).append(piece)
        else:
            # Below every number: name*= is the whole value and wins over name*0=.
            piece = (-1, True, octets)
            extended.setdefault(name.rstrip(b"*").decode("latin-1"), []).append(piece)
    for text_name, pieces in extended.items():
        parameters[text_name] = _join_pieces(sorted(pieces))
    return _first_word(value[:semicolon]), parameters


_parse_again = lru_cache(maxsize=1024)(_parse)


def _first_word(value: bytes) -> str:
    words = value.partition(b"(")[0].split(None, 1)
    return decode_octets(words[0]).lower() if words else ""


def _join_pieces(pieces: list[tuple[int, bool, bytes]]) -> Parameter:
    if pieces[0][0] == -1:
        pieces = pieces[:1]
    charset: str | None = None
    joined: list[bytes] = []
    for index, (_, encoded, octets) in enumerate(pieces):
        if encoded:
            if index == 0 and octets.count(b"'") >= 2:
                charset_octets, _, octets = octets.split(b"'", 2)
                charset = charset_octets.decode("latin-1")
            octets = unquote_to_bytes(octets)
        joined.append(octets)
    return Parameter(b"".join(joined), charset)
