"""Rules about the octets of a message: what MAIL and the server's offer allow, and what came.

The counting is done while the octets pass (`smtpscope.message.octets`). RFC 5321 §2.3.8 and
§4.5.3.1.6, RFC 1870 §6, RFC 3030 §3, RFC 5322 §2.1.1, RFC 6152, RFC 6531.
"""

from __future__ import annotations

from collections.abc import Iterable

from smtpscope.findings.rule import Checks, Rule
from smtpscope.findings.walk import State, Step
from smtpscope.message import Message
from smtpscope.session import Content
from smtpscope.smtp import grammar
from smtpscope.smtp.values import Command
from smtpscope.stream import Defect, Span

SLACK = 4_096
"""Octets by which a declared SIZE may be too large besides the double: clients add reserves."""

RULES: dict[str, Rule] = {
    "message-bare-lf": Rule(
        "warning",
        "a line of the message ends in LF without CR",
        "RFC 5321 §2.3.8",
        "Let the client end lines with CR and LF before it sends them. Servers differ in what "
        "they make of a lone LF: refuse it, mend it, break signatures, or fall for smuggling.",
    ),
    "message-bare-cr": Rule(
        "warning",
        "a CR in the message that ends no line",
        "RFC 5321 §2.3.8",
        "Let the client send CR only before LF, and encode what is no text (base64).",
    ),
    "message-nul": Rule(
        "warning",
        "a NUL octet in the message",
        "RFC 5322 §2.3",
        "Let the client encode binary data (base64) or use BINARYMIME with BDAT. Servers drop "
        "NULs, refuse the message, or cut lines off there.",
    ),
    "message-line-too-long": Rule(
        "warning",
        "a line of the message is longer than 998 octets",
        "RFC 5321 §4.5.3.1.6",
        "Let the client wrap lines or encode them (quoted-printable, base64). Servers may refuse "
        "the message or break the line, which spoils signatures.",
    ),
    "eight-bit-header": Rule(
        "warning",
        "8-bit octets in the message's header without SMTPUTF8",
        "RFC 6531 §3.1",
        "Encode the header (RFC 2047), or give MAIL the parameter SMTPUTF8 where it is offered.",
    ),
    "eight-bit-undeclared": Rule(
        "note",
        "8-bit octets in a body that was declared as 7-bit",
        "RFC 6152 §3",
        "Give MAIL the parameter BODY=8BITMIME: without it the server may pass the message to "
        "hosts that can't take it.",
    ),
    "eight-bit-not-offered": Rule(
        "warning",
        "8-bit octets in a body for a server that does not offer 8BITMIME",
        "RFC 6152 §3",
        "Encode the body (quoted-printable or base64): the server may clear the eighth bits or "
        "refuse the message.",
    ),
    "size-mismatch": Rule(
        "note",
        "the message is not of the size that MAIL declared",
        "RFC 1870 §6.1",
        "Declare the message's octets with CR LF counted as two. A server may refuse a message "
        "that turns out larger, and refuses for nothing one declared too large.",
    ),
}


def _octets(step: Step) -> Iterable[Defect]:
    exchange, command, state = step.exchange, step.command, step.state
    content = exchange.content
    if not (exchange.last and command is not None and isinstance(content, Content)):
        return ()
    message = content.message
    if message is None:
        return ()
    found: list[Defect] = []
    octets, parameters = message.octets, state.parameters
    body = (parameters.get("BODY") or b"").upper()
    if body != b"BINARYMIME":
        if octets.bare_lf or octets.bare_cr or octets.nul or octets.long_lines:
            found += _line_defects(command, message)
        if octets.eight_bit_body >= 0 and body != b"8BITMIME" and state.mail is not None:
            rule = "eight-bit-undeclared"
            if state.offer_seen and "8BITMIME" not in state.offered:
                rule = "eight-bit-not-offered"
            found.append(Defect(rule, place(command, message, octets.eight_bit_body)))
    if octets.eight_bit_header >= 0 and "SMTPUTF8" not in parameters and state.mail is not None:
        at = octets.eight_bit_header
        found.append(Defect("eight-bit-header", place(command, message, at)))
    if "SIZE" in parameters and not exchange.defects and not message.missing:
        found += _size_defects(command, message, state)
    return found


def _line_defects(command: Command, message: Message) -> Iterable[Defect]:
    octets = message.octets
    for rule, count, first in (
        ("message-bare-lf", octets.bare_lf, octets.first_bare_lf),
        ("message-bare-cr", octets.bare_cr, octets.first_bare_cr),
        ("message-nul", octets.nul, octets.first_nul),
    ):
        if count:
            detail = f"{count:,} times, here first" if count > 1 else ""
            yield Defect(rule, place(command, message, first), detail)
    if octets.long_lines:
        detail = f"{octets.longest:,} octets"
        if octets.long_lines > 1:
            detail = f"{octets.long_lines:,} lines, the longest of {detail}"
        span = place(command, message, octets.first_long_line)
        yield Defect("message-line-too-long", span, detail)


def _size_defects(command: Command, message: Message, state: State) -> Iterable[Defect]:
    declared = grammar.parse_size(state.parameters["SIZE"])
    if not declared:
        return
    size = message.size
    # An estimate is allowed; a client that counts LF for CR LF is a few hundredths short.
    if size > declared + declared // 16 + 2 or declared > 2 * size + SLACK:
        detail = f"SIZE={declared}, but {size:,} octets came"
        yield Defect("size-mismatch", command.span, detail)


def place(command: Command, message: Message, offset: int, length: int = 1) -> Span:
    """Where `length` octets of the message from `offset` on are in the stream, as close as known.

    Behind lines whose doubled dot was taken away it stands by at most so many octets further on.
    """
    span = command.span
    beside = span.end - span.start - message.size
    # Where the lone dot was not seen, all octets are the message's.
    framing = min(len(b".\r\n"), beside) if command.verb == "." else 0
    start = 0 if command.verb == "." else beside
    doubled = beside - start - framing
    if message.missing or start < 0 or doubled < 0:
        return span
    return span.part(start + offset, start + offset + length + doubled)


CHECKS = Checks(commands={".": (_octets,), "BDAT": (_octets,)})
