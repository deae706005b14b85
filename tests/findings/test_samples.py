"""Every rule has a sample dialogue where it fires and one where it must not."""

from __future__ import annotations

import pytest
from support.samples import review

from smtpscope.findings import RULES
from smtpscope.findings.explain import Sample, samples

SAMPLES = samples()

WITHOUT_SAMPLE: dict[str, str] = {
    "auth-line-too-long": "test_an_auth_line_of_more_than_12288_octets_is_told",
    "reply-too-long": "test_a_reply_line_without_end_is_told_once",
    "tls-old-version": "test_an_old_version_is_told",
    "tls-weak-cipher": "test_a_suite_is_judged_by_its_name",
    "tls-anonymous": "test_a_suite_is_judged_by_its_name",
    "tls-no-forward-secrecy": "test_a_suite_is_judged_by_its_name",
    "tls-handshake-failed": "test_a_failed_handshake_says_who_gave_up_and_why",
    "certificate-expired": "test_an_expired_certificate_is_told_with_its_day",
    "certificate-not-yet-valid": "test_a_certificate_of_the_future_is_told",
    "certificate-self-signed": "test_a_self_signed_certificate_is_told",
    "certificate-other-name": "test_without_a_name_asked_for_the_greeting_has_the_name",
    "open-relay": "test_a_stranger_s_mail_to_a_stranger_is_an_open_relay",
    "snaplen-cut": "test_octets_that_the_snap_length_cut_are_told",
    "reassembly-bound": "test_what_waits_for_ever_is_dropped_at_the_bound",
    "tls-not-opened": "test_what_could_be_opened_and_was_not_is_told",
    "packet-comment": "test_a_comment_on_a_packet_is_shown_where_its_octets_are",
    "overlap-disagrees": "test_a_retransmission_with_other_octets_disagrees",
    "midstream": "test_a_connection_without_its_beginning_is_told",
    "many-hops": "test_more_hops_than_an_honest_way_has_are_told",
    "message-bound": "test_a_message_beyond_the_bounds_is_told_once",
    "session-bound": "test_a_session_too_long_to_be_kept_says_how_much_is_left_out",
    "retransmissions": "test_segments_that_were_sent_again_are_counted_once_a_side",
    "clock-backwards": "test_a_clock_that_goes_back_is_told_once",
    "no-time": "test_a_capture_without_times_is_told",
}
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
