"""The rules are data: every defect that the decoder can tell has one, and each is well-formed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import smtpscope
from smtpscope.findings import Severity, judge
from smtpscope.findings.rules import RULES
from smtpscope.stream import Defect, Direction, Span

SOURCE = "\n".join(path.read_text() for path in Path(smtpscope.__file__).parent.rglob("*.py"))
TOLD = set(
    re.findall(
        r'(?:Defect|_note|note|give_up|end_message)\(\s*(?:[\w\[\]. ]+,\s*)?"([a-z][a-z-]+)"',
        SOURCE,
    )
)


def test_every_defect_that_the_decoder_can_tell_has_its_rule() -> None:
    assert len(TOLD) > 30
    assert TOLD - set(RULES) == set()


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_can_be_told_by_the_decoder(rule: str) -> None:
    assert f'"{rule}"' in SOURCE.replace(f'"{rule}": Rule', "")


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_says_what_it_means_and_where_it_stands(rule: str) -> None:
    group, severity, summary, spec = RULES[rule]
    assert group in {"sequence", "syntax", "security", "delivery", "timing", "capture"}
    assert severity.upper() in Severity.__members__
    assert summary
    assert re.match(r"RFC \d+ |pcap", spec)


def test_a_finding_carries_the_defect_s_place_and_detail() -> None:
    span = Span(Direction.CLIENT, 3, 9)
    (finding,) = judge([Defect("parameter-syntax", span, "SIZE=")])
    assert finding.span == span
    assert finding.summary.endswith(": SIZE=")
    assert finding.severity is Severity.WARNING
