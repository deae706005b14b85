"""One packet in full, for the eyes: every layer and field as scapy dissects it.

In: a frame and its LINKTYPE. Out: rows of safe, bounded text. Slow and thorough, and so for single
packets alone; scapy is imported when the first one comes.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from smtpscope.display import text

MAX_OCTETS = 1 << 16
"""Octets of a frame that are dissected."""
MAX_LAYERS = 40
MAX_FIELDS = 2_000
MAX_VALUE = 200
"""Characters of a value."""
MAX_NAME = 60

_MODULES = (
    *("scapy.layers.l2", "scapy.layers.inet", "scapy.layers.inet6", "scapy.layers.ppp"),
    *("scapy.layers.dot11", "scapy.layers.ppi", "scapy.layers.pflog"),
    *("scapy.contrib.mpls", "scapy.contrib.chdlc", "scapy.contrib.erspan"),
)
# Whatever version of IP they promise, that in the header counts, as it does when captures are read.
_RAW_IP = dict.fromkeys((14, 228, 229), 101)


class Field(NamedTuple):
    """A row of the dissection: `value` is None for the head of a layer. Safe text."""

    depth: int
    name: str
    value: str | None


def dissect_packet(linktype: int, frame: bytes) -> list[Field]:
    """The layers of a frame by its LINKTYPE, outermost first.

    At most `MAX_FIELDS` rows and a few that tell what is left out. Never raises: what can't be
    dissected is told, and its octets shown.
    """
    found: list[Field] = []
    try:
        for field in _fields(linktype, frame):
            if len(found) >= MAX_FIELDS:
                found.append(Field(0, "More fields than are shown", None))
                break
            found.append(field)
    except Exception as error:
        # Scapy's dissectors fail in many ways on packets that are made for it.
        found += [
            Field(0, "Not dissected", None),
            Field(1, "reason", text(f"{type(error).__name__}: {error}", MAX_VALUE)),
            Field(1, "octets", text(frame, MAX_VALUE)),
        ]
    return found


def _fields(linktype: int, frame: bytes) -> Iterator[Field]:
    known = _scapy().l2types.num2layer
    kind = known.get(_RAW_IP.get(linktype, linktype))
    if kind is None:
        yield Field(0, f"Unknown link type {linktype}", None)
        kind = importlib.import_module("scapy.packet").Raw
    if len(frame) > MAX_OCTETS:
        yield Field(0, f"The first {MAX_OCTETS:,} of {len(frame):,} octets", None)
    layer: Any = kind(frame[:MAX_OCTETS])
    for _ in range(MAX_LAYERS):
        if not layer:
            return
        yield Field(0, text(str(layer.name), MAX_NAME), None)
        for description in layer.fields_desc:
            if description.name in layer.fields:
                yield Field(1, text(description.name, MAX_NAME), _value(layer, description))
        layer = layer.payload
    if layer:
        yield Field(0, "More layers than are shown", None)


def _value(layer: Any, description: Any) -> str:
    value = layer.fields[description.name]
    if not isinstance(value, bytes):
        try:
            value = str(description.i2repr(layer, value))
        except Exception as error:
            value = f"not shown ({type(error).__name__}: {error})"
    return text(value, MAX_VALUE)


def _scapy() -> Any:
    """scapy's configuration, with the layers loaded and its warnings, which would be written over
    the screen, off."""
    logging.getLogger("scapy").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in _MODULES:
            importlib.import_module(module)
    return importlib.import_module("scapy.config").conf
