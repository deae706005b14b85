"""Rules about the order of things: who may say what, when, and what must follow.

RFC 5321 §3.1, §3.8, §4.1.4, §4.3; RFC 2920 §3.
"""

from __future__ import annotations

from smtpscope.findings.rule import Checks, Rule

RULES: dict[str, Rule] = {
    "unsolicited-reply": Rule("warning", "a reply that nothing asked for", "RFC 5321 §4.2", ""),
    "missing-reply": Rule("note", "no reply was seen", "RFC 5321 §4.2", ""),
    "reply-lost": Rule("note", "the reply is missing from the capture", "RFC 5321 §4.2", ""),
    "client-speaks-first": Rule(
        "warning", "the client did not wait for the greeting", "RFC 5321 §3.1", ""
    ),
    "end-of-data-unseen": Rule(
        "warning", "the message has no CRLF.CRLF in the capture", "RFC 5321 §4.1.1.4", ""
    ),
    "data-unfinished": Rule("warning", "the message was not finished", "RFC 5321 §4.1.1.4", ""),
    "chunk-unfinished": Rule("warning", "the chunk was not finished", "RFC 3030 §2", ""),
}

CHECKS = Checks()
