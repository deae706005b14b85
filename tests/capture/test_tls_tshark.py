"""tshark as a witness: with the same key log it opens the same octets of the same packets."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from support.conversation import connection
from support.packets import pcap
from support.tls_ends import CASES, Ends

from smtpscope.capture.parts import Part
from smtpscope.details import Details, Place
from smtpscope.reading import read_sessions
from smtpscope.stream import Direction, Span

OLD = [
    (ssl.TLSVersion.TLSv1, "ECDHE-ECDSA-AES128-SHA"),
    (ssl.TLSVersion.TLSv1_1, "ECDHE-ECDSA-AES256-SHA"),
]

DIALOGUE = (
    (Direction.SERVER, b"220 mx.example ESMTP\r\n"),
    (Direction.CLIENT, b"EHLO client.example\r\n"),
    (Direction.SERVER, b"250 mx.example\r\n"),
    (Direction.CLIENT, b"MAIL FROM:<a@example.org>\r\n"),
    (Direction.SERVER, b"250 ok\r\n"),
    (Direction.CLIENT, b"RCPT TO:<b@example.org>\r\n"),
    (Direction.SERVER, b"250 ok\r\n"),
    (Direction.CLIENT, b"DATA\r\n"),
    (Direction.SERVER, b"354 go\r\n"),
    (Direction.CLIENT, b"Subject: long\r\n\r\n" + 2_000 * b"a line of text\r\n" + b".\r\n"),
    (Direction.SERVER, b"250 queued\r\n"),
    (Direction.CLIENT, b"QUIT\r\n"),
    (Direction.SERVER, b"221 bye\r\n"),
)


@pytest.fixture(autouse=True)
def _tshark() -> None:
    if shutil.which("tshark") is None:
        if os.environ.get("SMTPSCOPE_CI"):
            pytest.fail("tshark is not installed, and SMTPSCOPE_CI demands it")
        pytest.skip("tshark is not installed")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("again", [False, True], ids=["new", "resumed"])
@pytest.mark.parametrize(("version", "suite"), [*OLD, *CASES], ids=str)
def test_the_same_octets_are_opened(
    version: ssl.TLSVersion, suite: str, again: bool, tmp_path: Path
) -> None:
    ends = Ends(tmp_path, version, suite)
    if again:
        ends.say(Direction.SERVER, b"220 mx.example ESMTP\r\n")
        ends.meet(again=True)
        assert ends.resumed
    for side, octets in DIALOGUE:
        ends.say(side, octets)
    turns = [("CS"[side], octets) for side, octets in ends.turns]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(connection(turns, server=465)))
    theirs = _followed(path, ends.log)
    assert theirs == ends.plain
    (session,) = read_sessions(path, key_logs=[str(ends.log)], trails=True)
    place = Place(
        [Part(0, str(path))], "a.pcap", 1, session.server.port, session.packets, "", session.secrets
    )
    details = Details(place)
    for side in Direction:
        pieces = details.octets(Span(side, 0, 1 << 20))
        assert b"".join(piece.octets for piece in pieces) == theirs[side]
    assert session.state == "quit"


def _followed(path: Path, log: Path) -> list[bytes]:
    """What tshark opens of the only connection, by direction."""
    command = ["tshark", "-n", "-q", "-r", path, "-o", f"tls.keylog_file:{log}"]
    command += ["-z", "follow,tls,raw,0"]
    shown = subprocess.run(command, capture_output=True, check=True, timeout=60, text=True).stdout
    plain = [b"", b""]
    for tab, digits in re.findall(r"^(\t?)([0-9a-f]+)$", shown, re.MULTILINE):
        plain[bool(tab)] += bytes.fromhex(digits)
    # Node 1's lines are indented.
    return plain if "Node 0: 192.0.2.1:" in shown else plain[::-1]
