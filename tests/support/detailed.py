"""Sessions both ways: as the whole capture shows them, and from their own packets alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import NamedTuple

from support.conversation import START, STEP
from support.packets import Packet, pcap

from smtpscope.capture.parts import Part
from smtpscope.details import Details, Place
from smtpscope.export import jsonl
from smtpscope.findings.walk import NO_POLICY, Policy
from smtpscope.reading import read_sessions
from smtpscope.session import Session

LETTER = b"Subject: a\r\n\r\n.one\r\n" + b"line of a letter\r\n" * 200
STUFFED = LETTER.replace(b"\r\n.", b"\r\n..") + b".\r\n"
SENDING = (
    ("S", b"220 mx ESMTP\r\n"),
    ("C", b"EHLO client.test\r\n"),
    ("S", b"250 mx\r\n"),
    *(
        turn
        for letter in (STUFFED, b".\r\n", b"x\r\n.\r\n")
        for turn in (
            ("C", b"MAIL FROM:<a@b.test>\r\n"),
            ("S", b"250 Ok\r\n"),
            ("C", b"RCPT TO:<c@d.test>\r\n"),
            ("S", b"250 Ok\r\n"),
            ("C", b"DATA\r\n"),
            ("S", b"354 go\r\n"),
            ("C", letter),
            ("S", b"250 2.0.0 queued\r\n"),
        )
    ),
    ("C", b"QUIT\r\n"),
    ("S", b"221 Bye\r\n"),
)


def said(side: str) -> bytes:
    return b"".join(octets for each, octets in SENDING if each == side)


class Pair(NamedTuple):
    """A session as the whole capture shows it, and what gives its details."""

    whole: Session
    details: Details


def pairs(capture: Path, policy: Policy = NO_POLICY) -> list[Pair]:
    """The sessions of an uncompressed capture."""
    found = []
    for session in read_sessions(capture, policy=policy, trails=True):
        timing = session.timing.server
        beside = [[*timing.percentiles, timing.sessions] if timing else None, *session.beside]
        place = Place(
            [Part(0, str(capture))],
            session.capture,
            session.number,
            session.server.port,
            session.packets,
            json.dumps(beside),
            session.secrets,
        )
        found.append(Pair(session, Details(place, policy)))
    return found


def same(sessions: Iterable[Pair]) -> int:
    """How many sessions there are, all of which are the same both ways."""
    found = list(sessions)
    for whole, details in found:
        again = details.session()
        assert jsonl.dumps(again, reveal=True) == jsonl.dumps(whole, reveal=True)
        assert (again.beside, again.timing) == (whole.beside, whole.timing)
        assert (again.start, again.end, again.whole) == (whole.start, whole.end, whole.whole)
    return len(found)


def numbered(path: Path, packets: Iterable[Packet]) -> Path:
    """A capture of packets in this order, a millisecond apart."""
    clock = count(START, STEP)
    path.write_bytes(pcap([packet._replace(time=next(clock)) for packet in packets]))
    return path


def _again(packets: list[Packet]) -> list[Packet]:
    return [each for packet in packets for each in (packet, packet)]


def _swapped(packets: list[Packet]) -> list[Packet]:
    # The segments of the long letter.
    packets[12:16] = packets[12:16][::-1]
    return packets


def _short(packets: list[Packet]) -> list[Packet]:
    return [
        packet._replace(frame=packet.frame[:600], original=len(packet.frame)) for packet in packets
    ]


def _by(side: str) -> Callable[[list[Packet]], list[Packet]]:
    source = {"C": b"\xc0\0\2\1", "S": b"\xc0\0\2\2"}[side]
    return lambda packets: [each for each in packets if each.frame[26:30] == source]


WAYS: dict[str, Callable[[list[Packet]], list[Packet]]] = {
    "whole": list,
    "retransmitted": _again,
    "out of order": _swapped,
    "cut by the snap length": _short,
    "without the handshake": lambda packets: packets[3:],
    "from the middle": lambda packets: packets[7:],
    "without an end": lambda packets: packets[:-9],
    "the client alone": _by("C"),
    "the server alone": _by("S"),
    "with holes": lambda packets: [each for n, each in enumerate(packets) if n not in (9, 14, 19)],
}
"""What a capture may have of a connection's packets."""
