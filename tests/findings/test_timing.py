"""What samples cannot show of the rules about time: which replies count, how often they tell."""

from __future__ import annotations

from support.samples import review

from smtpscope.session import Finding

HELLO = ("S: 220 mx.example.org ESMTP", "C: EHLO a.example.net", "S: 250 mx.example.org")
QUIT = ("C: QUIT", "S: 221 2.0.0 Bye")


def findings(rule: str, *lines: str) -> list[Finding]:
    return [each for session in review(lines) for each in session.findings if each.rule == rule]


def test_a_server_s_earlier_sessions_tell_what_is_slow() -> None:
    quick = (*HELLO, *QUIT, "----")
    slow = (*HELLO, "C: NOOP", "+ 4", "S: 250 ok", *QUIT)
    (found,) = findings("slow-reply", *quick, *quick, *quick, *quick, *slow)
    assert found.summary.endswith("NOOP took 4.0 s, the median is 1 ms")
    assert findings("slow-reply", *slow) == []


def test_slow_replies_are_told_once_with_the_slowest() -> None:
    noops = [line for wait in (2, 6, 3) for line in ("C: NOOP", f"+ {wait}", "S: 250 ok")]
    fast = ["C: NOOP", "S: 250 ok"] * 5
    (found,) = findings("slow-reply", *HELLO, *noops, *fast, *QUIT)
    assert found.summary.endswith("NOOP took 6.0 s, the median is 1 ms; 2 more")


def test_a_tarpit_is_not_told_as_slow_replies_too() -> None:
    quick = (*HELLO, *QUIT, "----") * 8
    refusals = ["C: RCPT TO:<a@b.test>", "+ 2", "S: 550 no"] * 4
    lines = (*quick, *HELLO, *refusals, *QUIT)
    assert len(findings("tarpitting", *lines)) == 1
    assert findings("slow-reply", *lines) == []


def test_replies_to_one_group_of_commands_are_no_tarpit() -> None:
    hello = (*HELLO[:2], "S: 250-mx.example.org", "S: 250 PIPELINING")
    group = ["C: MAIL FROM:<>", *["C: RCPT TO:<a@b.test>"] * 5, "+ 3", *["S: 250 ok"] * 6]
    assert findings("tarpitting", *hello, *group, *QUIT) == []


def test_each_reply_that_comes_too_late_is_told() -> None:
    mail = ("C: MAIL FROM:<>", "+ 301", "S: 250 ok", "C: RCPT TO:<a@b.test>", "+ 301", "S: 250 ok")
    found = findings("timeout-crossed", *HELLO, *mail, "C: DATA", "+ 121", "S: 354 go", "C fin")
    assert [each.summary.rpartition(": ")[2] for each in found] == [
        "301 s for MAIL; 300 s are enough",
        "301 s for RCPT; 300 s are enough",
        "121 s for DATA; 120 s are enough",
    ]


def test_a_greeting_later_than_five_minutes_is_told_as_such() -> None:
    (found,) = findings("timeout-crossed", "+ 301", *HELLO, *QUIT)
    assert found.summary.endswith("301 s for the greeting; 300 s are enough")
    assert findings("late-greeting", "+ 301", *HELLO, *QUIT) == []


def test_an_idle_client_is_told_once() -> None:
    noop = ("+ 400", "C: NOOP", "S: 250 ok")
    assert len(findings("client-idle", *HELLO, *noop, *noop, *QUIT)) == 1
