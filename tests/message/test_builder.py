from __future__ import annotations

import hashlib
import io

import pytest

from smtpscope import message as message_module
from smtpscope.message import SLICE, MessageBuilder, extract_part, read_message
from smtpscope.message.mime import StructureReader

MAIL = (
    b"Received: from b.test by c.test;\r\n\tThu, 10 Apr 2025 12:00:01 +0000\r\n"
    b"Received: from a.test by b.test; Thu, 10 Apr 2025 12:00:00 +0000\r\n"
    b'From: "Alice, A." <alice@a.test>\r\n'
    b"To: bob@b.test, =?utf-8?q?Zo=C3=AB?= <zoe@b.test>\r\n"
    b"Cc: Team: x@b.test, y@b.test;\r\n"
    b"Reply-To: desk@a.test\r\n"
    b"SUBJECT: =?iso-8859-1?q?caf=E9?=\r\n"
    b"Date: Thu, 10 Apr 2025 12:00:00 +0000\r\n"
    b"Message-ID: <1@a.test>\r\n"
    b"In-Reply-To: <0@b.test>\r\n"
    b"X-Mailer: Pigeon 2\r\n"
    b"\r\n"
    b"Hello\r\n"
)


def test_the_summary_has_the_usual_fields_decoded() -> None:
    message = read_message(MAIL)
    assert message.size == len(MAIL)
    assert message.sha256 == hashlib.sha256(MAIL).hexdigest()
    assert message.subject == "café"
    assert message.from_ == '"Alice, A." <alice@a.test>'
    assert message.to == ["bob@b.test", "Zoë <zoe@b.test>"]
    assert message.addresses(b"to") == ["bob@b.test", "zoe@b.test"]
    assert message.cc == ["Team: x@b.test, y@b.test;"]
    assert message.addresses(b"cc") == ["x@b.test", "y@b.test"]
    assert message.reply_to == "desk@a.test"
    assert message.date == "Thu, 10 Apr 2025 12:00:00 +0000"
    assert message.message_id == "<1@a.test>"
    assert message.in_reply_to == "<0@b.test>"
    assert message.user_agent == "Pigeon 2"
    assert message.parts == 1
    assert message.attachments == []
    assert message.complete


def test_received_fields_come_oldest_first_and_unfolded() -> None:
    assert read_message(MAIL).received == [
        "from a.test by b.test; Thu, 10 Apr 2025 12:00:00 +0000",
        "from b.test by c.test; Thu, 10 Apr 2025 12:00:01 +0000",
    ]


def test_user_agent_goes_before_x_mailer_even_where_it_is_empty() -> None:
    assert read_message(b"X-Mailer: b\r\nUser-Agent: a\r\n\r\n").user_agent == "a"
    assert read_message(b"X-Mailer: b\r\nUser-Agent:\r\n\r\n").user_agent == ""


def test_an_absent_field_is_none_and_an_empty_one_is_empty() -> None:
    message = read_message(b"Subject:\r\n\r\n")
    assert message.subject == ""
    assert message.from_ is None
    assert message.to == []


def test_recipients_of_repeated_to_fields_are_joined() -> None:
    assert read_message(b"To: a@x\r\nto: b@x\r\n\r\n").to == ["a@x", "b@x"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 10_000])
def test_any_chunking_gives_the_same_message(step: int) -> None:
    builder = MessageBuilder()
    for start in range(0, len(MAIL), step):
        builder.feed(MAIL[start : start + step])
    assert builder.finish() == read_message(MAIL)


def test_an_empty_message_has_one_empty_part() -> None:
    message = MessageBuilder().finish()
    assert (message.size, message.headers, message.parts) == (0, [], 1)
    assert message.sha256 == hashlib.sha256(b"").hexdigest()
    assert (message.root.body, message.root.end, message.root.size) == (0, 0, 0)


def test_octets_lost_in_gaps_are_counted_and_not_in_the_size() -> None:
    builder = MessageBuilder()
    builder.feed(b"Subject: x\r\n\r\nab")
    builder.gap(1448)
    builder.gap(10)
    builder.feed(b"cd")
    message = builder.finish()
    assert message.missing == 1458
    assert message.size == 18
    assert not message.complete
    assert not message.truncated


def test_a_message_larger_than_what_is_held_reads_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = read_message(MAIL)
    monkeypatch.setattr(message_module, "SLICE", 50)
    assert read_message(MAIL) == expected
    builder = MessageBuilder()
    for start in range(0, len(MAIL), 20):
        builder.feed(MAIL[start : start + 20])
    assert builder.finish() == expected


def test_a_part_is_extracted_from_pieces() -> None:
    out = io.BytesIO()
    extract_part([MAIL[start : start + 9] for start in range(0, len(MAIL), 9)], 0, out)
    assert out.getvalue() == b"Hello\r\n"


def test_gaps_every_few_octets_do_not_make_a_field_be_read_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []
    feed = StructureReader.feed

    def counting(reader: StructureReader, octets: bytes) -> None:
        read.append(len(octets))
        feed(reader, octets)

    monkeypatch.setattr(StructureReader, "feed", counting)
    content = b"Subject: " + b"ab" * SLICE + b"\r\nFrom: a@a.test\r\n\r\nx\ny\0\r\n"
    builder = MessageBuilder()
    for start in range(0, len(content), 2):
        builder.feed(content[start : start + 2])
        builder.gap(1)
    message = builder.finish()
    assert read == [SLICE, SLICE]
    assert (message.size, message.missing) == (len(content), (len(content) + 1) // 2)
    assert message.sha256 == hashlib.sha256(content).hexdigest()
    assert message.from_ == "a@a.test"
    # The CR of the line that ends so may be in the gap.
    assert (message.octets.bare_lf, message.octets.nul) == (0, 1)
