"""Makes what a screen is measured with: an index of very many sessions, or a large mixed capture.

Run by `screen.py` as a program of its own, `million.py index SESSIONS FILE` or `million.py capture
MB FILE`, so that what it holds does not count. The sessions of an index are real ones, read from
the small capture FILE and written under other names, at other times and with other figures.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import traffic

from smtpscope.findings.explain import samples
from smtpscope.findings.walk import NO_POLICY
from smtpscope.index.schema import INTERNED, Entry, entry_of
from smtpscope.index.store import Store, key_of
from smtpscope.index.writer import Task, _Writer
from smtpscope.reading import read_sessions

_SECOND = 1_000_000_000
_PLAIN = 120
_ORDINARY = 0.85
"""How many of the sessions are plain ones, and not those that show what a rule is about."""
_CLIENTS = 60_000
_HELOS = 20_000

_NAMES = [f"{name}{n}" for name in ("ann", "bob", "carl", "dora", "user") for n in range(1_000)]
_DOMAINS = [f"{name}{n}.example" for name in ("", "mail", "shop", "office") for n in range(100)]
_WORDS = (
    "invoice",
    "order",
    "lunch",
    "meeting",
    "report",
    "account",
    "weekly",
    "offer",
    "Übersicht",
)
_SERVERS = [f"192.0.2.{n}" for n in range(1, 30)] + [f"2001:db8:25::{n:x}" for n in range(1, 10)]
_PORTS = (25, 25, 25, 25, 25, 25, 587, 465, 2525)
_TLS = ((None, None), (None, None), ("starttls", "TLSv1.3"), ("starttls", "TLSv1.2"))


def index(sessions: int, capture: Path) -> None:
    """Write the small capture, and the complete index of so many sessions that is said to be of
    it, to where a `Review` looks for it."""
    _write_capture(capture)
    plain, special = [], []
    for session in read_sessions(capture, trails=True):
        (plain if session.server.port == 25 else special).append(entry_of(session))
    store = Store()
    path = store.new(key_of([str(capture)], frozenset(), NO_POLICY))
    writer = _Writer(Task(path, (str(capture),), frozenset(), NO_POLICY, 1))
    try:
        rng = random.Random(25)
        for number in range(1, sessions + 1):
            base = rng.choice(plain if rng.random() < _ORDINARY else special)
            writer._add(_varied(base, number, rng))
        writer._flush(done=True)
        writer._rows._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        writer.close()
    size = path.stat().st_size / 1e6
    print(f"{sessions:,} sessions like {len(plain)} plain and {len(special)} special ones:", end="")
    print(f" an index of {size:,.0f} MB")


# -- the small capture ----------------------------------------------------------------------------

_SENT = """220 mx.example.org ESMTP
EHLO client{n}.example.net
250-mx.example.org|250-PIPELINING|250 SIZE 10000000
MAIL FROM:<user{n}@example.net>
250 2.1.0 Ok
RCPT TO:<bob{n}@example.org>
{answer}
DATA
354 End data with <CR><LF>.<CR><LF>
From: <user{n}@example.net>|To: <bob{n}@example.org>|Subject: lunch {n}|\
Message-ID: <{n}@example.net>|Date: Tue, 14 Nov 2023 22:13:20 +0000||Hello,|at noon?|.
250 2.0.0 Ok: queued as {n}
QUIT
221 2.0.0 Bye"""
_REFUSED = """220 mx.example.org ESMTP
EHLO client{n}.example.net
250-mx.example.org|250 AUTH PLAIN
{more}
MAIL FROM:<user{n}@example.net>
250 2.1.0 Ok
RCPT TO:<nobody{n}@example.org>
{answer}
QUIT
221 2.0.0 Bye"""
_LOGIN = "AUTH PLAIN AHVzZXIAaG9wZWZ1bA==\n235 2.7.0 welcome"
_ANSWERS = ("550 5.1.1 no such user", "451 4.7.1 try again later", "554 5.7.1 not here")


def _write_capture(file: Path) -> None:
    """A capture of plain sessions on port 25, and on port 587 of what the rules are about."""
    sys.path.append(str(Path(__file__).parents[1]))
    from support.conversation import START, connection
    from support.packets import Packet, pcap
    from support.samples import _events

    from smtpscope.stream import Data

    def sessions() -> Iterator[Packet]:
        for n in range(_PLAIN):
            dialogue = _SENT.format(n=n, answer="250 2.1.5 Ok")
            if n % 5 == 0:
                more = _LOGIN if n % 2 else "NOOP\n250 2.0.0 Ok"
                dialogue = _REFUSED.format(n=n, more=more, answer=_ANSWERS[n // 5 % 3])
            turns = [
                ("SC"[at % 2], line.replace("|", "\r\n").encode() + b"\r\n")
                for at, line in enumerate(dialogue.splitlines())
            ]
            yield from connection(turns, client=40_000 + n, start=START + n * _SECOND)
        for n, sample in enumerate(samples(), _PLAIN):
            lines = [line for line in sample.lines if line and not line.startswith(("#", "--"))]
            turns = [
                ("CS"[each.direction], each.data)
                for each in _events(lines, START)
                if isinstance(each, Data)
            ]
            start = START + n * _SECOND
            yield from connection(turns, client=40_000 + n, server=587, start=start)

    file.write_bytes(pcap(sessions()))


# -- many sessions of few -------------------------------------------------------------------------


class _Columns(NamedTuple):
    """The columns of an entry, as they are called in the table."""

    number: int
    start: int
    duration: int
    client: str
    client_port: int
    server: str
    port: int
    state: str
    tls: str | None
    tls_version: str | None
    last: int | None
    last_enhanced: str | None
    severity: int
    findings: int
    exchanges: int
    messages: int
    octets: int
    senders: str
    recipients: str
    subjects: str
    sizes: str
    users: str
    latencies: bytes


def _varied(base: Entry, number: int, rng: random.Random) -> Entry:
    """The same session as others would have had it."""
    columns = _Columns(*base.columns)  # type: ignore[arg-type]
    client = rng.randrange(_CLIENTS)
    host = f"10.{client >> 16}.{client >> 8 & 255}.{client & 255}"
    duration = int(rng.lognormvariate(0, 1.8) * _SECOND / 3)
    tls, version = rng.choice(_TLS)
    senders = json.dumps([_address(rng) for _ in json.loads(columns.senders)])
    recipients = [_address(rng) for _ in json.loads(columns.recipients)]
    if recipients and rng.random() < 0.2:
        recipients += [_address(rng) for _ in range(int(rng.expovariate(0.3)))]
    subjects = [
        f"{rng.choice(_WORDS)} {rng.choice(_WORDS)} {rng.randrange(10_000)}"
        for _ in json.loads(columns.subjects)
    ]
    sizes = [int(rng.lognormvariate(9, 1.5)) + 200 for _ in json.loads(columns.sizes)]
    users = [rng.choice(_NAMES) for _ in json.loads(columns.users)]
    listed = json.dumps(recipients)
    start = 1_700_000_000 * _SECOND + number * 86_400_000 + rng.randrange(40_000_000)
    interned = dict(zip(INTERNED, base.interned, strict=True))
    if interned["helo"] != "[]":
        interned["helo"] = json.dumps([f"host{rng.randrange(_HELOS)}.{rng.choice(_DOMAINS[:3])}"])
    server = rng.randrange(len(_SERVERS))
    if interned["banner"] != "[]":
        interned["banner"] = json.dumps([f"mx{server}.example.org ESMTP"])
    made = columns._replace(
        number=number,
        start=start,
        duration=duration,
        client=host if client % 10 else f"2001:db8::{client:x}",
        client_port=rng.randrange(1_024, 65_536),
        server=_SERVERS[server],
        port=rng.choice(_PORTS),
        tls=tls,
        tls_version=version,
        octets=sum(sizes),
        senders=senders,
        recipients=listed,
        subjects=json.dumps(subjects),
        sizes=json.dumps(sizes),
        users=json.dumps(users),
        latencies=bytes(
            each if at % 2 == 0 else max(min(each + rng.randrange(-9, 30), 255), 0)
            for at, each in enumerate(columns.latencies)
        ),
    )
    messages = [
        (ordinal, start + duration, _address(rng), listed, *_message(rng), *unvaried)
        for ordinal, _, _, _, _, _, *unvaried in base.messages
    ]
    return Entry(made, tuple(interned.values()), base.packets, base.beside, base.secrets, messages)


def _address(rng: random.Random) -> str:
    return f"{rng.choice(_NAMES)}@{rng.choice(_DOMAINS)}"


def _message(rng: random.Random) -> tuple[str, int]:
    subject = f"{rng.choice(_WORDS)} {rng.choice(_WORDS)} {rng.randrange(10_000)}"
    return subject, int(rng.lognormvariate(9, 1.5)) + 200


# -- a large capture ------------------------------------------------------------------------------

_SLAB = 1_000
"""Small sessions between which the larger ones stand."""
_LARGE = {20_000: 15, 200_000: 4, 2_000_000: 1}
"""Octets of larger messages, and how many there are for a slab of small sessions."""
_SEGMENT = 1_448
_FIRST = 1_700_000_000


def capture(megabytes: int, file: Path) -> None:
    """Write a pcap about so large: half of it small sessions, the rest larger messages."""
    larger = [(_large(octets), count) for octets, count in _LARGE.items()]
    first = large = 0
    traffic.generate(0, file)
    with file.open("ab") as out:
        while out.tell() < megabytes * 1_000_000:
            traffic._generate_slab(first, _SLAB, out)
            first += _SLAB
            # Where `traffic` has come to.
            clock = first * len(traffic._packets()) * 10
            for packets, count in larger:
                for _ in range(count):
                    _write_large(packets, large, clock, out)
                    large += 1


def _large(octets: int) -> list[tuple[bool, bytes]]:
    """A session with one message so large, as `traffic` has its own."""
    attachment = base64.encodebytes(random.Random(octets).randbytes(octets * 3 // 4))
    message = (
        b"From: <ann@example.com>\r\nTo: <reader@example.net>\r\nSubject: the figures\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
        b"Here they are.\r\n--b\r\nContent-Type: application/zip; name=figures.zip\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
    )
    message += attachment.replace(b"\n", b"\r\n") + b"--b--\r\n.\r\n"
    seq = {True: 1000, False: 2000}
    found = [(True, 0x02, b""), (False, 0x12, b""), (True, 0x10, b"")]
    turns = [
        *(b"220 mail.example.net ESMTP\r\n", b"EHLO client.example.com\r\n"),
        *(b"250-mail.example.net\r\n250 8BITMIME\r\n", b"MAIL FROM:<ann@example.com>\r\n"),
        *(b"250 2.1.0 Ok\r\n", b"RCPT TO:<reader@example.net>\r\n", b"250 2.1.5 Ok\r\n"),
        *(b"DATA\r\n", b"354 Go\r\n", message, b"250 2.0.0 Ok\r\n", b"QUIT\r\n"),
        b"221 2.0.0 Bye\r\n",
    ]
    for at, said in enumerate(turns):
        cuts = range(0, len(said), _SEGMENT)
        found += [(at % 2 == 1, 0x18, said[cut : cut + _SEGMENT]) for cut in cuts]
    found += [(True, 0x11, b""), (False, 0x11, b""), (True, 0x10, b"")]
    return [(ours, traffic._record(ours, seq, flags, said)) for ours, flags, said in found]


def _write_large(packets: list[tuple[bool, bytes]], number: int, clock: int, out: BinaryIO) -> None:
    """Write it as the large session of this number, at a time in us."""
    address = ((11 << 24) + 1 + number // 50_000).to_bytes(4)
    port = (10_000 + number % 50_000).to_bytes(2)
    seconds, rest = divmod(clock, 1_000_000)
    stamp = (_FIRST + seconds).to_bytes(4, "little") + rest.to_bytes(4, "little")
    for ours, packet in packets:
        where, at = (42, 50) if ours else (46, 52)
        out.write(stamp + packet[8:where] + address + packet[where + 4 : at])
        out.write(port + packet[at + 2 :])


if __name__ == "__main__":
    make = {"index": index, "capture": capture}[sys.argv[1]]
    make(int(sys.argv[2]), Path(sys.argv[3]))
