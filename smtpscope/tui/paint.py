"""Paints pieces: a line of them becomes a strip of the terminal, in the colours of the theme.

Pieces never pass a markup parser: each becomes a segment as it is.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from smtpscope.tui.pieces import STYLES, Line

EMOJI, KEYCAP = "\ufe0f", "\u20e3"
TONES = re.compile("[\U0001f3fb-\U0001f3ff]")


class Painter(Widget):
    """A widget that paints lines of pieces."""

    # A selection would have none of what is painted, and take Ctrl+C for itself.
    ALLOW_SELECT: ClassVar[bool] = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"piece--{name}" for name in STYLES}
    DEFAULT_CSS = """
    Painter .piece--client { color: $scope-client; }
    Painter .piece--server { color: $foreground; }
    Painter .piece--message { color: $scope-message; }
    Painter .piece--tls { color: $scope-tls; }
    Painter .piece--reply { color: $foreground; }
    Painter .piece--reply2 { color: $scope-good; }
    Painter .piece--reply3 { color: $scope-good; }
    Painter .piece--reply4 { color: $scope-warning; }
    Painter .piece--reply5 { color: $scope-error; }
    Painter .piece--chat { color: $scope-dim; }
    Painter .piece--note { color: $scope-note; }
    Painter .piece--warning { color: $scope-warning; }
    Painter .piece--error { color: $scope-error; text-style: bold; }
    Painter .piece--dim { color: $scope-dim; }
    Painter .piece--strong { text-style: bold; }
    Painter .piece--head { color: $scope-accent; text-style: bold; }
    Painter .piece--label { color: $scope-accent; }
    Painter .piece--time { color: $scope-dim; }
    Painter .piece--added { color: $scope-good; }
    Painter .piece--removed { color: $scope-error; }
    Painter .piece--match { text-style: reverse; }
    Painter .piece--bar { color: $scope-accent; }
    """

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._styles: dict[str, Style] = {}

    def notify_style_update(self) -> None:
        # Another theme, say.
        self._styles.clear()
        super().notify_style_update()

    def strip(self, line: Line, width: int, base: Style) -> Strip:
        """The pieces in exactly `width` cells."""
        surroundings = self.rich_style + base
        segments: list[Segment] = []
        room = width
        for shown, name in line:
            text = steady(shown)
            style = surroundings + self.style_of(f"piece--{name}") if name else surroundings
            size = cell_len(text)
            if size > room:
                cut = set_cell_size(text, room - 1) + "…" if room > 0 else ""
                segments.append(Segment(cut, style))
                room = 0
                break
            segments.append(Segment(text, style))
            room -= size
        if room:
            segments.append(Segment(" " * room, surroundings))
        return Strip(segments, width)

    def style_of(self, name: str) -> Style:
        """The style of a component class; the background only where it is a cursor's."""
        style = self._styles.get(name)
        if style is None:
            style = self.get_component_rich_style(name, partial=True)
            if "cursor" not in name:
                style = Style(
                    color=style.color,
                    bold=style.bold,
                    italic=style.italic,
                    reverse=style.reverse,
                    underline=style.underline,
                )
            self._styles[name] = style
        return style


def steady(text: str) -> str:
    """The text in as many cells, without skin tones and what makes emojis of symbols: no two
    terminals agree how wide these are, and Textual tears them from what they belong to where
    something else covers a part."""
    if text.isascii():
        return text
    first, *others = TONES.sub("", text).split(EMOJI)
    found = first
    for other in others:
        near = found[-6:]
        wider = cell_len(near + EMOJI) - cell_len(near)
        keycap = other[:1] if other.startswith(KEYCAP) else ""
        found += keycap + " " * wider + other[len(keycap) :]
    return found
