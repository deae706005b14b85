"""What a rule is, how a group of rules hangs its checks on the walk, and what its checks share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from smtpscope.findings.walk import State, Step
from smtpscope.session import Session
from smtpscope.stream import Defect, Span

LONG = 400
"""Octets of an argument beyond which it is looked at for being too long."""

LASTING = 50_000_000
"""Nanoseconds beyond which somebody may have waited for nothing."""

QUOTED = 100
"""Octets of something on the wire that a finding quotes, where nothing else is said."""


class Rule(NamedTuple):
    """`severity` is chat, note, warning or error; `spec` is where the rule stands.

    `summary` says what was observed, `advice` what to do about it and who should.
    """

    severity: str
    summary: str
    spec: str
    advice: str


StepCheck = Callable[[Step], Iterable[Defect]]
SessionCheck = Callable[[Session, State], Iterable[Defect]]


class Checks(NamedTuple):
    """A group's checks: small functions that give the defects they see, mostly none.

    `commands` by verb ("." for the end of a message, "(auth)"), `every` on each exchange, the
    ones without a command included, and `session` once, at the end, with the last state. Most
    exchanges are spared the others: `refused` is for replies of 4yz and above, `early` for
    commands that came before the reply to what precedes them, or after the end, `long` for
    arguments of more than `LONG` octets, `unknown` for verbs that no table has. And `lasting` is
    asked, as `session` is, of sessions that last longer than `LASTING`.
    """

    commands: Mapping[str, tuple[StepCheck, ...]] = {}
    every: tuple[StepCheck, ...] = ()
    refused: tuple[StepCheck, ...] = ()
    early: tuple[StepCheck, ...] = ()
    long: tuple[StepCheck, ...] = ()
    unknown: tuple[StepCheck, ...] = ()
    lasting: tuple[SessionCheck, ...] = ()
    session: tuple[SessionCheck, ...] = ()


def once(
    step: Step, rule: str, span: Span, detail: str = "", which: str = ""
) -> tuple[Defect, ...]:
    """The defect; nothing where it is told of the session already.

    Once by the rule is enough, or once for each `which`: the login, the code, whatever it is about.
    """
    told = step.state.told
    if (rule, which) in told:
        return ()
    told.add((rule, which))
    return (Defect(rule, span, detail),)


def quoted(octets: bytes, most: int = QUOTED) -> str:
    """The first octets of what was on the wire; those that are no UTF-8 as escapes."""
    return octets[:most].decode("utf-8", "backslashreplace")
