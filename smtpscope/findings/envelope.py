"""Rules about an envelope as a whole: accepted in part or not at all, too large, left in doubt.

RFC 5321 §3.3, §4.5.3.2.6; RFC 1870 §6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from smtpscope.findings.rule import Checks, Rule
from smtpscope.findings.walk import State, Step
from smtpscope.session import Content, Session
from smtpscope.smtp.values import Reply
from smtpscope.stream import Defect

RULES: dict[str, Rule] = {
    "partial-refusal": Rule(
        "note",
        "the message was accepted for some of its recipients only",
        "RFC 5321 §3.3",
        "The client tells the sender of the refused ones, and tries again for those that were"
        " refused for now, never for all: the others have the message.",
    ),
    "all-recipients-refused": Rule(
        "warning",
        "not one of the recipients was accepted",
        "RFC 5321 §3.3",
        "The client should send RSET or QUIT rather than the message. The sender cleans the list,"
        " or somebody tries addresses out.",
    ),
    "over-size-limit": Rule(
        "note",
        "more octets than the server offered to take",
        "RFC 1870 §6.1",
        "The client should not send a message above the SIZE offered: most servers refuse it after"
        " it has crossed the wire.",
    ),
    "message-unanswered": Rule(
        "error",
        "the connection was lost between the end of the message and its reply",
        "RFC 5321 §4.5.3.2.6",
        "Nobody knows whether the message was accepted: the client sends it again and the"
        " recipient may have it twice. The client should wait ten minutes for that reply, and the"
        " server should answer before it filters at length.",
    ),
}


def _envelope(step: Step) -> Iterable[Defect]:
    """What the reply to a message means for its envelope."""
    exchange, state = step.exchange, step.state
    if not exchange.last or not any(each.accepted for each in exchange.replies):
        return ()
    found = []
    taken, total = _taken(exchange.replies, state.accepted), state.refused + state.accepted
    if 0 < taken < total:
        telling = next((each for each in exchange.replies if not each.accepted), step.reply)
        assert telling is not None
        detail = f"{total - taken:,} of {total:,} refused"
        found.append(Defect("partial-refusal", telling.span, detail))
    limit = _offered_size(state)
    content = exchange.content
    if limit and isinstance(content, Content) and content.message is not None:
        size = content.message.size
        if size > limit and (_declared_size(state.parameters.items()) or 0) <= limit:
            assert step.command is not None
            detail = f"{size:,} octets sent, {limit:,} offered"
            found.append(Defect("over-size-limit", step.command.span, detail))
    return found


def _taken(replies: Sequence[Reply], accepted: int) -> int:
    """For how many of the `accepted` recipients the server took the message."""
    if len(replies) < 2:
        return accepted if replies and replies[0].accepted else 0
    if replies[0].code == 353:
        # PRDR: one reply for each recipient, and one for the message.
        replies = replies[1:-1] if replies[-1].accepted else ()
    return sum(each.accepted for each in replies)


def _declared(step: Step) -> Iterable[Defect]:
    """A message announced that is larger than what the server offered, and let pass."""
    argument, reply = step.exchange.path, step.reply
    if argument is None or not argument.parameters or not (reply is None or reply.accepted):
        return ()
    size = _declared_size(argument.parameters)
    limit = _offered_size(step.state)
    if not size or not limit or size <= limit:
        return ()
    assert step.command is not None
    detail = f"{size:,} octets announced, {limit:,} offered"
    return (Defect("over-size-limit", step.command.span, detail),)


def _offered_size(state: State) -> int:
    """0 where the server sets no limit, or none that can be read."""
    parameters = state.offered.get("SIZE")
    return _number(parameters[0]) if parameters else 0


def _declared_size(parameters: Iterable[tuple[str, bytes | None]]) -> int:
    return next((_number(value or b"") for name, value in parameters if name == "SIZE"), 0)


def _number(digits: bytes) -> int:
    # RFC 1870 §4: up to 20 digits.
    return int(digits) if len(digits) <= 20 and digits.isdigit() else 0


def _recipients(session: Session, state: State) -> Iterator[Defect]:
    for transaction in session.transactions:
        recipients = transaction.recipients
        if len(recipients) > 1 and recipients[0].refused:
            last = recipients[-1].reply
            if last is not None and all(_refused_for_good(each.reply) for each in recipients):
                detail = f"{len(recipients):,} recipients"
                yield Defect("all-recipients-refused", last.span, detail)


def _refused_for_good(reply: Reply | None) -> bool:
    return reply is not None and reply.code is not None and reply.code >= 500


CHECKS = Checks(
    commands={"MAIL": (_declared,), ".": (_envelope,), "BDAT": (_envelope,)},
    session=(_recipients,),
)
