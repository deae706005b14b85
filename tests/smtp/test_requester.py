"""The client's half delivers to the server's half, however the octets are cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.responding import Client

from smtpscope.smtp.requester import (
    Close,
    Delivered,
    Failed,
    Outgoing,
    Requester,
    Send,
    Step,
)
from smtpscope.smtp.serving.settings import Settings, User
from smtpscope.smtp.stuffing import END, eight_bit, stuffed


def outgoing(
    id: str,
    *recipients: str,
    sender: str = "ann@example.org",
    message: bytes = b"Subject: hi\n\n.dot\nend",
) -> Outgoing:
    def read() -> Iterator[bytes]:
        yield from (message[at : at + 7] for at in range(0, len(message), 7))

    return Outgoing(id, sender, recipients, len(message), read)


def deliver(
    settings: Settings, messages: list[Outgoing], size: int = 1_000
) -> tuple[list[Step], Client]:
    """What becomes of the messages, and the server that they went to; replies are cut to `size`."""
    client = Client(settings)
    requester = Requester("client.example", messages)
    said = client.connect()
    steps: list[Step] = []
    while said:
        taken = []
        for at in range(0, len(said), size):
            taken += requester.feed(said[at : at + size])
        while more := requester.more():
            taken += more
        said = b""
        for step in taken:
            if isinstance(step, Send):
                said += client.say(step.octets)
            else:
                steps.append(step)
    return steps, client


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_messages_are_delivered_one_after_the_other(size: int) -> None:
    messages = [outgoing("1", "bob@example.net"), outgoing("2", "bob@example.net", "x@y.example")]
    steps, client = deliver(Settings(), messages, size)
    assert steps == [Delivered("1"), Delivered("2"), Close()]
    assert client.played.messages == [b"Subject: hi\r\n\r\n.dot\r\nend\r\n"] * 2
    assert [len(each.recipients) for each in client.played.envelopes] == [1, 2]


def test_refused_recipients_are_told_and_the_others_have_their_message() -> None:
    settings = Settings(users=(User("bob@example.net"),), accept_unknown=False)
    messages = [
        outgoing("1", "no@example.net", "bob@example.net"),
        outgoing("2", "no@example.net"),
        outgoing("3", "bob@example.net"),
    ]
    steps, client = deliver(settings, messages)
    assert steps == [
        Delivered("1", ("no@example.net",)),
        Failed("2", "550 5.1.1 No such user here", True),
        Delivered("3"),
        Close(),
    ]
    assert len(client.played.messages) == 2


def test_what_the_server_does_not_take_is_not_tried() -> None:
    settings = Settings(max_size=30, hide=frozenset({"SMTPUTF8"}))
    messages = [
        outgoing("1", "bob@example.net", message=bytes(31)),
        outgoing("2", "jürgen@example.net"),
        outgoing("3"),
        outgoing("4", "a@b>\r\nRSET"),
        outgoing("5", "bob@example.net"),
    ]
    steps, _ = deliver(settings, messages)
    assert [step.id for step in steps if isinstance(step, Failed) and step.permanent] == [
        *("1", "2", "3", "4")
    ]
    assert steps[-2:] == [Delivered("5"), Close()]


@pytest.mark.parametrize(
    "said", [b"421 busy\r\n", b"554 no\r\n", b"what?\r\n", b"220-" + b"x" * 80_000, b"\0\xff\n"]
)
def test_a_server_that_does_not_want_ends_it_and_nothing_is_lost(said: bytes) -> None:
    requester = Requester("client.example", [outgoing("1", "b@example.net")])
    steps = requester.feed(said)
    assert isinstance(steps[0], Failed)
    assert not steps[0].permanent
    assert steps[-1] == Close()
    assert requester.feed(b"220 hello\r\n") == requester.eof() == []


def test_a_server_that_goes_away_leaves_all_for_another_time() -> None:
    requester = Requester("client.example", [outgoing("1", "b@x.example"), outgoing("2", "b@x")])
    assert requester.feed(b"220 hello\r\n") == [Send(b"EHLO client.example\r\n")]
    steps = requester.eof()
    assert [step.id for step in steps if isinstance(step, Failed)] == ["1", "2"]


def test_an_old_server_is_greeted_in_the_old_way() -> None:
    requester = Requester("client.example", [outgoing("1", "b@x.example")])
    requester.feed(b"220 hello\r\n")
    assert requester.feed(b"500 what?\r\n") == [Send(b"HELO client.example\r\n")]
    assert requester.feed(b"250 hello\r\n") == [Send(b"MAIL FROM:<ann@example.org>\r\n")]


@given(
    message=st.text(alphabet="ab.\r\n", max_size=40).map(str.encode),
    cuts=st.lists(st.integers(1, 9), max_size=20),
)
def test_stuffing_depends_on_no_chunks_and_is_undone_by_the_server(
    message: bytes, cuts: list[int]
) -> None:
    def pieces() -> Iterator[bytes]:
        at = 0
        for cut in cuts:
            yield message[at : at + cut]
            at += cut
        yield message[at:]

    sent = b"".join(stuffed(pieces())) + END
    assert sent == b"".join(stuffed(iter([message]))) + END
    assert sent.endswith(b".\r\n")
    lines = sent.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    wanted = message.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if wanted[-1] == b"":
        wanted.pop()
    assert [line.removeprefix(b".") if line[:1] == b"." else line for line in lines[:-2]] == wanted


@given(
    header=st.sampled_from([b"", b"A: b", b"A: b\nC: \xc3\xbc", b"A: b\n d"]),
    body=st.sampled_from([b"", b"x", b"\xff", b"x\n\ny\xff"]),
    ending=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    size=st.integers(1, 9),
)
def test_eight_bit_octets_are_found_where_they_are(
    header: bytes, body: bytes, ending: bytes, size: int
) -> None:
    octets = (header + b"\n" * bool(header) + b"\n" + body).replace(b"\n", ending)
    pieces = (octets[at : at + size] for at in range(0, len(octets), size))
    assert eight_bit(pieces) == (not header.isascii(), not body.isascii())


EIGHT_BIT = "Subject: x\n\ngrüße\n".encode()
UTF8_HEADER = "Subject: grüße\n\nx\n".encode()


@pytest.mark.parametrize(
    ("hidden", "message", "word"),
    [
        ("8BITMIME", EIGHT_BIT, "8BITMIME"),
        ("SMTPUTF8", UTF8_HEADER, "SMTPUTF8"),
        ("DSN", EIGHT_BIT, ""),
        ("DSN", UTF8_HEADER, ""),
    ],
)
def test_a_message_goes_only_where_its_octets_may(hidden: str, message: bytes, word: str) -> None:
    # Who offers SMTPUTF8 offers 8BITMIME, too.
    hide = {hidden, "SMTPUTF8"} if hidden == "8BITMIME" else {hidden}
    sent = outgoing("1", "bob@example.net", message=message)
    steps, client = deliver(Settings(hide=frozenset(hide)), [sent])
    if word:
        failed, _ = steps
        assert isinstance(failed, Failed)
        assert failed.permanent
        assert word in failed.reason
        assert not client.played.messages
    else:
        assert steps == [Delivered("1"), Close()]
        (envelope,) = client.played.envelopes
        assert envelope.body == "8BITMIME"
        assert envelope.smtputf8 == (message is UTF8_HEADER)


def until_data(requester: Requester) -> None:
    """All that comes before the message's first octet."""
    for said in (b"220 a\r\n", b"250 a\r\n", b"250 ok\r\n", b"250 ok\r\n"):
        requester.feed(said)
    assert requester.feed(b"354 go\r\n") == []
    assert requester.sending


def test_a_reply_that_comes_with_the_last_octets_counts() -> None:
    """The I/O side may be held up right behind the end, and ask for no more."""
    requester = Requester("client.example", [outgoing("1", "bob@example.net")])
    until_data(requester)
    while requester.sending:
        (step,) = requester.more()
    assert step == Send(END)
    assert requester.feed(b"250 taken\r\n") == [Delivered("1"), Send(b"QUIT\r\n")]


def test_a_reply_before_the_end_is_no_delivery() -> None:
    requester = Requester("client.example", [outgoing("1", "bob@example.net")])
    until_data(requester)
    assert requester.feed(b"250 taken\r\n") == []
    requester.more()
    assert requester.feed(b"552 5.3.4 too large\r\n") == [
        Failed("1", "552 5.3.4 too large", True),
        Close(),
    ]
    assert requester.more() == []


def test_recipients_who_may_come_again_are_told() -> None:
    requester = Requester("client.example", [outgoing("1", "a@x", "b@x", "c@x")])
    for said in (b"220 a\r\n", b"250 a\r\n", b"250 ok\r\n"):
        requester.feed(said)
    requester.feed(b"450 later\r\n550 never\r\n250 ok\r\n354 go\r\n")
    while requester.sending:
        requester.more()
    assert requester.feed(b"250 ok\r\n")[0] == Delivered("1", ("a@x", "b@x"), ("a@x",))


@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_message_that_cannot_be_read_stays(when: int) -> None:
    reads = 0

    def read() -> Iterator[bytes]:
        nonlocal reads
        reads += 1
        if when == 0 or reads > 1:
            if when == 2:
                yield b"Subject: x\n"
            raise OSError(5, "it broke")
        yield b"Subject: x\n\n"

    requester = Requester("client.example", [Outgoing("1", "", ("b@x",), 10, read)])
    requester.feed(b"220 a\r\n")
    steps = requester.feed(b"250 a\r\n")
    if when:
        requester.feed(b"250 ok\r\n250 ok\r\n354 go\r\n")
        steps = requester.more()
        while steps and isinstance(steps[0], Send):
            assert steps[0] != Send(END)
            steps = requester.more()
    assert steps[0] == Failed("1", "the message cannot be read: it broke", False)
    assert steps[1] == (Close() if when else Send(b"QUIT\r\n"))


def test_long_replies_are_bounded_and_take_no_time() -> None:
    requester = Requester("client.example", [outgoing("1", "b@x")])
    steps = requester.feed(b"220-\r\n" * 500_000)
    assert steps[-1] == Close()
    assert requester.feed(bytes(1_000)) == []


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"220 a\r\n", b"250 a\r\n", b"354\n"])))
def test_nothing_that_a_server_says_raises_or_is_taken_for_a_delivery(said: list[bytes]) -> None:
    requester = Requester("client.example", [outgoing("1", "b@x")])
    ended: list[Step] = []
    for octets in said:
        steps = requester.feed(octets)
        ended += [step for step in steps if not isinstance(step, Send)]
    ended += requester.eof()
    assert [type(step) for step in ended] == [Failed, Close]
