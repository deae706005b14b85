"""Rules about refusals: what a reply of 4yz or 5yz means for the mail, and what to do about it.

`refusals` says which rule explains a reply; here it is told whom it refuses and in what words.
RFC 5321 §3.3, §4.2.5, §4.5.4, §6; RFC 3463; RFC 2033 §4.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from smtpscope import reference
from smtpscope.findings.refusals import (
    CLOSING,
    ENVELOPE,
    HELLO,
    LOGIN,
    MESSAGE,
    blocklist,
    cause_of,
    overruled,
)
from smtpscope.findings.rule import Checks, Rule, once, quoted
from smtpscope.findings.walk import State, Step
from smtpscope.session import Session
from smtpscope.smtp.transaction import Transaction
from smtpscope.smtp.values import Exchange, Reply
from smtpscope.stream import Defect, Direction

QUOTED = 120
"""Octets of a reply, and of an address, that a finding quotes."""

RULES: dict[str, Rule] = {
    # -- refusals whose cause is known ---------------------------------------------------------
    "blocklisted": Rule(
        "warning",
        "the client is on a list of bad senders",
        "RFC 5782 §1",
        "The client's administrator looks the address or domain up at the list, stops what brought"
        " it there (an infected host, a stolen login, bought addresses) and then asks the list to"
        " take it off. Sending again before that changes nothing.",
    ),
    "mail-not-authenticated": Rule(
        "warning",
        "the mail fails SPF, DKIM or DMARC",
        "RFC 7372 §3",
        "The owner of the sender's domain lists this client in the domain's SPF record, signs with"
        " DKIM, and lets one of the two agree with the From: domain. A forwarder should rewrite"
        " the reverse-path or keep the signature whole.",
    ),
    "no-reverse-dns": Rule(
        "warning",
        "the client's address has no name that leads back to it",
        "RFC 7372 §3.3",
        "The client's administrator has the provider set a PTR record for the address, and an A or"
        " AAAA record of that name that gives the address again.",
    ),
    "null-mx": Rule(
        "warning",
        "the recipient's domain takes no mail",
        "RFC 7505 §4.1",
        "The sender takes the address off the list: the domain says by its null MX record that"
        " there is no mailbox.",
    ),
    "sender-domain-unknown": Rule(
        "warning",
        "the sender's domain does not exist or takes no bounces",
        "RFC 7505 §4.2",
        "The sender uses an address whose domain has an MX or address record, or that domain's"
        " administrator mends its DNS.",
    ),
    "sender-not-own": Rule(
        "warning",
        "the login may not send under this address",
        "RFC 6409 §6.1",
        "The user sends under an address of the login, or the server's administrator grants that"
        " login the right to this one.",
    ),
    "tls-required": Rule(
        "warning",
        "the server wants TLS first",
        "RFC 3207 §4",
        "The client is to be set to STARTTLS (or to the port with TLS from the beginning) and come"
        " again.",
    ),
    "login-required": Rule(
        "warning",
        "the server wants a login first",
        "RFC 4954 §6",
        "The client is to be given user name and password. Where it is a mail server that meant to"
        " deliver, it should come to port 25 of the domain's MX instead.",
    ),
    "throttled": Rule(
        "note",
        "the client sends more than the server takes",
        "RFC 5321 §4.5.4.1",
        "The client's administrator lowers connections and messages a minute to this server and"
        " lets the queue wait. Where the volume is no surprise, look for a stolen login.",
    ),
    "too-many-recipients": Rule(
        "note",
        "more recipients than the server takes in one transaction",
        "RFC 5321 §4.5.3.1.10",
        "The client sends to those that were accepted, and to the others in a transaction of their"
        " own. The server should take at least 100.",
    ),
    "greylisted": Rule(
        "note",
        "the server asks an unknown client to come again later",
        "RFC 6647 §2",
        "The client keeps the mail in its queue and tries again from the same address after some"
        " minutes. What has no queue (a script, a device) needs a relay that has one.",
    ),
    "user-unknown": Rule(
        "warning",
        "there is no such mailbox",
        "RFC 5321 §3.3",
        "The sender corrects the address or takes it off the list: repeated mail to unknown users"
        " spoils a sender's name.",
    ),
    "relay-denied": Rule(
        "warning",
        "the server does not relay for this client",
        "RFC 5321 §3.6.2",
        "The client logs in first, or sends to the MX of the recipient's domain. If that is this"
        " server, its administrator adds the domain to those that it takes mail for.",
    ),
    "mailbox-full": Rule(
        "warning",
        "the recipient's mailbox is full",
        "RFC 3463 §3.3",
        "The recipient makes room, or the server's administrator raises the quota. The client may"
        " try again for some days after 4yz, and tells the sender after 5yz.",
    ),
    "mailbox-disabled": Rule(
        "warning",
        "the recipient's mailbox takes no mail now",
        "RFC 3463 §3.3",
        "The sender asks the recipient by other means, and takes the address off lists.",
    ),
    "message-too-big": Rule(
        "warning",
        "the message is larger than the server takes",
        "RFC 1870 §6",
        "The sender makes it smaller or shares a link. The client should compare its size with the"
        " SIZE offered before it sends anything.",
    ),
    "mail-loop": Rule(
        "warning",
        "the mail goes round in a loop",
        "RFC 5321 §6.3",
        "The administrators of the hosts in the Received chain find the two that each take the"
        " other for the next hop: a forwarding, an alias or an MX record that points back.",
    ),
    "utf8-refused": Rule(
        "warning",
        "the server takes no address or header in UTF-8",
        "RFC 6531 §3.5",
        "The sender uses ASCII addresses here, or the server's administrator turns SMTPUTF8 on.",
    ),
    "message-malformed": Rule(
        "warning",
        "the message is refused for its form",
        "RFC 5321 §2.3.8",
        "The author of the sending program mends what the reply names: line endings, line lengths,"
        " missing or doubled header fields.",
    ),
    "content-refused": Rule(
        "warning",
        "the mail is taken for spam or malware",
        "RFC 5321 §7.9",
        "The sender looks for what the filter saw (links, attachments, a stolen login). If there"
        " is nothing, write to the server's postmaster with the reply's text.",
    ),
    "user-not-local": Rule(
        "warning",
        "the recipient has moved elsewhere",
        "RFC 5321 §3.4",
        "The sender may use the address that the reply gives, after asking the recipient: a client"
        " must not follow it by itself without care.",
    ),
    "server-trouble": Rule(
        "note",
        "the server has trouble of its own",
        "RFC 3463 §3.4",
        "The client tries again later. The server's administrator looks at its disk space, its"
        " lookups and its log.",
    ),
    "route-trouble": Rule(
        "note",
        "the server does not reach the next one now",
        "RFC 3463 §3.5",
        "The client tries again later. If it lasts, the server's administrator checks DNS and the"
        " way to the next host.",
    ),
    "esmtp-unknown": Rule(
        "note",
        "the server does not take EHLO",
        "RFC 5321 §3.2",
        "The client goes on with HELO, without any extension. In front of a modern server a"
        " firewall that rewrites SMTP should be turned off.",
    ),
    "command-not-understood": Rule(
        "warning",
        "the server does not understand a command that the mail needs",
        "RFC 5321 §4.2.2",
        "The author of the client compares the command with the grammar and with what the server"
        " offered in its EHLO reply.",
    ),
    "service-closing": Rule(
        "note",
        "the server gives the connection up",
        "RFC 5321 §3.8",
        "The client sends what is left in a new connection later. If it happens often, the reply's"
        " text says what to change: idle connections, errors, load.",
    ),
    "null-sender-refused": Rule(
        "warning",
        "the server refuses the null reverse-path, and so every bounce",
        "RFC 5321 §4.5.5",
        "The server's administrator accepts MAIL FROM:<>: without it, its own users never hear of"
        " mail that failed.",
    ),
    "postmaster-refused": Rule(
        "warning",
        "the server has no postmaster",
        "RFC 5321 §4.5.1",
        "The server's administrator makes an alias postmaster for each domain that it takes mail"
        " for, and exempts it from filters.",
    ),
    # -- refusals whose cause is not known -----------------------------------------------------
    "connection-refused": Rule(
        "warning",
        "the server takes no mail from this client",
        "RFC 5321 §3.1",
        "The client must not go on. Its administrator asks the server's postmaster by other means"
        " if the reply's text names no cause.",
    ),
    "connection-deferred": Rule(
        "note",
        "the server takes no mail now",
        "RFC 5321 §3.1",
        "The client tries again later, or at the next MX host.",
    ),
    "hello-refused": Rule(
        "warning",
        "the server refuses the client's name",
        "RFC 5321 §4.1.4",
        "The client's administrator sets its own full host name, one that DNS knows. The server"
        " should not refuse for the name alone.",
    ),
    "hello-deferred": Rule(
        "note",
        "the server refuses the client's name for now",
        "RFC 5321 §4.1.4",
        "The client tries again later. If it lasts, its administrator checks that the host name it"
        " gives is in DNS.",
    ),
    "login-refused": Rule(
        "warning",
        "the login failed",
        "RFC 4954 §6",
        "The user checks name and password and whether the account may use SMTP with this"
        " mechanism. Not to be repeated unchanged: many servers lock the account.",
    ),
    "login-unavailable": Rule(
        "warning",
        "the server does not take this login here",
        "RFC 4954 §4",
        "Name and password were not looked at. The client chooses a mechanism that the server"
        " offers; where it offers no login at all, the client starts TLS first, or uses the"
        " server's port for submission (587, 465).",
    ),
    "login-retried": Rule(
        "chat",
        "a login failed before another one succeeded",
        "RFC 4954 §4",
        "Nothing where a user mistyped. A client that does it each time should be set to the name,"
        " password and mechanism that work: servers count failures and lock accounts.",
    ),
    "login-deferred": Rule(
        "note",
        "the login can't be checked now",
        "RFC 4954 §6",
        "The client tries again later. The server's administrator looks at what stands behind its"
        " logins (LDAP, SQL, PAM).",
    ),
    "sender-refused": Rule(
        "warning",
        "the sender is refused",
        "RFC 5321 §3.3",
        "The client returns the mail to its sender with the reply's text. The administrator checks"
        " that the sender's domain exists and may be sent from here.",
    ),
    "sender-deferred": Rule(
        "note",
        "the sender is refused for now",
        "RFC 5321 §4.5.4.1",
        "The client keeps the mail and tries again after half an hour.",
    ),
    "recipient-refused": Rule(
        "warning",
        "a recipient is refused",
        "RFC 5321 §3.3",
        "The client returns the mail for this recipient to its sender with the reply's text, and"
        " does not try again.",
    ),
    "recipient-deferred": Rule(
        "note",
        "a recipient is refused for now",
        "RFC 5321 §4.5.4.1",
        "The client keeps the mail for this recipient and tries again after half an hour.",
    ),
    "message-refused": Rule(
        "warning",
        "the message is refused",
        "RFC 5321 §4.1.1.4",
        "The client returns the message to its sender with the reply's text, for all recipients.",
    ),
    "message-deferred": Rule(
        "note",
        "the message is refused for now",
        "RFC 5321 §4.5.4.1",
        "The client keeps the message and tries again after half an hour.",
    ),
}

_COMMANDS = ENVELOPE | MESSAGE | HELLO | LOGIN
_FOR_THE_FORM = frozenset({"command-not-understood", "login-refused", "login-unavailable"})
_LOGINS = frozenset({"login-refused", "login-unavailable"})
_NULL_SENDER = frozenset({"sender-refused", "sender-domain-unknown", "content-refused"})
_NOT_THE_RECIPIENT = frozenset(
    {"hello-refused", "hello-deferred", "sender-refused", "sender-deferred"}
)
_POSTMASTER = frozenset({"recipient-refused", "user-unknown"})


def _refusal(step: Step) -> Iterable[Defect]:
    reply = step.reply
    if reply is None or reply.code is None or reply.code < 400:
        return ()
    command = step.command
    if command is None:
        if step.exchange.greeting:
            if reply.span.start and not step.session.whole:
                # The greeting is missing, and this reply answers something else.
                return ()
        elif reply.code != 421:
            return ()
        verb = ""
    else:
        verb = command.verb
        if verb not in _COMMANDS:
            return (Defect(CLOSING, reply.span, _told(reply, verb)),) if reply.code == 421 else ()
    if len(step.exchange.replies) > 1 or _follows_from_others(step, verb, reply.code):
        return ()
    rule = cause_of(verb, reply)
    if rule == CLOSING and (_hung_up(step) or (CLOSING, "") in step.state.told):
        return ()
    if rule is None or (rule in _FOR_THE_FORM and step.exchange.defects):
        # What the client did wrong is told with the command.
        return ()
    if rule in _LOGINS:
        return _login(step, reply, rule)
    return (_refused(rule, verb, reply, step.exchange),)


def _login(step: Step, reply: Reply, rule: str) -> Iterable[Defect]:
    """A refused login, once for each mechanism and name."""
    auth, last = step.exchange.auth, step.session.auths[-1:]
    if auth is None or auth.cancelled:
        return ()
    if last and last[0].code == 235:
        rule = "login-retried"
    login = f"{auth.mechanism} {_text(auth.identity or b'')}"
    return once(step, rule, reply.span, _told(reply, "AUTH"), login)


def _follows_from_others(step: Step, verb: str, code: int) -> bool:
    """The refusal says no more than what was already told: a step before it is missing."""
    state = step.state
    if verb in MESSAGE and state.refused and not state.accepted:
        return True
    banner = step.session.banner
    if verb in HELLO and banner is not None and (banner.code or 0) >= 400:
        return True
    if code != 503:
        return False
    if not step.session.whole:
        # That step, or its reply, may be among what the capture lacks.
        return True
    if verb == "RCPT":
        return state.mail is None
    if verb == "MAIL":
        return state.mail is not None or not state.hello
    if verb in LOGIN:
        return state.authenticated is not None or state.mail is not None or not state.hello
    return verb in MESSAGE and (not state.accepted or state.chunked)


def _hung_up(step: Step) -> bool:
    """The client closed the connection in the middle of a message, which is told with it."""
    return step.session.closed_by is Direction.CLIENT and any(
        defect.rule.endswith("-unfinished") for defect in step.exchange.defects
    )


def _refused(rule: str, verb: str, reply: Reply, exchange: Exchange) -> Defect:
    address = b""
    path = exchange.path.path if exchange.path is not None else None
    if path is not None:
        address = path.address
        assert reply.code is not None
        if reply.code >= 500:
            if verb == "MAIL" and not address and path.bracketed and rule in _NULL_SENDER:
                rule = "null-sender-refused"
            elif rule in _POSTMASTER and path.local.lower() == b"postmaster":
                rule = "postmaster-refused"
    if verb == "RCPT" and rule in _NOT_THE_RECIPIENT:
        address = b""
    return Defect(rule, reply.span, _told(reply, verb, address, rule))


def _told(reply: Reply, verb: str, address: bytes = b"", rule: str = "") -> str:
    """Whom a reply refuses, by which list, and what it says, in one line."""
    parts = []
    if address:
        parts.append(f"{_text(address)}: ")
    if rule == "blocklisted" and (name := blocklist(reply)):
        parts.append(f"{name}: ")
    words = b" ".join(reply.lines[:3]).strip()
    code = reply.enhanced
    if code is not None:
        # Every line repeats the enhanced code.
        words = words.replace(str(code).encode() + b" ", b"")
        meaning = reference.enhanced(*code)
        known = meaning.level in ("detail", "vendor") and code.detail and not overruled(verb, reply)
        parts.append(f"{reply.code} {code}{f' ({meaning.text})' if known else ''}")
    elif reply.code is not None:
        # Where the rule or the reply itself says more, the code alone is enough.
        meant = "" if words else f" ({reference.reply_meaning(reply.code, verb or '(greeting)')})"
        parts.append(f"{reply.code}{meant}")
    if words:
        parts.append(f' "{_text(words)}"')
    return "".join(parts)


def _text(octets: bytes) -> str:
    cut = quoted(octets, QUOTED)
    return f"{cut}…" if len(octets) > QUOTED else cut


def _deliveries(session: Session, state: State) -> Iterator[Defect]:
    """The replies behind a message, one a recipient (RFC 2033 §4.2, PRDR)."""
    if session.lmtp or "PRDR" in state.ever_offered:
        for transaction in session.transactions:
            yield from _delivered(transaction)


def _delivered(transaction: Transaction) -> Iterator[Defect]:
    told = False
    for recipient in transaction.recipients:
        reply = recipient.delivery
        if reply is not None and (rule := cause_of(".", reply)) is not None:
            address = recipient.path.address if recipient.path is not None else b""
            yield Defect(rule, reply.span, _told(reply, ".", address, rule))
            told = True
    reply = transaction.reply
    sent = any(recipient.delivery is not None for recipient in transaction.recipients)
    if sent and not told and reply is not None and (rule := cause_of(".", reply)) is not None:
        yield Defect(rule, reply.span, _told(reply, ".", b"", rule))


CHECKS = Checks(refused=(_refusal,), session=(_deliveries,))
