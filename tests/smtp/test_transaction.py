"""Transactions: which envelope a dialogue's exchanges make, and what becomes of it."""

from __future__ import annotations

from support.transcript import Transcript, octets, session_of

from smtpscope.session import Content
from smtpscope.smtp.transaction import Transaction
from smtpscope.stream import Direction

SIDES = {"C": Direction.CLIENT, "S": Direction.SERVER}
MESSAGE = ("C: DATA", "S: 354 go", "C: Subject: x", "C: ", "C: .")


def transactions(*turns: str) -> list[Transaction]:
    transcript = Transcript("made here")
    transcript.turns = [(SIDES[turn[0]], octets(turn[3:]) + b"\r\n") for turn in turns]
    return session_of(transcript).transactions


def addresses(transaction: Transaction) -> list[bytes]:
    return [each.path.address for each in transaction.recipients if each.path is not None]


def mail(name: str, code: int = 250) -> tuple[str, str]:
    return f"C: MAIL FROM:<{name}@a.test>", f"S: {code} x"


def rcpt(name: str, code: int = 250) -> tuple[str, str]:
    return f"C: RCPT TO:<{name}@b.test>", f"S: {code} x"


def test_a_message_accepted() -> None:
    (found,) = transactions("S: 220 x", *mail("a"), *rcpt("b"), *MESSAGE, "S: 250 queued")
    assert found.completed
    assert found.via == "DATA"
    assert found.reverse_path is not None
    assert found.reverse_path.address == b"a@a.test"
    assert addresses(found) == [b"b@b.test"]
    assert found.reply is not None
    assert found.reply.lines == (b"queued",)


def test_one_recipient_refused() -> None:
    (found,) = transactions(
        "S: 220 x", *mail("a"), *rcpt("b"), *rcpt("c", 550), *MESSAGE, "S: 250 queued"
    )
    assert [each.refused for each in found.recipients] == [False, True]
    assert found.completed


def test_a_message_refused_ends_the_transaction_too() -> None:
    first, second = transactions(
        "S: 220 x", *mail("a"), *rcpt("b"), *MESSAGE, "S: 554 spam", *mail("c"), *rcpt("d")
    )
    assert not first.completed
    assert first.reply is not None
    assert first.reply.code == 554
    assert addresses(second) == [b"d@b.test"]


def test_an_accepted_rset_ends_it_and_a_refused_one_does_not() -> None:
    found = transactions(
        "S: 220 x", *mail("a"), *rcpt("b"), "C: RSET", "S: 500 what", *rcpt("c"),
        "C: RSET", "S: 250 ok", *rcpt("d"),
    )  # fmt: skip
    assert [addresses(each) for each in found] == [[b"b@b.test", b"c@b.test"], [b"d@b.test"]]


def test_an_accepted_ehlo_ends_it_and_noop_and_vrfy_do_not() -> None:
    found = transactions(
        "S: 220 x", *mail("a"), *rcpt("b"), "C: NOOP", "S: 250 ok", "C: VRFY x", "S: 252 x",
        *rcpt("c"), "C: EHLO a.test", "S: 250 x", *rcpt("d"),
    )  # fmt: skip
    assert [addresses(each) for each in found] == [[b"b@b.test", b"c@b.test"], [b"d@b.test"]]


def test_a_nested_mail_that_is_refused_leaves_the_transaction_alone() -> None:
    (found,) = transactions(
        "S: 220 x", *mail("a"), *rcpt("b"), *mail("evil", 503), *MESSAGE, "S: 250 queued"
    )
    assert found.reverse_path is not None
    assert found.reverse_path.address == b"a@a.test"
    assert found.completed


def test_a_refused_mail_is_kept_with_its_reply_and_the_next_one_is_another() -> None:
    first, second = transactions("S: 220 x", *mail("a", 550), *rcpt("b", 503), *mail("c"))
    assert first.reply is not None
    assert first.reply.code == 550
    assert [each.refused for each in first.recipients] == [True]
    assert second.reply is None


def test_data_refused_leaves_the_transaction_open() -> None:
    (found,) = transactions(
        "S: 220 x", *mail("a"), *rcpt("b", 550), "C: DATA", "S: 554 no recipients", *rcpt("c")
    )
    assert found.reply is not None
    assert found.reply.code == 554
    assert addresses(found) == [b"b@b.test", b"c@b.test"]
    assert not found.completed


def test_chunks_make_one_message() -> None:
    (found,) = transactions(
        "S: 220 x", *mail("a"), *rcpt("b"),
        "C: BDAT 14", "C: Subject: abc", "S: 250 ok",
    )  # fmt: skip
    assert found.via == "BDAT"
    assert not found.completed


def test_without_replies_the_commands_alone_make_the_envelope() -> None:
    first, second = transactions(
        "C: MAIL FROM:<a@a.test>", "C: RCPT TO:<b@b.test>", "C: DATA", "C: x", "C: .",
        "C: MAIL FROM:<c@a.test>", "C: RCPT TO:<d@b.test>",
    )  # fmt: skip
    assert addresses(first) == [b"b@b.test"]
    assert not first.completed
    assert addresses(second) == [b"d@b.test"]


def test_what_the_server_calls_out_of_order_begins_no_transaction() -> None:
    (found,) = transactions(
        "S: 220 x", *rcpt("b", 503), "C: DATA", "S: 503 need RCPT", *mail("a"), *rcpt("c")
    )
    assert found.reverse_path is not None
    assert found.reverse_path.address == b"a@a.test"
    assert addresses(found) == [b"c@b.test"]


def test_a_mail_out_of_order_is_kept_as_any_that_is_refused() -> None:
    (found,) = transactions("S: 220 x", *mail("a", 503))
    assert found.reply is not None
    assert found.reply.code == 503


def test_a_recipient_refused_otherwise_shows_a_transaction_whose_mail_was_not_seen() -> None:
    (found,) = transactions("S: 220 x", *rcpt("b", 450), *rcpt("c"))
    assert found.reverse_path is None
    assert addresses(found) == [b"b@b.test", b"c@b.test"]


def test_the_abolished_senders_open_a_transaction_where_the_server_takes_them() -> None:
    (found,) = transactions(
        *("S: 220 x", "C: SEND FROM:<s@a.test>", "S: 502 x", "C: SAML FROM:<a@a.test>", "S: 250 x"),
        *(*rcpt("b"), *MESSAGE, "S: 250 queued"),
    )
    assert found.reverse_path is not None
    assert found.reverse_path.address == b"a@a.test"
    assert found.completed


def test_burl_with_last_ends_the_transaction_with_what_the_chunks_before_it_held() -> None:
    first, second, third = transactions(
        "S: 220 x", *mail("a"), *rcpt("b"), "C: BURL imap://c.test/d;uid=1", "S: 250 go on",
        "C: burl imap://c.test/e;uid=2 last", "S: 250 queued", *mail("c"), *rcpt("d"),
        "C: BDAT 4\r\nab", "S: 250 go on", "C: BURL imap://c.test/e;uid=2 LAST", "S: 554 no",
        *mail("e"), *rcpt("f"), "C: BDAT 4 LAST\r\ncd", "S: 250 queued",
    )  # fmt: skip
    assert [each.completed for each in (first, second, third)] == [True, False, True]
    assert [each.via for each in (first, second, third)] == ["BURL", "BURL", "BDAT"]
    assert first.content is None
    contents = [each.content for each in (second, third)]
    assert [each.finish().size for each in contents if isinstance(each, Content)] == [4, 4]
    assert second.reply is not None
    assert second.reply.code == 554


def test_lmtp_answers_burl_with_last_once_for_each_recipient() -> None:
    first, second = transactions(
        "S: 220 x", "C: LHLO a.test", "S: 250 x", *mail("a"), *rcpt("b"), *rcpt("c"),
        "C: BURL imap://c.test/d LAST", "S: 250 b", "S: 452 c", *mail("e"),
    )  # fmt: skip
    assert [each.left_out for each in first.recipients] == [False, True]
    assert second.reply is None
