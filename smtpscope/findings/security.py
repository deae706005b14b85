"""Rules about logins and STARTTLS in a dialogue, and about commands that only attackers use.

What an onlooker could read, what somebody between client and server took away, and who knocked at
the wrong door. RFC 3207, RFC 4954 §4, RFC 5321 §7, RFC 8314.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from smtpscope import reference
from smtpscope.findings.rule import Checks, Rule, once, quoted
from smtpscope.findings.walk import State, Step
from smtpscope.session import MAX_CAPABILITIES, Session
from smtpscope.smtp.commands import AUTH_VERBS, AUTHENTICATING, HELLO_VERBS, NEARLY_AUTH
from smtpscope.smtp.starttls import FAILED
from smtpscope.smtp.values import Command, Reply
from smtpscope.stream import Defect, Span

RULES: dict[str, Rule] = {
    "auth-in-cleartext": Rule(
        "warning",
        "a login whose secret everybody on the way can read",
        "RFC 4954 §4",
        "Take the password for known and change it. Let the client use STARTTLS or port 465, and "
        "the server offer AUTH only under TLS.",
    ),
    "auth-proof-in-cleartext": Rule(
        "note",
        "a login without TLS, by a proof from which the secret can be guessed offline",
        "RFC 4954 §9",
        "Let the client use STARTTLS or port 465: a weak password does not withstand guessing.",
    ),
    "auth-offered-in-cleartext": Rule(
        "chat",
        "the server would take a password without TLS",
        "RFC 8314 §4.1",
        "The server's administrator should offer PLAIN and LOGIN only under TLS "
        "(Postfix: smtpd_tls_auth_only = yes), lest a careless client show its password.",
    ),
    "secret-unasked": Rule(
        "warning",
        "the client sent what is likely a secret where no login was going on",
        "RFC 4954 §4",
        "Wait for 334 before each response. Servers log unknown commands: take the secret for "
        "known and change it.",
    ),
    "starttls-stripped": Rule(
        "error",
        "something between client and server masked STARTTLS",
        "RFC 3207 §6",
        "Find the device that rewrites SMTP (a firewall's inspection, often) and switch that off. "
        "Until then mail crosses it readable; clients should insist on TLS (MTA-STS, DANE).",
    ),
    "starttls-refused": Rule(
        "warning",
        "the server offers STARTTLS and refuses it",
        "RFC 3207 §4",
        "The server's administrator should look into its log: a certificate or key that can't be "
        "read is the usual cause.",
    ),
    "plaintext-after-refusal": Rule(
        "warning",
        "the client went on in plain text after TLS had been refused",
        "RFC 3207 §4",
        "Where TLS matters, let the client give up and try again later (MTA-STS, DANE, or its "
        "setting that demands TLS): who refuses may be an attacker.",
    ),
    "starttls-not-used": Rule(
        "chat",
        "STARTTLS was offered, and the mail was sent in plain text",
        "RFC 3207 §1",
        "Let the client use STARTTLS where it is offered (Postfix: smtp_tls_security_level = may).",
    ),
    "starttls-gone": Rule(
        "warning",
        "STARTTLS was offered before in this session and no longer is",
        "RFC 3207 §6",
        "Compare with what the server itself sends: if that has STARTTLS, somebody in between "
        "takes it away.",
    ),
    "plaintext-behind-starttls": Rule(
        "warning",
        "plain text where TLS must begin",
        "RFC 3207 §4",
        "Both sides must throw away what they have read before TLS begins; update the one that "
        "acts on it. A peer that sends this is broken, or somebody injected it.",
    ),
    "tls-on-plain-port": Rule(
        "warning",
        "the client began with a TLS handshake where the server speaks plain text",
        "RFC 8314 §3.3",
        "Set the client to STARTTLS on this port, or to the port on which the server speaks TLS"
        " from the first octet (465). If that is this one, its administrator has to turn it on.",
    ),
    "backdoor-command": Rule(
        "warning",
        "a command that opened old servers to anybody",
        "CVE-1999-0095",
        "Nobody but scanners sends it. A server that accepts it must be taken off the net.",
    ),
    "obsolete-command": Rule(
        "note",
        "a command that was abolished long ago",
        "RFC 5321 appendix F.6",
        "Only very old clients and scanners send it; the client should send MAIL.",
    ),
    "command-injection": Rule(
        "warning",
        "an address that looks like a program to be run",
        "CVE-2019-10149",
        "Somebody tries to make the server run commands (Exim CVE-2019-10149, OpenSMTPD "
        "CVE-2020-7247 and the like). Keep the server up to date and look for traces if this "
        "address was accepted.",
    ),
    "overflow-attempt": Rule(
        "note",
        "a very long command that is padding for the most part",
        "RFC 5321 §7.8",
        "It looks like a test for buffer overflows. Refusing overlong lines with 500 is all that "
        "a server has to do.",
    ),
    "http-on-smtp": Rule(
        "warning",
        "a web client speaks to a mail server",
        "RFC 9110 §9",
        "Servers should close the connection at the first HTTP method, as Postfix does. Look for "
        "who sends it: a scanner, a wrong URL, or a browser that a web page misuses.",
    ),
    "smtp-in-http": Rule(
        "error",
        "SMTP commands within an HTTP request",
        "RFC 9325 §3.8",
        "A web page makes a browser speak SMTP to this server (ALPACA is the variant with TLS). "
        "Let the server close the connection at the first HTTP method, and block mail ports for "
        "browsers.",
    ),
}

READABLE = frozenset({"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"})
"""Mechanisms that send the secret itself."""
GUESSABLE = ("CRAM-", "SCRAM-", "DIGEST-", "NTLM")
"""How the mechanisms begin that prove that the client knows the secret."""

MAX_LOGINS = 5
"""Logins of one session that are told."""

LONG = 1_000
"""Octets of a command's argument beyond which it is looked at for padding."""
RUN = 128
"""Equal octets in a row that are padding."""

_MASKED = re.compile(rb"X{7}[A-Z]\Z")
_MASKED_VERB = "X" * len("STARTTLS")
_MASKED_COMMAND = re.compile(rb"\bX{4,8}\b")
_PROGRAM = re.compile(
    rb"\$\{\s*(?:run|perl|readfile|jndi)|\$\(|`[^`]+`|[;|&]\s*(?:/|sh\b|for\s|sleep\s)"
)
_ORCPT_TYPE = re.compile(rb" ORCPT=[A-Z0-9-]+\Z", re.IGNORECASE)
_TYPE_LENGTH = 40
_SUSPECT = re.compile(rb"[$`;|&]")
_TLS_HANDSHAKE = b"\x16\x03"


def _login(step: Step) -> Iterable[Defect]:
    auth, command, state = step.exchange.auth, step.command, step.state
    if auth is None or command is None or state.tls or auth.cancelled or not auth.redacted:
        return ()
    mechanism = auth.mechanism
    if mechanism in READABLE:
        rule = "auth-in-cleartext"
    elif mechanism.startswith(GUESSABLE):
        rule = "auth-proof-in-cleartext"
    else:
        return ()
    if not auth.secret_length or not _is_last(step):
        return ()
    if not any(auth is each for each in step.session.auths[:MAX_LOGINS]):
        return ()
    login = f"{mechanism} as {quoted(auth.identity)}" if auth.identity else mechanism
    outcome = ", refused" if auth.code is not None and auth.code >= 400 else ""
    return once(step, rule, _secret_span(step, command), login + outcome, login)


def _secret_span(step: Step, last: Command) -> Span:
    """Some mechanisms end with an empty line of the client's, behind the one with the secret."""
    earlier = step.previous
    if last.argument or earlier is None or earlier.auth is not step.exchange.auth:
        return last.span
    return earlier.command.span if earlier.command is not None else last.span


def _is_last(step: Step) -> bool:
    """Whether this exchange is the last one of its login."""
    later = step.session.exchanges[step.number + 1 : step.number + 2]
    return not later or later[0].auth is not step.exchange.auth


def _unasked_secret(step: Step) -> Iterable[Defect]:
    """A response, though the reply before it had ended the login."""
    command, previous = step.command, step.previous
    if command is None or previous is None or previous.auth is not step.exchange.auth:
        return ()
    # Where replies are missing, those that were captured may answer something else.
    if not step.session.whole:
        return ()
    reply = previous.reply
    if reply is None or reply.code == 334 or not command.argument.strip():
        return ()
    return (Defect("secret-unasked", command.span, f"behind {reply.code}"),)


def _hello(step: Step) -> Iterable[Defect]:
    session, reply, state = step.session, step.reply, step.state
    if reply is None or not reply.accepted or state.tls:
        return ()
    found: list[Defect] = []
    lines = [line.upper() for line in reply.lines[1 : MAX_CAPABILITIES + 1]]
    keywords = [line.replace(b"=", b" ").split(b" ") for line in lines]
    if not any(words[0] == b"STARTTLS" for words in keywords):
        masked = [words[0] for words in keywords if _MASKED.match(words[0])]
        if masked:
            detail = f"{quoted(masked[0])} among the offers"
            found.append(Defect("starttls-stripped", reply.span, detail))
        elif "STARTTLS" in state.ever_offered and state.authenticated is None and lines:
            found.append(Defect("starttls-gone", reply.span))
    if not state.hello and (session.tls_mode is not None or not session.auths):
        mechanisms = {
            word.decode("latin-1") for words in keywords if words[0] == b"AUTH" for word in words
        }
        readable = READABLE & mechanisms
        if readable:
            detail = ", ".join(sorted(readable))
            found.append(Defect("auth-offered-in-cleartext", reply.span, detail))
    return found


def _starttls(step: Step) -> Iterable[Defect]:
    reply, command = step.reply, step.command
    if reply is None or command is None or reply.accepted or step.state.tls:
        return ()
    text = reply.lines[0]
    if _MASKED_COMMAND.search(text):
        return (Defect("starttls-stripped", reply.span, f"the server saw {quoted(text)}"),)
    if "STARTTLS" not in step.state.offered:
        return ()
    detail = f"{_of_our_proxy(text)}{reply.code} {quoted(text)}"
    return (Defect("starttls-refused", reply.span, detail),)


def _of_our_proxy(text: bytes) -> str:
    """What helps where `smtpscope proxy` says that it has no TLS with the server behind it."""
    if not text.startswith(FAILED.encode()):
        return ""
    if b"certificate" in text.lower():
        return "smtpscope proxy needs --upstream-ca or --insecure-upstream: "
    return "by smtpscope proxy, for want of TLS with the server behind it: "


def _masked_command(step: Step) -> Iterable[Defect]:
    command = step.command
    if command is None or step.state.tls:
        return ()
    return (Defect("starttls-stripped", command.span, "the client's command is masked"),)


def _without_tls(session: Session, state: State) -> Iterator[Defect]:
    """What the client sent in plain text though the server had offered TLS."""
    if session.tls_mode is not None or "STARTTLS" not in state.ever_offered:
        return
    refused = False
    for exchange in session.exchanges:
        command, reply = exchange.command, exchange.reply
        if command is None:
            continue
        verb = command.verb
        if verb == "STARTTLS":
            refused = reply is not None and not reply.accepted
            if not refused:
                return
        elif verb == "MAIL" or (refused and verb in AUTH_VERBS):
            rule = "plaintext-after-refusal" if refused else "starttls-not-used"
            yield Defect(rule, command.span)
            return


def _backdoor(step: Step) -> Iterable[Defect]:
    command = step.command
    if command is None:
        return ()
    return (Defect("backdoor-command", command.span, command.verb + _outcome(step.reply)),)


def _obsolete(step: Step) -> Iterable[Defect]:
    command = step.command
    if command is None:
        return ()
    return (Defect("obsolete-command", command.span, command.verb + _outcome(step.reply)),)


def _outcome(reply: Reply | None) -> str:
    if reply is None or reply.code is None:
        return ""
    return f", accepted with {reply.code}" if reply.accepted else f", refused with {reply.code}"


def _program(step: Step) -> Iterable[Defect]:
    command = step.command
    if command is None or not _SUSPECT.search(command.argument):
        return ()
    match = next(filter(_is_program, _PROGRAM.finditer(command.argument)), None)
    if match is None:
        return ()
    end = command.span.end - 2 - len(command.argument)
    where = Span(command.span.direction, end + match.start(), end + match.end())
    detail = quoted(command.argument[match.start() :]) + _outcome(step.reply)
    return (Defect("command-injection", where, detail),)


def _is_program(match: re.Match[bytes]) -> bool:
    """Behind the type of ORCPT an address of X.400 begins with a slash (RFC 3461 §4.2)."""
    start = match.start()
    return _ORCPT_TYPE.search(match.string[max(start - _TYPE_LENGTH, 0) : start]) is None


def _unknown(step: Step) -> Iterable[Defect]:
    command = step.command
    if command is None:
        return ()
    if not command.verb and command.argument.startswith(_TLS_HANDSHAKE):
        return (Defect("tls-on-plain-port", command.span),)
    if command.redacted is not None:
        bare = not command.verb and NEARLY_AUTH.match(command.argument) is None
        detail = "a line of base64 alone" if bare else "what is nearly AUTH"
        return (Defect("secret-unasked", command.span, detail),)
    return ()


def _overflow(step: Step) -> Iterable[Defect]:
    command = step.command
    if command is None or len(command.argument) <= LONG or command.verb in AUTHENTICATING:
        return ()
    octet = _padding(command.argument)
    if octet is None:
        return ()
    detail = f"{len(command.argument):,} octets, many of them 0x{octet:02X}"
    return (Defect("overflow-attempt", command.span, detail),)


def _padding(argument: bytes) -> int | None:
    """The octet of which there are `RUN` in a row near the beginning."""
    for at in range(0, min(len(argument), 64 * RUN) - RUN, RUN):
        if argument[at : at + RUN] == argument[at : at + 1] * RUN:
            return argument[at]
    return None


def _http(session: Session, state: State) -> Iterator[Defect]:
    """A request line among the first things that the client says, and what follows it."""
    request = None
    for exchange in session.exchanges:
        command, reply = exchange.command, exchange.reply
        if command is None:
            continue
        if request is None:
            if command.verb not in reference.HTTP_VERBS or b"HTTP/" not in command.argument:
                return
            request = command
            detail = f"{command.verb} {quoted(command.argument)}"
            yield Defect("http-on-smtp", command.span, detail)
        elif command.verb in HELLO_VERBS or command.verb in ("MAIL", "RCPT"):
            yield Defect("smtp-in-http", command.span, command.verb + _outcome(reply))
            return


CHECKS = Checks(
    commands={
        **dict.fromkeys(HELLO_VERBS, (_hello,)),
        **dict.fromkeys(AUTH_VERBS, (_login,)),
        "(auth)": (_login, _unasked_secret),
        "STARTTLS": (_starttls,),
        _MASKED_VERB: (_masked_command,),
        "DEBUG": (_backdoor,),
        "WIZ": (_backdoor,),
        "SEND": (_obsolete,),
        "SOML": (_obsolete,),
        "SAML": (_obsolete,),
        "MAIL": (_program,),
        "RCPT": (_program,),
    },
    long=(_overflow,),
    unknown=(_unknown,),
    session=(_without_tls, _http),
)
