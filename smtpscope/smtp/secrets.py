"""Secrets that a server gives back: what was redacted in a command is masked in the replies.

Servers quote what they don't understand (`500 Command unrecognized: "aHVudGVyMg=="`), now and then
cut short. `Secrets` learns of each command what is hidden of it, and masks that in the replies of
the session, whoever shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from smtpscope.smtp.sasl import MAX_HIDDEN, AuthExchange, Hidden, decode, has_credentials
from smtpscope.smtp.values import Exchange, Reply

MAX_SECRETS = 64
"""Secrets of one session that are looked for; the newest stay."""
MIN_SECRET = 4
"""Octets below which a secret is not looked for: it would be found everywhere."""
HEAD = 8
"""Octets of base64 that give a secret away, where a server cuts it short."""
MAX_PLACES = 100
"""Places of secrets in one line from which on all of it is masked."""


class Secrets:
    """The secrets of one session. While none is `known` there is nothing to mask."""

    def __init__(self) -> None:
        self.known: dict[Hidden, None] = {}

    def learn(self, exchange: Exchange) -> None:
        """Nothing that this exchange hides may be seen from now on."""
        known = self.known
        for secret in _hidden_in(exchange):
            octets, coded = secret
            if len(octets) >= MIN_SECRET and (coded or not _is_plain_word(octets)):
                known.pop(secret, None)
                known[secret] = None
        while len(known) > MAX_SECRETS:
            del known[next(iter(known))]

    def mask(self, exchange: Exchange) -> None:
        """Mask them in the replies of an exchange."""
        for reply in exchange.replies:
            lines = tuple([self._masked(line, reply) for line in reply.lines])
            if lines != reply.lines:
                reply.unmasked, reply.lines = reply.lines, lines

    def _masked(self, line: bytes, reply: Reply) -> bytes:
        challenge = decode(line) if reply.code == 334 else None
        places: list[tuple[int, int]] = []
        for secret in self.known:
            if challenge and secret.octets in challenge:
                return _hidden(len(line))
            places += islice(_places(line, secret), MAX_PLACES)
            if len(places) >= MAX_PLACES:
                return _hidden(len(line))
        return _without(line, sorted(places)) if places else line


def _hidden_in(exchange: Exchange) -> Iterable[Hidden]:
    """The secrets of an exchange, which has some: of a login, or of words that are likely one."""
    if exchange.auth is not None:
        return exchange.auth.hidden
    command = exchange.command
    words = command.argument.split()[-MAX_HIDDEN:] if command is not None else ()
    return [
        secret
        for word in words
        # Shorter ones may be names of mechanisms.
        if len(word) >= HEAD
        for secret in AuthExchange("PLAIN" if has_credentials(word) else "", word).hidden
    ]


def _is_plain_word(octets: bytes) -> bool:
    """Whether servers may well say it unasked: to mask "password" would show that it is the one."""
    return octets.isalpha() and octets[1:].islower()


def _places(line: bytes, secret: Hidden) -> Iterator[tuple[int, int]]:
    """Where in the line the secret stands, as first octet and end.

    What is short is part of many a word, and a secret only by itself; of base64 the beginning is
    enough.
    """
    octets, coded = secret
    head = octets[:HEAD] if coded else octets
    at = line.find(head)
    while at >= 0:
        end = at + _agreeing(line, at, octets)
        inside = line[at - 1 : at].isalnum() or line[end : end + 1].isalnum()
        if not inside or (coded and len(head) == HEAD):
            yield at, end
        at = line.find(head, end)


def _without(line: bytes, places: list[tuple[int, int]]) -> bytes:
    """The line, with the octets at these places, which come in order, masked."""
    kept, start, end = [], 0, 0
    for first, behind in places:
        if first > end or not end:
            # What was masked last ends before this.
            kept += [_hidden(end - start)] if end else []
            kept.append(line[end:first])
            start = first
        end = max(end, behind)
    return b"".join((*kept, _hidden(end - start), line[end:]))


def _agreeing(line: bytes, at: int, octets: bytes) -> int:
    """How many octets of `line` from `at` on are the first of these."""
    quoted = line[at : at + len(octets)]
    pairs = enumerate(zip(quoted, octets, strict=False))
    return next((length for length, (one, other) in pairs if one != other), len(quoted))


def _hidden(length: int) -> bytes:
    return b"[redacted %d octets]" % length
