"""Rules about SMTP smuggling: a second message hidden behind an end of data that only some accept.

`smtp/framing.py` sees the odd ends and what follows them; here it is judged by the server's
replies. RFC 5321 §4.1.1.4; CVE-2023-51764 (Postfix), 51765 (Sendmail), 51766 (Exim).
"""

from __future__ import annotations

from collections.abc import Iterable

from smtpscope.findings.rule import Checks, Rule
from smtpscope.findings.walk import Step
from smtpscope.stream import Defect

RULES: dict[str, Rule] = {
    "odd-end-of-data": Rule(
        "warning",
        "some servers would take this for the end of the message",
        "RFC 5321 §4.1.1.4",
        "The client must end lines in CRLF only. Servers should refuse bare CR and LF "
        "(Postfix: smtpd_forbid_bare_newline = normalize).",
    ),
    "smuggling-attempt": Rule(
        "error",
        "commands are hidden in the message behind an odd end of data",
        "CVE-2023-51764",
        "Find out who sent it. Every server that handles this message must end it at CRLF.CRLF "
        "only and pass no bare CR or LF on: CVE-2023-51764 (Postfix), 51765 (Sendmail), 51766 "
        "(Exim) name the releases that do.",
    ),
    "smuggling-succeeded": Rule(
        "error",
        "the server obeyed commands that were hidden in the message",
        "CVE-2023-51764",
        "Update this server now, or let it refuse bare CR and LF. A message with a forged sender "
        "was accepted: find it by the reply and remove it.",
    ),
}

MIN_REPLIES = 2
"""Replies without a command behind a message from which on its hidden commands were obeyed."""


def _succeeded(step: Step) -> Iterable[Defect]:
    """The server's own replies show that it took more of the message for commands."""
    exchange = step.exchange
    if not any(defect.rule == "smuggling-attempt" for defect in exchange.defects):
        return ()
    unasked = []
    exchanges = step.session.exchanges
    for number in range(step.number + 1, len(exchanges)):
        later = exchanges[number]
        if later.command is not None or later.reply is None:
            break
        unasked.append(later.reply)
    if len(unasked) < MIN_REPLIES or not any(reply.accepted for reply in unasked):
        return ()
    # They are told of here.
    step.state.told.add(("unsolicited-reply", ""))
    codes = " ".join(str(reply.code) for reply in unasked[:10])
    span = unasked[0].span._replace(end=unasked[-1].span.end)
    return (Defect("smuggling-succeeded", span, f"it replied {codes} without being asked"),)


CHECKS = Checks(commands={".": (_succeeded,)})
