"""Transfer encodings: what comes out, whether it was well-formed, and that cuts do not matter."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpscope.message.encodings import (
    MAX_PADDINGS,
    Base64Decoder,
    Decoder,
    QuotedPrintableDecoder,
    decode_base64,
    decoder_of,
)


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        (b"", b""),
        (b"NDI=", b"42"),
        (b"ND\r\nI=\r\n", b"42"),
        (b"NDI", b"42"),
        (b"NA", b"4"),
        (b"N", b""),
        (b"NDIxN", b"421"),
        (b"N!D I\xff=", b"42"),
        (b"N=D=I=", b"42"),
        (b"====", b""),
        (b"NA=\r\n=Mg\r\n==", b"42"),
        (b"NA==Mg==", b"42"),
        (b"NDI=NDI=NDIx", b"4242421"),
        (b"NDIx====NDIx", b"421421"),
    ],
)
def test_base64_is_decoded_whatever_its_shape(encoded: bytes, decoded: bytes) -> None:
    assert decode_base64(encoded) == decoded


def test_the_base64_padding_that_is_looked_at_is_bounded() -> None:
    runs = MAX_PADDINGS // 2
    encoded = b"NA==" * runs
    assert decode_base64(encoded) == b"4" * runs
    assert decode_base64(encoded + b"NA==NA==") == b"4" * runs + base64.b64decode("NANA")


@given(st.binary(max_size=300), st.integers(1, 80))
def test_well_formed_base64_comes_back(octets: bytes, width: int) -> None:
    text = base64.b64encode(octets)
    lines = [text[start : start + width] for start in range(0, len(text), width)]
    assert decode_base64(b"\r\n".join(lines)) == octets


def _decoded(decoder: Decoder, pieces: list[bytes]) -> tuple[bytes, bool]:
    decoded = b"".join(decoder.feed(piece) for piece in pieces) + decoder.finish()
    return decoded, decoder.broken


@given(
    st.sampled_from(["base64", "quoted-printable"]),
    st.text(alphabet="AQ4=\n\r! z", max_size=40),
    st.integers(1, 7),
)
def test_where_the_octets_are_cut_makes_no_difference(encoding: str, text: str, step: int) -> None:
    octets = text.encode()
    whole, pieces = decoder_of(encoding), decoder_of(encoding)
    assert whole is not None
    assert pieces is not None
    cut = [octets[start : start + step] for start in range(0, len(octets), step)]
    assert _decoded(pieces, cut) == _decoded(whole, [octets])


@given(
    st.integers(1, 100),
    st.dictionaries(st.integers(0, 9_999), st.sampled_from(list(b"\r\n =!A\xff")), max_size=3),
    st.integers(500, 30_000),
)
def test_a_column_of_equal_lines_is_decoded_like_others(
    width: int, odd: dict[int, int], step: int
) -> None:
    encoded = bytearray((b"QUJD" * width)[:width] + b"\r\n") * (20_000 // width)
    for at, octet in odd.items():
        encoded[at] = octet
    large, small = Base64Decoder(), Base64Decoder()
    pieces, crumbs = (
        [bytes(encoded[start : start + size]) for start in range(0, len(encoded), size)]
        for size in (step, 400)
    )
    assert _decoded(large, pieces) == _decoded(small, crumbs)


@pytest.mark.parametrize("encoded", [b"NDI=\r\n", b"NDIx\n", b"", b"ND\r\nI=", b"NA=\r\n="])
def test_base64_is_whole(encoded: bytes) -> None:
    assert not _decoded(Base64Decoder(), [encoded])[1]


@pytest.mark.parametrize("encoded", [b"NDI", b"N", b"N!DIx", b"NA==NA==!", b"NDIx=", b"NA==="])
def test_base64_is_broken(encoded: bytes) -> None:
    assert _decoded(Base64Decoder(), [encoded])[1]


@pytest.mark.parametrize(
    ("encoded", "decoded", "broken"),
    [
        (b"a=3D=\r\nb", b"a=b", False),
        (b"caf=e9 =C3=A9", b"caf\xe9 \xc3\xa9", False),
        (b"1=2", b"1=2", True),
        (b"x=ZZ", b"x=ZZ", True),
        (b"a=\rb\nc", b"ab\nc", False),
        (b"end=", b"end", False),
    ],
)
def test_quoted_printable_is_decoded_and_what_is_none_is_left(
    encoded: bytes, decoded: bytes, broken: bool
) -> None:
    assert _decoded(QuotedPrintableDecoder(), [encoded]) == (decoded, broken)
