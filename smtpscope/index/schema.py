"""The tables of an index, and how a session and its messages become rows of them.

Values that many sessions share (sets of codes, banners) are kept once, in `texts`; lists are JSON.
Texts are what the wire said, not yet fit for eyes: `display` comes when they are shown.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from smtpscope.fields import FIELDS
from smtpscope.session import Session, message_of
from smtpscope.smtp.transaction import Transaction
from smtpscope.smtp.values import Reply

VERSION = 4
"""Raised whenever the tables, or what is decoded into them, change."""

APPLICATION = 0x534D5450
"""SQLite's application_id of our files: SMTP."""

MAX_VALUES = 1_000
"""Values kept of each list of a session."""
MAX_TEXT = 1_000
"""Characters kept of each value."""
MAX_NUMBER = (1 << 63) - 1
"""The largest number that a column holds."""

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value);
CREATE TABLE notes (capture INTEGER, note TEXT);
CREATE TABLE texts (id INTEGER PRIMARY KEY, kind TEXT, text TEXT, UNIQUE (kind, text));
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY, capture INTEGER, number INTEGER, start INTEGER, duration INTEGER,
    client TEXT, client_port INTEGER, server TEXT, port INTEGER, state TEXT,
    tls TEXT, tls_version TEXT, last INTEGER, last_enhanced TEXT,
    severity INTEGER, findings INTEGER, exchanges INTEGER, messages INTEGER, octets INTEGER,
    senders TEXT, recipients TEXT, subjects TEXT, sizes TEXT, users TEXT, latencies BLOB,
    banner INTEGER, helo INTEGER, sni INTEGER, auth INTEGER,
    codes INTEGER, verbs INTEGER, enhanced INTEGER, rules INTEGER
);
CREATE TABLE details (id INTEGER PRIMARY KEY, packets BLOB, beside TEXT, secrets BLOB);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, session INTEGER, ordinal INTEGER, time INTEGER, sender TEXT,
    recipients TEXT, subject TEXT, size INTEGER, code INTEGER, parts INTEGER, attachments INTEGER,
    taken INTEGER, wanted INTEGER
);
CREATE INDEX messages_of ON messages (session);
"""

MESSAGE_CODE = 6
"""Where the code of the reply stands in the columns of `messages` from `ordinal` on."""

INTERNED = ("banner", "helo", "sni", "auth", "codes", "verbs", "enhanced", "rules")
"""The columns of `sessions` that name a row of `texts`, in the order of the table's end."""

_COUNTED = {"codes": "code", "verbs": "verb", "enhanced": "enhanced", "rules": "finding"}
_LISTED = {"banner": "banner", "helo": "helo", "sni": "sni", "auth": "auth"}

LATENCY_VERBS = (
    *("(greeting)", "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", ".", "BDAT", "RSET", "NOOP"),
    *("QUIT", "VRFY", "EXPN", "HELP", "STARTTLS", "AUTH", "(auth)", "TURN", "ETRN", "(other)"),
)
"""What latencies are told of; the index in it is the first octet of a pair in `latencies`."""

_VERB_OCTETS = {verb: index for index, verb in enumerate(LATENCY_VERBS)}
_OTHER = _VERB_OCTETS["(other)"]

LATENCY_STEP = 1.09
"""Latencies are kept to 9 %: the second octet of a pair is the power of this, from 1 us on."""
_LOG_STEP = math.log(LATENCY_STEP)
MAX_LATENCIES = 1_000
"""Latencies kept of a session."""


class Entry(NamedTuple):
    """A session as the index keeps it, from one process to another: what the columns hold.

    `columns` are those of `sessions` from `number` to `latencies`, `interned` the texts of
    `INTERNED`, `messages` the columns of `messages` from `ordinal` on.
    """

    columns: tuple[int | str | bytes | None, ...]
    interned: tuple[str, ...]
    packets: bytes
    beside: str
    secrets: bytes
    messages: list[tuple[int | str | None, ...]]


def entry_of(session: Session) -> Entry:
    """What the index keeps of a session that is complete."""
    last = _deciding(session)
    sizes = [message.size for message in session.messages]
    severities = [finding.severity for finding in session.findings]
    worst = max(severities, default=-1)
    columns = (
        session.number,
        session.start,
        # Absurd times may be further from each other than SQLite can say.
        min(session.end - session.start, MAX_NUMBER),
        session.client.address,
        session.client.port,
        session.server.address,
        session.server.port,
        session.state,
        session.tls_mode,
        (session.tls.version or session.tls.offered) if session.tls is not None else None,
        last.code if last is not None else None,
        str(last.enhanced) if last is not None and last.enhanced is not None else None,
        worst,
        sum(each == worst for each in severities) if worst > 0 else 0,
        len(session.exchanges) + session.dropped,
        len(sizes),
        sum(sizes),
        _listed(FIELDS["from"].values(session)),
        _listed(FIELDS["to"].values(session)),
        _listed(FIELDS["subject"].values(session)),
        _listed(FIELDS["size"].values(session)),
        _listed(FIELDS["auth.user"].values(session)),
        _latencies(session),
    )
    interned = tuple(
        _counted(FIELDS[_COUNTED[name]].values(session))
        if name in _COUNTED
        else _listed(FIELDS[_LISTED[name]].values(session))
        for name in INTERNED
    )
    server = session.timing.server
    timing = [*server.percentiles, server.sessions] if server is not None else None
    beside = json.dumps([timing, *session.beside]) if timing or session.beside else ""
    messages = [
        row
        for ordinal, transaction in enumerate(session.transactions)
        if (row := _message(ordinal, transaction, session.end)) is not None
    ]
    return Entry(columns, interned, session.packets, beside, session.secrets, messages)


def _deciding(session: Session) -> Reply | None:
    """The reply that tells how the session went: the last refusal, or what became of the last
    message, or else the last reply."""
    replies = [reply for each in session.exchanges for reply in each.replies]
    for reply in reversed(replies):
        if reply.code is not None and reply.code >= 400:
            return reply
    for transaction in reversed(session.transactions):
        if transaction.reply is not None:
            return transaction.reply
    return replies[-1] if replies else None


def latency(step: int) -> int:
    """The latency (ns) for which the second octet of a pair stands."""
    return round(1_000 * math.exp(step * _LOG_STEP))


def _latencies(session: Session) -> bytes:
    found = bytearray()
    for exchange in session.exchanges[:MAX_LATENCIES]:
        reply = exchange.reply
        if reply is None:
            continue
        command = exchange.command
        if command is not None:
            took = reply.time - command.time
            verb = _VERB_OCTETS.get(command.verb, _OTHER)
        elif exchange.greeting:
            took, verb = reply.time - session.start, 0
        else:
            continue
        step = round(math.log(took / 1_000) / _LOG_STEP) if took > 1_000 else 0
        found += bytes((verb, min(step, 255)))
    return bytes(found)


def _listed(values: Iterable[str | int]) -> str:
    kept = [_cut(value) for value, _ in zip(values, range(MAX_VALUES), strict=False)]
    return json.dumps(kept, ensure_ascii=True) if kept else "[]"


def _counted(values: Iterable[str | int]) -> str:
    counted = Counter(map(_cut, values))
    kept = sorted(counted.items(), key=lambda item: str(item[0]))[:MAX_VALUES]
    return json.dumps(dict(kept)) if kept else "{}"


def _cut(value: str | int) -> str | int:
    return value if isinstance(value, int) else value[:MAX_TEXT]


def _message(
    ordinal: int, transaction: Transaction, end: int
) -> tuple[int | str | None, ...] | None:
    message = message_of(transaction)
    if message is None:
        return None
    reply = transaction.reply
    if transaction.completed and reply is not None and not reply.accepted:
        # Refused for some: what it is known by is that others have it.
        others = (each.delivery for each in transaction.recipients)
        reply = next((each for each in others if each is not None and each.accepted), reply)
    sender = transaction.reverse_path
    return (
        ordinal,
        reply.time if reply is not None else end,
        _octets(sender.address) if sender is not None else None,
        _listed(
            _octets(each.path.address) for each in transaction.recipients if each.path is not None
        ),
        _storable(message.subject) if message.subject is not None else None,
        message.size,
        reply.code if reply is not None else None,
        message.parts,
        len(message.attachments),
        transaction.taken,
        len(transaction.recipients),
    )


def _octets(address: bytes) -> str:
    return address.decode("utf-8", "backslashreplace")[:MAX_TEXT]


def _storable(shown: str) -> str:
    # SQLite takes no lone surrogates.
    return shown[:MAX_TEXT].encode("utf-8", "backslashreplace").decode()
