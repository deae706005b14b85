"""The keys of all screens by the ids of what they do: what `config.toml` may remap."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from textual.app import App
from textual.binding import Binding, BindingType
from textual.dom import DOMNode

MODULES = (
    *("app", "main", "rowlist", "views", "message", "messages", "octets", "ladder", "compare"),
    *("table", "home", "help", "exporting"),
)


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
