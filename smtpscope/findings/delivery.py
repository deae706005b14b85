"""Rules about what became of the mail: refused, delayed, lost, doubled.

RFC 5321 §3.6, §4.2.5, §4.5.4, §6; RFC 3463.
"""

from __future__ import annotations

from smtpscope.findings.rule import Checks, Rule

RULES: dict[str, Rule] = {}

CHECKS = Checks()
