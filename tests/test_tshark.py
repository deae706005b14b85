"""tshark as a witness: each command and each reply that it finds in the bundled captures is found.

It is told the SMTP ports and to put segments together. Its own state is one a packet, and it
knows a fixed list of commands, so it misses some: `UNSEEN` says which and why, capture by capture.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from smtpscope.capture.pcap import open_capture
from smtpscope.reading import read_sessions
from smtpscope.session import Session
from smtpscope.smtp.values import Command

CAPTURES = sorted((Path(__file__).parent.parent / "captures").glob("*.pcap*"))

SMTP_PORTS = (24, 25, 587)
"""Where tshark is told to find SMTP. On 465 it looks for TLS by itself, as it should."""

KEYS = "-keys.pcapng"
"""What the names of captures end with that have the secrets of their TLS."""

PSEUDO_VERBS = frozenset({".", "(auth)", "(unreadable)", ""})
"""What is no command line; tshark shows these as data."""

BEHIND_DATA = "what follows the lone dot in its packet is message data to tshark"
BESIDE_BDAT = "what shares a packet with BDAT is message data to tshark"
NOT_LISTED = "no command of tshark's list, so a line of text"
IN_AUTH = "tshark loses count of the AUTH lines when AUTH LOGIN has an initial response"

UNSEEN: dict[str, tuple[str, str]] = {
    "exim-exim-prdr.pcap": ("MAIL RCPT RCPT RCPT BDAT QUIT", BESIDE_BDAT),
    "exim-postfix-pipeline.pcap": ("QUIT", BEHIND_DATA),
    "opensmtpd-errors.pcap": ("QUIT", BEHIND_DATA),
    "postfix-bdat-zero-last.pcap": ("BDAT BDAT BDAT", BESIDE_BDAT),
    "postfix-exim-bdat.pcap": ("MAIL RCPT BDAT BDAT QUIT", BESIDE_BDAT),
    "postfix-http.pcap": ("GET", NOT_LISTED),
    "postfix-lmtp.pcap": ("QUIT", BEHIND_DATA),
    "postfix-swaks-xclient.pcap": ("XCLIENT", NOT_LISTED),
    "postfix-too-many-errors.pcap": ("XYZZY PLUGH PLOVER", NOT_LISTED),
    "postfix-typed.pcap": ("QUIT", "a bare LF ends no data for tshark"),
}
"""The verbs that tshark does not tell of, and why."""

INVENTED: dict[str, tuple[str, str]] = {
    "exim-smtplib-auth-all.pcap": ("YM9I", IN_AUTH),
}
"""The first letters of lines that tshark takes for commands and that are none, and why."""


class Asked(NamedTuple):
    """A command as tshark splits it: the line's first four letters, and the sixth octet on."""

    command: str
    parameter: str


class Said(NamedTuple):
    commands: list[Asked]
    codes: list[int]


Witness = dict[tuple[str, frozenset[int]], Said]
"""What was said in which capture, on the connection between which ports."""


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Witness:
    """What tshark finds. It starts slowly, so it reads all captures as one."""
    if shutil.which("tshark") is None or shutil.which("mergecap") is None:
        if os.environ.get("SMTPSCOPE_CI"):
            pytest.fail("tshark is not installed, and SMTPSCOPE_CI demands it")
        pytest.skip("tshark is not installed")
    joined = tmp_path_factory.mktemp("tshark") / "all.pcapng"
    subprocess.run(["mergecap", "-a", "-w", joined, *CAPTURES], check=True, timeout=60)
    sources = [capture.name for capture in CAPTURES for _ in range(_count(capture))]
    packets = [
        (sources[int(packet["frame"]["frame.number"]) - 1], packet) for packet in _dissected(joined)
    ]
    # mergecap loses secrets.
    packets = [(source, packet) for source, packet in packets if not source.endswith(KEYS)]
    packets += [
        (capture.name, packet)
        for capture in CAPTURES
        if capture.name.endswith(KEYS)
        for packet in _dissected(capture)
    ]
    found: Witness = {}
    for source, packet in packets:
        tcp = packet["tcp"]
        ports = frozenset((int(tcp["tcp.srcport"]), int(tcp["tcp.dstport"])))
        said = found.setdefault((source, ports), Said([], []))
        for tree in _trees(packet["smtp"]):
            if "smtp.req.command" in tree:
                command = tree["smtp.req.command"].upper().rstrip(" ")
                said.commands.append(Asked(command, tree.get("smtp.req.parameter", "")))
            if "smtp.response.code" in tree:
                said.codes.append(int(tree["smtp.response.code"]))
    return found


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name)
def test_commands_and_replies_are_those_that_tshark_finds(witness: Witness, capture: Path) -> None:
    theirs = {ports: said for (source, ports), said in witness.items() if source == capture.name}
    unseen, why = UNSEEN.get(capture.name, ("", "tshark does not tell of these commands"))
    invented, _ = INVENTED.get(capture.name, ("", ""))
    asked: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for session in read_sessions(capture):
        asked.update(command.verb for command in _commands(session))
        ports = frozenset((session.client.port, session.server.port))
        said = theirs.pop(ports, Said([], []))
        listed = [each for each in said.commands if each.command not in invented.split()]
        left += _not_in(listed, session)
        assert _codes(session) == said.codes
    assert left <= Counter(unseen.split()), why
    assert Counter(unseen.split()) <= asked
    assert not theirs, "tshark finds sessions that are not ours"


def test_the_tables_of_differences_are_about_captures_that_exist() -> None:
    assert {*UNSEEN, *INVENTED} <= {capture.name for capture in CAPTURES}


def _not_in(listed: list[Asked], session: Session) -> Counter[str]:
    """The verbs of our commands that are not `listed`, whose order must be ours."""
    left: Counter[str] = Counter()
    waiting = list(listed)
    for command in _commands(session):
        if waiting and _as_asked(command) == waiting[0]:
            waiting.pop(0)
        else:
            left[command.verb] += 1
    assert waiting == [], "tshark finds commands that are not ours"
    return left


def _commands(session: Session) -> Iterator[Command]:
    for exchange in session.exchanges:
        if exchange.command is not None and exchange.command.verb not in PSEUDO_VERBS:
            yield exchange.command


def _as_asked(command: Command) -> Asked:
    line = f"{command.verb} {command.argument.decode('ascii', 'replace')}".rstrip(" ")
    return Asked(line[:4].rstrip(" "), line[5:])


def _codes(session: Session) -> list[int]:
    replies = [reply for exchange in session.exchanges for reply in exchange.replies]
    replies.sort(key=lambda reply: (reply.packet, reply.span.start))
    return [reply.code for reply in replies if reply.code is not None]


def _count(capture: Path) -> int:
    with open_capture(capture) as reader:
        return sum(len(batch) for batch in reader)


def _dissected(capture: Path) -> list[dict[str, Any]]:
    command = ["tshark", "-n", "-r", str(capture), "-Y", "smtp"]
    command += ["-T", "json", "--no-duplicate-keys", "-J", "frame tcp smtp"]
    for option in ("tcp.desegment_tcp_streams", "smtp.desegment_lines", "smtp.desegment_data"):
        command += ["-o", f"{option}:TRUE"]
    for port in SMTP_PORTS:
        command += ["-d", f"tcp.port=={port},smtp"]
    command += ["-d", "tls.port==465,smtp"]
    output = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    return [packet["_source"]["layers"] for packet in json.loads(output)]


def _trees(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value, from the outside in."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _trees(each)
