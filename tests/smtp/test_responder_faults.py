"""Faults, and each reply code of the table: what a server can be made to say and do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.responding import FULL, Client, Wanted

from smtpscope import reference
from smtpscope.reference.table import commands
from smtpscope.smtp.serving import actions as do
from smtpscope.smtp.serving.answers import ANSWERS, Answer
from smtpscope.smtp.serving.faults import ACTS, Fault, FaultCounter
from smtpscope.smtp.serving.service import Service
from smtpscope.smtp.serving.settings import Settings, User

ARGUMENTS = {
    "EHLO": "x.test",
    "HELO": "x.test",
    "LHLO": "x.test",
    "MAIL": "FROM:<a@b.test>",
    "RCPT": "TO:<a@b.test>",
    "VRFY": "fred",
    "EXPN": "all",
    "AUTH": "PLAIN",
    "BDAT": "3 LAST\r\nx",
    "ETRN": "x.test",
}
LOGIN = "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm"
BEFORE: dict[str, list[str]] = {
    "RCPT": ["MAIL FROM:<a@b.test>"],
    "DATA": ["MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>"],
    "BDAT": ["MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>"],
    ".": ["MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "DATA", "x"],
    "(auth)": ["AUTH PLAIN"],
    "ATRN": [LOGIN],
    "TURN": [LOGIN],
}
LINES = {".": ".", "(auth)": LOGIN.split()[2], "(unreadable)": "\0\1"}

CASES = [
    (row.verb, code)
    for row in commands().values()
    # HTTP's verbs are no commands, and PROXY is answered by nobody.
    if row.status not in ("http", "preamble")
    for code in sorted(reference.allowed_replies(row.verb))
]


def spoken(verb: str) -> str:
    return LINES.get(verb) or f"{verb} {ARGUMENTS.get(verb, '')}".strip()


def opened(settings: Settings, verb: str) -> Client:
    """A client that is about to say `verb`, under TLS unless it is STARTTLS."""
    client = Client(settings, tls=verb != "STARTTLS")
    client.connect()
    client.line("LHLO x.test" if settings.lmtp else "EHLO x.test")
    for line in BEFORE.get(verb, []):
        client.line(line)
    return client


@pytest.mark.parametrize(("verb", "code"), CASES)
def test_each_code_of_each_command_can_be_drawn_by_a_fault(verb: str, code: int) -> None:
    on = "*" if verb == "(unreadable)" else verb
    nth = 2 if verb in ("EHLO", "LHLO") else 0
    if verb == "(unreadable)":
        nth = 2
    fault = Fault("reply", on=on, code=code, text="As configured", nth=nth)
    settings = replace(FULL, faults=(fault,), lmtp=verb == "LHLO")
    if verb == "(greeting)":
        client = Client(settings)
        said = client.connect()
    else:
        client = opened(settings, verb)
        said = client.line(spoken(verb))
    assert said.startswith(b"%d As configured\r\n" % code), said
    assert client.played.closed is (code == 421 or (verb == "QUIT" and code < 400))
    assert client.played.notes[-1][0] in ("fault", "login")


NATURAL: list[tuple[str, int, Settings, list[str]]] = [
    ("HELO", 250, FULL, ["HELO x.test"]),
    ("HELO", 501, FULL, ["HELO"]),
    ("HELO", 502, replace(FULL, disabled=frozenset({"HELO"})), ["HELO x.test"]),
    ("HELO", 530, replace(FULL, require_tls=True), ["HELO x.test"]),
    ("HELO", 550, replace(FULL, replies={"helo": Answer(550, "", "no")}), ["HELO x.test"]),
    ("EHLO", 250, FULL, ["EHLO x.test"]),
    ("EHLO", 501, FULL, ["EHLO a b"]),
    ("EHLO", 500, replace(FULL, lmtp=True), ["EHLO x.test"]),
    ("EHLO", 504, replace(FULL, replies={"ehlo": Answer(504)}), ["EHLO x.test"]),
    ("EHLO", 502, replace(FULL, disabled=frozenset({"EHLO"})), ["EHLO x.test"]),
    ("MAIL", 250, FULL, ["EHLO x.test", "MAIL FROM:<a@b.test>"]),
    ("MAIL", 500, FULL, ["EHLO x.test", "MAIL FROM:<" + "a" * 2_000 + "@b.test>"]),
    ("MAIL", 501, FULL, ["EHLO x.test", "MAIL a@b.test"]),
    ("MAIL", 503, FULL, ["MAIL FROM:<a@b.test>"]),
    ("MAIL", 530, replace(FULL, require_auth=True), ["EHLO x.test", "MAIL FROM:<a@b.test>"]),
    ("MAIL", 550, FULL, ["EHLO x.test", "MAIL FROM:<ü@b.test>"]),
    ("MAIL", 552, FULL, ["EHLO x.test", "MAIL FROM:<a@b.test> SIZE=99999999999"]),
    ("MAIL", 555, FULL, ["EHLO x.test", "MAIL FROM:<a@b.test> X=1"]),
    ("RCPT", 250, FULL, ["RCPT TO:<fred@mx.test>"]),
    ("RCPT", 251, FULL, ["RCPT TO:<fwd@mx.test>"]),
    ("RCPT", 450, FULL, ["RCPT TO:<busy@mx.test>"]),
    ("RCPT", 452, replace(FULL, max_recipients=1), ["RCPT TO:<a@b.test>", "RCPT TO:<a@b.test>"]),
    ("RCPT", 501, FULL, ["RCPT TO:<>"]),
    ("RCPT", 503, FULL, ["RSET", "RCPT TO:<a@b.test>"]),
    ("RCPT", 550, FULL, ["RCPT TO:<joe@mx.test>"]),
    ("RCPT", 550, replace(FULL, accept_unknown=False), ["RCPT TO:<who@mx.test>"]),
    ("RCPT", 551, FULL, ["RCPT TO:<moved@mx.test>"]),
    ("RCPT", 552, FULL, ["RCPT TO:<full@mx.test>"]),
    ("RCPT", 553, FULL, ["RCPT TO:<bad@mx.test>"]),
    ("RCPT", 555, FULL, ["RCPT TO:<a@b.test> SIZE=3"]),
    ("RCPT", 556, FULL, ["RCPT TO:<a@null.test>"]),
    ("SIZE", 552, FULL, ["RSET", "MAIL FROM:<a@b.test> SIZE=100000001"]),
    ("DATA", 354, FULL, ["RCPT TO:<a@b.test>", "DATA"]),
    ("DATA", 503, FULL, ["DATA"]),
    ("DATA", 554, FULL, ["RCPT TO:<joe@mx.test>", "DATA"]),
    (".", 250, FULL, ["RCPT TO:<a@b.test>", "DATA", "."]),
    (".", 552, replace(FULL, max_size=3), ["RCPT TO:<a@b.test>", "DATA", "1234", "."]),
    (".", 554, FULL, ["RCPT TO:<a@b.test>", "DATA", "a\nb", "."]),
    ("RSET", 250, FULL, ["RSET"]),
    ("RSET", 501, FULL, ["RSET x"]),
    ("QUIT", 221, FULL, ["QUIT"]),
    ("QUIT", 501, FULL, ["QUIT x"]),
    ("NOOP", 250, FULL, ["NOOP whatever"]),
    ("VRFY", 250, FULL, ["VRFY fred"]),
    ("VRFY", 251, FULL, ["VRFY fwd"]),
    ("VRFY", 252, replace(FULL, vrfy="off"), ["VRFY fred"]),
    ("VRFY", 502, replace(FULL, disabled=frozenset({"VRFY"})), ["VRFY fred"]),
    ("VRFY", 530, replace(FULL, vrfy="auth"), ["VRFY fred"]),
    ("VRFY", 550, FULL, ["VRFY nobody"]),
    ("VRFY", 551, FULL, ["VRFY moved"]),
    ("VRFY", 553, FULL, ["VRFY smith"]),
    ("EXPN", 250, FULL, ["EXPN all"]),
    ("EXPN", 252, replace(FULL, expn="off"), ["EXPN all"]),
    ("EXPN", 550, FULL, ["EXPN nobody"]),
    ("HELP", 214, FULL, ["HELP"]),
    ("HELP", 504, FULL, ["HELP me"]),
    ("HELP", 211, replace(FULL, replies={"help": Answer(211, "", "Fine")}), ["HELP"]),
    ("STARTTLS", 220, FULL, ["STARTTLS"]),
    ("STARTTLS", 501, FULL, ["STARTTLS x"]),
    ("STARTTLS", 502, replace(FULL, starttls=False), ["STARTTLS"]),
    ("ETRN", 250, FULL, ["ETRN x.test"]),
    ("ETRN", 501, FULL, ["ETRN"]),
    ("ETRN", 502, Settings(), ["ETRN x.test"]),
    ("TURN", 502, Settings(), ["TURN"]),
    ("TURN", 530, FULL, ["TURN"]),
    ("TURN", 503, replace(FULL, turn="insecure"), ["TURN"]),
    ("TURN", 250, replace(FULL, turn="insecure"), ["RSET", "TURN"]),
    ("ATRN", 502, Settings(), ["ATRN"]),
    ("ATRN", 530, FULL, ["ATRN"]),
    ("SAML", 502, FULL, ["SAML FROM:<a@b.test>"]),
    ("BURL", 502, FULL, ["BURL imap://x LAST"]),
    ("XCLIENT", 500, FULL, ["XCLIENT NAME=x"]),
]


@pytest.mark.parametrize(
    ("verb", "code", "settings", "lines"),
    NATURAL,
    ids=[f"{verb} {code} {at}" for at, (verb, code, _, _) in enumerate(NATURAL)],
)
def test_codes_that_a_dialogue_draws(
    verb: str, code: int, settings: Settings, lines: list[str]
) -> None:
    client = Client(settings)
    client.connect()
    if verb not in ("HELO", "EHLO", "MAIL"):
        client.line("EHLO x.test")
        client.line("MAIL FROM:<a@b.test>")
    said = b""
    for line in lines:
        said = client.line(line)
    assert int(said[:3]) == code


def test_the_documented_table_can_be_drawn_without_faults() -> None:
    """The eleven commands and eleven codes of documented.json."""
    drawn = {(verb, code) for verb, code, _, _ in NATURAL}
    documented = reference.table.documented_rows().values()
    assert {row.name for row in documented if row.kind == "command"} <= {verb for verb, _ in drawn}
    others = {220, 451}
    codes = {int(row.name) for row in documented if row.kind == "reply"}
    assert codes <= {code for _, code in drawn} | others
    assert Client(FULL).connect().startswith(b"220 ")
    client = opened(FULL, ".")
    client.wanted = Wanted(refuse_message="")
    assert client.line(".").startswith(b"451 ")


def test_no_room_and_no_tls_for_now() -> None:
    service = Service(FULL)
    service.room = service.tls_ready = False
    client = Client(service)
    client.connect()
    client.line("EHLO x.test")
    assert client.line("STARTTLS") == b"454 4.7.0 TLS not available due to a temporary reason\r\n"
    assert client.line("MAIL FROM:<a@b.test>") == b"452 4.3.1 Insufficient storage\r\n"


@pytest.mark.parametrize(
    ("key", "count", "code"),
    [
        ("", 0, 250), ("etrn.none", 0, 251), ("etrn.pending", 0, 252), ("etrn.count", 3, 253),
        ("etrn.unable", 0, 458), ("etrn.refused", 0, 459),
    ],
)  # fmt: skip
def test_etrn_says_what_the_queue_says(key: str, count: int, code: int) -> None:
    client = opened(FULL, "NOOP")
    client.wanted = Wanted(etrn=(key, count))
    said = client.line("ETRN @x.test")
    assert int(said[:3]) == code
    assert b"x.test" in said
    assert count == 0 or b" 3 pending" in said
    assert do.Etrn(b"@", b"x.test") in client.played.events


@pytest.mark.parametrize("refusal", ["greeting.busy", "greeting.refused", "greeting.no-mail"])
def test_greetings_that_refuse(refusal: str) -> None:
    client = Client(FULL)
    said = client.connect(refusal)
    assert int(said[:3]) == ANSWERS[refusal].code
    assert client.played.closed is (refusal == "greeting.busy")
    if not client.played.closed:
        assert client.line("QUIT").startswith(b"221 ")


def test_every_answer_has_an_enhanced_code_of_its_class_but_greetings_and_hello() -> None:
    """RFC 2034 §4: none in the greeting, in replies to HELO and EHLO, and in 3yz."""
    for key, (code, enhanced, _) in ANSWERS.items():
        without = key.startswith(("greeting", "hello.", "helo", "ehlo")) or 300 <= code < 400
        if key in ("hello.none", "hello.extended"):
            without = False
        assert bool(enhanced) is not without, key
        assert without or enhanced[0] == str(code)[0], key


# Faults


def client_with(*faults: Fault, seed: int = 0, counter: FaultCounter | None = None) -> Client:
    settings = replace(FULL, faults=faults, seed=seed)
    client = Client(Service(settings, counter=counter), tls=False)
    client.connect()
    return client


def test_a_fault_fits_verb_argument_client_and_number() -> None:
    client = client_with(
        Fault(
            "reply", on="RCPT", argument=r"<bob@", nth=2, code=450, enhanced="4.2.1", text="busy"
        ),
        Fault("reply", on="NOOP", client="192.0.2.0/24", code=451, text="net"),
        Fault("reply", on="HELP", client="198.51.100.7", code=451, text="other"),
    )
    client.line("EHLO x.test")
    client.line("MAIL FROM:<a@b.test>")
    said = [client.line(f"RCPT TO:<{name}@b.test>") for name in ("bob", "ann", "bob", "bob")]
    assert [each[:3] for each in said] == [b"250", b"250", b"450", b"250"]
    assert said[2] == b"450 4.2.1 busy\r\n"
    assert client.line("NOOP") == b"451 net\r\n"
    assert client.line("HELP").startswith(b"214")
    assert client.played.notes == [("fault", "reply 450 on RCPT"), ("fault", "reply 451 on NOOP")]
    assert len(client.responder.envelope.recipients) == 3  # type: ignore[union-attr]


def test_the_server_counts_over_its_sessions() -> None:
    counter = FaultCounter()
    fault = Fault("reply", on="NOOP", nth=2, scope="server", code=450)
    clients = [client_with(fault, counter=counter) for _ in range(3)]
    assert [client.line("NOOP")[:3] for client in clients] == [b"250", b"450", b"250"]
    clients = [client_with(replace(fault, scope="session")) for _ in range(2)]
    assert [[client.line("NOOP")[:3] for _ in range(2)] for client in clients] == [
        [b"250", b"450"]
    ] * 2


def test_probability_goes_by_the_seed_alone() -> None:
    fault = Fault("reply", on="NOOP", probability=0.3, code=450)

    def run(seed: int) -> str:
        client = client_with(fault, seed=seed)
        return "".join(client.line("NOOP").decode()[0] for _ in range(200))

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 30 < run(1).count("4") < 90


def test_delay_throttle_and_reply_add_up() -> None:
    client = client_with(
        Fault("delay", on="NOOP", seconds=1.5),
        Fault("throttle", on="NOOP", rate=100),
        Fault("reply", on="NOOP", code=250, text="fine"),
    )
    actions = client.responder.feed(b"NOOP\r\n")
    assert [each for each in actions if not isinstance(each, do.Note)] == [
        do.Delay(1.5), do.Throttle(100), do.Send(b"250 fine\r\n"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("close", on="NOOP"), [do.Close()]),
        (Fault("reset", on="NOOP"), [do.Close(True)]),
        (Fault("drop", on="NOOP"), [do.Close()]),
        (Fault("stop-reading", on="NOOP"), [do.StopReading()]),
        (Fault("partial", on="NOOP", octets=5), [do.Send(b"250 2"), do.Close()]),
        (Fault("partial", on="NOOP", then="reset"), [do.Close(True)]),
        (Fault("partial", on="*", octets=3, then="stall"), [do.Send(b"250"), do.StopReading()]),
        (Fault("garbage", on="NOOP", garbage=b"\xff\0"), [do.Send(b"\xff\x00250 2.0.0 Ok\r\n")]),
    ],
)
def test_faults_that_break_the_dialogue(fault: Fault, expected: list[do.Action]) -> None:
    actions = client_with(fault).responder.feed(b"NOOP\r\nRSET\r\n")
    assert [each for each in actions if not isinstance(each, do.Note)] == expected


def test_random_garbage_is_the_same_for_a_seed() -> None:
    said = [client_with(Fault("garbage", on="NOOP", octets=9)).line("NOOP") for _ in range(2)]
    assert said[0] == said[1]
    assert len(said[0]) == 9


@pytest.mark.parametrize("act", ["drop", "close", "reset"])
def test_a_message_dropped_after_the_dot_is_not_stored(act: str) -> None:
    client = opened(replace(FULL, faults=(Fault(act, on=".", argument="TO:<a@b"),)), ".")
    assert client.line(".") == b""
    assert client.played.messages == []
    assert client.played.events[-2:] == [
        do.MessageAbort("connection closed"), do.Close(act == "reset")
    ]  # fmt: skip


def test_a_partial_reply_to_a_message_that_is_stored() -> None:
    fault = Fault("partial", on=".", octets=4)
    client = opened(replace(FULL, faults=(fault,)), ".")
    assert client.line(".") == b"250 "
    assert client.played.messages == [b"x\r\n"]
    assert client.played.closed


def test_tls_faults() -> None:
    client = opened(replace(FULL, faults=(Fault("refuse-tls", on="STARTTLS"),)), "STARTTLS")
    assert client.line("STARTTLS").startswith(b"454 ")
    client = opened(replace(FULL, faults=(Fault("bad-certificate", on="(tls)"),)), "STARTTLS")
    client.line("STARTTLS")
    assert do.StartTls("bad-certificate") in client.played.events
    client = Client(replace(FULL, faults=(Fault("refuse-tls", on="(tls)"),)), tls=True)
    kind, (note,) = client.responder.handshake()
    assert (kind, note) == ("refuse", do.Note("fault", "refuse-tls on (tls)"))
    assert Client(FULL, tls=True).responder.handshake() == ("good", [])


def test_a_refused_chunk_is_passed_over() -> None:
    client = opened(replace(FULL, faults=(Fault("reply", on="BDAT", nth=1, code=452),)), "BDAT")
    said = client.say(b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n")
    assert [line[:3] for line in said.splitlines()] == [b"452", b"503", b"250"]
    assert client.played.messages == []


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    "on", ["(greeting)", "EHLO", "STARTTLS", "AUTH", "(auth)", "DATA", ".", "BDAT", "*"]
)
def test_no_fault_ever_raises(act: str, on: str) -> None:
    fault = Fault(act, on=on, code=454, seconds=1, rate=1, octets=2)
    client = Client(replace(FULL, faults=(fault, replace(fault, nth=2)), auth_allow_insecure=True))
    client.connect()
    client.say(
        b"EHLO x.test\r\nAUTH PLAIN\r\n*\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\n"
        b"DATA\r\nx\r\n.\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nBDAT 1\r\nx"
        b"BDAT 1 LAST\r\nySTARTTLS\r\nNOOP\r\n"
    )
    client.carry_out(client.responder.secured())
    client.carry_out(client.responder.eof())
    assert client.responder.over


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"act": "explode"}, "act"),
        ({"act": "reply"}, "code"),
        ({"act": "reply", "code": 100}, "code"),
        ({"act": "delay"}, "seconds"),
        ({"act": "close", "probability": 2.0}, "probability"),
        ({"act": "close", "argument": "("}, "argument"),
        ({"act": "close", "client": "nowhere"}, "client"),
        ({"act": "reply", "code": 450, "enhanced": "9.9"}, "enhanced"),
        ({"act": "close", "scope": "world"}, "scope"),
    ],
)
def test_a_fault_that_makes_no_sense_names_its_field(wrong: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        Fault(**wrong)  # type: ignore[arg-type]


# Addresses


def addressed(sender: str, recipient: str, *, lmtp: bool = False) -> Client:
    settings = replace(FULL, address_faults=True, lmtp=lmtp)
    client = Client(settings)
    client.connect()
    client.line("LHLO x.test" if lmtp else "EHLO x.test")
    client.line(f"MAIL FROM:<{sender}>")
    client.line(f"RCPT TO:<{recipient}>")
    client.line("DATA")
    return client


def test_addresses_ask_for_replies() -> None:
    assert addressed("mail+451@b.test", "a@b.test").played.said.count(b"451 4.0.0 As the") == 1
    client = addressed("a@b.test", "rcpt+550-5.1.1@b.test")
    assert b"550 5.1.1 As the address asked for\r\n554 " in client.played.said
    assert client.played.notes == [("fault", "address: reply 550 on RCPT")]
    assert addressed("a@b.test", "rcpt+251-2.1.5@b.test").responder.in_message
    assert addressed("a@b.test", "predata+451@b.test").played.said.endswith(
        b"451 4.0.0 As the address asked for\r\n"
    )
    client = addressed("a@b.test", "data+552-5.3.4@b.test")
    assert client.line(".") == b"552 5.3.4 As the address asked for\r\n"
    assert client.played.messages == []
    client = addressed("a@b.test", "rcpt+421@b.test")
    assert client.played.closed


def test_addresses_mean_nothing_unless_that_is_on() -> None:
    client = Client(FULL)
    client.connect()
    client.line("EHLO x.test")
    assert client.line("MAIL FROM:<mail+451@b.test>").startswith(b"250 ")


@pytest.mark.parametrize(("code", "replies"), [(452, 2), (554, 2), (421, 1), (250, 2)])
def test_in_lmtp_a_fault_at_the_end_of_a_message_answers_for_each_recipient(
    code: int, replies: int
) -> None:
    """RFC 2033 §4.2; behind a 421 nothing is said (RFC 5321 §3.8)."""
    fault = Fault(on=".", act="reply", code=code)
    client = Client(replace(FULL, lmtp=True, faults=(fault,)))
    client.connect()
    client.line("LHLO x.test")
    client.line("MAIL FROM:<a@b.test>")
    for name in ("fred", "joe", "sam"):
        client.line(f"RCPT TO:<{name}@mx.test>")
    assert client.line("DATA").startswith(b"354")
    said = client.say(b"hello\r\n.\r\n")
    assert [int(line[:3]) for line in said.splitlines()] == [code, 250 if code < 400 else code][
        :replies
    ]
    assert client.played.closed is (code == 421)


def test_in_lmtp_an_address_asks_for_itself_alone() -> None:
    client = addressed("a@b.test", "data+552-5.2.2@b.test", lmtp=True)
    client.say(b".\r\n")
    assert client.played.said.endswith(b"552 5.2.2 As the address asked for\r\n")
    assert client.played.messages == []
    client = Client(replace(FULL, address_faults=True, lmtp=True))
    client.connect()
    said = client.say(
        b"LHLO x.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<data+450@b.test>\r\n"
        b"RCPT TO:<b@b.test>\r\nDATA\r\n.\r\n"
    )
    assert said.endswith(
        b"450 4.0.0 As the address asked for\r\n250 2.0.0 <b@b.test> Ok: queued as 1\r\n"
    )
    assert [each.name for each in client.played.envelopes[0].recipients] == [b"b@b.test"]


def test_users_by_local_part_alone() -> None:
    settings = Settings(users=(User("fred"),), accept_unknown=False, domains=frozenset({"B.test"}))
    client = Client(settings)
    client.connect()
    client.line("EHLO x.test")
    client.line("MAIL FROM:<>")
    codes = [
        int(client.line(f"RCPT TO:<{address}>")[:3])
        for address in (
            "Fred@b.TEST",
            "jim@b.test",
            "fred@c.test",
            "postmaster@b.test",
            "Postmaster",
        )
    ]
    assert codes == [250, 550, 550, 250, 250]
