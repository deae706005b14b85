"""Untrusted bytes into text that is safe to show, to write as JSON, or to name a file.

The only place where that happens: what a capture holds was written by strangers, and a terminal
obeys control characters, reorders at bidirectional ones and hides zero-width ones. Everything that
would not be seen as itself comes out in a visible form of printable ASCII.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache

MAX_FILENAME = 120
_MAX_SUFFIX = 20

# Printable by `str.isprintable`, and yet nothing is seen: fillers, variation selectors (but for the
# one that turns a preceding symbol into an emoji), the blank Braille pattern; and a skin tone
# without a hand, of which no two terminals agree how wide it is. And combining marks that have
# nothing to stand on, or are piled so high that they reach into the lines above.
_SYMBOLS = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23fa\u24c2\u25aa-\u27bf\u2934\u2935"
    "\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001f9ff"
)
_HANDS = "\u261d\u26f9\u270a-\u270d\U0001f385-\U0001f3fa\U0001f400-\U0001faf8"
_CHANGERS = re.compile("[\ufe0f\U0001f3fb-\U0001f3ff]")
_JAMO = "\u1161-\u11ff\ud7b0-\ud7fb"
_LAST_MARK = 0x1FFFF


@cache
def _hidden() -> re.Pattern[str]:
    """What is not seen; made when the first text comes that is not ASCII."""
    found = [
        chr(code) for code in range(0x300, _LAST_MARK) if unicodedata.category(chr(code))[0] == "M"
    ]
    marks = _JAMO + "".join(found).replace("\ufe0f", "")
    near = "".join(each for each in marks if each < "\U00010000")
    # Every branch begins with what is tested fast.
    return re.compile(
        "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0e\uffa0"
        "\U000e0100-\U000e01ef]"
        f"|\ufe0f(?<![{_SYMBOLS}]\ufe0f)(?!\u20e3)"
        f"|[\U0001f3fb-\U0001f3ff](?<![{_HANDS}].)"
        f"|(?:[{near}]|(?=[\U00010000-\U0001ffff])[{marks}])(?:(?<=^.)|(?<=[{marks}]{{5}}))",
        re.DOTALL,
    )


_SHORT_FORMS = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}

# Reserved as a file's name by Windows, with any suffix; the other characters by its shell or ours.
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\.|\Z)", re.IGNORECASE
)
_UNFIT = re.compile(r'[<>:"|?*]')


def text(data: bytes | str, limit: int | None = None) -> str:
    r"""`data` as text in which every character is seen, and none does anything.

    Octets are read as UTF-8. What is printable stays; tab, CR and LF become \t, \r, \n, other
    ASCII controls and octets that are no UTF-8 (in a str: their surrogate escapes) become \x1b,
    any other character that is not printable or not visible becomes \u{202e}. A backslash stays
    itself, so these forms are for eyes: the exact octets are in the hex view and the exports.

    With `limit`, at most so many characters and "… (+N)", N being how many characters (of a str)
    or octets (of bytes) are left out.
    """
    if isinstance(data, bytes):
        if limit is not None and len(data) > limit:
            return _shortened(data[: 4 * limit].decode("utf-8", "surrogateescape"), data, limit)
        shown = data.decode("utf-8", "surrogateescape")
    else:
        if limit is not None and len(data) > limit:
            return _shortened(data[:limit], data, limit)
        shown = data
    if shown.isprintable() and (shown.isascii() or not _hidden().search(shown)):
        if limit is None or len(shown) <= limit:
            return shown
    elif limit is None:
        return "".join(_forms(shown, _visible))
    return _shortened(shown, data, limit)


def masked(data: str) -> str:
    """`data` with a sign in the place of every character that is not seen by itself, and as long:
    for where places are counted, such as in what is being typed."""
    unseen = "\N{REPLACEMENT CHARACTER}"
    return _CHANGERS.sub(unseen, "".join(_forms(data, lambda _: unseen)))


def json_text(data: bytes) -> tuple[str, bool]:
    r"""`data` as text for JSON, and whether that text is exact.

    Exact: its UTF-8 is `data`. Otherwise each octet that is no part of a visible character stands
    as \xNN, and the caller adds the octets themselves as base64.
    """
    shown = data.decode("utf-8", "surrogateescape")
    if shown.isprintable() and (shown.isascii() or not _hidden().search(shown)):
        return shown, True
    return "".join(_forms(shown, _octets)), False


def safe_filename(name: str, fallback: str = "part") -> str:
    """A name for a file in a folder of ours, made of one that a stranger chose.

    The last component of `name`, less everything that a terminal or a file system (Windows' too)
    takes for more than a letter, in at most `MAX_FILENAME` octets of UTF-8 and with its suffix
    kept. `fallback` stands where nothing is left.
    """
    name = re.split(r"[/\\]", name)[-1].lstrip(" .-~")
    name = _UNFIT.sub("_", "".join(_forms(name, lambda _: "_")))
    name = re.sub(r"\.[. ]*\.", ".", name)
    name = re.sub(r" +", " ", name).rstrip(" .")
    if not name:
        return fallback
    if _RESERVED.match(name):
        name = "_" + name
    if len(name.encode()) > MAX_FILENAME:
        stem, dot, suffix = name.rpartition(".")
        end = (dot + suffix).encode()
        if not stem or len(end) > _MAX_SUFFIX:
            stem, end = name, b""
        kept = stem.encode()[: MAX_FILENAME - len(end)].decode(errors="ignore")
        name = kept.rstrip(" .") + end.decode()
    return name


def _forms(shown: str, form: Callable[[str], str]) -> list[str]:
    hidden = {match.start() for match in _hidden().finditer(shown)}
    return [
        character if character.isprintable() and index not in hidden else form(character)
        for index, character in enumerate(shown)
    ]


def _visible(character: str) -> str:
    short = _SHORT_FORMS.get(character)
    if short:
        return short
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{{{code:x}}}"


def _octets(character: str) -> str:
    return "".join(f"\\x{octet:02x}" for octet in character.encode("utf-8", "surrogateescape"))


def _shortened(shown: str, data: bytes | str, limit: int) -> str:
    """As many whole forms as fit `limit`; `shown` is `data` up to there or beyond."""
    shown = shown[:limit]
    if shown.isascii() and shown.isprintable() and len(shown) == limit:
        return f"{shown}… (+{len(data) - limit})"
    room, count = limit, 0
    forms = _forms(shown, _visible)
    for form in forms:
        room -= len(form)
        if room < 0:
            break
        count += 1
    left = shown[:count]
    used = len(left.encode("utf-8", "surrogateescape")) if isinstance(data, bytes) else count
    rest = len(data) - used
    return "".join(forms[:count]) + (f"… (+{rest})" if rest else "")
