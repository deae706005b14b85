"""What the screen's forms start is what the command line would start."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from smtpscope.errors import UsageError
from smtpscope.launching import launch
from smtpscope.reading import read_sessions
from smtpscope.recorder import RecorderError


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_server_is_started_as_its_command_does(tmp_path: Path) -> None:
    warnings: list[str] = []
    path = tmp_path / "a.pcapng"
    options = [("--listen", "smtp://0.0.0.0:0"), ("--write", str(path))]
    recorder = launch("serve", options, "--host 'mx.example' --hide SIZE", warnings.append)
    try:
        assert recorder.path == str(path)
        port = recorder.told["ports"][0]
        with closing(socket.create_connection(("127.0.0.1", port), 20)) as end:
            end.sendall(b"EHLO a.example\r\nQUIT\r\n")
            said = b""
            while octets := end.recv(1 << 16):
                said += octets
    finally:
        recorder.stop()
    assert said.startswith(b"220 mx.example ")
    assert b"SIZE" not in said
    (session,) = read_sessions(path, ports=frozenset({port}))
    assert session.state == "quit"
    (warning,) = warnings
    assert "smtp://0.0.0.0:0 is open to other machines" in warning


def test_a_proxy_records_into_the_state_folder_that_is_rotated(tmp_path: Path) -> None:
    upstream = ("--upstream", "smtp://127.0.0.1:1")
    recorder = launch("proxy", [upstream, ("--listen", "127.0.0.1:0")], "--legs client", print)
    recorder.stop()
    assert Path(recorder.path).parent == tmp_path / "state" / "smtpscope" / "recordings"
    assert recorder.path.endswith("-00001.pcapng")


@pytest.mark.parametrize(
    ("options", "more", "words"),
    [
        ([], "", "Missing option '--upstream'"),
        ([("--upstream", "smtp://x")], "--legs none", "'none' is not one of"),
        ([("--upstream", "smtp://x")], "'--legs", "cannot be read: no closing quotation"),
        ([("--upstream", "smtp://x")], "--upstream-cert /etc/passwd", "go together"),
        # What concerns the terminal is nothing for a screen.
        ([("--upstream", "smtp://x")], "--quiet", "No such option"),
        ([("--upstream", "smtp://x")], "--help", "No such option"),
        ([("--upstream", "smtp://x")], "--detach", "No such option"),
        ([("--upstream", "smtp://x")], "surplus", "unexpected extra argument"),
    ],
)
def test_what_the_command_would_refuse_is_refused(
    options: list[tuple[str, str]], more: str, words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        launch("proxy", options, more, print)
    assert words in str(caught.value)


def test_so_is_what_the_recorder_refuses() -> None:
    with pytest.raises(RecorderError, match="is no server"):
        launch("proxy", [("--upstream", "gopher://nowhere")], "", print)
