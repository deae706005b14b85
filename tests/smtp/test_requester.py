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
    stuffed,
)
from smtpscope.smtp.serving.settings import Settings, User


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

    sent = b"".join(stuffed(pieces()))
    assert sent == b"".join(stuffed(iter([message])))
    assert sent.endswith(b".\r\n")
    lines = sent.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    wanted = message.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if wanted[-1] == b"":
        wanted.pop()
    assert [line.removeprefix(b".") if line[:1] == b"." else line for line in lines[:-2]] == wanted
