"""The command that stands between a client and a server: what it takes, and how its task looks."""

from __future__ import annotations

from typing import Any

import click

from smtpscope.errors import UsageError
from smtpscope.options import PROXY_LISTENER, port_option, review_options, tell
from smtpscope.record_options import absolute, open_to_others, recording_options, run_recorder

_PEM = click.Path(dir_okay=False, exists=True)


@click.command()
@click.option(
    "--listen",
    metavar="[KIND://]HOST:PORT",
    multiple=True,
    help="Where clients come to; repeatable. KIND is smtp, or smtps where they speak TLS at once."
    f" [default: {PROXY_LISTENER}]",
)
@click.option(
    "--upstream",
    metavar="[KIND://]HOST[:PORT]",
    required=True,
    help="The server. KIND is smtp (TLS is the client's choice; the usual one), or starttls or"
    " smtps: TLS whatever the client does.",
)
@click.option(
    "--starttls",
    type=click.Choice(["intercept", "pass", "strip", "refuse"]),
    default="intercept",
    show_default=True,
    help="A client's STARTTLS: intercept shakes hands with both sides, pass lets it through"
    " unread, strip hides the offer, refuse answers 454.",
)
@click.option(
    "--injection",
    type=click.Choice(["drop", "forward", "refuse"]),
    default="drop",
    show_default=True,
    help="What becomes of plaintext behind STARTTLS in the same turn.",
)
@click.option(
    "--legs",
    type=click.Choice(["client", "server", "both"]),
    default="both",
    show_default=True,
    help="Whose connections are recorded. Sessions are shown once.",
)
@click.option("--proxy-protocol", is_flag=True, help="Clients begin with a PROXY header, 1 or 2.")
@click.option(
    "--insecure-upstream",
    is_flag=True,
    help="Take any certificate of the server: whoever stands before it can then read everything.",
)
@click.option(
    "--upstream-ca", type=_PEM, help="Trust these CAs (PEM) for the server, and no others."
)
@click.option("--upstream-cert", type=_PEM, help="A certificate (PEM) to show to the server.")
@click.option("--upstream-key", type=_PEM, help="Its key (PEM).")
@click.option("--client-ca", type=_PEM, help="Clients must show a certificate of these CAs (PEM).")
@click.option("--connect-timeout", type=click.FloatRange(0.1), help="Seconds. [default: 30]")
@click.option("--idle-timeout", type=click.FloatRange(0), help="Seconds. [default: 900]")
@click.option("--max-connections", type=click.IntRange(1), help="Clients at once. [default: 5000]")
@click.option("--quiet", is_flag=True, help="Print nothing but errors: for a service manager.")
@recording_options
@port_option
@review_options
def proxy(**options: Any) -> None:
    """Stand between mail clients and a server, and show every dialogue, TLS included.

    Octets go on unchanged, and are recorded first. For clients to take TLS from here they have to
    trust our CA: smtpscope ca export.
    """
    from smtpscope.filters import parse

    wanted = recorder_options(options)
    parse(options["filter"])
    for warning in warnings(wanted):
        tell(warning)
    run_recorder("proxy", wanted, options)


def warnings(wanted: dict[str, Any]) -> list[str]:
    """What whoever wants that should know."""
    consequence = "whoever reaches it speaks with the server through it"
    found = open_to_others(wanted["listen"], consequence)
    if wanted["insecure_upstream"]:
        found.append(
            "--insecure-upstream: the server's certificate is not looked at, and whoever stands"
            " before the server can read and change everything"
        )
    return found


def recorder_options(options: dict[str, Any]) -> dict[str, Any]:
    """The recorder's options by those of the command, which say only what they were told. Raises
    `UsageError`."""
    if bool(options["upstream_cert"]) != bool(options["upstream_key"]):
        raise UsageError("--upstream-cert and --upstream-key go together")
    names = ("upstream", "starttls", "injection", "legs", "proxy_protocol", "insecure_upstream")
    files = ("upstream_ca", "upstream_cert", "upstream_key", "client_ca")
    limits = {"idle": "idle_timeout", "connections": "max_connections"}
    found: dict[str, Any] = {"listen": list(options["listen"]) or [PROXY_LISTENER]}
    found |= {name: options[name] for name in names}
    found |= {name: absolute(options[name]) for name in files}
    found |= {
        name: options[option]
        for name, option in (*limits.items(), ("connect_timeout", "connect_timeout"))
        if options[option] is not None
    }
    return found
