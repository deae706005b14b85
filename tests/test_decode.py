"""From packets to sessions: which there are, in what order, how they end, what was missing."""

from __future__ import annotations

import io

import pytest
from support.conversation import START, STEP, connection, sessions
from support.packets import Packet, pcap

from smtpscope.reading import read_sessions
from smtpscope.session import Session

HELLO = [("S", b"220 mx.test ESMTP\r\n"), ("C", b"EHLO a.test\r\n"), ("S", b"250 mx.test\r\n")]
QUIT = [("C", b"QUIT\r\n"), ("S", b"221 bye\r\n")]
HEADER = (
    b"From: a@a.test\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <1@a.test>\r\n"
    b"Subject: x\r\n\r\n"
)
MAIL = [
    ("C", b"MAIL FROM:<a@a.test>\r\n"),
    ("S", b"250 ok\r\n"),
    ("C", b"RCPT TO:<b@b.test>\r\n"),
    ("S", b"250 ok\r\n"),
    ("C", b"DATA\r\n"),
    ("S", b"354 go\r\n"),
    ("C", HEADER + (b"y" * 98 + b"\r\n") * 30 + b"\r\n.\r\n"),
    ("S", b"250 queued\r\n"),
]
RECORD = b"\x16\x03\x01\x00\x05hello\x17\x03\x03\x00\x05world"


def spoken(session: Session) -> list[str]:
    return [
        f"{exchange.command.verb if exchange.command else '-'} "
        f"{' '.join(str(reply.code) for reply in exchange.replies)}"
        for exchange in session.exchanges
    ]


def rules(session: Session) -> list[str]:
    return [finding.rule for finding in session.findings]


def test_a_connection_is_a_session() -> None:
    (session,) = sessions(connection([*HELLO, *MAIL, *QUIT]))
    assert spoken(session) == [
        "- 220", "EHLO 250", "MAIL 250", "RCPT 250", "DATA 354", ". 250", "QUIT 221",
    ]  # fmt: skip
    assert session.state == "quit"
    assert session.helo == b"a.test"
    assert session.start == START
    assert (str(session.client), str(session.server)) == ("192.0.2.1:40000", "192.0.2.2:25")
    (message,) = session.messages
    assert (message.subject, message.size) == ("x", len(HEADER) + 3_002)
    assert session.findings == []


@pytest.mark.parametrize(("end", "state"), [("fin", "closed"), ("rst", "reset"), ("", "open")])
def test_how_a_session_ended_without_quit(end: str, state: str) -> None:
    (session,) = sessions(connection(HELLO, end=end))
    assert session.state == state


ALERT = b"\x15\x03\x03\x00\x02\x02\x30"
"""Fatal: unknown_ca."""


@pytest.mark.parametrize("who", ["C", "S"])
def test_an_alert_behind_starttls_is_told_where_tls_began(who: str) -> None:
    turns = [*HELLO, ("C", b"STARTTLS\r\n"), ("S", b"220 go\r\n"), ("C", RECORD[:10])]
    (session,) = sessions(connection([*turns, (who, ALERT)]))
    (failed,) = [each for each in session.findings if each.rule == "tls-handshake-failed"]
    exchange = session.exchanges[-1]
    assert exchange.command is not None
    assert exchange.command.verb == "STARTTLS"
    assert failed.span == (exchange.command.span if who == "C" else exchange.replies[0].span)
    assert session.tls_failed


@pytest.mark.parametrize("answer", [b"220 mx.test ESMTP\r\n", b"500 what?\r\n"])
@pytest.mark.parametrize("server", [25, 465])
def test_plain_text_that_answers_tls_is_shown(answer: bytes, server: int) -> None:
    turns = [("C", RECORD[:10]), ("S", answer), ("S", b"421 bye\r\n")]
    (session,) = sessions(connection(turns, server=server))
    lines = [reply.lines for exchange in session.exchanges for reply in exchange.replies]
    assert lines == [(answer[4:-2],), (b"bye",)]
    assert "tls-on-plain-port" in rules(session)
    assert session.tls_failed
    assert session.tls is not None
    assert session.tls.octets == [10, 0]


def test_sessions_come_in_the_order_of_their_first_packets() -> None:
    long = list(connection([*HELLO, *MAIL, *QUIT], client=1))
    short = list(connection([*HELLO, *QUIT], client=2, start=START + STEP // 2))
    found = sessions(sorted([*long, *short], key=lambda packet: packet.time))
    assert [(session.number, session.client.port) for session in found] == [(1, 1), (2, 2)]


def test_smtp_is_found_by_its_content_on_any_port_and_nothing_else_is() -> None:
    packets = [
        *connection([*HELLO, *QUIT], server=4_321),
        *connection([("C", b"GET / HTTP/1.1\r\n\r\n"), ("S", b"HTTP/1.1 200 OK\r\n")], server=80),
        *connection([("S", b"220 ftp ready\r\n"), ("C", b"USER ann\r\n")], server=21),
    ]
    assert [session.server.port for session in sessions(packets)] == [4_321]
    assert [session.server.port for session in sessions(packets, ports=(80,))] == [4_321, 80]


def test_a_lost_segment_is_told_with_its_size_and_the_rest_is_read() -> None:
    (session,) = sessions(connection([*HELLO, *MAIL, *QUIT], lost=[10]))
    assert spoken(session)[-2:] == [". 250", "QUIT 221"]
    assert rules(session) == ["gap"]
    assert session.findings[0].summary.endswith("1,000 octets")
    (message,) = session.messages
    assert (message.size, message.missing) == (len(HEADER) + 2_002, 1_000)


def test_a_capture_that_begins_in_the_middle_says_so() -> None:
    packets = list(connection([*HELLO, *MAIL, *QUIT]))[8:]
    (session,) = sessions(packets)
    assert "RCPT 250" in spoken(session)
    assert rules(session)[:1] == ["midstream"]


@pytest.mark.parametrize(("side", "count"), [("C", 6), ("S", 7)])
def test_one_direction_alone_is_read_and_told_once(side: str, count: int) -> None:
    turns = [turn for turn in [*HELLO, *MAIL, *QUIT] if turn[0] == side]
    (session,) = sessions(connection(turns))
    assert len(session.exchanges) == count
    assert rules(session) == ["one-direction"]


def test_what_follows_starttls_is_counted_and_not_read() -> None:
    turns = [*HELLO, ("C", b"STARTTLS\r\n"), ("S", b"220 go\r\n"), ("C", RECORD), ("S", RECORD)]
    (session,) = sessions(connection(turns))
    assert spoken(session)[-1] == "STARTTLS 220"
    assert session.tls_mode == "starttls"
    assert session.tls is not None
    assert session.tls.octets == [len(RECORD), len(RECORD)]
    assert session.findings == []


def test_a_client_hello_in_the_segment_of_starttls_is_tls() -> None:
    turns = [*HELLO, ("C", b"STARTTLS\r\n" + RECORD), ("S", b"220 go\r\n"), ("S", RECORD)]
    (session,) = sessions(connection(turns))
    assert session.tls is not None
    assert session.tls.octets[0] == len(RECORD)
    assert session.findings == []


def test_commands_behind_starttls_are_shown_and_told() -> None:
    turns = [
        *HELLO,
        ("C", b"STARTTLS\r\nMAIL FROM:<evil@a.test>\r\n"),
        ("S", b"220 go\r\n"),
        ("C", RECORD),
        ("S", RECORD),
    ]
    (session,) = sessions(connection(turns))
    assert spoken(session)[-2:] == ["STARTTLS 220", "MAIL "]
    assert "plaintext-behind-starttls" in rules(session)
    assert session.tls_mode == "starttls"


def test_a_dialogue_that_goes_on_in_plain_text_is_read_on() -> None:
    turns = [*HELLO, ("C", b"STARTTLS\r\n"), ("S", b"220 go\r\n"), *HELLO[1:], *QUIT]
    (session,) = sessions(connection(turns))
    assert spoken(session)[-2:] == ["EHLO 250", "QUIT 221"]
    assert session.tls is None
    assert session.state == "quit"


def test_tls_from_the_first_octet_is_implicit() -> None:
    (session,) = sessions(connection([("C", RECORD), ("S", RECORD)], server=465))
    assert session.tls_mode == "implicit"
    assert session.exchanges == []
    assert session.findings == []


def test_a_greeting_that_comes_one_octet_at_a_time_is_no_tls() -> None:
    turns = [("S", bytes([octet])) for octet in b"220 mx.test\r\n"]
    (session,) = sessions(connection([*turns, *QUIT]))
    assert spoken(session) == ["- 220", "QUIT 221"]


def test_smtp_in_a_proxy_s_tunnel_is_read_behind_it() -> None:
    turns = [
        ("C", b"CONNECT mx.test:25 HTTP/1.1\r\n\r\n"),
        ("S", b"HTTP/1.1 200 OK\r\n\r\n"),
        *HELLO,
        *QUIT,
    ]
    (session,) = sessions(connection(turns, server=3_128))
    assert spoken(session) == ["- 220", "EHLO 250", "QUIT 221"]
    assert session.tunnel is not None
    assert (session.tunnel.kind, str(session.tunnel.target)) == ("http-connect", "mx.test:25")


def test_progress_is_told_in_octets_with_the_sessions_begun() -> None:
    seen = []
    octets = pcap(connection([*HELLO, *QUIT]))
    found = read_sessions(
        io.BytesIO(octets),
        on_progress=lambda *step: seen.append(step),
    )
    assert len(list(found)) == 1
    assert seen == [(len(octets), None, 1)]


def test_a_capture_without_smtp_has_no_sessions() -> None:
    assert sessions([Packet(b"\0" * 60)]) == []
    assert sessions([]) == []


def test_what_the_capture_leaves_out_is_told() -> None:
    octets = pcap([*connection([*HELLO, *QUIT]), Packet(b"\0" * 12 + b"\x08\x00\x45")])
    notes: list[str] = []
    assert len(list(read_sessions(io.BytesIO(octets + b"\0" * 7), on_note=notes.append))) == 1
    assert [note.split(":")[0] for note in notes][:1] == ["cut short"]
    assert notes[1] == "1 packets have headers that could not be read"
    notes.clear()
    list(read_sessions(io.BytesIO(pcap(connection(HELLO))), on_note=notes.append))
    assert notes == []
