"""A field's octets as text: unfolded, encoded words resolved, whatever their charset claims to be.

In: octets from the wire. Out: str that holds no lone surrogate; nothing here raises, and all of it
is linear in the octets. RFC 5322 §2.2.3 (folding), RFC 2047 (encoded words), RFC 6532 (UTF-8).
"""

from __future__ import annotations

import binascii
import re
from encodings.aliases import aliases

from smtpscope.message.encodings import decode_base64


def unfold(value: bytes) -> bytes:
    """A field's value on one line, without the white space around it (RFC 5322 §2.2.3).

    A tab that begins a line stands for a space: mailers that fold with a tab put it in the
    place of one.
    """
    if b"\n" in value or b"\r" in value:
        value = value.replace(b"\n\t", b" ").replace(b"\r\t", b" ").translate(None, b"\r\n")
    return value.strip()


# Only names listed here reach the codec machinery: it imports modules by name, never forgets a
# name that it was asked for, and knows "charsets" that take quadratic time.
_CODECS = {codec: codec for codec in aliases.values()} | aliases
_CODECS |= {
    "ansi_x3.110_1983": "latin_1",
    "gb18030": "gb18030",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "koi8_u": "koi8_u",
    "unicode_1_1_utf_7": "utf_7",
    "windows_874": "cp874",
    "windows_949": "cp949",
    "x_euc_jp": "euc_jp",
    "x_gbk": "gbk",
    "x_mac_roman": "mac_roman",
    "x_sjis": "shift_jis",
}

# What is sent under a standard's name is often written in a vendor's superset of it.
_SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso2022_jp": "iso2022_jp_ext",
    "big5": "big5hkscs",
}


def is_charset(name: str) -> bool:
    """Whether `name` is a charset that can be read."""
    return _codec(name) is not None


def _codec(charset: str) -> str | None:
    return _CODECS.get(charset.strip(" \t'\"").lower().replace("-", "_"))


def decode_octets(octets: bytes, charset: str | None = None) -> str:
    """Text of `octets`: by `charset` if that is known and fits, else as UTF-8, else as Western.

    Western is Windows-1252 or, where an octet has no meaning in that, Latin-1.
    """
    if charset:
        codec = _codec(charset)
        while codec is not None:
            try:
                return _without_surrogates(octets.decode(codec))
            except (LookupError, ValueError):
                codec = _SUPERSETS.get(codec)
    for codec in ("utf-8", "cp1252"):
        try:
            return octets.decode(codec)
        except UnicodeDecodeError:
            continue
    return octets.decode("latin-1")


def _without_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


_WORD_START = re.compile(rb"=\?([^?\s]{1,100})\?([bBqQ])\?")


def decode_text(value: bytes) -> str:
    """A field's raw value as text: unfolded, its encoded words decoded.

    Encoded words are taken wherever they stand, in the middle of a word and between quotes too.
    The octets of neighbours with the same charset are joined before they are decoded, because
    mailers cut multi-octet characters in two.
    """
    value = unfold(value)
    if b"=?" not in value:
        return value.decode("ascii") if value.isascii() else decode_octets(value)
    pieces: list[str] = []
    run: list[bytes] = []
    run_charset = b""
    position = 0
    while (word := _WORD_START.search(value, position)) is not None:
        close = value.find(b"?=", word.end())
        if close < 0:
            break
        between = value[position : word.start()]
        charset = word[1].lower()
        if run and (charset != run_charset or between.strip()):
            pieces.append(_decode_run(run, run_charset))
            run = []
            if between.strip():
                pieces.append(decode_octets(between))
        elif not run:
            pieces.append(decode_octets(between))
        text = value[word.end() : close]
        run.append(decode_base64(text) if word[2] in b"bB" else binascii.a2b_qp(text, header=True))
        run_charset = charset
        position = close + 2
    pieces.append(_decode_run(run, run_charset))
    pieces.append(decode_octets(value[position:]))
    return "".join(pieces)


def _decode_run(run: list[bytes], charset: bytes) -> str:
    # RFC 2231 §5 lets a language follow the charset: =?us-ascii*en?...
    return decode_octets(b"".join(run), charset.partition(b"*")[0].decode("latin-1"))
