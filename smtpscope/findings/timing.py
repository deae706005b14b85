"""Rules about time: slow replies, timeouts, round trips that were not needed.

RFC 5321 §4.5.3.2; RFC 2920 §3.
"""

from __future__ import annotations

from smtpscope.findings.rule import Checks, Rule

RULES: dict[str, Rule] = {}

CHECKS = Checks()
