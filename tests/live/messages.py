"""The messages that the recordings carry: made-up people, fixed dates, CRLF line ends."""

from __future__ import annotations

import struct
import zlib
from email import policy
from email.message import EmailMessage

DATE = "Mon, 05 Oct 2026 09:30:00 +0000"


def note(subject: str = "Lunch on Friday", body: str | None = None, sender: str = "ann") -> bytes:
    """A short plain text message."""
    return _headed(subject, sender, body or "Bob,\n\nnoon, at the usual place?\n\nAnn\n").as_bytes()


def long_note(octets: int) -> bytes:
    """A plain text message of about this size, with lines that begin with a dot."""
    lines = (
        f"{'.' * (number % 4)}line {number} of a long letter" for number in range(octets // 32)
    )
    return note("A long letter", "\n".join(lines) + "\n")


def with_attachments() -> bytes:
    """Nested multiparts: text and HTML, a PNG, a text file and one with an RFC 2231 file name."""
    message = _headed("Plans and pictures", "ann", "The plans are attached.\n")
    message.add_alternative("<p>The plans are <b>attached</b>.</p>\n", subtype="html")
    message.add_attachment(_png(), "image", "png", filename="square.png")
    message.add_attachment("one,two\n3,4\n", subtype="csv", filename="table.csv")
    message.add_attachment(
        "Gr\u00fc\u00dfe aus K\u00f6ln\n",
        filename="Gr\u00fc\u00dfe aus K\u00f6ln \u2013 \u8a08\u753b.txt",
    )
    for number, part in enumerate(message.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_boundary-{number}")
    return message.as_bytes()


def international() -> bytes:
    """A message with UTF-8 in its header and its body (RFC 6532), to be sent with SMTPUTF8."""
    return (
        f"Date: {DATE}\r\nFrom: J\u00f6rg <j\u00f6rg@example.net>\r\n"
        "To: \u7528\u6237@example.org\r\nSubject: \u00a1Hola, \u4e16\u754c!\r\n"
        "Message-ID: <utf8@client.example.net>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        "Sch\u00f6ne Gr\u00fc\u00dfe \u2013 \u3053\u3093\u306b\u3061\u306f\r\n"
    ).encode()


def _headed(subject: str, sender: str, body: str) -> EmailMessage:
    message = EmailMessage(policy.SMTP)
    message["Date"] = DATE
    message["From"] = f"{sender.title()} <{sender}@example.net>"
    message["To"] = "Bob <bob@example.org>"
    message["Subject"] = subject
    message["Message-ID"] = f"<{zlib.crc32(subject.encode()):08x}@client.example.net>"
    message.set_content(body)
    return message


def _png() -> bytes:
    """A red square of 8 by 8 pixels."""

    def chunk(kind: bytes, octets: bytes) -> bytes:
        checksum = zlib.crc32(kind + octets)
        return struct.pack(">I", len(octets)) + kind + octets + struct.pack(">I", checksum)

    rows = (b"\0" + b"\xff\0\0" * 8) * 8
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
