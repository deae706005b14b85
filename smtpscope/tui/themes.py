"""Our two themes, and what rows are coloured with in any theme."""

from __future__ import annotations

from textual.color import Color
from textual.theme import Theme

CONTRAST = 4.5
"""What text must have at least (WCAG 2.1 §1.4.3)."""

DARK = Theme(
    name="smtpscope-dark",
    primary="#7aa2f7",
    secondary="#bb9af7",
    accent="#7dcfff",
    warning="#e0af68",
    error="#f7768e",
    success="#9ece6a",
    foreground="#d5dcf5",
    background="#16161e",
    surface="#1a1b26",
    panel="#24283b",
    dark=True,
    variables={
        "scope-client": "#7dcfff",
        "scope-message": "#9db8ff",
        "scope-tls": "#c8a6ff",
        "scope-good": "#9ece6a",
        "scope-note": "#7dcfff",
        "scope-warning": "#e8bd7a",
        "scope-error": "#ff8a9f",
        "scope-dim": "#9ea6c8",
        "scope-accent": "#86abfa",
        "scope-cursor": "#2b3a66",
        "scope-cursor-blurred": "#272c42",
    },
)

LIGHT = Theme(
    name="smtpscope-light",
    primary="#2e5aa8",
    secondary="#7847bd",
    accent="#0f6a8b",
    warning="#855700",
    error="#b3202f",
    success="#33691e",
    foreground="#262b3f",
    background="#f4f5f9",
    surface="#fbfbfd",
    panel="#e4e7f0",
    dark=False,
    variables={
        "scope-client": "#0b5f80",
        "scope-message": "#2e5aa8",
        "scope-tls": "#6f3fb4",
        "scope-good": "#2f6318",
        "scope-note": "#0b5f80",
        "scope-warning": "#7d5200",
        "scope-error": "#ad1427",
        "scope-dim": "#555c78",
        "scope-accent": "#2e5aa8",
        "scope-cursor": "#cfdcf6",
        "scope-cursor-blurred": "#e6ebf5",
    },
)

THEMES = (DARK, LIGHT)

_SOURCES = {
    "scope-client": "text-accent",
    "scope-message": "text-primary",
    "scope-tls": "text-secondary",
    "scope-good": "text-success",
    "scope-note": "text-accent",
    "scope-warning": "text-warning",
    "scope-error": "text-error",
    "scope-dim": "foreground",
    "scope-accent": "text-primary",
}


def theme_defaults(theme: Theme) -> dict[str, str]:
    """Our variables in a theme that isn't ours, out of its own colours, and legible on its surface
    and under the cursor. A theme of the terminal's sixteen colours has them as they are."""
    colours = theme.to_color_system().generate()
    if theme.ansi:
        found = {name: colours[source] for name, source in _SOURCES.items()}
        bar = "ansi_bright_black" if theme.dark else "ansi_white"
        return {**found, "scope-cursor": bar, "scope-cursor-blurred": "transparent"}
    surface, foreground = Color.parse(colours["surface"]), Color.parse(colours["foreground"])
    cursor = _bar(surface, foreground, Color.parse(colours["primary"]))
    found = {}
    for name, source in _SOURCES.items():
        colour = Color.parse(colours[source])
        if name == "scope-dim":
            colour = colour.blend(surface, 0.3)
        found[name] = _legible(colour, surface, cursor).hex
    found["scope-cursor"] = cursor.hex
    found["scope-cursor-blurred"] = surface.blend(cursor, 0.5).hex
    return found


def contrast(one: Color, other: Color) -> float:
    """The ratio of two colours' luminances, from 1 to 21, as WCAG 2.1 defines it."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Color) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in colour.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _bar(surface: Color, foreground: Color, primary: Color) -> Color:
    """As much of the primary colour as leaves the text on it legible."""
    bars = [surface.blend(primary, share / 100) for share in (35, 30, 25, 20, 15)]
    return next((bar for bar in bars if contrast(bar, foreground) >= CONTRAST), bars[-1])


def _legible(colour: Color, *backgrounds: Color) -> Color:
    """The colour, or the nearest on its way to white or black that reads on all of them."""
    end = Color.parse("white" if _luminance(backgrounds[0]) < 0.18 else "black")
    for step in range(11):
        found = colour.blend(end, step / 10)
        if all(contrast(found, background) >= CONTRAST for background in backgrounds):
            return found
    return end
