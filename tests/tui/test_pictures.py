"""Every screen as it looks, on a large and a small terminal, dark and light.

`pytest tests/tui/test_pictures.py --snapshot-update` takes them anew: look at each before it is
kept. They lie in `__snapshots__/test_pictures/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.screens import bundled, point, press, read, settled, write
from textual.pilot import Pilot

from smtpscope.configuration import Configuration
from smtpscope.memory import FILE, Memory
from smtpscope.places import state_folder
from smtpscope.tui.app import ScopeApp
from smtpscope.tui.main import MainScreen

Go = Callable[[Pilot[Any]], Any]

SIZES = ((120, 40), (80, 24))
THEMES = ("dark", "light")


def keys(*pressed: str) -> Go:
    async def go(pilot: Pilot[Any]) -> None:
        await press(pilot, *pressed)

    return go


def typed(*pressed: str, words: str, then: tuple[str, ...] = ()) -> Go:
    async def go(pilot: Pilot[Any]) -> None:
        await press(pilot, *pressed)
        await write(pilot, words)
        await press(pilot, *then)

    return go


async def refused(pilot: Pilot[Any]) -> None:
    """The line that broke the mail."""
    await press(pilot, "enter")
    screen = pilot.app.screen
    assert isinstance(screen, MainScreen)
    await point(pilot, screen.sessions.lines, "RCPT TO")


GREYLISTED = ("exim-swaks-greylisted.pcap",)
ATTACHMENTS = ("postfix-curl-attachments.pcapng",)
ERRORS = ("exim-errors.pcap",)
VRFY = ("exim-vrfy-expn.pcap",)
LOGIN = ("exim-swaks-auth-plain.pcap",)
ALL: tuple[str, ...] = ()

SCREENS: dict[str, tuple[tuple[str, ...] | None, Go]] = {
    "sessions": (ALL, keys()),
    "marked": (GREYLISTED, keys("space")),
    "dialogue": (VRFY, keys("enter", "j", "j", "j")),
    "refused": (("opensmtpd-swaks-refused-rcpt.pcap",), refused),
    "tls": (("postfix-swaks-starttls.pcap",), keys("enter", "G")),
    "clock": (VRFY, keys("t", "t", "enter")),
    "filter": (ALL, typed("f", words="code >= 500 and to ~ example", then=("enter",))),
    "filter-typed": (ALL, typed("f", words="sev")),
    "filter-wrong": (ALL, typed("f", words="code >> 500")),
    "filter-nothing": (ALL, typed("f", words="number > 1000", then=("enter",))),
    "octets": (GREYLISTED, keys("enter", "j", "j", "h")),
    "octets-hidden": (LOGIN, keys("enter", "j", "j", "j", "h")),
    "packet": (GREYLISTED, keys("enter", "j", "h", "enter")),
    "ladder": (ERRORS, keys("l")),
    "compare": (GREYLISTED, keys("d", "j", "d")),
    "message": (ATTACHMENTS, keys("m")),
    "message-text": (ATTACHMENTS, keys("m", "j", "j", "j")),
    "message-file": (ATTACHMENTS, keys("m", "j", "j", "j", "j", "j")),
    "save": (ATTACHMENTS, keys("m", "j", "j", "j", "j", "j", "s")),
    "messages": (ALL, keys("2")),
    "findings": (ALL, keys("3")),
    "statistics": (ALL, keys("4")),
    "table": (VRFY, keys("5")),
    "table-searched": (VRFY, typed("5", "slash", words="greylisted", then=("enter",))),
    "home": (None, keys()),
    "open": (None, keys("o")),
    "help": (VRFY, keys("question_mark")),
    "export": (GREYLISTED, keys("space", "x")),
    "reveal": (LOGIN, keys("R")),
    "search": (VRFY, keys("slash")),
    "empty": (("nothing.pcap",), keys()),
}


@pytest.fixture(autouse=True)
def _recent(home: Path) -> None:
    folder = state_folder()
    folder.mkdir(parents=True)
    recent = [
        [["/var/captures/monday.pcapng"], 1_700_000_000.0],
        [["/home/ann/exim.pcap.gz", "/home/ann/postfix.pcap"], 1_690_000_000.0],
    ]
    (folder / FILE).write_text(json.dumps({"recent": recent}))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", SCREENS)
def test_it_looks_as_it_did(
    name: str,
    size: tuple[int, int],
    theme: str,
    tmp_path: Path,
    snap_compare: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    captures, go = SCREENS[name]
    if captures == ("nothing.pcap",):
        from support.packets import pcap

        (tmp_path / "nothing.pcap").write_bytes(pcap([]))
        review = read([tmp_path / "nothing.pcap"])
    else:
        review = read(bundled(*captures)) if captures is not None else None
    app = ScopeApp(review, Configuration(theme=f"smtpscope-{theme}"), Memory())
    app.animation_level = "none"

    async def before(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await go(pilot)
        app.clear_notifications()
        while app.screen.query("Toast"):
            await pilot.pause()
        await settled(pilot)

    try:
        assert snap_compare(app, terminal_size=size, run_before=before)
    finally:
        if app.review is not None:
            app.review.close()
