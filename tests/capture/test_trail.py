"""A session read again from its own packets is the session that the whole capture shows."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.parts import Part, Parts
from smtpscope.capture.trail import batches, unpack
from smtpscope.errors import SmtpscopeError
from smtpscope.export import jsonl
from smtpscope.findings import join
from smtpscope.findings.across import Joined
from smtpscope.reading import ShareDecoder, read_sessions
from smtpscope.session import Session

CAPTURES = sorted((Path(__file__).parents[2] / "captures").glob("*.pcap*"))


def _again(path: Path, session: Session) -> Session:
    key_log = KeyLog()
    key_log.add(session.secrets)
    decoder = ShareDecoder(session.capture, frozenset({session.server.port}), key_log=key_log)
    with Parts([Part(0, str(path))]) as parts:
        reports = [decoder.feed(batch) for batch in batches(parts, unpack(session.packets))]
    ((_, _, again),) = [
        ended for report in [*reports, decoder.finish()] for ended in report.finished
    ]
    join(again, session.number, Joined(session.timing.server, list(session.beside)))
    return again


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_each_session_of_a_capture_is_read_again_from_its_packets(path: Path) -> None:
    if path.suffix in (".gz", ".zst"):
        pytest.skip("a compressed capture has no places to read at")
    sessions = list(read_sessions(path, trails=True))
    for session in sessions:
        assert jsonl.dumps(_again(path, session)) == jsonl.dumps(session)


def test_without_being_asked_sessions_do_not_say_where_their_packets_lie() -> None:
    assert not any(session.packets for session in read_sessions(CAPTURES[0]))


def test_a_shorter_capture_says_to_open_it_again(tmp_path: Path) -> None:
    session = next(read_sessions(CAPTURES[0], trails=True))
    short = tmp_path / "short.pcap"
    short.write_bytes(CAPTURES[0].read_bytes()[:200])
    with pytest.raises(SmtpscopeError, match="open it again"):
        _again(short, session)


def test_damaged_columns_raise_value_errors_alone() -> None:
    packed = next(read_sessions(CAPTURES[0], trails=True)).packets
    chance = random.Random(3)
    for _ in range(300):
        damaged = bytearray(packed)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        del damaged[chance.randrange(1, len(damaged) + 1) :]
        try:
            unpack(bytes(damaged))
        except ValueError:
            continue
    assert np.array_equal(unpack(b""), np.zeros((6, 0), np.int64))
