"""Every rule has a sample dialogue where it fires and one where it must not."""

from __future__ import annotations

import pytest
from support.samples import review

from smtpscope.findings import RULES
from smtpscope.findings.explain import Sample, samples

SAMPLES = samples()

WITHOUT_SAMPLE: dict[str, str] = {}
"""Rules that no dialogue alone can show, and the test that shows them instead."""


def str_of(sample: Sample) -> str:
    return f"{sample.group}: {'' if sample.fires else 'not '}{sample.rule}"


@pytest.mark.parametrize("sample", SAMPLES, ids=str_of)
def test_a_sample_draws_its_finding_or_not(sample: Sample) -> None:
    assert sample.rule in RULES
    found = {finding.rule for session in review(sample.lines) for finding in session.findings}
    assert (sample.rule in found) is sample.fires, sorted(found)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_a_sample_of_each_kind(rule: str) -> None:
    kinds = {sample.fires for sample in SAMPLES if sample.rule == rule}
    assert kinds == {True, False} or rule in WITHOUT_SAMPLE


def test_a_sample_stands_in_the_file_of_its_rule_s_group() -> None:
    misplaced = [str_of(sample) for sample in SAMPLES if RULES[sample.rule][0] != sample.group]
    assert misplaced == []
