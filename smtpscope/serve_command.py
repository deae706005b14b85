"""The command that is a server: what it takes, and how its task looks."""

from __future__ import annotations

import os
from typing import Any

import click

from smtpscope.errors import UsageError
from smtpscope.options import SERVE_LISTENER, port_option, review_options, tell
from smtpscope.record_options import absolute, open_to_others, recording_options, run_recorder

_PATH = click.Path(dir_okay=False, exists=True)
_POLICY = click.Choice(["on", "off", "auth"])


@click.command()
@click.option(
    "--listen",
    metavar="[KIND://]HOST:PORT",
    multiple=True,
    help="Where to listen; repeatable. KIND is starttls (TLS is offered; the usual one), smtp"
    f" (without TLS) or smtps (TLS at once). [default: {SERVE_LISTENER}]",
)
@click.option("--host", help="What the server calls itself. [default: localhost]")
@click.option("--lmtp", is_flag=True, help="Speak LMTP.")
@click.option(
    "--maildir",
    type=click.Path(file_okay=False),
    help="Where the messages go. [default: mail in the state folder]",
)
@click.option("--tls-cert", type=_PATH, help="A certificate (PEM). By default one is made.")
@click.option("--tls-key", type=_PATH, help="Its key (PEM).")
@click.option(
    "--auth",
    type=click.Choice(["off", "users", "any"]),
    help="Who may log in: nobody, those of the configuration, or everybody. [default: off]",
)
@click.option("--auth-allow-insecure", is_flag=True, help="Take cleartext passwords without TLS.")
@click.option("--vrfy", type=_POLICY, help="Answer VRFY (off: 252). [default: off]")
@click.option("--expn", type=_POLICY, help="Answer EXPN (off: 252). [default: off]")
@click.option("--turn", is_flag=True, help="Take TURN from those who have logged in.")
@click.option("--turn-insecure", is_flag=True, help="Take TURN from everybody.")
@click.option("--hide", metavar="KEYWORD", multiple=True, help="Do not offer this extension.")
@click.option("--max-size", type=click.IntRange(0), help="Octets of a message, 0 for any number.")
@click.option("--max-recipients", type=click.IntRange(1), help="Recipients of a message.")
@click.option("--max-connections", type=click.IntRange(1), help="Connections at once.")
@click.option("--max-connections-per-client", type=click.IntRange(1), help="The same of one host.")
@click.option("--idle-timeout", type=click.FloatRange(0), help="Seconds. [default: 300]")
@click.option("--total-timeout", type=click.FloatRange(0), help="Seconds. [default: none]")
@click.option("--min-rate", type=click.IntRange(0), help="Octets a second of message data.")
@click.option(
    "--bare-lf",
    type=click.Choice(["reject", "accept-and-flag"]),
    help="What to do with a message that has bare line feeds. [default: reject]",
)
@click.option("--config", type=_PATH, help="Users, aliases, replies, …: a TOML file.")
@click.option("--faults", type=_PATH, help="When to misbehave, and how: a TOML file.")
@click.option("--persona", type=_PATH, help="Another server's words: a TOML file.")
@click.option(
    "--address-faults",
    is_flag=True,
    help="Addresses such as rcpt+550-5.1.1@… draw the reply that they name.",
)
@click.option("--seed", type=int, help="Makes faults with a probability the same in every run.")
@click.option("--sample-config", is_flag=True, help="Print a sample of --config, and leave.")
@click.option("--exit-after", type=click.IntRange(1), help="End after so many messages.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors: for a service manager.")
@recording_options
@port_option
@review_options
def serve(**options: Any) -> None:
    """Be a mail server that takes every message and shows every dialogue.

    Nothing leaves this machine: messages go into a Maildir, and there they stay. By default it
    keeps to the standard; --config and --faults make it as nasty as asked.
    """
    from smtpscope.filters import parse

    if options["sample_config"]:
        from importlib.resources import files

        click.echo(files("smtpscope.recorders").joinpath("sample.toml").read_text(), nl=False)
        return
    wanted = recorder_options(options)
    parse(options["filter"])
    for warning in warnings(wanted):
        tell(warning)
    run_recorder("serve", wanted, options)


def warnings(wanted: dict[str, Any]) -> list[str]:
    """What whoever wants that should know."""
    return open_to_others(wanted["listen"], "whoever reaches it may send mail here")


def recorder_options(options: dict[str, Any]) -> dict[str, Any]:
    """The recorder's options by those of the command. Raises `UsageError`."""
    from smtpscope.places import state_folder

    if bool(options["tls_cert"]) != bool(options["tls_key"]):
        raise UsageError("--tls-cert and --tls-key go together")
    return {
        "listen": list(options["listen"]) or [SERVE_LISTENER],
        "maildir": os.path.abspath(options["maildir"] or state_folder() / "mail"),
        "certificate": [
            absolute(options["tls_cert"]),
            absolute(options["tls_key"]),
        ]
        if options["tls_cert"]
        else None,
        "config": absolute(options["config"]),
        "faults": absolute(options["faults"]),
        "persona": absolute(options["persona"]),
        "settings": _settings(options),
        "limits": _limits(options),
        "exit_after": options["exit_after"],
    }


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """What options say of the server's behaviour, and only what they say."""
    found: dict[str, Any] = {
        name: options[name]
        for name in (
            *("host", "auth", "vrfy", "expn", "max_size", "max_recipients", "bare_lf", "seed"),
            *("lmtp", "auth_allow_insecure", "address_faults"),
        )
        if options[name] not in (None, False)
    }
    if options["turn"] or options["turn_insecure"]:
        found["turn"] = "insecure" if options["turn_insecure"] else "auth"
    if options["hide"]:
        found["hide"] = list(options["hide"])
    return found


def _limits(options: dict[str, Any]) -> dict[str, Any]:
    names = {
        "connections": "max_connections",
        "per_client": "max_connections_per_client",
        "idle": "idle_timeout",
        "total": "total_timeout",
        "rate": "min_rate",
    }
    return {name: options[option] for name, option in names.items() if options[option] is not None}
