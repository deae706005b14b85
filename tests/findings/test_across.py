"""What joins sessions stays bounded, and takes nothing for what it is not."""

from __future__ import annotations

import gc

from support.samples import review

from smtpscope.findings import MAX_TOLD, across
from smtpscope.findings.across import MAX_CLIENTS, MAX_ENVELOPES, Across, trace_of
from smtpscope.session import Session
from smtpscope.smtp.transaction import Recipient, Transaction
from smtpscope.smtp.values import Path, Reply
from smtpscope.stream import Defect, Direction, Endpoint, Span

HELLO = ("S: 220 mx.example.org", "C: EHLO a.example.net", "S: 250 mx.example.org")
MAIL = ("C: MAIL FROM:<ann@example.net>", "S: 250 Ok")
RCPT = "C: RCPT TO:<bob@example.org>"
DATA = ("C: DATA", "S: 354 Go", "C: Message-ID: <1@example.net>", "C: ", "C: Hi", "C: .")


def rules(*lines: str) -> list[str]:
    known = across.RULES
    return [
        each.rule for session in review(lines) for each in session.findings if each.rule in known
    ]


def add(memory: Across, each: Session) -> list[Defect]:
    return memory.add(trace_of(each)).defects


def session(
    client: str, code: int, recipients: int = 1, start: int = 0, server: str = "192.0.2.2"
) -> Session:
    """One that holds no more than an envelope for so many recipients."""
    reply = Reply(code, (b"4.2.0 later",), None, Span(Direction.SERVER, 0, 9), start, 1)
    sender = Path(b"ann@example.net", b"ann", b"example.net")
    found = Session(1, "", Endpoint(client, 40_000), Endpoint(server, 25), start, start)
    paths = [Path(b"%d@example.org" % n, b"%d" % n, b"example.org") for n in range(recipients)]
    found.transactions.append(
        Transaction(sender, recipients=[Recipient(path, (), reply) for path in paths])
    )
    return found


def test_a_hundred_thousand_clients_are_not_all_remembered() -> None:
    memory = Across()
    (sent,) = session("", 450).transactions
    for number in range(100_000):
        each = session(f"2001:db8::{number:x}", 450, recipients=0)
        each.transactions = [sent]
        add(memory, each)
    held = [each for each in gc.get_objects() if isinstance(each, across._Client)]
    assert len(held) == MAX_CLIENTS


def test_the_client_heard_of_last_is_remembered() -> None:
    memory = Across()
    add(memory, session("192.0.2.1", 450))
    for number in range(MAX_CLIENTS):
        add(memory, session(f"2001:db8::{number:x}", 450))
        if number == MAX_CLIENTS // 2:
            add(memory, session("192.0.2.1", 450))
    assert [each.rule for each in add(memory, session("192.0.2.1", 250))] == ["greylisting"]
    assert add(memory, session("2001:db8::0", 250)) == []


def test_of_one_client_no_more_than_so_many_envelopes_are_remembered() -> None:
    memory = Across()
    add(memory, session("192.0.2.1", 450, recipients=MAX_ENVELOPES + 5))
    found = add(memory, session("192.0.2.1", 250, recipients=MAX_ENVELOPES + 5))
    assert len(found) == MAX_ENVELOPES


def test_the_wait_is_counted_from_the_first_refusal() -> None:
    memory = Across()
    add(memory, session("192.0.2.1", 450, start=0))
    add(memory, session("192.0.2.1", 450, start=60_000_000_000))
    (found,) = add(memory, session("192.0.2.1", 250, start=300_000_000_000))
    assert found.detail == "300 s after the refusal"


def test_another_server_that_accepts_what_the_first_one_deferred_greylists_nobody() -> None:
    memory = Across()
    add(memory, session("192.0.2.1", 450))
    assert add(memory, session("192.0.2.1", 250, start=1_000, server="192.0.2.3")) == []
    found = add(memory, session("192.0.2.1", 250, start=300_000_000_000))
    assert [each.rule for each in found] == ["greylisting"]


def test_what_one_server_refused_for_good_is_not_to_be_tried_at_another() -> None:
    memory = Across()
    add(memory, session("192.0.2.1", 550))
    found = add(memory, session("192.0.2.1", 550, server="192.0.2.3"))
    assert [each.rule for each in found] == ["refusal-ignored"]


def test_greylisting_of_the_message_is_recognised_as_well() -> None:
    first = (*HELLO, *MAIL, RCPT, "S: 250 Ok", *DATA, "S: 451 4.7.1 Greylisted")
    again = (*MAIL, RCPT, "S: 250 Ok", *DATA, "S: 250 Ok")
    assert rules(*first, "+ 300", *again) == ["greylisting"]


def test_a_full_mailbox_that_has_room_again_is_no_greylisting() -> None:
    refused = (RCPT, "S: 452 4.2.2 Mailbox full", "C: RSET", "S: 250 Ok")
    assert rules(*HELLO, *MAIL, *refused, *MAIL, RCPT, "S: 250 Ok") == []


def test_refusals_that_are_ignored_are_told_once_a_session_with_their_number() -> None:
    refused = (*MAIL, RCPT, "S: 550 5.1.1 User unknown", "C: RSET", "S: 250 Ok")
    found = review((*HELLO, *refused, *refused, *refused))[0].findings
    (told,) = [each for each in found if each.rule == "refusal-ignored"]
    assert told.summary.endswith(": 2 times")


def test_a_message_refused_the_first_time_is_not_delivered_twice() -> None:
    send = (*MAIL, RCPT, "S: 250 Ok", *DATA)
    assert rules(*HELLO, *send, "S: 554 No", *send, "S: 250 Ok") == []
    assert rules(*HELLO, *send, "S: 250 Ok", *send, "S: 250 Ok") == ["message-twice"]


def test_a_filter_that_gives_the_message_back_at_another_port_does_not_send_it_twice() -> None:
    send = (*HELLO, *MAIL, RCPT, "S: 250 Ok", *DATA, "S: 250 Ok")
    assert rules("port 10024", *send, "----", "port 10025", *send) == []
    assert rules("port 10024", *send, "----", "port 10024", *send) == ["message-twice"]


def test_a_message_without_message_id_is_not_compared() -> None:
    send = (*MAIL, RCPT, "S: 250 Ok", "C: DATA", "S: 354 Go", "C: Hi", "C: .", "S: 250 Ok")
    assert rules(*HELLO, *send, *send) == []


def test_what_comes_again_and_again_in_one_session_is_told_a_few_times() -> None:
    send = (*MAIL, RCPT, "S: 250 Ok", *DATA, "S: 250 Ok")
    (found,) = review((*HELLO, *send * 20))
    told = [each.summary for each in found.findings if each.rule == "message-twice"]
    assert len(told) == MAX_TOLD
    assert told[-1].endswith("(and 14 more like it)")
