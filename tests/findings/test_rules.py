"""The rules are data: every defect that the decoder can tell has one, and each is well-formed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import smtpscope
from smtpscope.findings import RULES, finding
from smtpscope.session import Severity
from smtpscope.stream import Defect, Direction, Span

SOURCE = "\n".join(
    path.read_text()
    for path in Path(smtpscope.__file__).parent.rglob("*.py")
    # What a server of ours notes is no finding.
    if "serving" not in path.parts and path.name != "responder.py"
)
TOLD = set(
    re.findall(
        r'(?:Defect|_note|note|give_up|end_message)\(\s*(?:[\w\[\]. ]+,\s*)?"([a-z][a-z-]+)"',
        SOURCE,
    )
)


def test_every_defect_that_can_be_told_has_its_rule() -> None:
    assert len(TOLD) > 30
    assert TOLD - set(RULES) == set()


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_can_be_told(rule: str) -> None:
    assert f'"{rule}"' in SOURCE.replace(f'"{rule}": Rule', "")


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_what_it_means_what_to_do_and_where_it_stands(name: str) -> None:
    _, rule = RULES[name]
    assert rule.severity.upper() in Severity.__members__
    assert rule.summary
    assert not rule.summary.endswith(".")
    assert rule.advice.endswith(".")
    assert re.match(r"RFC \d+|pcap|CVE-|IANA|M3AAWG|draft-", rule.spec)


def test_a_finding_carries_the_defect_s_place_and_detail() -> None:
    span = Span(Direction.CLIENT, 3, 9)
    found = finding(Defect("parameter-syntax", span, "SIZE="))
    assert found.span == span
    assert found.summary.endswith(": SIZE=")
    assert found.severity is Severity.WARNING
    assert found.group == "syntax"
