"""The server as its owner starts it: real clients deliver, misbehave, collect, and are recorded."""

from __future__ import annotations

import json
import mailbox
import os
import resource
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE, free_port, listens, program, wait_until

from smtpscope.errors import UsageError
from smtpscope.reading import read_sessions
from smtpscope.record_options import sessions_wanted
from smtpscope.recorder import Recorder, RecorderError
from smtpscope.recorders.queue import Queue
from smtpscope.session import Session

MESSAGE = b"Subject: hello\r\nFrom: ann@example.org\r\n\r\n.dot\r\nlast line\r\n"


class Serving:
    """A running server; `ports` in the order of its listeners."""

    def __init__(self, recorder: Recorder, folder: Path) -> None:
        self.recorder = recorder
        self.ports: list[int] = recorder.told["ports"]
        self.folder = folder

    @property
    def port(self) -> int:
        return self.ports[0]

    def messages(self) -> list[bytes]:
        """What is in the Maildir, oldest first, less the lines in front of each."""
        found = sorted((self.folder / "mail" / "new").iterdir(), key=lambda path: path.name)
        return [_without_head(path.read_bytes()) for path in found]

    def sessions(self) -> list[Session]:
        """What was recorded, after the server has ended."""
        self.recorder.stop()
        assert self.recorder.problem is None
        return list(read_sessions(self.recorder.path, ports=frozenset(self.ports)))

    def connect(self, kind: int = 0) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.ports[kind], timeout=PATIENCE)

    def talk(self) -> Talk:
        return Talk(self.port)


def _without_head(octets: bytes) -> bytes:
    lines = octets.split(b"\r\n")
    last = max(number for number, line in enumerate(lines) if line.startswith(b"X-Smtpscope-"))
    while lines[last + 1].startswith(b"\t"):
        last += 1
    return b"\r\n".join(lines[last + 1 :])


class Talk:
    """A client that says what it is told to."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._file = self.socket.makefile("rb")

    def hear(self) -> bytes:
        """The next reply, all of its lines; nothing where the server has gone."""
        said = b""
        while line := self._file.readline():
            said += line
            if line[3:4] != b"-":
                break
        return said

    def ask(self, line: bytes) -> bytes:
        self.socket.sendall(line + b"\r\n")
        return self.hear()

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@contextmanager
def serving(folder: Path, *kinds: str, **options: Any) -> Iterator[Serving]:
    """A server on ports of its own; `options` as its task has them."""
    recorder = Recorder("serve")
    task: dict[str, Any] = {
        "path": str(folder / "r.pcapng"),
        "options": {
            "listen": [f"{kind}://127.0.0.1:0" for kind in kinds or ("smtp",)],
            "maildir": str(folder / "mail"),
            "queue": str(folder / "queue"),
            **options,
        },
    }
    try:
        recorder.begin(task)
        yield Serving(recorder, folder)
    finally:
        recorder.stop()


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


# -- delivering ------------------------------------------------------------------------------------


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_a_listener_without_a_kind_offers_tls(tmp_path: Path) -> None:
    with serving(tmp_path, listen=["127.0.0.1:0"]) as server, server.connect() as client:
        client.ehlo()
        assert client.has_extn("starttls")


def test_smtplib_delivers_through_every_kind_of_listener(tmp_path: Path) -> None:
    with serving(tmp_path, "smtp", "starttls", "smtps", settings={"auth": "any"}) as server:
        with server.connect() as client:
            client.sendmail("ann@example.org", ["bob@example.net"], MESSAGE)
            assert not client.has_extn("starttls")
        with server.connect(1) as client:
            client.starttls(context=_trusting())
            client.login("ann", "secret")
            client.send_message(_mail(), "ann@example.org", ["bob@example.net", "carl@example.net"])
        port = server.ports[2]
        with smtplib.SMTP_SSL("127.0.0.1", port, context=_trusting(), timeout=PATIENCE) as client:
            client.sendmail("ann@example.org", ["bob@example.net"], MESSAGE)
        first, second, third = server.messages()
        assert first == third == MESSAGE
        assert "grüße".encode() in second
        plain, upgraded, implicit = server.sessions()
    assert plain.state == "quit"
    assert plain.messages[0].size == len(MESSAGE)
    assert (upgraded.tls_mode, implicit.tls_mode) == ("starttls", "implicit")


def _mail() -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "hello"
    message.set_content("grüße", cte="8bit")
    return message


def test_the_maildir_is_one_for_the_standard_library_and_has_the_envelope(tmp_path: Path) -> None:
    with serving(tmp_path) as server, server.connect() as client:
        client.sendmail("ann@example.org", ["bob@example.net", "carl@example.net"], MESSAGE)
    with closing(mailbox.Maildir(tmp_path / "mail", create=False)) as box:
        (message,) = box
    assert message["Return-Path"] == "<ann@example.org>"
    assert message.get_all("X-Smtpscope-To") == ["<bob@example.net>", "<carl@example.net>"]
    assert message["Subject"] == "hello"
    assert (tmp_path / "mail").stat().st_mode & 0o777 == 0o700
    (path,) = (tmp_path / "mail" / "new").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_chunks_and_binary_messages_are_kept_octet_by_octet(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        talk = server.talk()
        talk.hear()
        assert b"BINARYMIME" in talk.ask(b"EHLO client.example")
        talk.ask(b"MAIL FROM:<> BODY=BINARYMIME")
        talk.ask(b"RCPT TO:<bob@example.net>")
        talk.socket.sendall(b"BDAT 8\r\nA: b\n\n\0\xff")
        assert talk.hear().startswith(b"250")
        talk.socket.sendall(b"BDAT 4 LAST\r\n.\r\n.")
        assert talk.hear().startswith(b"250")
        talk.close()
        assert server.messages() == [b"A: b\n\n\0\xff.\r\n."]


def test_lmtp_answers_for_every_recipient(tmp_path: Path) -> None:
    with serving(tmp_path, settings={"lmtp": True}) as server:
        with smtplib.LMTP("127.0.0.1", server.port) as client:
            client.sendmail("a@example.org", ["b@example.net"], MESSAGE)
        talk = server.talk()
        talk.hear()
        talk.ask(b"LHLO client.example")
        for line in (b"MAIL FROM:<>", b"RCPT TO:<b@example.net>", b"RCPT TO:<c@example.net>"):
            assert talk.ask(line).startswith(b"250")
        talk.ask(b"DATA")
        assert b"<b@example.net>" in talk.ask(MESSAGE + b".")
        assert b"<c@example.net>" in talk.hear()
        talk.ask(b"QUIT")
        talk.close()
        _, session = server.sessions()
    assert session.lmtp
    assert len(session.exchanges[-2].replies) == 2


def test_who_is_killed_has_what_it_acknowledged(tmp_path: Path) -> None:
    """SMTPSCOPE_KILLS=20 does it more often than there is time for in every run."""
    source = program("smtp-source")
    for turn in range(int(os.environ.get("SMTPSCOPE_KILLS", "4"))):
        folder = tmp_path / str(turn)
        folder.mkdir()
        with serving(folder) as server:
            command = [source, "-s", "10", "-m", "3000", f"127.0.0.1:{server.port}"]
            load = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            new = folder / "mail" / "new"
            _wait_for_mail(folder, 100 + 50 * (turn % 8))
            os.kill(server.recorder.pid, signal.SIGKILL)
            load.kill()
            load.wait()
            server.recorder.stop()
            ports = frozenset(server.ports)
            acknowledged = 0
            for session in read_sessions(server.recorder.path, ports=ports):
                for transaction in session.transactions:
                    if transaction.completed and transaction.reply is not None:
                        name = transaction.reply.lines[0].rsplit(b" ", 1)[1].decode()
                        octets = _without_head((new / name).read_bytes())
                        message = session.messages[0]
                        assert len(octets) == message.size
                        acknowledged += 1
            assert acknowledged > 50


def _wait_for_mail(folder: Path, count: int) -> None:
    wait_until(lambda: len(os.listdir(folder / "mail" / "new")) > count, "mail")


# -- TURN, ATRN, ETRN ------------------------------------------------------------------------------


def _collect(talk: Talk, refuse: bytes = b"") -> list[bytes]:
    """Be the server for a while; the messages that came."""
    talk.socket.sendall(b"220 collector.example ESMTP\r\n")
    messages: list[bytes] = []
    while line := talk._file.readline():
        if line.startswith(b"DATA"):
            talk.socket.sendall(b"354 go\r\n")
            message = b""
            while (line := talk._file.readline()) != b".\r\n":
                message += line
            messages.append(message)
            talk.socket.sendall(b"250 2.0.0 taken\r\n")
        elif line.startswith(b"QUIT"):
            talk.socket.sendall(b"221 bye\r\n")
            break
        elif refuse and refuse in line:
            talk.socket.sendall(b"550 5.1.1 no\r\n")
        else:
            talk.socket.sendall(b"250 ok\r\n")
    return messages


def _queue(folder: Path, host: str, *recipients: str) -> None:
    import io

    queue = Queue(folder / "queue")
    for recipient in recipients:
        queue.add(host, "ann@example.org", [recipient], io.BytesIO(b"Subject: q\n\n.hidden\n"))


def test_turn_swaps_the_roles_and_what_was_taken_leaves_the_queue(tmp_path: Path) -> None:
    _queue(tmp_path, "branch.example", "bob@branch.example", "no@branch.example")
    _queue(tmp_path, "other.example", "x@other.example")
    with serving(tmp_path, settings={"turn": "insecure"}) as server:
        talk = server.talk()
        talk.hear()
        talk.ask(b"EHLO branch.example")
        assert talk.ask(b"TURN").startswith(b"250")
        assert _collect(talk, refuse=b"no@") == [b"Subject: q\r\n\r\n..hidden\r\n"]
        assert talk.hear() == b""
        talk.close()
        waiting = Queue(tmp_path / "queue").waiting()
        (session,) = server.sessions()
    assert sorted(each.host for each in waiting) == ["branch.example", "other.example"]
    assert waiting[0].recipients != ("bob@branch.example",)
    verbs = [each.command.verb for each in session.exchanges if each.command is not None]
    assert verbs[:2] == ["EHLO", "TURN"]
    assert "MAIL" in verbs[2:]


@pytest.mark.parametrize(
    ("auth", "login", "asked", "answer"),
    [
        ("users", b"ann@branch.example", b"ATRN branch.example", b"250"),
        ("users", b"ann@branch.example", b"ATRN", b"250"),
        ("users", b"branch.example", b"ATRN", b"250"),
        ("users", b"ann@branch.example", b"ATRN Branch.example,other.example", b"450 4.7.1"),
        ("users", b"eve@other.example", b"ATRN branch.example", b"450 4.7.1"),
        ("users", b"eve@other.example", b"TURN", b"502"),
        ("users", b"ann@branch.example", b"TURN", b"250"),
        ("any", b"eve", b"ATRN branch.example", b"250"),
        ("any", b"eve", b"TURN", b"250"),
    ],
)
def test_a_user_collects_what_waits_for_the_own_domain_and_no_other(
    auth: str, login: bytes, asked: bytes, answer: bytes, tmp_path: Path
) -> None:
    """RFC 2645 §5.1."""
    _queue(tmp_path, "branch.example", "bob@branch.example")
    config = tmp_path / "c.toml"
    names = ("ann@branch.example", "branch.example", "eve@other.example")
    config.write_text(
        f'auth = "{auth}"\nauth_allow_insecure = true\nturn = "auth"\natrn = true\n[passwords]\n'
        + "".join(f'"{name}" = "secret"\n' for name in names)
    )
    with serving(tmp_path, config=str(config)) as server:
        talk = server.talk()
        talk.hear()
        talk.ask(b"EHLO branch.example")
        assert talk.ask(b"AUTH PLAIN " + b64encode(b"\0%b\0secret" % login)).startswith(b"235")
        assert talk.ask(asked).startswith(answer)
        if answer == b"250":
            assert len(_collect(talk)) == 1
        else:
            assert talk.ask(b"NOOP").startswith(b"250")
        talk.close()


def test_turn_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        talk = server.talk()
        talk.hear()
        talk.ask(b"EHLO branch.example")
        assert talk.ask(b"TURN").startswith(b"502")
        talk.close()


def test_a_client_that_goes_away_in_the_middle_leaves_the_queue_as_it_is(tmp_path: Path) -> None:
    _queue(tmp_path, "branch.example", "bob@branch.example")
    with serving(tmp_path, settings={"turn": "insecure"}) as server:
        for _ in range(2):
            talk = server.talk()
            talk.hear()
            talk.ask(b"EHLO branch.example")
            talk.ask(b"TURN")
            talk.socket.sendall(b"220 collector\r\n")
            assert talk._file.readline().startswith(b"EHLO")
            talk.close()
        wait_until(lambda: len(Queue(tmp_path / "queue").waiting()) == 1, "the queue")


def test_etrn_delivers_to_the_host_of_the_configuration(tmp_path: Path) -> None:
    _queue(tmp_path, "node.example", "bob@node.example")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        config = tmp_path / "c.toml"
        config.write_text(f'[etrn_hosts]\n"node.example" = "127.0.0.1:{port}"\n')
        with serving(tmp_path, config=str(config)) as server:
            talk = server.talk()
            talk.hear()
            talk.ask(b"EHLO client.example")
            assert talk.ask(b"ETRN elsewhere.example").startswith(b"459")
            assert talk.ask(b"ETRN node.example").startswith(b"253")
            _accept(listener, 1)
            wait_until(lambda: not Queue(tmp_path / "queue").waiting(), "the queue")
            assert talk.ask(b"ETRN node.example").startswith(b"251")
            talk.close()


def test_etrn_for_a_domain_delivers_what_is_below_it_too(tmp_path: Path) -> None:
    """RFC 1985 §5.3."""
    _queue(tmp_path, "node.example", "a@node.example")
    _queue(tmp_path, "Sub.node.example", "b@sub.node.example", "c@sub.node.example")
    _queue(tmp_path, "own.node.example", "d@own.node.example")
    _queue(tmp_path, "othernode.example", "e@othernode.example")
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as listener,
        closing(socket.create_server(("127.0.0.1", 0))) as other,
    ):
        config = tmp_path / "c.toml"
        config.write_text(
            f'[etrn_hosts]\n"node.example" = "127.0.0.1:{listener.getsockname()[1]}"\n'
            f'"own.node.example" = "127.0.0.1:{other.getsockname()[1]}"\n'
        )
        with serving(tmp_path, config=str(config)) as server:
            talk = server.talk()
            talk.hear()
            talk.ask(b"EHLO client.example")
            assert talk.ask(b"ETRN @elsewhere.example").startswith(b"459")
            assert talk.ask(b"ETRN @example").startswith(b"253 2.0.0 Ok, 2 pending")
            _accept(listener, 1)
            _accept(other, 1)
            assert talk.ask(b"ETRN @node.example").startswith(b"253 2.0.0 Ok, 2 pending")
            _accept(listener, 2)
            assert talk.ask(b"ETRN #node.example").startswith(b"251")
            talk.close()
    assert [each.host for each in Queue(tmp_path / "queue").waiting()] == ["othernode.example"]


def _accept(listener: socket.socket, messages: int) -> None:
    """Be the host that takes so many messages."""
    listener.settimeout(PATIENCE)
    collector = Talk.__new__(Talk)
    collector.socket, _ = listener.accept()
    collector._file = collector.socket.makefile("rb")
    assert len(_collect(collector)) == messages
    assert collector.hear() == b""
    collector.close()


# -- limits and faults -----------------------------------------------------------------------------


def test_too_many_connections_are_told_to_come_again(tmp_path: Path) -> None:
    with serving(tmp_path, limits={"connections": 2}) as server:
        talks = [server.talk() for _ in range(3)]
        assert [talk.hear()[:3] for talk in talks] == [b"220", b"220", b"421"]
        for talk in talks:
            talk.close()
        wait_until(lambda: _greeting(server.port) == b"220", "room")


def _greeting(port: int) -> bytes:
    talk = Talk(port)
    try:
        return talk.hear()[:3]
    finally:
        talk.close()


def test_who_says_nothing_or_drips_is_sent_away(tmp_path: Path) -> None:
    with serving(tmp_path, limits={"idle": 1.0}) as server:
        silent, dripping = server.talk(), server.talk()
        assert silent.hear()[:3] == dripping.hear()[:3] == b"220"
        wait_until(lambda: not _drips(dripping), "the dripping client to be sent away")
        assert silent.hear().startswith(b"421 4.4.2")
        assert _greeting(server.port) == b"220"


def _drips(talk: Talk) -> bool:
    try:
        talk.socket.sendall(b"E")
    except OSError:
        return False
    return True


def test_faults_fire_and_stand_in_the_recording(tmp_path: Path) -> None:
    faults = tmp_path / "f.toml"
    faults.write_text(
        '[[fault]]\nname = "once"\non = "RCPT"\nnth = 1\nact = "reply"\ncode = 450\n'
        '[[fault]]\non = "VRFY"\nact = "partial"\noctets = 2\n'
        '[[fault]]\non = "NOOP"\nact = "delay"\nseconds = 0.2\n'
    )
    with serving(tmp_path, faults=str(faults)) as server:
        talk = server.talk()
        talk.hear()
        talk.ask(b"EHLO a.example")
        talk.ask(b"MAIL FROM:<>")
        assert talk.ask(b"RCPT TO:<b@example.net>").startswith(b"450")
        assert talk.ask(b"RCPT TO:<b@example.net>").startswith(b"250")
        began = time.monotonic()
        assert talk.ask(b"NOOP").startswith(b"250")
        assert time.monotonic() - began > 0.15
        assert talk.ask(b"VRFY x") == b"25"
        talk.close()
        (session,) = server.sessions()
    told = [each.summary for each in session.findings if each.rule == "packet-comment"]
    assert any("once" in each for each in told)


@pytest.mark.parametrize("fault", ['act = "delay"\nseconds = 0.5', 'act = "throttle"\nrate = 40'])
def test_what_is_said_while_the_answer_to_starttls_is_late_is_thrown_away(
    fault: str, tmp_path: Path
) -> None:
    """RFC 3207 §4.2: nothing that came in the clear counts under TLS."""
    faults = tmp_path / "f.toml"
    faults.write_text(f'[[fault]]\non = "STARTTLS"\n{fault}\n')
    with serving(tmp_path, "starttls", faults=str(faults)) as server:
        talk = server.talk()
        talk.hear()
        talk.ask(b"EHLO a.example")
        talk.socket.sendall(b"STARTTLS\r\n")
        time.sleep(0.1)
        talk.socket.sendall(b"EHLO injected\r\nMAIL FROM:<injected@example.org>\r\n")
        assert talk.hear().startswith(b"220")
        with _trusting().wrap_socket(talk.socket) as client:
            client.sendall(b"NOOP\r\nRCPT TO:<bob@example.net>\r\nQUIT\r\n")
            said = b""
            while octets := client.recv(1 << 16):
                said += octets
        assert [line[:3] for line in said.splitlines()] == [b"250", b"503", b"221"]
        (session,) = server.sessions()
    told = [each.summary for each in session.findings if each.rule == "packet-comment"]
    assert any("plaintext-discarded" in each for each in told), told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"listen": ["smtp://127.0.0.1"]}, "smtp://127.0.0.1:1025"),
        ({"listen": ["smtp://127.0.0.1:1"], "config": "c"}, "line 2, max_size: must be a number"),
        ({"listen": ["smtp://192.0.2.77:2525"]}, "cannot be listened on"),
        ({"settings": {"vrfy": "maybe"}}, "vrfy"),
        *(
            ({"settings": {"host": host}}, "host: must be 1 to 255 visible ASCII characters")
            for host in ("b\u00fccher.example", "", "mx.example\r\n250 x", "a b", "x" * 400)
        ),
        ({"settings": {"hide": ["NOSUCH"]}}, "--hide: 'NOSUCH' is not known"),
        ({"settings": {"hide": ["pipelinin"]}}, "did you mean PIPELINING?"),
        ({"certificate": ["none.pem", "none.key"]}, "none.pem"),
    ],
)
def test_what_cannot_be_served_is_told(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    if options.get("config"):
        options["config"] = str(tmp_path / "c.toml")
        (tmp_path / "c.toml").write_text('host = "x"\nmax_size = "much"\n')
    with pytest.raises(RecorderError) as caught, serving(tmp_path, **options):
        pass
    assert words in str(caught.value)
    assert caught.value.exit_status in ((2,) if "settings" in options else (1, 2))


def test_tls_is_closed_in_good_order(tmp_path: Path) -> None:
    """With close_notify, so that no end is taken for a cut (RFC 8446 §6.1)."""
    with (
        serving(tmp_path, "smtps") as server,
        socket.create_connection(("127.0.0.1", server.ports[0]), PATIENCE) as end,
        _trusting().wrap_socket(end, suppress_ragged_eofs=False) as client,
    ):
        client.sendall(b"QUIT\r\n")
        said = b""
        while octets := client.recv(1 << 16):
            said += octets
        assert said.endswith(b"closing connection\r\n"), said


def test_garbage_of_every_kind_is_survived(tmp_path: Path) -> None:
    import random

    chance = random.Random(6)
    words = [b"EHLO a\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b>\r\n", b"DATA\r\n", b".\r\n"]
    words += [
        b"BDAT 5\r\n",
        b"AUTH PLAIN\r\n",
        b"STARTTLS\r\n",
        b"\0\xff\n",
        b"TURN\r\n",
        b"x" * 3_000,
    ]
    with serving(tmp_path, "starttls", "smtps", settings={"turn": "insecure"}) as server:
        for number in range(300):
            port = server.ports[number % 2]
            with closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) as link:
                said = b"".join(chance.choices(words, k=chance.randrange(1, 12)))
                if number % 3 == 0:
                    said = chance.randbytes(200)
                link.sendall(said)
                if number % 5 == 0:
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert _greeting(server.ports[0]) == b"220"
        assert server.sessions()


SAMPLE = (
    (b"", b"220 Postini ESMTP 235 y6_19_2c0 ready."),
    (
        b"EHLO adminsky.org",
        b"250-Postini says hello back\r\n250-STARTTLS\r\n250-8BITMIME\r\n250 HELP",
    ),
    (b"MAIL FROM:test@adminsky.org", b"250 Ok"),
    (b"RCPT TO:test@adminsky.org", b"250 Ok"),
    (b"RSET", b"250 Ok"),
    (b"QUIT", b"221 Catch you later"),
)
PERSONA = """
host = "Postini"
extensions = ["STARTTLS", "8BITMIME", "HELP"]
tolerate = ["path-without-brackets"]
[replies]
greeting = { code = 220, text = "{host} ESMTP 235 y6_19_2c0 ready." }
ehlo = "{host} says hello back"
mail = { enhanced = "", text = "Ok" }
rcpt = { enhanced = "", text = "Ok" }
rset = { enhanced = "", text = "Ok" }
quit = { enhanced = "", text = "Catch you later" }
"""


def test_a_persona_says_what_another_server_said_octet_by_octet(tmp_path: Path) -> None:
    persona = tmp_path / "p.toml"
    persona.write_text(PERSONA)
    with serving(tmp_path, "starttls", persona=str(persona)) as server:
        talk = server.talk()
        for asked, answer in SAMPLE:
            assert (talk.ask(asked) if asked else talk.hear()) == answer + b"\r\n"
        talk.close()


# -- the end ---------------------------------------------------------------------------------------


def test_the_server_says_goodbye_to_those_who_are_there(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        talk = server.talk()
        talk.hear()
        talk.ask(b"EHLO a.example")
        server.recorder.ask_to_end()
        assert talk.hear().startswith(b"421 4.3.2")
        assert talk.hear() == b""
        talk.close()


def test_a_recording_that_cannot_go_on_ends_all_at_once_and_nothing_is_acknowledged(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as server:
        talk = server.talk()
        talk.hear()
        for line in (b"EHLO a.example", b"MAIL FROM:<>", b"RCPT TO:<b@example.net>", b"DATA"):
            talk.ask(line)
        limit = (tmp_path / "r.pcapng").stat().st_size + 1_000
        resource.prlimit(server.recorder.pid, resource.RLIMIT_FSIZE, (limit, limit))
        began = time.monotonic()
        assert talk.ask(b"line\r\n" * 500 + b".") == b""
        wait_until(lambda: not server.recorder.alive, "the end")
        assert time.monotonic() - began < 8
        assert "may not become larger" in str(server.recorder.problem)
        assert server.messages() == []
        assert not list((tmp_path / "mail" / "tmp").iterdir())
        talk.close()


def test_the_last_message_counts_though_its_client_has_gone(tmp_path: Path) -> None:
    with serving(tmp_path, exit_after=1) as server:
        talk = server.talk()
        talk.hear()
        for line in (b"EHLO a.example", b"MAIL FROM:<>", b"RCPT TO:<b@example.net>", b"DATA"):
            talk.ask(line)
        talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        talk.socket.sendall(MESSAGE + b".\r\n")
        talk.close()
        wait_until(lambda: not server.recorder.alive, "the end")
        assert len(server.messages()) == 1
        assert server.recorder.told["ended"] == "messages"


def _command(folder: Path, port: int, *options: str) -> subprocess.Popen[str]:
    """The command that prints one object a session, when it listens."""
    command = [
        *(sys.executable, "-m", "smtpscope", "serve", "--listen", f"smtp://127.0.0.1:{port}"),
        *("--maildir", str(folder / "m"), "--format", "jsonl", *options),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert f"smtp://127.0.0.1:{port}" in process.stderr.readline()
    return process


def test_the_command_serves_until_enough_messages_came(tmp_path: Path) -> None:
    port = free_port()
    process = _command(tmp_path, port, "--exit-after", "2")
    for _ in range(2):
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("a@example.org", ["b@example.net"], MESSAGE)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    sessions: list[Mapping[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert [each["state"] for each in sessions] == ["quit", "quit"]
    assert len(list((tmp_path / "m" / "new").iterdir())) == 2


def test_what_a_file_had_before_counts_for_nothing_and_is_not_shown(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        talk = server.talk()
        talk.hear()
        assert talk.ask(b"EHLO early.example").startswith(b"250")
        assert talk.ask(b"WRONG").startswith(b"500")
        talk.ask(b"QUIT")
        talk.close()
    write = str(tmp_path / "r.pcapng")
    port = free_port()
    process = _command(tmp_path, port, "-w", write, "-a", "sessions:1", "--fail-on", "warning")
    with smtplib.SMTP("127.0.0.1", port, "late.example") as client:
        client.ehlo()
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    (session,) = map(json.loads, out.splitlines())
    assert (session["number"], session["helo"]) == (1, "late.example")
    assert len(list(read_sessions(write, ports=frozenset({port, server.port})))) == 2


@pytest.mark.parametrize("keep", [2, 50])
def test_the_last_words_name_the_files_that_are_there(keep: int, tmp_path: Path) -> None:
    port = free_port()
    rotated = ("-w", str(tmp_path / "r.pcapng"), "--rotate", "4k", "--keep", str(keep))
    process = _command(tmp_path, port, *rotated, "--exit-after", "8")
    for _ in range(8):
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("a@example.org", ["b@example.net"], MESSAGE)
    _, err = process.communicate(timeout=PATIENCE)
    files = sorted(tmp_path.glob("r-*.pcapng"))
    assert (files[0].name == "r-00001.pcapng") is (keep == 50)
    assert f" in {files[0]} to {files[-1].name}\n" in err
    assert ("the newest are" in err) is (keep == 2)


def test_who_is_quiet_counts_all_the_same(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "smtpscope", "serve", "--listen", f"smtp://127.0.0.1:{port}"]
    command += ["--maildir", str(tmp_path / "m"), "--quiet", "-a", "sessions:2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: listens(port), "the server")
    for _ in range(2):
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.ehlo()
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("command", ["serve", "sniff", "proxy"])
def test_nobody_would_count_the_sessions(command: str) -> None:
    upstream = ("--upstream", "smtp://127.0.0.1:1") if command == "proxy" else ()
    arguments = [sys.executable, "-m", "smtpscope", command, *upstream, "-a", "sessions:1"]
    done = subprocess.run([*arguments, "--detach"], capture_output=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert b"leave --detach out" in done.stderr


def test_the_screen_does_not_count_sessions() -> None:
    assert sessions_wanted({"sessions": 3}, detach=False, screen=False) == 3
    with pytest.raises(UsageError, match="--no-tui"):
        sessions_wanted({"sessions": 3}, detach=False, screen=True)
