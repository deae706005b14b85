"""What the commands that record have in common: options, how a recorder's task looks, how it is
shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import click

from smtpscope.errors import UsageError
from smtpscope.options import DEFAULT_KEPT, DEFAULT_ROTATION, REVIEW_OPTIONS

_UNITS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}


class _Rotate(click.ParamType[tuple[str, float]]):
    """A size (100M) or an age (1h)."""

    name = "SIZE|AGE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        found = re.fullmatch(r"(\d{1,15})(k|M|G|s|min|h|d|)", str(value))
        if found is None or not int(found[1]):
            self.fail(f"{value} is no size such as 100M, and no age such as 1h", param, ctx)
        number, unit = int(found[1]), found[2]
        if unit in _SECONDS:
            return "seconds", number * _SECONDS[unit]
        return "size", number * _UNITS[unit]


class _Autostop(click.ParamType[tuple[str, float]]):
    """What ends a recording: duration:60 or sessions:10."""

    name = "WHAT:NUMBER"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        what, _, number = str(value).partition(":")
        try:
            limit = float(number) if what == "duration" else int(number)
        except ValueError:
            limit = 0
        if what not in ("duration", "sessions") or not 0 < limit < 1e9:
            self.fail(f"{value} is neither duration:SECONDS nor sessions:NUMBER", param, ctx)
        return what, limit


def recording_options(command: Any) -> Any:
    """Where a recording goes, and when it ends."""
    for option in (
        click.option(
            "--detach", is_flag=True, help="Go on recording when the screen is left, or gone."
        ),
        click.option(
            "-a",
            "--autostop",
            type=_Autostop(),
            multiple=True,
            help="End after duration:SECONDS, or after sessions:NUMBER have ended.",
        ),
        click.option(
            "--keep",
            type=click.IntRange(1, 99_999),
            help=f"Keep so many files of a rotated recording. [default: {DEFAULT_KEPT}]",
        ),
        click.option(
            "--rotate",
            type=_Rotate(),
            multiple=True,
            help="Go on in another file at a size (100M), or at an age (1h).",
        ),
        click.option(
            "-w",
            "--write",
            type=click.Path(dir_okay=False),
            help="Record into this file, behind what it has. By default a new one in the state"
            " folder, rotated at 100M.",
        ),
    ):
        command = option(command)
    return command


def run_recorder(name: str, recorder_options: dict[str, Any], options: dict[str, Any]) -> None:
    """Have a recorder work that needs no privilege, and show it; `recorder_options` are its own,
    `options` those of the command, which has --quiet."""
    from smtpscope.live import Showing, record
    from smtpscope.recorder import Recorder

    ends = dict(options["autostop"])
    quiet, detach = options["quiet"], options["detach"]
    task = recorder_task(name, recorder_options, options)
    task |= {"seconds": ends.get("duration"), "detach": detach}
    showing = Showing(
        ports=frozenset(options["port"]),
        **{name: options[name] for name in REVIEW_OPTIONS},
    )
    sessions = sessions_wanted(ends, detach=detach, screen=not quiet and showing.screen())
    recorder = Recorder(name, detached=detach)
    try:
        record(recorder, task, showing, sessions, quiet=quiet)
    finally:
        recorder.stop()


def sessions_wanted(ends: Mapping[str, float], *, detach: bool, screen: bool) -> int | None:
    """The sessions after which a recording ends, by what --autostop said; None for no number.
    Raises `UsageError` where nobody would count them."""
    if "sessions" not in ends:
        return None
    if detach:
        raise UsageError("-a sessions needs somebody who counts them: leave --detach out")
    if screen:
        raise UsageError("-a sessions counts what is printed; the screen does not: add --no-tui")
    return int(ends["sessions"])


def recorder_task(
    name: str, recorder_options: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """The task of a recorder that ends with whoever starts it; `options` say where it writes."""
    from smtpscope.places import new_recording

    write = options["write"]
    return {
        "path": os.path.abspath(write) if write else str(new_recording(name)),
        "rotation": rotation(options["rotate"], options["keep"], named=write is not None),
        "seconds": None,
        "detach": False,
        "options": recorder_options,
    }


def rotation(
    rotate: tuple[tuple[str, float], ...], keep: int | None, *, named: bool
) -> list[float | None] | None:
    """The rotation of a recording: size, age, files to keep; None for one file."""
    at = dict(rotate)
    if not at:
        if keep is not None:
            raise UsageError("--keep is for recordings that are rotated: add --rotate 100M")
        return None if named else DEFAULT_ROTATION
    return [at.get("size"), at.get("seconds"), keep or DEFAULT_KEPT]


def open_to_others(listeners: Iterable[str], consequence: str) -> list[str]:
    """Listening beyond this machine is allowed, and told: what of it."""
    return [
        f"{listener} is open to other machines: {consequence}"
        for listener in listeners
        if not _is_local(listener.rpartition("://")[2].rpartition(":")[0].strip("[]"))
    ]


def _is_local(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def absolute(path: str | None) -> str | None:
    """The path from the root."""
    return os.path.abspath(path) if path else None
