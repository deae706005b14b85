"""Help for where you are: what the keys of the screen below do, the signs, the filter language."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from textual.binding import BindingType
from textual.screen import Screen

from smtpscope.configuration import FILE
from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.fields import FIELDS
from smtpscope.places import config_folder
from smtpscope.tui.keys import MOVING, key_name
from smtpscope.tui.pieces import SYMBOLS, Line, Piece
from smtpscope.tui.rowlist import Lines, RowList
from smtpscope.tui.views import ViewScreen

_FILTERS = (
    ("code >= 500", "a reply of 500 or above came"),
    ('to ~ "@example\\.org$"', "a recipient matches a regular expression"),
    ("severity >= warning and not tls", "something is wrong, and nothing was encrypted"),
    ("size > 5M or duration > 2min", "sizes take k, M, G; durations ms, s, min, h"),
    ("state in (reset, open)", "any of several"),
    ("alice", "a word alone is looked for in addresses, names and subjects"),
)


class HelpScreen(ViewScreen[None]):
    """Keys and words of a screen."""

    BINDINGS: ClassVar[list[BindingType]] = []
    DEFAULT_CSS = """
    HelpScreen RowList { height: 1fr; }
    """
    heading = "Help"

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__()
        self._lines = list(help_lines(screen))

    def body(self) -> Iterator[Any]:
        yield RowList(Lines(self._lines))

    def on_mount(self) -> None:
        self.query_one(RowList).focus()


def help_lines(screen: Screen[Any]) -> Iterator[Line]:
    """What helps on a screen."""
    found: dict[str, tuple[str, list[str]]] = {}
    for active in screen.active_bindings.values():
        binding = active.binding
        if binding.id is not None:
            keys = found.setdefault(binding.id, (binding.description, []))[1]
            keys.append(key_name(binding))
    what = (screen.__class__.__doc__ or "").split("\n")[0].removesuffix(".")
    yield [Piece(what, "head")]
    yield []
    for id, (does, keys) in found.items():
        if id not in MOVING:
            yield _key(keys, does, id)
    yield []
    yield [Piece("Moving", "head")]
    for id in MOVING:
        if id in found:
            yield _key(found[id][1], found[id][0], id)
    yield _key(["Ctrl+P"], "Palette: every action and every session")
    yield _key(["mouse"], "Click selects, twice opens; a head sorts")
    yield []
    yield [Piece("Signs", "head")]
    for word, meaning in (
        ("error", "mail is lost or stolen, or security is broken"),
        ("warning", "wrong or dangerous"),
        ("note", "odd"),
        ("chat", "normal, but telling"),
    ):
        yield [Piece(f"  {SYMBOLS[word]:<14}", word), Piece(f"{word}: {meaning}")]
    yield _key(["▲3"], "the worst kind of finding, and how many of that kind")
    yield _key(["outcome"], "the last refusal, or else what became of the last message")
    yield _key(["▸"], "the client says it")
    yield _key(["◂"], "the server says it")
    yield []
    yield [Piece("Filters", "head"), Piece("  (f; the same as -Y of the command)", "dim")]
    for filter, meaning in _FILTERS:
        yield [Piece(f"  {filter:<34}", "label"), Piece(meaning)]
    yield []
    yield [Piece("  Fields", "strong")]
    for name, field in FIELDS.items():
        yield [
            Piece(f"  {name:<14}", "label"),
            Piece(f"{field.what}"),
            Piece(f"  {field.kind}", "dim"),
        ]
    yield []
    yield [Piece("Configuration", "head")]
    yield [Piece(f"  {_configuration()}: theme, time, cache_size, and keys by the ids above")]
    yield [Piece("  [keys]"), Piece('  filter = "ctrl+f"', "dim")]


def _key(keys: list[str], what: str, id: str = "") -> Line:
    shown = " ".join(keys)
    return [Piece(f"  {shown:<14}", "label"), Piece(f"{what:<44}"), Piece(f" {id}", "dim")]


def _configuration() -> str:
    try:
        return text(str(config_folder() / FILE), 200)
    except SmtpscopeError:
        return FILE
