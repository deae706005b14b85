"""What a rule means, for people and programs: its text, its source, a sample dialogue.

The samples are the text files in `samples/`, one a group; their format is described with the tests
that play them. A sample begins with `= rule`, or `= not rule` for one where the rule is silent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from smtpscope.findings import GROUPS, RULES
from smtpscope.findings.rule import Rule
from smtpscope.reference import Entry


class Sample(NamedTuple):
    """`fires`: whether the dialogue in `lines` draws a finding by the rule."""

    group: str
    rule: str
    fires: bool
    lines: tuple[str, ...]


@cache
def samples() -> tuple[Sample, ...]:
    """Every sample of the package, in the order of its file."""
    folder = files(__package__).joinpath("samples")
    return tuple(
        sample
        for path in sorted(folder.iterdir(), key=lambda each: each.name)
        for sample in _parts(path.name.removesuffix(".txt"), path.read_text(encoding="utf-8"))
    )


def entry(rule: str) -> Entry:
    """All that is known of a rule, to be rendered as the documented table's rows are."""
    group, known = RULES[rule]
    lines = [
        ("means", _sentence(known.summary)),
        ("severity", known.severity),
        ("group", group),
        ("what to do", known.advice),
        ("source", known.spec),
    ]
    return Entry(rule, "finding", lines, True)


def dialogue(rule: str) -> Iterator[str]:
    """The lines of the first sample dialogue that draws the rule; none where there is none."""
    shown = next((each for each in samples() if each.rule == rule and each.fires), None)
    for line in shown.lines if shown is not None else ():
        if line.startswith("#"):
            yield f"({line[1:].strip()})"
        elif line.startswith("+ "):
            yield f"({line[2:]} s later)"
        elif line:
            yield line


Rules = Mapping[str, tuple[str, Rule]]
"""Rules by their ids, each with its group."""


def rules_about(words: Sequence[str]) -> Rules:
    """The rules that have every one of the words in what `listing` tells of them."""
    wanted = [word.casefold() for word in words]

    def has(name: str, group: str, rule: Rule) -> bool:
        told = "\n".join((name, group, rule.severity, rule.summary, rule.spec)).casefold()
        return all(word in told for word in wanted)

    return {name: known for name, known in RULES.items() if has(name, *known)}


def listing(rules: Rules) -> Iterator[str]:
    """Each rule in one line: id, severity, group, what it means, its source."""
    width = max(map(len, rules), default=0)
    for rule, (group, known) in sorted(rules.items(), key=lambda item: (item[1][0], item[0])):
        yield f"{rule:<{width}}  {known.severity:<7}  {group:<8}  {known.summary} ({known.spec})"


def markdown(rules: Rules) -> Iterator[str]:
    """The rules as README lists them: a table a group, folded away."""
    for group in GROUPS:
        own = [(rule, known) for rule, (of, known) in sorted(rules.items()) if of == group]
        if not own:
            continue
        yield f"<details><summary>{group}: {len(own)} rules</summary>"
        yield from ("", "| rule | severity | meaning |", "|---|---|---|")
        for rule, known in own:
            yield f"| `{rule}` | {known.severity} | {known.summary} ({known.spec}) |"
        yield from ("", "</details>", "")


def json_lines(rules: Rules) -> Iterator[str]:
    """Each rule as one JSON object."""
    for rule, (group, known) in sorted(rules.items()):
        yield json.dumps({"rule": rule, "group": group, **known._asdict()}, ensure_ascii=False)


def _parts(group: str, content: str) -> Iterator[Sample]:
    rule, fires, lines = "", True, list[str]()
    for line in [*content.splitlines(), "= "]:
        if not line.startswith("= "):
            lines.append(line)
            continue
        if rule:
            yield Sample(group, rule, fires, tuple(lines))
        rule, fires, lines = line[2:].removeprefix("not "), not line.startswith("= not "), []


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."
