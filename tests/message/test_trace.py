"""Dates and trace fields: what is read of them, and that nothing raises."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.message import read_message
from smtpscope.message.trace import SECOND, Hop, parse_date, parse_hops

NOON = 1_700_000_000 * SECOND


@pytest.mark.parametrize(
    "written",
    [
        b"Tue, 14 Nov 2023 22:13:20 +0000",
        b" tue, 14 nov 2023 22:13:20 -0000",
        b"14 Nov 2023 22:13:20 GMT",
        b"Wed, 15 Nov 2023 00:13:20 +0200 (EET)",
        b"Tue, 14 Nov 2023 17:13:20 EST",
        b"Tue,\r\n 14 Nov 23 22:13:20 UT",
        b"Tue, 14 Nov 2023 22:13:20 XYZ",
    ],
)
def test_a_date_is_read(written: bytes) -> None:
    assert parse_date(written) == NOON


@pytest.mark.parametrize(
    "written",
    [
        *(b"", b"today", b"2023-11-14 22:13:20", b"Tue, 14 Nov 2023", b"Tue, 14 Nov 2023 22:13:20"),
        *(b"30 Feb 2023 00:00:00 +0000", b"1 Jan 2023 24:00 +0000", b"1 Foo 2023 00:00 +0000"),
        *(b"1 Jan 0001 00:00 +9900", b"31 Dec 9999 23:59 -9900", b"0 Jan 2023 00:00 +0000"),
    ],
)
def test_what_is_no_date_is_none(written: bytes) -> None:
    assert parse_date(written) is None


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_a_date_that_the_library_writes_is_read(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    assert parse_date(format_datetime(moment).encode()) == int(moment.timestamp()) * SECOND


def test_the_clauses_of_a_hop_are_told_apart() -> None:
    value = (
        b" from a.test (a.test [192.0.2.1] (may be by forged))\r\n\tby b.test (Postfix; unix)"
        b" with ESMTPS id 4XYZ\r\n\tfor <bob@b.test>; Tue, 14 Nov 2023 22:13:20 +0000 (UTC)"
    )
    assert parse_hops([value]) == [Hop("a.test", "b.test", "ESMTPS", "4XYZ", NOON, None)]


def test_a_protocol_may_have_several_words() -> None:
    (hop,) = parse_hops([b"from a by b with Microsoft SMTP Server id 15.1; someday"])
    assert (hop.with_, hop.id, hop.date) == ("Microsoft SMTP Server", "15.1", None)


@pytest.mark.parametrize("value", [b"", b";", b"(qmail 17 invoked by uid 0)", b"from", b"from by"])
def test_a_hop_that_says_nothing_is_empty(value: bytes) -> None:
    assert parse_hops([value]) == [Hop(None, None, None, None, None, None)]


def test_hops_come_oldest_first_and_an_illegible_one_is_skipped_for_the_delay() -> None:
    message = read_message(
        b"Received: by c; Tue, 14 Nov 2023 22:13:05 +0000\r\n"
        b"Received: by b; who knows\r\n"
        b"Received: by a; Tue, 14 Nov 2023 23:13:20 +0100\r\n\r\n"
    )
    assert [(hop.by, hop.delay) for hop in message.hops] == [("a", None), ("b", None), ("c", -15)]


def test_the_fields_that_vouch_are_shown_as_written() -> None:
    message = read_message(
        b"ARC-Seal: i=1;\r\n\ta=x\r\nSubject: x\r\nauthentication-results: mx;\r\n spf=pass\r\n"
        b"DKIM-Signature: v=1; d=a.test\r\n\r\n"
    )
    assert message.authentication == [
        ("ARC-Seal", "i=1; a=x"),
        ("authentication-results", "mx; spf=pass"),
        ("DKIM-Signature", "v=1; d=a.test"),
    ]


@given(st.lists(st.sampled_from([b"from", b"by", b"(", b")", b";", b" ", b"\r\n ", b"\xff", b"x"])))
def test_no_trace_field_raises(pieces: list[bytes]) -> None:
    parse_hops([b"".join(pieces)])
