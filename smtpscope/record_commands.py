"""The commands that record: what they take, and how their tasks look."""

from __future__ import annotations

import os
import re
from typing import Any

import click

from smtpscope.errors import UsageError
from smtpscope.options import (
    DEFAULT_KEPT,
    DEFAULT_ROTATION,
    REVIEW_OPTIONS,
    port_option,
    review_options,
    tell,
)

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


@click.command()
@click.option(
    "-i",
    "--interface",
    multiple=True,
    help="Where to capture; repeatable. By default any: all interfaces that are up.",
)
@click.option("-D", "--list-interfaces", is_flag=True, help="List the interfaces, and leave.")
@click.option(
    "-f",
    "--capture-filter",
    metavar="BPF",
    default="",
    help="What to capture, in libpcap's language. By default TCP on the ports of SMTP.",
)
@click.option("-c", "--count", type=click.IntRange(1), help="End after so many packets.")
@click.option("-p", "--promiscuous", is_flag=True, help="Take what is for other machines, too.")
@recording_options
@port_option
@review_options
def sniff(
    interface: tuple[str, ...],
    list_interfaces: bool,
    capture_filter: str,
    promiscuous: bool,
    write: str | None,
    rotate: tuple[tuple[str, float], ...],
    keep: int | None,
    count: int | None,
    autostop: tuple[tuple[str, float], ...],
    detach: bool,
    port: tuple[int, ...],
    **options: Any,
) -> None:
    """Record SMTP on a network interface, and show it as it happens.

    Capturing takes a privilege, which is given up before the first packet is read: run it with
    sudo, or be in the wireshark group where dumpcap is installed.
    """
    from smtpscope.filters import parse
    from smtpscope.live import Showing, record
    from smtpscope.sniffing import Sniffer, Wanted

    if list_interfaces:
        _list_interfaces()
        return
    parse(options["filter"])
    ends = dict(autostop)
    sniffer = Sniffer(port)
    showing = Showing(ports=frozenset(port), sniffing=sniffer, **options)
    if detach and "sessions" in ends and not showing.screen():
        raise UsageError("-a sessions needs somebody who counts them: leave --detach out")
    wanted = Wanted(
        interface,
        capture_filter,
        promiscuous,
        write or "",
        rotation(rotate, keep, named=write is not None),
        count,
        ends.get("duration"),
        detach,
    )
    recorder = None
    try:
        sniffer.give_up(detached=detach)
        recorder = sniffer.take()
        sessions = int(ends["sessions"]) if "sessions" in ends else None
        record(recorder, sniffer.task(wanted), showing, sessions)
    finally:
        sniffer.close()
        if recorder is not None:
            recorder.stop()


def run_recorder(name: str, recorder_options: dict[str, Any], options: dict[str, Any]) -> None:
    """Have a recorder work that needs no privilege, and show it; `recorder_options` are its own,
    `options` those of the command, which has --quiet."""
    from smtpscope.live import Showing, record
    from smtpscope.places import new_recording
    from smtpscope.recorder import Recorder

    ends = dict(options["autostop"])
    write = options["write"]
    task = {
        "path": os.path.abspath(write) if write else str(new_recording(name)),
        "rotation": rotation(options["rotate"], options["keep"], named=write is not None),
        "seconds": ends.get("duration"),
        "detach": options["detach"],
        "options": recorder_options,
    }
    showing = Showing(
        ports=frozenset(options["port"]),
        **{name: options[name] for name in REVIEW_OPTIONS},
    )
    sessions = int(ends["sessions"]) if "sessions" in ends else None
    recorder = Recorder(name, detached=options["detach"])
    try:
        record(recorder, task, showing, sessions, quiet=options["quiet"])
    finally:
        recorder.stop()


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


def warn_of(listener: str, consequence: str) -> None:
    """Listening beyond this machine is allowed, and told."""
    import ipaddress

    host = listener.rpartition("://")[2].rpartition(":")[0].strip("[]")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        tell(f"{listener} is open to other machines: {consequence}")


def absolute(path: str | None) -> str | None:
    """The path from the root."""
    return os.path.abspath(path) if path else None


def _list_interfaces() -> None:
    from smtpscope.display import text
    from smtpscope.recorders.interfaces import list_interfaces

    for each in list_interfaces():
        state = "up" if each.up else "down"
        kind = " (loopback)" if each.loopback else ""
        addresses = ", ".join(each.addresses) or "no address"
        click.echo(f"{text(each.name):<16} {state:<5} {text(addresses)}{kind}")
