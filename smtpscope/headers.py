"""The header fields of a message: octets in; names and raw values, or their decoded text, out.

Reads what is in the wild as well as RFC 5322 §2.2 (fields, folding), §3.4 (addresses), RFC 2047
(encoded words), RFC 2231 (parameters), RFC 6532 (UTF-8). Nothing here raises on what it reads,
all of it is linear in the octets, and no text that comes out holds a lone surrogate.
"""

from __future__ import annotations

import binascii
import re
from encodings.aliases import aliases
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

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
    continuation. Lines may end in CRLF, LF or CR. An mbox "From " line at its start is skipped.
    """
    headers: list[Header] = []
    kept = 0
    cut = False
    position = start
    match_field = _FIELD.match
    if content.startswith(b"From ", start) and _NAME.match(content, start) is None:
        position = _behind(_LINE_END.search(content, start), content)
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


def unfold(value: bytes) -> bytes:
    """A field's value on one line, without the white space around it (RFC 5322 §2.2.3).

    A tab that begins a line stands for a space: mailers that fold with a tab put it in the
    place of one.
    """
    if b"\n" in value or b"\r" in value:
        value = value.replace(b"\n\t", b" ").replace(b"\r\t", b" ").translate(None, b"\r\n")
    return value.strip()


# ---------------------------------------------------------------------------------- character sets

# Only names listed here reach the codec machinery: it imports modules by name, never forgets a
# name that it was asked for, and knows "charsets" that take quadratic time.
_CODECS = {codec: codec for codec in aliases.values()} | aliases
_CODECS |= {
    "ansi_x3.110_1983": "latin_1",
    "gb18030": "gb18030",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "koi8_u": "koi8_u",
    "unicode_1_1_utf_7": "utf_7",
    "windows_874": "cp874",
    "windows_949": "cp949",
    "x_euc_jp": "euc_jp",
    "x_gbk": "gbk",
    "x_mac_roman": "mac_roman",
    "x_sjis": "shift_jis",
}

# What is sent under a standard's name is often written in a vendor's superset of it.
_SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso2022_jp": "iso2022_jp_ext",
    "big5": "big5hkscs",
}


def decode_octets(octets: bytes, charset: str | None = None) -> str:
    """Text of `octets`: by `charset` if that is known and fits, else as UTF-8, else as Latin-1."""
    if charset:
        codec = _CODECS.get(charset.strip(" \t'\"").lower().replace("-", "_"))
        while codec is not None:
            try:
                return _without_surrogates(octets.decode(codec))
            except (LookupError, ValueError):
                codec = _SUPERSETS.get(codec)
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _without_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


# ----------------------------------------------------------------------------------- encoded words

_WORD_START = re.compile(rb"=\?([^?\s]{1,100})\?([bBqQ])\?")
_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
)


def decode_text(value: bytes) -> str:
    """A field's raw value as text: unfolded, its encoded words decoded.

    Encoded words are taken wherever they stand, in the middle of a word and between quotes too.
    The octets of neighbours with the same charset are joined before they are decoded, because
    mailers cut multi-octet characters in two.
    """
    value = unfold(value)
    if b"=?" not in value:
        return decode_octets(value)
    pieces: list[str] = []
    run: list[bytes] = []
    run_charset = b""
    position = 0
    while (word := _WORD_START.search(value, position)) is not None:
        close = value.find(b"?=", word.end())
        if close < 0:
            break
        between = value[position : word.start()]
        charset = word[1].lower()
        if run and (charset != run_charset or between.strip()):
            pieces.append(_decode_run(run, run_charset))
            run = []
            if between.strip():
                pieces.append(decode_octets(between))
        elif not run:
            pieces.append(decode_octets(between))
        text = value[word.end() : close]
        run.append(decode_base64(text) if word[2] in b"bB" else binascii.a2b_qp(text, header=True))
        run_charset = charset
        position = close + 2
    pieces.append(_decode_run(run, run_charset))
    pieces.append(decode_octets(value[position:]))
    return "".join(pieces)


def _decode_run(run: list[bytes], charset: bytes) -> str:
    # RFC 2231 §5 lets a language follow the charset: =?us-ascii*en?...
    return decode_octets(b"".join(run), charset.partition(b"*")[0].decode("latin-1"))


def decode_base64(octets: bytes | memoryview) -> bytes:
    """`octets` decoded up to the first padding; what is no base64 is skipped (RFC 2045 §6.8)."""
    try:
        return binascii.a2b_base64(octets)
    except binascii.Error:
        digits = bytes(octets).translate(None, _NOT_BASE64)
        if len(digits) % 4 == 1:
            digits = digits[:-1]
        return binascii.a2b_base64(digits + b"==")


# -------------------------------------------------------------------------------------- parameters

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


# --------------------------------------------------------------------------------------- addresses

_ADDRESS_SPECIAL = re.compile(rb'["(:;=\[\\]')
_ADDRESS_TOKEN = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"'
    rb"|\\."
    rb"|\[[^\[\]]*+\]"
    rb"|=\?[^?\s]{1,100}\?[bBqQ]\?[^?]*+\?="
    rb"|[(<>,;:]",
    re.DOTALL,
)
_PARENTHESIS = re.compile(rb"\\.|[()]", re.DOTALL)


def split_mailboxes(value: bytes) -> list[str]:
    """The entries of an address list as written, decoded (RFC 5322 §3.4).

    A comma in quotes, a comment, an encoded word or a route does not divide; a group is one
    entry. Semicolons outside of a group divide as commas do. Empty entries are left out.
    """
    value = unfold(value)
    if _ADDRESS_SPECIAL.search(value) is None:
        entries = decode_octets(value).split(",")
        return [stripped for entry in entries if (stripped := entry.strip())]
    return [decode_text(entry) for entry in _scan_addresses(value)[0]]


def addr_specs(value: bytes) -> list[str]:
    """The bare addresses of an address list, members of groups too, without routes."""
    return [decode_octets(spec) for spec in _scan_addresses(unfold(value))[1]]


def _scan_addresses(value: bytes) -> tuple[list[bytes], list[bytes]]:
    entries: list[bytes] = []
    specs: list[bytes] = []
    last_semicolon = value.rfind(b";")
    entry_start = bare_start = position = 0
    bare = b""
    angle_start = -1
    angle: bytes | None = None
    in_group = False
    while (token := _ADDRESS_TOKEN.search(value, position)) is not None:
        start, position = token.span()
        kind = value[start : start + 1]
        if kind == b"(":
            bare += value[bare_start:start]
            bare_start = position = _comment_end(value, position)
        elif kind == b"<" and angle_start < 0:
            angle_start = position
        elif kind == b">" and angle_start >= 0:
            angle = value[angle_start:start]
            angle_start = -1
        elif angle_start >= 0:
            continue
        elif kind == b":" and not in_group and start < last_semicolon:
            in_group = True
            bare, bare_start = b"", position
        elif kind in (b",", b";"):
            specs.append(_addr_spec(bare + value[bare_start:start], angle))
            bare, bare_start, angle = b"", position, None
            if kind == b";" or not in_group:
                entries.append(value[entry_start : position if in_group else start])
                entry_start = position
                in_group = False
    entries.append(value[entry_start:])
    if angle_start >= 0:
        angle = value[angle_start:]
    specs.append(_addr_spec(bare + value[bare_start:], angle))
    return _filled(entries), _filled(specs)


def _filled(items: list[bytes]) -> list[bytes]:
    return [stripped for item in items if (stripped := item.strip())]


def _comment_end(value: bytes, position: int) -> int:
    depth = 1
    while depth and (token := _PARENTHESIS.search(value, position)) is not None:
        position = token.end()
        depth += {b"(": 1, b")": -1}.get(token[0], 0)
    return len(value) if depth else position


def _addr_spec(bare: bytes, angle: bytes | None) -> bytes:
    if angle is not None:
        spec = angle.strip()
        return spec.partition(b":")[2] if spec.startswith(b"@") else spec
    spec = bare.strip()
    if spec.startswith(b'"') or len(words := spec.split()) < 2:
        return spec
    return next((word for word in words if b"@" in word), b"")
