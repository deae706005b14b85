"""tshark reads the proxy's recordings as it finds them: on the ports that mail has, no option says
what is there or how it is decrypted."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from namespace import Namespace
from processes import program

from smtpscope.reading import read_sessions
from smtpscope.recorder import Recorder

pytestmark = pytest.mark.live

US, SERVER = "127.0.0.1", "127.0.0.2"
MESSAGE = "Subject: hello\r\n\r\nThrough the proxy.\r\n"


@contextmanager
def recording(name: str, path: Path, **options: object) -> Iterator[None]:
    recorder = Recorder(name)
    try:
        recorder.begin({"path": str(path), "options": options})
        yield
    finally:
        recorder.stop()
    assert recorder.problem is None


def test_both_legs_are_decrypted_without_options(
    namespace: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    clear, secure = tmp_path / "clear.pcapng", tmp_path / "secure.pcapng"
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    with namespace.inside(), ExitStack() as stack:
        listen = [f"starttls://{SERVER}:25", f"smtps://{SERVER}:465"]
        mail = str(tmp_path / "mail")
        stack.enter_context(
            recording("serve", tmp_path / "server.pcapng", listen=listen, maildir=mail)
        )
        for path, listener, upstream in (
            (clear, f"{US}:25", f"smtp://{SERVER}:25"),
            (secure, f"smtps://{US}:465", f"smtps://{SERVER}:465"),
        ):
            options = {"listen": [listener], "upstream": upstream, "insecure_upstream": True}
            stack.enter_context(recording("proxy", path, **options))
        for kind in ("smtp", "starttls", "smtps"):
            with (
                smtplib.SMTP_SSL(US, context=trusting) if kind == "smtps" else smtplib.SMTP(US, 25)
            ) as client:
                if kind == "starttls":
                    client.starttls(context=trusting)
                client.sendmail("ann@example.org", ["bob@example.net"], MESSAGE)
    for path, count in ((clear, 2), (secure, 1)):
        sessions = list(read_sessions(path))
        assert len(sessions) == count
        commands, codes = [], []
        for session in sessions:
            exchanges = session.exchanges
            verbs = [each.command.verb for each in exchanges if each.command is not None]
            commands.append([verb for verb in verbs if verb[:1].isalpha()])
            replies = [reply for each in exchanges for reply in each.replies]
            codes.append([str(reply.code) for reply in replies])
        assert ["STARTTLS" in each for each in commands] == [False, path is clear][:count]
        for leg in (US, SERVER):
            asked = by_tshark(path, f"smtp.req.command && ip.dst=={leg}", "smtp.req.command")
            # Of a command it has the first four letters.
            short = [[verb[:4] for verb in each] for each in commands]
            assert [[verb.upper() for verb in each] for each in asked] == short
            answered = by_tshark(path, f"smtp.response && ip.src=={leg}", "smtp.response.code")
            assert answered == codes


def by_tshark(path: Path, filter: str, field: str) -> list[list[str]]:
    """The values of a field, a list for each connection in which it is."""
    argv = [program("tshark"), "-r", str(path), "-Y", filter, "-T", "fields"]
    argv += ["-e", "tcp.stream", "-e", field, "-E", "occurrence=f"]
    lines = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        stream, value = line.split("\t")
        found.setdefault(stream, []).append(value)
    return list(found.values())
