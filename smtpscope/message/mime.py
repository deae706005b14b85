"""The MIME structure of a message: octets in; the tree of parts and the list of attachments out.

One pass over the octets finds every delimiter line with the boundaries that are open there, so
the work does not grow with the nesting. RFC 2045, RFC 2046 §5, RFC 2183.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from smtpscope.message.headers import (
    HeaderSection,
    Parameter,
    first_value,
    parse_parameters,
    read_headers,
)
from smtpscope.message.text import decode_base64

MAX_DEPTH = 64
"""Parts within parts; a multipart below that is not taken apart."""

MAX_PARTS = 10_000
"""Parts in one message; what follows belongs to the last one."""

MAGIC = 16
"""First octets of an attachment that are kept: enough to tell what kind of file it is."""


@dataclass(slots=True)
class Part:
    """One part: of a multipart, the message in a message/rfc822, or the whole message.

    Offsets count octets of the message: `start` is where its header begins, `body` where its body
    does, `end` is behind the body. `size` counts the body's octets, decoded unless the part has
    children. `encoding` is the Content-Transfer-Encoding, "7bit" where there is none.
    `content_type` is the type without parameters; it and `disposition` are lower-case.
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

    def decode(self, content: bytes) -> bytes:
        """The body's octets, `content` being the whole message, without the transfer encoding."""
        octets = content[self.body : self.end]
        if self.encoding == "base64":
            return decode_base64(octets)
        if self.encoding == "quoted-printable":
            return binascii.a2b_qp(octets)
        return octets


@dataclass(slots=True)
class Attachment:
    """A part that is a file rather than text to read.

    `size` and `sha256` are of the decoded body, `magic` are its first octets, at most `MAGIC`.

    Such is every leaf that has a file name, or the disposition "attachment", or a type that is
    neither text nor multipart; and every embedded message, whose own attachments follow it.
    """

    filename: str | None
    content_type: str
    size: int
    sha256: str
    magic: bytes


class Structure(NamedTuple):
    """The tree, its attachments in order, how many leaves it has; `cut`: a bound was hit."""

    root: Part
    attachments: list[Attachment]
    leaves: int
    cut: bool


_EMBEDDED = ("message/rfc822", "message/global", "message/news")
_ENCODED = ("base64", "quoted-printable")
_DASHES = re.compile(rb"[\r\n]--([^\r\n]*)")


def read_structure(content: bytes, section: HeaderSection) -> Structure:
    """The structure of the message `content`, whose header section has been read already."""
    tree = _Tree(content)
    tree.read(section)
    root = tree.root
    attachments: list[Attachment] = []
    leaves = 0
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part.children:
            part.size = part.end - part.body
            waiting.extend(reversed(part.children))
        else:
            leaves += 1
        _measure(part, content, attachments)
    return Structure(root, attachments, leaves, tree.cut)


def _measure(part: Part, content: bytes, attachments: list[Attachment]) -> None:
    embedded = part.content_type in _EMBEDDED
    if part.children and not embedded:
        return
    attached = (
        embedded
        or part.filename is not None
        or part.disposition == "attachment"
        or not part.content_type.startswith(("text/", "multipart/"))
    )
    if not attached and part.encoding not in _ENCODED:
        part.size = part.end - part.body
        return
    octets = part.decode(content)
    part.size = len(octets)
    if attached:
        digest = sha256(octets).hexdigest()
        magic = octets[:MAGIC]
        attachments.append(Attachment(part.filename, part.content_type, part.size, digest, magic))


class _Tree:
    """The parts that are open at the current octet, outermost first, and their boundaries."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.open_parts: list[Part] = []
        self.depth_of: dict[bytes, int] = {}
        self.count = 0
        self.cut = False

    @property
    def root(self) -> Part:
        return self.open_parts[0]

    def read(self, section: HeaderSection) -> None:
        content = self.content
        position = self._open(section, 0, "text/plain")
        while self.depth_of:
            # The line end before the first line of a body ends its header section.
            line = _DASHES.search(content, position - 1)
            if line is None:
                break
            position = line.end()
            text = line[1].rstrip(b" \t")
            depth = self.depth_of.get(text)
            if depth is not None:
                if self.count >= MAX_PARTS:
                    self.cut = True
                    break
                self._close(depth + 1, line.start())
                position = self._open_next(position)
            elif text.endswith(b"--"):
                depth = self.depth_of.get(text[:-2])
                if depth is not None:
                    self._close(depth + 1, line.start())
                    del self.depth_of[text[:-2]]
        self._close(1, len(content))
        self.root.end = max(len(content), self.root.body)

    def _open_next(self, line_end: int) -> int:
        content = self.content
        if content.startswith(b"\r\n", line_end):
            start = line_end + 2
        else:
            start = min(line_end + 1, len(content))
        digest = self.open_parts[-1].content_type == "multipart/digest"
        section = read_headers(content, start)
        return self._open(section, start, "message/rfc822" if digest else "text/plain")

    def _open(self, section: HeaderSection, start: int, default_type: str) -> int:
        """Open the part whose header section this is, and the messages that begin within it."""
        while True:
            part, boundary = _read_part(section, start, default_type)
            if self.open_parts:
                self.open_parts[-1].children.append(part)
            self.open_parts.append(part)
            self.count += 1
            self.cut |= section.cut
            depth = len(self.open_parts)
            embeds = part.content_type in _EMBEDDED and part.encoding not in _ENCODED
            if not embeds and not boundary:
                return part.body
            if depth >= MAX_DEPTH:
                self.cut = True
                return part.body
            if boundary:
                # Where a boundary is used twice, the outer part's meaning holds (RFC 2046 §5.1.2).
                self.depth_of.setdefault(boundary, depth - 1)
                return part.body
            start, default_type = part.body, "text/plain"
            section = read_headers(self.content, start)

    def _close(self, depth: int, end: int) -> None:
        """Close the parts at `depth` and below; the delimiter's line end begins at `end`."""
        if self.content.startswith(b"\n", end) and self.content.startswith(b"\r", end - 1):
            end -= 1
        closed = self.open_parts[depth:]
        if closed:
            # A blank line that ends a header may be the delimiter's own line end.
            end = max(end, closed[0].body)
        for part in closed:
            part.start = min(part.start, end)
            part.body = min(part.body, end)
            part.end = end
        del self.open_parts[depth:]
        for boundary in [name for name, at in self.depth_of.items() if at >= depth]:
            del self.depth_of[boundary]


def _read_part(section: HeaderSection, start: int, default_type: str) -> tuple[Part, bytes]:
    """The part with this header section, open-ended, and its boundary (empty: it has none)."""
    headers = section.headers
    content_type = default_type
    parameters: dict[str, Parameter] = {}
    value = first_value(headers, b"content-type")
    if value is not None:
        content_type, parameters = parse_parameters(value)
        kind, _, subtype = content_type.partition("/")
        if not kind or not subtype or "/" in subtype:
            content_type = "text/plain"
    encoding = "7bit"
    value = first_value(headers, b"content-transfer-encoding")
    if value is not None:
        encoding = parse_parameters(value)[0]
    disposition = None
    details: dict[str, Parameter] = {}
    value = first_value(headers, b"content-disposition")
    if value is not None:
        disposition, details = parse_parameters(value)
    filename = details.get("filename") or parameters.get("name")
    charset = parameters.get("charset")
    boundary = b""
    if content_type.startswith("multipart/") and "boundary" in parameters:
        boundary = parameters["boundary"].octets.rstrip()
    part = Part(
        content_type,
        charset.text if charset is not None else None,
        (filename.text or None) if filename is not None else None,
        disposition,
        encoding,
        start,
        section.body,
        section.body,
    )
    return part, boundary
