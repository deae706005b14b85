"""Where a dialogue opens: at what the filter asks for, or else at what broke the mail.

A filter for a rule, a code or a verb has been answered by a line of the session, and that is what
its reader wants to see. Without one it is the finding at a refusal, or the worst one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from smtpscope.filters import Filter, Node, Not, Test
from smtpscope.findings import RULES
from smtpscope.session import Session, Severity
from smtpscope.transcript import Row

_POINTING = (("finding", "group"), ("code", "enhanced", "class"), ("verb",))
"""Fields that a line answers, those first that say most."""


def opening(session: Session, rows: Sequence[Row], filter: Filter) -> int:
    """The index of the row at which to open; 0, the beginning, where there is nothing to show."""
    tests = list(_tests(filter.node)) if filter.node is not None else []
    found = (_first(session, rows, tests, fields) for fields in _POINTING)
    pointed = next((index for index in found if index), 0)
    return pointed or _broken(session, rows) or _first(session, rows, tests, ("severity",))


def rules_of(filter: Filter) -> frozenset[str]:
    """The rules that a filter asks for; none where it asks for no finding."""
    tests = _tests(filter.node) if filter.node is not None else ()
    asked = [test for test in tests if test.field == "finding"]
    return frozenset(rule for rule in RULES if any(test.accepts([rule]) for test in asked))


def _tests(node: Node) -> Iterator[Test]:
    """What is asked for, and not what is excluded."""
    if isinstance(node, Test):
        if node.operator != "!=":
            yield node
    elif not isinstance(node, Not):
        for child in node.children:
            yield from _tests(child)


def _first(
    session: Session, rows: Sequence[Row], tests: Sequence[Test], fields: Sequence[str]
) -> int:
    asked = [test for test in tests if test.field in fields]
    if not asked:
        return 0
    return next((i for i, row in enumerate(rows) if _is_asked_for(session, row, asked)), 0)


def _is_asked_for(session: Session, row: Row, asked: Sequence[Test]) -> bool:
    if row.part:
        return False
    values = dict(_values(session, row))
    return any(test.field in values and test.accepts([values[test.field]]) for test in asked)


def _values(session: Session, row: Row) -> Iterator[tuple[str, str | int]]:
    """What a row is, by the fields of the filter language."""
    finding = row.finding
    if finding is not None:
        yield "finding", finding.rule
        yield "group", finding.group
        yield "severity", int(finding.severity)
        return
    if row.exchange >= len(session.exchanges):
        return
    exchange = session.exchanges[row.exchange]
    if row.reply is not None:
        reply = exchange.replies[row.reply]
        if reply.code is not None:
            yield "code", reply.code
            yield "class", reply.code // 100
        if reply.enhanced is not None:
            yield "enhanced", str(reply.enhanced)
    elif row.kind == "command" and exchange.command is not None:
        yield "verb", exchange.command.verb


def _broken(session: Session, rows: Sequence[Row]) -> int:
    worst, at = Severity.NOTE, 0
    for index, row in enumerate(rows):
        if row.finding is None or row.finding.severity < Severity.WARNING:
            continue
        if _is_refused(session, row):
            return index
        if row.finding.severity > worst:
            worst, at = row.finding.severity, index
    return at


def _is_refused(session: Session, row: Row) -> bool:
    if row.exchange >= len(session.exchanges):
        return False
    replies = session.exchanges[row.exchange].replies
    return any(reply.code is not None and reply.code >= 400 for reply in replies)
