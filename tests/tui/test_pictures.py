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
from support.growing import FakeRecorder, FakeStarting, Growing, Talk, news
from support.screens import LOGIN as LOGGED_IN
from support.screens import (
    REFUSED,
    SENT,
    bundled,
    press,
    read,
    settled,
    turns,
    write,
)
from textual.pilot import Pilot

from smtpscope.configuration import Configuration
from smtpscope.memory import FILE, Memory, Recent
from smtpscope.places import state_folder
from smtpscope.recorder import RecorderError
from smtpscope.review import Review
from smtpscope.tui import home as homes
from smtpscope.tui import launch
from smtpscope.tui.app import ScopeApp

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
    "refused": (("opensmtpd-swaks-refused-rcpt.pcap",), keys("enter")),
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


RECORDINGS = "/home/ann/.local/state/smtpscope/recordings"
NOT_PERMITTED = (
    "capturing on eth0 is not permitted: run it with sudo; or pipe a capture in (sudo tcpdump -i"
    " eth0 -U -w - port 25 | smtpscope -); or let dumpcap capture for you as a member of the group"
    " wireshark (sudo usermod -aG wireshark $USER, then log in again)"
)


async def grown(pilot: Pilot[Any], recording: Growing) -> None:
    """Some sessions that have ended, and one that goes on."""
    some = (
        SENT.format(sender="ann@example.net", recipient="bob@example.org"),
        REFUSED.format(sender="eve@example.net", recipient="nobody@example.org"),
        LOGGED_IN,
    )
    for number in range(24):
        Talk(recording, turns(some[number % 3]), number).go()
    Talk(recording, turns(SENT.format(sender="carl@example.net", recipient="dan@x.test")), 30).go(
        14
    )
    await news(pilot)


async def live(pilot: Pilot[Any], recording: Growing) -> None:
    await grown(pilot, recording)
    await press(pilot, "F")


async def live_behind(pilot: Pilot[Any], recording: Growing) -> None:
    await grown(pilot, recording)
    recording.comment("", dropped=1_702)
    await news(pilot)


async def live_empty(pilot: Pilot[Any], recording: Growing) -> None:
    await news(pilot)


async def live_paused(pilot: Pilot[Any], recording: Growing) -> None:
    await grown(pilot, recording)
    await press(pilot, "p")


async def live_dialogue(pilot: Pilot[Any], recording: Growing) -> None:
    await live(pilot, recording)
    await press(pilot, "enter", "G")


async def live_ended(pilot: Pilot[Any], recording: Growing) -> None:
    await grown(pilot, recording)
    assert recording.recorder is not None
    recording.recorder.die("the disk is full: what was recorded until now is whole in x.pcapng")
    recording.end()
    await news(pilot)


async def live_leaving(pilot: Pilot[Any], recording: Growing) -> None:
    await grown(pilot, recording)
    await press(pilot, "q")


LIVE = (live, live_behind, live_empty, live_paused, live_dialogue, live_ended, live_leaving)


async def sniff(pilot: Pilot[Any]) -> None:
    """The form as it opens."""
    await press(pilot, "s")


async def sniff_filled(pilot: Pilot[Any]) -> None:
    """The form with all that can be said."""
    await press(pilot, "s", "j", "tab")
    await write(pilot, "host 192.0.2.25 and tcp")
    await press(pilot, "tab")
    await write(pilot, "~/mail.pcapng")


async def sniff_refused(pilot: Pilot[Any]) -> None:
    """The form where it is not permitted."""
    await press(pilot, "s", "j", "enter")


async def proxy(pilot: Pilot[Any]) -> None:
    """The form as it opens."""
    await press(pilot, "p")


async def serve_filled(pilot: Pilot[Any]) -> None:
    """The form with all that can be said, and what is wrong with it."""
    await press(pilot, "v", "tab", "ctrl+u")
    await write(pilot, "users")
    await press(pilot, "tab")
    await write(pilot, "/var/tmp/mail")
    await press(pilot, "tab")
    await write(pilot, "/var/tmp/serve.toml")
    await press(pilot, "tab", "tab")
    await write(pilot, "--hide CHUNKING")
    await press(pilot, "enter")


FORMS = (sniff, sniff_filled, sniff_refused, proxy, serve_filled)


@pytest.fixture(autouse=True)
def _recent(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "recordings_folder", lambda: Path(RECORDINGS))
    rotated = tuple(f"{RECORDINGS}/sniff-20231114-220000-77-0000{n}.pcapng" for n in (1, 2, 3))
    piped = (f"{RECORDINGS}/pipe-20230801-091500-78.pcapng",)
    found = [Recent(rotated, 1_700_003_600.0), Recent(piped, 1_690_880_000.0)]
    sizes = {rotated: 248_000_000, piped: 51_200}
    monkeypatch.setattr(
        homes,
        "with_recordings",
        lambda recent: sorted([*recent, *found], key=lambda each: -each.opened),
    )
    monkeypatch.setattr(homes, "_size", lambda recent: sizes.get(recent.captures))
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
    app = _app(review, theme)
    assert _looks_the_same(app, size, go, snap_compare)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("go", LIVE, ids=lambda go: go.__name__)
def test_what_is_recorded_looks_as_it_did(
    go: Callable[[Pilot[Any], Growing], Any],
    size: tuple[int, int],
    theme: str,
    tmp_path: Path,
    snap_compare: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording = Growing(tmp_path, monkeypatch, recorder=FakeRecorder())
    app = _app(recording.review, theme)
    assert _looks_the_same(app, size, lambda pilot: go(pilot, recording), snap_compare)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("go", FORMS, ids=lambda go: go.__name__)
def test_the_form_looks_as_it_did(
    go: Go,
    size: tuple[int, int],
    theme: str,
    snap_compare: Callable[..., bool],
) -> None:
    assert _looks_the_same(_app(None, theme), size, go, snap_compare)


def _app(review: Review | None, theme: str) -> ScopeApp:
    app = ScopeApp(
        review,
        Configuration(theme=f"smtpscope-{theme}"),
        Memory(),
        starting=FakeStarting(error=RecorderError(NOT_PERMITTED, 4)),
    )
    app.animation_level = "none"
    return app


def _looks_the_same(
    app: ScopeApp, size: tuple[int, int], go: Go, snap_compare: Callable[..., bool]
) -> bool:
    async def before(pilot: Pilot[Any]) -> None:
        await settled(pilot)
        await go(pilot)
        app.clear_notifications()
        while app.screen.query("Toast"):
            await pilot.pause()
        await settled(pilot)

    try:
        return snap_compare(app, terminal_size=size, run_before=before)
    finally:
        if app.review is not None:
            app.review.close()
