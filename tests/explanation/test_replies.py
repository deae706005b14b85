"""What a server's line is explained as."""

from __future__ import annotations

import pytest
from support.explained import HELLO, row_of, titled, told, told_of
from support.samples import review

from smtpscope.explanation.replies import MAX_LISTED
from smtpscope.transcript import rows

# -- codes ---------------------------------------------------------------------------------------


def test_a_reply_is_told_by_what_it_answers() -> None:
    # RFC 5321 §4.2.3, §4.3.2: 250 to RCPT
    lines = (*HELLO, "C: RCPT TO:<b@b.test>", "S: 250 2.1.5 fine")
    found = told(*lines, of="250 2.1.5")
    assert found["Reply"] == "250: recipient accepted"
    assert found["Table"] == "The command was carried out."
    assert found["RFC"].endswith("(RFC 5321 §4.2.3)")
    assert found["Class"] == "2xx: done, about the mail system: mailboxes, storage, policy"
    assert found["Next"] == "Send the next RCPT, or DATA."
    assert titled(*lines, of="250 2.1.5") == "Reply 250, in answer to RCPT"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("221", "2xx: done, about the connection itself"),
        ("235", "2xx: done"),
        ("354", "3xx: go on, about the mail system: mailboxes, storage, policy"),
        ("421", "4xx: temporary failure, about the connection itself"),
        ("502", "5xx: permanent failure, about syntax, unknown or superfluous commands"),
        ("211", "2xx: done, about information asked for"),
    ],
)
def test_a_reply_has_a_class(code: str, words: str) -> None:
    # RFC 5321 §4.2.1: the first digit, and the second
    assert told(*HELLO, "C: NOOP", f"S: {code} well", of=code)["Class"] == words


def test_a_code_that_no_row_has_is_told_by_its_digits() -> None:
    found = told(*HELLO, "C: NOOP", "S: 456 odd", of="456")
    assert found["Reply"] == "456: temporary failure, mail system (code 456 is not registered)"
    assert found["Next"] == "Keep the message and try again later."
    assert {"Table", "RFC"}.isdisjoint(found)


@pytest.mark.parametrize("code", ["199", "699", "999", "000"])
def test_a_code_outside_the_classes_is_none(code: str) -> None:
    found = told(*HELLO, "C: NOOP", f"S: {code} odd", of=code.lstrip("0") or "0")
    assert found["Reply"].endswith("no SMTP reply: the first digit must be 2 to 5")
    assert "Class" not in found


def test_a_line_without_a_code_is_told_as_one() -> None:
    lines = (*HELLO, "C: NOOP", "S: hello there", "C: QUIT", "S: 221 bye")
    found = told(*lines, of="hello there")
    assert found["Reply"].startswith("no reply code: a reply begins with three digits")
    assert titled(*lines, of="hello there") == "No reply that can be read"
    assert {"Next", "Class"}.isdisjoint(found)


def test_a_code_that_the_rfcs_do_not_name_is_called_unusual() -> None:
    lines = (*HELLO, "C: DATA", "S: 354 go", "C: .", "S: 354 go", "C: NOOP", "S: 354 go")
    (session,) = review(lines)
    asked, message, nothing = (
        told_of(session, row) for row in rows(session) if row.text == "354 go"
    )
    assert "Unusual" not in asked
    assert message["Unusual"] == "no RFC names 354 in answer to the message"
    assert nothing["Unusual"] == "no RFC names 354 in answer to NOOP"


def test_an_unusual_greeting_is_called_one() -> None:
    assert told("S: 250 mx.test", "C: QUIT", "S: 221 bye", of="250")["Unusual"] == (
        "no RFC names 250 as a greeting"
    )


def test_nothing_is_unusual_in_answer_to_a_command_that_nobody_knows() -> None:
    assert "Unusual" not in told(*HELLO, "C: FROBNICATE", "S: 354 go", of="354")


# -- titles --------------------------------------------------------------------------------------


def test_a_title_says_what_was_answered() -> None:
    lines = (
        *("S: 220 mx.test", "C: AUTH LOGIN", "S: 334 VXNlcm5hbWU6", "C: *", "S: 501 no"),
        *("C: DATA", "S: 354 go", "C: .", "S: 250 ok", "S: 421 bye"),
    )
    assert titled(*lines, of="220") == "Reply 220, as a greeting"
    assert titled(*lines, of="334") == "Reply 334, in answer to AUTH"
    assert titled(*lines, of="501") == "Reply 501, in a login"
    assert titled(*lines, of="354") == "Reply 354, in answer to DATA"
    assert titled(*lines, of="250") == "Reply 250, in answer to the message"
    assert titled(*lines, of="421") == "Reply 421"


def test_a_reply_to_the_last_chunk_answers_the_message() -> None:
    # RFC 3030 §2
    lines = (*HELLO, "C: BDAT 4", "C: hi", "S: 250 first", "C: BDAT 0 LAST", "S: 250 second")
    assert titled(*lines, of="250 first") == "Reply 250, in answer to BDAT"
    assert titled(*lines, of="250 second") == "Reply 250, in answer to the message"


# -- enhanced codes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            "4.2.2",
            "4.2.2: mailbox is full; class 4: temporary failure, subject 2: mailbox (RFC 3463)",
        ),
        (
            "5.2.99",
            "5.2.99: mailbox: detail 99 is not registered (RFC 3463",
        ),
        ("5.99.1", "5.99.1: permanent failure; subject 99 is not defined (RFC 3463"),
        ("2.0.0", "2.0.0: no detail given (RFC 3463)"),
    ],
)
def test_an_enhanced_code_is_spelled_out(code: str, words: str) -> None:
    # RFC 3463 §2: class.subject.detail
    found = told(*HELLO, "C: NOOP", f"S: {code[0]}50 {code} well", of=f"{code[0]}50 {code}")
    assert found["Enhanced"].startswith(words)


def test_what_only_looks_like_an_enhanced_code_is_none() -> None:
    assert "Enhanced" not in told(*HELLO, "C: NOOP", "S: 250 3.2.1 go", of="250 3.2.1")


# -- latency -------------------------------------------------------------------------------------


def test_the_latency_stands_beside_the_servers_median() -> None:
    lines = (*HELLO, "C: NOOP", "+ 2.5", "S: 250 late", "C: QUIT", "S: 221 bye")
    assert told(*lines, of="250 late")["Latency"] == (
        "2.50 s after the command (this server's median 1.0 ms)"
    )
    assert told(*lines, of="NOOP")["Latency"] == told(*lines, of="250 late")["Latency"]
    assert told(*lines, of="220")["Latency"].endswith("after the connection began")


def test_the_latency_of_a_message_counts_from_its_end() -> None:
    lines = (*HELLO, "C: DATA", "S: 354 go", "C: hi", "+ 1", "C: .", "S: 250 ok")
    assert "ms after the message (" in told(*lines, of="250 ok")["Latency"]
    chunk = told(*HELLO, "C: BDAT 4 LAST", "C: hi", "S: 250 ok", of="250 ok")
    assert "ms after the chunk (" in chunk["Latency"]


def test_a_reply_before_its_command_has_no_latency() -> None:
    (session,) = review((*HELLO, "C: NOOP", "S: 250 early"))
    exchange = session.exchanges[-1]
    assert exchange.command is not None
    exchange.command.time = exchange.replies[0].time + 1
    found = told_of(session, row_of(session, "250 early"))
    assert found["Latency"] == "none: the reply came before the end of the command"


def test_a_reply_that_nobody_asked_for_has_no_latency() -> None:
    assert "Latency" not in told(*HELLO, "C: NOOP", "S: 250 ok", "S: 421 bye", of="421")


# -- challenges ----------------------------------------------------------------------------------


def test_a_challenge_is_decoded() -> None:
    # RFC 4954 §4: 334 and base64
    lines = (*HELLO, "C: AUTH LOGIN", "S: 334 VXNlcm5hbWU6", "C: *", "S: 501 no")
    assert told(*lines, of="334")["Challenge"] == "Username:"


def test_a_servers_proof_of_the_password_is_redacted() -> None:
    # RFC 5802 §5.1: v= is the server's signature
    lines = (
        *(*HELLO, "C: AUTH SCRAM-SHA-256 biwsbj1hbm4scj1hYmM=", "S: 334 cj1hYmNkZWYscz1hYmMsaT00"),
        *("C: Yz1iaXdzLHI9YWJjZGVmLHA9cHJvb2Y=", "S: 334 dj1zM2NyM3Q=", "C: ", "S: 235 ok"),
    )
    (session,) = review(lines)
    challenges = [told_of(session, row) for row in rows(session) if row.text.startswith("334")]
    assert [found["Challenge"] for found in challenges] == [
        "r=abcdef,s=abc,i=4",
        "v=[redacted 6 octets]",
    ]


def test_an_empty_challenge_is_not_told() -> None:
    assert "Challenge" not in told(*HELLO, "C: AUTH PLAIN", "S: 334 ", "C: *", "S: 501", of="334")


# -- extensions ----------------------------------------------------------------------------------


def extension(line: str) -> dict[str, str]:
    lines = ("S: 220 mx.test", "C: EHLO a.test", "S: 250-mx.test", f"S: 250 {line}")
    return told(*lines, of=f"250 {line}")


def test_the_first_line_of_the_reply_to_ehlo_names_what_follows() -> None:
    # RFC 5321 §4.1.1.1
    lines = ("S: 220 mx.test", "C: EHLO a.test", "S: 250-mx.test", "S: 250-DSN", "S: 250 size 9")
    found = told(*lines, of="250-mx.test")
    assert found["Offers"] == "DSN, SIZE"
    assert titled(*lines, of="250-mx.test") == "Reply 250, in answer to EHLO"
    assert titled(*lines, of="250 size") == "SIZE: an extension"


def test_many_extensions_are_named_to_a_bound() -> None:
    many = [f"S: 250-X{number}" for number in range(MAX_LISTED + 5)]
    lines = ("S: 220 mx.test", "C: EHLO a.test", "S: 250-mx.test", *many, "S: 250 DSN")
    assert told(*lines, of="250-mx.test")["Offers"].endswith(f"X{MAX_LISTED - 1} and 6 more")


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        # RFC 1870 §3: 0 is no fixed limit
        ("SIZE 1000", "at most 1,000 octets a message"),
        ("SIZE 0", "no limit is told"),
    ],
)
def test_the_limit_on_messages_is_told(line: str, limit: str) -> None:
    found = extension(line)
    assert found["Extension"] == line
    assert found["Limit"] == limit
    assert found["RFC"].endswith("(RFC 1870)")


@pytest.mark.parametrize("line", ["SIZE", "SIZE much"])
def test_a_limit_that_is_no_number_is_told_by_what_it_may_be(line: str) -> None:
    assert extension(line)["Values"] == "octets; 0: no fixed limit; nothing: not told"


def test_each_mechanism_of_a_login_is_told() -> None:
    found = extension("AUTH PLAIN X-ODD")
    assert found["PLAIN"].startswith("User name and password in one message")
    assert found["X-ODD"] == "no mechanism that is known"


def test_the_old_spelling_of_auth_is_told_as_such() -> None:
    found = extension("AUTH=LOGIN PLAIN")
    assert found["RFC"].startswith("Old spelling of AUTH")
    assert {"LOGIN", "PLAIN"} <= found.keys()


def test_an_extension_that_nobody_knows_is_told_as_one() -> None:
    assert extension("X-ODD 1")["RFC"] == "no extension that is known"


def test_an_extension_has_notes_and_evidence_and_no_findings_about_its_neighbours() -> None:
    # RFC 8314 §4.1: AUTH PLAIN without TLS
    lines = (
        *("S: 220 mx.test", "C: EHLO a.test", "S: 250-mx.test", "S: 250-DSN", "S: 250 AUTH PLAIN"),
        *("C: QUIT", "S: 221 bye"),
    )
    assert "auth-offered-in-cleartext" in told(*lines, of="250-mx.test")["Finding"]
    found = told(*lines, of="250-DSN")
    assert found["Note"] == "RFC 3464 gives the form of the reports."
    assert found["Evidence"].startswith("packet ")
    assert "Finding" not in found


def test_the_reply_to_helo_lists_no_extensions() -> None:
    lines = ("S: 220 mx.test", "C: HELO a.test", "S: 250 mx.test", "C: QUIT", "S: 221 bye")
    assert "Offers" not in told(*lines, of="250 mx")


def test_further_lines_of_other_replies_are_the_reply() -> None:
    lines = (*HELLO, "C: HELP", "S: 214-see", "S: 214 there")
    assert told(*lines, of="214 there") == told(*lines, of="214-see")


# -- LMTP ----------------------------------------------------------------------------------------


def test_each_reply_to_a_message_in_lmtp_tells_its_recipient() -> None:
    # RFC 2033 §4.2
    lines = (
        *("S: 220 mx.test", "C: LHLO a.test", "S: 250 mx.test", "C: MAIL FROM:<a@a.test>"),
        *("S: 250 ok", "C: RCPT TO:<b@b.test>", "S: 250 ok", "C: RCPT TO:<x@b.test>", "S: 550 no"),
        *("C: RCPT TO:<c@b.test>", "S: 250 ok", "C: DATA", "S: 354 go", "C: hi", "C: ."),
        *("S: 250 first", "S: 452 second"),
    )
    assert told(*lines, of="250 first")["For"] == "<b@b.test>"
    found = told(*lines, of="452 second")
    assert found["For"] == "<c@b.test>"
    assert found["Reply"] == "452: message not accepted now: storage is full"
    assert "For" not in told(*lines, of="250 ok")
