"""Rules about clients that try things out, in a session or in many: addresses, passwords, TLS.

`Probing` takes what the clients of a capture tried, session by session, and remembers of a bounded
number of clients a bounded number of things: hashes of what was refused, never a secret. RFC 5321
§7.3, RFC 4954 §9, RFC 3207 §6.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import NamedTuple

from smtpscope.findings.rule import Rule, quoted
from smtpscope.session import MAX_CAPABILITIES, Session
from smtpscope.smtp.commands import HELLO_VERBS
from smtpscope.smtp.sasl import AuthExchange
from smtpscope.smtp.values import Exchange, Reply
from smtpscope.stream import Defect, Endpoint, Span

MAX_CLIENTS = 10_000
"""Clients remembered; the one heard of least recently is forgotten first."""
MAX_THINGS = 1_000
"""Things of each kind remembered of each client; what is beyond is not told apart."""

MANY_NAMES = 10
"""Refused addresses of one client from which on it is probing, if few were accepted."""
MANY_ASKED = 5
"""Names asked for by VRFY and EXPN, which honest clients do not use."""
MANY_LOGINS = 5
"""Different logins refused from which on somebody is guessing."""

RULES: dict[str, Rule] = {
    "address-probing": Rule(
        "warning",
        "the client tries out which addresses exist",
        "RFC 5321 §7.3",
        "Slow down or block clients with many unknown recipients, and answer VRFY with 252 and "
        "EXPN with 502.",
    ),
    "address-disclosed": Rule(
        "note",
        "the server tells anybody which addresses exist",
        "RFC 5321 §7.3",
        "Let the server answer VRFY with 252, which says nothing, and switch EXPN off.",
    ),
    "password-guessing": Rule(
        "warning",
        "the client guesses passwords",
        "RFC 4954 §9",
        "Block clients after a few failures (fail2ban, the server's own limits), and see whether "
        "a login of the same client succeeded.",
    ),
    "password-guessed": Rule(
        "error",
        "a login succeeded after the client had guessed",
        "RFC 4954 §9",
        "Take the account for broken into: lock it, change the password, look at what was sent.",
    ),
    "starttls-missing": Rule(
        "warning",
        "this server offered STARTTLS to this client in an earlier session and now does not",
        "RFC 3207 §6",
        "Compare with what the server itself sends: if that has STARTTLS, somebody in between "
        "takes it away.",
    ),
}

_READABLE = frozenset({"PLAIN", "LOGIN"})
_UNKNOWN_USER = frozenset({550, 551, 553})


class Attempt(NamedTuple):
    """Something that a client tried: `kind` is one of the constants below.

    `thing` is a hash of it, the number of recipients for `ACCEPTED`, and for `OFFER` whether
    STARTTLS was among the server's offers. `detail` is what is told of it.
    """

    kind: int
    thing: int
    span: Span
    detail: str = ""


ACCEPTED, REFUSED, ASKED, ANSWERED, LOGIN_FAILED, LOGIN, OFFER = range(7)


def attempts_in(session: Session) -> tuple[Attempt, ...]:
    """What the client tried in a session, in order."""
    found: list[Attempt] = []
    for exchange in session.exchanges:
        command, reply = exchange.command, exchange.reply
        if command is None or reply is None:
            continue
        verb = command.verb
        if verb == "RCPT":
            _recipient(exchange, reply, command.span, found)
        elif verb in ("VRFY", "EXPN"):
            name = command.argument.strip()
            shown = f"{verb} {quoted(name)}"
            kind = ANSWERED if reply.code in (250, 251) else ASKED
            found.append(Attempt(kind, key_of(name.lower()), command.span, shown))
        elif exchange.auth is not None and exchange.auth.code == reply.code:
            found += _login(exchange.auth, command.span)
        elif verb in HELLO_VERBS and reply.accepted and len(reply.lines) > 1:
            lines = reply.lines[1 : MAX_CAPABILITIES + 1]
            offers = any(line.strip().upper() == b"STARTTLS" for line in lines)
            if offers or session.tls_mode != "implicit":
                found.append(Attempt(OFFER, offers, reply.span))
    return tuple(found)


def _recipient(exchange: Exchange, reply: Reply, span: Span, found: list[Attempt]) -> None:
    argument = exchange.path
    if argument is None or argument.path is None:
        return
    if reply.accepted:
        count = 1
        if found and found[-1].kind == ACCEPTED:
            count += found.pop().thing
        found.append(Attempt(ACCEPTED, count, span))
    elif reply.code in _UNKNOWN_USER and not _is_policy(reply):
        found.append(Attempt(REFUSED, key_of(argument.path.address.lower()), span))


def _is_policy(reply: Reply) -> bool:
    """The refusal says nothing of whether the address exists."""
    enhanced = reply.enhanced
    return (enhanced is not None and enhanced.subject == 7) or b"relay" in reply.lines[0].lower()


def _login(auth: AuthExchange, span: Span) -> Iterator[Attempt]:
    identity = auth.identity or b""
    if auth.code == 535:
        # One wrong password again and again is a client that was set up wrongly; a proof by a
        # challenge differs each time, though the password may be the same.
        secret = auth.secret if auth.mechanism in _READABLE else b""
        yield Attempt(LOGIN_FAILED, key_of(identity, secret or b""), span)
    elif auth.code == 235:
        yield Attempt(LOGIN, key_of(identity), span, quoted(identity, 100))


class _Client:
    """What is remembered of one client address."""

    __slots__ = ("accepted", "asked", "known", "logins", "refused", "servers")

    def __init__(self) -> None:
        self.accepted = 0
        self.refused: set[int] = set()
        self.asked: set[int] = set()
        self.known: set[int] = set()
        self.logins: set[int] = set()
        self.servers: set[Endpoint] = set()


class Probing:
    """What clients have tried so far."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    def add(self, address: str, server: Endpoint, attempts: Iterable[Attempt]) -> list[Defect]:
        """What a session with these attempts shows of its client beside the earlier ones."""
        client = self._clients.pop(address, None) or _Client()
        self._clients[address] = client
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        told: dict[str, Defect] = {}
        offered = False
        for kind, thing, span, detail in attempts:
            if kind == ACCEPTED:
                client.accepted += thing
            elif kind == REFUSED:
                _remember(client.refused, thing)
                count = len(client.refused)
                if count >= MANY_NAMES and count > 2 * client.accepted:
                    detail = f"{count:,} recipients refused by now"
                    told["address-probing"] = Defect("address-probing", span, detail)
            elif kind in (ASKED, ANSWERED):
                if kind == ANSWERED:
                    told.setdefault("address-disclosed", Defect("address-disclosed", span, detail))
                _remember(client.asked, thing)
                if len(client.asked) >= MANY_ASKED:
                    detail = f"VRFY and EXPN of {len(client.asked):,} names by now"
                    told["address-probing"] = Defect("address-probing", span, detail)
            elif kind == OFFER:
                # What a later hello of the same session lacks is told as starttls-gone.
                if thing:
                    offered = True
                    if len(client.servers) < MAX_THINGS:
                        client.servers.add(server)
                elif not offered and server in client.servers:
                    told.setdefault("starttls-missing", Defect("starttls-missing", span))
            else:
                _guess(client, kind, thing, span, detail, told)
        return [*told.values()]


def _guess(
    client: _Client, kind: int, login: int, span: Span, name: str, told: dict[str, Defect]
) -> None:
    guesses = client.logins
    if kind == LOGIN_FAILED:
        _remember(guesses, login)
        if _guesses(client):
            detail = f"{len(guesses):,} different logins refused by now"
            told["password-guessing"] = Defect("password-guessing", span, detail)
    else:
        if _guesses(client):
            detail = f"{name}, after {len(guesses):,} refused logins"
            told["password-guessed"] = Defect("password-guessed", span, detail)
        _remember(client.known, login)


def _guesses(client: _Client) -> bool:
    """Behind one address may be many users (a webmail, an office), of whom some mistype."""
    refused = len(client.logins)
    return refused >= MANY_LOGINS and refused > 2 * len(client.known)


def _remember(things: set[int], thing: int) -> None:
    if len(things) < MAX_THINGS:
        things.add(thing)


def key_of(*things: bytes) -> int:
    """A hash that is the same in every process and that nobody can aim at."""
    return int.from_bytes(blake2b(b"\0".join(things), digest_size=8).digest())
