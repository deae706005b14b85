"""How a session opens: the greeting, HELO, EHLO and LHLO, STARTTLS. RFC 5321 §3.1, §4.1.1.1;
RFC 2033 §4.1; RFC 3207 §4."""

from __future__ import annotations

from smtpscope.smtp.grammar import parse_hello
from smtpscope.smtp.serving.actions import StartTls
from smtpscope.smtp.serving.faults import GREETING, TLS
from smtpscope.smtp.serving.sabotage import around
from smtpscope.smtp.serving.session import Mode, Session
from smtpscope.stream import Direction, Span

_REFUSALS = 400


def greet(session: Session, key: str) -> None:
    """The first reply."""

    def run() -> None:
        session.refused = session.forms[key].code >= _REFUSALS
        session.say(key)

    def refuse() -> None:
        session.refused = True

    if session.service.faults:
        around(session, GREETING, b"", run, refuse)
    else:
        run()


def helo(session: Session, argument: bytes) -> None:
    _hello(session, "HELO", argument)


def ehlo(session: Session, argument: bytes) -> None:
    _hello(session, "EHLO", argument)


def lhlo(session: Session, argument: bytes) -> None:
    _hello(session, "LHLO", argument)


def _hello(session: Session, verb: str, argument: bytes) -> None:
    if session.settings.lmtp != (verb == "LHLO"):
        session.say("hello.lmtp" if session.settings.lmtp else "hello.smtp")
        return
    name, defects = parse_hello(argument, Span(Direction.CLIENT, 0, len(argument)))
    if defects and not session.settings.tolerate.issuperset(defect.rule for defect in defects):
        session.say("hello.syntax", {"verb": verb})
        return
    form = session.forms["helo" if verb == "HELO" else "ehlo"]
    if form.code < _REFUSALS:
        session.reset()
        session.hello = name
        session.extended = verb != "HELO"
    if session.extended and form.code < _REFUSALS:
        session.send(form.code, session.service.greet(name, tls=session.tls))
    else:
        session.say_form(form, {"name": name})


def starttls(session: Session, argument: bytes) -> None:
    if session.tls:
        session.say("starttls.active")
    elif not session.service.tls_ready:
        session.say("starttls.unavailable")
    elif session.service.faults:
        around(session, TLS, b"", lambda: _start(session), _nothing)
    else:
        _start(session)


def handshake(session: Session) -> str:
    """What is to become of a handshake that no STARTTLS precedes; see `actions.StartTls`."""
    if session.service.faults:
        fired = session.service.faults.fire(TLS, b"", session.client, session.counter)
        for fault in fired:
            if fault.act in _HANDSHAKES:
                session.note("fault", fault.title(TLS))
                return _HANDSHAKES[fault.act]
    return "good"


_HANDSHAKES = {"refuse-tls": "refuse", "bad-certificate": "bad-certificate"}


def _start(session: Session) -> None:
    session.reset()
    session.mode = Mode.TLS
    session.say("starttls")
    if session.mode is Mode.TLS:
        session.out.append(StartTls(session.handshake))


def _nothing() -> None:
    """There is nothing to undo."""
