"""Rules about relaying: a server that passes mail from anybody on to anybody.

Which domains are a server's own the user says (`Policy.local_domains`); without that, only what
no server of its own domains does is told. RFC 5321 §3.6.2, §7.9; RFC 2505.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

from smtpscope.errors import UsageError
from smtpscope.findings.content import owned
from smtpscope.findings.rule import Checks, Rule, quoted
from smtpscope.findings.walk import Policy, State, Step
from smtpscope.session import Session
from smtpscope.smtp.transaction import Recipient
from smtpscope.stream import Defect

RULES: dict[str, Rule] = {
    "open-relay": Rule(
        "error",
        "the server takes mail from strangers to strangers without a login",
        "RFC 5321 §7.9",
        "The server's administrator must restrict relaying to logins and to own networks "
        "(Postfix: smtpd_relay_restrictions) before spammers find out.",
    ),
    "open-relay-likely": Rule(
        "note",
        "without a login the server took mail to several domains that are not its own by name",
        "RFC 5321 §7.9",
        "If these domains are hosted there all is well: name them with --local-domain. If not, "
        "restrict relaying.",
    ),
    "percent-hack": Rule(
        "note",
        "an address within an address, by which old servers relay",
        "RFC 5321 appendix F.2",
        "A way to find open relays. The server should refuse it; where it was accepted, test "
        "whether the message goes out.",
    ),
}

MIN_DOMAINS = 3
"""Foreign domains of one session from which on a relay is likely."""
SHOWN = 80
"""Octets of an address that are quoted."""

_INSIDE = tuple(
    ip_network(each)
    for each in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)
_WITHIN = re.compile(rb"[%@!][^%@!]+\.[A-Za-z]{2,}|\.[A-Za-z]{2,}!")


_LABELS = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_MAX_NAME = 253


def policy_of(local_domains: Iterable[str]) -> Policy:
    """What the user says of the servers: these domains are theirs. Raises `UsageError`."""
    return Policy(frozenset[str]().union(*map(local_names, local_domains)))


def local_names(domain: str) -> frozenset[str]:
    """The spellings by which a local domain may come over the wire: in ASCII, and as IDN.

    Raises `UsageError` where `domain` is none.
    """
    name = domain.strip().rstrip(".").lower()
    try:
        ascii_name = name.encode("idna").decode("ascii")
        unicode_name = ascii_name.encode("ascii").decode("idna")
    except UnicodeError:
        ascii_name = unicode_name = ""
    if not _LABELS.fullmatch(ascii_name) or len(ascii_name) > _MAX_NAME:
        raise UsageError(f"“{domain[:100]}” is no domain. Give its name alone, as in example.org.")
    return frozenset({ascii_name, unicode_name})


def _relay(session: Session, state: State) -> Iterator[Defect]:
    if session.lmtp or any(auth.code == 235 for auth in session.auths):
        return
    local = state.policy.local_domains
    if local:
        if not _is_outgoing(session, local):
            yield from _against(session, local)
    else:
        yield from _by_looks(session)


def _is_outgoing(session: Session, local: frozenset[str]) -> bool:
    """The client is one of the user's own servers: what it passes on, another server takes."""
    banner, client = session.banner, session.helo
    if banner is None:
        # Without the beginning there may have been a login.
        return True
    server = banner.lines[0].split()[:1]
    return (
        client is not None
        and _is_local(client, local)
        and not (server and _is_local(server[0], local))
    )


def _against(session: Session, local: frozenset[str]) -> Iterator[Defect]:
    for transaction in session.transactions:
        sender = transaction.reverse_path
        if sender is None or not sender.domain or _is_local(sender.domain, local):
            continue
        if transaction.reply is not None and not transaction.reply.accepted:
            continue
        for recipient in transaction.recipients:
            path, reply = recipient.path, recipient.reply
            if path is None or reply is None or not reply.accepted or not path.domain:
                continue
            if not _is_local(path.domain, local):
                detail = f"{quoted(sender.address, SHOWN)} to {quoted(path.address, SHOWN)}"
                yield Defect("open-relay", reply.span, detail)
                return


def _is_local(domain: bytes, local: frozenset[str]) -> bool:
    """Whether it, or a domain above it, is a local one; the server itself is ([192.0.2.1])."""
    name = domain.decode("utf-8", "replace").lower().rstrip(".")
    while name not in local and "." in name:
        name = name.partition(".")[2]
    return name in local or domain.startswith(b"[")


def _by_looks(session: Session) -> Iterator[Defect]:
    if sum(len(each.recipients) for each in session.transactions) < MIN_DOMAINS:
        return
    domains: dict[bytes, Recipient] = {}
    for transaction in session.transactions:
        sender = transaction.reverse_path
        if sender is None or not sender.domain:
            continue
        own = owned(sender.domain.lower())
        for recipient in transaction.recipients:
            if recipient.path is None or recipient.reply is None:
                continue
            if not recipient.reply.accepted:
                # It does look at recipients.
                return
            domain = owned(recipient.path.domain.lower())
            if domain and domain != own:
                domains.setdefault(domain, recipient)
    if len(domains) < MIN_DOMAINS or session.banner is None or _is_inside(session.client.address):
        return
    words = session.banner.lines[0].split()
    if words:
        domains.pop(owned(words[0].lower()), None)
    if len(domains) >= MIN_DOMAINS:
        reply = list(domains.values())[MIN_DOMAINS - 1].reply
        assert reply is not None
        shown = ", ".join(quoted(domain, SHOWN) for domain in list(domains)[:5])
        yield Defect("open-relay-likely", reply.span, shown)


def _is_inside(address: str) -> bool:
    try:
        client = ip_address(address)
    except ValueError:
        return False
    return any(client in network for network in _INSIDE)


def _percent(step: Step) -> Iterable[Defect]:
    command, argument, reply = step.command, step.exchange.path, step.reply
    if command is None or argument is None or argument.path is None or reply is None:
        return ()
    local = argument.path.local
    if not (b"%" in local or b"@" in local or b"!" in local) or not _WITHIN.search(local):
        return ()
    if step.state.authenticated is not None:
        return ()
    address = quoted(argument.path.address, SHOWN)
    outcome = "accepted" if reply.accepted else f"refused with {reply.code}"
    return (Defect("percent-hack", command.span, f"{address}, {outcome}"),)


CHECKS = Checks(commands={"RCPT": (_percent,)}, session=(_relay,))
