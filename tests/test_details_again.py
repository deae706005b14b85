"""A session is the same from its own packets alone, however they were captured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.conversation import START, connection
from support.detailed import SENDING, WAYS, numbered, pairs, same
from support.indexes import MINUTE, ODD, QUIET, write_capture
from support.packets import Packet, ethernet, ipv4, pcap

from smtpscope.capture import trail
from smtpscope.findings.walk import Policy
from smtpscope.session import message_of

CAPTURED = [
    pytest.param(
        way,
        server,
        marks=pytest.mark.xfail(
            (way, server) == ("the client alone", 2_526),
            strict=True,
            reason="the whole capture forgets the bare ACK before a flow is known to be SMTP",
        ),
    )
    for way in WAYS
    for server in (25, 2_526)
]


@pytest.mark.parametrize("block", [1, 2_000, trail.BLOCK])
@pytest.mark.parametrize(("way", "server"), CAPTURED)
def test_a_session_is_the_same_however_it_was_captured(
    way: str, server: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = WAYS[way](list(connection(SENDING, server=server)))
    capture = numbered(tmp_path / "a.pcap", packets)
    sessions = pairs(capture)
    monkeypatch.setattr(trail, "BLOCK", block)
    assert same(sessions) >= 1
    for whole, details in sessions:
        for ordinal, transaction in enumerate(whole.transactions):
            message = message_of(transaction)
            if message is not None:
                with details.message(ordinal) as file:
                    assert hashlib.sha256(file.read()).hexdigest() == message.sha256


def test_sessions_between_the_same_ports_are_told_apart(tmp_path: Path) -> None:
    packets = [
        packet
        for number in range(3)
        for packet in connection(
            [*QUIET, ("C", b"NOOP\r\n" * number)], start=START + 3 * number * MINUTE
        )
    ]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(packets))
    assert same(pairs(path)) == 3


def test_sessions_in_turns_are_told_apart(tmp_path: Path) -> None:
    found = [
        list(connection(SENDING, client=41_000 + n, server=25 + 562 * (n % 2))) for n in range(5)
    ]
    turns = [each for row in zip(*found, strict=True) for each in row]
    assert same(pairs(numbered(tmp_path / "a.pcap", turns))) == 5


@pytest.mark.parametrize("end", ["fin", "rst", ""])
def test_odd_sessions_are_the_same(end: str, tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "a.pcap", ODD, end=end)
    assert same(pairs(capture)) == len(ODD)


def test_the_policy_is_that_of_the_review(tmp_path: Path) -> None:
    capture = write_capture(tmp_path / "a.pcap", [SENDING])
    assert same(pairs(capture, Policy(frozenset({"d.test"})))) == 1


def _fragments(packets: list[Packet]) -> Iterator[Packet]:
    """Long packets in two IP fragments each."""
    for identity, packet in enumerate(packets, 1):
        payload = packet.frame[34:]
        ends = {True: ("192.0.2.1", "192.0.2.2"), False: ("192.0.2.2", "192.0.2.1")}
        source, target = ends[packet.frame[29] == 1]
        if len(payload) <= 400:
            yield packet
            continue
        for offset, piece in ((0, payload[:400]), (400, payload[400:])):
            datagram = ipv4(
                piece,
                source=source,
                target=target,
                identity=identity,
                offset=offset,
                more=not offset,
            )
            yield Packet(ethernet(datagram))


@pytest.mark.xfail(
    strict=True, reason="a trail has only the packet that completes a fragmented datagram"
)
def test_a_session_in_fragments_is_the_same(tmp_path: Path) -> None:
    packets = _fragments(list(connection(SENDING)))
    (pair,) = pairs(numbered(tmp_path / "a.pcap", packets))
    assert len(pair.whole.messages) == 3
    same([pair])
