"""Why a server refuses: from a reply of 4yz or 5yz and the command that drew it to a rule's id.

`CAUSES` is the table, the most telling cause first: words that leave no doubt, an enhanced code
that says it alone, words that servers use, a basic code. What fits none is told by the command
that was refused (`GENERAL`). RFC 5321 §4.2.2, §4.2.3; RFC 3463 §3; RFC 7372; RFC 7505 §4.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from smtpscope.smtp.values import Reply

GREETING = frozenset({""})
HELLO = frozenset({"EHLO", "HELO", "LHLO"})
LOGIN = frozenset({"AUTH", "(auth)"})
SENDER = frozenset({"MAIL"})
RECIPIENT = frozenset({"RCPT"})
MESSAGE = frozenset({"DATA", "BDAT", "."})
ENVELOPE = SENDER | RECIPIENT
MAIL = ENVELOPE | MESSAGE
ANY = GREETING | HELLO | MAIL
"""Verbs by what they stand for in the life of a mail; "" is the connection itself."""


class Cause(NamedTuple):
    """A cause of refusals.

    It is the cause where one of the `verbs` draws a reply of one of the `classes` (first digits)
    that has one of the `enhanced` codes (X is either class), one of the `words` in lower case, or
    one of the basic `codes`. `sure` words count more than any enhanced code.
    """

    rule: str
    verbs: frozenset[str]
    classes: str = "45"
    enhanced: str = ""
    words: tuple[str, ...] = ()
    codes: frozenset[int] = frozenset()
    sure: tuple[str, ...] = ()


BLOCKLISTS: tuple[tuple[str, str], ...] = (
    ("zen.spamhaus", "Spamhaus ZEN"),
    ("sbl-xbl.spamhaus", "Spamhaus SBL and XBL"),
    ("sbl.spamhaus", "Spamhaus SBL"),
    ("spamhaus.org/sbl", "Spamhaus SBL"),
    ("xbl.spamhaus", "Spamhaus XBL"),
    ("spamhaus.org/xbl", "Spamhaus XBL"),
    ("pbl.spamhaus", "Spamhaus PBL"),
    ("spamhaus.org/pbl", "Spamhaus PBL"),
    ("dbl.spamhaus", "Spamhaus DBL"),
    ("spamhaus.org/dbl", "Spamhaus DBL"),
    ("spamhaus", "Spamhaus"),
    ("abuseat.org", "CBL"),
    ("spamcop", "SpamCop"),
    ("barracudacentral", "Barracuda"),
    ("sorbs.net", "SORBS"),
    ("uceprotect", "UCEPROTECT"),
    ("backscatterer.org", "Backscatterer"),
    ("invaluement", "Invaluement"),
    ("surbl.org", "SURBL"),
    ("uribl.com", "URIBL"),
    ("abusix", "Abusix"),
    ("mailspike", "Mailspike"),
    ("gbudb", "GBUdb Truncate"),
    ("psbl.", "PSBL"),
    ("spamrats", "SpamRATS"),
    ("dnsbl.manitu", "NiX Spam"),
    ("hostkarma", "Hostkarma"),
    ("blocklist.de", "blocklist.de"),
    ("spfbl.net", "SPFBL"),
    ("s5h.net", "s5h.net"),
    ("0spam", "0Spam"),
    ("dronebl", "DroneBL"),
    ("senderbase", "Cisco Talos"),
    ("talosintelligence", "Cisco Talos"),
    ("proofpoint.com", "Proofpoint"),
    ("csi.cloudmark", "Cloudmark"),
    ("ers.trendmicro", "Trend Micro"),
    ("sms.symantec", "Symantec"),
    ("fortiguard", "FortiGuard"),
    ("s3140", "Microsoft Outlook"),
    ("s3150", "Microsoft Outlook"),
    ("spam.dnsbl", "DNSBL"),
)
"""What stands in a refusal, in lower case, where a list of bad senders is behind it."""

_HELLO_REJECTED = ("helo command rejected", "ehlo command rejected")
_SENDER_REJECTED = ("sender address rejected",)
_BANNED = " ".join(f"X.7.{detail}" for detail in range(606, 650))
"""Exchange Online: addresses that its lists ban."""

CAUSES = (
    # Postfix judges the client's name when it knows a recipient, and says 5.5.2 of a short one.
    Cause("hello-refused", MAIL, "5", sure=_HELLO_REJECTED),
    Cause("hello-deferred", MAIL, "4", sure=_HELLO_REJECTED),
    # Exchange says 5.1.10, which is for a null MX.
    Cause("user-unknown", RECIPIENT | MESSAGE, "5", sure=("recipientnotfound",)),
    Cause(
        "blocklisted",
        ANY,
        enhanced=f"X.7.511 {_BANNED}",
        words=(
            *(word for word, _ in BLOCKLISTS),
            "blacklist",
            "blocklist",
            "block list",
            "black list",
            "blocked using",
            "banned sending ip",
            "dnsbl",
            " rbl",
        ),
    ),
    Cause(
        "mail-not-authenticated",
        ANY,
        enhanced="X.7.20 X.7.21 X.7.22 X.7.23 X.7.24 X.7.26 X.7.29",
        words=(" spf ", "spf fail", "spf check", "openspf", "dkim", "dmarc"),
    ),
    Cause(
        "no-reverse-dns",
        ANY,
        enhanced="X.7.25",
        words=(
            "reverse dns",
            "rdns",
            "ptr record",
            "no ptr",
            "reverse hostname",
            "reverse lookup",
            "find your hostname",
            "find your reverse",
        ),
    ),
    Cause(
        "null-mx",
        RECIPIENT | MESSAGE,
        enhanced="X.1.10",
        words=("null mx", "nullmx"),
        codes=frozenset({556}),
    ),
    Cause(
        "sender-domain-unknown",
        MAIL,
        enhanced="X.1.8 X.7.27",
        words=(
            "sender address rejected: domain not found",
            "domain of sender address",
            "sender domain must",
            "sender verify failed",
        ),
    ),
    Cause(
        "sender-not-own",
        MAIL,
        enhanced="X.7.60",
        words=("not owned by", "sendasdenied", "to send as"),
    ),
    Cause(
        "tls-required",
        ANY | LOGIN,
        enhanced="X.7.10",
        words=("starttls", "encryption required", "tls required", "requires tls"),
        codes=frozenset({523, 538}),
    ),
    Cause(
        "login-required",
        ANY,
        enhanced="X.7.57",
        words=(
            "authentication required",
            "authentication is required",
            "must authenticate",
            "must be authenticated",
            "please authenticate",
            "not logged in",
        ),
        codes=frozenset({530}),
    ),
    Cause(
        "throttled",
        ANY | LOGIN,
        enhanced="X.7.28",
        words=(
            "rate limit",
            "ratelimit",
            "rate-limit",
            "too many connections",
            "too many concurrent",
            "too many sessions",
            "too many messages",
            "too much mail",
            "throttl",
            "too fast",
            "too quickly",
            "unusual rate",
            "sending limit",
            "sending quota",
        ),
    ),
    Cause(
        "too-many-recipients",
        RECIPIENT | MESSAGE,
        enhanced="X.5.3",
        words=("too many recipients",),
    ),
    Cause(
        "greylisted",
        ANY,
        "4",
        words=("greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list"),
    ),
    # Postfix says no more of an unknown user than of an unknown sender.
    Cause("sender-refused", MAIL, "5", words=_SENDER_REJECTED),
    Cause("sender-deferred", MAIL, "4", words=_SENDER_REJECTED),
    Cause(
        "user-unknown",
        RECIPIENT | MESSAGE,
        "5",
        # Exchange Online says 5.4.1 to RCPT where its directory has no such mailbox.
        enhanced="5.1.1 5.4.1",
        words=(
            "user unknown",
            "unknown user",
            "unknown recipient",
            "recipient unknown",
            "no such user",
            "no such recipient",
            "no such mailbox",
            "no such address",
            "no such person",
            "no mailbox",
            "invalid recipient",
            "invalid mailbox",
            "mailbox not found",
            "mailbox unavailable",
            "user not found",
            "recipient not found",
            "user does not exist",
            "user doesn't exist",
            "unrouteable address",
        ),
    ),
    Cause(
        "relay-denied",
        ENVELOPE,
        words=(
            "relay access",
            "relaying",
            "relay not",
            "relay denied",
            "to relay",
            "not relay",
            "no relay",
            "rcpthosts",
        ),
    ),
    Cause(
        "mailbox-full",
        RECIPIENT | MESSAGE,
        enhanced="X.2.2",
        words=("over quota", "quota exceeded", "mailbox full", "mailbox is full"),
    ),
    Cause(
        "mailbox-disabled",
        RECIPIENT | MESSAGE,
        enhanced="X.2.1",
        words=("mailbox disabled", "account disabled", "is disabled", "account suspended"),
    ),
    # To RCPT, which has no message yet, "exceeded storage allocation" is about the mailbox.
    Cause("mailbox-full", RECIPIENT, "5", codes=frozenset({552})),
    Cause(
        "message-too-big",
        MAIL,
        enhanced="X.3.4 X.2.3",
        words=("too big", "too large", "size exceeds", "exceeds size", "maximum size"),
        codes=frozenset({552}),
    ),
    Cause(
        "mail-loop",
        MAIL,
        enhanced="X.4.6",
        words=("too many hops", "mail loop", "routing loop", "hop count"),
    ),
    Cause("utf8-refused", MAIL, enhanced="X.6.7 X.6.9", words=("smtputf8",)),
    Cause(
        "message-malformed",
        MESSAGE,
        enhanced="X.5.2 X.6.0 X.6.1 X.6.3",
        words=(
            "bare lf",
            "bare <lf>",
            "bare newline",
            "line too long",
            "line length",
            "rfc 5322",
            "rfc 2822",
        ),
    ),
    Cause(
        "content-refused",
        MAIL,
        "5",
        words=(
            "spam",
            "virus",
            "malware",
            "unsolicited",
            "phish",
            "banned",
            "because its content",
            "security issue",
        ),
    ),
    Cause(
        "login-unavailable",
        LOGIN,
        "5",
        enhanced="X.5.1 X.5.4",
        words=(
            "not advertised",
            "mechanism not supported",
            "mechanism not available",
            "unrecognized authentication type",
            "unrecognised authentication type",
            "no mechanism available",
        ),
        codes=frozenset({500, 502, 503, 504}),
    ),
    Cause("user-not-local", RECIPIENT, "5", enhanced="X.1.6", codes=frozenset({551})),
    Cause(
        "server-trouble",
        MAIL,
        "4",
        enhanced="4.3.0 4.3.1 4.3.2 4.3.3 4.3.5 4.4.5",
        words=("insufficient system storage", "lookup failure", "internal error"),
    ),
    Cause("route-trouble", RECIPIENT | MESSAGE, "4", enhanced="4.4.0 4.4.1 4.4.3 4.4.4 4.4.7"),
    Cause("esmtp-unknown", frozenset({"EHLO"}), "5", codes=frozenset({500, 501, 502, 504})),
    Cause(
        "command-not-understood",
        HELLO | MAIL,
        "5",
        enhanced="5.1.3 5.1.7 5.5.2 5.5.4",
        words=("syntax error",),
        codes=frozenset({500, 501, 502, 504, 555}),
    ),
)
"""The causes, in the order in which words and basic codes are tried."""

GENERAL: tuple[tuple[frozenset[str], str, str], ...] = (
    (GREETING, "connection-deferred", "connection-refused"),
    (HELLO, "hello-deferred", "hello-refused"),
    (LOGIN, "login-deferred", "login-refused"),
    (SENDER, "sender-deferred", "sender-refused"),
    (RECIPIENT, "recipient-deferred", "recipient-refused"),
    (MESSAGE, "message-deferred", "message-refused"),
)
"""The rules for 4yz and for 5yz where no cause is known."""

CLOSING = "service-closing"


def cause_of(verb: str, reply: Reply) -> str | None:
    """The rule that explains a refusal; None where it refuses no step of mail.

    `verb` is the command's, "" for the greeting or a reply that nobody asked for.
    """
    code = reply.code
    if code is None or not 400 <= code < 600 or verb not in _BY_VERB:
        return None
    sure, enhanced, wording, basic, general = _BY_VERB[verb][code // 100 - 4]
    text = _wording(reply)
    for word, rule in sure:
        if word in text:
            return rule
    if reply.enhanced in enhanced:
        return enhanced[reply.enhanced]
    for rule, words in wording:
        for word in words:
            if word in text:
                return rule
    if code == 421:
        return CLOSING
    return basic.get(code, general)


def overruled(verb: str, reply: Reply) -> bool:
    """Whether the words of a refusal leave no doubt that its enhanced code says something else."""
    code = reply.code
    if reply.enhanced is None or code is None or not 400 <= code < 600 or verb not in _BY_VERB:
        return False
    sure, enhanced = _BY_VERB[verb][code // 100 - 4][:2]
    text = _wording(reply)
    rule = next((rule for word, rule in sure if word in text), None)
    return rule is not None and rule != enhanced.get(reply.enhanced, rule)


def blocklist(reply: Reply) -> str:
    """The name of the list that a refusal speaks of; empty where it names none that is known."""
    text = _wording(reply)
    return next((name for word, name in BLOCKLISTS if word in text), "")


def _wording(reply: Reply) -> str:
    """What a reply says in its own words, which those of an address that it quotes are not."""
    # Lines are broken between words. A str, for `in` takes five times as long on bytes.
    text = b" ".join(reply.lines[:_LINES])[:_OCTETS].decode("latin-1").lower()
    return _ADDRESS.sub("", text) if "@" in text else text


_ADDRESS = re.compile(r"(?<![\w.+=-])[\w.+=-]++@[\w.-]++")
_LINES = 10
_OCTETS = 2_000

_Table = tuple[
    tuple[tuple[str, str], ...],
    dict[tuple[int, int, int] | None, str],
    tuple[tuple[str, tuple[str, ...]], ...],
    dict[int, str],
    str,
]


def _table(verb: str, klass: str, general: str) -> _Table:
    """What `cause_of` asks for one verb and one class of replies."""
    causes = [cause for cause in CAUSES if verb in cause.verbs and klass in cause.classes]
    enhanced: dict[tuple[int, int, int] | None, str] = {}
    basic: dict[int, str] = {}
    for cause in causes:
        for code in cause.enhanced.replace("X", klass).split():
            first, subject, detail = map(int, code.split("."))
            enhanced.setdefault((first, subject, detail), cause.rule)
        for number in cause.codes:
            basic.setdefault(number, cause.rule)
    wording = tuple((cause.rule, cause.words) for cause in causes if cause.words)
    sure = tuple((word, cause.rule) for cause in causes for word in cause.sure)
    return sure, enhanced, wording, basic, general


_BY_VERB = {
    verb: (_table(verb, "4", temporary), _table(verb, "5", permanent))
    for verbs, temporary, permanent in GENERAL
    for verb in verbs
}
