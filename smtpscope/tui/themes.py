"""Our two themes, and what rows are coloured with in any theme."""

from __future__ import annotations

from textual.theme import Theme

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
        "scope-dim": "#8b93b5",
        "scope-accent": "#7aa2f7",
        "scope-cursor": "#33467c",
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
        "scope-tls": "#7847bd",
        "scope-good": "#2f6318",
        "scope-note": "#0b5f80",
        "scope-warning": "#7d5200",
        "scope-error": "#ad1427",
        "scope-dim": "#5c6380",
        "scope-accent": "#2e5aa8",
        "scope-cursor": "#cfdcf6",
        "scope-cursor-blurred": "#e6ebf5",
    },
)

THEMES = (DARK, LIGHT)

DEFAULTS = {
    "scope-client": "$text-accent",
    "scope-message": "$text-primary",
    "scope-tls": "$text-secondary",
    "scope-good": "$text-success",
    "scope-note": "$text-accent",
    "scope-warning": "$text-warning",
    "scope-error": "$text-error",
    "scope-dim": "$foreground 70%",
    "scope-accent": "$text-primary",
    "scope-cursor": "$primary-muted",
    "scope-cursor-blurred": "$boost",
}
"""The same in themes that are not ours."""
