"""The command for the queue of `serve`: what TURN, ATRN and ETRN are to deliver."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, BinaryIO

import click

from smtpscope.errors import UsageError
from smtpscope.options import tell

if TYPE_CHECKING:
    from smtpscope.recorders.queue import Queue


@click.group()
def queue() -> None:
    """Messages that wait for a host to collect them by TURN, ATRN or ETRN.

    They leave the queue only when that host has taken them.
    """


@queue.command()
@click.option("--for", "host", required=True, help="The host or domain that is to have it.")
@click.option("--from", "sender", default="", help="The sender; without it, the null sender.")
@click.option("--to", "recipients", multiple=True, required=True, help="A recipient. Repeatable.")
@click.argument("message", type=click.File("rb"), default="-")
def add(host: str, sender: str, recipients: tuple[str, ...], message: BinaryIO) -> None:
    """Queue a message: a file, or standard input."""
    for address in (sender, *recipients):
        if address and ("@" not in address or not address.isprintable() or " " in address):
            raise UsageError(f"{address!r} is no address: name one such as bob@example.org")
    if sys.stdin is not None and message is sys.stdin.buffer and sys.stdin.isatty():
        tell("type the message; Ctrl-D ends it")
    click.echo(_queue().add(host, sender, recipients, message).id)


@queue.command("list")
@click.option("--for", "host", help="Only what is for this host or domain.")
def list_(host: str | None) -> None:
    """List what waits, oldest first."""
    from smtpscope.display import text
    from smtpscope.export.jsonl import iso_time

    found = _queue()
    for each in found.waiting(host):
        added = iso_time(int(each.added * 1e9))[:19].replace("T", " ")
        to = ", ".join(f"<{text(one, 100)}>" for one in each.recipients)
        sender = text(each.sender, 100)
        click.echo(f"{each.id}  {added}  {each.size:>9,}  {text(each.host, 100)}  <{sender}> {to}")
    for problem in found.problems:
        tell(problem)


@queue.command()
@click.argument("ids", metavar="ID…", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All of them.")
def remove(ids: tuple[str, ...], every: bool) -> None:
    """Throw messages away."""
    found = _queue()
    known = {each.id for each in found.waiting()}
    if bool(ids) == every:
        raise UsageError("name the messages, as `smtpscope queue list` does, or say --all")
    missing = [id for id in ids if id not in known]
    if missing:
        raise UsageError(f"{missing[0]} is not in the queue: smtpscope queue list")
    for id in known if every else ids:
        found.remove(id)


def _queue() -> Queue:
    from smtpscope.places import state_folder
    from smtpscope.recorders.queue import Queue

    return Queue(state_folder() / "queue")
