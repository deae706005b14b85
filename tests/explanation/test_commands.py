"""What a client's line is explained as."""

from __future__ import annotations

import pytest
from support.explained import HELLO, titled, told

from smtpscope.explanation.commands import MAX_PARAMETERS, MAX_ROUTE
from smtpscope.explanation.fact import span_of_time


def parameter(line: str) -> str:
    """What the last parameter of MAIL or RCPT is explained as."""
    return told(*HELLO, f"C: {line}", "S: 250 ok", of=line[:4])[
        line.rpartition(" ")[2].partition("=")[0].upper()
    ]


# -- the command ---------------------------------------------------------------------------------


def test_a_command_is_told_with_its_table_rfc_syntax_and_notes() -> None:
    # RFC 5321 §4.1.1.2: MAIL
    found = told(*HELLO, "C: MAIL FROM:<a@a.test>", "S: 250 ok", of="MAIL")
    assert found["Table"] == "Begins a message and gives the sender's address."
    assert found["RFC"].endswith("the address that bounces go to. (RFC 5321 §4.1.1.2, §4.3.2)")
    assert found["Syntax"] == "MAIL FROM:<reverse-path> [parameter ...]"
    assert found["Note"].startswith("<> is the null sender of bounces.")
    assert "it belongs to the envelope" in found["Mind"]


def test_a_command_that_the_documented_table_lacks_has_no_table() -> None:
    # RFC 3207 §4: STARTTLS
    found = told(*HELLO, "C: STARTTLS", "S: 454 not now", of="STARTTLS")
    assert "Table" not in found
    assert "RFC 3207" in found["RFC"]


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("QUIT", "QUIT: ends the session"),
        ("quit", "QUIT: ends the session"),
        ("FROBNICATE now", "FROBNICATE: no known command"),
        ("?!", "No command"),
    ],
)
def test_a_title_is_the_verb_and_what_it_does(line: str, title: str) -> None:
    assert titled(*HELLO, f"C: {line}", "S: 500 what", of=line.partition(" ")[0].upper()) == title


@pytest.mark.parametrize(
    ("line", "what"), [("FROBNICATE", "no command that is known"), ("?!", "no command")]
)
def test_what_is_no_command_draws_500(line: str, what: str) -> None:
    # RFC 5321 §4.2.4: 500 for what is not recognised
    found = told(*HELLO, f"C: {line}", "S: 500 what", of=line)
    assert found["Table"] == f"{what}: a server answers 500"
    assert "Syntax" not in found


def test_an_end_of_data_is_no_command_and_the_message_stands_for_it() -> None:
    lines = (*HELLO, "C: DATA", "S: 354 go", "C: Subject: hi", "C: ", "C: .", "S: 250 ok")
    assert titled(*lines, of="DATA") == "DATA: asks to send the message"
    assert titled(*lines, of="[message") == "The message"
    assert "Syntax" not in told(*lines, of="[message")


# -- its reply -----------------------------------------------------------------------------------


def test_a_command_tells_what_became_of_it_and_what_comes_next() -> None:
    # RFC 5321 §4.2.2, RFC 3463 §3.2: 550 5.1.1
    found = told(*HELLO, "C: RCPT TO:<b@b.test>", "S: 550 5.1.1 no", of="RCPT")
    assert found["Reply"] == (
        "550 5.1.1: recipient refused: no such mailbox, or policy; no such mailbox (left of the @)"
    )
    assert found["Next"] == "Don't repeat it as it is; tell the sender."


def test_an_enhanced_code_of_success_says_nothing_more() -> None:
    found = told(*HELLO, "C: RCPT TO:<b@b.test>", "S: 250 2.1.5 ok", of="RCPT")
    assert found["Reply"] == "250 2.1.5: recipient accepted"


def test_a_command_without_a_reply_says_so() -> None:
    found = told(*HELLO, "C: NOOP", "end", of="NOOP")
    assert found["Reply"] == "none in the capture"
    assert {"Next", "Latency"}.isdisjoint(found)


def test_octets_that_are_no_command_await_no_reply() -> None:
    found = told("S: 220 mx.test", "C<100", "C: ???", "C: QUIT", "S: 221 bye", of="(")
    assert "Reply" not in found
    assert "RFC" in found


def test_of_many_replies_a_few_are_told() -> None:
    # RFC 2033 §4.2: a reply for each recipient
    recipients = [line for n in range(5) for line in (f"C: RCPT TO:<{n}@b.test>", "S: 250 ok")]
    replies = ["S: 250 2.0.0 ok", "S: 452 4.2.2 full", *["S: 250 2.0.0 ok"] * 3]
    found = told(
        *("S: 220 mx.test", "C: LHLO a.test", "S: 250 mx.test"),
        *("C: MAIL FROM:<a@a.test>", "S: 250 ok", *recipients),
        *("C: DATA", "S: 354 go", "C: Subject: hi", "C: ", "C: .", *replies),
        of="[message",
    )
    accepted = "250 2.0.0: message accepted: the server is now responsible for it"
    full = "452 4.2.2: message not accepted now: storage is full; mailbox is full"
    assert found["Reply"].split(" | ") == [accepted, full, accepted, "and 2 more replies"]


# -- EHLO ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("a.test", "a.test: so the client calls itself; anybody can claim it"),
        ("[192.0.2.1]", "[192.0.2.1]: the client gives its address, as it has no name"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]: the client gives its address, as it has no"),
        ("", "none, though one must be given"),
    ],
)
@pytest.mark.parametrize("verb", ["EHLO", "HELO", "LHLO"])
def test_the_clients_name_is_what_it_claims(verb: str, argument: str, shown: str) -> None:
    # RFC 5321 §4.1.1.1, §4.1.3: a domain or an address literal
    line = f"C: {verb} {argument}".rstrip(" ")
    assert told("S: 220 mx.test", line, "S: 250 ok", of=verb)["Name"].startswith(shown)


# -- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        (
            "RCPT TO:<bob@b.test>",
            {"Path": "<bob@b.test>", "Mailbox": "bob at the domain b.test"},
        ),
        (
            'RCPT TO:<"bob at work"@[192.0.2.1]>',
            {
                "Path": '<"bob at work"@[192.0.2.1]>',
                "Mailbox": '"bob at work" at the address [192.0.2.1]',
            },
        ),
        (
            "RCPT TO:bob@b.test",
            {"Path": "bob@b.test, without its brackets", "Mailbox": "bob at the domain b.test"},
        ),
        (
            # RFC 5321 §4.1.1.3: <Postmaster> has no domain
            "RCPT TO:<PostMaster>",
            {
                "Path": "<PostMaster>",
                "Mailbox": "who looks after the server; it needs no domain",
            },
        ),
        (
            # RFC 5321 §4.5.5: notifications come from <>
            "MAIL FROM:<>",
            {"Path": "<> the null sender: this is a report, and nothing may be sent back"},
        ),
        ("RCPT TO:<>", {"Path": "<>: nobody; only the sender may be null"}),
        ("RCPT TO:<bob>", {"Path": "<bob>"}),
        ("RCPT bob", {}),
    ],
)
def test_a_path_is_taken_apart(line: str, facts: dict[str, str]) -> None:
    found = told(*HELLO, f"C: {line}", "S: 250 ok", of=line[:4])
    assert {
        label: found[label] for label in ("Path", "Mailbox", "Route") if label in found
    } == facts


def test_a_source_route_is_told_as_what_is_ignored() -> None:
    # RFC 5321 appendix C
    line = "RCPT TO:<@one.test,@two.test:bob@b.test>"
    found = told(*HELLO, f"C: {line}", "S: 250 ok", of="RCPT")
    assert found["Path"] == "<bob@b.test>"
    assert found["Route"] == "one.test, two.test (a source route: obsolete, and ignored)"


def test_a_long_route_is_told_to_a_bound() -> None:
    route = ",".join(f"@h{number}.test" for number in range(MAX_ROUTE + 5))
    found = told(*HELLO, f"C: RCPT TO:<{route}:bob@b.test>", "S: 250 ok", of="RCPT")
    assert found["Route"].count(".test") == MAX_ROUTE


# -- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        # RFC 1870 §4
        ("MAIL FROM:<a@a.test> SIZE=2048", "the client expects 2,048 octets (RFC 1870)"),
        ("MAIL FROM:<a@a.test> size=1", "the client expects 1 octet (RFC 1870)"),
        ("MAIL FROM:<a@a.test> SIZE=big", "big: The client's estimate of the message's size."),
        ("MAIL FROM:<a@a.test> SIZE", "The client's estimate of the message's size. (RFC 1870)"),
        (f"MAIL FROM:<a@a.test> SIZE={'9' * 25}", f"{'9' * 25}: The client's estimate"),
        # RFC 6152 §3, RFC 3030 §3
        ("MAIL FROM:<a@a.test> BODY=7BIT", "7BIT: plain ASCII (RFC 6152; RFC 3030 §3)"),
        ("MAIL FROM:<a@a.test> BODY=8bitmime", "8bitmime: lines that may have octets above 127"),
        ("MAIL FROM:<a@a.test> BODY=BINARYMIME", "BINARYMIME: binary, in no lines"),
        ("MAIL FROM:<a@a.test> BODY=9BIT", "9BIT: What octets the body has: ASCII, lines"),
        # RFC 3461 §4.3, §4.4
        ("MAIL FROM:<a@a.test> RET=FULL", "FULL: a report of failure brings the whole message"),
        ("MAIL FROM:<a@a.test> RET=hdrs", "hdrs: a report of failure brings back the header"),
        (
            "MAIL FROM:<a@a.test> ENVID=QQ+2B314+3D",
            "QQ+314=: the sender's own name for this mail, given back in reports (RFC 3461 §4.4)",
        ),
        # RFC 3461 §4.1
        ("RCPT TO:<b@b.test> NOTIFY=NEVER", "NEVER: no reports at all (RFC 3461 §4.1)"),
        (
            "RCPT TO:<b@b.test> NOTIFY=SUCCESS,FAILURE,DELAY",
            "SUCCESS,FAILURE,DELAY: when it was delivered, or when it can't be delivered,"
            " or when it is late (RFC 3461 §4.1)",
        ),
        ("RCPT TO:<b@b.test> NOTIFY=NEVER,DELAY", "NEVER,DELAY: When to report about this"),
        ("RCPT TO:<b@b.test> NOTIFY=SOMETIMES", "SOMETIMES: When to report about this recipient."),
        # RFC 3461 §4.2, RFC 6533 §3
        (
            "RCPT TO:<b@b.test> ORCPT=rfc822;Bob+2Bnews@b.test",
            "Bob+news@b.test: the recipient as first written (RFC 3461 §4.2; RFC 6533)",
        ),
        (
            r"RCPT TO:<b@b.test> ORCPT=utf-8;\\x{6D4B}@b.test",
            "测@b.test (an address in UTF-8): the recipient as first written",
        ),
        (
            "RCPT TO:<b@b.test> ORCPT=x400;/c=us/",
            "/c=us/ (an address of type x400): the recipient as first written",
        ),
        (
            "RCPT TO:<b@b.test> ORCPT=bob@b.test",
            "bob@b.test (without its type): the recipient as first written",
        ),
        # RFC 4954 §5
        (
            "MAIL FROM:<a@a.test> AUTH=ann+2Bx@a.test",
            "ann+x@a.test: who first sent it, as the client vouches (RFC 4954 §5)",
        ),
        ("MAIL FROM:<a@a.test> AUTH=<>", "<>: the client does not know, or does not vouch"),
        # RFC 4405 §4
        (
            "MAIL FROM:<a@a.test> SUBMITTER=list@l.test",
            "list@l.test: who is responsible for sending it this time (RFC 4405)",
        ),
        # RFC 2852 §4
        ("MAIL FROM:<a@a.test> BY=120;R", "within 2 minutes, else return it (RFC 2852)"),
        ("MAIL FROM:<a@a.test> BY=+90;n", "within 90 seconds, else tell the sender (RFC 2852)"),
        (
            "MAIL FROM:<a@a.test> BY=7200;NT",
            "within 2 hours, else tell the sender; each server that passes it on is to tell",
        ),
        ("MAIL FROM:<a@a.test> BY=-5;N", "already late: tell the sender (RFC 2852)"),
        ("MAIL FROM:<a@a.test> BY=soon", "soon: Deadline: then return the message (R) or just"),
        # RFC 4865 §4
        ("MAIL FROM:<a@a.test> HOLDFOR=259200", "to be held for 3 days (RFC 4865)"),
        ("MAIL FROM:<a@a.test> HOLDFOR=ever", "ever: Hold the message that long. (RFC 4865)"),
        (
            "MAIL FROM:<a@a.test> HOLDUNTIL=2030-01-01T00:00:00Z",
            "2030-01-01T00:00:00Z: Hold the message until then. (RFC 4865)",
        ),
        # RFC 6531 §3.4, RFC 8689 §2
        ("MAIL FROM:<a@a.test> SMTPUTF8", "An address or a header of this message needs UTF-8."),
        ("MAIL FROM:<a@a.test> REQUIRETLS", "Pass this message on only under TLS, with a"),
        ("MAIL FROM:<a@a.test> X-ODD=1", "1: no parameter that is known"),
        ("MAIL FROM:<a@a.test> X-ODD", "no parameter that is known"),
        # It is known, but to MAIL.
        ("RCPT TO:<b@b.test> RET=9", "9: no parameter that is known"),
    ],
)
def test_a_parameter_is_decoded(line: str, words: str) -> None:
    assert parameter(line).startswith(words)


def test_many_parameters_are_told_to_a_bound() -> None:
    words = " ".join(f"X{number}=1" for number in range(MAX_PARAMETERS + 3))
    found = told(*HELLO, f"C: MAIL FROM:<a@a.test> {words}", "S: 250 ok", of="MAIL")
    assert found["More"] == "3 more parameters"
    assert f"X{MAX_PARAMETERS - 1}" in found
    assert f"X{MAX_PARAMETERS}" not in found


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (1_000, "about 17 minutes"),
        (7_200, "2 hours"),
        (172_799, "about 48 hours"),
        (172_800, "2 days"),
        (10**18, "about 11,574,074,074,074 days"),
    ],
)
def test_a_span_of_time_is_told_in_its_largest_unit(seconds: int, words: str) -> None:
    assert span_of_time(seconds) == words


# -- chunks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("4", "4 octets, more chunks follow"),
        ("4 last", "4 octets, the last ones of the message"),
    ],
)
def test_a_chunk_is_counted(argument: str, words: str) -> None:
    # RFC 3030 §2: BDAT size [LAST]
    lines = (*HELLO, f"C: BDAT {argument}", "C: hi", "S: 250 ok")
    assert told(*lines, of="BDAT")["Chunk"] == words


def test_a_chunk_without_a_size_is_none() -> None:
    lines = (*HELLO, "C: BDAT much", "S: 501 what", "C: BDAT", "S: 501 what")
    assert "Chunk" not in told(*lines, of="BDAT much")


# -- AUTH ----------------------------------------------------------------------------------------

PLAIN = (*HELLO, "C: AUTH PLAIN AGFubgBzM2NyM3Q=", "S: 235 ok")
LOGIN = (
    *(*HELLO, "C: AUTH LOGIN", "S: 334 VXNlcm5hbWU6", "C: YW5u"),
    *("S: 334 UGFzc3dvcmQ6", "C: czNjcjN0", "S: 535 no"),
)


def test_a_login_tells_who_and_how_and_hides_the_secret() -> None:
    # RFC 4616 §2: authzid NUL authcid NUL password
    found = told(*PLAIN, of="AUTH")
    assert found["Mechanism"].startswith("PLAIN: User name and password in one message")
    assert found["On the wire"] == "the password itself"
    assert found["Identity"] == "ann"
    assert found["Secret"] == "[redacted 6 octets]"
    assert found["Outcome"] == "235: logged in"
    assert "s3cr3t" not in str(found)
    assert "AGFubgBz" not in str(found)


def test_a_secret_is_told_where_that_is_asked_for() -> None:
    assert told(*PLAIN, of="AUTH", reveal=True)["Secret"] == "s3cr3t"


def test_who_acts_as_somebody_else_is_told() -> None:
    found = told(*HELLO, "C: AUTH PLAIN Ym9iAGFubgBzM2NyM3Q=", "S: 235 ok", of="AUTH")
    assert (found["Identity"], found["Acts as"]) == ("ann", "bob")


@pytest.mark.parametrize("of", ["AUTH", "identity ann", "[redacted"])
def test_each_line_of_a_login_tells_the_whole_login(of: str) -> None:
    found = told(*LOGIN, of=of)
    assert found["Identity"] == "ann"
    assert found["Secret"] == "[redacted 6 octets]"
    assert found["Outcome"] == "535: not logged in"
    assert "czNjcjN0" not in str(found)


def test_a_clients_answer_is_told_as_one() -> None:
    assert titled(*LOGIN, of="[redacted") == "(auth): the client's answer"


def test_an_unknown_mechanism_keeps_its_name() -> None:
    found = told(*HELLO, "C: AUTH X-ODD aGk=", "S: 504 no", of="AUTH")
    assert found["Mechanism"] == "X-ODD"
    assert found["Secret"] == "[redacted 2 octets]"
    assert "On the wire" not in found


def test_a_secret_in_the_place_of_the_mechanism_is_hidden() -> None:
    found = told(*HELLO, "C: AUTH =s3cr3t=", "S: 504 no", of="AUTH")
    assert found["Mechanism"] == "(none that is legible)"
    assert "s3cr3t" not in str(found)


def test_a_login_that_is_not_over_has_no_outcome() -> None:
    assert "Outcome" not in told(*HELLO, "C: AUTH LOGIN", "S: 334 VXNlcm5hbWU6", "end", of="AUTH")
