"""Starts the screen for the command line: what is configured, what is remembered, the captures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smtpscope.configuration import read_configuration
from smtpscope.filters import parse
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.memory import Memory
from smtpscope.recorder import Recorder
from smtpscope.review import Review

if TYPE_CHECKING:
    from smtpscope.tui.forms import Starting


def start(
    captures: Sequence[str],
    *,
    ports: frozenset[int] = frozenset(),
    policy: Policy = NO_POLICY,
    jobs: int | None = None,
    filter: str = "",
    reveal: bool = False,
    key_logs: tuple[str, ...] = (),
    live: bool = False,
    recorder: Recorder | None = None,
    starting: Starting | None = None,
) -> int:
    """Show captures (without any: the home screen) until the user leaves; the exit status.

    `live`: the one capture grows; the `recorder` that writes it ends with the screen. `starting`
    starts other ones.

    Raises `NoCaptureError` where there is nothing to show, and `FilterError`.
    """
    parse(filter)
    configuration = read_configuration()
    review = None
    if captures:
        # Before the application: its threads would make the process that reads start slowly.
        review = Review(
            captures,
            ports=ports,
            policy=policy,
            jobs=jobs,
            cache_limit=configuration.cache_size,
            live=live,
            key_logs=key_logs,
            recorder=recorder,
        )
    from smtpscope.tui.app import ScopeApp

    app = ScopeApp(
        review,
        configuration,
        Memory(),
        ports=ports,
        policy=policy,
        filter=filter,
        reveal=reveal,
        key_logs=key_logs,
        starting=starting,
    )
    try:
        app.run()
    finally:
        if app.review is not None:
            app.review.close()
    return app.return_code or 0
