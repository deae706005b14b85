"""What strangers write to do harm to a terminal, in every field of a capture; and what to check of
a screen that shows it."""

from __future__ import annotations

import base64
import re
import struct
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from rich.cells import cell_len
from support.conversation import START, connection
from support.packets import pcap
from textual.pilot import Pilot
from textual.strip import Strip

from smtpscope.tui.rowlist import RowList

FAMILY = "👩\u200d👩\u200d👧"
TEXTS: dict[str, bytes] = {
    "markup": b"[bold red]x[/] [/] [/nope] [@click=app.quit]q[/] [@click=screen.dismiss(1)]d[/] [",
    "link": b"[link=http://evil.test]x[/link] [link=javascript:1]",
    "variables": b"$primary $scope-error ${x} $$ {0} %s %(x)s \\[x] \\",
    "clipboard": b"\x1b]52;c;aGk=\x07 \x1b]0;owned\x1b\\",
    "colours": b"\x1b[2J\x1b[31mred\x1b[0m \x1b[?1049l \x1bc",
    "c1": b"\x9b2J \xc2\x9b31m \xc2\x9d0;x\xc2\x9c \xc2\x85",
    "controls": bytes(each for each in range(1, 32) if each not in (10, 13)) + b"\x7f",
    "nul": b"a\0b",
    "bidi": "gp\u202efdp.exe \u2066x\u2069 \u200f\u061c\u202d \u05d0\u05d1".encode(),
    "hidden": (
        "a\u200bb\u200c\u200d\u2060\ufeff\u00ad\u180e\u034f\u3164\u2800\ufe00c\ufe0f".encode()
    ),
    "piled": ("e" + 40 * "\u0301").encode(),
    "piled elsewhere": ("ก" + 9 * "\u0e49" + " \u0e49\u05d0" + 9 * "\u05b0").encode(),
    "no utf-8": b"\xff\xfe \xc0\xaf \xed\xa0\x80\xed\xb0\x80 \xf0\x9f \xe9t\xe9",
    "wide": 70 * "日本".encode(),
    "emoji": f"{FAMILY} ❤\ufe0f 1\ufe0f\u20e3 👍🏽 x🏽 🇩🇪 {30 * '❤️x'}".encode(),
    "tabs": b"a\tb\rc \r\r",
    "spaces": "a\u2028b\u2029c\u00a0d\u3000e\x1cf\x85".encode(),
    "quotes": b"\"'`\\<>@;:,()=?&|!#*~^%",
}


def word(octets: bytes, charset: str = "utf-8") -> bytes:
    """Octets as an encoded word (RFC 2047)."""
    return b"=?" + charset.encode() + b"?b?" + base64.b64encode(octets) + b"?="


def letter(evil: bytes) -> bytes:
    """A message with a stranger's octets in every field, its file names and its bodies."""
    line = evil.replace(b"\r", b"")
    boundary = re.sub(rb'["\\\r\n\0]', b"", evil)[:60].strip() or b"b"
    name = quote_from_bytes(evil).encode()
    separator = b"\r\n--" + boundary + b"\r\n"
    parts = (
        b"Content-Type: text/plain; charset=" + line + b"\r\n\r\n" + evil + b"\r\n> " + evil,
        b"Content-Type: text/html; charset=utf-7\r\n\r\n+2AA- +AFs-bold+AF0- " + evil,
        b"Content-Type: text/x-" + line + b"; charset=unicode_escape\r\n\r\n\\x1b[2J \\ud800",
        b"Content-Type: application/" + line + b"; name*=utf-8''" + name + b"\r\n\r\n" + evil,
        b'Content-Type: image/png\r\nContent-Disposition: attachment; filename="'
        + line.replace(b'"', b"")
        + b'"\r\n\r\n\x89PNG',
        b"Content-Type: text/plain\r\nContent-Disposition: attachment; filename="
        + word(evil)
        + b"\r\n\r\nx",
        b"Content-Type: message/rfc822\r\n\r\nSubject: " + line + b"\r\n\r\n" + evil,
    )
    return (
        b"Received: from " + line + b" (" + line + b") by " + line + b" with " + line + b"; now\r\n"
        b"Received: from a by b; Tue, 14 Nov 2023 22:13:20 +0000 (" + line + b")\r\n"
        b"Authentication-Results: " + line + b"; spf=" + line + b" smtp.mailfrom=" + line + b"\r\n"
        b"DKIM-Signature: v=1; d=" + line + b"; s=" + line + b"; b=" + line + b"\r\n"
        b"From: " + line + b" <" + line + b"@x>\r\nTo: " + word(evil) + b" <b@c>\r\n"
        b"Subject: " + line + b" " + word(evil) + b"\r\n\t" + line + b"\r\n"
        b"Date: " + line + b"\r\nMessage-ID: <" + line + b">\r\n"
        b"X-" + line.replace(b":", b"") + b": " + line + b"\r\n"
        b"=?utf-8?q?=1B]0;x=07?=: =?" + line[:20] + b"?q?=1B[2J?=\r\n"
        b"MIME-Version: 1.0 (" + line + b")\r\n"
        b'Content-Type: multipart/mixed; boundary="'
        + boundary
        + b'"\r\n'
        + separator.join((b"", *parts))
        + b"\r\n--"
        + boundary
        + b"--\r\n"
    )


def dialogue(evil: bytes, message: bytes | None = None) -> list[tuple[str, bytes]]:
    """A session with a stranger's octets in all that both sides can say."""
    said = base64.b64encode(evil)
    message = letter(evil) if message is None else message
    turns = [
        ("S", b"220-" + evil + b"\r\n220 mx " + evil),
        ("C", b"EHLO " + evil),
        ("S", b"250-" + evil + b"\r\n250-" + evil + b" " + evil + b"\r\n250-AUTH PLAIN " + evil),
        ("S", b"250-SIZE " + evil + b"\r\n250-X" + evil.replace(b" ", b"") + b"\r\n250 8BITMIME"),
        ("C", b"VRFY " + evil),
        ("S", b"252 2.0.0 <" + evil + b">"),
        ("C", b"EXPN " + evil),
        ("S", b"550-5.1.1 " + evil + b"\r\n550 5.1.1 " + evil),
        ("C", evil + b" " + evil),
        ("S", b"500 5.5.1 " + evil),
        ("C", b"X" + evil.replace(b" ", b"") + b" x"),
        ("S", evil),
        ("C", b"HELP " + evil),
        ("S", b"214-" + evil + b"\r\n214 " + evil),
        ("C", b"AUTH " + evil + b" " + evil),
        ("S", b"504 5.5.4 " + evil),
        ("C", b"AUTH LOGIN"),
        ("S", b"334 " + said),
        ("C", said),
        ("S", b"334 " + evil),
        ("C", said),
        ("S", b"535 5.7.8 " + evil),
        ("C", b"AUTH PLAIN " + base64.b64encode(evil + b"\0" + evil + b"\0" + evil)),
        ("S", b"235 " + evil),
        ("C", b"MAIL FROM:<" + evil + b"@" + evil + b"> SIZE=" + evil + b" ENVID=" + evil),
        ("S", b"250 2.1.0 " + evil),
        ("C", b'MAIL FROM:<"' + evil.replace(b'"', b"") + b'"@x.test> X' + evil + b"=" + evil),
        ("S", b"250 2.1.0 " + evil),
        ("C", b"RCPT TO:<b@" + evil + b"> NOTIFY=" + evil + b" ORCPT=rfc822;" + evil),
        ("S", b"250 2.1.5 " + evil),
        ("C", b"RCPT TO:<c@example.org>"),
        ("S", b"451 4.7.1 " + evil),
        ("C", b"DATA"),
        ("S", b"354 " + evil),
        ("C", message + b"."),
        ("S", b"250 2.0.0 " + evil),
        ("C", b"QUIT " + evil),
        ("S", b"221 " + evil),
    ]
    return [(side, octets + b"\r\n") for side, octets in turns]


def client_hello(name: bytes, protocol: bytes) -> bytes:
    """A TLS handshake's beginning that asks for `name` and `protocol`."""

    def block(octets: bytes) -> bytes:
        return struct.pack("!H", len(octets)) + octets

    names = struct.pack("!H", 0) + block(block(b"\0" + block(name)))
    protocols = struct.pack("!H", 16) + block(block(bytes([len(protocol)]) + protocol))
    body = b"\3\3" + bytes(32) + b"\0\0\2\x13\x01\1\0" + block(names + protocols)
    hello = b"\1" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\3\1" + block(hello)


def evil_capture(path: Path) -> Path:
    """A session for each of `TEXTS`, then TLS, then a tunnel, with such octets in all fields."""
    packets = []
    every = [dialogue(evil) for evil in TEXTS.values()]
    evil = TEXTS["clipboard"]
    every.append([("C", client_hello(evil + TEXTS["bidi"], evil + b"[/]"))])
    every.append([("C", b"CONNECT " + evil + b":25 HTTP/1.1\r\n\r\n"), ("S", b"220 " + evil)])
    for number, turns in enumerate(every):
        tls = turns[0][1].startswith(b"\x16")
        start = START + number * 60_000_000_000
        port = 465 if tls else 25
        packets += connection(turns, client=40_000 + number, server=port, start=start)
    path.write_bytes(pcap(packets))
    return path


# -- what is painted -------------------------------------------------------------------------------

_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0e\ufeff\uffa0\ud800-\udfff\U000e0000-\U000e01ef]"
    # What makes an emoji of a letter, or of nothing; a skin tone on a letter.
    "|(?:^|(?<=[\\w\\s]))(?:\ufe0f(?!\u20e3)|[\U0001f3fb-\U0001f3ff])"
)
_MAX_PILE = 4


def harm(words: str) -> str:
    """The first character of a text that must not reach a terminal; "" where all may."""
    found = _HARMFUL.search(words)
    if found:
        return found[0]
    pile = 0
    for character in words if not words.isascii() else "":
        mark = unicodedata.category(character)[0] == "M" and character != "\ufe0f"
        pile = pile + 1 if mark else 0
        if not character.isprintable() or pile > _MAX_PILE:
            return character
    return ""


def check_strip(strip: Strip, width: int) -> str:
    """What a line paints: it is harmless, as wide as it should be, and nothing to click on."""
    line = "".join(segment.text for segment in strip)
    assert not harm(line), f"{harm(line)!r} in {line!r}"
    sizes = cell_len(line), sum(cell_len(segment.text) for segment in strip), strip.cell_length
    assert sizes == (width,) * 3, f"{sizes} cells rather than {width}: {line!r}"
    for segment in strip:
        assert not segment.control
        if segment.style is not None:
            assert segment.style.link is None, segment
            assert "@click" not in segment.style.meta, segment
    return line


def check(pilot: Pilot[Any]) -> str:
    """The application is alive, and what it paints is harmless; what that is."""
    app, screen = pilot.app, pilot.app.screen
    assert app.is_running
    assert not app._exit
    strips = screen._compositor.render_strips(screen.size)
    assert len(strips) == screen.size.height
    return "\n".join(check_strip(strip, screen.size.width) for strip in strips)


def check_rows(widget: RowList) -> int:
    """Every row of a list, seen or not, is harmless where it is painted and where it is copied;
    how many there are."""
    width = widget.scrollable_content_region.width
    for index in range(len(widget.source)):
        check_strip(widget._row(index, width, True, True), width)
        assert not harm(widget.text(index))
    return len(widget.source)
