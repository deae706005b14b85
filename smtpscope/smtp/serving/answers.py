"""What the server says: each reply by its key, with code, enhanced code and text.

`ANSWERS` is the whole table; a persona replaces rows of it. A `Voice` is the table made ready for
one server: what does not depend on the dialogue is octets already. RFC 5321 §4.2, RFC 2034 §4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from smtpscope.smtp.grammar import format_reply, parse_enhanced


class Answer(NamedTuple):
    """One reply: `enhanced` is "" for none; `text` may have several lines, and {fields}."""

    code: int
    enhanced: str = ""
    text: str = ""


ANSWERS: dict[str, Answer] = {
    "greeting": Answer(220, "", "{host} {protocol} smtpscope"),
    "greeting.busy": Answer(421, "", "{host} too many connections, try again later"),
    "greeting.refused": Answer(554, "", "{host} no SMTP service here"),
    "greeting.no-mail": Answer(521, "", "{host} does not accept mail"),
    "helo": Answer(250, "", "{host}"),
    "ehlo": Answer(250, "", "{host} greets {name}"),
    "hello.syntax": Answer(501, "", "Syntax: {verb} hostname"),
    "hello.lmtp": Answer(500, "", "This is LMTP: say LHLO"),
    "hello.smtp": Answer(500, "", "This is SMTP: say EHLO"),
    "hello.none": Answer(503, "5.5.1", "Say hello first"),
    "hello.extended": Answer(503, "5.5.1", "Say EHLO first"),
    "mail": Answer(250, "2.1.0", "Ok"),
    "mail.again": Answer(503, "5.5.1", "A transaction is open already"),
    "mail.syntax": Answer(501, "5.1.7", "Bad sender address: {problem}"),
    "mail.utf8": Answer(550, "5.6.7", "A sender with UTF-8 needs SMTPUTF8"),
    "mail.size": Answer(552, "5.3.4", "Message size exceeds the limit of {limit} octets"),
    "mail.storage": Answer(452, "4.3.1", "Insufficient storage"),
    "mail.too-many": Answer(452, "4.5.0", "Too many transactions in this session"),
    "rcpt": Answer(250, "2.1.5", "Ok"),
    "rcpt.no-mail": Answer(503, "5.5.1", "MAIL first"),
    "rcpt.syntax": Answer(501, "5.1.3", "Bad recipient address: {problem}"),
    "rcpt.utf8": Answer(553, "5.6.7", "A recipient with UTF-8 needs SMTPUTF8 in MAIL"),
    "rcpt.too-many": Answer(452, "4.5.3", "Too many recipients"),
    "rcpt.too-many-domains": Answer(452, "4.5.3", "Recipients in too many domains"),
    "rcpt.unknown": Answer(550, "5.1.1", "No such user here"),
    "rcpt.relay": Answer(550, "5.7.1", "Relaying denied"),
    "rcpt.null-domain": Answer(556, "5.1.10", "The domain accepts no mail"),
    "rcpt.busy": Answer(450, "4.2.1", "Mailbox busy, try again later"),
    "rcpt.full": Answer(552, "5.2.2", "Mailbox full"),
    "rcpt.disabled": Answer(550, "5.2.1", "Mailbox disabled"),
    "rcpt.not-allowed": Answer(553, "5.1.3", "Mailbox name not allowed"),
    "rcpt.forward": Answer(251, "2.1.5", "User not local; will forward to <{target}>"),
    "rcpt.moved": Answer(551, "5.1.6", "User not local; please try <{target}>"),
    "parameter.syntax": Answer(501, "5.5.4", "Bad parameter: {problem}"),
    "parameter.value": Answer(501, "5.5.4", "Bad value of parameter {parameter}"),
    "parameter.unknown": Answer(555, "5.5.4", "Unsupported parameter {parameter}"),
    "parameter.unsupported": Answer(504, "5.5.4", "Unsupported value of parameter {parameter}"),
    "data": Answer(354, "", "End data with <CR><LF>.<CR><LF>"),
    "data.no-mail": Answer(503, "5.5.1", "MAIL first"),
    "data.no-rcpt": Answer(503, "5.5.1", "RCPT first"),
    "data.no-valid-rcpt": Answer(554, "5.5.1", "No valid recipients"),
    "data.after-bdat": Answer(503, "5.5.1", "BDAT was used already"),
    "data.binary": Answer(503, "5.5.1", "BODY=BINARYMIME needs BDAT"),
    "bdat": Answer(250, "2.0.0", "{size} octets received"),
    "bdat.syntax": Answer(501, "5.5.4", "Syntax: BDAT size [LAST]"),
    "bdat.failed": Answer(503, "5.5.1", "A chunk was refused: RSET first"),
    "stored": Answer(250, "2.0.0", "Ok: queued as {id}"),
    "stored.recipient": Answer(250, "2.0.0", "<{address}> Ok: queued as {id}"),
    "stored.no-mailbox": Answer(451, "4.3.0", "Not stored: local error"),
    "message.size": Answer(552, "5.3.4", "Message size exceeds the limit of {limit} octets"),
    "message.bare-lf": Answer(554, "5.6.0", "Bare LF in the message: lines end with CR LF"),
    "rset": Answer(250, "2.0.0", "Ok"),
    "noop": Answer(250, "2.0.0", "Ok"),
    "quit": Answer(221, "2.0.0", "{host} closing connection"),
    "help": Answer(214, "2.0.0", "Commands:"),
    "help.topic": Answer(214, "2.0.0", ""),
    "help.unknown": Answer(504, "5.5.4", "No help on that topic"),
    "vrfy": Answer(250, "2.1.5", ""),
    "vrfy.off": Answer(252, "2.5.0", "Cannot VRFY user, but will take the message"),
    "vrfy.forward": Answer(251, "2.1.5", "User not local; will forward to <{target}>"),
    "vrfy.moved": Answer(551, "5.1.6", "User not local; please try <{target}>"),
    "vrfy.unknown": Answer(550, "5.1.1", "No such user here"),
    "vrfy.ambiguous": Answer(553, "5.1.4", "Ambiguous; possibilities are"),
    "vrfy.utf8": Answer(252, "2.6.8", "The answer needs UTF-8: add SMTPUTF8"),
    "vrfy.parameter": Answer(504, "5.5.4", "Unsupported parameter"),
    "expn": Answer(250, "2.1.5", ""),
    "expn.off": Answer(252, "2.5.0", "Cannot EXPN, but will take messages for the list"),
    "expn.unknown": Answer(550, "5.1.1", "No such list here"),
    "starttls": Answer(220, "2.0.0", "Ready to start TLS"),
    "starttls.active": Answer(503, "5.5.1", "TLS is active already"),
    "starttls.unavailable": Answer(454, "4.7.0", "TLS not available due to a temporary reason"),
    "auth.ok": Answer(235, "2.7.0", "Authentication successful"),
    "auth.again": Answer(503, "5.5.1", "Authenticated already"),
    "auth.transaction": Answer(503, "5.5.1", "Not during a transaction"),
    "auth.syntax": Answer(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]"),
    "auth.unknown": Answer(504, "5.5.4", "Mechanism not supported"),
    "auth.cleartext": Answer(538, "5.7.11", "Encryption required for this mechanism"),
    "auth.base64": Answer(501, "5.5.2", "Cannot decode the response"),
    "auth.cancelled": Answer(501, "5.7.0", "Authentication cancelled"),
    "auth.too-long": Answer(500, "5.5.6", "Authentication line too long"),
    "auth.failed": Answer(535, "5.7.8", "Authentication credentials invalid"),
    "auth.temporary": Answer(454, "4.7.0", "Temporary authentication failure"),
    "auth.transition": Answer(432, "4.7.12", "A password transition is needed"),
    "auth.weak": Answer(534, "5.7.9", "Authentication mechanism is too weak"),
    "required.tls": Answer(530, "5.7.0", "Must issue a STARTTLS command first"),
    "required.auth": Answer(530, "5.7.0", "Authentication required"),
    "turn": Answer(250, "2.0.0", "Ok, now reversing the connection"),
    "turn.refused": Answer(502, "5.5.1", "TURN refused"),
    "atrn": Answer(250, "2.0.0", "Ok, now reversing the connection"),
    "atrn.refused": Answer(450, "4.7.1", "ATRN request refused"),
    "atrn.unable": Answer(451, "4.3.0", "Unable to process the ATRN request now"),
    "atrn.none": Answer(453, "4.3.2", "You have no mail"),
    "turning.transaction": Answer(503, "5.5.1", "Not during a transaction"),
    "etrn": Answer(250, "2.0.0", "Ok, queuing for node {node} started"),
    "etrn.none": Answer(251, "2.0.0", "Ok, no messages waiting for node {node}"),
    "etrn.pending": Answer(252, "2.0.0", "Ok, pending messages for node {node} started"),
    "etrn.count": Answer(253, "2.0.0", "Ok, {count} pending messages for node {node} started"),
    "etrn.unable": Answer(458, "4.3.0", "Unable to queue messages for node {node}"),
    "etrn.refused": Answer(459, "4.7.1", "Node {node} not allowed"),
    "etrn.syntax": Answer(501, "5.5.4", "Syntax: ETRN [@|#]node"),
    "atrn.syntax": Answer(501, "5.5.4", "Syntax: ATRN [domain[,domain ...]]"),
    "argument": Answer(501, "5.5.4", "{verb} takes no argument"),
    "argument.missing": Answer(501, "5.5.4", "{verb} needs an argument"),
    "unknown": Answer(500, "5.5.1", "Command not recognized"),
    "not-implemented": Answer(502, "5.5.1", "Command not implemented"),
    "line.too-long": Answer(500, "5.5.2", "Line too long"),
    "line.bare-lf": Answer(500, "5.5.2", "Bare LF: lines end with CR LF"),
    "refused": Answer(503, "5.5.1", "No service: QUIT is all there is to say"),
    "closing.errors": Answer(421, "4.7.0", "{host} too many errors, closing connection"),
    "closing.idle": Answer(421, "4.4.2", "{host} idle for too long, closing connection"),
    "closing.total": Answer(421, "4.4.2", "{host} session too long, closing connection"),
    "closing.slow": Answer(421, "4.4.2", "{host} data too slow, closing connection"),
    "closing.shutdown": Answer(421, "4.3.2", "{host} shutting down, closing connection"),
    "closing.overflow": Answer(421, "4.3.2", "{host} too much sent ahead, closing connection"),
}
"""Every reply by its key. Fields: {host}, {protocol}; others as the rows show, and nowhere else."""

MAX_FIELD = 256
"""Octets of what the client sent that a reply repeats."""

_FIELD = re.compile(r"\{([a-z]+)\}")
_SHOWN = bytes(octet if 32 <= octet < 127 else 0x3F for octet in range(256))

Field = bytes | str | int


class Form(NamedTuple):
    """One reply made ready: `octets`, or None where `lines` have fields to fill.

    A line is text and names of fields by turns.
    """

    code: int
    octets: bytes | None
    answer: Answer
    lines: tuple[tuple[str, ...], ...]


class Voice:
    """The replies of one server: `replies` stand in for rows of `ANSWERS`.

    `constants` fill the fields that never change; without `enhanced` no reply has an enhanced code.
    """

    def __init__(
        self, replies: Mapping[str, Answer], constants: Mapping[str, str], *, enhanced: bool
    ) -> None:
        self._constants = constants
        self._enhanced = enhanced
        self.forms = {key: self.form(answer) for key, answer in {**ANSWERS, **replies}.items()}

    def form(self, answer: Answer) -> Form:
        """`answer` made ready."""
        if not self._enhanced:
            answer = answer._replace(enhanced="")
        lines = [_FIELD.split(line) for line in answer.text.split("\n")]
        for parts in lines:
            for at in range(len(parts) - 2, 0, -2):
                value = self._constants.get(parts[at])
                if value is not None:
                    parts[at - 1 : at + 2] = [parts[at - 1] + value + parts[at + 1]]
        ready = tuple(tuple(parts) for parts in lines)
        fixed = all(len(parts) == 1 for parts in ready)
        answer = answer._replace(text="\n".join(parts[0] for parts in ready) if fixed else "")
        octets = _format(answer, [line[0].encode() for line in ready]) if fixed else None
        return Form(answer.code, octets, answer, ready)

    def fill(self, form: Form, fields: Mapping[str, Field]) -> bytes:
        """The reply with its fields filled; a field that nobody gave is empty."""
        if form.octets is not None:
            return form.octets
        return _format(form.answer, fill_lines(form, fields))

    def listing(self, key: str, lines: Iterable[bytes]) -> bytes:
        """The reply with `lines` behind its own text, if it has one."""
        form = self.forms[key]
        heading = [text for text in fill_lines(form, {}) if text]
        return _format(form.answer, [*heading, *lines])


def fill_lines(form: Form, fields: Mapping[str, Field]) -> list[bytes]:
    """The lines of a reply's text; what came from the wire is made printable and not too long."""
    return [
        b"".join(
            [
                shown(fields.get(part, "")) if at % 2 else part.encode()
                for at, part in enumerate(parts)
            ]
        )
        for parts in form.lines
    ]


def shown(value: Field) -> bytes:
    """`value` as it may stand in a reply: printable ASCII, not too long (RFC 5321 §4.5.3.1.5)."""
    if isinstance(value, bytes):
        return value[:MAX_FIELD].translate(_SHOWN)
    return str(value).encode("ascii", "replace")[:MAX_FIELD].translate(_SHOWN)


def _format(answer: Answer, lines: list[bytes]) -> bytes:
    enhanced = parse_enhanced(answer.enhanced.encode("ascii", "replace"))
    return format_reply(answer.code, lines, enhanced)
