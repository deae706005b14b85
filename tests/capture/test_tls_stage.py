"""Where TLS begins, and plain text where it should have begun."""

from __future__ import annotations

from smtpscope.capture.tls_stage import TlsStage
from smtpscope.stream import Closed, Data, Defect, Direction, Mark, Noted, Span, StreamEvent

END = Closed("end", Direction.CLIENT, 9, 9)
HELLO = b"\x16\x03\x01\x00\x05hello"


def client(octets: bytes, offset: int = 0, *marks: int) -> Data:
    placed = [Mark(mark, mark, mark + 1) for mark in (offset, *marks)]
    return Data(Direction.CLIENT, offset, octets, tuple(placed))


def expecting() -> TlsStage:
    stage = TlsStage()
    stage.expect()
    return stage


def plain(events: list[StreamEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Data))


def rules(events: list[StreamEvent]) -> list[str]:
    return [event.defect.rule for event in events if isinstance(event, Noted)]


def test_a_record_behind_an_accepted_starttls_is_kept_back() -> None:
    stage = expecting()
    assert stage.feed(client(HELLO)) == []
    assert stage.observer is not None
    assert stage.mode == "starttls"


def test_a_record_is_recognised_octet_by_octet() -> None:
    stage = expecting()
    for at, octet in enumerate(HELLO):
        assert stage.feed(client(bytes([octet]), at)) == []
    assert stage.mode == "starttls"


def test_what_was_noted_of_the_packets_is_told_within_tls_too() -> None:
    stage = expecting()
    stage.feed(client(HELLO))
    noted = Noted(Defect("overlap-disagrees", Span(Direction.CLIENT, 2, 3)), 5, 5)
    assert stage.feed(noted) == [noted]


def test_plain_text_before_the_record_is_passed_on_and_told_once() -> None:
    stage = expecting()
    passed = stage.feed(client(b"NOOP\r\nNOOP\r\n" + HELLO, 0, 6, 12))
    assert plain(passed) == b"NOOP\r\nNOOP\r\n"
    assert rules(passed) == ["plaintext-behind-starttls"]
    assert stage.mode == "starttls"


def test_what_is_passed_on_has_only_its_own_marks() -> None:
    passed = expecting().feed(client(b"NOOP\r\nNOOP\r\n" + HELLO, 0, 6, 12))
    assert [[mark.offset for mark in e.marks] for e in passed if isinstance(e, Data)] == [[0, 6]]


def test_octets_that_only_begin_like_a_record_are_plain_text() -> None:
    stage = expecting()
    octets = b"\x16\x03NOOP\r\n" * 20_000
    assert plain(stage.feed(client(octets))) == octets
    assert stage.observer is None
    assert rules(stage.feed(END)) == ["plaintext-behind-starttls"]


def test_where_both_sides_go_on_in_plain_text_it_is_told_once() -> None:
    stage = expecting()
    assert rules(stage.feed(client(b"NOOP\r\n"))) == []
    reply = Data(Direction.SERVER, 0, b"250 ok\r\n", (Mark(0, 0, 1),))
    (told,) = [event for event in stage.feed(reply) if isinstance(event, Noted)]
    assert told.defect.detail == "both sides went on without TLS"
    assert stage.idle
    assert rules(stage.feed(END)) == []


def test_the_beginning_of_a_record_that_goes_on_as_plain_text_is_plain_text() -> None:
    stage = expecting()
    first = stage.feed(client(b"NOOP\r\n\x16\x03"))
    assert plain(first) == b"NOOP\r\n"
    assert plain(stage.feed(client(b"NOOP\r\n", 8))) == b"\x16\x03NOOP\r\n"
    assert stage.observer is None
