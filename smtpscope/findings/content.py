"""Rules about what a message carries: dangerous files, and a sender that is not who wrote it.

Only the first octets and the names of attachments are looked at, and the header. RFC 2183 §5,
RFC 7489 §3.1, RFC 5322 §3.6.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from smtpscope.findings.message import field_span, part_span
from smtpscope.findings.rule import Checks, Rule, quoted
from smtpscope.findings.walk import Step
from smtpscope.message import Message
from smtpscope.message.mime import Attachment
from smtpscope.message.text import decode_text
from smtpscope.session import Content
from smtpscope.smtp.values import Command
from smtpscope.stream import Defect

RULES: dict[str, Rule] = {
    "attachment-executable": Rule(
        "warning",
        "an attachment that is a program",
        "RFC 2183 §5",
        "Open it nowhere but in a sandbox. Mail servers do well to refuse programs.",
    ),
    "attachment-disguised": Rule(
        "warning",
        "an attachment whose name hides that it is a program",
        "RFC 2183 §5",
        "Honest senders have no reason for such a name: treat the message as malicious and ask "
        "who else has got it.",
    ),
    "attachment-type-differs": Rule(
        "note",
        "an attachment is something else than its type or name says",
        "RFC 2046 §1",
        "A careless sender, or one who wants to get past a filter: open it with care.",
    ),
    "from-differs": Rule(
        "note",
        "the From field names another domain than the envelope, and no signature of that domain",
        "RFC 7489 §3.1",
        "Usual for newsletters and forged mail alike. The domain's owner should sign with DKIM "
        "or let the envelope have the same domain, so that DMARC holds.",
    ),
    "display-name-disguise": Rule(
        "warning",
        "the name in the From field is an address of another domain",
        "RFC 5322 §3.6.2",
        "Most mail programs show only the name: this is a common way to pose as somebody else. "
        "Look at the real address before you answer.",
    ),
}

MAX_TOLD = 3
"""Attachments of one message that are told by each rule; further ones are counted."""
MAX_NAME = 500
"""Octets of the From field in which an address is looked for that is only a name."""

_PROGRAMS = (
    (re.compile(rb"MZ.*[\x00-\x08]", re.DOTALL), "a Windows program"),
    (re.compile(rb"\x7fELF"), "an ELF program"),
    (re.compile(rb"\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe"), "a Mach-O program"),
    (re.compile(rb"\xca\xfe\xba\xbe"), "Java bytecode or a Mach-O program"),
    (re.compile(rb"dex\n0"), "an Android program"),
    (re.compile(rb"L\0\0\0\x01\x14\x02\0"), "a Windows shortcut"),
    (re.compile(rb"#! ?/"), "a script"),
)
_FORMATS = (
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "OLE2"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x1f\x8b", "gzip"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"{\\rtf", "RTF"),
    (b"MSCF", "CAB"),
)
_EXPECTED = {
    "application/pdf": "PDF",
    "application/zip": "ZIP",
    "application/gzip": "gzip",
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/gif": "GIF",
    ".pdf": "PDF",
    ".zip": "ZIP",
    ".gz": "gzip",
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".gif": "GIF",
}
_RUNS = (
    r"\.(?:exe|scr|pif|bat|cmd|cpl|dll|msi|jar|js|jse|vbs|vbe|wsf|wsh|hta|lnk|ps1|reg|chm|iso|img"
    r"|xll|url|sct|msp|appx|msix|vhdx?)"
)
_EXECUTABLE_NAME = re.compile(_RUNS + r"[. ]*\Z", re.IGNORECASE)
_DOUBLE_NAME = re.compile(
    r"\.(?:pdf|docx?|xlsx?|pptx?|odt|rtf|txt|csv|jpe?g|png|gif|html?|zip|mp[34])\s*+"
    + _RUNS
    + r"[. ]*\Z",
    re.IGNORECASE,
)
_TURNED = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SIGNER = re.compile(rb"(?:^|;)\s*d\s*=\s*([^;\s]+)")
_ADDRESS_IN_NAME = re.compile(rb"[\w.+-]+@((?:[\w-]+\.)+[a-zA-Z]{2,})")
_ON_BEHALF = (b"list-id", b"sender", b"resent-from", b"list-unsubscribe")
_REWRITTEN = re.compile(rb"SRS[01][=+-]|.*\+SRS=", re.IGNORECASE | re.DOTALL)
"""The local parts that a forwarder put into the place of the author's address (SRS)."""
_SECOND_LEVELS = frozenset(
    b"ac ad asn biz co com cri ed edu firm gen go gob gov gr gub gv id idv ind info int iwi law lg"
    b" ltd mil ne net nhs nic nom or org pe plc pp re res sch school web".split()
)
"""Names below a country's that anybody may register under; others of three letters are owners'."""
_NAME_LENGTH = 150
_MAX_DOMAIN = 255


def _message(step: Step) -> Iterable[Defect]:
    exchange, command = step.exchange, step.command
    content = exchange.content
    if not exchange.last or command is None or not isinstance(content, Content):
        return ()
    message = content.finish()
    found = [*_files(command, message)] if message.attachments else []
    mail = step.state.mail
    path = mail.path.path if mail is not None and mail.path is not None else None
    rewritten = path is not None and _REWRITTEN.match(path.local) is not None
    for rule, detail in _from(message, path.domain if path and not rewritten else b""):
        author = field_span(command, message, message.fields[b"from"][0])
        found.append(Defect(rule, author, detail))
    return found


# -- attachments ---------------------------------------------------------------------------------


def _files(command: Command, message: Message) -> Iterator[Defect]:
    found: dict[str, list[tuple[int, str]]] = {}
    for rule, number, detail in _attachments(message):
        found.setdefault(rule, []).append((number, detail))
    for rule, files in found.items():
        more = len(files) - MAX_TOLD
        for index, (number, detail) in enumerate(files[:MAX_TOLD], 1):
            if index == MAX_TOLD and more > 0:
                detail += f", and {more:,} more in this message"
            yield Defect(rule, part_span(command, message, number), detail)


def _attachments(message: Message) -> Iterator[tuple[str, int, str]]:
    for attachment in message.attachments:
        name = attachment.filename or ""
        shown = name[:_NAME_LENGTH] or attachment.content_type[:_NAME_LENGTH]
        program = _program(attachment)
        if _DOUBLE_NAME.search(name) or (_TURNED.search(name) and program):
            yield "attachment-disguised", attachment.number, shown
        elif program:
            yield "attachment-executable", attachment.number, f"{shown}, {program}"
        elif not message.missing and (told := _differs(attachment)):
            yield "attachment-type-differs", attachment.number, f"{shown}, {told}"


def _program(attachment: Attachment) -> str:
    magic = attachment.magic
    for pattern, kind in _PROGRAMS:
        if pattern.match(magic):
            return kind
    return "by its name" if _EXECUTABLE_NAME.search(attachment.filename or "") else ""


def _differs(attachment: Attachment) -> str:
    dot = (attachment.filename or "").rpartition(".")
    expected = _EXPECTED.get(attachment.content_type) or _EXPECTED.get(f".{dot[2].lower()}")
    if expected is None or not attachment.magic:
        return ""
    actual = next((kind for start, kind in _FORMATS if attachment.magic.startswith(start)), None)
    if actual is None or actual == expected:
        return ""
    return f"{actual} instead of {expected}"


# -- the author ----------------------------------------------------------------------------------


def _from(message: Message, sender: bytes) -> Iterator[tuple[str, str]]:
    fields = message.fields.get(b"from")
    if not fields:
        return
    value = fields[0].value
    sender = sender.lower()
    direct = bool(sender) and b"@" + sender in value.lower()
    encoded = b"=?" in value
    if direct and value.count(b"@") == 1 and not encoded:
        return
    addresses = message.addresses(b"from")
    if not addresses:
        return
    domain = _domain(addresses[0])
    if not domain:
        # A program on the host itself names its user only.
        return
    name, angle, _ = value[:MAX_NAME].partition(b"<")
    if encoded:
        # Mail programs show what the words of RFC 2047 stand for.
        name = decode_text(name).encode("utf-8", "replace")
    named = _ADDRESS_IN_NAME.search(name)
    by_list = b" via " in name.lower() and b"list-id" in message.fields
    if angle and named and not by_list and not related(named[1].lower(), domain):
        shown = quoted(value.strip(), _NAME_LENGTH)
        if encoded:
            shown = decode_text(value[:MAX_NAME]).strip()[:_NAME_LENGTH]
        yield "display-name-disguise", shown
    if not sender.isascii():
        sender = _domain("@" + sender.decode("utf-8", "replace"))
    if not sender or related(sender, domain):
        return
    for header in message.headers:
        field = header.name.lower()
        if field in _ON_BEHALF:
            return
        if field == b"dkim-signature":
            signer = _SIGNER.search(header.value)
            if signer is not None and related(signer[1].lower(), domain):
                return
    yield "from-differs", f"{quoted(domain)}, and {quoted(sender)} in the envelope"


def _domain(address: str) -> bytes:
    """The domain as it is on the wire, in lower case; empty where there is none."""
    domain = address.rpartition("@")[2].lower() if "@" in address else ""
    if not domain.isascii() and len(domain) <= _MAX_DOMAIN:
        try:
            return domain.encode("idna")
        except UnicodeError:
            pass
    return domain.encode("utf-8", "replace")


def related(one: bytes, other: bytes) -> bool:
    """Whether two domains, in lower case, are likely the same owner's: their last labels agree."""
    return owned(one) == owned(other)


def owned(domain: bytes) -> bytes:
    """The part of a domain that its owner registered, as far as can be told without a list."""
    labels = domain.rstrip(b".").rsplit(b".", 3)
    if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVELS:
        # co.uk, com.au and their like are no owner's.
        return b".".join(labels[-3:])
    return b".".join(labels[-2:])


CHECKS = Checks(commands={".": (_message,), "BDAT": (_message,)})
