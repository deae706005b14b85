from __future__ import annotations

from encodings.aliases import aliases

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.message.text import decode_octets, decode_text, unfold


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b" plain ", "plain"),
        (b"=?utf-8?q?caf=C3=A9?=", "café"),
        (b"=?UTF-8?B?Y2Fmw6k=?=", "café"),
        (b"=?iso-8859-1?Q?a_b=5F?=", "a b_"),
        (b"=?us-ascii*en?q?hi?=", "hi"),
        (b"a =?utf-8?q?b?= c", "a b c"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        (b"=?utf-8?q?a?=\r\n\t =?iso-8859-1?q?b?=", "ab"),
        (b"=?utf-8?q?a?= x =?utf-8?q?b?=", "a x b"),
        (b"=?utf-8?q?a?==?utf-8?q?b?=", "ab"),
        (b"x=?utf-8?q?a?=y", "xay"),
        (b"=?utf-8?Q??=nothing", "nothing"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
        (b"=?utf-8?q?=41=?=", "A"),
        (b"=?utf-8?q?no end", "=?utf-8?q?no end"),
        (b"=?utf-8?x?no such encoding?=", "=?utf-8?x?no such encoding?="),
        (b"=?no-such-charset?q?=C3=A9?=", "é"),
        (b"=?utf-8?q?=E9?=", "é"),
        (b"=?ascii?q?=C3=A9?=", "é"),
        (b"=?gb2312?B?suLK1A==?=", "测试"),
        (b"=?base64_codec?q?abc?=", "abc"),
        (b"=?utf-8?b?YW!J#j?=", "abc"),
        (b"=?utf-8?b?YWJjZ?=", "abc"),
        (b"\xc3\xa9", "é"),
        (b"What\x92s \xe9", "What’s é"),
        (b"\x81", "\x81"),
        (b"a\r\n b\r\n\tc", "a b c"),
        (b"\xff=?utf-8?q?=C3=A9?=\xff", "ÿéÿ"),
    ],
)
def test_a_field_is_decoded(raw: bytes, text: str) -> None:
    assert decode_text(raw) == text


@pytest.mark.parametrize("charset", sorted({*aliases, *aliases.values(), "punycode", "idna", "\0"}))
def test_no_charset_raises_or_leaves_a_lone_surrogate(charset: str) -> None:
    for octets in (b"+2AA-", b"\\ud800", b"xn--a", bytes(range(256)), b"\x00\xd8", b"=", b"abc"):
        decode_octets(octets, charset).encode()


@given(st.binary(max_size=200))
def test_no_field_raises_or_leaves_a_lone_surrogate(raw: bytes) -> None:
    decode_text(raw).encode()
    decode_text(b"=?utf-7?q?" + raw + b"?= =?utf-8?b?" + raw + b"?=").encode()


def test_a_surrogate_pair_that_a_charset_gives_becomes_one_character() -> None:
    assert decode_octets(b"+2D3eAA-", "utf-7") == "\U0001f600"


def test_a_vendors_superset_is_read_under_the_standards_name() -> None:
    assert decode_octets("髙①".encode("cp932"), "Shift_JIS") == "髙①"
    assert decode_octets("镕".encode("gbk"), "gb2312") == "镕"


def test_a_tab_that_folds_is_a_space() -> None:
    assert unfold(b" a\r\n\tb\r\n c\n\td\r\te") == b"a b c d e"
