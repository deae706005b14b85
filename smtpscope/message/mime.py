"""The MIME structure of a message: octets in, in any pieces; the tree of parts and its files out.

One pass over the octets finds every delimiter line with the boundaries that are open there, and
decodes, measures and digests each body while it passes: the work does not grow with the nesting,
and no more than a line is held back. RFC 2045, RFC 2046 §5, RFC 2183.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import BinaryIO, NamedTuple

from smtpscope.message.encodings import Decoder, decoder_of
from smtpscope.message.headers import (
    Header,
    HeaderReader,
    Parameter,
    field_follows,
    parse_parameters,
)
from smtpscope.message.text import decode_octets, is_charset
from smtpscope.message.uuencode import UuScanner

MAX_DEPTH = 64
"""Parts within parts; a multipart below that is not taken apart."""

MAX_EMBEDDED = 8
"""Messages within messages that are taken apart: each digests the octets of those within it too."""

MAX_PARTS = 2_000
"""Parts in one message; what follows belongs to the last one."""

MAX_TEXT = 255
"""Characters kept of a file name, and of a type, a charset and their like."""

MAX_BOUNDARY = 1_000
"""Octets of a boundary; a longer one is none."""

MAGIC = 16
"""First octets of an attachment that are kept: enough to tell what kind of file it is."""


@dataclass(slots=True)
class Part:
    """One part: of a multipart, the message in a message/rfc822, or the whole message.

    Offsets count octets of the message: `start` is where its header begins, `body` where its body
    does, `end` is behind the body. `size` counts the body's octets, decoded unless the part is
    a multipart or an embedded message with parts of its own. `encoding` is the
    Content-Transfer-Encoding, "7bit" where there is none. `content_type` is the type without
    parameters; it and `disposition` are lower-case. `number` counts the parts in the order in
    which they begin; the message is 0. A file that stands in a text as uuencode is its child.
    """

    content_type: str
    charset: str | None
    filename: str | None
    disposition: str | None
    encoding: str
    start: int
    body: int
    end: int
    size: int = 0
    children: list[Part] = field(default_factory=list)
    number: int = 0


@dataclass(slots=True)
class Attachment:
    """A part that is a file rather than text to read; `number` is the part's.

    `size` and `sha256` are of the decoded body, `magic` are its first octets, at most `MAGIC`.

    Such is every leaf that has a file name, or the disposition "attachment", or a type that is
    neither text nor multipart; and every embedded message, whose own attachments follow it.
    """

    filename: str | None
    content_type: str
    size: int
    sha256: str
    magic: bytes
    number: int


class Flaw(NamedTuple):
    """Where the message breaks a rule, and how often; offsets count octets of the message."""

    rule: str
    start: int
    end: int
    detail: str
    times: int


class Structure(NamedTuple):
    """The header section, the tree, its attachments in order, how many leaves it has.

    `flaws` has the first of each kind. `cut`: a bound was hit.
    """

    headers: list[Header]
    root: Part
    attachments: list[Attachment]
    leaves: int
    flaws: list[Flaw]
    cut: bool


_EMBEDDED = ("message/rfc822", "message/global", "message/news")
_ENCODED = ("base64", "quoted-printable")
_WESTERN = ("iso-8859-", "windows-125")
_MAX_LINE = 2 * MAX_BOUNDARY
_LINE_START = rb"[\r\n]--"
_LINE_REST = rb"([^\r\n]{0,%d}+)(?=[\r\n]|\Z)" % _MAX_LINE
_DASHES = re.compile(_LINE_START + _LINE_REST)
_LINE = re.compile(rb"[^\r\n]{0,998}+")
_MISSES = 1_000
"""Lines that only begin like delimiters after which it pays to look for the open boundaries."""
_SOUGHT = 500
"""Octets of open boundaries that are looked for at most: to compile what looks for them then takes
no longer than those lines did, however often a message makes it necessary. More are looked up."""


class _Body:
    """What becomes of a body's octets: decoded, measured, digested, written out, looked at."""

    __slots__ = (
        "_ascii",
        "_attachment",
        "_decoder",
        "_digest",
        "_out",
        "_part",
        "_utf8",
        "_western",
        "_wide",
        "files",
        "lie",
        "size",
    )

    def __init__(self, part: Part, attachment: Attachment | None, out: BinaryIO | None) -> None:
        self._part = part
        self._attachment = attachment
        self._out = out
        self._decoder: Decoder | None = None
        self._digest = sha256() if attachment is not None else None
        self._ascii = False
        self._utf8: codecs.IncrementalDecoder | None = None
        self._western = self._wide = False
        self.files: UuScanner | None = None
        self.lie = ""
        self.size = 0
        if part.content_type in _EMBEDDED and part.encoding not in _ENCODED:
            return
        self._decoder = decoder_of(part.encoding)
        if part.content_type.startswith("text/") and part.charset is not None:
            charset = part.charset.lower()
            self._ascii = charset == "us-ascii"
            self._western = charset.startswith(_WESTERN)
            if self._western or charset in ("utf-8", "utf8"):
                self._utf8 = codecs.getincrementaldecoder("utf-8")()

    @property
    def broken(self) -> bool:
        return self._decoder is not None and self._decoder.broken

    def feed(self, octets: bytes) -> None:
        """The next octets as they are in the message."""
        if self.files is not None:
            self.files.feed(octets)
        self.take(octets if self._decoder is None else self._decoder.feed(octets))

    def take(self, octets: bytes) -> None:
        """The next octets, decoded."""
        if self._digest is not None and self._attachment is not None:
            self._digest.update(octets)
            if self.size < MAGIC:
                self._attachment.magic += octets[: MAGIC - self.size]
        self.size += len(octets)
        if self._out is not None:
            self._out.write(octets)
        if self._ascii:
            if not (self.lie or octets.isascii()):
                self.lie = self._part.charset or ""
        elif self._utf8 is not None:
            self._check(self._utf8, octets, False)

    def _check(self, utf8: codecs.IncrementalDecoder, octets: bytes, final: bool) -> None:
        charset = self._part.charset or ""
        try:
            self._wide |= not utf8.decode(octets, final).isascii()
        except UnicodeDecodeError:
            self._utf8 = None
            if not self._western:
                self.lie = charset
            return
        if final and self._western and self._wide:
            # No text in such a charset happens to be UTF-8 from end to end.
            self.lie = f"{charset}, but it is UTF-8"

    def finish(self) -> None:
        if self.files is not None:
            self.files.finish()
        if self._decoder is not None and (rest := self._decoder.finish()):
            self.take(rest)
        if self._utf8 is not None:
            self._check(self._utf8, b"", True)
        self._part.size = self.size
        if self._attachment is not None and self._digest is not None:
            self._attachment.size = self.size
            self._attachment.sha256 = self._digest.hexdigest()


class _Inline:
    """The files that stand as uuencode in the body of one text part."""

    __slots__ = ("_body", "_reader", "_text")

    def __init__(self, reader: StructureReader, text: Part) -> None:
        self._reader = reader
        self._text = text
        self._body: _Body | None = None

    def begin(self, name: bytes, start: int, body: int) -> bool:
        filename = decode_octets(name)[:MAX_TEXT]
        part = Part(
            "application/octet-stream", None, filename, None, "x-uuencode", start, body, body
        )
        self._body = self._reader.inline(part, self._text)
        return self._body is not None

    def data(self, octets: bytes) -> None:
        assert self._body is not None
        self._body.take(octets)

    def end(self, offset: int, broken: bool) -> None:
        assert self._body is not None
        self._body.finish()
        part = self._text.children[-1]
        part.end = offset
        if broken:
            self._reader.note("uuencode-broken", part.body, offset, part.filename or "")


class StructureReader:
    """Takes a message's octets in pieces and gives its structure at the end.

    It holds back what may be part of a delimiter or of a field, a bounded number of octets; large
    pieces are read quicker than small ones. With `wanted` and `out` the decoded octets of the part
    of that number are written to `out` meanwhile. `header` is the message's if it has been read,
    `body` the offset behind it.
    """

    def __init__(
        self,
        wanted: int = -1,
        out: BinaryIO | None = None,
        *,
        header: HeaderReader | None = None,
        body: int = 0,
    ) -> None:
        self._wanted = wanted
        self._out = out
        self._buffer = b""
        self._base = 0
        self._at = body
        self._given = 0
        self._header: HeaderReader | None = HeaderReader() if header is None else header
        self._start = 0
        self._default = "text/plain"
        self._open: list[Part] = []
        self._bodies: list[_Body | None] = []
        self._depths: dict[bytes, int] = {}
        self._delimiter = _DASHES
        self._misses = 0
        self._embedded = 0
        self._headers: list[Header] = []
        self._root: Part | None = None
        self._attachments: list[Attachment] = []
        self._flaws: dict[str, Flaw] = {}
        self._leaves = 0
        self.count = 0

    def feed(self, octets: bytes) -> None:
        self._buffer += octets
        self._read(False)
        # What stands before the line end before a delimiter has been looked at.
        done = max(min(self._at - 4, self._given - self._base), 0)
        self._buffer = self._buffer[done:]
        self._base += done
        self._at -= done

    def finish(self, octets: bytes = b"") -> Structure:
        """The structure, `octets` being the last ones."""
        self._buffer = self._buffer + octets if self._buffer else octets
        self._read(True)
        self._close(0, self._base + len(self._buffer))
        root = self._root
        assert root is not None
        root.end = max(self._base + len(self._buffer), root.body)
        cut = "message-bound" in self._flaws
        if cut:
            for rule in ("multipart-unclosed", "boundary-unseen"):
                self._flaws.pop(rule, None)
        flaws = [*self._flaws.values()]
        return Structure(self._headers, root, self._attachments, self._leaves, flaws, cut)

    def note(self, rule: str, start: int, end: int, detail: str) -> None:
        known = self._flaws.get(rule)
        if known is None:
            self._flaws[rule] = Flaw(rule, start, end, detail, 1)
        else:
            self._flaws[rule] = known._replace(times=known.times + 1)

    def _bound(self, start: int, end: int, detail: str) -> None:
        self.note("message-bound", start, end, detail)

    def inline(self, part: Part, text: Part) -> _Body | None:
        """Take in a file that stands in a text; None where there are too many parts."""
        if self.count >= MAX_PARTS:
            self._bound(part.start, part.body, f"more than {MAX_PARTS:,} parts")
            return None
        text.children.append(part)
        part.number = self.count
        self.count += 1
        self._leaves += 1
        return self._body_of(part, True)

    def _read(self, final: bool) -> None:
        while True:
            if self._header is not None:
                if not self._header.done:
                    self._at = self._header.read(self._buffer, self._at, final)
                # The last line end of a header may belong to a delimiter behind it.
                self._give(self._base + self._at - 2)
                if not self._header.done:
                    return
                self._begin(self._header)
            elif not self._read_body(final):
                return

    # -- bodies ------------------------------------------------------------------------------

    def _read_body(self, final: bool) -> bool:
        """Read up to the next delimiter; False where there is none yet."""
        buffer, size = self._buffer, len(self._buffer)
        if not self._depths:
            self._at = size
            self._give(self._base + size)
            return False
        while True:
            seek = self._at
            # Base64 has no dash, and one octet is found a hundred times as quickly as two.
            dash = buffer.find(b"-", seek)
            dashes = buffer.find(b"--", dash) if dash >= 0 else -1
            line = self._delimiter.search(buffer, max(seek, dashes - 1)) if dashes >= 0 else None
            if line is None:
                self._at = size if final else max(seek, size - 3)
                break
            if not final and line.end() + 1 >= size:
                self._at = line.start()
                break
            self._at = line.end()
            if self._delimit(line):
                return True
        self._give(self._base + (size if final else self._at - 1))
        return False

    def _delimit(self, line: re.Match[bytes]) -> bool:
        """Whether a line that looks like a delimiter is one, and begins or ends a part."""
        text = line[1].rstrip(b" \t")
        depth = self._depths.get(text)
        if depth is not None:
            if self.count >= MAX_PARTS:
                where = self._base + line.start() + 1, self._base + line.end()
                self._bound(*where, f"more than {MAX_PARTS:,} parts")
                self._depths.clear()
                return True
            self._close(depth + 1, self._base + line.start())
            self._begin_header(line.end())
            return True
        if text.endswith(b"--") and (depth := self._depths.get(text[:-2])) is not None:
            self._close(depth + 1, self._base + line.start())
            del self._depths[text[:-2]]
            self._look_for_any()
            return True
        self._misses += 1
        if self._misses == _MISSES and sum(map(len, self._depths)) <= _SOUGHT:
            known = b"|".join(re.escape(boundary) for boundary in self._depths)
            self._delimiter = re.compile(
                rb"%b(?=(?:%b)(?:--)?[ \t]*+(?:[\r\n]|\Z))%b" % (_LINE_START, known, _LINE_REST)
            )
        return False

    def _look_for_any(self) -> None:
        self._delimiter = _DASHES
        self._misses = 0

    def _give(self, upto: int) -> None:
        """Pass the octets up to the offset `upto` to the bodies that are open."""
        given = self._given
        if upto <= given:
            return
        base = self._base
        piece = b""
        for part, body in zip(self._open, self._bodies, strict=True):
            if body is None:
                continue
            if part.body <= given:
                if not piece:
                    piece = self._buffer[given - base : upto - base]
                body.feed(piece)
            elif part.body < upto:
                body.feed(self._buffer[part.body - base : upto - base])
        self._given = upto

    # -- parts -------------------------------------------------------------------------------

    def _begin_header(self, line_end: int) -> None:
        buffer = self._buffer
        if buffer.startswith(b"\r\n", line_end):
            self._at = line_end + 2
        else:
            self._at = min(line_end + 1, len(buffer))
        digest = self._open[-1].content_type == "multipart/digest"
        self._expect(self._base + self._at, "message/rfc822" if digest else "text/plain")

    def _expect(self, start: int, default_type: str) -> None:
        self._header = HeaderReader()
        self._start = start
        self._default = default_type

    def _begin(self, header: HeaderReader) -> None:
        """Open the part whose header section has been read."""
        self._header = None
        position = self._base + self._at
        part, boundary = _read_part(header.headers, self._start, position, self._default)
        part.number = self.count
        self.count += 1
        if header.cut:
            self._bound(part.start, position, f"a header of {position - part.start:,} octets")
        if self._open:
            parent = self._open[-1]
            if not parent.children and self._bodies[-1] is not None:
                self._has_parts(parent)
            parent.children.append(part)
        else:
            self._root = part
            self._headers = header.headers
            if header.unended and header.headers:
                self._note_unended()
        self._open.append(part)
        embeds = part.content_type in _EMBEDDED and part.encoding not in _ENCODED
        divides = part.content_type.startswith("multipart/")
        if divides and not boundary:
            self.note("boundary-missing", part.start, part.body, part.content_type)
        if (
            part.charset is not None
            and part.content_type.startswith("text/")
            and not is_charset(part.charset)
        ):
            self.note("charset-unknown", part.start, part.body, part.charset)
        depth = len(self._open)
        if (embeds or boundary) and depth >= MAX_DEPTH:
            self._bound(part.start, position, f"parts nested more than {MAX_DEPTH} deep")
            boundary, embeds = b"", False
        if embeds and self._embedded >= MAX_EMBEDDED:
            nested = f"messages nested more than {MAX_EMBEDDED} deep"
            self._bound(part.start, position, nested)
            embeds = False
        attached = (
            part.content_type in _EMBEDDED
            or part.filename is not None
            or part.disposition == "attachment"
            or not part.content_type.startswith(("text/", "multipart/"))
        )
        self._bodies.append(self._body_of(part, attached))
        if embeds:
            self._embedded += 1
            self._expect(part.body, "text/plain")
            return
        self._leaves += 1
        if boundary and self._depths.setdefault(boundary, depth - 1) == depth - 1:
            self._look_for_any()
        # The line end before the first line of a body ends its header section.
        self._at = max(self._at - 1, 0)

    def _body_of(self, part: Part, attached: bool) -> _Body:
        attachment = None
        if attached:
            attachment = Attachment(part.filename, part.content_type, 0, "", b"", part.number)
            self._attachments.append(attachment)
        out = self._out if part.number == self._wanted else None
        body = _Body(part, attachment, out)
        if part.content_type.startswith("text/") and part.encoding not in _ENCODED:
            body.files = UuScanner(_Inline(self, part), part.body)
        return body

    def _has_parts(self, parent: Part) -> None:
        """What looked like a leaf is none."""
        if parent.content_type in _EMBEDDED:
            return
        self._leaves -= 1
        if parent.number != self._wanted:
            self._bodies[-1] = None
        if self._attachments and self._attachments[-1].number == parent.number:
            self._attachments.pop()

    def _close(self, depth: int, end: int) -> None:
        """Close the parts at `depth` and below; the delimiter's line end begins at `end`."""
        at = end - self._base
        if self._buffer.startswith(b"\n", at) and self._buffer.startswith(b"\r", at - 1):
            end -= 1
        closed = self._open[depth:]
        if not closed:
            self._give(end)
            return
        # A blank line that ends a header may be the delimiter's own line end.
        end = max(end, closed[0].body)
        self._give(end)
        for part, body in zip(closed, self._bodies[depth:], strict=True):
            part.start = min(part.start, end)
            part.body = min(part.body, end)
            part.end = end
            if body is None:
                part.size = end - part.body
            else:
                body.finish()
                if body.broken:
                    encoded = part.encoding == "base64"
                    rule = "base64-broken" if encoded else "quoted-printable-broken"
                    self.note(rule, part.body, end, part.filename or part.content_type)
                if body.lie:
                    self.note("charset-lies", part.body, end, body.lie)
            if part.content_type in _EMBEDDED and part.children:
                self._embedded -= 1
        del self._open[depth:]
        del self._bodies[depth:]
        for boundary in [name for name, of in self._depths.items() if of >= depth]:
            part = closed[self._depths.pop(boundary) - depth]
            rule = "multipart-unclosed" if part.children else "boundary-unseen"
            self.note(rule, part.start, part.body, decode_octets(boundary))
            self._look_for_any()

    def _note_unended(self) -> None:
        """A line that is no field ends the header: the body begins, or a field is broken."""
        buffer, at = self._buffer, self._at
        line = _LINE.match(buffer, at)
        assert line is not None
        follows = field_follows(buffer, line.end())
        rule = "header-line-malformed" if follows else "no-blank-line"
        self.note(rule, self._base + at, self._base + line.end(), decode_octets(line[0][:60]))


def read_structure(content: bytes) -> Structure:
    """The structure of a message that is at hand as a whole."""
    header = HeaderReader()
    body = header.read(content, 0, True)
    root = None if header.cut or header.unended else _lone_text(header.headers, content, body)
    if root is None:
        return StructureReader(header=header, body=body).finish(content)
    return Structure(header.headers, root, [], 1, [], False)


def _lone_text(headers: list[Header], content: bytes, body: int) -> Part | None:
    """The message as one part, if it is no more than a text that needs no decoding: most are."""
    if b"begin " in content:
        return None
    size = len(content)
    fields = content[:body].lower()
    if b"multipart/" in fields:
        return None
    if b"content-" not in fields:
        return Part("text/plain", None, None, None, "7bit", 0, body, size, size - body)
    part, boundary = _read_part(headers, 0, body, "text/plain")
    if (
        boundary
        or not part.content_type.startswith("text/")
        or part.filename is not None
        or part.disposition == "attachment"
        or part.encoding in _ENCODED
        or (part.charset is not None and not (content.isascii() and is_charset(part.charset)))
    ):
        return None
    part.end = size
    part.size = size - body
    return part


def _read_part(
    headers: list[Header], start: int, body: int, default_type: str
) -> tuple[Part, bytes]:
    """The part with this header section, open-ended, and its boundary (empty: it has none)."""
    content_type = default_type
    parameters: dict[str, Parameter] = {}
    fields = _mime_fields(headers)
    value = fields.get(b"content-type")
    if value is not None:
        content_type, parameters = parse_parameters(value)
        kind, _, subtype = content_type.partition("/")
        if not kind or not subtype or "/" in subtype:
            content_type = "text/plain"
    encoding = "7bit"
    value = fields.get(b"content-transfer-encoding")
    if value is not None:
        encoding = parse_parameters(value)[0]
    disposition = None
    details: dict[str, Parameter] = {}
    value = fields.get(b"content-disposition")
    if value is not None:
        disposition, details = parse_parameters(value)
        disposition = disposition[:MAX_TEXT]
    filename = details.get("filename") or parameters.get("name")
    charset = parameters.get("charset")
    boundary = b""
    if content_type.startswith("multipart/") and "boundary" in parameters:
        boundary = parameters["boundary"].octets.rstrip()
    part = Part(
        content_type[:MAX_TEXT],
        charset.text[:MAX_TEXT] if charset is not None else None,
        (filename.text[:MAX_TEXT] or None) if filename is not None else None,
        disposition,
        encoding[:MAX_TEXT],
        start,
        body,
        body,
    )
    return part, boundary if len(boundary) <= MAX_BOUNDARY else b""


def _mime_fields(headers: list[Header]) -> dict[bytes, bytes]:
    """The first value of each field whose name begins like those that describe a part."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name[:1] in b"Cc":
            fields.setdefault(name.lower(), value)
    return fields
