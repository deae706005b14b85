"""Rules about what an attacker could see, do or have done.

RFC 3207, RFC 4954 §4, RFC 5321 §7, RFC 8314.
"""

from __future__ import annotations

from smtpscope.findings.rule import Checks, Rule

RULES: dict[str, Rule] = {
    "odd-end-of-data": Rule(
        "warning",
        "some servers would take this for the end of the message",
        "RFC 5321 §4.1.1.4",
        "",
    ),
    "plaintext-behind-starttls": Rule(
        "warning", "plain text where TLS must begin", "RFC 3207 §4", ""
    ),
}

CHECKS = Checks()
