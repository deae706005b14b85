"""The recordings that are shipped: each scene plays one dialogue between real programs.

A scene gets a path and leaves a capture there. Its name is the capture's, and what it says of
itself becomes its line in captures/README.md. Scenes use the well-known ports, so they are to
be played in a network namespace of their own (make_captures.py sees to that).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SMTP, SMTPS, SUBMISSION, LMTP = 25, 465, 587, 24


@dataclass(frozen=True)
class Scene:
    """A capture to be made: its file name, who talks to whom, what it shows, how to play it."""

    name: str
    software: str
    shows: str
    play: Callable[[Path], None]


SCENES: list[Scene] = []


def load() -> None:
    """Fill SCENES, in the order of the README."""
    for name in ("scenes_mail", "scenes_auth", "scenes_tls", "scenes_relays", "scenes_odd"):
        importlib.import_module(name)


def scene(name: str, software: str, shows: str) -> Callable[[Callable[[Path], None]], None]:
    """Enter the function below into SCENES."""

    def enter(play: Callable[[Path], None]) -> None:
        SCENES.append(Scene(name, software, shows, play))

    return enter
