"""Rules of the security group."""

from __future__ import annotations

from smtpscope.findings.rule import Rule

RULES: dict[str, Rule] = {}
