"""The command for our certificate authority: show it, hand its certificate out, make a new one.

Only ever the certificate leaves the folder, never the key.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from smtpscope.errors import SmtpscopeError, UsageError
from smtpscope.options import tell

if TYPE_CHECKING:
    from smtpscope.recorders.authority import Authority

SOON = 30
"""Days before its end from which on it is told that the CA runs out."""


@click.group()
def ca() -> None:
    """The certificate authority with which TLS is recorded between a client and its server.

    It is made on first use. A client has to trust its certificate, and nobody else needs to.
    """


@ca.command()
def show() -> None:
    """Show whose it is, its fingerprint, how long it is valid, and where it lies."""
    _show(_authority())


@ca.command()
@click.argument("file", default="-")
@click.option("--der", is_flag=True, help="In DER instead of PEM.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def export(file: str, der: bool, force: bool) -> None:
    """Write the certificate, which clients are to trust, to a file or standard output."""
    if file == "-" and der and sys.stdout and sys.stdout.isatty():
        raise UsageError("DER is nothing for a terminal: name a file")
    authority = _authority()
    octets = authority.der() if der else authority.pem()
    if file == "-":
        click.echo(octets, nl=False)
        return
    if os.path.exists(file) and os.path.samefile(file, authority.path):
        raise UsageError(f"{file} holds the key of the CA: name another file")
    try:
        with open(file, "wb" if force else "xb") as out:
            out.write(octets)
    except FileExistsError:
        raise UsageError(f"{file} is there already: name another file, or say --force") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SmtpscopeError(f"{file} cannot be written ({reason}): name another file") from None


@ca.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def renew(yes: bool) -> None:
    """Make a new CA with a new key. Clients have to trust it anew."""
    from smtpscope.recorders.authority import is_there, renewed

    if not yes and is_there():
        _ask()
    _show(renewed())
    tell("clients have to trust the new CA: `smtpscope ca export` writes its certificate")
    tell("what runs with the old one goes on with it until it is started again")


def _ask() -> None:
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("who trusts the CA that is there will not trust a new one: say --yes")
    question = "Who trusts the CA that is there will not trust the new one. Make it?"
    if not click.confirm(question, err=True):
        raise SmtpscopeError("nothing was changed: the CA that is there stays")


def _authority() -> Authority:
    """The CA; what is to be known of it is told."""
    from smtpscope.recorders.authority import Authority

    found = Authority()
    if found.made:
        tell(f"made a new CA in {found.path.parent}")
    elif found.days_left < 0:
        tell(f"the CA has run out on {found.ends:%Y-%m-%d}: smtpscope ca renew")
    elif found.days_left < SOON:
        tell(f"the CA runs out in {found.days_left} days: smtpscope ca renew")
    return found


def _show(authority: Authority) -> None:
    from smtpscope.display import text

    left = max(authority.days_left, 0)
    for label, value in (
        ("subject", authority.subject),
        ("SHA-256", authority.fingerprint),
        ("valid from", f"{authority.begins:%Y-%m-%d %H:%M} UTC"),
        ("valid to", f"{authority.ends:%Y-%m-%d %H:%M} UTC ({left} days left)"),
        ("file", f"{authority.path} (with its key: keep it to yourself)"),
    ):
        click.echo(f"{label:<12}{text(value)}")
