"""Starts proxies and servers for the screen, by what their command lines would say."""

from __future__ import annotations

import atexit
import os
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import click

from smtpscope import proxy_command, serve_command
from smtpscope.errors import UsageError
from smtpscope.options import REVIEW_OPTIONS
from smtpscope.record_options import recorder_task
from smtpscope.recorder import Recorder

_COMMANDS = {
    "proxy": (proxy_command.proxy, proxy_command.recorder_options, proxy_command.warnings),
    "serve": (serve_command.serve, serve_command.recorder_options, serve_command.warnings),
}

_NOT_ON_A_SCREEN = {*REVIEW_OPTIONS, "quiet", "detach", "autostop", "port", "sample_config"}
"""Options of how sessions are shown, and of recordings that nobody looks at."""


def launch(
    name: str, options: Sequence[tuple[str, str]], more: str, warn: Callable[[str], None]
) -> Recorder:
    """Begin to record as `smtpscope NAME` with these options does, and with `more` as it would be
    typed behind them; it takes a moment. `warn` gets what whoever wants that should know.

    Raises `UsageError` with the command's words, and `RecorderError`.
    """
    command, recorder_options, warnings = _COMMANDS[name]
    arguments = [word for option in options for word in option]
    values = _parsed(command, arguments + _words(more))
    wanted = recorder_options(values)
    task = recorder_task(name, wanted, values)
    recorder = Recorder(name)
    # A screen that is left while it begins leaves nothing behind that goes on.
    atexit.register(recorder.stop)
    recorder.begin(task)
    for warning in warnings(wanted):
        warn(warning)
    return recorder


def _words(typed: str) -> list[str]:
    try:
        words = shlex.split(typed)
    except ValueError as error:
        raise UsageError(f"the options cannot be read: {str(error).lower()}") from None
    return [os.path.expanduser(word) for word in words]


def _parsed(command: click.Command, arguments: list[str]) -> dict[str, Any]:
    """The options by their names, with defaults."""
    known = [each for each in command.params if each.name not in _NOT_ON_A_SCREEN]
    parser = click.Command(command.name, params=known, add_help_option=False)
    prefix = f"SMTPSCOPE_{command.name}".upper()
    try:
        with parser.make_context(command.name, arguments, auto_envvar_prefix=prefix) as context:
            return dict(context.params)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from None
