"""Rules about the form of commands and of what stands in their place.

The grammar tells most of these while it reads; the checks here need to know what the server has
offered. RFC 5321 §2.3.8, §4.1, §4.5.3.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from smtpscope import reference
from smtpscope.findings.rule import Checks, Rule, once
from smtpscope.findings.walk import State, Step
from smtpscope.smtp.values import Command
from smtpscope.stream import Defect, Span

COMMAND_LINE = 512
"""Octets of a command line with its CRLF, where no extension adds to it (RFC 5321 §4.5.3.1.4)."""

SUBMISSION_PORTS = frozenset({465, 587})
"""Ports to which mail programs speak (RFC 6409 §3.1, RFC 8314 §3.3)."""

RULES: dict[str, Rule] = {
    "bare-lf": Rule(
        "warning",
        "a line ends in LF without CR",
        "RFC 5321 §2.3.8",
        "End every line with CR and LF: the sending program is to be mended. Servers that take "
        "a lone LF for a line's end can be tricked into seeing other messages than their peers.",
    ),
    "bare-cr": Rule(
        "warning",
        "a CR that ends no line",
        "RFC 5321 §2.3.8",
        "Send CR only together with LF: the sending program is to be mended.",
    ),
    "nul": Rule(
        "warning",
        "a NUL octet in a line",
        "RFC 5321 §2.4",
        "No line may hold a NUL. Look for a program that sends binary data, or buffers with their "
        "padding; a probe for faults in servers looks like this, too.",
    ),
    "eight-bit": Rule(
        "warning",
        "an 8-bit octet in a command",
        "RFC 5321 §2.4",
        "Commands are ASCII; only addresses may hold UTF-8, and only with SMTPUTF8. Mend the "
        "client, or give its host a name in ASCII.",
    ),
    "line-unfinished": Rule(
        "note",
        "the last line has no end",
        "RFC 5321 §2.3.8",
        "The connection ended in the middle of a line. See who closed it, and whether a timeout "
        "or a crash of the client is behind it.",
    ),
    "unreadable": Rule(
        "warning",
        "octets that are no command",
        "RFC 5321 §4.1",
        "See what was sent here: TLS or another protocol on a plain-text port, a line that is too "
        "long, or message data where the server had not asked for it.",
    ),
    "unknown-command": Rule(
        "note",
        "no known command",
        "RFC 5321 §4.1",
        "Check the spelling. Where it looks like text of a message, client and server have lost "
        "step: look at the reply to DATA or at the counts of BDAT before it.",
    ),
    "command-too-long": Rule(
        "warning",
        "the command line is longer than this server must take",
        "RFC 5321 §4.5.3.1.4",
        "Send shorter commands: 512 octets and what each extension that was offered adds. A "
        "server may answer 500 to more, or cut it off.",
    ),
    "argument-not-allowed": Rule(
        "note",
        "an argument where the command has none",
        "RFC 5321 §4.1.1",
        "Send the command alone; strict servers answer 501. Mend the client.",
    ),
    "argument-missing": Rule(
        "note",
        "the command needs an argument",
        "RFC 5321 §4.1.1",
        "Say what is asked for; the server can only answer 501. Mend the client.",
    ),
    "path-syntax": Rule(
        "warning",
        "the path is malformed",
        "RFC 5321 §4.1.2",
        "Write FROM:<local-part@domain> or TO:<local-part@domain>, and quote a local part that "
        "holds spaces or special characters. Mend the client, or the address in its list.",
    ),
    "path-without-brackets": Rule(
        "warning",
        "the path has no angle brackets",
        "RFC 5321 §4.1.2",
        "Put the address between < and >. Many servers refuse it otherwise.",
    ),
    "path-without-domain": Rule(
        "note",
        "the path has no domain",
        "RFC 5321 §4.1.2",
        "Send the full address: only <Postmaster> may stand without a domain. The server will "
        "refuse it or add its own domain, which may be the wrong one.",
    ),
    "path-too-long": Rule(
        "warning",
        "the path is longer than 256 octets",
        "RFC 5321 §4.5.3.1.3",
        "Use a shorter address: servers need not take more. VERP and forwarding (SRS) make "
        "addresses grow.",
    ),
    "local-part-too-long": Rule(
        "warning",
        "the local part is longer than 64 octets",
        "RFC 5321 §4.5.3.1.1",
        "Use a shorter local part: servers need not take more. VERP and forwarding (SRS) make "
        "it grow.",
    ),
    "domain-too-long": Rule(
        "warning",
        "the domain is longer than 255 octets",
        "RFC 5321 §4.5.3.1.2",
        "No such domain can be in the DNS. Correct the address.",
    ),
    "domain-syntax": Rule(
        "note",
        "the domain is malformed",
        "RFC 5321 §4.1.2",
        "Correct the address: labels are letters, digits and inner hyphens, with single dots "
        "between them. Names in other scripts need SMTPUTF8 or their xn-- form.",
    ),
    "address-literal-syntax": Rule(
        "warning",
        "the address literal is malformed",
        "RFC 5321 §4.1.3",
        "Write [192.0.2.1] or [IPv6:2001:db8::1].",
    ),
    "source-route": Rule(
        "note",
        "a source route, which servers should ignore",
        "RFC 5321 appendix C",
        "Send the plain address. Routes are out of use, and are tried to pass relay checks.",
    ),
    "eight-bit-address": Rule(
        "warning",
        "a non-ASCII address without SMTPUTF8",
        "RFC 6531 §3.3",
        "Give MAIL the parameter SMTPUTF8 where the server offers it; otherwise such a mailbox "
        "can't be reached through this server.",
    ),
    "space-after-colon": Rule(
        "note",
        "a space between the colon and the path",
        "RFC 5321 §3.3",
        "Send FROM:<…> without the space: strict servers refuse it. Mend the client.",
    ),
    "odd-space": Rule(
        "note",
        "more white space than the grammar has",
        "RFC 5321 §4.1.2",
        "Send single spaces, and none at the end. Mend the client.",
    ),
    "hello-empty": Rule(
        "warning",
        "the client does not say who it is",
        "RFC 5321 §4.1.1.1",
        "Set the client's host name (often called helo or myhostname): many servers refuse "
        "mail without it.",
    ),
    "hello-bare-ip": Rule(
        "warning",
        "an IP address without brackets",
        "RFC 5321 §4.1.3",
        "Send the host's full name, or the address in brackets: [192.0.2.1] or [IPv6:…]. Many "
        "servers take a bare address for a sign of spam.",
    ),
    "hello-underscore": Rule(
        "note",
        "an underscore in a host name",
        "RFC 5321 §2.3.5",
        "Give the client's host a name of letters, digits and hyphens; some servers refuse others.",
    ),
    "hello-no-dot": Rule(
        "note",
        "the name is not fully qualified",
        "RFC 5321 §2.3.5",
        "Configure the client to send its full name in the DNS; some servers refuse a name "
        "without a domain.",
    ),
    "hello-host-only": Rule(
        "chat",
        "a mail program gives a name without a domain",
        "RFC 5321 §4.1.4",
        "Nothing: mail programs seldom know a full name, and servers that they submit mail to do "
        "not ask for one.",
    ),
    "hello-syntax": Rule(
        "warning",
        "malformed host name",
        "RFC 5321 §4.1.2",
        "Configure the client to send its host's full name, or its address in brackets.",
    ),
    "hello-other-address": Rule(
        "chat",
        "the client names another address than the one it came from",
        "RFC 5321 §4.1.4",
        "Common behind NAT. Between mail servers, configure a host name instead.",
    ),
    "bdat-syntax": Rule(
        "warning",
        "the chunk size is malformed",
        "RFC 3030 §2",
        "Write BDAT, the number of octets, and LAST with the last chunk. Without a number the "
        "server can't know where the chunk ends.",
    ),
    "chunk-count-short": Rule(
        "warning",
        "no command follows the chunk: its count may be too small",
        "RFC 3030 §2",
        "Let the client count the octets that it sends, CR and LF included. What is left over "
        "is read as commands.",
    ),
    "auth-base64": Rule(
        "warning",
        "no valid base64 in an AUTH exchange",
        "RFC 4954 §4",
        "Encode the line in base64 without line breaks. A server that sends plain text behind "
        "334 is to be mended.",
    ),
    "auth-response-syntax": Rule(
        "warning",
        "not the form of a response of this mechanism",
        "RFC 4954 §4",
        "Check the client's implementation of the mechanism. For PLAIN it is identity, NUL, "
        "user, NUL, password.",
    ),
    "auth-empty-response": Rule(
        "note",
        "an empty response where the mechanism has none",
        "RFC 4954 §4",
        "The client sent nothing where a name or a password belongs: check its settings.",
    ),
    "auth-initial-response": Rule(
        "warning",
        "an initial response, though the server begins",
        "RFC 4954 §4",
        "In this mechanism the server sends a challenge first: the client is to send the "
        "mechanism's name alone.",
    ),
    "auth-line-too-long": Rule(
        "warning",
        "an AUTH line longer than 12,288 octets",
        "RFC 4954 §4",
        "Servers need not take more. See whether a token or a ticket has grown too large.",
    ),
}


def _line_length(step: Step) -> Iterable[Defect]:
    command, state = step.command, step.state
    if command is None or command.verb == "(auth)" or (state.hello and not state.offer_seen):
        return ()
    # An empty verb's argument is the whole line.
    length = len(command.verb) + bool(command.verb) + len(command.argument) + 2
    limit = COMMAND_LINE + _added(state, command.verb)
    if length <= limit:
        return ()
    detail = f"{length:,} octets, the limit is {limit:,}"
    start = command.span.start
    span = Span(command.span.direction, start, min(start + length, command.span.end))
    return (Defect("command-too-long", span, detail),)


def _added(state: State, verb: str) -> int:
    rows = (reference.extension(keyword) for keyword in state.offered)
    return sum(row.length_added.get(verb, 0) for row in rows if row is not None)


def _alone(step: Step) -> Iterable[Defect]:
    command = step.command
    if command is None or not command.argument.strip(b" \t"):
        return ()
    return (Defect("argument-not-allowed", _argument_span(command), command.verb),)


def _not_alone(step: Step) -> Iterable[Defect]:
    command = step.command
    if command is None or command.argument.strip(b" \t"):
        return ()
    return (Defect("argument-missing", command.span, command.verb),)


def _argument_span(command: Command) -> Span:
    start = len(command.verb) + 1
    return command.span.part(start, start + len(command.argument))


def _hello(step: Step) -> Iterable[Defect]:
    command, session = step.command, step.session
    if command is None or command.argument[:1] != b"[" or session.tunnel is not None:
        return ()
    literal = command.argument.strip(b" \t").strip(b"[]")
    if literal[:5].lower() == b"ipv6:":
        literal = literal[5:]
    try:
        named = ipaddress.ip_address(literal.decode("ascii", "replace"))
        if named == ipaddress.ip_address(session.client.address):
            return ()
    except ValueError:
        return ()
    detail = f"{named}, but comes from {session.client.address}"
    return (Defect("hello-other-address", _argument_span(command), detail),)


def _bare_name(step: Step) -> Iterable[Defect]:
    command = step.command
    if command is None or b"." in command.argument or command.argument[:1] == b"[":
        return ()
    defects = step.exchange.defects
    if not command.argument or any(defect.rule.startswith("hello-") for defect in defects):
        return ()
    if command.verb == "LHLO" and command.argument.lower() == b"localhost":
        # LMTP is for neighbours, often on the same host (RFC 2033 §1).
        return ()
    submitted = step.session.server.port in SUBMISSION_PORTS
    rule = "hello-host-only" if submitted else "hello-no-dot"
    return once(step, rule, _argument_span(command))


def _chunk(step: Step) -> Iterable[Defect]:
    exchanges = step.session.exchanges
    if step.command is None or step.number + 1 >= len(exchanges):
        return ()
    follower = exchanges[step.number + 1]
    if follower.command is None:
        return ()
    if not any(defect.rule == "unknown-command" for defect in follower.defects):
        return ()
    return (Defect("chunk-count-short", follower.command.span),)


CHECKS = Checks(
    commands={
        "DATA": (_alone,),
        "RSET": (_alone,),
        "QUIT": (_alone,),
        "STARTTLS": (_alone,),
        "TURN": (_alone,),
        "VRFY": (_not_alone,),
        "EXPN": (_not_alone,),
        "ETRN": (_not_alone,),
        "AUTH": (_not_alone,),
        "HELO": (_hello, _bare_name),
        "EHLO": (_hello, _bare_name),
        "LHLO": (_hello, _bare_name),
        "BDAT": (_chunk,),
    },
    long=(_line_length,),
)
