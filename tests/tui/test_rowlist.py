"""The widget of all lists, while rows are added to it."""

from __future__ import annotations

from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.screen import Screen

from smtpscope.tui.pieces import Piece
from smtpscope.tui.rowlist import Lines, RowList
from smtpscope.tui.themes import THEMES, theme_defaults


class Listed(App[None]):
    """A list and nothing else."""

    CSS = "RowList { height: 1fr; }"

    def __init__(self, count: int) -> None:
        super().__init__()
        for theme in THEMES:
            self.register_theme(theme)
        self.lines = Lines([])
        self.add(count)
        self.rows = RowList(self.lines)

    def add(self, count: int) -> None:
        have = len(self.lines.lines)
        self.lines.lines += [[Piece(f"row {number}")] for number in range(have, have + count)]

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme_defaults(self.current_theme)

    def compose(self) -> ComposeResult:
        yield self.rows

    def shown(self) -> list[str]:
        strips = self.screen._compositor.render_strips(self.size)
        return ["".join(segment.text for segment in strip).strip(" ▌▁▂▃▄▅▆▇█") for strip in strips]


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> list[Screen[Any]]:
    """One for each time that a screen was laid out."""
    found: list[Screen[Any]] = []
    usual = Screen._refresh_layout

    def counted(self: Screen[Any], *of: Any, **how: Any) -> None:
        found.append(self)
        usual(self, *of, **how)

    monkeypatch.setattr(Screen, "_refresh_layout", counted)
    return found


async def test_rows_behind_those_on_the_screen_move_nothing(layouts: list[Screen[Any]]) -> None:
    app = Listed(100)
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        before = app.shown()
        layouts.clear()
        app.add(900)
        app.rows.rows_changed()
        await pilot.pause()
        assert layouts == []
        assert app.shown() == before
        assert app.rows.vertical_scrollbar.window_virtual_size == 1_000
        await pilot.press("end")
        assert app.rows.cursor == 999
        assert app.shown()[-1] == "row 999"


@pytest.mark.parametrize(("before", "after"), [(0, 5), (5, 9), (5, 30), (10, 11)])
async def test_rows_that_come_into_sight_are_shown(before: int, after: int) -> None:
    app = Listed(before)
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        app.add(after - before)
        app.rows.rows_changed()
        await pilot.pause()
        await pilot.press("end")
        expected = [f"row {number}" for number in range(after)][-10:]
        assert [line for line in app.shown() if line] == expected


async def test_fewer_rows_leave_no_hole() -> None:
    app = Listed(1_000)
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("end")
        del app.lines.lines[50:]
        app.rows.rows_changed()
        await pilot.pause()
        assert app.rows.cursor == 49
        assert app.shown()[-1] == "row 49"
