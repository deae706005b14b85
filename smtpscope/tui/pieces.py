"""What views are made of: lines of pieces, each a safe text and the name of its style.

Whatever came from a capture has been through `display` before it becomes a piece, and pieces go to
the screen as segments, never as markup.
"""

from __future__ import annotations

from typing import NamedTuple


class Piece(NamedTuple):
    """`text` in the style named `style`, one of `STYLES`; "" is that of its surroundings."""

    text: str
    style: str = ""


Line = list[Piece]

STYLES = (
    "client",
    "server",
    "message",
    "tls",
    "reply2",
    "reply3",
    "reply4",
    "reply5",
    "reply",
    "chat",
    "note",
    "warning",
    "error",
    "dim",
    "strong",
    "head",
    "label",
    "time",
    "added",
    "removed",
    "match",
    "bar",
)
"""Every style's name. Each row widget has a component class for it, `piece--NAME`."""

SYMBOLS = {"chat": "·", "note": "●", "warning": "▲", "error": "✖"}
"""The severities as signs, so that they read without colour."""
