"""A tunnel's handshake is taken off, whatever its chunking, and everything else stays."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.capture.tunnel import MAX_CHALLENGES, MAX_HELD, TunnelStripper, cut
from smtpscope.stream import (
    Closed,
    Data,
    Defect,
    Direction,
    Endpoint,
    Gap,
    Mark,
    Noted,
    Opened,
    Span,
)

C, S = Direction.CLIENT, Direction.SERVER
OPENED = Opened(0, Endpoint("192.0.2.1", 40000), Endpoint("192.0.2.2", 1080), True, 1)
CLOSED = Closed("fin", C, 99, 99)
GREETING = b"220 mx.test ESMTP\r\n"
EHLO = b"EHLO client.test\r\n"

CONNECT = b"CONNECT mx.test:25 HTTP/1.1\r\nHost: mx.test:25\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"
METHODS = b"\x05\x01\x00"
PASSWORD_METHOD = b"\x05\x02\x00\x02"
PASSWORD = b"\x01\x04user\x06secret"
REQUEST = b"\x05\x01\x00\x03\x07mx.test\x00\x19"
REPLY = b"\x05\x00\x00\x01\xc0\x00\x02\x09\x04\x38"
V2 = b"\r\n\r\n\x00\r\nQUIT\n"

CHALLENGE = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"
ANSWER = b"CONNECT mx.test:25 HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
PAGE = b"<html>HTTP/1.1 says who you are\r\n\r\n"


def events(*turns):
    """One Data for each (direction, octets) turn, each in a packet of its own; others as given."""
    offsets = [0, 0]
    made = []
    for packet, turn in enumerate(turns, 2):
        if not isinstance(turn, tuple) or hasattr(turn, "_fields"):
            made.append(turn)
            continue
        direction, octets = turn
        offset = offsets[direction]
        made.append(Data(direction, offset, octets, (Mark(offset, packet * 10, packet),)))
        offsets[direction] += len(octets)
    return made


def strip(stream):
    stripper = TunnelStripper()
    return [passed for event in stream for passed in stripper.feed(event)], stripper


def octet_by_octet(stream):
    """The same octets, each in an event of its own: its direction, offset, mark and value."""
    return [
        (event.direction, event.offset + i, event.mark_at(event.offset + i)[1:], event.data[i])
        if isinstance(event, Data)
        else event
        for event in stream
        for i in range(len(event.data) if isinstance(event, Data) else 1)
    ]


def sent(stream, direction):
    return b"".join(e.data for e in stream if isinstance(e, Data) and e.direction == direction)


TUNNELS = {
    "http-connect": (
        [(C, CONNECT), (S, ESTABLISHED)],
        Endpoint("mx.test", 25),
    ),
    "socks5": (
        [(C, METHODS), (S, b"\x05\x00"), (C, REQUEST), (S, REPLY)],
        Endpoint("mx.test", 25),
    ),
    "socks4": (
        [(C, b"\x04\x01\x00\x19\xc0\x00\x02\x05me\x00"), (S, b"\x00\x5a" + bytes(6))],
        Endpoint("192.0.2.5", 25),
    ),
}


@pytest.mark.parametrize("kind", TUNNELS)
def test_a_tunnels_handshake_is_taken_off_both_directions(kind):
    handshake, target = TUNNELS[kind]
    passed, stripper = strip(events(OPENED, *handshake, (S, GREETING), (C, EHLO), CLOSED))
    assert stripper.done
    assert stripper.tunnel.kind == kind
    assert stripper.tunnel.target == target
    assert stripper.tunnel.accepted is True
    lengths = [sum(len(octets) for side, octets in handshake if side == way) for way in (C, S)]
    assert stripper.tunnel.spans == (Span(C, 0, lengths[C]), Span(S, 0, lengths[S]))
    greeting, ehlo = passed[1:-1]
    assert (greeting.data, greeting.offset) == (GREETING, lengths[S])
    assert (ehlo.data, ehlo.offset) == (EHLO, lengths[C])
    assert (passed[0], passed[-1]) == (OPENED, CLOSED)


SCRIPTS = [
    *([*handshake, (S, GREETING), (C, EHLO)] for handshake, _ in TUNNELS.values()),
    [(C, CONNECT), (S, b"HTTP/1.0 403 Forbidden\r\n\r\n<html>")],
    [(C, CONNECT), (S, ESTABLISHED + GREETING), (C, EHLO)],
    [(C, CONNECT + EHLO)],
    [(C, b"CONNECT me to somebody\r\n"), (S, b"500 what?\r\n")],
    [(C, CONNECT), (S, b"500 what?\r\n")],
    [(C, CONNECT), (S, CHALLENGE + PAGE), (C, ANSWER), (S, ESTABLISHED + GREETING), (C, EHLO)],
    [(C, CONNECT), (S, CHALLENGE), (C, ANSWER), (S, CHALLENGE + PAGE), (C, ANSWER + EHLO)],
    [(C, CONNECT), (S, CHALLENGE + PAGE * 400), (C, ANSWER), (S, ESTABLISHED), (C, EHLO)],
    [(C, CONNECT), (S, CHALLENGE + PAGE), (C, EHLO), (S, GREETING)],
    [(C, CONNECT + ANSWER), (S, CHALLENGE + PAGE), (C, EHLO)],
    [(C, ANSWER * 20), (S, CHALLENGE * 20), (C, EHLO)],
    [(C, METHODS), (S, b"\x05\xff")],
    [
        (C, PASSWORD_METHOD),
        (S, b"\x05\x02"),
        (C, PASSWORD),
        (S, b"\x01\x00"),
        (C, REQUEST),
        (S, REPLY + GREETING),
        (C, EHLO),
    ],
    [(C, PASSWORD_METHOD + PASSWORD + REQUEST)],
    [(C, b"PROXY TCP4 192.0.2.7 192.0.2.2 5555 25\r\n" + EHLO), (S, GREETING)],
    [(C, b"PROXY TCP4 192.0.2.7\r\n"), (S, GREETING)],
    [(C, b"PROXY " + b"x" * 200)],
    [(C, V2 + b"\x21\x11\x00\x0c\xc0\0\2\7\xc0\0\2\2\x15\xb3\0\x19"), (S, GREETING), (C, EHLO)],
    [(S, GREETING), (C, CONNECT)],
    [(C, EHLO), (S, GREETING)],
    [(C, b"CONNECT x:25 HTTP/1.0\r\nX: " + b"x" * 2 * MAX_HELD + b"\r\n\r\n"), (S, GREETING)],
    [(C, b"\x04\x01\x00\x19\x00\x00\x00\x01" + b"u" * 50)],
]


@given(st.sampled_from(SCRIPTS), st.data())
def test_any_chunking_gives_the_same(script, data):
    whole, expected = strip(events(*script, CLOSED))
    pieces = []
    for event in events(*script):
        cuts = data.draw(st.lists(st.integers(0, len(event.data)), max_size=12).map(sorted))
        edges = sorted({0, *cuts, len(event.data)})
        pieces += [
            Data(
                event.direction,
                event.offset + start,
                event.data[start:end],
                (Mark(event.offset + start, event.time, event.marks[0].packet),),
            )
            for start, end in pairwise(edges)
        ]
    passed, stripper = strip([*pieces, CLOSED])
    assert octet_by_octet(passed) == octet_by_octet(whole)
    assert stripper.tunnel == expected.tunnel


@given(st.lists(st.tuples(st.sampled_from([C, S]), st.binary(min_size=1, max_size=20))))
def test_octets_are_only_ever_taken_by_a_tunnel_that_owns_up_to_them(turns):
    stream = events(*turns, CLOSED)
    passed, stripper = strip(stream)
    spans = stripper.tunnel.spans if stripper.tunnel else ()
    for direction in (C, S):
        start = max((span.end for span in spans if span.direction == direction), default=0)
        assert sent(passed, direction) == sent(stream, direction)[start:]
    assert passed[-1] == CLOSED


@pytest.mark.parametrize(
    "script",
    [
        [(S, GREETING), (C, CONNECT)],
        [(C, EHLO), (S, GREETING)],
        [(C, b"POST / HTTP/1.1\r\n\r\n"), (S, b"500 what?\r\n")],
        [(C, CONNECT), (S, b"220 a server that takes CONNECT for a command\r\n")],
        [(C, b"CONNECT me to somebody\r\n\r\n")],
        [(C, b"\x05\x00"), (S, GREETING)],
        [(C, METHODS), (S, GREETING)],
        [(C, b"\x04\x02\x00\x19" + bytes(5)), (S, GREETING)],
        [(C, b"PROXY TCP4 192.0.2.7 nowhere 1 25\r\n"), (S, GREETING)],
        [(C, b"PROXY TCP4 192.0.2.7 192.0.2.2 1 65536\r\n"), (S, GREETING)],
        [(C, V2 + b"\x31\x11\x00\x00"), (S, GREETING)],
    ],
)
def test_what_is_no_tunnel_passes_unchanged(script):
    stream = events(OPENED, *script, CLOSED)
    passed, stripper = strip(stream)
    assert passed == stream
    assert stripper.done
    assert stripper.tunnel is None


def test_a_greeting_decides_at_once():
    stripper = TunnelStripper()
    (greeting,) = events((S, GREETING))
    assert stripper.feed(greeting) == [greeting]
    assert stripper.done


def test_a_command_decides_with_its_first_octet():
    stripper = TunnelStripper()
    (octet,) = events((C, b"E"))
    assert stripper.feed(octet) == [octet]
    assert stripper.done


def test_undecided_octets_wait_for_a_gap_but_notes_do_not():
    stripper = TunnelStripper()
    start, noted = events((C, b"CONN"), Noted(Defect("overlap", Span(C, 0, 4)), 1, 2))
    gap = Gap(C, 4, 10, 5, 3, "lost")
    assert stripper.feed(start) == []
    assert stripper.feed(noted) == [noted]
    assert not stripper.done
    assert stripper.feed(gap) == [start, gap]
    assert stripper.done


def test_no_more_than_the_bound_waits():
    stripper = TunnelStripper()
    stream = events((C, b"CONNECT " + b"x" * (MAX_HELD - 9)), (C, b"y"))
    assert stripper.feed(stream[0]) == []
    assert stripper.feed(stream[1]) == stream
    assert stripper.done


@pytest.mark.parametrize(
    ("script", "rest"),
    [
        ([(C, CONNECT), (S, b"HTTP/1.0 403 Forbidden\r\n\r\n<html>")], b"<html>"),
        ([(C, METHODS), (S, b"\x05\xff")], b""),
        ([(C, METHODS + REQUEST), (S, b"\x05\x00\x05\x05\x00\x01" + bytes(6))], b""),
        ([(C, PASSWORD_METHOD + PASSWORD), (S, b"\x05\x02\x01\x01bye")], b"bye"),
        ([(C, b"\x04\x01\x00\x19\xc0\x00\x02\x05\x00"), (S, b"\x00\x5b" + bytes(6))], b""),
    ],
)
def test_what_follows_a_refusal_passes(script, rest):
    passed, stripper = strip(events(*script))
    assert stripper.tunnel.accepted is False
    assert sent(passed, S) == rest


def test_a_request_without_an_answer_is_neither_accepted_nor_refused():
    passed, stripper = strip(events((C, CONNECT), CLOSED))
    assert stripper.tunnel.accepted is None
    assert passed == [CLOSED]


def test_a_method_that_wraps_what_follows_is_left_alone():
    passed, stripper = strip(events((C, b"\x05\x01\x01"), (S, b"\x05\x01"), (C, b"\x01\x01gss")))
    assert stripper.tunnel.accepted is None
    assert sent(passed, C) == b"\x01\x01gss"


# RFC 1929 §2
def test_a_socks_password_is_a_secret():
    script = [(C, PASSWORD_METHOD), (S, b"\x05\x02"), (C, PASSWORD), (S, b"\x01\x00")]
    passed, stripper = strip(events(*script, (C, REQUEST), (S, REPLY), (S, GREETING)))
    (secret,) = stripper.tunnel.secrets
    assert (PASSWORD_METHOD + PASSWORD)[secret.start : secret.end] == b"secret"
    assert sent(passed, C) == b""


def test_a_socks_password_without_its_answer_is_still_taken_out():
    passed, stripper = strip(events((C, PASSWORD_METHOD), (C, PASSWORD), (C, EHLO), CLOSED))
    assert len(stripper.tunnel.secrets) == 1
    assert sent(passed, C) == EHLO


def test_proxy_credentials_are_a_secret():
    head = b"CONNECT mx.test:25 HTTP/1.1\r\nproxy-authorization: Basic dTpw\r\n\r\n"
    _, stripper = strip(events((C, head), (S, ESTABLISHED)))
    (secret,) = stripper.tunnel.secrets
    assert head[secret.start : secret.end] == b"Basic dTpw"


# RFC 9110 §15.5.8
def test_a_challenged_client_asks_again_with_credentials_that_are_a_secret():
    script = [
        (C, CONNECT),
        (S, CHALLENGE + PAGE),
        (S, PAGE * 300),
        (C, ANSWER),
        (S, ESTABLISHED + GREETING),
        (C, EHLO),
    ]
    passed, stripper = strip(events(*script))
    tunnel = stripper.tunnel
    (secret,) = tunnel.secrets
    assert (CONNECT + ANSWER)[secret.start : secret.end] == b"Basic dTpw"
    assert (sent(passed, C), sent(passed, S)) == (EHLO, GREETING)
    answered = len(CHALLENGE + PAGE * 301 + ESTABLISHED)
    assert tunnel.spans == (Span(C, 0, len(CONNECT + ANSWER)), Span(S, 0, answered))
    assert tunnel.accepted is True
    assert stripper.done


def test_a_hole_in_the_page_behind_a_challenge_uncovers_no_credentials():
    start = len(CHALLENGE + PAGE)
    gap = Gap(S, start, 100, 5, 3, "lost")
    first = events((C, CONNECT), (S, CHALLENGE + PAGE))
    again = events((C, CONNECT), (S, bytes(start + 100)), (C, ANSWER), (S, ESTABLISHED + GREETING))
    passed, stripper = strip([*first, gap, *again[2:], CLOSED])
    assert sent(passed, C) == b""
    assert sent(passed, S) == GREETING
    assert gap in passed
    assert len(stripper.tunnel.secrets) == 1


def test_credentials_that_are_never_answered_are_still_a_secret():
    passed, stripper = strip(events((C, CONNECT), (S, CHALLENGE), (C, ANSWER), CLOSED))
    assert passed == [CLOSED]
    assert len(stripper.tunnel.secrets) == 1
    assert stripper.tunnel.accepted is None


def test_a_challenged_client_that_gives_up_was_refused():
    passed, stripper = strip(events((C, CONNECT), (S, CHALLENGE + PAGE), CLOSED))
    assert passed == [CLOSED]
    assert stripper.tunnel.accepted is False
    assert stripper.done


def test_a_proxy_challenges_only_so_often():
    script = [(C, CONNECT), (S, CHALLENGE)] * (MAX_CHALLENGES + 1)
    passed, stripper = strip(events(*script, (C, EHLO)))
    assert stripper.done
    assert sent(passed, C) == EHLO


@pytest.mark.parametrize(
    ("authority", "target"),
    [
        (b"mx.test:25 / HTTP/1.0", Endpoint("mx.test", 25)),
        (b"[2001:db8::1]:587 HTTP/1.1", Endpoint("2001:db8::1", 587)),
        (b"mx\x1b.test:25 HTTP/1.1", Endpoint("mx\x1b.test", 25)),
        (b"mx.test HTTP/1.1", None),
        (b"mx.test:smtp HTTP/1.1", None),
    ],
)
def test_the_target_of_connect_is_its_authority(authority, target):
    _, stripper = strip(events((C, b"CONNECT " + authority + b"\r\n\r\n"), (S, ESTABLISHED)))
    assert stripper.tunnel.target == target


def test_a_socks_4a_target_is_a_name():
    request = b"\x04\x01\x00\x19\x00\x00\x00\x01me\x00mx.test\x00"
    _, stripper = strip(events((C, request), (S, b"\x00\x5a" + bytes(6))))
    assert stripper.tunnel.target == Endpoint("mx.test", 25)


def test_a_socks_5_target_may_be_an_ipv6_address():
    request = b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x00\x19"
    _, stripper = strip(events((C, METHODS + request), (S, b"\x05\x00" + REPLY)))
    assert stripper.tunnel.target == Endpoint("2001:db8::1", 25)


@pytest.mark.parametrize(
    ("header", "kind", "source", "target"),
    [
        (
            b"PROXY TCP4 192.0.2.7 192.0.2.2 5555 25\r\n",
            "proxy-v1",
            Endpoint("192.0.2.7", 5555),
            Endpoint("192.0.2.2", 25),
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::2 5555 25\r\n",
            "proxy-v1",
            Endpoint("2001:db8::7", 5555),
            Endpoint("2001:db8::2", 25),
        ),
        (b"PROXY UNKNOWN\r\n", "proxy-v1", None, None),
        (
            V2 + b"\x21\x11\x00\x0f\xc0\0\2\7\xc0\0\2\2\x15\xb3\0\x19tlv",
            "proxy-v2",
            Endpoint("192.0.2.7", 5555),
            Endpoint("192.0.2.2", 25),
        ),
        (V2 + b"\x20\x00\x00\x00", "proxy-v2", None, None),
        (V2 + b"\x21\x11\x00\x03abc", "proxy-v2", None, None),
    ],
)
def test_a_proxy_header_names_the_original_client(header, kind, source, target):
    passed, stripper = strip(events((C, header + EHLO), (S, GREETING)))
    tunnel = stripper.tunnel
    assert (tunnel.kind, tunnel.source, tunnel.target) == (kind, source, target)
    assert tunnel.accepted is None
    assert tunnel.spans == (Span(C, 0, len(header)),)
    assert (sent(passed, C), sent(passed, S)) == (EHLO, GREETING)


def test_a_cut_keeps_the_marks_of_what_is_left():
    data = Data(C, 100, b"abcdefghi", (Mark(100, 1, 1), Mark(103, 2, 2), Mark(106, 3, 3)))
    assert cut(data, 100) is data
    assert cut(data, 104) == Data(C, 104, b"efghi", (Mark(104, 2, 2), Mark(106, 3, 3)))
    assert cut(data, 106) == Data(C, 106, b"ghi", (Mark(106, 3, 3),))
