"""Carries faults out: what a server does at a command in place of, or around, the usual.

`around` wraps each command, greeting, AUTH line and end of message.
"""

from __future__ import annotations

from collections.abc import Callable

from smtpscope.smtp.serving.actions import Delay, Throttle
from smtpscope.smtp.serving.answers import Field
from smtpscope.smtp.serving.faults import Fault
from smtpscope.smtp.serving.session import Session

_REFUSALS = 400
_GARBAGE = 64

Run = Callable[[], None]


def around(
    session: Session, verb: str, argument: bytes, run: Run, refuse: Run, *, replies: int = 1
) -> None:
    """`run` the command, unless a fault has it otherwise.

    `refuse` undoes or skips what the command would have begun, before an error takes its place, as
    often as `replies` are owed. Of several faults that fire, delays and throttles add up; of the
    others the first counts.
    """
    fired = session.service.faults.fire(verb, argument, session.client, session.counter)
    final: Fault | None = None
    for fault in fired:
        if fault.act not in _BEFORE and final is not None:
            continue
        session.note("fault", fault.title(verb))
        if fault.act in _BEFORE:
            _BEFORE[fault.act](session, fault)
        else:
            final = fault
    if final is None:
        run()
    elif final.act == "reply":
        _reply(session, final, run, refuse, replies)
    else:
        _INSTEAD[final.act](session, final, run, refuse)


def _delay(session: Session, fault: Fault) -> None:
    session.out.append(Delay(fault.seconds))


def _throttle(session: Session, fault: Fault) -> None:
    session.out.append(Throttle(fault.rate))


def _reply(session: Session, fault: Fault, run: Run, refuse: Run, replies: int) -> None:
    form = session.service.voice.form(fault.answer)
    fields: dict[str, Field] = {"name": session.hello or b""}
    if fault.code >= _REFUSALS:
        refuse()
        for _ in range(replies):
            session.say_form(form, fields)
        return
    session.reshape = lambda octets: session.out.append(session.service.voice.fill(form, fields))
    run()


def _close(session: Session, fault: Fault, run: Run, refuse: Run) -> None:
    session.end(reset=fault.act == "reset")


def _stop_reading(session: Session, fault: Fault, run: Run, refuse: Run) -> None:
    session.stall()


def _partial(session: Session, fault: Fault, run: Run, refuse: Run) -> None:
    def cut(octets: bytes) -> None:
        if fault.octets:
            session.out.append(octets[: fault.octets])
        if fault.then == "stall":
            session.stall()
        else:
            session.end(reset=fault.then == "reset")

    session.reshape = cut
    run()


def _garbage(session: Session, fault: Fault, run: Run, refuse: Run) -> None:
    octets = fault.garbage or session.service.faults.random_octets(fault.octets or _GARBAGE)
    session.reshape = lambda reply: session.out.append(octets)
    run()


def _refuse_tls(session: Session, fault: Fault, run: Run, refuse: Run) -> None:
    refuse()
    session.say("starttls.unavailable")


def _bad_certificate(session: Session, fault: Fault, run: Run, refuse: Run) -> None:
    session.handshake = "bad-certificate"
    run()
    session.handshake = "good"


_BEFORE: dict[str, Callable[[Session, Fault], None]] = {"delay": _delay, "throttle": _throttle}

_INSTEAD: dict[str, Callable[[Session, Fault, Run, Run], None]] = {
    "close": _close,
    "reset": _close,
    "drop": _close,
    "partial": _partial,
    "garbage": _garbage,
    "stop-reading": _stop_reading,
    "refuse-tls": _refuse_tls,
    "bad-certificate": _bad_certificate,
}
