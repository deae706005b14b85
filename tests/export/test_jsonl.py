"""The JSON lines: bundled captures fit the schema, secrets stay hidden unless asked for."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from support.samples import review
from support.transcript import Transcript, octets, session_of

from smtpscope.export import jsonl
from smtpscope.places import bundled_captures
from smtpscope.reading import read_sessions
from smtpscope.stream import Direction

VALIDATOR = Draft202012Validator(jsonl.schema())


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(jsonl.schema())


@pytest.mark.parametrize("capture", bundled_captures(), ids=lambda path: path.name)
@pytest.mark.parametrize("reveal", [False, True], ids=["redacted", "revealed"])
def test_every_session_fits_the_schema(capture: Path, reveal: bool) -> None:
    sessions = list(read_sessions(capture))
    assert sessions
    for session in sessions:
        VALIDATOR.validate(json.loads(jsonl.dumps(session, reveal=reveal)))


def dialogue(*turns: str) -> Transcript:
    sides = {"C": Direction.CLIENT, "S": Direction.SERVER}
    transcript = Transcript("made here")
    transcript.turns = [(sides[turn[0]], octets(turn[3:]) + b"\r\n") for turn in turns]
    return transcript


def test_octets_that_are_no_text_come_as_base64_beside_their_spelling() -> None:
    session = session_of(dialogue(r"S: 220 mx\x1b[2J\xff", r"C: HELO \x00a", "S: 250 ok"))
    found = json.loads(jsonl.dumps(session))
    VALIDATOR.validate(found)
    assert found["banner"] == r"mx\x1b[2J\xff"
    assert b64decode(found["banner_base64"]) == b"mx\x1b[2J\xff"
    assert b64decode(found["helo_base64"]) == b"\0a"


def test_an_auth_secret_appears_only_when_it_is_revealed() -> None:
    session = session_of(
        dialogue("S: 220 mx", "C: AUTH PLAIN AGFubgBzM2NyM3Q=", "S: 235 ok", "C: QUIT", "S: 221 ok")
    )
    hidden = jsonl.dumps(session)
    assert "s3cr3t" not in hidden
    assert "AGFubgBzM2NyM3Q=" not in hidden
    (auth,) = json.loads(hidden)["auth"]
    assert auth == {
        "mechanism": "PLAIN",
        "identity": "ann",
        "secret": "[redacted 6 bytes]",
        "code": 235,
    }
    revealed = jsonl.dumps(session, reveal=True)
    assert "s3cr3t" in revealed
    assert "AGFubgBzM2NyM3Q=" in revealed


def test_lmtp_replies_come_for_each_recipient() -> None:
    session = session_of(
        dialogue(
            "S: 220 lmtp",
            "C: LHLO a",
            "S: 250 lmtp",
            "C: MAIL FROM:<>",
            "S: 250 ok",
            "C: RCPT TO:<b@b.test>",
            "S: 250 ok",
            "C: RCPT TO:<c@b.test>",
            "S: 250 ok",
            "C: DATA",
            "S: 354 go",
            "C: Subject: x",
            "C: ",
            "C: .",
            "S: 250 2.0.0 b",
            "S: 552 5.2.2 c",
        )
    )
    found = json.loads(jsonl.dumps(session))
    VALIDATOR.validate(found)
    assert found["lmtp"]
    (transaction,) = found["transactions"]
    assert transaction["mail_from"] == ""
    assert [each["delivery"]["code"] for each in transaction["rcpt_to"]] == [250, 552]
    assert [reply["code"] for reply in found["exchanges"][-1]["replies"]] == [250, 552]


def test_timing_is_in_seconds_with_the_server_beside_the_session() -> None:
    lines = ("S: 220 mx.test", "C: EHLO a.test", "S: 250-mx.test", "S: 250 PIPELINING",
             "C: MAIL FROM:<>", "+ 0.5", "S: 250 ok", "C: RSET", "S: 250 ok", "C: QUIT",
             "S: 221 bye")  # fmt: skip
    for number, session in enumerate(review((*lines, "----", *lines)), 1):
        found = json.loads(jsonl.dumps(session))
        VALIDATOR.validate(found)
        assert found["timing"] == {
            "round_trips": 4,
            "p50": 0.001,
            "p95": 0.501,
            "p99": 0.501,
            "server": {"p50": 0.001, "p95": 0.501, "p99": 0.501, "sessions": number},
            "pipelining_saves": {"round_trips": 2, "seconds": 0.004},
        }


def test_without_an_answer_there_are_no_percentiles() -> None:
    (session,) = review(("S: 220 mx.test", "C fin", "S fin"))
    found = json.loads(jsonl.dumps(session))
    VALIDATOR.validate(found)
    assert found["timing"]["p50"] is None
    assert found["timing"]["server"] is None


def test_a_message_comes_with_its_parts_its_files_and_its_way() -> None:
    session = session_of(
        dialogue(
            *("S: 220 mx", "C: DATA", "S: 354 go"),
            "C: Received: from b.test by c.test with ESMTP; Tue, 14 Nov 2023 22:13:25 +0000",
            "C: Received: from a.test by b.test; Tue, 14 Nov 2023 22:13:20 +0000",
            "C: DKIM-Signature: v=1; d=a.test",
            "C: Content-Type: multipart/mixed; boundary=b",
            *("C: ", "C: --b", "C: Content-Type: text/plain; charset=utf-8", "C: ", "C: Hello"),
            *("C: --b", "C: Content-Type: application/pdf", "C: Content-Transfer-Encoding: base64"),
            r"C: Content-Disposition: attachment; filename*=utf-8''%e2%82%ac.pdf",
            *("C: ", "C: JVBERi0=", "C: --b--", "C: .", "S: 250 ok"),
        )
    )
    found = json.loads(jsonl.dumps(session))
    VALIDATOR.validate(found)
    message = found["transactions"][0]["message"]
    assert [(hop["by"], hop["delay"]) for hop in message["hops"]] == [
        ("b.test", None),
        ("c.test", 5),
    ]
    assert message["authentication"] == [{"name": "DKIM-Signature", "value": "v=1; d=a.test"}]
    assert [(each["depth"], each["content_type"], each["size"]) for each in message["parts"]] == [
        (0, "multipart/mixed", 210),
        (1, "text/plain", 5),
        (1, "application/pdf", 5),
    ]
    (attachment,) = message["attachments"]
    assert (attachment["filename"], attachment["size"]) == ("€.pdf", 5)
    assert attachment["sha256"] == sha256(b"%PDF-").hexdigest()
    part = message["parts"][attachment["part"]]
    assert (part["encoding"], part["disposition"]) == ("base64", "attachment")
    assert not message["truncated"]


def test_a_session_with_many_transactions_has_them_all() -> None:
    turns = [f"C: MAIL FROM:<u{number}@a.test>" for number in range(250)]
    session = session_of(dialogue("S: 220 mx", *turns))
    found = json.loads(jsonl.dumps(session))
    VALIDATOR.validate(found)
    senders = [each["mail_from"] for each in found["transactions"]]
    assert senders == [f"u{number}@a.test" for number in range(250)]
    assert len(found["findings"]) == len(session.findings)
