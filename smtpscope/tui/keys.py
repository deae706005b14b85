"""The keys of all screens by the ids of what they do, and what they are called on a keyboard.

`config.toml` may remap them; help, palette and the line at the bottom tell the keys as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from textual.app import App
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import Screen

from smtpscope.tui.bars import Item

MOVING = ("down", "up", "page_down", "page_up", "top", "bottom", "left", "right", "choose")
"""What keys are for alone: nobody looks for it in the palette."""

_NAMES = {
    "slash": "/",
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "Esc",
    "space": "Space",
    "tab": "Tab",
    "enter": "Enter",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "home": "Home",
    "end": "End",
}

MODULES = (
    *("app", "main", "sessions", "rowlist", "columns", "views", "message", "messages", "octets"),
    *("ladder", "compare", "statistics", "table", "home", "help", "exporting", "forms"),
)


def key_name(binding: Binding) -> str:
    """The key of a binding as a user knows it."""
    return named_key(binding.key)


def named_key(key: str) -> str:
    """A key as a user knows it; the first of several, comma-separated."""
    modifiers, _, key = key.partition(",")[0].strip().rpartition("+")
    name = _NAMES.get(key, key)
    return f"{modifiers.title()}+{name.upper()}" if modifiers else name


def hints(screen: Screen[Any], wanted: Iterable[tuple[str, str]]) -> list[Item]:
    """Keys with what they do in a word, by their ids; a click presses the key. Those that do
    nothing where the focus is are left out."""
    known = {each.binding.id: each.binding for each in reversed(screen.active_bindings.values())}
    return [
        Item(f" {word}  ", "", f"app.simulate_key('{known[id].key}')", key_name(known[id]))
        for id, word in wanted
        if id in known
    ]


def bindings_of(kind: type[DOMNode]) -> Iterator[Binding]:
    """The bindings that a class itself has."""
    found: list[BindingType] = kind.__dict__.get("BINDINGS", [])
    for binding in found:
        if isinstance(binding, Binding):
            yield binding


def binding_keys() -> dict[str, str]:
    """The usual keys, comma-separated, by the id of what they do."""
    keys: dict[str, str] = {}
    for name in MODULES:
        module = import_module(f"smtpscope.tui.{name}")
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, DOMNode) and kind is not App:
                for binding in bindings_of(kind):
                    if binding.id is not None:
                        keys.setdefault(binding.id, binding.key)
    return keys
