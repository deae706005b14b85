"""Rules about the order of things: who may say what, when, and what must follow.

RFC 5321 §3.1, §3.8, §4.1.4, §4.3; RFC 2920 §3.
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
    "greeting-ignored": Rule(
        "warning",
        "the client goes on though the greeting refused it",
        "RFC 5321 §3.1",
        "The client should read the greeting's code: behind 554, 521 or 421 only QUIT makes sense.",
    ),
    "helo-without-ehlo": Rule(
        "chat",
        "the client says HELO to a server that has ESMTP",
        "RFC 5321 §3.2",
        "Let the client try EHLO first: without it there is no TLS, no authentication and no"
        " report of the server's limits.",
    ),
    "no-ehlo-after-starttls": Rule(
        "warning",
        "no EHLO came after STARTTLS",
        "RFC 3207 §4.2",
        "The client has to say EHLO again inside TLS: what was said before, by either side, could"
        " be forged and does not count.",
    ),
    # -- transactions
    "mail-before-hello": Rule(
        "warning",
        "MAIL came before EHLO or HELO",
        "RFC 5321 §4.1.1.1",
        "The client has to say EHLO first. Servers may refuse it with 503.",
    ),
    "rcpt-before-mail": Rule(
        "warning",
        "RCPT came where no sender was accepted",
        "RFC 5321 §3.3",
        "The client has to say MAIL first and see that it is accepted; whatever a server makes of"
        " the recipient, it belongs to no message.",
    ),
    "nested-mail": Rule(
        "warning",
        "MAIL came while a transaction was open",
        "RFC 5321 §4.1.4",
        "The client has to end the open transaction with its message or with RSET. A server that"
        " goes on with the old recipients delivers to the wrong people.",
    ),
    "data-without-recipient": Rule(
        "warning",
        "the client wants to send a message without an accepted recipient",
        "RFC 5321 §3.3",
        "The client should read the replies to RCPT: where all are refused, RSET or QUIT follows,"
        " and the sender has to be told.",
    ),
    "message-without-recipient": Rule(
        "warning",
        "a message was sent though no recipient was accepted",
        "RFC 2920 §3.1",
        "The client should send a lone dot at once where the server says 354 though it refused all"
        " recipients. If the server accepts it, nobody gets this mail.",
    ),
    "data-after-bdat": Rule(
        "warning",
        "DATA came after BDAT in one transaction",
        "RFC 3030 §2",
        "The client has to send a message with one of both: the server has to answer 503, and the"
        " chunks are lost.",
    ),
    "end-of-data-unseen": Rule(
        "warning",
        "the message has no CRLF.CRLF in the capture",
        "RFC 5321 §4.1.1.4",
        "Look at the last octets of the message. If none are missing from the capture, the server"
        " takes something else for the end, and can be made to accept smuggled mail.",
    ),
    "data-unfinished": Rule(
        "warning",
        "the message was not finished",
        "RFC 5321 §4.1.1.4",
        "The server must not deliver this part of a message, and the client has to send it again."
        " Look for timeouts and for lost or oversized packets on the way.",
    ),
    "chunk-unfinished": Rule(
        "warning",
        "the chunk was not finished",
        "RFC 3030 §2",
        "The server must not deliver this part of a message. Look whether the client counts the"
        " chunk's octets right, and for a lost connection.",
    ),
    # -- AUTH and STARTTLS
    "auth-in-transaction": Rule(
        "warning",
        "AUTH came within a mail transaction",
        "RFC 4954 §4",
        "The client has to authenticate before MAIL; the server has to answer 503.",
    ),
    "auth-twice": Rule(
        "warning",
        "AUTH came after a successful AUTH",
        "RFC 4954 §4",
        "The client should open another connection for another identity; the server has to answer"
        " 503.",
    ),
    "starttls-in-tls": Rule(
        "warning",
        "STARTTLS came where TLS had been agreed already",
        "RFC 3207 §4.2",
        "The client should remember that TLS is on, and the server should neither offer nor accept"
        " STARTTLS again.",
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
    # -- roles
    "turn": Rule(
        "warning",
        "TURN asks for mail without any proof of who asks",
        "RFC 5321 appendix F.1",
        "Servers should not have TURN, since anybody could fetch others' mail with it. Use ETRN,"
        " or ATRN after AUTH.",
    ),
    "atrn-without-auth": Rule(
        "error",
        "the server accepted ATRN from a client that had not authenticated",
        "RFC 2645 §5.2",
        "The server's administrator should allow ATRN only after AUTH: what follows is the mail of"
        " whoever is named.",
    ),
    "roles-turned": Rule(
        "chat",
        "client and server swap their roles here",
        "RFC 2645 §5.3",
        "Nothing: from here on the side that was called sends mail to the one that called.",
    ),
}


# -- replies that were not waited for --------------------------------------------------------------


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
    if previous is None or previous.reply is None:
        return False
    return _verb(previous) == "STARTTLS" and previous.reply.accepted


# -- commands in their order -----------------------------------------------------------------------


def _helo(step: Step) -> Iterable[Defect]:
    session, command, banner = step.session, step.command, step.session.banner
    found = _after_refusal(step)
    if command is None or banner is None or step.state.hello or found:
        return found
    if not any(b"ESMTP" in line.upper() for line in banner.lines):
        return ()
    if any(_verb(earlier) == "EHLO" for earlier in session.exchanges[: step.number][:10]):
        return ()
    return once(step, "helo-without-ehlo", command.span)


def _after_refusal(step: Step) -> Iterable[Defect]:
    command, banner = step.command, step.session.banner
    if banner is None or banner.code is None or banner.code < 400 or command is None:
        return ()
    if command.packet <= banner.packet or not step.session.whole:
        return ()
    return once(step, "greeting-ignored", command.span, f"{command.verb} after {banner.code}")


def _mail(step: Step) -> Iterable[Defect]:
    command, state = step.command, step.state
    if state.mail is not None and command is not None and step.session.whole:
        return once(step, "nested-mail", command.span)
    return _without_hello(step)


def _without_hello(step: Step) -> Iterable[Defect]:
    """MAIL or AUTH before a greeting of the client's was accepted."""
    session, command, state = step.session, step.command, step.state
    if command is None or state.hello or not session.whole or session.banner is None:
        return ()
    refused = _after_refusal(step)
    if refused:
        return refused
    if _encrypted_midway(step):
        if _waited(step, step.previous):
            return once(step, "no-ehlo-after-starttls", command.span, _name(command))
    elif command.verb == "MAIL" and _waited(step, step.previous):
        return once(step, "mail-before-hello", command.span)
    return ()


def _encrypted_midway(step: Step) -> bool:
    return step.state.tls and step.session.tls_mode != "implicit"


def _waited(step: Step, earlier: Exchange | None) -> bool:
    """The client had the reply to `earlier` when it sent this command."""
    reply = earlier.reply if earlier is not None else None
    return step.command is not None and reply is not None and step.command.packet > reply.packet


def _rcpt(step: Step) -> Iterable[Defect]:
    state = step.state
    command = step.command
    if state.mail is not None or command is None or not step.session.whole:
        return ()
    if state.envelope is None:
        return once(step, "rcpt-before-mail", command.span)
    # Within a group of commands MAIL may be refused, and RCPT has been sent then.
    if not _waited(step, state.envelope):
        return ()
    detail = "MAIL was refused" if step.previous is state.envelope else ""
    return once(step, "rcpt-before-mail", command.span, detail)


def _data(step: Step) -> Iterable[Defect]:
    command, state = step.command, step.state
    if command is None or not step.session.whole:
        return ()
    found: list[Defect] = []
    if state.chunked and command.verb == "DATA":
        found += once(step, "data-after-bdat", command.span)
    if not state.accepted and (state.envelope is None or _waited(step, state.envelope)):
        found += once(step, "data-without-recipient", command.span, _why_nobody(state))
    return found


def _message(step: Step) -> Iterable[Defect]:
    command, state = step.command, step.state
    if state.accepted or command is None or not step.session.whole:
        return ()
    octets = command.span.end - command.span.start
    if octets <= len(b".\r\n") or ("data-without-recipient", "") in state.told:
        return ()
    detail = f"{octets:,} octets; {_why_nobody(state)}"
    return once(step, "message-without-recipient", command.span, detail)


def _why_nobody(state: State) -> str:
    if state.mail is None:
        return "no transaction is open"
    if not state.refused:
        return "none was named"
    return (
        "the only one was refused" if state.refused == 1 else f"all {state.refused:,} were refused"
    )


def _auth(step: Step) -> Iterable[Defect]:
    command, state = step.command, step.state
    if command is None:
        return ()
    if state.authenticated is not None:
        return once(step, "auth-twice", command.span)
    if state.mail is not None and step.session.whole:
        return once(step, "auth-in-transaction", command.span)
    return _without_hello(step)


def _starttls(step: Step) -> Iterable[Defect]:
    command = step.command
    if command is None or not step.state.tls:
        return ()
    return once(step, "starttls-in-tls", command.span)


def _turn(step: Step) -> Iterable[Defect]:
    command, reply = step.command, step.reply
    if command is None:
        return ()
    found: list[Defect] = []
    accepted = reply is not None and reply.accepted
    if command.verb == "TURN":
        found += once(step, "turn", command.span)
    elif accepted and step.state.authenticated is None and step.session.whole:
        found += once(step, "atrn-without-auth", command.span)
    if accepted:
        found += once(step, "roles-turned", command.span)
    return found


# -- beginning and end of the session --------------------------------------------------------------


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


def _verb(exchange: Exchange) -> str:
    return exchange.command.verb if exchange.command is not None else ""


def _name(command: Command) -> str:
    return _named(command.verb)


def _named(verb: str) -> str:
    if verb == ".":
        return "the message"
    if verb == "(auth)":
        return "a line of AUTH"
    return verb[:40] if verb and verb != "(unreadable)" else "something"


CHECKS = Checks(
    commands={
        "EHLO": (_after_refusal,),
        "LHLO": (_after_refusal,),
        "HELO": (_helo,),
        "MAIL": (_mail,),
        "RCPT": (_rcpt,),
        "DATA": (_data,),
        "BDAT": (_data,),
        ".": (_message,),
        "AUTH": (_auth,),
        "X-EXPS": (_auth,),
        "STARTTLS": (_starttls,),
        "TURN": (_turn,),
        "ATRN": (_turn,),
        "": (_unasked,),
    },
    every=(_pace,),
    session=(_beginning, _silence, _end),
)
