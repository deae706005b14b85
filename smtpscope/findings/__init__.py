"""What is wrong in a session: from the defects that the decoder saw to findings by rule.

A `Rule` is data: severity, group, summary, source. `judge` looks up the rule of each defect; the
decoder says where something happened, this package what it means.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from smtpscope.findings.rules import RULES
from smtpscope.stream import Defect, Span


class Severity(enum.IntEnum):
    """Wireshark's scale."""

    CHAT = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class Finding(NamedTuple):
    """One finding: `span` points at the octets, `spec` names the rule's source.

    `summary` may quote the wire: it must pass `display` before anybody sees it.
    """

    rule: str
    severity: Severity
    group: str
    span: Span
    summary: str
    spec: str


def judge(defects: Iterable[Defect]) -> list[Finding]:
    """The findings for these defects, in their order."""
    findings = []
    for defect in defects:
        group, severity, summary, spec = RULES[defect.rule]
        if defect.detail:
            summary = f"{summary}: {defect.detail}"
        findings.append(
            Finding(defect.rule, Severity[severity.upper()], group, defect.span, summary, spec)
        )
    return findings
