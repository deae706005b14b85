"""The commands of a server as a table: what runs, and what must have been said before.

`dispatch` holds a command against the table and the settings before it runs. RFC 5321 §4.1.4,
§4.2.4 and §4.3.2; RFC 3207 §4 and RFC 4954 §6 for what 530 spares.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smtpscope import reference
from smtpscope.smtp.serving import (
    authentication,
    envelopes,
    inquiry,
    opening,
    transfer,
    turning,
)
from smtpscope.smtp.serving.sabotage import around
from smtpscope.smtp.serving.session import Session


class Spec(NamedTuple):
    """One command. `argument`: "none", "any" or "needed". `after`: "" for at any time, "hello"
    for any hello, "ehlo" for one that brings extensions. `extension`: what has to be offered.
    `before_tls`, `before_auth`: not refused where the settings require those first."""

    run: Callable[[Session, bytes], None]
    argument: str = "any"
    after: str = ""
    extension: str = ""
    before_tls: bool = False
    before_auth: bool = False


SPECS: dict[str, Spec] = {
    "HELO": Spec(opening.helo, before_auth=True),
    "EHLO": Spec(opening.ehlo, before_tls=True, before_auth=True),
    "LHLO": Spec(opening.lhlo, before_tls=True, before_auth=True),
    "MAIL": Spec(envelopes.mail, "needed", "hello"),
    "RCPT": Spec(envelopes.rcpt, "needed", "hello"),
    "DATA": Spec(transfer.data, "none", "hello"),
    "BDAT": Spec(transfer.bdat, extension="CHUNKING"),
    "RSET": Spec(envelopes.rset, "none", before_auth=True),
    "NOOP": Spec(inquiry.noop, before_tls=True, before_auth=True),
    "QUIT": Spec(inquiry.quit_, "none", before_tls=True, before_auth=True),
    "HELP": Spec(inquiry.help_),
    "VRFY": Spec(inquiry.vrfy),
    "EXPN": Spec(inquiry.expn),
    "STARTTLS": Spec(opening.starttls, "none", "ehlo", "STARTTLS", True, True),
    "AUTH": Spec(authentication.auth, "needed", "ehlo", "AUTH", before_auth=True),
    "ETRN": Spec(turning.etrn, "needed", "ehlo", "ETRN"),
    "ATRN": Spec(turning.atrn, "any", "ehlo", "ATRN"),
    "TURN": Spec(turning.turn, "none", "hello", "TURN"),
}

_ONE_HELLO = {"hello": "hello.none", "ehlo": "hello.extended"}

_REAL = frozenset({"core", "extension", "lmtp", "obsolete"})


def dispatch(session: Session, verb: str, argument: bytes) -> None:
    """Run one command, with whatever fault is due at it."""
    if session.service.faults:
        around(
            session,
            verb,
            argument,
            lambda: _run(session, verb, argument),
            lambda: transfer.skip_bdat(session, argument) if verb == "BDAT" else None,
        )
    else:
        _run(session, verb, argument)


def _run(session: Session, verb: str, argument: bytes) -> None:
    settings = session.settings
    spec = SPECS.get(verb)
    if spec is None or verb in settings.disabled:
        _say_unknown(session, verb)
    elif session.refused and verb != "QUIT":
        session.say("refused")
    elif spec.extension and spec.extension not in session.service.offered:
        session.say("not-implemented")
    elif spec.argument == "none" and argument.strip(b" "):
        session.say("argument", {"verb": verb})
    elif spec.argument == "needed" and not argument.strip(b" "):
        session.say("argument.missing", {"verb": verb})
    elif settings.require_tls and not (session.tls or spec.before_tls):
        _refuse(session, verb, argument, "required.tls")
    elif settings.require_auth and session.identity is None and not spec.before_auth:
        _refuse(session, verb, argument, "required.auth")
    elif spec.after and not (
        session.extended if spec.after == "ehlo" else session.hello is not None
    ):
        session.say(_ONE_HELLO[spec.after])
    else:
        spec.run(session, argument)


def _refuse(session: Session, verb: str, argument: bytes, key: str) -> None:
    if verb == "BDAT":
        transfer.skip_bdat(session, argument)
    session.say(key)


def _say_unknown(session: Session, verb: str) -> None:
    """502 for what is a command somewhere, 500 for what is none (RFC 5321 §4.2.4)."""
    row = reference.command(verb) if verb else None
    known = row is not None and row.status in _REAL
    session.say("not-implemented" if known else "unknown")
