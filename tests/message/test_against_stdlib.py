"""Messages that the standard library makes, read by it and by us."""

from __future__ import annotations

import email
import email.policy
import hashlib
import io
from email.headerregistry import Address
from email.message import EmailMessage, Message
from email.utils import getaddresses

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpscope.message import Part, extract_part, read_message

WORDS = st.text(
    alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=12
)
PHRASES = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)
ATOMS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=10)
NAMES = st.text(
    alphabet=st.characters(codec="utf-8", categories=["L", "N"], include_characters=" .-_"),
    min_size=1,
    max_size=30,
).map(lambda name: "x" + name.strip() + "x")


@st.composite
def messages(draw: st.DrawFn, deep: int = 0) -> EmailMessage:
    message = EmailMessage(policy=email.policy.SMTP)
    message["Subject"] = draw(PHRASES)
    # Where a list with encoded names is folded, the library encodes the commas too.
    names = draw(st.lists(NAMES, max_size=1) | st.lists(ATOMS, min_size=1, max_size=4))
    recipients = [(name, draw(ATOMS), draw(ATOMS)) for name in names or [""]]
    message["To"] = [Address(name, local, domain + ".test") for name, local, domain in recipients]
    message.set_content(
        draw(PHRASES), cte=draw(st.sampled_from(["base64", "quoted-printable", "8bit"]))
    )
    if draw(st.booleans()):
        message.add_alternative("<p>" + draw(PHRASES), subtype="html")
    for file in draw(st.lists(st.binary(max_size=200), max_size=3)):
        message.add_attachment(
            file,
            maintype="application",
            subtype=draw(st.sampled_from(["zip", "x-thing"])),
            filename=draw(NAMES),
        )
    # What is nested deeper than is read here is another test's.
    if deep < 3 and draw(st.booleans()):
        message.add_attachment(draw(messages(deep + 1)))
    return message


def _ours(part: Part, content: bytes) -> list[tuple[str, str | None, bytes]]:
    if part.children:
        return [leaf for child in part.children for leaf in _ours(child, content)]
    out = io.BytesIO()
    extract_part([content], part.number, out)
    return [(part.content_type, part.filename, out.getvalue())]


def _theirs(message: Message) -> list[tuple[str, str | None, bytes]]:
    return [
        (part.get_content_type(), part.get_filename(), part.get_payload(decode=True))
        for part in message.walk()
        if not part.is_multipart()
    ]


@given(messages())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_leaves_names_and_contents_are_the_same(made: EmailMessage) -> None:
    content = made.as_bytes()
    message = read_message(content)
    leaves = _ours(message.root, content)
    for policy in (email.policy.default, email.policy.compat32):
        theirs = email.message_from_bytes(content, policy=policy)
        assert [(kind, octets) for kind, _, octets in leaves] == [
            (kind, octets) for kind, _, octets in _theirs(theirs)
        ]
    modern = email.message_from_bytes(content, policy=email.policy.default)
    assert leaves == _theirs(modern)
    assert message.parts == len(leaves)
    attached = [a for a in message.attachments if a.content_type != "message/rfc822"]
    assert [(a.filename, a.size, a.sha256) for a in attached] == [
        (name, len(octets), hashlib.sha256(octets).hexdigest())
        for kind, name, octets in leaves
        if not kind.startswith("text/")
    ]


@given(messages())
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_fields_are_the_same(made: EmailMessage) -> None:
    content = made.as_bytes()
    message = read_message(content)
    theirs = email.message_from_bytes(content, policy=email.policy.default)
    raw = email.message_from_bytes(content, policy=email.policy.compat32)
    assert [header.name.decode() for header in message.headers] == raw.keys()
    assert message.subject == theirs["Subject"]
    assert message.addresses(b"to") == [spec for _, spec in getaddresses([raw["To"]])]
    assert message.addresses(b"to") == [address.addr_spec for address in theirs["To"].addresses]
