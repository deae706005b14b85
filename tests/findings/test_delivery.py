"""What the samples of the delivery rules do not show: who is refused, and each refusal once."""

from __future__ import annotations

import pytest
from support.samples import review

from smtpscope.findings import delivery, envelope
from smtpscope.findings.refusals import BLOCKLISTS, CAUSES, CLOSING, GENERAL, blocklist, cause_of
from smtpscope.session import Finding
from smtpscope.smtp.values import EnhancedCode, Reply
from smtpscope.stream import Direction, Span

HELLO = ("S: 220 mx.example.org", "C: EHLO a.example.net", "S: 250 mx.example.org")
MAIL = ("C: MAIL FROM:<ann@example.net>", "S: 250 Ok")
RCPT = ("C: RCPT TO:<bob@example.org>", "S: 250 Ok")
DATA = ("C: DATA", "S: 354 Go", "C: Subject: hello", "C: ", "C: Hi", "C: .")
QUIT = ("C: QUIT", "S: 221 Bye")


def reply(code: int, *lines: str, enhanced: EnhancedCode | None = None) -> Reply:
    texts = tuple(line.encode() for line in lines)
    return Reply(code, texts, enhanced, Span(Direction.SERVER, 0, 9), 0, 1)


def told(*lines: str) -> list[Finding]:
    """The findings on what became of the mail."""
    return [each for each in review(lines)[0].findings if each.group == "delivery"]


def test_every_cause_has_its_rule() -> None:
    causes = {cause.rule for cause in CAUSES} | {CLOSING}
    general = {rule for _, *rules in GENERAL for rule in rules}
    assert causes | general <= set(delivery.RULES)
    assert not set(delivery.RULES) & set(envelope.RULES)


@pytest.mark.parametrize(("words", "name"), BLOCKLISTS)
def test_a_list_is_known_by_what_stands_in_the_reply(words: str, name: str) -> None:
    refusal = reply(550, f"5.7.1 refused, see https://{words.upper()}/q?ip=192.0.2.1")
    assert cause_of("RCPT", refusal) == "blocklisted"
    assert blocklist(refusal)


@pytest.mark.parametrize(
    ("verb", "code", "text", "rule"),
    [
        ("MAIL", 550, "5.7.1 Blocked, send a mail to absorbs@example.org", "sender-refused"),
        ("RCPT", 550, "5.4.1 Recipient address rejected: Access denied", "user-unknown"),
        ("RCPT", 450, "4.1.1 Unverified recipient", "recipient-deferred"),
        ("RCPT", 552, "5.2.2 Mailbox full", "mailbox-full"),
        (".", 552, "Too much", "message-too-big"),
        (".", 421, "4.7.28 Unusual rate of mail", "throttled"),
        ("", 421, "Come later", "service-closing"),
        ("RCPT", 451, "4.7.1 Greylisting in action", "greylisted"),
        ("RCPT", 550, "5.7.1 No relaying, user unknown here", "user-unknown"),
        ("AUTH", 538, "Encryption needed", "tls-required"),
        ("VRFY", 550, "User unknown", None),
        ("RCPT", 250, "user unknown, but let it come", None),
    ],
)
def test_the_most_telling_cause_wins(verb: str, code: int, text: str, rule: str | None) -> None:
    digits = text.split(" ", 1)[0].split(".")
    enhanced = EnhancedCode(*map(int, digits)) if len(digits) == 3 else None
    assert cause_of(verb, reply(code, text, enhanced=enhanced)) == rule


def test_words_may_stand_on_several_lines() -> None:
    assert cause_of("RCPT", reply(550, "Sorry, there is no such", "user here")) == "user-unknown"


def test_a_refusal_tells_whom_by_which_list_and_what_the_codes_mean() -> None:
    (found,) = told(
        *HELLO,
        *MAIL,
        "C: RCPT TO:<bob@example.org>",
        "S: 554-5.7.1 Client host [192.0.2.1] blocked",
        "S: 554 5.7.1 using bl.spamcop.net",
        *QUIT,
    )
    assert found.rule == "blocklisted"
    assert found.summary == (
        "the client is on a list of bad senders: bob@example.org: SpamCop: 554 5.7.1 (not"
        ' authorised: refused by policy) "Client host [192.0.2.1] blocked using bl.spamcop.net"'
    )


def test_a_reply_without_enhanced_code_and_words_is_explained_by_its_code() -> None:
    (found,) = told(*HELLO, *MAIL, *RCPT, *DATA, "S: 554 ", *QUIT)
    assert found.summary == "the message is refused: 554 (message refused)"


def test_what_a_reply_says_is_quoted_in_part_only() -> None:
    (found,) = told(*HELLO, "C: MAIL FROM:<ann@example.net>", "S: 550 " + 400 * "x", *QUIT)
    assert len(found.summary) < 200


def test_each_refused_delivery_of_lmtp_is_told_with_its_recipient() -> None:
    found = told(
        "S: 220 mx.example.org LMTP",
        "C: LHLO a.example.net",
        "S: 250 mx.example.org",
        *MAIL,
        *RCPT,
        "C: RCPT TO:<eve@example.org>",
        "S: 250 Ok",
        *DATA,
        "S: 250 2.0.0 Delivered",
        "S: 452 4.2.2 Over quota",
        *QUIT,
    )
    assert [each.rule for each in found] == ["partial-refusal", "mailbox-full"]
    assert "1 of 2 refused" in found[0].summary
    assert "eve@example.org: 452 4.2.2 (mailbox is full)" in found[1].summary


# PRDR has one reply for each recipient, and one for the message (draft-hall-prdr §2)
@pytest.mark.parametrize(
    ("final", "rules"), [("250 2.0.0 Ok", ["partial-refusal"]), ("550 5.7.1 No", [])]
)
def test_a_message_refused_for_some_behind_its_end_is_refused_in_part(
    final: str, rules: list[str]
) -> None:
    found = told(
        *HELLO,
        *MAIL,
        *RCPT,
        "C: RCPT TO:<eve@example.org>",
        "S: 250 Ok",
        *DATA,
        "S: 353 one by one",
        "S: 250 2.0.0 Ok",
        "S: 550 5.7.1 Not for her",
        f"S: {final}",
        *QUIT,
    )
    assert [each.rule for each in found if each.rule == "partial-refusal"] == rules


def test_a_refusal_that_follows_from_another_is_not_told_again() -> None:
    found = told(
        *HELLO,
        *MAIL,
        "C: RCPT TO:<bob@example.org>",
        "S: 550 5.1.1 User unknown",
        "C: DATA",
        "S: 554 5.5.1 No valid recipients",
        *QUIT,
    )
    assert [each.rule for each in found] == ["user-unknown"]


def test_the_server_that_breaks_off_is_told_whatever_the_command_was() -> None:
    found = told(*HELLO, "C: NOOP", "S: 421 4.3.2 Shutting down", "S fin", "C fin")
    assert [each.rule for each in found] == ["service-closing"]


def test_a_message_that_was_answered_by_a_closed_connection_is_in_doubt_once() -> None:
    (session,) = review((*HELLO, *MAIL, *RCPT, *DATA, "S fin", "C fin"))
    rules = [each.rule for each in session.findings]
    assert rules.count("message-unanswered") == 1
    assert "missing-reply" not in rules


def test_the_size_of_a_message_is_told_once_where_it_was_announced() -> None:
    offer = ("S: 220 mx.example.org", "C: EHLO a", "S: 250-mx.example.org", "S: 250 SIZE 10")
    announced = ("C: MAIL FROM:<ann@example.net> SIZE=20", "S: 250 Ok")
    found = told(*offer, *announced, *RCPT, *DATA, "S: 250 Ok", *QUIT)
    assert [each.rule for each in found] == ["over-size-limit"]
    assert "20 octets announced, 10 offered" in found[0].summary


def test_a_size_that_is_no_number_is_no_limit() -> None:
    offer = ("S: 220 mx.example.org", "C: EHLO a", "S: 250-mx.example.org", "S: 250 SIZE \\xb2")
    assert told(*offer, *MAIL, *RCPT, *DATA, "S: 250 Ok", *QUIT) == []


def test_an_enhanced_code_that_the_words_overrule_is_not_explained() -> None:
    lines = (
        *("S: 220 mx.example.org ESMTP", "C: HELO a.example.net", "S: 250 mx.example.org"),
        *("C: MAIL FROM:<ann@example.net>", "S: 250 2.1.0 Ok", "C: RCPT TO:<bob@example.org>"),
        "S: 550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found by SMTP address lookup",
    )
    told = [each.summary for each in review(lines)[0].findings if each.rule == "user-unknown"]
    assert told
    assert "null MX" not in told[0]
