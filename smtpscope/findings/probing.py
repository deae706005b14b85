"""Rules about clients that try things out, in a session or in many: addresses, passwords, TLS.

`Probing` takes the sessions of a capture in order and remembers of a bounded number of clients a
bounded number of things: hashes of what was refused, never a secret. RFC 5321 §7.3, RFC 4954 §9,
RFC 3207 §6.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from smtpscope.findings.rule import Rule
from smtpscope.session import MAX_CAPABILITIES, Session
from smtpscope.smtp.commands import HELLO_VERBS
from smtpscope.smtp.sasl import AuthExchange
from smtpscope.smtp.values import Exchange, Reply
from smtpscope.stream import Defect, Span

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


class _Client:
    """What is remembered of one client address."""

    __slots__ = ("accepted", "asked", "known", "logins", "refused", "servers")

    def __init__(self) -> None:
        self.accepted = 0
        self.refused: set[int] = set()
        self.asked: set[int] = set()
        self.known: set[int] = set()
        self.logins: set[int] = set()
        self.servers: set[tuple[str, int]] = set()


class Probing:
    """What clients have tried so far."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    def add(self, session: Session) -> Iterator[Defect]:
        """What this session shows of its client beside the earlier ones."""
        address = session.client.address
        client = self._clients.pop(address, None) or _Client()
        self._clients[address] = client
        if len(self._clients) > MAX_CLIENTS:
            self._clients.popitem(last=False)
        told: dict[str, Defect] = {}
        offered = False
        for exchange in session.exchanges:
            command, reply = exchange.command, exchange.reply
            if command is None or reply is None:
                continue
            verb = command.verb
            if verb == "RCPT":
                _recipient(client, exchange, reply, told)
            elif verb in ("VRFY", "EXPN"):
                _question(client, verb, command.argument, command.span, reply, told)
            elif exchange.auth is not None and exchange.auth.code == reply.code:
                _login(client, exchange.auth, command.span, told)
            elif verb in HELLO_VERBS and reply.accepted and len(reply.lines) > 1:
                offered = _offer(client, session, reply, offered, told)
        yield from told.values()


def _recipient(client: _Client, exchange: Exchange, reply: Reply, told: dict[str, Defect]) -> None:
    argument, command = exchange.path, exchange.command
    if argument is None or argument.path is None or command is None:
        return
    if reply.accepted:
        client.accepted += 1
    elif reply.code in _UNKNOWN_USER and not _is_policy(reply):
        _remember(client.refused, hash(argument.path.address.lower()))
        count = len(client.refused)
        if count >= MANY_NAMES and count > 2 * client.accepted:
            detail = f"{count:,} recipients refused by now"
            told["address-probing"] = Defect("address-probing", command.span, detail)


def _is_policy(reply: Reply) -> bool:
    """The refusal says nothing of whether the address exists."""
    enhanced = reply.enhanced
    return (enhanced is not None and enhanced.subject == 7) or b"relay" in reply.lines[0].lower()


def _question(
    client: _Client, verb: str, name: bytes, span: Span, reply: Reply, told: dict[str, Defect]
) -> None:
    if reply.code in (250, 251):
        shown = name.strip()[:100].decode("utf-8", "backslashreplace")
        told.setdefault("address-disclosed", Defect("address-disclosed", span, f"{verb} {shown}"))
    _remember(client.asked, hash(name.strip().lower()))
    if len(client.asked) >= MANY_ASKED:
        detail = f"VRFY and EXPN of {len(client.asked):,} names by now"
        told["address-probing"] = Defect("address-probing", span, detail)


def _login(client: _Client, auth: AuthExchange, span: Span, told: dict[str, Defect]) -> None:
    guesses = client.logins
    if auth.code == 535:
        # One wrong password again and again is a client that was set up wrongly; a proof by a
        # challenge differs each time, though the password may be the same.
        secret = auth.secret if auth.mechanism in _READABLE else b""
        _remember(guesses, hash((auth.identity, secret)))
        if _guesses(client):
            detail = f"{len(guesses):,} different logins refused by now"
            told["password-guessing"] = Defect("password-guessing", span, detail)
    elif auth.code == 235:
        if _guesses(client):
            name = (auth.identity or b"")[:100].decode("utf-8", "backslashreplace")
            detail = f"{name}, after {len(guesses):,} refused logins"
            told["password-guessed"] = Defect("password-guessed", span, detail)
        _remember(client.known, hash(auth.identity))


def _guesses(client: _Client) -> bool:
    """Behind one address may be many users (a webmail, an office), of whom some mistype."""
    refused = len(client.logins)
    return refused >= MANY_LOGINS and refused > 2 * len(client.known)


def _offer(
    client: _Client, session: Session, reply: Reply, offered: bool, told: dict[str, Defect]
) -> bool:
    """Whether this session has offered STARTTLS by now.

    What a later hello of the same session lacks is told as starttls-gone.
    """
    server = (session.server.address, session.server.port)
    if any(line.strip().upper() == b"STARTTLS" for line in reply.lines[1 : MAX_CAPABILITIES + 1]):
        if len(client.servers) < MAX_THINGS:
            client.servers.add(server)
        return True
    if not offered and server in client.servers and session.tls_mode != "implicit":
        told.setdefault("starttls-missing", Defect("starttls-missing", reply.span))
    return offered


def _remember(things: set[int], thing: int) -> None:
    if len(things) < MAX_THINGS:
        things.add(thing)
