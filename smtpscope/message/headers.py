"""Header fields: a message's octets in; names with raw values, and structured values, out.

Reads what is in the wild as well as RFC 5322 §2.2 (fields, folding) and RFC 2231 (parameters).
Nothing here raises on what it reads, and all of it is linear in the octets.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from smtpscope.message.text import decode_octets, decode_text, unfold

MAX_HEADERS = 1_000
"""Fields kept of one header section."""

MAX_VALUE = 128 * 1024
"""Octets kept of one field's value."""

MAX_SECTION = 256 * 1024
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


# The common section, in one step: CRLF line ends, nothing but fields, a blank line.
_SECTION = re.compile(rb"(?:(?!--)[!-9;-~]{1,1000}+:[^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*+\r\n)*+\r\n")
_ITS_FIELDS = re.compile(rb"([^:]++):([^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*+)\r\n")
# The common field: CRLF line ends and few folds. Any other takes the general way.
_FIELD = re.compile(
    rb"(?!--)([!-9;-~]{1,1000}+)[ \t]{0,1000}+:"
    rb"([^\r\n]*+(?:\r\n[ \t][^\r\n]*+){0,50})\r\n(?![ \t])"
)
# A name does not begin with "--": that is a delimiter line that lacks the blank line before it.
_NAME = re.compile(rb"(?!--)([!-9;-~]{1,1000}+)[ \t]{0,1000}+:")
_MBOX_LINE = re.compile(
    rb"From (?![ \t]*:)[^\r\n]{0,998}+(?:\r\n|\n|\r)(?=(?!--)[!-9;-~]{1,1000}+[ \t]{0,1000}+:)"
)
_FIELD_END = re.compile(rb"\r\n(?![ \t])|\n(?![ \t])|\r(?![\n \t])")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE = re.compile(rb"\n\r?\n|\r\r\n?")

_NAMED = partial(tuple.__new__, Header)

_AHEAD = 4096
"""Octets that are looked at before a line is taken for no field; all the bounds above fit in."""


class HeaderReader:
    """Reads one header section from a buffer that may grow between the calls.

    The section ends behind the first blank line, or before the first line that is neither a field
    nor a continuation (`unended`). Lines may end in CRLF, LF or CR. An mbox "From " line before
    it is skipped. `cut`: a bound kept part of it out. It is complete when `done` is set.
    """

    __slots__ = ("_begun", "_kept", "_skip", "cut", "done", "headers", "unended")

    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.cut = self.done = self.unended = False
        self._kept = 0
        self._begun = False
        self._skip: re.Pattern[bytes] | None = None

    def read(self, content: bytes, position: int, final: bool) -> int:
        """The offset up to which the section is read; what is behind it must come again.

        `final`: nothing will follow `content`.
        """
        headers, size = self.headers, len(content)
        match_field = _FIELD.match
        if not self._begun:
            if (end := self._read_common(content, position)) >= 0:
                return end
            if not final and size - position < _AHEAD:
                return position
            self._begun = True
            if content.startswith(b"From ", position):
                mbox = _MBOX_LINE.match(content, position)
                position = position if mbox is None else mbox.end()
        while True:
            if self._skip is not None:
                position = self._skipped(self._skip, content, position, final)
                if self._skip is not None or self.done:
                    return position
            value_end = -1
            field = match_field(content, position)
            if field is not None and (final or field.end() < size):
                name, value = field.groups()
                field_end = field.end()
            elif (field := _NAME.match(content, position)) is not None:
                name = field[1]
                line_end = _FIELD_END.search(content, field.end())
                if line_end is not None and (final or line_end.end() < size):
                    value_end, field_end = line_end.span()
                elif final:
                    value_end = field_end = size
                elif size - 2 - field.end() <= MAX_VALUE:
                    return position
                else:
                    value_end = size
                    field_end = field.end() + MAX_VALUE
                    self._skip = _FIELD_END
                value = content[field.end() : min(value_end, field.end() + MAX_VALUE + 1)]
            else:
                return self._end(content, position, final)
            if len(value) > MAX_VALUE:
                value = value[:MAX_VALUE]
                self.cut = True
            self._kept += len(name) + len(value)
            if self._kept > MAX_SECTION or len(headers) == MAX_HEADERS:
                self.cut = True
                self._skip = _BLANK_LINE
            else:
                headers.append(Header(name, value))
                position = field_end

    def _read_common(self, content: bytes, position: int) -> int:
        """The offset behind a section that is as most are; -1: it is none, and nothing is read."""
        section = _SECTION.match(content, position)
        if section is None or section.end() - position > MAX_VALUE:
            return -1
        fields = _ITS_FIELDS.findall(content, position, section.end())
        if len(fields) > MAX_HEADERS:
            return -1
        # They are pairs already: to name them so takes half the time.
        self.headers += map(_NAMED, fields)
        self.done = True
        return section.end()

    def _skipped(
        self, pattern: re.Pattern[bytes], content: bytes, position: int, final: bool
    ) -> int:
        end = pattern.search(content, position)
        if end is None or (end.end() == len(content) and not final):
            if not final:
                # What is behind it, or its other half, may still be to come.
                return max(position, len(content) - 3) if end is None else end.start()
            position = len(content)
        else:
            position = end.end()
        self._skip = None
        self.done = pattern is _BLANK_LINE
        return position

    def _end(self, content: bytes, position: int, final: bool) -> int:
        if not final and len(content) - position < _AHEAD:
            return position
        self.done = True
        blank = _LINE_END.match(content, position)
        if blank is not None:
            return blank.end()
        self.unended = position < len(content)
        return position


def field_follows(content: bytes, line_end: int) -> bool:
    """Whether a field begins on the line behind the one that ends at `line_end`."""
    end = _LINE_END.match(content, line_end)
    return end is not None and _NAME.match(content, end.end()) is not None


def read_headers(content: bytes, start: int = 0) -> HeaderSection:
    """The header section that begins at offset `start` of `content`, which is all there is."""
    reader = HeaderReader()
    body = reader.read(content, start, True)
    return HeaderSection(reader.headers, body, reader.cut)


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
