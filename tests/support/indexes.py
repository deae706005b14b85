"""Indexes under test: made by this process, for starting another one takes its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.conversation import START, connection
from support.packets import Packet, pcap

from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.index.schema import entry_of
from smtpscope.index.store import Store, key_of
from smtpscope.index.views import Index
from smtpscope.index.writer import Task, _Writer
from smtpscope.reading import SMTP_PORTS, read_sessions
from smtpscope.session import Session

MINUTE = 60_000_000_000

QUIET = (("S", b"220 mx.example.org ESMTP\r\n"), ("C", b"QUIT\r\n"), ("S", b"221 2.0.0 Bye\r\n"))
"""The turns of a session in which nothing happens."""

ODD = (
    # Paths of every shape, and a server that takes them all.
    *(
        (
            ("S", b"220 odd.example.org ESMTP\r\n"),
            ("C", b"EHLO\r\n"),
            ("S", b"250 odd.example.org\r\n"),
            ("C", b"MAIL FROM:" + sender + b"\r\n"),
            ("S", b"250 2.1.0 Ok\r\n"),
            ("C", b"RCPT TO:" + recipient + b"\r\n"),
            ("S", b"451 4.7.1 Later\r\n"),
            ("C", b"QUIT\r\n"),
            ("S", b"221 Bye\r\n"),
        )
        for sender, recipient in (
            (b"<>", b"<Postmaster>"),
            (b'<"a@b"@example.net>', b'<a@"b">'),
            (b'<"no domain at all">', b'<a@b"c@d"e>'),
            (b'<"a@open.example>', b"<@hop.example,@two.example:x@y.example>"),
            (b"<p@q@example.net>", b"<@>"),
            (b"<gr\xc3\xbc\xc3\x9fe@example.net> SMTPUTF8", b"<\xff\xfe@example.org>"),
            # KELVIN SIGN, and I WITH DOT ABOVE: partly ASCII in lower case.
            (b"<273\xe2\x84\xaa@example.net> SMTPUTF8", b"<a@\xc4\xb0zmir.example>"),
            (b'<"a\\"@b"@[192.0.2.7]>', b'<"\\\xff@x"@example.org>'),
            (b"", b"nobody"),
        )
    ),
    # Verbs, replies and names that are none.
    (
        ("S", b"220 \xff\xfe mx\0\r\n"),
        ("C", b"EHLO \xe2\x80\xae\xff\"'\\\r\n"),
        ("S", b"what?\r\n"),
        ("C", b"X-ODD 1\r\n"),
        ("S", b"999 9.9.9 no such class\r\n"),
        ("C", b"\x80\x81\r\n"),
        ("S", b"500 5.5.2 syntax\r\n"),
        ("C", b"\r\n"),
        ("S", b"500-5.5.2 a\r\n500 5.5.2 b\r\n"),
    ),
    (),
)
"""The turns of sessions as no program should speak."""


def write_capture(
    path: Path,
    dialogues: Iterable[Iterable[tuple[str, bytes]]],
    *,
    end: str = "fin",
    server: int = 25,
    port: int = 40_000,
) -> Path:
    """A capture of dialogues, a minute apart, each from a port of its own from `port` on."""
    packets: list[Packet] = []
    for number, turns in enumerate(dialogues):
        start = START + number * MINUTE
        packets += connection(turns, client=port + number, server=server, start=start, end=end)
    path.write_bytes(pcap(packets))
    return path


def odd_captures(folder: Path) -> list[Path]:
    """`ODD`, ended in each way."""
    return [
        write_capture(folder / f"odd-{end or 'open'}.pcap", ODD, end=end)
        for end in ("fin", "rst", "")
    ]


def key(captures: Iterable[Path], policy: Policy = NO_POLICY) -> str:
    return key_of([str(path) for path in captures], frozenset(), policy)


def fill(store: Store, captures: Sequence[Path], policy: Policy = NO_POLICY) -> Path:
    """Make the index of these captures; where it is."""
    path = store.new(key(captures, policy))
    paths = tuple(str(capture) for capture in captures)
    writer = _Writer(Task(path, paths, frozenset(), policy, 1))
    writer.fill()
    writer.close()
    return path


@contextmanager
def indexed(store: Store, captures: Sequence[Path], policy: Policy = NO_POLICY) -> Iterator[Index]:
    """The index of these captures, found where there is one, and closed at the end."""
    wanted = key(captures, policy)
    names = [path.name for path in captures]
    found = store.find(wanted, names) or Index(fill(store, captures, policy), wanted, names)
    try:
        yield found
    finally:
        found.close()


def found(store: Store, capture: Path) -> Path | None:
    """Where the index is that a store finds for a capture."""
    index = store.find(key([capture]), [capture.name])
    if index is None:
        return None
    index.close()
    return index.path


def decoded(captures: Iterable[Path], policy: Policy = NO_POLICY) -> list[tuple[int, Session]]:
    """The sessions of captures as an index has them, each with the number of its capture."""
    return [
        (number, session)
        for number, path in enumerate(captures)
        for session in read_sessions(path, ports=SMTP_PORTS, policy=policy)
    ]


class Growing:
    """An index that is being written: `write` adds sessions to it."""

    def __init__(self, store: Store) -> None:
        path = store.new("growing")
        self.index = Index(path, "growing", ["growing.pcap"])
        self._writer = _Writer(Task(path, (), frozenset(), NO_POLICY, 1))

    def write(self, sessions: Iterable[Session], *, done: bool = False) -> None:
        for session in sessions:
            self._writer._add(entry_of(session))
        self._writer._flush(done=done)

    def close(self) -> None:
        self._writer.close()
        self.index.close()


@contextmanager
def growing(store: Store) -> Iterator[Growing]:
    """An index without any sessions yet, closed at the end."""
    found = Growing(store)
    try:
        yield found
    finally:
        found.close()
