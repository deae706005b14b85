"""Commands that ask or do nothing: VRFY, EXPN, HELP, NOOP, and QUIT. RFC 5321 §3.5, §4.1.1.6 to
§4.1.1.10; RFC 6531 §3.7.4."""

from __future__ import annotations

from smtpscope import reference
from smtpscope.smtp.serving.answers import MAX_FIELD
from smtpscope.smtp.serving.directory import Found
from smtpscope.smtp.serving.session import Session

MAX_LINES = 500
"""Members that EXPN lists."""


def vrfy(session: Session, argument: bytes) -> None:
    _inquire(session, argument, "vrfy", session.settings.vrfy)


def expn(session: Session, argument: bytes) -> None:
    _inquire(session, argument, "expn", session.settings.expn)


def _inquire(session: Session, argument: bytes, what: str, policy: str) -> None:
    text, utf8 = _without_flag(session, argument.strip(b" "))
    if not text:
        session.say("argument.missing", {"verb": what.upper()})
        return
    if policy == "auth" and session.identity is None:
        session.say("required.auth")
        return
    if policy == "off":
        session.say(f"{what}.off")
        return
    directory = session.service.directory
    words = text.decode("utf-8", "replace")
    found = directory.verify(words) if what == "vrfy" else directory.expand(words)
    lines = [line.encode() for line in found.lines[:MAX_LINES]]
    if not utf8 and not b"".join((*lines, found.target.encode())).isascii():
        session.say("vrfy.utf8")
        return
    _tell(session, found, lines)


def _tell(session: Session, found: Found, lines: list[bytes]) -> None:
    form = session.forms[found.key]
    if lines:
        session.send(form.code, session.service.voice.listing(found.key, lines))
    else:
        session.say(found.key, {"target": found.target} if found.target else {})


def _without_flag(session: Session, text: bytes) -> tuple[bytes, bool]:
    """The argument without SMTPUTF8 behind it, where that means something."""
    words, _, last = text.rpartition(b" ")
    if words and last.upper() == b"SMTPUTF8" and "SMTPUTF8" in session.service.offered:
        return words.rstrip(b" "), True
    return text, False


def help_(session: Session, argument: bytes) -> None:
    """What commands there are, or what one of them does."""
    topic = argument.strip(b" \t").decode("ascii", "replace").upper()
    if not topic:
        lines = [b" ".join(word.encode() for word in _commands(session))]
        form = session.forms["help"]
        session.send(form.code, session.service.voice.listing("help", lines))
        return
    row = reference.command(topic)
    if row is None or row.status == "pseudo":
        session.say("help.unknown")
        return
    lines = [text.encode()[:MAX_FIELD] for text in (row.syntax, row.meaning)]
    form = session.forms["help.topic"]
    session.send(form.code, session.service.voice.listing("help.topic", lines))


def _commands(session: Session) -> list[str]:
    """The verbs of this server, as far as its extensions tell."""
    hello = ["LHLO"] if session.settings.lmtp else ["HELO", "EHLO"]
    always = ["MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP"]
    by_extension = {
        "CHUNKING": "BDAT",
        "STARTTLS": "STARTTLS",
        "AUTH": "AUTH",
        "ETRN": "ETRN",
        "ATRN": "ATRN",
        "TURN": "TURN",
    }
    offered = session.service.offered
    extended = [verb for keyword, verb in by_extension.items() if keyword in offered]
    disabled = session.settings.disabled
    return [verb for verb in (*hello, *always, *extended) if verb not in disabled]


def noop(session: Session, argument: bytes) -> None:
    session.say("noop")


def quit_(session: Session, argument: bytes) -> None:
    session.say("quit")
    session.end()
