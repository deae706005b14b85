"""Why a server refuses: from a reply of 4yz or 5yz and the command that drew it to a rule's id.

`CAUSES` is the table, the most telling cause first: an enhanced code that says it alone, words
that servers use, a basic code. What fits none is told by the command that was refused
(`GENERAL`). RFC 5321 §4.2.2, §4.2.3; RFC 3463 §3; RFC 7372; RFC 7505 §4.
"""

from __future__ import annotations

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
    one of the basic `codes`.
    """

    rule: str
    verbs: frozenset[str]
    classes: str = "45"
    enhanced: str = ""
    words: tuple[bytes, ...] = ()
    codes: frozenset[int] = frozenset()


BLOCKLISTS: tuple[tuple[bytes, str], ...] = (
    (b"zen.spamhaus", "Spamhaus ZEN"),
    (b"sbl-xbl.spamhaus", "Spamhaus SBL and XBL"),
    (b"sbl.spamhaus", "Spamhaus SBL"),
    (b"spamhaus.org/sbl", "Spamhaus SBL"),
    (b"xbl.spamhaus", "Spamhaus XBL"),
    (b"spamhaus.org/xbl", "Spamhaus XBL"),
    (b"pbl.spamhaus", "Spamhaus PBL"),
    (b"spamhaus.org/pbl", "Spamhaus PBL"),
    (b"dbl.spamhaus", "Spamhaus DBL"),
    (b"spamhaus.org/dbl", "Spamhaus DBL"),
    (b"spamhaus", "Spamhaus"),
    (b"abuseat.org", "CBL"),
    (b"spamcop", "SpamCop"),
    (b"barracudacentral", "Barracuda"),
    (b"sorbs.net", "SORBS"),
    (b"uceprotect", "UCEPROTECT"),
    (b"backscatterer.org", "Backscatterer"),
    (b"invaluement", "Invaluement"),
    (b"surbl.org", "SURBL"),
    (b"uribl.com", "URIBL"),
    (b"abusix", "Abusix"),
    (b"mailspike", "Mailspike"),
    (b"gbudb", "GBUdb Truncate"),
    (b"psbl.", "PSBL"),
    (b"spamrats", "SpamRATS"),
    (b"dnsbl.manitu", "NiX Spam"),
    (b"hostkarma", "Hostkarma"),
    (b"blocklist.de", "blocklist.de"),
    (b"spfbl.net", "SPFBL"),
    (b"s5h.net", "s5h.net"),
    (b"0spam", "0Spam"),
    (b"dronebl", "DroneBL"),
    (b"senderbase", "Cisco Talos"),
    (b"talosintelligence", "Cisco Talos"),
    (b"proofpoint.com", "Proofpoint"),
    (b"csi.cloudmark", "Cloudmark"),
    (b"ers.trendmicro", "Trend Micro"),
    (b"sms.symantec", "Symantec"),
    (b"fortiguard", "FortiGuard"),
    (b"s3140", "Microsoft Outlook"),
    (b"s3150", "Microsoft Outlook"),
    (b"spam.dnsbl", "DNSBL"),
)
"""What stands in a refusal, in lower case, where a list of bad senders is behind it."""

CAUSES = (
    Cause(
        "blocklisted",
        ANY,
        enhanced="X.7.606 X.7.511",
        words=(
            *(word for word, _ in BLOCKLISTS),
            b"blacklist",
            b"blocklist",
            b"block list",
            b"black list",
            b"blocked using",
            b"dnsbl",
            b" rbl",
        ),
    ),
    Cause(
        "mail-not-authenticated",
        ANY,
        enhanced="X.7.20 X.7.21 X.7.22 X.7.23 X.7.24 X.7.26 X.7.29",
        words=(b" spf ", b"spf fail", b"spf check", b"openspf", b"dkim", b"dmarc"),
    ),
    Cause(
        "no-reverse-dns",
        ANY,
        enhanced="X.7.25",
        words=(
            b"reverse dns",
            b"rdns",
            b"ptr record",
            b"no ptr",
            b"reverse hostname",
            b"reverse lookup",
            b"find your hostname",
            b"find your reverse",
        ),
    ),
    Cause(
        "null-mx",
        RECIPIENT | MESSAGE,
        enhanced="X.1.10",
        words=(b"null mx", b"nullmx"),
        codes=frozenset({556}),
    ),
    Cause(
        "sender-domain-unknown",
        MAIL,
        enhanced="X.1.8 X.7.27",
        words=(
            b"sender address rejected: domain not found",
            b"domain of sender address",
            b"sender domain must",
            b"sender verify failed",
        ),
    ),
    Cause(
        "sender-not-own",
        MAIL,
        enhanced="X.7.60",
        words=(b"not owned by", b"sendasdenied", b"to send as"),
    ),
    Cause(
        "tls-required",
        ANY | LOGIN,
        enhanced="X.7.10",
        words=(b"starttls", b"encryption required", b"tls required", b"requires tls"),
        codes=frozenset({523, 538}),
    ),
    Cause(
        "login-required",
        ANY,
        enhanced="X.7.57",
        words=(
            b"authentication required",
            b"authentication is required",
            b"must authenticate",
            b"must be authenticated",
            b"please authenticate",
            b"not logged in",
        ),
        codes=frozenset({530}),
    ),
    Cause(
        "throttled",
        ANY | LOGIN,
        enhanced="X.7.28",
        words=(
            b"rate limit",
            b"ratelimit",
            b"rate-limit",
            b"too many connections",
            b"too many concurrent",
            b"too many sessions",
            b"too many messages",
            b"too much mail",
            b"throttl",
            b"too fast",
            b"too quickly",
            b"unusual rate",
            b"sending limit",
            b"sending quota",
        ),
    ),
    Cause(
        "too-many-recipients",
        RECIPIENT | MESSAGE,
        enhanced="X.5.3",
        words=(b"too many recipients",),
    ),
    Cause(
        "greylisted",
        ANY,
        "4",
        words=(b"greylist", b"graylist", b"grey-list", b"gray-list", b"grey list", b"gray list"),
    ),
    Cause(
        "user-unknown",
        RECIPIENT | MESSAGE,
        "5",
        # Exchange Online says 5.4.1 to RCPT where its directory has no such mailbox.
        enhanced="5.1.1 5.4.1",
        words=(
            b"user unknown",
            b"unknown user",
            b"unknown recipient",
            b"recipient unknown",
            b"no such user",
            b"no such recipient",
            b"no such mailbox",
            b"no such address",
            b"no such person",
            b"no mailbox",
            b"invalid recipient",
            b"invalid mailbox",
            b"mailbox not found",
            b"mailbox unavailable",
            b"user not found",
            b"recipient not found",
            b"user does not exist",
            b"user doesn't exist",
            b"unrouteable address",
        ),
    ),
    Cause(
        "relay-denied",
        ENVELOPE,
        words=(
            b"relay access",
            b"relaying",
            b"relay not",
            b"relay denied",
            b"to relay",
            b"not relay",
            b"no relay",
        ),
    ),
    Cause(
        "mailbox-full",
        RECIPIENT | MESSAGE,
        enhanced="X.2.2",
        words=(b"over quota", b"quota exceeded", b"mailbox full", b"mailbox is full"),
    ),
    Cause(
        "mailbox-disabled",
        RECIPIENT | MESSAGE,
        enhanced="X.2.1",
        words=(b"mailbox disabled", b"account disabled", b"is disabled", b"account suspended"),
    ),
    Cause(
        "message-too-big",
        MAIL,
        enhanced="X.3.4 X.2.3",
        words=(b"too big", b"too large", b"size exceeds", b"exceeds size", b"maximum size"),
        codes=frozenset({552}),
    ),
    Cause(
        "mail-loop",
        MAIL,
        enhanced="X.4.6",
        words=(b"too many hops", b"mail loop", b"routing loop", b"hop count"),
    ),
    Cause("utf8-refused", MAIL, enhanced="X.6.7 X.6.9", words=(b"smtputf8",)),
    Cause(
        "message-malformed",
        MESSAGE,
        enhanced="X.5.2 X.6.0 X.6.1 X.6.3",
        words=(
            b"bare lf",
            b"bare <lf>",
            b"bare newline",
            b"line too long",
            b"line length",
            b"rfc 5322",
            b"rfc 2822",
        ),
    ),
    Cause(
        "content-refused",
        MAIL,
        "5",
        words=(b"spam", b"virus", b"malware", b"unsolicited", b"phish", b"banned"),
    ),
    Cause("user-not-local", RECIPIENT, "5", enhanced="X.1.6", codes=frozenset({551})),
    Cause(
        "server-trouble",
        MAIL,
        "4",
        enhanced="4.3.0 4.3.1 4.3.2 4.3.3 4.3.5 4.4.5",
        words=(b"insufficient system storage", b"lookup failure", b"internal error"),
    ),
    Cause("route-trouble", RECIPIENT | MESSAGE, "4", enhanced="4.4.0 4.4.1 4.4.3 4.4.4 4.4.7"),
    Cause("esmtp-unknown", frozenset({"EHLO"}), "5", codes=frozenset({500, 501, 502, 504})),
    Cause(
        "command-not-understood",
        HELLO | MAIL,
        "5",
        enhanced="5.1.3 5.1.7 5.5.2 5.5.4",
        words=(b"syntax error",),
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
    enhanced, wording, basic, general = _BY_VERB[verb][code // 100 - 4]
    if reply.enhanced in enhanced:
        return enhanced[reply.enhanced]
    # Servers that break lines in the middle of a phrase break it at a space.
    text = b" ".join(reply.lines[:_LINES])[:_OCTETS].lower()
    for rule, words in wording:
        for word in words:
            if word in text:
                return rule
    if code == 421:
        return CLOSING
    return basic.get(code, general)


def blocklist(reply: Reply) -> str:
    """The name of the list that a refusal speaks of; empty where it names none that is known."""
    text = b" ".join(reply.lines[:_LINES])[:_OCTETS].lower()
    return next((name for word, name in BLOCKLISTS if word in text), "")


_LINES = 10
_OCTETS = 2_000

_Table = tuple[
    dict[tuple[int, int, int] | None, str],
    tuple[tuple[str, tuple[bytes, ...]], ...],
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
    return enhanced, wording, basic, general


_BY_VERB = {
    verb: (_table(verb, "4", temporary), _table(verb, "5", permanent))
    for verbs, temporary, permanent in GENERAL
    for verb in verbs
}
