"""A mail message as a viewer sees it: its octets in, as the server got them; its summary out.

The octets come without dot-stuffing and in any pieces, and are let go when they have been read:
`headers` reads the fields (RFC 5322 §3.6), `mime` the parts, `octets` counts what lines hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import BinaryIO

from smtpscope.message.addresses import addr_specs, split_mailboxes
from smtpscope.message.headers import Header
from smtpscope.message.mime import Attachment, Flaw, Part, StructureReader, read_structure
from smtpscope.message.octets import OctetCounter, OctetCounts, count_octets
from smtpscope.message.text import decode_octets, decode_text, unfold
from smtpscope.message.trace import Hop, parse_hops

SLICE = 64 * 1024
"""Octets of a message that are held before they are read."""

_VOUCHING = frozenset(
    {
        b"authentication-results",
        b"dkim-signature",
        b"arc-authentication-results",
        b"arc-message-signature",
        b"arc-seal",
    }
)


@dataclass(slots=True)
class Message:
    """A message's summary. Text is decoded and hostile: `display` maps it before it is shown.

    `size` (octets) and `sha256` (hexadecimal) are of all octets seen. `missing` octets were lost
    in gaps. `truncated`: some of what was seen is not in the summary, because the header was
    larger or the parts were more or deeper than the bounds. `parts` counts the leaves of the tree
    under `root`. `octets` counts what its lines should not hold, `flaws` tells where its structure
    breaks a rule.
    """

    size: int
    sha256: str
    missing: int
    truncated: bool
    headers: list[Header]
    root: Part
    attachments: list[Attachment]
    parts: int
    octets: OctetCounts
    flaws: list[Flaw]
    _hops: list[Hop] | None = field(default=None, init=False, compare=False, repr=False)
    _fields: dict[bytes, list[Header]] | None = field(
        default=None, init=False, compare=False, repr=False
    )

    @property
    def complete(self) -> bool:
        """No octet was lost, and none left out of the summary."""
        return not self.missing and not self.truncated

    @property
    def fields(self) -> dict[bytes, list[Header]]:
        """The fields by their lower-case names, from the top of the header down."""
        if self._fields is None:
            self._fields = {}
            for header in self.headers:
                self._fields.setdefault(header.name.lower(), []).append(header)
        return self._fields

    def text(self, name: bytes) -> str | None:
        """The first field called `name` (lower-case), decoded; None where there is none."""
        found = self.fields.get(name)
        return decode_text(found[0].value) if found else None

    def texts(self, name: bytes) -> list[str]:
        """Every field called `name` (lower-case), decoded, from the top of the header down."""
        return [decode_text(value) for value in self._values(name)]

    def mailboxes(self, name: bytes) -> list[str]:
        """The entries of every address field called `name` (lower-case), as written, decoded."""
        return [entry for value in self._values(name) for entry in split_mailboxes(value)]

    def addresses(self, name: bytes) -> list[str]:
        """The bare addresses (addr-spec) in every field called `name` (lower-case)."""
        return [spec for value in self._values(name) for spec in addr_specs(value)]

    @property
    def subject(self) -> str | None:
        return self.text(b"subject")

    @property
    def from_(self) -> str | None:
        return self.text(b"from")

    @property
    def to(self) -> list[str]:
        return self.mailboxes(b"to")

    @property
    def cc(self) -> list[str]:
        return self.mailboxes(b"cc")

    @property
    def reply_to(self) -> str | None:
        return self.text(b"reply-to")

    @property
    def date(self) -> str | None:
        return self.text(b"date")

    @property
    def message_id(self) -> str | None:
        return self.text(b"message-id")

    @property
    def in_reply_to(self) -> str | None:
        return self.text(b"in-reply-to")

    @property
    def user_agent(self) -> str | None:
        """User-Agent or, where there is none, X-Mailer."""
        agent = self.text(b"user-agent")
        return self.text(b"x-mailer") if agent is None else agent

    @property
    def received(self) -> list[str]:
        """The trace fields, oldest first: each server puts its own on top (RFC 5321 §4.4)."""
        return self.texts(b"received")[::-1]

    @property
    def hops(self) -> list[Hop]:
        """The trace fields read, oldest first, with the time that each hop took."""
        if self._hops is None:
            self._hops = parse_hops(self._values(b"received")[::-1])
        return self._hops

    @property
    def authentication(self) -> list[tuple[str, str]]:
        """The fields that vouch for the message, as written: name and value, from the top down.

        Authentication-Results (RFC 8601), DKIM-Signature (RFC 6376) and those of ARC (RFC 8617).
        """
        if _VOUCHING.isdisjoint(self.fields):
            return []
        return [
            (decode_octets(name), decode_octets(unfold(value)))
            for name, value in self.headers
            if name.lower() in _VOUCHING
        ]

    def walk(self) -> Iterator[tuple[Part, int]]:
        """Each part, and how many it is within; a part comes before those within it."""
        todo = [(self.root, 0)]
        while todo:
            part, depth = todo.pop()
            yield part, depth
            todo += [(child, depth + 1) for child in reversed(part.children)]

    def part(self, number: int) -> Part:
        """The part of that number, which must be one of an attachment or of another part."""
        return next(part for part, _ in self.walk() if part.number == number)

    def _values(self, name: bytes) -> list[bytes]:
        return [header.value for header in self.fields.get(name, ())]


class MessageBuilder:
    """Takes a message's octets as they come; `size` and `missing` may be read on the way.

    A small message is read at its end, a large one meanwhile, in slices of `SLICE` octets: no
    more than that is held of it, and what `headers` and `mime` keep by their bounds. A message
    takes 40 kB while it comes, and at most 8 MB where it is made to reach all bounds at once.
    """

    def __init__(self) -> None:
        self.size = 0
        self.missing = 0
        self._chunks: list[bytes] = []
        self._held = 0
        self._counted = 0
        self._readers: _Readers | None = None

    def feed(self, data: bytes) -> None:
        """The next octets."""
        self.size += len(data)
        self._held += len(data)
        self._chunks.append(data)
        if self._held >= SLICE:
            self._read()

    def gap(self, length: int) -> None:
        """The next `length` octets are missing in the capture."""
        # There may be one every few octets: the structure is read in slices all the same.
        readers = self._begun()
        readers.count(b"".join(self._chunks[self._counted :]))
        self._counted = len(self._chunks)
        readers.octets.gap()
        self.missing += length

    def finish(self) -> Message:
        """The summary of all that was fed."""
        readers = self._readers
        rest = self._take(readers)
        if readers is None:
            digest, counts, structure = sha256(rest), count_octets(rest), read_structure(rest)
        else:
            digest, counts = readers.digest, readers.octets.counts
            structure = readers.structure.finish(rest)
        return Message(
            size=self.size,
            sha256=digest.hexdigest(),
            missing=self.missing,
            truncated=structure.cut,
            headers=structure.headers,
            root=structure.root,
            attachments=structure.attachments,
            parts=structure.leaves,
            octets=counts,
            flaws=structure.flaws,
        )

    def _begun(self) -> _Readers:
        if self._readers is None:
            self._readers = _Readers()
        return self._readers

    def _read(self) -> None:
        readers = self._begun()
        for piece in _slices(self._take(readers)):
            readers.structure.feed(piece)

    def _take(self, readers: _Readers | None) -> bytes:
        """What is held; the readers, where there are any, have counted it then."""
        chunks, counted = self._chunks, self._counted
        self._chunks = []
        self._held = self._counted = 0
        taken = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if readers is not None:
            readers.count(b"".join(chunks[counted:]) if counted else taken)
        return taken


class _Readers:
    """They take the octets of a message that is not at hand as a whole."""

    __slots__ = ("digest", "octets", "structure")

    def __init__(self) -> None:
        self.digest = sha256()
        self.octets = OctetCounter()
        self.structure = StructureReader()

    def count(self, octets: bytes) -> None:
        """Take octets for all but the structure, which is read in larger pieces."""
        self.digest.update(octets)
        self.octets.feed(octets)


def read_message(content: bytes) -> Message:
    """The summary of a message that is at hand as a whole."""
    builder = MessageBuilder()
    builder.feed(content)
    return builder.finish()


def extract_part(chunks: Iterable[bytes], number: int, out: BinaryIO) -> None:
    """Write a part's octets, decoded, to `out`; the message comes in any pieces.

    `number` is the `Part`'s or `Attachment`'s. Of a multipart and an embedded message it is the
    body as it stands. Raises ValueError where the message has no such part.
    """
    reader = StructureReader(number, out)
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= SLICE:
            for piece in _slices(b"".join(held)):
                reader.feed(piece)
            held.clear()
            size = 0
    reader.finish(b"".join(held))
    if not 0 <= number < reader.count:
        raise ValueError(f"the message has no part {number}: it has {reader.count}, from 0 on")


def _slices(octets: bytes) -> Iterator[bytes]:
    if len(octets) < 2 * SLICE:
        yield octets
        return
    for start in range(0, len(octets), SLICE):
        yield octets[start : start + SLICE]
