"""Views of an index that is still written, given up, or damaged."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from support.indexes import Growing, fill, growing, key, odd_captures

from smtpscope import filters
from smtpscope.filters import Filter, parse
from smtpscope.index import views
from smtpscope.index.statistics import statistics
from smtpscope.index.store import Store
from smtpscope.index.views import MESSAGES, SESSIONS, DamagedError, Index, Table, View

if TYPE_CHECKING:
    from conftest import Everything


def filled(view: View) -> View:
    view.fill()
    return view


# -- while it is written --------------------------------------------------------------------------


def test_what_is_written_later_is_shown_later(everything: Everything) -> None:
    sessions = everything.sessions
    with growing(Store()) as grown:
        whole = grown.index.view()
        some = grown.index.view(filter=parse("code >= 500"))
        newest = grown.index.view(sort="start", descending=True)
        sent = grown.index.view(MESSAGES)
        listed = [whole, some, newest, sent]
        assert [view.grows for view in listed] == [True, True, False, True]
        for upto in (0, 1, 30, 30, 31, len(sessions)):
            before = [len(view) for view in listed]
            grown.write(sessions[grown.index.progress().sessions : upto])
            # Nothing moves below somebody who looks at it.
            assert [len(view) for view in listed] == before
            for view in listed:
                view.fill()
            written = sessions[:upto]
            assert len(whole) == len(newest) == grown.index.progress().sessions == upto
            wanted = parse("code >= 500")
            ids = [id for id, each in enumerate(written, 1) if wanted.matches(each)]
            assert list(some.ids()) == ids
            assert len(sent) == sum(len(each.messages) for each in written)
            starts = [row.start for row in newest.rows(0, upto)]
            assert starts == sorted((each.start for each in written), reverse=True)
        for view in listed:
            view.close()


@pytest.mark.parametrize("table", [SESSIONS, MESSAGES])
def test_what_was_shown_before_is_not_asked_for_again(everything: Everything, table: Table) -> None:
    asked = 0

    def accepts(values: Iterable[str | int]) -> bool:
        nonlocal asked
        asked += 1
        return True

    with growing(Store()) as grown:
        grown.write(everything.sessions[:-1])
        view = filled(grown.index.view(table, asking(accepts)))
        before, asked = len(view), 0
        grown.write(everything.sessions[-1:])
        view.fill()
        assert asked == len(view) - before
        view.close()


def test_the_rows_of_a_page_may_be_read_before_the_view_knows_of_more(
    everything: Everything,
) -> None:
    with growing(Store()) as grown:
        grown.write(everything.sessions[:3])
        view = filled(grown.index.view())
        grown.write(everything.sessions[3:5])
        assert len(view) == 3
        assert view.position(4) is None
        # One question after the other is answered for the same rows.
        assert view.query("SELECT count(*) FROM {sessions}") == [(3,)]
        view.fill()
        assert view.query("SELECT count(*) FROM {sessions}") == [(5,)]
        view.close()


def test_statistics_are_of_the_sessions_that_there_were(everything: Everything) -> None:
    late = sorted(everything.sessions, key=lambda each: -each.start)
    with growing(Store()) as grown:
        grown.write(late[2:9])
        view = filled(grown.index.view())
        left = [late[0], *late[9:]]

        def written() -> bool:
            # Before each question one more comes, far from the others in time.
            grown.write([left.pop(-1), left.pop(0)])
            return False

        found = statistics(view, written)
        assert found is not None
        assert found.sessions == 7
        assert sum(found.times.sessions) == sum(each.times for each in found.states) == 7
        view.close()


def test_it_is_complete_when_it_is_said_to_be(everything: Everything) -> None:
    with growing(Store()) as grown:
        grown.write(everything.sessions[:2])
        assert not grown.index.complete
        assert not grown.index.progress().done
        grown.write([], done=True)
        assert grown.index.complete
        assert grown.index.progress().done


# -- several at once ------------------------------------------------------------------------------


def asking(accepts: Callable[[Iterable[str | int]], bool]) -> Filter:
    """A filter that does something of its own whenever a session is looked at."""
    return Filter("asking", filters.Test("state", "~", ("",), accepts))


def test_a_view_may_grow_while_it_is_searched(everything: Everything) -> None:
    view = filled(everything.index.view(filter=parse("not tls")))
    length = len(view)

    def accepts(values: Iterable[str | int]) -> bool:
        view.fill()
        assert view.search(parse("code == 250"), -1) == 0
        assert view.search_words("example", -1) is not None
        assert len(view.first(4)) == 4
        return list(values) == ["reset"]

    place = view.search(asking(accepts), -1)
    assert place is not None
    assert view.rows(place, 1)[0].state == "reset"
    assert len(view) == length
    view.close()


def test_a_view_may_be_filled_while_its_ids_are_read(everything: Everything) -> None:
    view = filled(everything.index.view(filter=parse("code == 250")))
    ids = view.ids()
    next(ids)
    view.fill()
    assert len([*ids]) == len(view) - 1
    view.close()


def test_words_may_be_looked_for_twice_at_once(
    everything: Everything, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = filled(everything.index.view(MESSAGES))
    usual = views._spoken
    again: list[int | None] = []

    def spoken(value: str | None) -> str:
        if not again:
            again.append(None)
            again.append(view.search_words("bob", -1))
        return usual(value)

    monkeypatch.setattr(views, "_spoken", spoken)
    assert view.search_words("ann", -1) is not None
    assert again[1] is not None
    view.close()


def test_threads_read_a_view_one_after_the_other(everything: Everything) -> None:
    view = everything.index.view(sort="start")
    thread = Thread(target=view.fill)
    thread.start()
    thread.join()
    assert len(view.rows(0, 1_000)) == len(everything.sessions)
    view.close()


# -- given up -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["number", "start"])
def test_a_view_that_nobody_waits_for_is_given_up(everything: Everything, sort: str) -> None:
    calls = 0

    def accepts(values: Iterable[str | int]) -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            view.interrupt()
        return True

    view = everything.index.view(filter=asking(accepts), sort=sort)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        view.fill()
    assert calls < len(everything.sessions)
    assert len(view) == 0
    view.fill()
    assert len(view) == len(everything.sessions)
    view.close()


def test_a_view_is_also_given_up_before_it_is_filled(everything: Everything) -> None:
    view = everything.index.view(sort="start")
    view.interrupt()
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        view.fill()
    view.fill()
    assert len(view) == len(everything.sessions)
    view.close()


def test_a_search_that_nobody_waits_for_is_given_up(everything: Everything) -> None:
    view = filled(everything.index.view())

    def accepts(values: Iterable[str | int]) -> bool:
        view.interrupt()
        return False

    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        view.search(asking(accepts), -1)
    assert view.search(parse(""), -1) == 0
    view.close()


# -- damaged --------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Index, View]:
    """An index and a view of it that were opened before every page but the first was lost."""
    captures = odd_captures(tmp_path)
    path = fill(Store(), captures)
    index = Index(path, key(captures), [each.name for each in captures])
    view = index.view(filter=parse("state"))
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * (size - 4_096))
    return index, view


ASKED: dict[str, Callable[[Index, View], object]] = {
    "session": lambda index, view: index.session(1),
    "details": lambda index, view: index.details(1),
    "ordinals": lambda index, view: index.ordinals(1),
    "notes": lambda index, view: index.notes(),
    "fill": lambda index, view: view.fill(),
    "first": lambda index, view: view.first(3),
    "natural": lambda index, view: index.view().fill(),
    "rows": lambda index, view: index.view().rows(0, 5),
    "query": lambda index, view: index.view().query("SELECT count(*) FROM sessions"),
    "blocks": lambda index, view: list(index.view().blocks("SELECT * FROM sessions", 3)),
}


@pytest.mark.parametrize("asked", ASKED)
def test_damage_is_told_whatever_is_asked(asked: str, damaged: tuple[Index, View]) -> None:
    index, view = damaged
    with pytest.raises(DamagedError, match="damaged") as caught:
        ASKED[asked](index, view)
    assert "\n" not in str(caught.value)
    view.close()
    index.close()


@pytest.mark.parametrize("progress", ["[]", "{}", "no json", "7", None])
def test_a_progress_that_is_none_is_damage(progress: str | None) -> None:
    with growing(Store()) as grown:
        _execute(grown, "UPDATE meta SET value = ? WHERE name = 'progress'", progress)
        with pytest.raises(DamagedError):
            grown.index.progress()


def test_texts_that_are_no_lists_are_damage(everything: Everything) -> None:
    with growing(Store()) as grown:
        grown.write(everything.sessions[:20])
        _execute(grown, "UPDATE sessions SET senders = '{['")
        _execute(
            grown, "UPDATE texts SET text = '{\"no-such-rule\": ' || id || '}' WHERE kind = 'rules'"
        )
        for wanted in ("from ~ 'a|b'", "severity >= note", "group == security"):
            with pytest.raises(DamagedError):
                grown.index.view(filter=parse(wanted)).fill()


def test_an_index_that_has_gone_is_told_to_be_gone() -> None:
    with growing(Store()) as grown:
        os.unlink(grown.index.path)
        with pytest.raises(DamagedError, match="gone"):
            grown.index.view()
        with pytest.raises(DamagedError, match="session 7"):
            grown.index.details(7)


def _execute(grown: Growing, sql: str, *parameters: str | None) -> None:
    connection = sqlite3.connect(grown.index.path, isolation_level=None)
    connection.execute(sql, parameters)
    connection.close()
