"""TURN, ATRN and ETRN: mail that waits for the client. The I/O side knows what is queued.

RFC 821 §3.8 and RFC 5321 appendix F.1; RFC 2645 §4, §5; RFC 1985 §5.
"""

from __future__ import annotations

from collections.abc import Iterable

from smtpscope.smtp.paths import domain_trouble, is_address_literal
from smtpscope.smtp.serving.actions import Atrn, Etrn, Turn, Turned
from smtpscope.smtp.serving.answers import Form
from smtpscope.smtp.serving.session import Mode, Session
from smtpscope.smtp.serving.settings import Settings

MAX_DOMAINS = 100
"""Domains of one ATRN."""

_REFUSALS = 400
_TURNING = frozenset({"turn", "atrn"})


def turn(session: Session, argument: bytes) -> None:
    if session.settings.turn != "insecure" and session.identity is None:
        session.say("required.auth")
    elif session.envelope is not None:
        session.say("turning.transaction")
    else:
        session.out.append(Turn(session.hello or b"", session.identity))
        _wait(session, "turn")


def atrn(session: Session, argument: bytes) -> None:
    if session.identity is None:
        session.say("required.auth")
        return
    if session.envelope is not None:
        session.say("turning.transaction")
        return
    domains = tuple(argument.strip(b" ").split(b",")) if argument.strip(b" ") else ()
    if len(domains) > MAX_DOMAINS or any(domain_trouble(domain) for domain in domains):
        session.say("atrn.syntax")
        return
    session.out.append(Atrn(domains, session.identity))
    _wait(session, "atrn")


def etrn(session: Session, argument: bytes) -> None:
    text = argument.strip(b" ")
    option = text[:1] if text[:1] in (b"@", b"#") else b""
    node = text[len(option) :]
    # Behind # stands the name of a queue, which need not be a domain.
    named = option == b"#" and node.isascii() and b" " not in node
    if not node or not (named or is_address_literal(node) or not domain_trouble(node)):
        session.say("etrn.syntax")
        return
    session.subject = {"node": node}
    session.out.append(Etrn(option, node))
    _wait(session, "etrn")


def own_hosts(identity: bytes | None) -> tuple[str, ...]:
    """For whom a login collects mail unless it says: its own name, and the domain in that."""
    if identity is None:
        return ()
    name = identity.decode("utf-8", "replace")
    _, separator, domain = name.rpartition("@")
    return (name, domain) if separator and domain else (name,)


def may_collect(settings: Settings, identity: bytes | None, hosts: Iterable[str]) -> bool:
    """Whether who logged in may have the mail of all these hosts (RFC 2645 §5.1).

    Where users are configured a login collects for its `own_hosts` and for nobody else. Where
    anybody may log in (`auth` any) names prove nothing, and everybody may have everything: such a
    server is for tests.
    """
    if settings.auth != "users":
        return True
    own = {host.casefold() for host in own_hosts(identity)}
    return all(host.casefold() in own for host in hosts)


def accept(session: Session, key: str, count: int, rest: bytes) -> None:
    """The I/O side agrees; behind TURN and ATRN the connection is its own."""
    kind = session.waiting
    form = session.forms[key or kind]
    _settle(session, form, count)
    if kind in _TURNING and form.code < _REFUSALS and session.mode is not Mode.OVER:
        session.mode = Mode.OVER
        session.out.append(Turned(rest))


def refuse(session: Session, form: Form) -> None:
    """The I/O side does not agree."""
    _settle(session, form, 0)


def _settle(session: Session, form: Form, count: int) -> None:
    fields = {**session.subject, "count": count}
    session.waiting = ""
    session.mode = Mode.COMMAND
    session.say_form(form, fields)


def _wait(session: Session, kind: str) -> None:
    session.mode = Mode.WAIT
    session.waiting = kind
