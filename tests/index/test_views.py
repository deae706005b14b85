"""Views of an index: its rows by a filter, in an order, a page at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.indexes import QUIET, indexed, write_capture

from smtpscope.errors import SmtpscopeError
from smtpscope.fields import FIELDS
from smtpscope.filters import parse
from smtpscope.index import views
from smtpscope.index.store import Store
from smtpscope.index.views import (
    MESSAGES,
    SESSIONS,
    DamagedError,
    Index,
    MessageRow,
    SessionRow,
    Table,
    View,
)
from smtpscope.session import message_of

if TYPE_CHECKING:
    from conftest import Everything

TABLES = [SESSIONS, MESSAGES]
SORTS = [(table, sort) for table in TABLES for sort in table.sorts]
FILTERS = ["", "code >= 500", "not tls", "client", "messages > 0 and 'example'", "number > 1"]


@contextmanager
def view(
    index: Index,
    table: Table = SESSIONS,
    filter: str = "",
    sort: str = "number",
    *,
    descending: bool = False,
) -> Iterator[View]:
    found = index.view(table, parse(filter), sort, descending=descending)
    try:
        found.fill()
        yield found
    finally:
        found.close()


def rows(index: Index, *of: Any, **how: Any) -> list[Any]:
    with view(index, *of, **how) as found:
        return found.rows(0, len(found))


# -- what the rows say ----------------------------------------------------------------------------


def test_a_row_says_what_its_session_says(everything: Everything) -> None:
    found: list[SessionRow] = rows(everything.index)
    assert [row.id for row in found] == list(range(1, len(everything.sessions) + 1))
    for row, session, capture in zip(found, everything.sessions, everything.captures, strict=True):
        assert (row.capture, row.number, row.start) == (capture, session.number, session.start)
        assert row.duration == session.end - session.start
        assert (row.client, row.client_port) == session.client
        assert (row.server, row.port) == session.server
        assert (row.state, row.tls) == (session.state, session.tls_mode)
        assert [row.tls_version] == [*FIELDS["tls.version"].values(session)] or session.tls is None
        severities = [each.severity for each in session.findings]
        assert row.severity == max(severities, default=-1)
        assert row.findings == sum(each == max(severities) > 0 for each in severities)
        assert row.exchanges == len(session.exchanges)
        assert row.messages == len(session.messages)
        assert row.octets == sum(each.size for each in session.messages)
        for name, listed in (
            ("from", row.senders),
            ("to", row.recipients),
            ("subject", row.subjects),
        ):
            assert json.loads(listed) == list(FIELDS[name].values(session))
        assert everything.index.session(row.id) == row
    assert everything.index.session(len(found) + 1) is None


def test_a_row_says_what_its_message_says(everything: Everything) -> None:
    found: list[MessageRow] = rows(everything.index, MESSAGES)
    sent = [
        (id, ordinal, session, transaction, message)
        for id, session in enumerate(everything.sessions, 1)
        for ordinal, transaction in enumerate(session.transactions)
        if (message := message_of(transaction)) is not None
    ]
    assert len(found) > 40
    for row, (id, ordinal, session, transaction, message) in zip(found, sent, strict=True):
        assert (row.session, row.ordinal, row.size) == (id, ordinal, message.size)
        assert row.subject == message.subject
        assert (row.parts, row.attachments) == (message.parts, len(message.attachments))
        reply, sender = transaction.reply, transaction.reverse_path
        assert (row.taken, row.wanted) == (transaction.taken, len(transaction.recipients))
        if 0 < row.taken < row.wanted:
            # Whatever some replies were: others have it.
            assert row.code == 250
            continue
        assert row.code == (reply.code if reply is not None else None)
        assert row.time == (reply.time if reply is not None else session.end)
        assert row.sender == (sender.address.decode() if sender is not None else None)
        recipients = [each.path.address for each in transaction.recipients if each.path]
        assert json.loads(row.recipients) == [each.decode() for each in recipients]
    for id in range(1, len(everything.sessions) + 1):
        ordinals = [ordinal for session, ordinal, *_ in sent if session == id]
        assert everything.index.ordinals(id) == ordinals


@pytest.mark.parametrize(
    ("replies", "last"),
    [
        ([], (None, None)),
        ([b"220 mx"], (220, None)),
        ([b"220 mx", b"250 mx", b"221 2.0.0 Bye"], (221, "2.0.0")),
        ([b"220 mx", b"502 5.5.1 no", b"221 2.0.0 Bye"], (502, "5.5.1")),
        ([b"220 mx", b"502 5.5.1 no", b"421 4.3.2 closing"], (421, "4.3.2")),
        ([b"what", b"ever"], (None, None)),
    ],
)
def test_the_last_refusal_decides_or_else_the_last_reply(
    replies: list[bytes], last: tuple[int | None, str | None], tmp_path: Path
) -> None:
    commands = [("C", b"EHLO a\r\n"), ("C", b"QUIT\r\n"), ("C", b"")]
    turns = [
        turn
        for reply, command in zip(replies, commands, strict=False)
        for turn in (("S", reply + b"\r\n"), command)
    ]
    with indexed(Store(), [write_capture(tmp_path / "a.pcap", [turns])]) as index:
        (row,) = rows(index)
    assert (row.last, row.last_enhanced) == last


def test_what_became_of_the_last_message_decides_where_nothing_was_refused(
    tmp_path: Path,
) -> None:
    said = b"220 mx|EHLO a|250 mx|MAIL FROM:<a@b.test>|250 Ok|RCPT TO:<c@d.test>|250 Ok|DATA"
    said += b"|354 go|\r\n.|250 2.0.0 queued|NOOP|252 2.1.0 hm|QUIT|221 2.0.0 Bye"
    turns = [("SC"[n % 2], each + b"\r\n") for n, each in enumerate(said.split(b"|"))]
    with indexed(Store(), [write_capture(tmp_path / "a.pcap", [turns])]) as index:
        (row,) = rows(index)
        (message,) = rows(index, MESSAGES)
    assert (row.last, row.last_enhanced, message.code) == (250, "2.0.0", 250)


# -- pages and orders -----------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["number", "start"])
@pytest.mark.parametrize("size", [1, 7, 64, 1_000])
def test_pages_are_pieces_of_the_whole(everything: Everything, sort: str, size: int) -> None:
    with view(everything.index, sort=sort) as found:
        whole = found.rows(0, len(found))
        assert len(whole) == len(found) == len(everything.sessions)
        for first in range(0, len(found) + size, size):
            assert found.rows(first, size) == whole[first : first + size]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("table", "sort"), SORTS, ids=lambda it: getattr(it, "name", it))
def test_rows_are_sorted_as_python_sorts_them(
    everything: Everything, table: Table, sort: str, descending: bool
) -> None:
    columns = table.sorts[sort].split(", ")

    def place(row: Any) -> list[tuple[bool, Any]]:
        values = [getattr(row, column) for column in columns]
        return [(value is not None, value) for value in values]

    natural = rows(everything.index, table)
    # What is equal stays in the order in which it was found, whichever way.
    expected = sorted(natural, key=place, reverse=descending)
    assert rows(everything.index, table, "", sort, descending=descending) == expected
    wanted = "code >= 500"
    some = {row.id for row in rows(everything.index, table, wanted)}
    assert rows(everything.index, table, wanted, sort, descending=descending) == [
        row for row in expected if row.id in some
    ]


# -- filters, and where a row is ------------------------------------------------------------------


def shown(table: Table, filter: str, everything: Everything) -> list[int]:
    wanted = parse(filter)
    sessions = [n for n, each in enumerate(everything.sessions, 1) if wanted.matches(each)]
    if table is SESSIONS:
        return sessions
    return [row.id for row in rows(everything.index, MESSAGES) if row.session in sessions]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@pytest.mark.parametrize("filter", FILTERS)
def test_a_view_has_the_rows_of_the_sessions_that_its_filter_shows(
    everything: Everything, table: Table, filter: str
) -> None:
    expected = shown(table, filter, everything)
    with view(everything.index, table, filter) as found:
        assert list(found.ids()) == expected
        assert [row.id for row in found.rows(0, len(found))] == expected
        assert [row.id for row in found.first(5)] == expected[:5]
        assert [each[0] for each in found.query("SELECT id FROM {sessions}")] == expected
        blocks = list(found.blocks("SELECT id FROM {sessions}", 7))
        assert [id for block in blocks for (id,) in block] == expected
        assert all(len(block) == 7 for block in blocks[:-1])


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("sort", ["number", "duration"])
def test_each_row_says_where_it_is(everything: Everything, filter: str, sort: str) -> None:
    with view(everything.index, SESSIONS, filter, sort) as found:
        ids = list(found.ids())
        assert [found.position(id) for id in ids] == list(range(len(ids)))
        others = {0, *range(1, len(everything.sessions) + 2)} - {*ids}
        assert {found.position(id) for id in others} == {None}


def test_a_view_without_rows_has_none_anywhere(everything: Everything) -> None:
    with view(everything.index, filter="number == 99999") as found:
        assert (len(found), found.rows(0, 10), [*found.ids()], found.first(3)) == (0, [], [], [])
        assert found.position(1) is None
        assert found.search(parse(""), -1) is None


# -- search ---------------------------------------------------------------------------------------


def _next(hits: list[bool], position: int, backwards: bool) -> int | None:
    places = [place for place, hit in enumerate(hits) if hit]
    if backwards:
        return max([place for place in places if place < position], default=None)
    return min([place for place in places if place > position], default=None)


def check_searches(found: View, hits: list[bool], search: Callable[..., int | None]) -> None:
    """From a few rows, the ends among them, both ways."""
    assert len(hits) == len(found)
    for position in {*range(-1, len(found) + 1, 5), len(found) - 1, len(found)}:
        for backwards in (False, True):
            expected = _next(hits, position, backwards)
            assert search(position, backwards=backwards) == expected


@pytest.mark.parametrize("step", [1, 6, 20_000])
@pytest.mark.parametrize(
    ("table", "sort"),
    [(SESSIONS, "number"), (SESSIONS, "duration"), (MESSAGES, "number"), (MESSAGES, "size")],
)
def test_the_next_row_is_found_from_everywhere(
    everything: Everything, table: Table, sort: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "SEARCHED", step)
    for filter in ("", "messages > 0"):
        with view(everything.index, table, filter, sort) as found:
            for wanted in ("tls", "number == 77"):
                chosen = {*shown(table, wanted, everything)}
                hits = [id in chosen for id in found.ids()]
                check_searches(found, hits, partial(found.search, parse(wanted)))


@pytest.mark.parametrize("word", ["BOB@", "grüße", 'a"', "["])
def test_words_are_looked_for_in_the_messages_own_columns(
    everything: Everything, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "SEARCHED", 4)
    with view(everything.index, MESSAGES, "", "size", descending=True) as found:
        hits = [
            any(
                word.lower() in value.lower()
                for value in (row.sender or "", *json.loads(row.recipients), row.subject or "")
            )
            for row in found.rows(0, len(found))
        ]
        check_searches(found, hits, partial(found.search_words, word))


def test_words_are_looked_for_in_sessions_as_their_filter_does(everything: Everything) -> None:
    with view(everything.index) as found:
        for word in ("example", '"b', "\\"):
            wanted = parse('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"')
            place = found.search(wanted, 3)
            assert place is not None
            assert found.search_words(word, 3) == place


def test_a_temporary_folder_that_is_full_is_no_damage(everything: Everything) -> None:
    sorted_view = everything.index.view(sort="to")
    try:
        sorted_view._connection.execute("PRAGMA temp.max_page_count = 1")
        with pytest.raises(SmtpscopeError, match="no room") as caught:
            sorted_view.fill()
        assert not isinstance(caught.value, DamagedError)
    finally:
        sorted_view.close()


def test_quiet_captures_have_no_messages(tmp_path: Path) -> None:
    with indexed(Store(), [write_capture(tmp_path / "a.pcap", [QUIET])]) as index:
        assert rows(index, MESSAGES) == []
        assert index.ordinals(1) == []
