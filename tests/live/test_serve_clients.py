"""Real clients and servers deliver to our server, through every kind of listener."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clients import RECIPIENT, SENDER, curl, msmtp, smtp_source, swaks
from messages import note
from processes import PATIENCE, program, run, wait_until
from servers import exim, postfix

from smtpscope.reading import read_sessions
from smtpscope.recorder import Recorder
from smtpscope.session import Session

pytestmark = pytest.mark.live

HELLO = note()

KINDS = ("smtp", "starttls", "smtps")


class Serving:
    """A running server; `ports` by the kind of listener."""

    def __init__(self, recorder: Recorder, folder: Path) -> None:
        self._recorder = recorder
        self.ports = dict(zip(KINDS, recorder.told["ports"], strict=True))
        self._new = folder / "mail" / "new"
        self.certificate = folder / "state" / "smtpscope" / "serve" / "localhost.pem"

    def messages(self, count: int) -> list[bytes]:
        """So many messages, once they are there."""
        wait_until(lambda: len(os.listdir(self._new)) >= count, f"{count} messages")
        return [path.read_bytes() for path in sorted(self._new.iterdir())]

    def sessions(self) -> list[Session]:
        """What was recorded."""
        self._recorder.stop()
        return list(read_sessions(self._recorder.path, ports=frozenset(self.ports.values())))


@contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    recorder = Recorder("serve")
    config = folder / "config.toml"
    config.write_text('auth = "any"\nexpn = "on"\n[lists]\nstaff = ["bob@example.org"]\n')
    options = {
        "config": str(config),
        "listen": [f"{kind}://127.0.0.1:0" for kind in KINDS],
        "maildir": str(folder / "mail"),
    }
    try:
        recorder.begin({"path": str(folder / "r.pcapng"), "options": options})
        yield Serving(recorder, folder)
    finally:
        recorder.stop()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with serving(tmp_path) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_swaks_delivers(kind: str, server: Serving) -> None:
    login = ("--auth", "PLAIN", "--auth-user", "ann", "--auth-password", "secret")
    options = {"smtp": (), "starttls": ("--tls", *login), "smtps": ("--tlsc", *login)}
    done = swaks(server.ports[kind], *options[kind], message=HELLO)
    assert done.returncode == 0, done.stdout.decode()
    (message,) = server.messages(1)
    # swaks adds an empty line of its own.
    assert message.endswith(HELLO.split(b"\r\n\r\n", 1)[1] + b"\r\n")


@pytest.mark.parametrize("kind", KINDS)
def test_curl_delivers(kind: str, server: Serving) -> None:
    scheme = "smtps" if kind == "smtps" else "smtp"
    options = () if kind == "smtp" else ("--ssl-reqd", "--cacert", str(server.certificate))
    curl(f"{scheme}://localhost:{server.ports[kind]}", HELLO, *options)
    (message,) = server.messages(1)
    assert message.endswith(HELLO)


@pytest.mark.parametrize("kind", KINDS)
def test_msmtp_delivers(kind: str, server: Serving) -> None:
    tls = {"tls": "on", "tls_certcheck": "off", "auth": "on", "user": "ann"}
    tls |= {"passwordeval": "echo secret", "tls_starttls": "off" if kind == "smtps" else "on"}
    done = msmtp(server.ports[kind], HELLO, {} if kind == "smtp" else tls)
    assert done.returncode == 0, done.stderr.decode()
    assert len(server.messages(1)) == 1


def test_aiosmtplib_s_client_features_work(server: Serving) -> None:
    aiosmtplib = pytest.importorskip("aiosmtplib")

    async def talk(kind: str) -> None:
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1",
            port=server.ports[kind],
            use_tls=kind == "smtps",
            start_tls=kind == "starttls",
            validate_certs=False,
            timeout=PATIENCE,
        )
        async with client:
            await client.ehlo()
            assert client.supports_extension("size")
            if kind != "smtp":
                await client.login("ann", "secret")
            await client.noop()
            assert (await client.vrfy("bob@example.org")).code == 252
            assert (await client.expn("staff")).code == 250
            assert (await client.help()).startswith("2.0.0 Commands")
            await client.mail(SENDER)
            await client.rcpt(RECIPIENT)
            await client.rset()
            errors, reply = await client.sendmail(SENDER, [RECIPIENT], HELLO)
            assert not errors
            assert "queued" in reply

    for kind in KINDS:
        asyncio.run(talk(kind))
    assert len(server.messages(3)) == 3
    assert len(server.sessions()) == 3


NODEMAILER = """
const nodemailer = require("nodemailer");
const [port, kind] = [Number(process.argv[2]), process.argv[3]];
const login = kind === "smtp" ? {} : { auth: { user: "ann", pass: "secret" } };
nodemailer
  .createTransport({ host: "127.0.0.1", port, secure: kind === "smtps",
    requireTLS: kind === "starttls", tls: { rejectUnauthorized: false }, ...login })
  .sendMail({ from: "ann@example.net", to: "bob@example.org", subject: "grüße", text: "hello",
    attachments: [{ filename: "a.bin", content: Buffer.alloc(5000, 7) }] })
  .then((info) => console.log(JSON.stringify(info)));
"""


@pytest.fixture(scope="session")
def nodemailer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nodemailer in it."""
    folder = tmp_path_factory.mktemp("node")
    if shutil.which("npm") is None:
        # Debian's npm takes longer to install than all the rest.
        pytest.skip("npm is not installed")
    npm = ["npm", "install", "--no-audit", "--no-fund", "nodemailer@6"]
    done = subprocess.run(npm, cwd=folder, capture_output=True, timeout=120)
    if done.returncode:
        # Without a network there is nothing to test.
        pytest.skip(f"npm cannot fetch nodemailer: {done.stderr.decode()[-200:]}")
    (folder / "send.js").write_text(NODEMAILER)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_nodemailer_delivers(kind: str, server: Serving, nodemailer: Path) -> None:
    command = ["node", "send.js", str(server.ports[kind]), kind]
    done = subprocess.run(command, cwd=nodemailer, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accepted"] == ["bob@example.org"]
    assert len(server.messages(1)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_postfix_relays_to_us(kind: str, server: Serving) -> None:
    onwards = {
        "relay_transport": f"smtp:[127.0.0.1]:{server.ports[kind]}",
        "relay_recipient_maps": "",
        "smtp_tls_security_level": "none" if kind == "smtp" else "encrypt",
        "smtp_tls_wrappermode": "yes" if kind == "smtps" else "no",
    }
    with postfix(settings=onwards) as relay:
        smtp_source(relay.port, "-m", "3", "-l", "3000")
        messages = server.messages(3)
    assert all(b"X-Smtpscope-From: <ann@example.net>" in message for message in messages)
    if kind == "smtp":
        assert {session.state for session in server.sessions()} <= {"quit", "closed"}


def test_exim_delivers_in_chunks(server: Serving) -> None:
    with exim(onwards=("127.0.0.1", server.ports["smtp"])) as relay:
        done = swaks(relay.port, message=HELLO)
        assert done.returncode == 0, done.stdout.decode()
        server.messages(1)
    verbs = {
        exchange.command.verb
        for session in server.sessions()
        for exchange in session.exchanges
        if exchange.command is not None
    }
    assert "BDAT" in verbs


def test_tshark_reads_what_was_said_under_tls_without_options(
    server: Serving, tmp_path: Path
) -> None:
    swaks(server.ports["starttls"], "--tls", message=HELLO)
    server.sessions()
    done = run(
        [
            *(program("tshark"), "-r", tmp_path / "r.pcapng", "-Y", "smtp.req.command"),
            *("-d", f"tcp.port=={server.ports['starttls']},smtp"),
            *("-T", "fields", "-e", "smtp.req.command"),
        ]
    )
    said = [line.decode()[:4] for line in done.stdout.split()]
    assert said == ["EHLO", "STAR", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
