"""Rules of the security group."""

from __future__ import annotations

from smtpscope.findings.rule import Checks, Rule

RULES: dict[str, Rule] = {}

CHECKS = Checks()
