"""What a server quotes of a secret is masked, in its replies and in whatever is made of them."""

from __future__ import annotations

from base64 import b64encode

import pytest
from support.samples import review

from smtpscope.export import jsonl, text
from smtpscope.session import Session

OPENING = ("S: 220 mx.example.org ESMTP", "C: EHLO a.example.net", "S: 250-mx", "S: 250 AUTH PLAIN")
PASSWORD = "hunter2-SECRET"
WORD = b64encode(PASSWORD.encode()).decode()
MESSAGE = b64encode(b"\0ann\0" + PASSWORD.encode()).decode()


def shown(session: Session, *, reveal: bool = False) -> str:
    return jsonl.dumps(session, reveal=reveal) + text.dumps(session, reveal=reveal)


@pytest.mark.parametrize(
    ("lines", "masked"),
    [
        # Exchange, which was not asked to wait for.
        (
            (
                *("C: AUTH LOGIN", "S: 504 5.7.4 Unrecognized authentication type"),
                *("C: YW5u", "S: 500 5.3.3 Unrecognized command 'YW5u'"),
                *(f"C: {WORD}", f"S: 500 5.3.3 Unrecognized command '{WORD}'"),
            ),
            f"command '[redacted {len(WORD)} octets]'",
        ),
        # Sendmail, of what is no base64.
        (
            (f"C: AUTH PLAIN {MESSAGE}!", f"S: 501 5.5.4 cannot decode AUTH parameter {MESSAGE}!"),
            f"parameter [redacted {len(MESSAGE) + 1} octets]",
        ),
        (
            (f"C: AUTH PLAIN {MESSAGE}", f"S: 535 5.7.8 bad {MESSAGE}"),
            f"bad [redacted {len(MESSAGE)} octets]",
        ),
        # Cut short.
        (
            (f"C: AUTH PLAIN {MESSAGE}", f'S: 500 Unknown: "AUTH PLAIN {MESSAGE[:20]}..."'),
            '"AUTH PLAIN [redacted 20 octets]..."',
        ),
        # Decoded, in a later reply.
        (
            (f"C: AUTH PLAIN {MESSAGE}", "S: 535 no", "C: NOOP", f"S: 250 ann:{PASSWORD}"),
            f"ann:[redacted {len(PASSWORD)} octets]",
        ),
    ],
)
def test_a_secret_that_a_reply_quotes_is_masked(lines: tuple[str, ...], masked: str) -> None:
    (session,) = review((*OPENING, *lines))
    hidden = shown(session)
    assert masked.replace('"', '\\"') in hidden or masked in hidden
    for secret in (PASSWORD, WORD, MESSAGE, MESSAGE[:20]):
        assert secret not in hidden
    assert any(secret in shown(session, reveal=True) for secret in (PASSWORD, WORD, MESSAGE[:20]))


def test_a_challenge_that_holds_the_secret_is_masked() -> None:
    challenge = b64encode(f"again {PASSWORD}".encode()).decode()
    lines = ("C: AUTH LOGIN YW5u", "S: 334 UGFzc3dvcmQ6", f"C: {WORD}", f"S: 334 {challenge}")
    (session,) = review((*OPENING, *lines, "C: *", "S: 501 given up"))
    hidden = shown(session)
    assert challenge not in hidden
    assert PASSWORD not in hidden
    assert challenge in shown(session, reveal=True)


def test_what_masks_a_secret_is_not_masked_again() -> None:
    logins = []
    for secret in ("[redacted", "octets]", "4 octets", "pa5S", "a5S!", WORD, WORD):
        word = b64encode(b"\0ann\0" + secret.encode()).decode()
        logins += [f"C: AUTH PLAIN {word}", "S: 535 no"]
    (session,) = review((*OPENING, *logins, "C: NOOP", f"S: 250 pa5S and pa5S!, {WORD}."))
    assert f"250 [redacted 4 octets] and [redacted 4 octets]!, [redacted {len(WORD)} octets]." in (
        shown(session)
    )


def test_a_line_of_nothing_but_secrets_is_masked_whole() -> None:
    (session,) = review((*OPENING, f"C: AUTH PLAIN {MESSAGE}", f"S: 535 {MESSAGE[:8] * 200}"))
    assert "535 [redacted 1600 octets]" in shown(session)


@pytest.mark.parametrize("password", [b"authentic", b"authentication", b"cation", b"5.7"])
def test_a_password_that_servers_say_anyhow_masks_nothing(password: bytes) -> None:
    message = b64encode(b"\0ann\0" + password).decode()
    (session,) = review(
        (*OPENING, f"C: AUTH PLAIN {message}", "S: 535 5.7.8 authentication failed")
    )
    assert "535 5.7.8 authentication failed" in shown(session)


@pytest.mark.parametrize(
    "lines",
    [
        (f"C: AUHT PLAIN {MESSAGE}",),
        (f"C: ATH PLAIN {MESSAGE}",),
        (f"C: AUTJ LOGIN {WORD}",),
        (f"C: PLAIN {MESSAGE}",),
        (f"C: {MESSAGE}",),
        # Of letters alone, which are taken for a verb.
        ("C: AGFubgBodW50ZXIy",),
        ("C: AUHT LOGIN", "S: 500 what?", f"C: {WORD}"),
        ("C: AUTH LOGIN", "S: 504 no", "C: YW5u", "S: 500 what?", f"C: {WORD}"),
        ("C: AUTH LOGIN", "S: 504 no", "C: RSET", "S: 250 ok", f"C: {WORD}"),
    ],
)
def test_a_secret_that_no_login_asked_for_is_hidden_and_so_is_its_echo(
    lines: tuple[str, ...],
) -> None:
    (session,) = review((*OPENING, *lines, f'S: 500 Unrecognized: "{lines[-1][3:]}"'))
    hidden = shown(session).upper()
    for secret in (PASSWORD, WORD, MESSAGE, "AGFubgBodW50ZXIy", "hunter2"):
        assert secret.upper() not in hidden
    word = lines[-1].split()[-1]
    assert shown(session, reveal=True).count(word) > 1


@pytest.mark.parametrize("reply", ["235 2.7.0 welcome", "535 5.7.8 no"])
def test_a_misspelt_command_behind_a_login_is_shown(reply: str) -> None:
    lines = (f"C: AUTH PLAIN {MESSAGE}", f"S: {reply}", "C: MIAL FROM:<a@b.test>", "S: 500 what?")
    (session,) = review((*OPENING, *lines))
    assert "MIAL FROM:<a@b.test>" in text.dumps(session)
    assert "auth-base64" not in {each.rule for each in session.findings}
