"""Makes captures of many flows at once, as large as is wanted: large messages, SMTP among much
else, segments out of order or doubled.

Run by `decoding.py` as a program of its own, `flows.py KIND COUNT FILE`, so that what it holds does
not count. A capture is the records of a few templates, put together by the time at which they come.
"""

from __future__ import annotations

import base64
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import traffic
from numpy.typing import NDArray

MSS = 1448
"""Octets of a segment, as on Ethernet."""
LARGE = 5_000_000
"""Octets of a large message."""
SMTP_SHARE = 0.01
DISORDER = 0.1
_STEP = 10_000
"""Nanoseconds from one packet of a flow to its next."""
_SLAB = 1 << 16
_CLIENT_PORTS = 50_000


class Template(NamedTuple):
    """One flow: its records, each with whether the client sent it, and whether it can be late:
    its sender's next octets come right behind it, before they can be acknowledged."""

    records: list[bytes]
    from_client: list[bool]
    may_be_late: list[bool]


def template(dialogue: Sequence[tuple[bool, bytes]], port: int) -> Template:
    """A connection in which this is said, with an acknowledgment for every second full segment."""
    seq = {True: 1000, False: 2000}
    found = Template([], [], [])

    def add(from_client: bool, flags: int, payload: bytes = b"", late: bool = False) -> None:
        found.may_be_late.append(late)
        found.records.append(traffic.record_of(from_client, seq, flags, payload, port))
        found.from_client.append(from_client)

    add(True, 0x02)
    add(False, 0x12)
    add(True, 0x10)
    for from_client, said in dialogue:
        for number, start in enumerate(range(0, len(said), MSS)):
            late = not number % 2 and start + MSS < len(said)
            add(from_client, 0x18, said[start : start + MSS], late)
            if number % 2:
                add(not from_client, 0x10)
    for from_client in (True, False):
        add(from_client, 0x11)
        add(not from_client, 0x10)
    return found


def message(octets: int) -> bytes:
    """A letter with one attachment of about so many octets."""
    rng = random.Random(octets)
    attached = base64.encodebytes(rng.randbytes(octets * 3 // 4)).replace(b"\n", b"\r\n")
    return (
        b"From: <sender@example.com>\r\nTo: <reader@example.net>\r\nSubject: a letter\r\n"
        b"Message-Id: <1@client.example.com>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello,\r\n--b\r\n"
        b"Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + attached
        + b"--b--\r\n.\r\n"
    )


def smtp(octets: int) -> Template:
    """A session with one message of about so many octets."""
    dialogue = [
        (False, b"220 mail.example.net ESMTP\r\n"),
        (True, b"EHLO client.example.com\r\n"),
        (False, b"250-mail.example.net\r\n250-PIPELINING\r\n250 8BITMIME\r\n"),
        (True, b"MAIL FROM:<sender@example.com>\r\n"),
        (False, b"250 2.1.0 Ok\r\n"),
        (True, b"RCPT TO:<reader@example.net>\r\n"),
        (False, b"250 2.1.5 Ok\r\n"),
        (True, b"DATA\r\n"),
        (False, b"354 End data with <CR><LF>.<CR><LF>\r\n"),
        (True, message(octets)),
        (False, b"250 2.0.0 Ok: queued as 1\r\n"),
        (True, b"QUIT\r\n"),
        (False, b"221 2.0.0 Bye\r\n"),
    ]
    return template(dialogue, traffic.PORT)


def others() -> list[Template]:
    """What else goes over a network: a page, TLS, a shell, an answer that takes long."""
    rng = random.Random(80)
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + b"<p>text</p>\r\n" * 600
    get = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
    hidden = [b"\x17\x03\x03\x04\0" + rng.randbytes(1024) for _ in range(8)]
    typed = [(bool(n % 2), bytes([97 + n % 26])) for n in range(30)]
    return [
        template([(True, get), (False, page)] * 2, 80),
        template([(True, hidden[0]), (False, b"".join(hidden)), (True, hidden[1])] * 2, 443),
        template([(False, b"login: "), *typed], 23),
        template([(True, rng.randbytes(90)), (False, rng.randbytes(200))], 5432),
    ]


class _Rows(NamedTuple):
    """The packets of a capture: which flow's, of which template, which of its records, and when."""

    flow: NDArray[np.int64]
    kind: NDArray[np.int64]
    record: NDArray[np.int64]
    time: NDArray[np.int64]


def write(
    file: Path, kinds: list[Template], chosen: list[int], apart: int, disorder: float
) -> None:
    """Flows of `kinds` as `chosen`, a new one every `apart` nanoseconds.

    `disorder` of the packets come twice, or behind their flow's next one.
    """
    rng = np.random.default_rng(25)
    sizes = np.array([len(kind.records) for kind in kinds])
    kind = np.array(chosen)
    count = sizes[kind]
    flow = np.repeat(np.arange(len(kind)), count)
    record = np.arange(len(flow)) - np.repeat(np.cumsum(count) - count, count)
    time = flow * apart + record * _STEP + flow % 997
    if disorder:
        may_be_late = np.concatenate([np.array(each.may_be_late) for each in kinds])
        first = np.cumsum(sizes) - sizes
        late = may_be_late[first[kind[flow]] + record]
        late &= rng.random(len(flow)) < disorder / 2 / late.mean()
        again = np.flatnonzero(~late & (rng.random(len(flow)) < disorder / 2))
        time[late] += _STEP + _STEP // 2
        flow = np.append(flow, flow[again])
        record = np.append(record, record[again])
        time = np.append(time, time[again] + 2 * _STEP + _STEP // 3)
    order = np.argsort(time, kind="stable")
    rows = _Rows(flow[order], kind[flow[order]], record[order], time[order])
    with file.open("wb") as out:
        out.write(bytes.fromhex("d4c3b2a1 02000400 00000000 00000000 00000400 01000000"))
        for start in range(0, len(order), _SLAB):
            _write_slab(_Rows(*(column[start : start + _SLAB] for column in rows)), kinds, out)


def _write_slab(rows: _Rows, kinds: list[Template], out: BinaryIO) -> None:
    found = list(zip(rows.kind.tolist(), rows.record.tolist(), strict=True))
    records = [kinds[kind].records[record] for kind, record in found]
    from_client = np.array([kinds[kind].from_client[record] for kind, record in found])
    sizes = np.array([len(record) for record in records])
    at = np.cumsum(sizes) - sizes
    octets = np.frombuffer(bytearray(b"".join(records)), np.uint8)

    def put(where: NDArray[np.int64], value: NDArray[np.int64], item: str) -> None:
        width = np.dtype(item).itemsize
        octets[where[:, None] + np.arange(width)] = value.astype(item)[:, None].view(np.uint8)

    put(at, 1_700_000_000 + rows.time // 1_000_000_000, "<u4")
    put(at + 4, rows.time // 1_000 % 1_000_000, "<u4")
    ip = at + 16 + 14
    put(ip + np.where(from_client, 12, 16), (10 << 24) + 1 + rows.flow // _CLIENT_PORTS, ">u4")
    put(ip + np.where(from_client, 20, 22), 10_000 + rows.flow % _CLIENT_PORTS, ">u2")
    out.write(octets.tobytes())


def make(kind: str, count: int, file: Path) -> None:
    """`small`: so many sessions of 2 kB; `large`: so many of 5 MB; `mixed`: so many packets, most
    of them no SMTP; `disordered`: sessions of 20 kB with packets late or doubled."""
    if kind == "large":
        # Four of them at a time.
        large = smtp(LARGE)
        write(file, [large], [0] * count, len(large.records) * _STEP // 4, 0.0)
    elif kind == "mixed":
        kinds = [smtp(2_000), *others()]
        mean = sum(len(each.records) for each in kinds[1:]) / len(kinds[1:])
        flows = round(count * (1 - SMTP_SHARE) / mean)
        ours = round(count * SMTP_SHARE / len(kinds[0].records))
        chosen = [0] * ours + [1 + n % len(kinds[1:]) for n in range(flows)]
        random.Random(25).shuffle(chosen)
        write(file, kinds, chosen, _STEP // 2, 0.0)
    else:
        octets, disorder = {"small": (2_000, 0.0), "disordered": (20_000, DISORDER)}[kind]
        write(file, [smtp(octets)], [0] * count, _STEP, disorder)


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
