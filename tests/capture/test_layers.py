"""Every layer of one packet, for the eyes; and packets that are made to break dissectors."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.capture import layers
from smtpscope.capture.dissect import LINKTYPES
from smtpscope.capture.layers import (
    MAX_FIELDS,
    MAX_LAYERS,
    MAX_NAME,
    MAX_OCTETS,
    MAX_VALUE,
    Field,
    dissect_packet,
)

MACS = bytes.fromhex("020000000002 020000000001")
ADDRESSES = bytes([10, 0, 0, 1, 10, 0, 0, 2])
PAYLOAD = b"RCPT TO:<a@b.test>\r\n"
TCP = bytes.fromhex("ca6c 0019 00000001 00000002 5018 ffff 0000 0000") + PAYLOAD
USUAL = sorted({0, 1, 12, 14, 101, 108, 113, 228, 229, 276} | LINKTYPES)


def ipv4(protocol: int, payload: bytes) -> bytes:
    head = bytes.fromhex("4500") + (20 + len(payload)).to_bytes(2, "big")
    return head + bytes.fromhex("00010000 40") + bytes([protocol, 0, 0]) + ADDRESSES + payload


def ipv6(following: int, payload: bytes) -> bytes:
    head = bytes.fromhex("60000000") + len(payload).to_bytes(2, "big")
    return head + bytes([following, 64]) + bytes(15) + b"\x01" + bytes(15) + b"\x02" + payload


IP = ipv4(6, TCP)
IPV6 = ipv6(6, TCP)
NESTED = b""
for _ in range(500):
    NESTED = ipv4(4, NESTED)


def heads(found: list[Field]) -> list[str]:
    return [field.name for field in found if field.value is None]


def values(found: list[Field], layer: str) -> dict[str, str]:
    start = found.index(Field(0, layer, None)) + 1
    rows = {}
    for _, name, value in found[start:]:
        if value is None:
            break
        rows[name] = value
    return rows


def bounded(found: list[Field]) -> bool:
    return len(found) <= MAX_FIELDS + 3 and all(
        name.isprintable()
        and len(name) <= MAX_NAME + 20
        and (value or "").isprintable()
        and len(value or "") <= MAX_VALUE + 20
        for _, name, value in found
    )


@pytest.mark.parametrize(
    ("linktype", "frame", "expected"),
    [
        (1, MACS + b"\x08\x00" + IP, ["Ethernet", "IP", "TCP", "Raw"]),
        (1, MACS + b"\x86\xdd" + IPV6, ["Ethernet", "IPv6", "TCP", "Raw"]),
        (
            1,
            MACS + bytes.fromhex("8100 0007 0800") + IP,
            ["Ethernet", "802.1Q", "IP", "TCP", "Raw"],
        ),
        (
            1,
            MACS + bytes.fromhex("8847 00001140") + IP,
            ["Ethernet", "MPLS", "IP", "TCP", "Raw"],
        ),
        (
            1,
            MACS + bytes.fromhex("8864 1100 0001 006a 0021") + IP,
            ["Ethernet", "PPP over Ethernet", "PPP Link Layer", "IP", "TCP", "Raw"],
        ),
        (101, ipv4(47, bytes.fromhex("0000 0800") + IP), ["IP", "GRE", "IP", "TCP", "Raw"]),
        (101, ipv4(41, IPV6), ["IP", "IPv6", "TCP", "Raw"]),
        (101, ipv4(17, bytes.fromhex("03e8 03e9 000a 0000 6162")), ["IP", "UDP", "Raw"]),
        (0, bytes.fromhex("02000000") + IP, ["Loopback", "IP", "TCP", "Raw"]),
        (108, bytes.fromhex("00000002") + IP, ["OpenBSD Loopback", "IP", "TCP", "Raw"]),
        (113, bytes(14) + b"\x08\x00" + IP, ["cooked linux", "IP", "TCP", "Raw"]),
        (276, b"\x08\x00" + bytes(18) + IP, ["cooked linux v2", "IP", "TCP", "Raw"]),
        *((number, IP, ["IP", "TCP", "Raw"]) for number in (12, 14, 101, 228, 229)),
        *((number, IPV6, ["IPv6", "TCP", "Raw"]) for number in (12, 14, 101, 228, 229)),
        (
            105,
            bytes.fromhex("0801") + bytes(22) + bytes.fromhex("aaaa03000000 0800") + IP,
            ["802.11", "LLC", "SNAP", "IP", "TCP", "Raw"],
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_layers_are_told_for_each_link(linktype: int, frame: bytes, expected: list[str]) -> None:
    assert heads(dissect_packet(linktype, frame)) == expected


def test_fields_have_their_names_and_what_they_mean() -> None:
    found = dissect_packet(1, MACS + b"\x08\x00" + IP)
    assert values(found, "Ethernet")["src"] == "02:00:00:00:00:01"
    assert values(found, "IP")["dst"] == "10.0.0.2"
    assert values(found, "TCP")["flags"] == "PA"
    assert values(found, "TCP")["seq"] == "1"
    assert values(found, "Raw") == {"load": "RCPT TO:<a@b.test>\\r\\n"}


def test_an_unknown_link_type_is_told_and_its_octets_shown() -> None:
    assert dissect_packet(7_777, b"\x1b[2J") == [
        Field(0, "Unknown link type 7777", None),
        Field(0, "Raw", None),
        Field(1, "load", "\\x1b[2J"),
    ]


@pytest.mark.parametrize("linktype", USUAL)
def test_a_frame_cut_short_anywhere_gives_what_is_there(linktype: int) -> None:
    frame = MACS + b"\x08\x00" + IP
    for end in range(len(frame)):
        assert bounded(dissect_packet(linktype, frame[:end]))


def test_what_scapy_raises_is_told_with_the_octets() -> None:
    # A RadioTap header that says that it is longer than its packet, and has every field.
    found = dissect_packet(127, bytes.fromhex("0000ffff") + b"\xff" * 64_000)
    assert heads(found) == ["Not dissected"]
    assert [field.name for field in found[1:]] == ["reason", "octets"]
    assert bounded(found)


def test_a_field_that_cannot_be_shown_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    dissect_packet(101, IP)
    from scapy.layers.inet import TCPOptionsField

    def fail(*_: object) -> str:
        raise ZeroDivisionError("\x1b]52;c;x\x07")

    monkeypatch.setattr(TCPOptionsField, "i2repr", fail)
    found = values(dissect_packet(101, IP), "TCP")
    assert found["options"] == "not shown (ZeroDivisionError: \\x1b]52;c;x\\x07)"
    assert found["dport"] == "smtp"


@pytest.mark.parametrize(
    "frame",
    [
        MACS + b"\x81\x00" + bytes.fromhex("0001 8100") * 16_000,
        MACS + b"\x88\x47" + bytes.fromhex("00000001") * 16_000,
        MACS + b"\x08\x00" + NESTED,
        MACS + b"\x86\xdd" + ipv6(44, bytes.fromhex("2c00000000000000") * 7_000),
    ],
    ids=["VLAN", "MPLS", "IP", "fragment"],
)
def test_layers_without_end_are_cut_and_that_is_told(frame: bytes) -> None:
    found = heads(dissect_packet(1, frame))
    assert len(found) == MAX_LAYERS + 1
    assert found[-1] == "More layers than are shown"


def test_fields_without_end_are_cut_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MAX_FIELDS", 5)
    found = dissect_packet(101, IP)
    assert len(found) == 6
    assert found[-1].name == "More fields than are shown"


def test_of_an_endless_frame_the_beginning_is_dissected() -> None:
    found = dissect_packet(101, IP + bytes(MAX_OCTETS))
    assert heads(found)[:3] == [f"The first 65,536 of {len(IP) + MAX_OCTETS:,} octets", "IP", "TCP"]


def test_hostile_octets_come_out_visible() -> None:
    hostile = "[/red][@click=app.quit]x\x1b]0;t\x07\x9b2J\u202e\x00\ud800"
    frame = ipv4(6, TCP + hostile.encode("utf-8", "surrogatepass"))
    load = values(dissect_packet(101, frame), "Raw")["load"]
    assert load.isprintable()
    assert "[@click=app.quit]x\\x1b]0;t\\x07" in load


@given(st.sampled_from(USUAL), st.binary(max_size=300))
def test_no_octets_raise_whatever_the_link(linktype: int, frame: bytes) -> None:
    found = dissect_packet(linktype, frame)
    assert bounded(found)
    assert found or not frame


@given(
    st.sampled_from([4, 6, 17, 41, 47, 51, 132]),
    st.binary(max_size=200),
    st.lists(st.tuples(st.integers(0, 219), st.integers(0, 255)), max_size=6),
)
def test_no_octets_behind_a_good_header_raise(
    protocol: int, payload: bytes, changes: list[tuple[int, int]]
) -> None:
    for frame in (ipv4(protocol, payload), ipv6(protocol, payload)):
        changed = bytearray(frame)
        for at, octet in changes:
            if at < len(changed):
                changed[at] = octet
        assert bounded(dissect_packet(101, bytes(changed)))


def test_nothing_is_written_over_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    dissect_packet(1, MACS + b"\x08\x00" + IP[:30])
    dissect_packet(127, b"\xff" * 100)
    assert capfd.readouterr() == ("", "")


def test_scapy_is_imported_with_the_first_packet_and_not_before() -> None:
    code = (
        "import sys; from smtpscope.capture.layers import dissect_packet;"
        "before = 'scapy' in sys.modules; dissect_packet(1, b'');"
        "print(before, 'scapy' in sys.modules, 'scapy.all' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False True False\n"
    assert ran.stderr == ""
