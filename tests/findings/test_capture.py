"""What only packets show: holes, cuts, contradictions, and clocks that can't be trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.conversation import connection, sessions
from support.packets import ACK, Packet, ethernet, ipv4, tcp

from smtpscope.capture.parts import Part
from smtpscope.capture.recording import RecordingWriter, Wire
from smtpscope.details import Details, Place
from smtpscope.export import jsonl
from smtpscope.parallel import read_rendered
from smtpscope.reading import read_sessions
from smtpscope.session import Finding, Session

HELLO = [("S", b"220 mx.example.org\r\n"), ("C", b"EHLO a.example.net\r\n"), ("S", b"250 mx\r\n")]
QUIT = [("C", b"QUIT\r\n"), ("S", b"221 Bye\r\n")]
GREETING = 3
"""The packet of the greeting, behind the handshake."""
SECOND = 1_000_000_000


def found(packets: list[Packet], rule: str) -> list[Finding]:
    (session,) = sessions(packets)
    return [each for each in session.findings if each.rule == rule]


def rules(session: Session) -> list[str]:
    return [each.rule for each in session.findings if each.group == "capture"]


def dialogue(**options: bool) -> list[Packet]:
    return list(connection([*HELLO, *QUIT], **options))


def server_says(payload: bytes, seq: int, time: int) -> Packet:
    segment = tcp(payload, sport=25, dport=40_000, seq=seq, ack=1_001, flags=ACK)
    return Packet(ethernet(ipv4(segment, source="192.0.2.2", target="192.0.2.1")), time)


def test_a_whole_capture_has_nothing_to_tell() -> None:
    (session,) = sessions(dialogue())
    assert rules(session) == []


def test_a_lost_segment_is_a_gap() -> None:
    packets = list(connection([*HELLO, *QUIT], lost=[2]))
    (told,) = found(packets, "gap")
    assert told.summary.endswith(": 8 octets")


def test_octets_that_the_snap_length_cut_are_told() -> None:
    packets = dialogue()
    whole = packets[GREETING]
    packets[GREETING] = Packet(whole.frame[:-5], whole.time, len(whole.frame))
    (told,) = found(packets, "snaplen-cut")
    assert told.summary.endswith(": 5 octets")


def test_segments_that_were_sent_again_are_counted_once_a_side() -> None:
    packets = dialogue()
    packets[GREETING + 1 : GREETING + 1] = [packets[GREETING], packets[GREETING]]
    (told,) = found(packets, "retransmissions")
    assert told.summary.endswith(": 2 segments, 40 octets")
    assert told.span == (1, 0, 20)


def test_a_retransmission_with_other_octets_disagrees() -> None:
    packets = dialogue()
    other = server_says(b"220 mx.example.com\r\n", 9_000_001, packets[GREETING].time)
    packets.insert(GREETING + 1, other)
    (told,) = found(packets, "overlap-disagrees")
    assert told.span == (1, 15, 18)


def test_what_waits_for_ever_is_dropped_at_the_bound() -> None:
    packets = dialogue()[: GREETING + 1]
    for number in range(1_100):
        seq = 9_000_100 + number * 1_000
        packets.append(server_says(1_000 * b"x", seq, packets[-1].time))
    assert len(found(packets, "reassembly-bound")) == 1


def test_one_side_alone_is_told() -> None:
    assert found(list(connection([*HELLO[1:2], *QUIT[:1]])), "one-direction")


def test_a_connection_without_its_beginning_is_told() -> None:
    assert found(dialogue(handshake=False), "midstream")


@pytest.mark.parametrize(("step", "count"), [(2 * SECOND, 1), (50_000_000, 0)])
def test_a_clock_that_goes_back_is_told_once(step: int, count: int) -> None:
    packets = dialogue()
    late = [Packet(each.frame, each.time - step) for each in packets[GREETING + 1 :]]
    assert len(found([*packets[: GREETING + 1], *late], "clock-backwards")) == count


def test_a_segment_that_waited_for_a_lost_one_is_no_clock_that_goes_back() -> None:
    packets = dialogue()
    lost, early = packets[GREETING], server_says(b"", 0, 0)
    early = server_says(b"220 more\r\n", 9_000_021, lost.time)
    resent = Packet(lost.frame, lost.time + 2 * SECOND)
    assert found([*packets[:GREETING], early, resent], "clock-backwards") == []


def test_a_capture_without_times_is_told() -> None:
    packets = [Packet(each.frame, 0) for each in dialogue()]
    assert len(found(packets, "no-time")) == 1
    assert found(dialogue(), "no-time") == []


def test_without_times_no_date_is_far() -> None:
    turns = [("C", b"MAIL FROM:<a@a.test>\r\n"), ("S", b"250 ok\r\n"), ("C", b"DATA\r\n")]
    turns += [("S", b"354 go\r\n"), ("C", b"Date: Tue, 14 Nov 2000 22:13:20 +0000\r\n\r\n.\r\n")]
    packets = list(connection([*HELLO, *turns, ("S", b"250 ok\r\n"), *QUIT]))
    assert len(found(packets, "date-far")) == 1
    assert found([Packet(each.frame, 0) for each in packets], "date-far") == []


def test_a_session_too_long_to_be_kept_says_how_much_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smtpscope.session.MAX_EXCHANGES", 2)
    (told,) = found(dialogue(), "session-bound")
    assert told.summary.endswith(": 1 exchanges left out")


def test_a_comment_on_a_packet_is_shown_where_its_octets_are(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    with RecordingWriter(path, [Wire("lo")]) as writer:
        for number, packet in enumerate(dialogue()):
            comment = "fault: \x1b[31m close" if number == GREETING + 1 else ""
            writer.packet(0, packet.time, packet.frame, comment=comment)
    for jobs in (1, 2):
        rendered = read_rendered(path, jsonl.dumps, jobs, trails=True)
        (session,) = [json.loads(each.what) for each in rendered]
        (told,) = [each for each in session["findings"] if each["rule"] == "packet-comment"]
        assert told["summary"].endswith("fault: \\x1b[31m close")
        assert (told["direction"], told["start"]) == ("client", 0)
    (read,) = read_sessions(path, trails=True)
    beside = json.dumps([None, *read.beside])
    place = Place([Part(0, str(path))], "a.pcapng", 1, 25, read.packets, beside)
    rules = [each.rule for each in Details(place).session().findings]
    assert rules == [each.rule for each in read.findings]
