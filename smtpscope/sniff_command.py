"""The command that records a network interface: what it takes, and what it has a recorder do."""

from __future__ import annotations

from typing import Any

import click

from smtpscope.options import port_option, review_options
from smtpscope.record_options import recording_options, rotation, sessions_wanted


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
    showing = Showing(ports=frozenset(port), starting=sniffer, **options)
    sessions = sessions_wanted(ends, detach=detach, screen=showing.screen())
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
        record(recorder, sniffer.task(wanted), showing, sessions)
    finally:
        sniffer.close()
        if recorder is not None:
            recorder.stop()


def _list_interfaces() -> None:
    from smtpscope.display import text
    from smtpscope.recorders.interfaces import list_interfaces

    for each in list_interfaces():
        state = "up" if each.up else "down"
        kind = " (loopback)" if each.loopback else ""
        addresses = ", ".join(each.addresses) or "no address"
        click.echo(f"{text(each.name):<16} {state:<5} {text(addresses)}{kind}")
