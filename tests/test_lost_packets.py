"""A packet that the capture lacks is no fault of the peers, and uncovers no secret.

From the recordings one packet each is taken away: what drew no warning then draws none now.
SMTPSCOPE_LOSSES is the number of packets to try; the same ones are tried every time.
"""

from __future__ import annotations

import io
import os
import struct
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpscope.export import jsonl, text
from smtpscope.places import bundled_captures
from smtpscope.reading import read_sessions
from smtpscope.session import Session, Severity

LOSSES = int(os.environ.get("SMTPSCOPE_LOSSES", "100"))
MAX_PACKETS = 200
HEADER, RECORD = 24, 16

NEW = {"gap", "login-refused", "connection-reset"}
"""Warnings that a lost packet may bring up by itself: that it is lost; that a login failed whose
second try was in it; that the connection broke, where what broke off was in it. No errors."""


def records(capture: Path) -> list[bytes]:
    """The file header of a little-endian pcap, and its packets with their record headers."""
    octets = capture.read_bytes()
    found = [octets[:HEADER]]
    at = HEADER
    while at < len(octets):
        (length,) = struct.unpack_from("<8xI", octets, at)
        found.append(octets[at : at + RECORD + length])
        at += RECORD + length
    return found


def reviewed(packets: list[bytes]) -> list[Session]:
    return list(read_sessions(io.BytesIO(b"".join(packets))))


def grave(sessions: list[Session], severity: Severity) -> set[str]:
    findings = [finding for session in sessions for finding in session.findings]
    return {finding.rule for finding in findings if finding.severity >= severity}


@cache
def whole(capture: Path) -> list[Session]:
    """What the recording shows with all its packets."""
    return reviewed(records(capture))


@cache
def secrets_of(capture: Path) -> set[str]:
    """The secrets in the recording, as they were sent and decoded."""
    sessions = whole(capture)
    secrets = {auth.secret for session in sessions for auth in session.auths}
    for session in sessions:
        for exchange in session.exchanges:
            command = exchange.command
            if command is not None and b"[redacted" in (command.redacted or b""):
                secrets.add(command.argument.split(b" ")[-1])
    return {secret.decode() for secret in secrets if secret}


SMALL = [
    capture
    for capture in bundled_captures()
    if capture.suffix == ".pcap" and len(records(capture)) <= MAX_PACKETS
]
LOGINS = [capture for capture in SMALL if secrets_of(capture)]


def without_one(capture: Path, data: st.DataObject) -> list[Session]:
    packets = records(capture)
    lost = data.draw(st.integers(1, len(packets) - 1))
    return reviewed(packets[:lost] + packets[lost + 1 :])


@given(st.data())
@settings(max_examples=LOSSES, derandomize=True)
def test_a_lost_packet_is_no_fault_of_the_peers(data: st.DataObject) -> None:
    capture = data.draw(st.sampled_from(SMALL))
    left = without_one(capture, data)
    assert grave(left, Severity.ERROR) <= grave(whole(capture), Severity.ERROR)
    assert grave(left, Severity.WARNING) <= grave(whole(capture), Severity.WARNING) | NEW


@pytest.mark.parametrize("capture", LOGINS, ids=lambda path: path.name)
@given(st.data())
@settings(max_examples=LOSSES // 4, derandomize=True)
def test_a_lost_packet_uncovers_no_secret(capture: Path, data: st.DataObject) -> None:
    for session in without_one(capture, data):
        shown = "\n".join([*text.lines(session), jsonl.dumps(session)])
        assert [secret for secret in secrets_of(capture) if secret in shown] == []


def test_recordings_with_logins_are_among_those_that_lose_packets() -> None:
    assert len(LOGINS) >= 4
