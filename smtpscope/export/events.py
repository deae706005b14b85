"""Sessions while they go on: an exchange a line as JSON, schema `smtpscope.event/1`, or as text.

JSON lines are of two kinds: "exchange" as one completes, with what was found about it, and "end"
with what only the whole session shows. Their parts are those of `jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Protocol

import click

from smtpscope.display import text
from smtpscope.export import jsonl
from smtpscope.export.text import Layout, Paint, how_it_ended, plain
from smtpscope.following import Judged, Watched
from smtpscope.session import Session
from smtpscope.transcript import exchange_rows, finding_rows

SCHEMA = "smtpscope.event/1"


class Events(Protocol):
    """What makes lines of a session that goes on: of its new exchanges, and of its end."""

    def exchanges(self, watched: Watched, new: list[Judged]) -> Iterator[str]: ...

    def end(self, watched: Watched) -> Iterator[str]: ...


class JsonEvents:
    """One JSON object a line."""

    def __init__(self, *, reveal: bool = False) -> None:
        self._reveal = reveal

    def exchanges(self, watched: Watched, new: list[Judged]) -> Iterator[str]:
        session = watched.session
        head = self._head("exchange", session)
        for exchange, findings in new:
            said = jsonl.exchange_json(exchange, session, self._reveal)
            found = ", ".join(map(jsonl.finding_json, findings))
            yield f'{head}, "exchange": {said}, "findings": [{found}]}}'

    def end(self, watched: Watched) -> Iterator[str]:
        session = watched.session
        found = ", ".join(map(jsonl.finding_json, watched.rest()))
        yield (
            f'{self._head("end", session)}, "state": "{session.state}", '
            f'"duration": {jsonl.seconds(session.end - session.start)}, '
            f'"messages": {len(session.messages)}, "findings": [{found}]}}'
        )

    def _head(self, event: str, session: Session) -> str:
        found = {
            "schema": SCHEMA,
            "event": event,
            "session": session.number,
            "capture": text(session.capture),
            "client": jsonl.endpoint_json(session.client),
            "server": jsonl.endpoint_json(session.server),
        }
        return json.dumps(found, ensure_ascii=False)[:-1]


class TextEvents:
    """Lines for people; each begins with its session's number, for sessions interleave."""

    def __init__(
        self, *, width: int | None = None, colour: bool = False, reveal: bool = False
    ) -> None:
        self._paint: Paint = click.style if colour else plain
        self._width = width
        self._reveal = reveal
        self._layouts: dict[int, Layout] = {}
        self._advised = {""}

    def exchanges(self, watched: Watched, new: list[Judged]) -> Iterator[str]:
        if not new:
            return
        session, number = watched.session, watched.number
        layout = self._layouts.get(number)
        if layout is None:
            layout = self._layouts[number] = self._layout(session)
            yield self._line(number, self._paint(_begin(session), bold=True))
        for exchange, findings in new:
            for row in exchange_rows(session, exchange, findings, reveal=self._reveal):
                for line in layout.lines(row):
                    yield self._line(number, line)

    def end(self, watched: Watched) -> Iterator[str]:
        session, number = watched.session, watched.number
        layout = self._layouts.pop(number, None) or Layout(self._width, self._paint, session.start)
        for row in finding_rows(watched.rest()):
            for line in layout.lines(row):
                yield self._line(number, line)
        took = (session.end - session.start) / 1e9
        ended = f"{session.client} → {session.server}: {how_it_ended(session)}, {took:.3f} s"
        yield self._line(number, self._paint(ended, bold=True))

    def _layout(self, session: Session) -> Layout:
        width = self._width - len(_label(session.number)) if self._width else None
        return Layout(width, self._paint, session.start, self._advised)

    def _line(self, number: int, line: str) -> str:
        return self._paint(_label(number), dim=True) + line


def _label(number: int) -> str:
    return f"#{number:<4} "


def _begin(session: Session) -> str:
    time = jsonl.iso_time(session.start)[:-4].replace("T", " ")
    return f"{session.client} → {session.server}, {time} UTC"


def schema() -> jsonl.Object:
    """The JSON Schema of the lines."""
    session = jsonl.schema()
    definitions = session["$defs"]
    finding = {"type": "array", "items": {"$ref": "#/$defs/finding"}}
    common = {
        "schema": {"const": SCHEMA},
        "session": {"type": "integer", "minimum": 1},
        "capture": {"type": "string"},
        "client": {"$ref": "#/$defs/endpoint"},
        "server": {"$ref": "#/$defs/endpoint"},
        "findings": finding,
    }
    exchange = {"event": {"const": "exchange"}, "exchange": {"$ref": "#/$defs/exchange"}}
    end = {
        "event": {"const": "end"},
        "state": session["properties"]["state"],
        "duration": session["properties"]["duration"],
        "messages": {"type": "integer", "minimum": 0},
    }
    return {
        "$schema": session["$schema"],
        "$id": SCHEMA,
        "title": "What happens in an SMTP session",
        "description": "One line of `--format events`.",
        "oneOf": [_object({**common, **exchange}), _object({**common, **end})],
        "$defs": definitions,
    }


def _object(properties: jsonl.Object) -> jsonl.Object:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
