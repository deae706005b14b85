"""Real clients reach real servers through the proxy: in the clear, by STARTTLS, by implicit TLS.

What the servers take they hand on to a server of ours, whose Maildir has it octet by octet.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from clients import RECIPIENT, SENDER, curl, msmtp, swaks
from messages import note
from processes import free_port, program, run, wait_until
from servers import HOSTNAME, Server, exim, postfix

from smtpscope.reading import read_sessions
from smtpscope.recorder import Recorder
from smtpscope.recorders.authority import Authority
from smtpscope.session import Session

pytestmark = pytest.mark.live

KINDS = ("smtp", "starttls", "smtps")


class Store:
    """Where everything arrives in the end."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._new = folder / "mail" / "new"

    def arrived(self, message: bytes) -> bool:
        """Whether a message is there, its header lines and its body as they were."""
        # swaks ends a message by a line of its own.
        wanted = message.rstrip(b"\r\n")
        return any(wanted in path.read_bytes() for path in self._new.iterdir())


class Proxy:
    """A running proxy; `ports` are of its listeners, in the clear and with TLS at once."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.plain, self.tls, self.upstream = (*recorder.told["ports"], 0)[:3]

    def port(self, kind: str) -> int:
        return self.tls if kind == "smtps" else self.plain

    def sessions(self) -> tuple[Path, list[Session]]:
        """End it; the recording, and what is in it."""
        self._recorder.stop()
        assert self._recorder.problem is None
        path = Path(self._recorder.path)
        return path, list(read_sessions(path, ports=frozenset((self.plain, self.tls))))


@contextmanager
def proxying(path: Path, upstream: str, **options: object) -> Iterator[Proxy]:
    recorder = Recorder("proxy")
    listen = ["smtp://127.0.0.1:0", "smtps://127.0.0.1:0"]
    try:
        recorder.begin(
            {"path": str(path), "options": {"listen": listen, "upstream": upstream, **options}}
        )
        yield Proxy(recorder)
    finally:
        recorder.stop()


@pytest.fixture
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "ca.pem"
    path.write_bytes(Authority().pem())
    # Postfix reads it as another user.
    tmp_path.chmod(0o755)
    return path


@pytest.fixture
def store(tmp_path: Path, ca: Path) -> Iterator[Store]:
    recorder = Recorder("serve")
    options = {"listen": ["smtp://127.0.0.1:0"], "maildir": str(tmp_path / "mail")}
    try:
        recorder.begin({"path": str(tmp_path / "store.pcapng"), "options": options})
        yield Store(recorder.told["ports"][0], tmp_path)
    finally:
        recorder.stop()


@contextmanager
def upstream_server(software: str, store: Store) -> Iterator[tuple[Server, Path]]:
    """A server that hands on to the store, and its certificate."""
    if software == "postfix":
        settings = {"relay_transport": f"smtp:[127.0.0.1]:{store.port}"}
        with postfix(tls=True, settings=settings) as server:
            yield server, server.directory / "certificate.pem"
    else:
        with exim(tls=True, onwards=("127.0.0.1", store.port)) as server:
            yield server, server.directory / "etc" / "certificate.pem"


# -- the clients -----------------------------------------------------------------------------------


def by_swaks(port: int, kind: str, message: bytes, ca: Path) -> None:
    trust = ("--tls-verify", f"--tls-ca-path={ca}")
    options = {"smtp": (), "starttls": ("--tls", *trust), "smtps": ("--tlsc", *trust)}
    done = swaks(port, *options[kind], host="localhost", message=message)
    assert done.returncode == 0, done.stdout.decode()


def by_curl(port: int, kind: str, message: bytes, ca: Path) -> None:
    scheme = "smtps" if kind == "smtps" else "smtp"
    options = () if kind == "smtp" else ("--ssl-reqd", "--cacert", str(ca))
    curl(f"{scheme}://localhost:{port}/client.example.net", message, *options)


def by_msmtp(port: int, kind: str, message: bytes, ca: Path) -> None:
    tls = {"tls": "on", "tls_trust_file": str(ca), "host": "localhost"}
    tls["tls_starttls"] = "off" if kind == "smtps" else "on"
    done = msmtp(port, message, {} if kind == "smtp" else tls)
    assert done.returncode == 0, done.stderr.decode()


def by_smtplib(port: int, kind: str, message: bytes, ca: Path) -> None:
    context = ssl.create_default_context(cafile=str(ca))
    client = (
        smtplib.SMTP_SSL("localhost", port, "client.example.net", context=context)
        if kind == "smtps"
        else smtplib.SMTP("localhost", port, "client.example.net")
    )
    with client:
        if kind == "starttls":
            client.starttls(context=context)
        if kind != "smtp":
            assert isinstance(client.sock, ssl.SSLSocket)
            shown = client.sock.getpeercert()
            assert shown is not None
            # The names are the server's, and ours; the issuer is our CA.
            assert ("DNS", HOSTNAME) in shown["subjectAltName"]
            assert "smtpscope" in str(shown["issuer"])
        client.sendmail(SENDER, [RECIPIENT], message)


def by_postfix(port: int, kind: str, message: bytes, ca: Path) -> None:
    onwards = {
        "relay_transport": f"smtp:[127.0.0.1]:{port}",
        "relay_recipient_maps": "",
        "smtp_tls_security_level": "none" if kind == "smtp" else "secure",
        "smtp_tls_secure_cert_match": HOSTNAME,
        "smtp_tls_CAfile": str(ca),
        "smtp_tls_wrappermode": "yes" if kind == "smtps" else "no",
    }
    with postfix(settings=onwards) as relay:
        done = swaks(relay.port, message=message)
        assert done.returncode == 0, done.stdout.decode()
        queue = relay.directory / "queue"
        # It has been handed on when the queue is empty.
        wait_until(
            lambda: (
                not any(
                    path.is_file()
                    for name in ("incoming", "active", "deferred")
                    for path in (queue / name).rglob("*")
                )
            ),
            "Postfix to deliver",
        )


CLIENTS: dict[str, Callable[[int, str, bytes, Path], None]] = {
    "swaks": by_swaks,
    "curl": by_curl,
    "msmtp": by_msmtp,
    "smtplib": by_smtplib,
    "postfix": by_postfix,
}


@pytest.mark.parametrize("software", ["postfix", "exim"])
def test_clients_deliver_through_the_proxy(
    software: str, store: Store, ca: Path, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        server, certificate = stack.enter_context(upstream_server(software, store))
        trust = {"upstream_ca": str(certificate)}
        clear = stack.enter_context(
            proxying(tmp_path / "clear.pcapng", f"smtp://localhost:{server.port}", **trust)
        )
        secure = stack.enter_context(
            proxying(tmp_path / "secure.pcapng", f"smtps://localhost:{server.tls_port}", **trust)
        )
        for name, deliver in CLIENTS.items():
            for kind in KINDS:
                message = note(subject=f"{name} by {kind}")
                proxy = secure if kind == "smtps" else clear
                deliver(proxy.port(kind), kind, message, ca)
                wait_until(lambda message=message: store.arrived(message), f"{name} by {kind}")  # type: ignore[misc]
        for proxy, count, port in (
            (clear, 2 * len(CLIENTS), server.port),
            (secure, len(CLIENTS), server.tls_port),
        ):
            path, sessions = proxy.sessions()
            assert len(sessions) == count
            assert all(session.messages for session in sessions)
            assert port is not None
            # Wireshark finds the same on both legs, and needs no option for it.
            for leg in (proxy.plain if proxy is clear else proxy.tls, port):
                compare(path, leg, sessions)


def compare(path: Path, port: int, sessions: list[Session]) -> None:
    """What tshark finds on the connections to a port has all that is in the sessions."""
    streams = by_tshark(path, port)
    assert len(streams) == len(sessions)
    # They began in the same order.
    for (client, server), session in zip(streams, sessions, strict=True):
        asked = answered = 0
        for exchange in session.exchanges:
            command = exchange.command
            if command is not None and command.verb[:1].isalpha():
                asked = client.upper().index(command.verb.encode(), asked) + len(command.verb)
            for reply in exchange.replies:
                for line in reply.lines:
                    answered = server.index(line, answered) + len(line)


def by_tshark(path: Path, port: int) -> list[tuple[bytes, bytes]]:
    """Of each connection to a port what the client and the server said, decrypted by tshark."""
    argv = [program("tshark"), "-r", str(path)]
    wanted = ["-Y", f"tcp.dstport=={port} && tcp.flags.syn==1 && tcp.flags.ack==0"]
    found = run([*argv, *wanted, "-T", "fields", "-e", "tcp.stream"]).stdout.split()
    streams = [stream.decode() for stream in found]
    # TLS would not be looked for on such ports.
    argv += ["-q", "-d", f"tcp.port=={port},smtp"]
    if "secure" in path.name:
        argv[-1] = f"tcp.port=={port},tls"
    for stream in streams:
        argv += ["-z", f"follow,tcp,raw,{stream}", "-z", f"follow,tls,raw,{stream}"]
    said = {stream: (bytearray(), bytearray()) for stream in streams}
    blocks = run(argv).stdout.decode().split("Follow: ")[1:]
    # What is under TLS comes behind what is not, as it did.
    for block in sorted(blocks, key=lambda block: block.startswith("tls")):
        head, _, rest = block.partition("Node 1: ")
        stream = head.split("tcp.stream eq ")[1].split()[0]
        from_client = not head.rstrip().endswith(f":{port}")
        for line in rest.splitlines()[1:]:
            octets = line.strip()
            if octets and not octets.startswith("="):
                first = not line.startswith("\t")
                said[stream][first != from_client].extend(bytes.fromhex(octets))
    return [(bytes(client), bytes(server)) for client, server in said.values()]


def test_a_server_whose_certificate_is_not_trusted_gets_nothing(
    store: Store, ca: Path, tmp_path: Path
) -> None:
    with upstream_server("postfix", store) as (server, _):
        upstream = f"smtp://localhost:{server.port}"
        with proxying(tmp_path / "a.pcapng", upstream) as proxy:
            with smtplib.SMTP("localhost", proxy.plain) as client:
                client.ehlo()
                code, words = client.docmd("STARTTLS")
                assert code == 454
                assert b"certificate" in words
                # Nothing goes on in the clear.
                assert client.docmd("MAIL FROM:<>")[0] == 421
            _, (session,) = proxy.sessions()
            assert not any(transaction.completed for transaction in session.transactions)
        with proxying(tmp_path / "b.pcapng", upstream, insecure_upstream=True) as proxy:
            by_smtplib(proxy.plain, "starttls", note(subject="insecure"), ca)


@pytest.mark.parametrize("kind", ["starttls", "smtps"])
def test_a_plain_client_is_led_to_a_server_with_tls(
    kind: str, store: Store, ca: Path, tmp_path: Path
) -> None:
    with upstream_server("exim", store) as (server, certificate):
        port = server.tls_port if kind == "smtps" else server.port
        upstream = f"{kind}://localhost:{port}"
        trust = {"upstream_ca": str(certificate)}
        with proxying(tmp_path / "a.pcapng", upstream, **trust) as proxy:
            message = note(subject=f"in the clear to {kind}")
            by_swaks(proxy.plain, "smtp", message, ca)
            wait_until(lambda: store.arrived(message), "the message")
            path, (session,) = proxy.sessions()
        assert session.tls is None
        compare(path, proxy.plain, [session])


def test_a_client_that_renegotiates_is_refused_and_the_next_one_served(
    store: Store, ca: Path, tmp_path: Path
) -> None:
    """As s_client does in TLS 1.2 by a line of "R": no_renegotiation (RFC 5246 §7.2)."""
    with proxying(tmp_path / "a.pcapng", f"smtp://127.0.0.1:{store.port}") as proxy:
        argv = [program("openssl"), "s_client", "-tls1_2", "-CAfile", str(ca)]
        argv += ["-connect", f"127.0.0.1:{proxy.tls}"]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            while not client.stdout.readline().startswith(b"220 "):
                assert client.poll() is None
            client.stdin.write(b"R\n")
            client.stdin.flush()
            said, _ = client.communicate(timeout=20)
        assert b"RENEGOTIATING" in said
        assert b"no renegotiation" in said
        by_swaks(proxy.tls, "smtps", note(subject="after that"), ca)
        _, sessions = proxy.sessions()
    assert [len(session.messages) for session in sessions] == [0, 1]
    wait_until(lambda: store.arrived(note(subject="after that")), "the message")


def test_certificates_are_asked_of_clients_and_shown_to_servers(
    store: Store, ca: Path, tmp_path: Path
) -> None:
    argv = [program("openssl"), "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=client"]
    argv += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    run([*argv, "-keyout", key, "-out", certificate])
    asks = {
        "relay_transport": f"smtp:[127.0.0.1]:{store.port}",
        "smtpd_tls_ask_ccert": "yes",
        "smtpd_tls_received_header": "yes",
    }
    with postfix(tls=True, settings=asks) as server:
        options = {
            "upstream_ca": str(server.directory / "certificate.pem"),
            "upstream_cert": str(certificate),
            "upstream_key": str(key),
            "client_ca": str(certificate),
        }
        upstream = f"smtp://localhost:{server.port}"
        with proxying(tmp_path / "a.pcapng", upstream, **options) as proxy:
            context = ssl.create_default_context(cafile=str(ca))
            # In TLS 1.3 a client learns only later that its certificate was refused.
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with smtplib.SMTP("localhost", proxy.plain) as client, pytest.raises(ssl.SSLError):
                client.starttls(context=context)
            context.load_cert_chain(certificate, key)
            with smtplib.SMTP("localhost", proxy.plain) as client:
                client.starttls(context=context)
                client.sendmail(SENDER, [RECIPIENT], note(subject="with a certificate"))
    wait_until(lambda: store.arrived(note(subject="with a certificate")), "the message")


def test_the_command_shows_what_it_forwards(store: Store, ca: Path, tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "smtpscope", "proxy", "--listen", f"127.0.0.1:{port}"]
    argv += ["--upstream", f"smtp://127.0.0.1:{store.port}", "-w", str(tmp_path / "a.pcapng")]
    argv += ["-a", "sessions:1", "--format", "jsonl"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: (tmp_path / "a.pcapng").exists(), "the recording")
        by_smtplib_when_there(port, ca)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    (session,) = map(json.loads, out.decode().splitlines())
    assert session["server"]["port"] == port
    assert session["transactions"][0]["completed"]


def by_smtplib_when_there(port: int, ca: Path) -> None:
    def reached() -> bool:
        try:
            by_smtplib(port, "smtp", note(), ca)
        except ConnectionError:
            return False
        return True

    wait_until(reached, "the proxy")
