"""JA3, JA3S and JA4 of hellos: as they were published, and as tshark computes them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from smtpscope.capture.tls_fingerprints import Offer, ja3, ja3s, ja4
from smtpscope.reading import read_sessions

CAPTURES = sorted(
    path
    for path in (Path(__file__).parents[2] / "captures").glob("*.pcap*")
    if "starttls" in path.name or "smtps" in path.name or "openssl" in path.name
)

# github.com/salesforce/ja3, README: 769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,
# 23-24-25,0 is ada70206e40642a3e4461f35503241d5, and 769,4-5-10-9-100-98-3-6-19-18-99,,, is
# de350869b8c85de67a350c8d186f11e6.
JA3_FULL = Offer(
    769,
    769,
    (47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4),
    (0, 10, 11),
    (23, 24, 25),
    b"\0",
    (),
    b"",
)
JA3_BARE = Offer(769, 769, (4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99), (), (), b"", (), b"")

# github.com/FoxIO-LLC/ja4, technical_details/JA4.md: Chrome's hello.
CHROME = Offer(
    0x0303,
    0x0304,
    (
        *(0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9),
        *(0xCCA8, 0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035),
    ),
    (
        *(0x001B, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002D, 0x000D),
        *(0x0005, 0x0023, 0x0012, 0x002B, 0xFF01, 0x000B, 0x000A, 0x0015),
    ),
    (0x001D, 0x0017, 0x0018),
    b"\0",
    (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601),
    b"h2",
)


def test_ja3_is_as_published() -> None:
    assert ja3(JA3_FULL) == "ada70206e40642a3e4461f35503241d5"
    assert ja3(JA3_BARE) == "de350869b8c85de67a350c8d186f11e6"


def test_ja4_is_as_published() -> None:
    assert ja4(CHROME) == "t13d1516h2_8daaf6152771_e5627efa2ab1"


def test_grease_changes_no_fingerprint() -> None:
    # RFC 8701 §2
    greased = CHROME._replace(
        suites=(0x0A0A, *CHROME.suites),
        extensions=(0x1A1A, *CHROME.extensions, 0xFAFA),
        groups=(0x2A2A, *CHROME.groups),
        signatures=(0xEAEA, *CHROME.signatures),
    )
    assert (ja3(greased), ja4(greased)) == (ja3(CHROME), ja4(CHROME))
    assert ja3s(771, 0x1301, (0x0A0A, 43)) == ja3s(771, 0x1301, (43,))


def test_order_changes_ja3_and_not_ja4() -> None:
    turned = CHROME._replace(suites=CHROME.suites[::-1], extensions=CHROME.extensions[::-1])
    assert ja4(turned) == ja4(CHROME)
    assert ja3(turned) != ja3(CHROME)


@pytest.mark.parametrize(
    ("protocol", "ends"),
    [
        (b"", "00"),
        (b"h", "hh"),
        (b"http/1.1", "h1"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"\x30\xab", "3b"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
    ],
)
def test_ja4_names_the_ends_of_the_protocol(protocol: bytes, ends: str) -> None:
    assert ja4(CHROME._replace(protocol=protocol))[8:10] == ends


def test_ja4_of_what_lists_nothing_is_all_zeros() -> None:
    bare = ja4(Offer(0x0301, 0x0301, (), (0, 16), (), b"", (), b""))
    assert bare == "t10d000200_000000000000_000000000000"
    assert ja4(JA3_BARE)[:10] == "t10i110000"
    many = ja4(CHROME._replace(suites=tuple(range(300))))
    assert many[4:6] == "99"


def test_ja3_and_ja3s_are_those_of_tshark() -> None:
    if shutil.which("tshark") is None:
        if os.environ.get("SMTPSCOPE_CI"):
            pytest.fail("tshark is not installed, and SMTPSCOPE_CI demands it")
        pytest.skip("tshark is not installed")
    compared = 0
    for path in CAPTURES:
        ours = {
            (session.client.port, name): value
            for session in read_sessions(path)
            if session.tls is not None
            for name, value in (("ja3", session.tls.ja3), ("ja3s", session.tls.ja3s))
            if value is not None
        }
        theirs: dict[tuple[int, str], str] = {}
        for name, port in (("ja3", "srcport"), ("ja3s", "dstport")):
            for line in _told(path, f"tcp.{port}", f"tls.handshake.{name}"):
                client, value = line.split("\t")
                # A renegotiation has another hello, which is encrypted.
                theirs.setdefault((int(client), name), value)
        assert ours == theirs, path.name
        compared += len(ours)
    assert compared >= 10


def _told(path: Path, *fields: str) -> list[str]:
    command = ["tshark", "-n", "-r", path, "-Y", fields[-1], "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    for port in (25, 587):
        command += ["-d", f"tcp.port=={port},smtp"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60, text=True)
    return done.stdout.splitlines()
