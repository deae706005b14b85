"""Rules about a connection as a conversation: how it begins and ends, and who speaks when.

The client waits for the greeting and for each reply, unless the server has PIPELINING; each command
has one reply, and each side says so before it leaves. What the commands say, and in which order, is
judged in `sequence`. RFC 5321 §3.1, §3.8, §4.2; RFC 2920 §3.
"""

from __future__ import annotations

from collections.abc import Iterable

from smtpscope import reference
from smtpscope.findings.rule import Checks, Rule, once
from smtpscope.findings.walk import State, Step
from smtpscope.session import Session
from smtpscope.smtp.commands import HELLO_VERBS
from smtpscope.smtp.dialogue import CLOSING
from smtpscope.smtp.values import Command, Exchange
from smtpscope.stream import Defect, Direction, Span

EARLY_PIPELINING = ("PIPECONNECT", "PIPE_CONNECT", "X_PIPE_CONNECT")
"""EHLO keywords of Exim: its clients may speak first where they have seen one before."""

UNNOTICED = 1_000_000_000
"""Time behind a 421 in which a client may not have seen it yet, in nanoseconds."""

IMPLICIT_TLS_PORTS = frozenset({465})
"""Ports on which the client speaks first."""

PATIENCE = 5_000_000_000
"""Time in nanoseconds after which a client that leaves has waited, and not only knocked."""

RULES: dict[str, Rule] = {
    # -- replies
    "unsolicited-reply": Rule(
        "warning",
        "a reply that nothing asked for",
        "RFC 5321 §4.2",
        "Look whether the server took part of a message for commands (then see to its handling of"
        " line ends), or sent a reply twice. From here on a client may take each reply for that to"
        " another command.",
    ),
    "missing-reply": Rule(
        "note",
        "no reply was seen",
        "RFC 5321 §4.2",
        "Each command has one reply. Look for what made the server silent, unless the connection"
        " had ended by then.",
    ),
    "reply-lost": Rule(
        "note",
        "the reply is missing from the capture",
        "RFC 5321 §4.2",
        "Nothing on the mail's way: the client went on, and so it had the reply. Record with a"
        " larger buffer to have all packets.",
    ),
    # -- the beginning
    "client-speaks-first": Rule(
        "warning",
        "the client did not wait for the greeting",
        "RFC 5321 §3.1",
        "Mail programs wait; senders of spam often do not, and many servers refuse those that"
        " speak first. If it is your client, let it wait for 220.",
    ),
    "no-greeting": Rule(
        "warning",
        "the server never greeted",
        "RFC 5321 §3.1",
        "The server's administrator should look whether the service hangs, waits for DNS, or"
        " expects TLS from the first octet on this port.",
    ),
    # -- groups of commands
    "pipelining-not-offered": Rule(
        "warning",
        "the client did not wait for a reply, though the server does not offer PIPELINING",
        "RFC 2920 §3.1",
        "The client has to wait for each reply unless EHLO's lists PIPELINING: servers may lose or"
        " refuse what comes too early, and spam often comes so.",
    ),
    "pipelining-past-end": Rule(
        "warning",
        "a command that must end its group was followed by more before its reply",
        "RFC 2920 §3.1",
        "The client has to wait for the reply to such a command, for it decides what may come"
        " next. What stands behind it may be taken for something else.",
    ),
    # -- the end
    "command-after-quit": Rule(
        "warning",
        "the client said something after QUIT",
        "RFC 5321 §4.1.1.10",
        "Nothing may follow QUIT: the client has to send what is left before it, or by another"
        " connection.",
    ),
    "command-after-421": Rule(
        "note",
        "the client went on after 421",
        "RFC 5321 §3.8",
        "The client should watch for 421 at any time and come again later: the server is closing"
        " the connection.",
    ),
    "closed-without-quit": Rule(
        "note",
        "the client closed the connection without QUIT",
        "RFC 5321 §4.1.1.10",
        "The client should say QUIT and wait for 221. Probes and health checks often do not, and"
        " clients that crash cannot.",
    ),
    "server-closed": Rule(
        "warning",
        "the server closed the connection without 421",
        "RFC 5321 §3.8",
        "The server's administrator should look for crashes, limits and firewalls: a server that"
        " must close says 421 first. The client may try again.",
    ),
    "connection-reset": Rule(
        "warning",
        "the connection was reset in the middle",
        "RFC 5321 §3.8",
        "Look for a firewall, a crash or a timeout on the side that reset it, and behind it: it"
        " may be a device between both that speaks in their name.",
    ),
}


# -- who speaks when -------------------------------------------------------------------------------


def _pace(step: Step) -> Iterable[Defect]:
    """Whether the command came before its time: before an earlier reply, or after the end."""
    command, state, number = step.command, step.state, step.number
    if command is None or not number:
        return ()
    if state.ending is not None and not state.turned:
        return _after_the_end(step, command, state.ending)
    previous = step.session.exchanges[number - 1]
    asked = previous.command
    replies = previous.replies
    if asked is None or not replies or command.packet >= replies[0].packet:
        return ()
    if not step.session.whole:
        return ()
    return _too_early(step, command, asked.verb, previous)


def _after_the_end(step: Step, command: Command, ending: Exchange) -> Iterable[Defect]:
    if ending.command is not None and ending.command.verb == "QUIT":
        return once(step, "command-after-quit", command.span, _name(command))
    reply = ending.reply
    if reply is None or ending.greeting or command.verb == "QUIT":
        return ()
    later = command.time - reply.time
    if later < UNNOTICED:
        return ()
    detail = f"{_name(command)}, {later / 1e9:.1f} s later"
    return once(step, "command-after-421", command.span, detail)


def _too_early(step: Step, command: Command, asked: str, previous: Exchange) -> Iterable[Defect]:
    state = step.state
    row = reference.command(asked)
    if row is None or asked in reference.HTTP_VERBS:
        return ()
    if row.pipelining == "last":
        reply = previous.reply
        if asked == "STARTTLS" and reply is not None and reply.accepted:
            # What may hide there is told as plain text behind STARTTLS.
            return ()
        if asked in HELLO_VERBS and _speaks_early(state):
            return ()
        detail = f"{_name(command)} behind {asked}"
        return once(step, "pipelining-past-end", command.span, detail)
    if "PIPELINING" in state.offered or command.verb not in reference.VERBS:
        return ()
    detail = f"{_name(command)} before the reply to {_named(asked)}"
    return once(step, "pipelining-not-offered", command.span, detail)


def _speaks_early(state: State) -> bool:
    return any(keyword in state.ever_offered for keyword in EARLY_PIPELINING)


def _unasked(step: Step) -> Iterable[Defect]:
    """A reply to nothing; but 421 may come at any time (RFC 5321 §3.8)."""
    reply = step.reply
    if step.command is not None or reply is None or step.exchange.greeting or reply.code == 421:
        return ()
    if _says_farewell(step.session):
        return ()
    # A lost command may be known of only after its reply.
    if not step.session.whole or _awaits_tls(step.previous):
        return ()
    return once(
        step, "unsolicited-reply", reply.span, "" if reply.code is None else f"{reply.code}"
    )


def _says_farewell(session: Session) -> bool:
    """The last reply is of 4yz to nothing, as Exchange says before it hangs up on the mute."""
    last = session.exchanges[-1]
    reply = last.reply
    if last.command is not None or reply is None or last.greeting or reply.code is None:
        return False
    return reply.code // 100 == 4 and session.closed_by is Direction.SERVER


def _awaits_tls(previous: Exchange | None) -> bool:
    """What stands here is told as plain text behind STARTTLS."""
    if previous is None or previous.command is None or previous.reply is None:
        return False
    return previous.command.verb == "STARTTLS" and previous.reply.accepted


# -- how it begins and ends ------------------------------------------------------------------------


def _beginning(session: Session, state: State) -> Iterable[Defect]:
    exchanges = session.exchanges
    if len(exchanges) < 2 or not exchanges[0].greeting:
        return ()
    greeting, early = exchanges[0].replies[0], exchanges[1].command
    if early is None or early.packet >= greeting.packet or _speaks_early(state):
        return ()
    if not session.whole:
        # An earlier part of the greeting may be missing, and with it the time when it began.
        return ()
    return (Defect("client-speaks-first", early.span, _name(early)),)


def _silence(session: Session, _: State) -> Iterable[Defect]:
    """Neither side said anything before one gave up."""
    if session.exchanges or not session.whole or session.tls is not None:
        return ()
    if session.closed_by is None or session.server.port in IMPLICIT_TLS_PORTS:
        return ()
    waited = session.end - session.start
    if session.closed_by is Direction.CLIENT and waited < PATIENCE:
        return ()
    detail = f"the {_who(session)} closed the connection after {waited / 1e9:.1f} s"
    return (Defect("no-greeting", Span(Direction.SERVER, 0, 0), detail),)


def _end(session: Session, state: State) -> Iterable[Defect]:
    exchanges = session.exchanges
    if session.closed_by is None or session.state == "quit" or not exchanges:
        return ()
    if not session.whole or session.tls is not None or state.ending is not None or state.turned:
        return ()
    banner, last = session.banner, exchanges[-1]
    if banner is None or banner.code is None or banner.code >= 400:
        return ()
    if any(defect.rule.endswith(("-unfinished", "-unanswered")) for defect in last.defects):
        # That tells how the connection ended, too.
        return ()
    open_ = _left_open(state, last)
    by_client = session.closed_by is Direction.CLIENT
    if session.state == "reset" and open_:
        return (Defect("connection-reset", _last(session), f"by the {_who(session)}, {open_}"),)
    if by_client:
        # Who leaves without an answer has been told of, and need not say QUIT.
        return (Defect("closed-without-quit", _last(session), open_),) if last.replies else ()
    code = next(each.replies[-1].code for each in reversed(exchanges) if each.replies)
    if code in CLOSING or _says_farewell(session):
        return ()
    return (Defect("server-closed", _last(session), open_ or f"after {code}"),)


def _left_open(state: State, last: Exchange) -> str:
    if last.command is not None and not last.replies:
        return f"{_name(last.command)} was not answered"
    return "a transaction was open" if state.mail is not None else ""


def _who(session: Session) -> str:
    return "client" if session.closed_by is Direction.CLIENT else "server"


def _last(session: Session) -> Span:
    """The last thing that was said by the side that closed the connection."""
    for exchange in reversed(session.exchanges):
        if session.closed_by is Direction.SERVER and exchange.replies:
            return exchange.replies[-1].span
        if session.closed_by is Direction.CLIENT and exchange.command is not None:
            return exchange.command.span
    return Span(session.closed_by or Direction.CLIENT, 0, 0)


def _name(command: Command) -> str:
    return _named(command.verb)


def _named(verb: str) -> str:
    if verb == ".":
        return "the message"
    if verb == "(auth)":
        return "a line of AUTH"
    return verb[:40] if verb and verb != "(unreadable)" else "something"


CHECKS = Checks(
    commands={"": (_unasked,)},
    early=(_pace,),
    session=(_beginning, _silence, _end),
)
