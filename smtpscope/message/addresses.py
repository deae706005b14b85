"""Address lists: a To, Cc or From field's octets in; its entries, or its bare addresses, out.

Reads RFC 5322 §3.4 with its obsolete forms, and what mailers write instead, in linear time.
"""

from __future__ import annotations

import re

from smtpscope.message.text import decode_octets, decode_text, unfold

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
    """The bare addresses of an address list, members of groups too, without routes.

    Where a comma is missing an entry has several.
    """
    return [decode_octets(spec) for spec in _scan_addresses(unfold(value))[1]]


def _scan_addresses(value: bytes) -> tuple[list[bytes], list[bytes]]:
    entries: list[bytes] = []
    specs: list[bytes] = []
    last_semicolon = value.rfind(b";")
    entry_start = bare_start = position = 0
    bare = b""
    angle_start = -1
    in_group = bracketed = False
    while (token := _ADDRESS_TOKEN.search(value, position)) is not None:
        start, position = token.span()
        kind = value[start : start + 1]
        if kind == b"(":
            bare += value[bare_start:start]
            bare_start = position = _comment_end(value, position)
        elif kind == b"<" and angle_start < 0:
            angle_start = position
        elif kind == b">" and angle_start >= 0:
            specs.append(_without_route(value[angle_start:start]))
            angle_start = -1
            bracketed = True
        elif angle_start >= 0:
            continue
        elif kind == b":" and not in_group and start < last_semicolon:
            in_group = True
            bare, bare_start = b"", position
        elif kind in (b",", b";"):
            if not bracketed:
                specs.append(_bare_spec(bare + value[bare_start:start]))
            bare, bare_start, bracketed = b"", position, False
            if kind == b";" or not in_group:
                entries.append(value[entry_start : position if in_group else start])
                entry_start = position
                in_group = False
    entries.append(value[entry_start:])
    if angle_start >= 0:
        specs.append(_without_route(value[angle_start:]))
    elif not bracketed:
        specs.append(_bare_spec(bare + value[bare_start:]))
    return _filled(entries), _filled(specs)


def _filled(items: list[bytes]) -> list[bytes]:
    return [stripped for item in items if (stripped := item.strip())]


def _comment_end(value: bytes, position: int) -> int:
    depth = 1
    while depth and (token := _PARENTHESIS.search(value, position)) is not None:
        position = token.end()
        depth += {b"(": 1, b")": -1}.get(token[0], 0)
    return len(value) if depth else position


def _without_route(angle: bytes) -> bytes:
    spec = angle.strip()
    return spec.partition(b":")[2] if spec.startswith(b"@") else spec


def _bare_spec(bare: bytes) -> bytes:
    spec = bare.strip()
    if spec.startswith(b'"') or len(words := spec.split()) < 2:
        return spec
    return next((word for word in words if b"@" in word), b"")
