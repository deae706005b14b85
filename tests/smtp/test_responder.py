"""A server's dialogues as transcripts, each in every chunking: RFC 5321, 2033, 2920, 3030, …"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from support.responding import FULL, Client, Played, Wanted, play
from support.serving_scenes import SCENES, Scene

from smtpscope.smtp.framing import DataScanner
from smtpscope.smtp.responder import MAX_AHEAD, MAX_LINE, Responder
from smtpscope.smtp.serving import actions as do
from smtpscope.smtp.serving.answers import Answer
from smtpscope.smtp.serving.content import MessageScanner
from smtpscope.smtp.serving.service import Service
from smtpscope.smtp.serving.settings import TOLERATED, Settings
from smtpscope.stream import Direction, Endpoint


def ids(scene: Scene) -> str:
    return scene.title


def comparable(played: Played) -> object:
    return played.events, played.messages, played.notes, played.turned


@pytest.mark.parametrize("scene", SCENES, ids=ids)
def test_a_scene_goes_as_its_transcript_says(scene: Scene) -> None:
    play(scene.settings, scene.transcript, wanted=scene.wanted)


@pytest.mark.parametrize("scene", SCENES, ids=ids)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_chunking_does_the_same(scene: Scene, size: int) -> None:
    whole = play(scene.settings, scene.transcript, wanted=scene.wanted)
    pieces = play(scene.settings, scene.transcript, iter(lambda: size, 0), scene.wanted)
    assert comparable(pieces) == comparable(whole)


@given(st.data())
@effort(max_examples=200, deadline=None)
def test_random_chunkings_do_the_same(data: st.DataObject) -> None:
    scene = data.draw(st.sampled_from(SCENES))
    sizes = data.draw(st.lists(st.integers(1, 40), max_size=60))
    whole = play(scene.settings, scene.transcript, wanted=scene.wanted)
    assert comparable(play(scene.settings, scene.transcript, sizes, scene.wanted)) == comparable(
        whole
    )


def test_the_documented_sample_dialogue_octet_by_octet() -> None:
    """The persona of the documented table's sample dialogue: the server's side of it, exactly."""
    ok = Answer(250, "", "Ok")
    persona = Settings(
        host="Postini",
        starttls=True,
        extensions=("STARTTLS", "8BITMIME", "HELP"),
        tolerate=TOLERATED | {"path-without-brackets"},
        replies={
            "greeting": Answer(
                220,
                "",
                "{host} ESMTP 235 y6_19_2c0 ready. US Business and Professions Code Section "
                "17538.45 forbids use of this system for unsolicited electronic mail "
                "advertisements.",
            ),
            "ehlo": Answer(250, "", "{host} says hello back"),
            "mail": ok,
            "rcpt": ok,
            "rset": ok,
            "quit": Answer(221, "", "Catch you later"),
        },
    )
    played = play(persona, "\n".join(SAMPLE))
    assert played.said.decode().splitlines() == [row[3:] for row in SAMPLE if row[0] == "S"]
    assert played.closed


SAMPLE = [
    "S: 220 Postini ESMTP 235 y6_19_2c0 ready. US Business and Professions Code Section 17538.45 "
    "forbids use of this system for unsolicited electronic mail advertisements.",
    "C: EHLO adminsky.org",
    "S: 250-Postini says hello back",
    "S: 250-STARTTLS",
    "S: 250-8BITMIME",
    "S: 250 HELP",
    "C: MAIL FROM:test@adminsky.org",
    "S: 250 Ok",
    "C: RCPT TO:webmaster@adminsky.org",
    "S: 250 Ok",
    "C: RSET",
    "S: 250 Ok",
    "C: QUIT",
    "S: 221 Catch you later",
]


def test_a_message_is_unstuffed_and_whole() -> None:
    played = play(SCENES[0].settings, SCENES[0].transcript)
    assert played.messages == [b"Blah blah blah...\r\n.etc. etc. etc.\r\n"]
    (envelope,) = played.envelopes
    assert envelope.sender.address == b"Smith@bar.com"
    assert [each.name for each in envelope.recipients] == [b"Jones@foo.com", b"Brown@foo.com"]
    assert (envelope.protocol, envelope.hello, envelope.via) == ("ESMTP", b"bar.com", "DATA")


def test_bare_line_feeds_are_kept_and_flagged() -> None:
    (scene,) = [each for each in SCENES if each.title.startswith("RFC 5321 §2.3.8")]
    played = play(scene.settings, scene.transcript)
    assert played.messages == [b"one\n.\n..two\r\n.three\r\n"]
    assert played.notes == [("bare-lf", "in a command"), ("bare-lf", "in the message")]


def test_plaintext_behind_starttls_is_told() -> None:
    (scene,) = [each for each in SCENES if each.title.startswith("RFC 3207")]
    played = play(scene.settings, scene.transcript)
    assert ("plaintext-discarded", "41 octets behind STARTTLS") in played.notes


def test_commands_in_one_piece_are_answered_in_one() -> None:
    responder = Responder(Service(Settings()), Endpoint("192.0.2.1", 1))
    responder.connect()
    actions = responder.feed(
        b"EHLO x.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nNOOP\r\n"
    )
    assert [type(action) for action in actions] == [do.Send]


def in_data(settings: Settings | None = None, wanted: Wanted | None = None) -> Client:
    client = Client(settings or Settings(), wanted)
    client.connect()
    client.say(b"EHLO x.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
    return client


def test_nothing_is_said_before_the_message_is_stored() -> None:
    responder = in_data().responder
    data, end = responder.feed(b"x\r\n.\r\nNOOP\r\n")
    assert data == do.MessageData(b"x\r\n")
    assert isinstance(end, do.MessageEnd)
    assert responder.feed(b"RSET\r\n") == []
    assert responder.stored("7") == [
        do.Send(b"250 2.0.0 Ok: queued as 7\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n")
    ]


def test_a_message_that_could_not_be_stored() -> None:
    client = in_data(wanted=Wanted(refuse_message=""))
    assert client.say(b"x\r\n.\r\n") == b"451 4.3.0 Not stored: local error\r\n"
    client = in_data(wanted=Wanted(refuse_message=Answer(452, "4.3.1", "Disk full")))
    assert client.say(b"x\r\n.\r\n") == b"452 4.3.1 Disk full\r\n"
    with pytest.raises(RuntimeError, match="no answer is owed"):
        client.responder.stored("1")


def test_what_is_sent_ahead_is_bounded() -> None:
    responder = in_data().responder
    responder.feed(b"x\r\n.\r\n")
    assert not responder.paused
    for _ in range(2 * MAX_AHEAD // 65_536):
        assert responder.feed(b"NOOP\r\n" * 10_922) == []
    *_, last = responder.stored("1")
    assert isinstance(last, do.Close)


def test_an_answer_that_comes_too_late_does_no_harm() -> None:
    responder = in_data().responder
    responder.feed(b"x\r\n.\r\nNOOP\r\n")
    assert responder.close()[-1] == do.Close()
    assert responder.stored("1") == responder.refuse() == responder.accept() == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"auth": "all"}, "auth"),
        ({"vrfy": "yes"}, "vrfy"),
        ({"bare_lf": ""}, "bare_lf"),
        ({"replies": {"mial": Answer(250)}}, "replies"),
        ({"replies": {"mail": Answer(25)}}, "replies"),
        ({"logins": {"a": "auth.nope"}}, "logins"),
        ({"greeting": "hello there"}, "greeting"),
    ],
)
def test_settings_that_make_no_sense_name_their_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        Settings(**wrong)


def test_a_client_that_is_done_gets_what_is_owed_first() -> None:
    responder = in_data().responder
    responder.feed(b"x\r\n.\r\nNOOP\r\n")
    assert responder.eof() == []
    sent, close = responder.stored("1")
    assert sent == do.Send(b"250 2.0.0 Ok: queued as 1\r\n250 2.0.0 Ok\r\n")
    assert close == do.Close()
    assert responder.feed(b"NOOP\r\n") == []


def test_a_client_that_goes_in_the_middle_of_a_message() -> None:
    client = in_data()
    client.say(b"half a message\r\n")
    assert client.responder.eof() == [do.MessageAbort("connection closed"), do.Close()]


def test_long_lines_are_flagged_in_a_message_and_refused_in_a_command() -> None:
    fits, long = b"x" * 998 + b"\r\n", b"x" * 999 + b"\r\n"
    for text, flagged in ((fits + fits, False), (fits + long + fits, True)):
        for sizes in ([], [1] * 3_100, [700] * 5):
            client = in_data()
            client.say(text + b".\r\n", sizes)
            assert (
                ("text-line-too-long", "a line of the message") in client.played.notes
            ) is flagged
    client = Client(Settings())
    client.connect()
    assert client.line("NOOP " + "x" * 505) == b"250 2.0.0 Ok\r\n"
    for length in (506, 13_000, MAX_LINE, MAX_LINE * 3):
        assert client.line("NOOP " + "x" * length) == b"500 5.5.2 Line too long\r\n"
        assert client.line("NOOP " + "x" * length, [999] * 300) == b"500 5.5.2 Line too long\r\n"
        client.line("NOOP")


def test_mail_may_be_longer_as_its_extensions_say() -> None:
    client = Client(Settings())
    client.connect()
    client.line("EHLO x.test")
    spaces = " " * (512 + 26 + 17 + 16 + 10 + 107 - len("MAIL FROM:<a@b.test>\r\n"))
    assert client.line("MAIL FROM:<a@b.test>" + spaces) == b"250 2.1.0 Ok\r\n"
    client.line("RSET")
    assert client.line("MAIL FROM:<a@b.test> " + spaces) == b"500 5.5.2 Line too long\r\n"


def test_twenty_errors_in_a_row_are_enough() -> None:
    client = Client(Settings())
    client.connect()
    assert client.say(b"X\r\n" * 20 + b"NOOP\r\n" + b"X\r\n" * 20).count(b"500 ") == 40
    assert client.say(b"X\r\nNOOP\r\n").startswith(b"421 4.7.0 localhost too many errors")
    assert client.played.closed


def test_the_owner_can_end_a_session() -> None:
    responder = in_data().responder
    assert responder.in_message
    assert responder.close("closing.idle") == [
        do.Send(b"421 4.4.2 localhost idle for too long, closing connection\r\n"),
        do.MessageAbort("connection closed"),
        do.Close(),
    ]
    assert responder.over
    assert responder.close() == []


def test_a_reply_cannot_be_forged_by_what_it_repeats() -> None:
    settings = Settings(
        replies={"ehlo": Answer(250, "", "hello {name}")}, tolerate=frozenset({"hello-syntax"})
    )
    client = Client(settings)
    client.connect()
    said = client.say(b"EHLO \x1b[31m\r250 x\xff\r\n")
    assert said.split(b"\r\n")[0] == b"250-hello ?[31m?250"


def test_turn_swaps_the_roles() -> None:
    client = Client(replace(FULL, turn="insecure"))
    client.connect()
    client.line("HELO x.test")
    assert client.say(b"TURN\r\n220 x.test now\r\n").startswith(b"250 ")
    assert client.played.events[-2] == do.Turn(b"x.test", None)
    assert client.played.turned == b"220 x.test now\r\n"
    assert client.responder.feed(b"x") == []


def test_turn_and_atrn_need_a_login() -> None:
    client = Client(FULL, tls=True)
    client.connect()
    client.line("EHLO x.test")
    assert client.line("TURN").startswith(b"530 5.7.0 ")
    assert client.line("ATRN").startswith(b"530 5.7.0 ")


ATRN = [
    (True, b"250 2.0.0 Ok, now reversing"),
    ("atrn.refused", b"450 4.7.1 "),
    ("atrn.unable", b"451 4.3.0 "),
    ("atrn.none", b"453 4.3.2 You have no mail"),
]


@pytest.mark.parametrize(("agreed", "reply"), ATRN)
def test_atrn(agreed: object, reply: bytes) -> None:
    """RFC 2645 §4: after a login; the I/O side says whether there is mail."""
    client = Client(FULL, Wanted(turning=agreed), tls=True)
    client.connect()
    client.line("EHLO x.test")
    client.line("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm")
    assert client.line("ATRN a.test,,b.test") == b"501 5.5.4 Syntax: ATRN [domain[,domain ...]]\r\n"
    assert client.line("ATRN a.test,b.test").startswith(reply)
    assert do.Atrn((b"a.test", b"b.test"), b"tim") in client.played.events
    assert (client.played.turned is not None) is (agreed is True)


# What comes from the network


@given(st.lists(st.binary(max_size=40), max_size=30))
@effort(max_examples=300, deadline=None)
def test_random_octets_never_raise(pieces: list[bytes]) -> None:
    client = Client(FULL)
    client.connect()
    for piece in pieces:
        client.say(piece)
    client.carry_out(client.responder.eof())


WORDS = st.sampled_from(
    [
        b"EHLO x.test\r\n", b"HELO x\r\n", b"MAIL FROM:<a@b.test>\r\n", b"RCPT TO:<a@b.test>\r\n",
        b"DATA\r\n", b".\r\n", b"\r\n.\r\n", b"BDAT 5\r\n", b"BDAT 3 LAST\r\n", b"RSET\r\n",
        b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"AUTH CRAM-MD5\r\n", b"*\r\n", b"AHRpbQB0\r\n",
        b"STARTTLS\r\n", b"VRFY smith\r\n", b"EXPN all\r\n", b"ETRN x\r\n", b"ATRN\r\n",
        b"TURN\r\n", b"HELP\r\n", b"NOOP\r\n", b"QUIT\r\n", b"\n", b"\r", b"\0\xff", b"x" * 2_000,
    ]
)  # fmt: skip


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"x"])), st.data())
@effort(max_examples=500, deadline=None)
def test_the_fast_scanner_reads_what_the_careful_one_reads(
    parts: list[bytes], data: st.DataObject
) -> None:
    octets = b"".join(parts) + b"\r\n.\r\nrest"
    careful, end = DataScanner(Direction.CLIENT, 0).feed(octets)
    scanner = MessageScanner()
    read, at = b"", 0
    while True:
        piece = octets[at : at + data.draw(st.integers(1, 12))]
        content, taken = scanner.feed(piece)
        read += content
        if taken >= 0:
            break
        at += len(piece)
    assert (read, at + taken) == (careful, end)
    assert scanner.size == len(careful)
    assert scanner.bare_lf is (b"\n" in octets[:end].replace(b"\r\n", b""))


@given(st.lists(WORDS, max_size=40), st.lists(st.integers(1, 30), max_size=100), st.booleans())
@effort(max_examples=500, deadline=None)
def test_random_dialogues_do_the_same_in_every_chunking(
    words: list[bytes], sizes: list[int], lmtp: bool
) -> None:
    settings = replace(FULL, lmtp=lmtp, auth_allow_insecure=True, max_size=5_000)
    whole, pieces = Client(settings), Client(settings)
    for client, cuts in ((whole, []), (pieces, sizes)):
        client.connect()
        client.say(b"".join(words), cuts)
        client.carry_out(client.responder.eof())
    assert comparable(whole.played) == comparable(pieces.played)
    assert whole.played.closed or any(isinstance(each, do.StartTls) for each in whole.played.events)


def test_a_large_message_is_never_held() -> None:
    responder = in_data(Settings(max_size=0)).responder
    block = b"a line of a message that is rather long, as mail goes\r\n" * 1_200
    for _ in range(200):
        (data,) = responder.feed(block)
        assert isinstance(data, do.MessageData)
        assert len(responder._buffer) <= len(block)
