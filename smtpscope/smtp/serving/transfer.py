"""How a message comes: DATA, BDAT, its end, and what is said when it is stored.

RFC 5321 §4.1.1.4; RFC 3030 §2, §3; RFC 2033 §4.2 and §4.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from smtpscope.smtp.grammar import parse_bdat
from smtpscope.smtp.serving.actions import MessageBegin, MessageData, MessageEnd
from smtpscope.smtp.serving.answers import Answer, Form
from smtpscope.smtp.serving.content import MessageScanner
from smtpscope.smtp.serving.faults import DATA_ON, END_OF_DATA
from smtpscope.smtp.serving.sabotage import around
from smtpscope.smtp.serving.session import Mode, Session
from smtpscope.stream import Direction, Span

_REFUSALS = 400


def data(session: Session, argument: bytes) -> None:
    envelope = session.envelope
    trouble = _not_ready(session)
    if trouble or envelope is None:
        session.say(trouble)
        return
    if envelope.via or session.chunk_failed:
        session.say("data.after-bdat")
        return
    if envelope.body == "BINARYMIME":
        session.say("data.binary")
        return
    planned = session.planned.get(DATA_ON)
    if planned is not None and planned.code >= _REFUSALS:
        session.note("fault", f"address: reply {planned.code} on DATA")
        session.answer(planned)
        return
    if session.forms["data"].code >= _REFUSALS:
        session.say("data")
        return
    _begin(session, "DATA")
    session.scanner = MessageScanner()
    session.mode = Mode.DATA
    session.say("data")


def read_data(session: Session, piece: bytes) -> int:
    """Octets behind DATA: how many of them the message took, -1 while it is not over."""
    scanner = session.scanner
    assert scanner is not None
    content, taken = scanner.feed(piece)
    settings = session.settings
    if not session.spoiled:
        if settings.max_size and scanner.size > settings.max_size:
            _spoil(session, "message.size")
        elif scanner.bare_lf and settings.bare_lf == "reject":
            _spoil(session, "message.bare-lf")
        elif content:
            session.out.append(MessageData(content))
    if taken >= 0:
        _end_data(session, scanner)
    return taken


def _end_data(session: Session, scanner: MessageScanner) -> None:
    session.scanner = None
    session.mode = Mode.COMMAND
    if scanner.long_line:
        session.note("text-line-too-long", "a line of the message")
    if scanner.bare_lf:
        session.note("bare-lf", "in the message")
    if not session.service.faults:
        _finish(session, scanner.size, scanner)
        return
    around(
        session,
        END_OF_DATA,
        _addresses(session),
        lambda: _finish(session, scanner.size, scanner),
        lambda: _drop(session, "fault"),
        # In LMTP every recipient that was accepted gets one (RFC 2033 §4.2).
        replies=len(session.recipients) if session.settings.lmtp else 1,
    )


def _finish(session: Session, size: int, scanner: MessageScanner | None = None) -> None:
    """The message is over: have it stored, or say why not."""
    envelope = session.envelope
    planned = session.planned.get(END_OF_DATA)
    if session.spoiled:
        _refuse_all(session, session.forms[session.spoiled])
    elif planned is not None and planned.code >= _REFUSALS:
        session.note("fault", f"address: reply {planned.code} on the message")
        session.abort("fault")
        _refuse_all(session, session.service.voice.form(planned))
    elif envelope is not None and envelope.recipients:
        session.begun = False
        session.mode = Mode.WAIT
        session.waiting = "message"
        bare_lf, long_line = (
            (scanner.bare_lf, scanner.long_line) if scanner is not None else (False, False)
        )
        session.out.append(MessageEnd(envelope, size, bare_lf, long_line))
    else:
        # In LMTP every recipient may have asked to be refused.
        session.abort("no recipients")
        stored(session, "", ())


def stored(session: Session, identifier: str, each: Sequence[Answer | None]) -> None:
    """The message is on disk; `each` has LMTP's replies for the envelope's recipients."""
    planned, recipients = session.planned.get(END_OF_DATA), session.recipients
    session.reset()
    if not session.settings.lmtp:
        if planned is not None:
            session.answer(planned)
        else:
            session.say("stored", {"id": identifier})
        return
    answers = iter(each)
    for address, asked in recipients:
        answer = asked if asked is not None else next(answers, None)
        if answer is not None:
            session.answer(answer)
        else:
            session.say("stored.recipient", {"id": identifier, "address": address})


def refuse(session: Session, form: Form) -> None:
    """The message could not be stored, or was not wanted."""
    _refuse_all(session, form)


def bdat(session: Session, argument: bytes) -> None:
    size, last, defects = parse_bdat(argument, Span(Direction.CLIENT, 0, len(argument)))
    if size is None:
        session.say("bdat.syntax")
        return
    trouble = _chunk_trouble(session, size)
    if any(defect.rule not in session.settings.tolerate for defect in defects):
        trouble = "bdat.syntax"
    session.chunk_answer = session.forms[trouble] if trouble else None
    session.chunk_taken = not trouble
    if not trouble:
        session.received += size
        _begin(session, "BDAT")
    _expect_chunk(session, size, last=last)


def skip_bdat(session: Session, argument: bytes) -> None:
    """A fault answers this BDAT: its octets come all the same, and are nobody's."""
    size, last, _ = parse_bdat(argument, Span(Direction.CLIENT, 0, len(argument)))
    if size is None:
        return
    session.chunk_answer = None
    session.chunk_taken = False
    _expect_chunk(session, size, last=last)


def read_chunk(session: Session, piece: bytes | memoryview) -> int:
    """Octets of a chunk: how many of them it took."""
    taken = min(len(piece), session.chunk)
    session.chunk -= taken
    if session.chunk_taken and taken:
        session.out.append(MessageData(piece if taken == len(piece) else piece[:taken]))
    if not session.chunk:
        _end_chunk(session)
    return taken


def _expect_chunk(session: Session, size: int, *, last: bool) -> None:
    session.chunk = session.chunk_size = size
    session.last_chunk = last
    session.mode = Mode.CHUNK
    if not size:
        _end_chunk(session)


def _end_chunk(session: Session) -> None:
    session.mode = Mode.COMMAND
    if session.chunk_taken:
        if session.last_chunk:
            _finish(session, session.received)
        else:
            session.say("bdat", {"size": session.chunk_size})
        return
    # The message has failed: only RSET helps, unless this chunk was its last (RFC 3030 §2).
    answer, last = session.chunk_answer, session.last_chunk
    session.abort("a chunk was refused")
    if last:
        session.reset()
    session.chunk_failed = session.envelope is not None
    if answer is not None:
        session.say_form(answer)


def _chunk_trouble(session: Session, size: int) -> str:
    """The key of the reply to a chunk that can't be taken; "" where it can."""
    if session.chunk_failed:
        return "bdat.failed"
    trouble = _not_ready(session)
    if trouble:
        return trouble
    most = session.settings.max_size
    return "message.size" if most and session.received + size > most else ""


def _not_ready(session: Session) -> str:
    """The key of the reply where no message may come yet; "" where it may."""
    if session.envelope is None:
        return "data.no-mail"
    if session.recipients:
        return ""
    # RFC 2033 §4.2 leaves no choice of code.
    refused = session.tried_rcpt and not session.settings.lmtp
    return "data.no-valid-rcpt" if refused else "data.no-rcpt"


def _begin(session: Session, via: str) -> None:
    envelope = session.envelope
    if session.begun or envelope is None:
        return
    session.begun = True
    envelope.via = via
    session.out.append(MessageBegin(envelope))


def _spoil(session: Session, key: str) -> None:
    """The message won't be taken, but has to be read to its end."""
    session.spoiled = key
    session.abort(key)


def _drop(session: Session, reason: str) -> None:
    session.abort(reason)
    session.reset()


def _refuse_all(session: Session, form: Form) -> None:
    """One reply, or in LMTP one for each recipient that was accepted (RFC 2033 §4.2)."""
    replies = [
        asked for _, asked in (session.recipients if session.settings.lmtp else [(b"", None)])
    ]
    session.reset()
    for asked in replies:
        if asked is not None:
            session.answer(asked)
        else:
            session.say_form(form)


def _addresses(session: Session) -> bytes:
    envelope = session.envelope
    if envelope is None:
        return b""
    recipients = b" ".join([b"TO:<%s>" % each.name for each in envelope.recipients])
    return b"FROM:<%s> %s" % (envelope.sender.address, recipients)
