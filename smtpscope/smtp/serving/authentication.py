"""AUTH: the exchange of challenges and responses that the mechanisms of `login` need.

RFC 4954 §4 and §6.
"""

from __future__ import annotations

import base64
import binascii

from smtpscope.smtp.serving import login
from smtpscope.smtp.serving.session import Mode, Session


def auth(session: Session, argument: bytes) -> None:
    """Begin an exchange: `AUTH mechanism [initial-response]`."""
    if session.identity is not None:
        session.say("auth.again")
        return
    if session.envelope is not None:
        session.say("auth.transaction")
        return
    word, _, initial = argument.strip(b" ").partition(b" ")
    name = word.upper().decode("ascii", "replace")
    mechanism = login.TABLE.get(name)
    if mechanism is None or name not in login.usable(session.settings):
        session.say("auth.unknown" if word else "auth.syntax")
        return
    if name not in session.service.mechanisms[session.tls]:
        session.say("auth.cleartext")
        return
    if initial and not mechanism.initial_allowed:
        session.say("auth.syntax")
        return
    exchange = mechanism.run(session.service.credentials, session.service.nonce())
    session.exchange = exchange
    session.mechanism = name
    challenge = next(exchange)
    if initial:
        respond(session, b"" if initial == b"=" else initial)
    else:
        _challenge(session, challenge)


def respond(session: Session, line: bytes) -> None:
    """A line of the exchange, without its ending."""
    exchange = session.exchange
    if exchange is None:
        return
    if line == b"*":
        abandon(session, "auth.cancelled")
        return
    try:
        challenge = exchange.send(binascii.a2b_base64(line, strict_mode=True) if line else b"")
    except StopIteration as stop:
        verdict: login.Verdict = stop.value
        _conclude(session, verdict)
    except binascii.Error:
        abandon(session, "auth.base64")
    except login.MalformedError as error:
        abandon(session, error.key)
    else:
        _challenge(session, challenge)


def give_up(session: Session) -> None:
    """The exchange is over without a result."""
    session.exchange = None
    session.mode = Mode.COMMAND


def abandon(session: Session, key: str) -> None:
    """The exchange is over, and the reply says why."""
    give_up(session)
    session.say(key)


def _challenge(session: Session, challenge: bytes) -> None:
    session.mode = Mode.AUTH
    session.send(334, b"334 " + base64.b64encode(challenge) + b"\r\n")


def _conclude(session: Session, verdict: login.Verdict) -> None:
    identity = verdict.identity.decode("utf-8", "backslashreplace")
    key = session.settings.logins.get(identity)
    if key is None:
        key = "auth.ok" if verdict.accepted else "auth.failed"
    if session.forms[key].code == 235:
        session.identity = verdict.identity
    session.note("login", f"{session.mechanism} {identity}: {session.forms[key].code}")
    abandon(session, key)
