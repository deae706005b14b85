"""Rules as the command line explains and lists them, and the exit status for `--fail-on`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.conversation import connection
from support.packets import pcap

from smtpscope.cli import run
from smtpscope.findings import RULES

README = Path(__file__).parents[2] / "README.md"
CLEAN = [("S", b"220 mx.example.org ESMTP\r\n"), ("C", b"QUIT\r\n"), ("S", b"221 bye\r\n")]
FLAWED = [
    ("S", b"220 mx.example.org ESMTP\r\n"),
    ("C", b"MAIL FROM:ann@example.net\r\n"),
    ("S", b"250 ok\r\n"),
]


def test_a_rule_is_explained_with_its_source_and_a_sample(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["explain", "greylisting"]) == 0
    shown = capsys.readouterr().out
    assert "RFC 6647 §2" in shown
    assert "what to do" in shown
    assert "    S: 450 4.2.0 Greylisted, come again in a minute" in shown
    assert "    (60 s later)" in shown


def test_all_rules_are_listed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "--rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == set(RULES)


def test_the_rules_about_something_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "--rules", "TLS", "error"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 0 < len(lines) < len(RULES)
    assert "starttls-stripped" in [line.split()[0] for line in lines]
    assert all("tls" in line.lower() and "error" in line for line in lines)
    assert run(["explain", "--rules", "--format", "markdown", "greylisting"]) == 0
    assert "0 rules" not in capsys.readouterr().out


def test_words_that_no_rule_has_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "--rules", "frobnicate"]) == 2
    assert "no rule has “frobnicate”" in capsys.readouterr().err


def test_a_format_without_the_list_of_rules_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "--format", "jsonl", "550"]) == 2
    assert "--rules" in capsys.readouterr().err


def test_all_rules_are_listed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "--rules", "--format", "jsonl"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["rule"] for each in found} == set(RULES)
    assert set(found[0]) == {"rule", "group", "severity", "summary", "spec", "advice"}


def test_the_readme_lists_the_rules_that_the_code_has(capsys: pytest.CaptureFixture[str]) -> None:
    listed = README.read_text(encoding="utf-8").partition("<!-- rules -->\n")[2]
    assert run(["explain", "--rules", "--format", "markdown"]) == 0
    assert listed.partition("<!-- end of rules -->\n")[0] == capsys.readouterr().out


def test_the_readme_s_recipe_writes_the_list_anew(tmp_path: Path) -> None:
    if subprocess.run(["sed", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("the recipe needs GNU sed")
    lines = README.read_text(encoding="utf-8").splitlines(keepends=True)
    (recipe,) = [line for line in lines if line.startswith("    smtpscope explain --rules --f")]
    stale = tmp_path / README.name
    stale.write_text("".join(line for line in lines if not line.startswith("| `client-")))
    program = f"{sys.executable} -m smtpscope"
    command = recipe.strip().replace("smtpscope", program, 1).replace("README.md", str(stale))
    subprocess.run(["/bin/sh", "-c", command], cwd=README.parent, check=True)
    assert stale.read_text(encoding="utf-8") == "".join(lines)


def test_a_rule_that_is_nearly_named_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "bare-lff"]) == 2
    assert "bare-lf" in capsys.readouterr().err


def test_explain_without_a_word_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain"]) == 2
    assert "smtpscope explain 550" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("turns", "severity", "status"),
    [(CLEAN, "warning", 0), (FLAWED, "warning", 3), (FLAWED, "error", 0), (FLAWED, "note", 3)],
)
def test_findings_of_a_severity_fail_the_command_when_it_is_asked_to(
    turns: list[tuple[str, bytes]],
    severity: str,
    status: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capture = tmp_path / "x.pcap"
    capture.write_bytes(pcap(connection(turns)))
    assert run(["read", str(capture), "--fail-on", severity]) == status
    assert run(["read", str(capture)]) == 0
    assert capsys.readouterr().err == ""
