"""MAIL, RCPT and RSET: how a transaction's envelope comes about.

RFC 5321 §3.3, §4.1.1.2, §4.1.1.3, §4.5.3.1; RFC 1870 §6; RFC 6531 §3.5; RFC 9422 §4.
"""

from __future__ import annotations

from smtpscope.smtp.grammar import parse_path_argument, parse_size
from smtpscope.smtp.serving.answers import Answer
from smtpscope.smtp.serving.envelope import Envelope, Recipient, protocol_name
from smtpscope.smtp.serving.faults import DATA_ON, END_OF_DATA, MAIL_ON, RCPT_ON, asked_by
from smtpscope.smtp.serving.parameters import judge
from smtpscope.smtp.serving.session import Session
from smtpscope.smtp.values import Path, PathArgument
from smtpscope.stream import Direction, Span

_REFUSALS = 400
_POSTPONED = "eight-bit-address"
"""The defect that is judged by the parameters of MAIL rather than by the path itself."""
_OF_PARAMETERS = frozenset({"parameter-syntax", "parameter-twice"})


def mail(session: Session, argument: bytes) -> None:
    settings, service = session.settings, session.service
    if session.envelope is not None:
        session.say("mail.again")
        return
    session.mails += 1
    if settings.max_mails and session.mails > settings.max_mails:
        session.say("mail.too-many")
        return
    parsed = parse_path_argument("MAIL", argument, Span(Direction.CLIENT, 0, len(argument)))
    path = parsed.path
    if path is None or (parsed.defects and not _tolerable(session, "mail.syntax", parsed)):
        if path is None:
            session.say("mail.syntax", {"problem": "no path"})
        return
    parameters = {}
    if parsed.parameters:
        rules = service.rules["MAIL"] if session.extended else {}
        key, keyword = judge(parsed.parameters, rules, service.offered)
        if key:
            session.say(key, {"parameter": keyword})
            return
        parameters = dict(parsed.parameters)
    utf8 = "SMTPUTF8" in parameters
    if not utf8 and not path.address.isascii():
        session.say("mail.utf8")
        return
    size = parse_size(parameters.get("SIZE"))
    if size is not None and settings.max_size and size > settings.max_size:
        session.say("mail.size")
        return
    if not service.room:
        session.say("mail.storage")
        return
    answer, after = _asked(session, path, MAIL_ON)
    if answer is not None and answer.code >= _REFUSALS:
        session.answer(answer)
        return
    base = "LMTP" if settings.lmtp else "ESMTP" if session.extended else "SMTP"
    login = session.identity is not None
    if after is not None:
        session.planned[END_OF_DATA] = after
    session.envelope = Envelope(
        session.client,
        session.hello or b"",
        protocol_name(base, utf8=utf8, tls=session.tls, login=login),
        session.identity,
        session.tls,
        path,
        parsed.parameters,
        smtputf8=utf8,
        body=(parameters.get("BODY") or b"").decode("ascii", "replace").upper(),
        size=size,
    )
    if answer is None:
        session.say("mail")
    else:
        session.answer(answer)


def rcpt(session: Session, argument: bytes) -> None:
    settings, service, envelope = session.settings, session.service, session.envelope
    if envelope is None or envelope.via:
        session.say("rcpt.no-mail")
        return
    session.tried_rcpt = True
    parsed = parse_path_argument("RCPT", argument, Span(Direction.CLIENT, 0, len(argument)))
    path = parsed.path
    if path is None or (parsed.defects and not _tolerable(session, "rcpt.syntax", parsed)):
        if path is None:
            session.say("rcpt.syntax", {"problem": "no path"})
        return
    if parsed.parameters:
        rules = service.rules["RCPT"] if session.extended else {}
        key, keyword = judge(parsed.parameters, rules, service.offered)
        if key:
            session.say(key, {"parameter": keyword})
            return
    if not envelope.smtputf8 and not path.address.isascii():
        session.say("rcpt.utf8")
        return
    if len(session.recipients) >= settings.max_recipients > 0:
        session.say("rcpt.too-many")
        return
    domain = path.domain.lower()
    most = settings.max_recipient_domains
    if most and domain not in envelope.domains and len(envelope.domains) >= most:
        session.say("rcpt.too-many-domains")
        return
    answer, after = _asked(session, path, RCPT_ON)
    if answer is None:
        found = None if service.directory.open else service.directory.recipient(path)
        key, target = (found.key, found.target) if found is not None else ("rcpt", "")
        accepted = session.forms[key].code < _REFUSALS
    else:
        accepted = answer.code < _REFUSALS
    if accepted:
        session.recipients.append((path.address, after))
        envelope.domains.add(domain)
        if after is not None and not settings.lmtp:
            session.planned.setdefault(END_OF_DATA, after)
        # In LMTP each recipient is answered by itself: one that will be refused gets no message.
        if after is None or not settings.lmtp:
            envelope.recipients.append(Recipient(path, parsed.parameters))
    if answer is None:
        session.say(key, {"target": target} if target else {})
    else:
        session.answer(answer)


def rset(session: Session, argument: bytes) -> None:
    session.reset()
    session.say("rset")


def _tolerable(session: Session, key: str, parsed: PathArgument) -> bool:
    """Whether all defects of a path and its parameters are forgiven; the reply is given if not."""
    for defect in parsed.defects:
        if defect.rule in session.settings.tolerate or defect.rule == _POSTPONED:
            continue
        problem = defect.rule.replace("-", " ")
        if defect.rule in _OF_PARAMETERS:
            key = "parameter.syntax"
        session.say(key, {"problem": f"{problem}: {defect.detail}" if defect.detail else problem})
        return False
    return True


def _asked(session: Session, path: Path, now: str) -> tuple[Answer | None, Answer | None]:
    """The replies that the address asks for: to this command, and after the message.

    What it asks for at DATA is kept in the session.
    """
    asked = asked_by(path.local) if session.settings.address_faults else None
    if asked is None:
        return None, None
    on, answer = asked
    if on == now:
        session.note("fault", f"address: reply {answer.code} on {now}")
        return answer, None
    if on == DATA_ON:
        session.planned.setdefault(DATA_ON, answer)
    return None, answer if on == END_OF_DATA else None
