"""What is wrong in a session, and why: from what was observed to findings by rule.

Each group of rules has a module or a few: their rules are data (`RULES`), their checks small
functions that the walk through a session calls (`CHECKS`). `judge` adds what they see to what the
decoder saw, and says what it means.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from smtpscope import reference
from smtpscope.findings import (
    across,
    capture,
    connection,
    content,
    delivery,
    envelope,
    message,
    octets,
    parameters,
    probing,
    relay,
    replies,
    security,
    sequence,
    smuggling,
    syntax,
    timing,
    tls,
)
from smtpscope.findings.rule import LASTING, LONG, Rule, StepCheck
from smtpscope.findings.walk import NO_POLICY, Policy, State, Step, walk
from smtpscope.session import Finding, Session, Severity
from smtpscope.smtp.dialogue import UNFINISHED
from smtpscope.smtp.values import Exchange
from smtpscope.stream import Defect

GROUPS = {
    "sequence": (sequence, connection),
    "syntax": (syntax, parameters, replies, octets),
    "security": (security, tls, smuggling, content, relay),
    "delivery": (delivery, envelope),
    "message": (message,),
    "timing": (timing,),
    "capture": (capture,),
}

_MODULES = tuple(module for modules in GROUPS.values() for module in modules)

RULES: dict[str, tuple[str, Rule]] = (
    {
        name: (group, rule)
        for group, modules in GROUPS.items()
        for module in modules
        for name, rule in module.RULES.items()
    }
    | {name: ("delivery", rule) for name, rule in across.RULES.items()}
    | {name: ("security", rule) for name, rule in probing.RULES.items()}
)
"""Every rule by its id, with its group. Ids are stable: scripts and reports depend on them."""

_SEVERITIES = {name: Severity[rule.severity.upper()] for name, (_, rule) in RULES.items()}

MAX_TOLD = 5
"""Findings by one rule in a session; the last one says how many there were beyond."""

_EVERY = tuple(check for module in _MODULES for check in module.CHECKS.every)
_EARLY = tuple(check for module in _MODULES for check in module.CHECKS.early)
_REFUSED = tuple(check for module in _MODULES for check in module.CHECKS.refused)
_LONG = tuple(check for module in _MODULES for check in module.CHECKS.long)
_UNKNOWN = tuple(check for module in _MODULES for check in module.CHECKS.unknown)
_SESSION = tuple(check for module in _MODULES for check in module.CHECKS.session)
_LASTING = tuple(check for module in _MODULES for check in module.CHECKS.lasting)


def _checks(verb: str) -> tuple[StepCheck, ...]:
    """What is asked of every exchange of this verb; "" stands for there being no command."""
    own = (check for module in _MODULES for check in module.CHECKS.commands.get(verb, ()))
    return (*own, *_EVERY, *(() if verb in _KNOWN else _UNKNOWN))


_KNOWN = reference.VERBS | {".", "(auth)", "(unreadable)"}
_CHECKS = {
    verb: _checks(verb) for verb in _KNOWN.union(*(module.CHECKS.commands for module in _MODULES))
}
_NO_COMMAND = _CHECKS[""]
_OTHERS = _checks("(other)")


UNTIMELY = UNFINISHED | {"missing-reply", "message-unanswered"}
"""What is wrong with a session that is over, and with one that goes on not yet."""


def judge(
    session: Session,
    observed: Iterable[Defect],
    limit: int,
    policy: Policy = NO_POLICY,
    *,
    ended: bool = True,
) -> list[Finding]:
    """The findings of a session: what the decoder `observed`, and what the checks see.

    Of one that has not `ended`, only what was said is judged. At most `limit` are looked at, and
    `MAX_TOLD` by each rule told, in the order of their octets, the client's first.
    """
    defects = list(observed)
    state = State(policy)
    answered = 0
    for step in walk(session, state, session.exchanges):
        if len(defects) > limit:
            # There is enough to tell; what both sides knew at the end is still to be found out.
            continue
        reply = step.reply
        for check in _asked(step, answered):
            found = check(step)
            if found:
                defects.extend(found)
        answered = reply.packet if reply is not None else 0
    session_checks = _SESSION if ended else ()
    if ended and session.end - session.start > LASTING:
        session_checks += _LASTING
    for session_check in session_checks:
        found = session_check(session, state)
        if found:
            defects.extend(found)
    if not ended:
        defects = [defect for defect in defects if defect.rule not in UNTIMELY]
    del defects[limit:]
    defects.sort(key=_place)
    return _fold([finding(defect) for defect in defects])


def _asked(step: Step, answered: int) -> tuple[StepCheck, ...]:
    """The checks of an exchange; the one before it was `answered` by this packet, 0 if it was
    not."""
    command, reply = step.command, step.reply
    checks = _NO_COMMAND
    if command is not None:
        checks = _CHECKS.get(command.verb, _OTHERS)
        if len(command.argument) > LONG:
            checks += _LONG
        if command.packet < answered or step.state.ending is not None:
            checks += _EARLY
    if reply is not None and reply.code is not None and reply.code >= 400:
        checks += _REFUSED
    return checks


class LiveJudge:
    """Judges a session exchange by exchange, while it goes on: what `judge` says at its end may
    be more, for it then knows what came later."""

    def __init__(self, session: Session, policy: Policy = NO_POLICY) -> None:
        self._queue: deque[Exchange] = deque()
        self._steps = walk(session, State(policy), iter(self._queue.popleft, None))
        self._answered = 0

    def take(self, exchange: Exchange) -> list[Defect]:
        """What is wrong with an exchange, which must be in the session's list already."""
        self._queue.append(exchange)
        step = next(self._steps)
        found = [defect for check in _asked(step, self._answered) for defect in check(step) or ()]
        self._answered = step.reply.packet if step.reply is not None else 0
        return found


def finding(defect: Defect) -> Finding:
    """What a defect means."""
    name, span, detail = defect
    group, rule = RULES[name]
    summary = f"{rule.summary}: {detail}" if detail else rule.summary
    return Finding(name, _SEVERITIES[name], group, span, summary, rule.spec, rule.advice)


def join(session: Session, number: int, joined: across.Joined) -> None:
    """Give a session its number, and what it shows beside the earlier ones of its capture, or what
    that says of it."""
    session.number = number
    session.beside = (*session.beside, *joined.defects)
    session.timing = session.timing._replace(server=joined.server)
    defects = [*timing.slow_replies(session), *session.beside]
    session.findings += _fold([finding(defect) for defect in defects])


def _fold(findings: list[Finding]) -> list[Finding]:
    """The first ones by each rule."""
    if len(findings) <= MAX_TOLD:
        return findings
    found = Counter(each.rule for each in findings)
    if max(found.values()) <= MAX_TOLD:
        return findings
    told: Counter[str] = Counter()
    kept = []
    for each in findings:
        told[each.rule] += 1
        beyond = found[each.rule] - MAX_TOLD
        if told[each.rule] == MAX_TOLD and beyond > 0:
            each = each._replace(summary=f"{each.summary} (and {beyond:,} more like it)")
        if told[each.rule] <= MAX_TOLD:
            kept.append(each)
    return kept


def _place(defect: Defect) -> tuple[int, int, int]:
    return defect.span
