"""Colours: legible in our themes and in everybody else's."""

from __future__ import annotations

import pytest
from textual.app import App
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from smtpscope.tui.themes import CONTRAST, THEMES, contrast, theme_defaults

BARS = {"scope-cursor", "scope-cursor-blurred"}
OURS = [pytest.param(theme, id=theme.name) for theme in THEMES]
COLOURED = [pytest.param(t, id=name) for name, t in BUILTIN_THEMES.items() if not t.ansi]


class Plain(App[None]):
    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme_defaults(self.current_theme)


@pytest.mark.parametrize("theme", OURS)
def test_every_text_of_our_themes_reads_on_the_surface_and_under_the_cursor(theme: Theme) -> None:
    colours = theme.to_color_system().generate()
    texts = {name: value for name, value in theme.variables.items() if name not in BARS}
    backgrounds = {name: theme.variables[name] for name in BARS}
    backgrounds |= {name: colours[name] for name in ("surface", "panel")}
    assert not [
        (text, background)
        for text, colour in {**texts, "foreground": colours["foreground"]}.items()
        for background, behind in backgrounds.items()
        if contrast(Color.parse(colour), Color.parse(behind)) < CONTRAST
    ]


@pytest.mark.parametrize("theme", COLOURED)
def test_every_text_reads_in_the_themes_that_come_with_textual(theme: Theme) -> None:
    found = theme_defaults(theme)
    surface = theme.to_color_system().generate()["surface"]
    assert not [
        name
        for name, colour in found.items()
        if name not in BARS
        for behind in (surface, found["scope-cursor"], found["scope-cursor-blurred"])
        if contrast(Color.parse(colour), Color.parse(behind)) < CONTRAST
    ]


@pytest.mark.parametrize("theme", COLOURED)
def test_the_cursor_differs_from_the_surface_in_every_theme(theme: Theme) -> None:
    found = theme_defaults(theme)
    surface = Color.parse(theme.to_color_system().generate()["surface"])
    assert Color.parse(found["scope-cursor"]) != surface
    assert Color.parse(found["scope-cursor-blurred"]) != surface


@pytest.mark.parametrize("theme", OURS)
def test_our_themes_name_every_variable(theme: Theme) -> None:
    assert theme.variables.keys() == theme_defaults(theme).keys()


@pytest.mark.parametrize("theme", [*THEMES, *BUILTIN_THEMES.values()], ids=lambda each: each.name)
def test_no_default_refers_to_another_variable(theme: Theme) -> None:
    assert not [value for value in theme_defaults(theme).values() if "$" in value]


@pytest.mark.parametrize("name", ["nord", "ansi-dark", "ansi-light"])
async def test_an_app_takes_the_defaults_for_what_a_theme_lacks(name: str) -> None:
    app = Plain()
    async with app.run_test():
        app.theme = name
        variables = app.get_css_variables()
    defaults = theme_defaults(BUILTIN_THEMES[name])
    assert {key: variables[key] for key in defaults} == defaults


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48), ("#123456", "#123456", 1.0)],
)
def test_contrast_is_that_of_wcag(one: str, other: str, ratio: float) -> None:
    assert contrast(Color.parse(one), Color.parse(other)) == pytest.approx(ratio, abs=0.01)
    assert contrast(Color.parse(other), Color.parse(one)) == pytest.approx(ratio, abs=0.01)
