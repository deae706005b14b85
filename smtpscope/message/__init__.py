"""A mail message as a viewer sees it: its octets in, as the server got them; its summary out.

The octets come without dot-stuffing and in any pieces. Size and digest are counted as they come;
`headers` reads the fields (RFC 5322 §3.6) and `mime` the parts when the message is complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from smtpscope.message.addresses import addr_specs, split_mailboxes
from smtpscope.message.headers import Header, first_value, read_headers
from smtpscope.message.mime import Attachment, Part, read_structure
from smtpscope.message.octets import OctetCounter, OctetCounts
from smtpscope.message.text import decode_text

KEEP = 32 * 1024 * 1024
"""Octets of a message that are kept until it is complete; its summary is made from these."""


@dataclass(slots=True)
class Message:
    """A message's summary. Text is decoded and hostile: `display` maps it before it is shown.

    `size` (octets) and `sha256` (hexadecimal) are of all octets seen. `missing` octets were lost
    in gaps. `truncated`: some of what was seen is not in the summary, because the message or its
    header was larger than the bounds. `parts` counts the leaves of the tree under `root`.
    `octets` counts what its lines should not hold. `content` is None unless the builder was told
    to keep it.
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
    content: bytes | None

    @property
    def complete(self) -> bool:
        """No octet was lost, and none left out of the summary."""
        return not self.missing and not self.truncated

    def text(self, name: bytes) -> str | None:
        """The first field called `name` (lower-case), decoded; None where there is none."""
        value = first_value(self.headers, name)
        return None if value is None else decode_text(value)

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

    def _values(self, name: bytes) -> list[bytes]:
        length = len(name)
        return [h.value for h in self.headers if len(h.name) == length and h.name.lower() == name]


class MessageBuilder:
    """Takes a message's octets as they come; `size` and `missing` may be read on the way."""

    def __init__(self, *, keep_content: bool = False) -> None:
        self.size = 0
        self.missing = 0
        self._keep_content = keep_content
        self._digest = sha256()
        self._octets = OctetCounter()
        self._chunks: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """The next octets."""
        self._digest.update(data)
        self._octets.feed(data)
        room = KEEP - self.size
        self.size += len(data)
        if room > 0:
            self._chunks.append(data if len(data) <= room else data[:room])

    def gap(self, length: int) -> None:
        """The next `length` octets are missing in the capture."""
        self.missing += length
        self._octets.gap()

    def finish(self) -> Message:
        """The summary of all that was fed."""
        chunks = self._chunks
        content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        section = read_headers(content)
        root, attachments, leaves, cut = read_structure(content, section)
        return Message(
            size=self.size,
            sha256=self._digest.hexdigest(),
            missing=self.missing,
            truncated=cut or self.size > len(content),
            headers=section.headers,
            root=root,
            attachments=attachments,
            parts=leaves,
            octets=self._octets.counts,
            content=content if self._keep_content else None,
        )


def read_message(content: bytes, *, keep_content: bool = False) -> Message:
    """The summary of a message that is at hand as a whole."""
    builder = MessageBuilder(keep_content=keep_content)
    builder.feed(content)
    return builder.finish()
