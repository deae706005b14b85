"""One session as one JSON object on one line, schema `smtpscope.session/1`.

Text is the wire's octets as UTF-8; where that is not exact, `display` spells them and a sibling
key `…_base64` holds them. Secrets of AUTH are redacted unless they are asked for. The schema is
in `session.schema.json` beside this module; `schema` reads it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any

from smtpscope.capture.tls import RECORD_TYPES, TlsInfo
from smtpscope.capture.tunnel import Tunnel
from smtpscope.display import json_text, text
from smtpscope.message import Message
from smtpscope.session import Finding, Session, Severity, message_of
from smtpscope.smtp.sasl import AuthExchange
from smtpscope.smtp.transaction import Recipient, Transaction
from smtpscope.smtp.values import EnhancedCode, Exchange, Parameter, Reply
from smtpscope.stream import Direction, Endpoint
from smtpscope.timing import Percentiles, Timing
from smtpscope.transcript import shown_lines

SCHEMA = "smtpscope.session/1"

Object = dict[str, Any]

_REMEMBERED = 200
"""Octets of a command's argument or of a reply beyond which its text is not kept."""

_AT_ONCE = 100
"""Transactions that are encoded together."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What is encoded was made here: there is no cycle to look for in it.
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


def dumps(session: Session, *, reveal: bool = False) -> str:
    """The session's line, without the line ending."""
    head = _encode(_session(session, reveal))
    transactions = _transactions(session.transactions)
    exchanges = ", ".join([exchange_json(each, session, reveal) for each in session.exchanges])
    findings = ", ".join([finding_json(each) for each in session.findings])
    return (
        f'{head[:-1]}, "transactions": [{transactions}], "exchanges": [{exchanges}], '
        f'"findings": [{findings}]}}'
    )


def _transactions(transactions: list[Transaction]) -> str:
    """The array's items: not all at once, for their objects take more than their text."""
    starts = range(0, len(transactions), _AT_ONCE)
    slices = (transactions[start : start + _AT_ONCE] for start in starts)
    return ", ".join([_encode([_transaction(each) for each in some])[1:-1] for some in slices])


def schema() -> Object:
    """The JSON Schema of the lines."""
    loaded: Object = json.loads(files(__package__).joinpath("session.schema.json").read_text())
    return loaded


def _session(session: Session, reveal: bool) -> Object:
    """What is said of the session as a whole."""
    found: Object = {
        "schema": SCHEMA,
        "number": session.number,
        "capture": text(session.capture),
        "start": iso_time(session.start),
        "duration": seconds(session.end - session.start),
        "state": session.state,
        "client": endpoint_json(session.client),
        "server": endpoint_json(session.server),
    }
    banner = session.banner.lines[0] if session.banner is not None else None
    _put(found, "banner", banner)
    _put(found, "helo", session.helo)
    found["esmtp"] = session.esmtp
    found["lmtp"] = session.lmtp
    capabilities = [
        b" ".join((capability.keyword.encode(), *capability.parameters))
        for capability in session.capabilities
    ]
    _put_all(found, "capabilities", capabilities)
    found["tls"] = _tls(session)
    found["tunnel"] = _tunnel(session.tunnel)
    found["auth"] = [_auth(auth, reveal) for auth in session.auths]
    found["timing"] = _timing(session.timing)
    return found


def iso_time(time: int) -> str:
    """`time`, nanoseconds since the epoch, in UTC with microseconds (RFC 3339)."""
    second, nanoseconds = divmod(time, 1_000_000_000)
    return f"{_iso_second(second)}.{nanoseconds // 1_000:06d}Z"


@lru_cache(maxsize=4096)
def _iso_second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")


def seconds(nanoseconds: int) -> float:
    return round(nanoseconds / 1e9, 6)


def _put(found: Object, key: str, octets: bytes | None) -> None:
    if octets is None:
        found[key] = None
        return
    found[key], exact = json_text(octets)
    if not exact:
        found[key + "_base64"] = b64encode(octets).decode()


def _put_all(found: Object, key: str, octets: Collection[bytes]) -> None:
    found[key] = texts = []
    all_exact = True
    for each in octets:
        shown, exact = json_text(each)
        texts.append(shown)
        all_exact = all_exact and exact
    if not all_exact:
        found[key + "_base64"] = [b64encode(each).decode() for each in octets]


def endpoint_json(endpoint: Endpoint) -> Object:
    """An address and a port."""
    return {"address": text(endpoint.address), "port": endpoint.port}


def _tls(session: Session) -> Object | None:
    info = session.tls
    if info is None:
        return None
    return {
        "mode": session.tls_mode,
        "version": info.version or info.offered,
        "sni": text(info.sni) if info.sni is not None else None,
        "cipher": info.cipher,
        "decrypted": info.decrypted,
        "ja3": info.ja3,
        "ja4": info.ja4,
        "ja3s": info.ja3s,
        "alerts": [
            {
                "direction": alert.direction.name.lower(),
                "level": alert.level,
                "description": alert.description,
            }
            for alert in info.alerts
        ],
        "client": _tls_side(info, Direction.CLIENT),
        "server": _tls_side(info, Direction.SERVER),
        "records": [
            {
                "time": iso_time(seen.time),
                "direction": seen.direction.name.lower(),
                "type": RECORD_TYPES.get(seen.kind),
                "size": seen.size,
            }
            for seen in info.listed
        ],
    }


def _tls_side(info: TlsInfo, direction: Direction) -> Object:
    first, last = info.first[direction], info.last[direction]
    return {
        "records": info.records[direction],
        "octets": info.octets[direction],
        "first": iso_time(first) if first is not None else None,
        "last": iso_time(last) if last is not None else None,
    }


def _tunnel(tunnel: Tunnel | None) -> Object | None:
    if tunnel is None:
        return None
    return {
        "kind": tunnel.kind,
        "target": endpoint_json(tunnel.target) if tunnel.target else None,
        "source": endpoint_json(tunnel.source) if tunnel.source else None,
        "accepted": tunnel.accepted,
    }


def _timing(timing: Timing) -> Object:
    server = timing.server
    of_server: Object | None = None
    if server is not None:
        of_server = {**_percentiles(server.percentiles), "sessions": server.sessions}
    return {
        "round_trips": timing.round_trips,
        **_percentiles(timing.percentiles),
        "server": of_server,
        "pipelining_saves": {
            "round_trips": timing.savings.round_trips,
            "seconds": seconds(timing.savings.time),
        },
    }


def _percentiles(values: Percentiles | None) -> Object:
    if values is None:
        return {"p50": None, "p95": None, "p99": None}
    p50, p95, p99 = values
    return {"p50": seconds(p50), "p95": seconds(p95), "p99": seconds(p99)}


def _auth(auth: AuthExchange, reveal: bool) -> Object:
    found: Object = {"mechanism": auth.mechanism}
    _put(found, "identity", auth.identity)
    if reveal:
        _put(found, "secret", auth.secret)
    else:
        found["secret"] = f"[redacted {auth.secret_length} bytes]"
    found["code"] = auth.code
    return found


def _transaction(transaction: Transaction) -> Object:
    found: Object = {}
    path = transaction.reverse_path
    _put(found, "mail_from", path.address if path is not None else None)
    found["mail_parameters"] = _parameters(transaction.parameters)
    found["completed"] = transaction.completed
    found["rcpt_to"] = [_recipient(recipient) for recipient in transaction.recipients]
    message = message_of(transaction)
    found["message"] = _message(message, transaction.via) if message is not None else None
    found["reply"] = _outcome(transaction.reply)
    return found


def _recipient(recipient: Recipient) -> Object:
    found: Object = {}
    _put(found, "address", recipient.path.address if recipient.path is not None else None)
    found["parameters"] = _parameters(recipient.parameters)
    reply = recipient.reply
    found["code"] = reply.code if reply is not None else None
    found["enhanced"] = _enhanced(reply)
    if recipient.delivery is not None:
        found["delivery"] = _outcome(recipient.delivery)
    return found


def _parameters(parameters: tuple[Parameter, ...]) -> dict[str, str | None]:
    return {
        text(keyword): text(value) if value is not None else None for keyword, value in parameters
    }


def _outcome(reply: Reply | None) -> Object | None:
    if reply is None:
        return None
    found: Object = {"code": reply.code, "enhanced": _enhanced(reply)}
    _put(found, "text", b" ".join(_without_enhanced(reply)))
    return found


def _without_enhanced(reply: Reply) -> list[bytes]:
    if reply.enhanced is None:
        return list(reply.lines)
    prefix = str(reply.enhanced).encode()
    return [line.removeprefix(prefix).lstrip(b" ") for line in reply.lines]


def _enhanced(reply: Reply | None) -> str | None:
    return str(reply.enhanced) if reply is not None and reply.enhanced is not None else None


def _message(message: Message, via: str | None) -> Object:
    return {
        "size": message.size,
        "missing": message.missing,
        "via": via,
        "subject": _optional(message.subject),
        "from": _optional(message.from_),
        "to": [text(each) for each in message.to],
        "cc": [text(each) for each in message.cc],
        "reply_to": _optional(message.reply_to),
        "date": _optional(message.date),
        "message_id": _optional(message.message_id),
        "in_reply_to": _optional(message.in_reply_to),
        "user_agent": _optional(message.user_agent),
        "received": [text(each) for each in message.received],
        "hops": [
            {
                "from": _optional(hop.from_),
                "by": _optional(hop.by),
                "with": _optional(hop.with_),
                "date": iso_time(hop.date) if hop.date is not None else None,
                "delay": hop.delay,
            }
            for hop in message.hops
        ],
        "authentication": [
            {"name": text(name), "value": text(value)} for name, value in message.authentication
        ],
        "sha256": message.sha256,
        "truncated": message.truncated,
        "parts": [
            {
                "number": part.number,
                "depth": depth,
                "content_type": text(part.content_type),
                "charset": _optional(part.charset),
                "encoding": text(part.encoding),
                "disposition": _optional(part.disposition),
                "filename": _optional(part.filename),
                "size": part.size,
            }
            for part, depth in message.walk()
        ],
        "attachments": [
            {
                "part": attachment.number,
                "filename": _optional(attachment.filename),
                "content_type": text(attachment.content_type),
                "size": attachment.size,
                "sha256": attachment.sha256,
            }
            for attachment in message.attachments
        ],
    }


def _optional(value: str | None) -> str | None:
    return text(value) if value is not None else None


def exchange_json(exchange: Exchange, session: Session, reveal: bool) -> str:
    """One exchange of `session`; `latency` is in seconds and None where a side is missing."""
    command, replies = exchange.command, exchange.replies
    asked = latency = answered = "null"
    if command is not None:
        began = time = command.time
        argument = command.argument
        if command.redacted is not None and not reveal:
            argument = command.redacted
        encode = _command if len(argument) <= _REMEMBERED else _command.__wrapped__
        asked = encode(command.verb, argument)
    else:
        began, time = session.start, replies[0].time
    if replies:
        first = replies[0]
        answered = _answer(first, exchange, reveal)
        if command is not None or exchange.greeting:
            latency = repr(round((first.time - began) / 1e9, 6))
    more = ""
    if len(replies) > 1:
        every = ", ".join([_answer(each, exchange, reveal) for each in replies])
        more = f', "replies": [{every}]'
    return (
        f'{{"time": "{iso_time(time)}", "command": {asked}, "latency": {latency}, '
        f'"reply": {answered}{more}}}'
    )


def _answer(reply: Reply, exchange: Exchange, reveal: bool) -> str:
    lines = reply.lines
    if reply.code == 334 or reply.unmasked is not None:
        lines = shown_lines(reply, exchange, reveal=reveal)
    again = len(lines) == 1 and len(lines[0]) <= _REMEMBERED
    encode = _reply if again else _reply.__wrapped__
    return encode(reply.code, reply.enhanced, lines)


# The same is said again and again: what is short is encoded once.
@lru_cache(maxsize=4096)
def _command(verb: str, argument: bytes) -> str:
    found: Object = {"verb": text(verb)}
    _put(found, "argument", argument)
    return _encode(found)


@lru_cache(maxsize=4096)
def _reply(code: int | None, enhanced: EnhancedCode | None, lines: tuple[bytes, ...]) -> str:
    found: Object = {"code": code, "enhanced": str(enhanced) if enhanced is not None else None}
    _put_all(found, "lines", lines)
    return _encode(found)


def finding_json(finding: Finding) -> str:
    """One finding."""
    rule, severity, group, span, summary, spec, advice = finding
    side = "client" if span.direction is Direction.CLIENT else "server"
    said = _said(rule, severity, group, summary, spec, advice)
    return f'{said}, "direction": "{side}", "start": {span.start}, "end": {span.end}}}'


@lru_cache(maxsize=1024)
def _said(rule: str, severity: Severity, group: str, summary: str, spec: str, advice: str) -> str:
    found = {"rule": rule, "severity": severity.word, "group": group}
    found |= {"summary": text(summary), "spec": spec, "advice": advice}
    return _encode(found)[:-1]
