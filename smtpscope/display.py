"""Untrusted bytes into text that is safe to show, to write as JSON, or to name a file.

The only place where that happens: what a capture holds was written by strangers, and a terminal
obeys control characters, reorders at bidirectional ones and hides zero-width ones. Everything that
would not be seen as itself comes out in a visible form of printable ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_FILENAME = 120
_MAX_SUFFIX = 20

# Printable by `str.isprintable`, and yet nothing is seen: fillers, variation selectors (but for the
# one that turns a preceding symbol into an emoji), the blank Braille pattern. And combining marks
# that have nothing to stand on, or are piled so high that they reach into the lines above.
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_HIDDEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0e\uffa0"
    "\U000e0100-\U000e01ef]"
    "|(?:^|(?<=[ \ufe0f]))\ufe0f"
    f"|(?:^|(?<=[{_MARKS}]{{4}}))[{_MARKS}]"
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
    if shown.isprintable() and (shown.isascii() or not _HIDDEN.search(shown)):
        if limit is None or len(shown) <= limit:
            return shown
    elif limit is None:
        return "".join(_forms(shown, _visible))
    return _shortened(shown, data, limit)


def json_text(data: bytes) -> tuple[str, bool]:
    r"""`data` as text for JSON, and whether that text is exact.

    Exact: its UTF-8 is `data`. Otherwise each octet that is no part of a visible character stands
    as \xNN, and the caller adds the octets themselves as base64.
    """
    shown = data.decode("utf-8", "surrogateescape")
    if shown.isprintable() and (shown.isascii() or not _HIDDEN.search(shown)):
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
    hidden = {match.start() for match in _HIDDEN.finditer(shown)}
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
