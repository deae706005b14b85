"""Rules about commands in their order: what has to come before each, and what must follow it.

A greeting of each side's, STARTTLS and AUTH before mail, a transaction's commands one after the
other. Who speaks when, and how the connection ends, is judged in `connection`. RFC 5321 §3.3,
§4.1.4; RFC 3207 §4.2; RFC 4954 §4; RFC 3030 §2; RFC 2645 §5.
"""

from __future__ import annotations

from collections.abc import Iterable

from smtpscope.findings.rule import Checks, Rule, once
from smtpscope.findings.walk import State, Step
from smtpscope.smtp.values import Exchange
from smtpscope.stream import Defect

RULES: dict[str, Rule] = {
    # -- the beginning
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


def _helo(step: Step) -> Iterable[Defect]:
    session, command, banner = step.session, step.command, step.session.banner
    found = _after_refusal(step)
    if command is None or banner is None or step.state.hello or found:
        return found
    if b"ESMTP" not in b"\n".join(banner.lines).upper():
        return ()
    if any(
        earlier.command is not None and earlier.command.verb == "EHLO"
        for earlier in session.exchanges[: min(step.number, 10)]
    ):
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
            return once(step, "no-ehlo-after-starttls", command.span, command.verb)
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
    },
)
