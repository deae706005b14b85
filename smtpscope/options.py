"""What several commands have in common: options, what is a terminal, how things are told."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from typing import Any

import click

FOUND = 3
INTERRUPTED = 130
"""Exit statuses: a finding at or above --fail-on, and Ctrl-C."""

DEFAULT_SIZE = 100_000_000
DEFAULT_KEPT = 10
"""A recording that nobody named is rotated at this size, and so many files are kept."""
DEFAULT_ROTATION: list[float | None] = [DEFAULT_SIZE, None, DEFAULT_KEPT]

PROXY_LISTENER = "127.0.0.1:2525"
SERVE_LISTENER = "starttls://127.0.0.1:1025"
"""Where a proxy and a server listen that were not told: on this machine alone."""

SHOWN_NOTES = 10
"""Lines that tell what is wrong with one capture."""


REVIEW_OPTIONS = (
    *("no_tui", "reveal_secrets", "tls_keylog", "local_domain", "filter", "fail_on", "format"),
)
"""What `review_options` adds, by their names."""


def review_options(command: Any) -> Any:
    """The options of everything that shows sessions."""
    for option in (
        click.option(
            "--no-tui", is_flag=True, help="Print, even on a terminal. (What a pipe gets anyway.)"
        ),
        click.option(
            "--reveal-secrets", is_flag=True, help="Show passwords and tokens of AUTH exchanges."
        ),
        click.option(
            "--tls-keylog",
            metavar="FILE",
            multiple=True,
            help="TLS secrets as SSLKEYLOGFILE has them, which is read anyway. Repeatable.",
        ),
        click.option(
            "--local-domain",
            metavar="DOMAIN",
            multiple=True,
            help="The servers are this domain's, or those of domains below it: what they take for"
            " others without a login is relayed. Repeatable.",
        ),
        click.option(
            "-Y",
            "--filter",
            metavar="FILTER",
            default="",
            help="Show only the sessions that match, such as 'code >= 500 and to ~ example.org'.",
        ),
        click.option(
            "--fail-on",
            type=click.Choice(["chat", "note", "warning", "error"]),
            help="Leave with exit status 3 if there is a finding of this severity or above.",
        ),
        click.option(
            "--format",
            type=click.Choice(["text", "jsonl", "events"]),
            default="text",
            show_default=True,
            help="Annotated text; one JSON object a session and line; or one an exchange and line,"
            " as it completes.",
        ),
    ):
        command = option(command)
    return command


port_option = click.option(
    "--port",
    type=click.IntRange(1, 65535),
    multiple=True,
    help="Take this TCP port for SMTP, too. Repeatable.",
)


def key_logs(named: tuple[str, ...]) -> tuple[str, ...]:
    """The files of TLS secrets: those that are named, and what the environment names."""
    usual_one = os.environ.get("SSLKEYLOGFILE", "")
    # Programs make it when they first need it.
    found = [*named, *([usual_one] if usual_one and os.path.exists(usual_one) else [])]
    return tuple(os.path.abspath(each) for each in dict.fromkeys(found))


def usual(option: str) -> bool:
    """Whether the user left an option as it is."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.DEFAULT


def wants_screen(no_tui: bool, fail_on: str | None, *, piped: bool = False) -> bool:
    """Whether the screen is wanted, and there is a terminal that can have one; `piped`: although
    something else comes on standard input."""
    if no_tui or fail_on is not None or not usual("format"):
        return False
    return _terminal_beside_pipe() if piped else on_terminal()


def on_terminal() -> bool:
    """Whether there is a terminal that can have a screen on it."""
    # Standard input is None where it was closed (`<&-`).
    return bool(sys.stdin and sys.stdin.isatty()) and _terminal_for_output()


def _terminal_beside_pipe() -> bool:
    if not (sys.stdin and stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode)):
        return False
    return _terminal_for_output() and os.access("/dev/tty", os.R_OK | os.W_OK)


def _terminal_for_output() -> bool:
    # The screen is painted on standard error.
    both = (sys.stdout, sys.stderr)
    return all(each and each.isatty() for each in both) and os.environ.get("TERM") != "dumb"


def text_options(reveal: bool) -> dict[str, Any]:
    """How text is laid out here: columns, colour, secrets."""
    terminal = sys.stdout.isatty()
    return {
        "width": width() if terminal else None,
        "colour": terminal and "NO_COLOR" not in os.environ,
        "reveal": reveal,
    }


def tell(message: str) -> None:
    """Say something to the user, beside the data."""
    from smtpscope.display import text

    click.echo(f"smtpscope: {text(message)}", err=True)


def tell_notes(name: str, notes: list[str]) -> None:
    """Say what is to be told of a capture."""
    for note in notes[:SHOWN_NOTES]:
        tell(f"{name}: {note}")
    if len(notes) > SHOWN_NOTES:
        tell(f"{name}: {len(notes) - SHOWN_NOTES} more notes like these")


def width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size((100, 40)).columns if sys.stdout.isatty() else 100
