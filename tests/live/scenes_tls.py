"""Scenes of TLS: STARTTLS and TLS from the first octet, with and without the keys."""

from __future__ import annotations

import smtplib
import ssl
from pathlib import Path

import messages
from clients import HELO, RECIPIENT, SENDER, conversation, curl, msmtp, swaks
from processes import program, run
from recording import recording
from scenes import SMTP, SMTPS, SUBMISSION, scene
from servers import PASSWORDS, exim, postfix, workspace
from typed import Typed, s_client, s_server


@scene(
    "postfix-swaks-starttls.pcap",
    "swaks to Postfix",
    "STARTTLS (TLS 1.3) with a self-signed certificate, no keys",
)
def _(path: Path) -> None:
    with postfix(port=SMTP, tls=True), recording(path, SMTP):
        swaks(SMTP, "--tls", message=messages.note())


@scene(
    "postfix-curl-starttls-keys.pcapng",
    "curl to Postfix; the session's secrets were added with editcap",
    "STARTTLS (TLS 1.3) that can be decrypted: a Decryption Secrets Block has the keys",
)
def _(path: Path) -> None:
    with workspace() as directory:
        keys, sealed = directory / "keys", directory / "sealed.pcap"
        with postfix(port=SUBMISSION, tls=True), recording(sealed, SUBMISSION):
            curl(
                f"smtp://127.0.0.1:{SUBMISSION}/{HELO}",
                messages.note(),
                "--ssl-reqd",
                "--insecure",
                env={"SSLKEYLOGFILE": str(keys)},
            )
        _inject(keys, sealed, path)


@scene(
    "postfix-smtplib-smtps-keys.pcapng",
    "Python's smtplib to Postfix; the session's secrets were added with editcap",
    "TLS 1.2 from the first octet (smtps), with its keys in a Decryption Secrets Block",
)
def _(path: Path) -> None:
    with workspace() as directory:
        keys, sealed = directory / "keys", directory / "sealed.pcap"
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.keylog_filename = str(keys)
        with (
            postfix(port=SMTP, tls_port=SMTPS, tls=True),
            recording(sealed, SMTPS),
            smtplib.SMTP_SSL("127.0.0.1", SMTPS, HELO, context=context) as client,
        ):
            client.sendmail(SENDER, RECIPIENT, messages.note())
        _inject(keys, sealed, path)


@scene(
    "exim-curl-smtps-keys.pcapng",
    "curl to Exim; the session's secrets were added with editcap",
    "TLS 1.3 (ChaCha20) from the first octet, AUTH PLAIN inside, with its keys",
)
def _(path: Path) -> None:
    login = ["--user", f"ann:{PASSWORDS['ann']}", "--login-options", "AUTH=PLAIN"]
    cipher = ["--insecure", "--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"]
    with workspace() as directory:
        keys, sealed = directory / "keys", directory / "sealed.pcap"
        with exim(port=SMTP, tls_port=SMTPS, tls=True), recording(sealed, SMTPS):
            curl(
                f"smtps://127.0.0.1:{SMTPS}/{HELO}",
                messages.note(),
                *login,
                *cipher,
                env={"SSLKEYLOGFILE": str(keys)},
            )
        _inject(keys, sealed, path)


def _inject(keys: Path, sealed: Path, path: Path) -> None:
    secrets = f"tls,{keys}"
    run([program("editcap"), "-F", "pcapng", "--inject-secrets", secrets, sealed, path])


@scene(
    "exim-msmtp-smtps.pcap",
    "msmtp (GnuTLS) to Exim (GnuTLS)",
    "TLS from the first octet with AUTH inside, no keys",
)
def _(path: Path) -> None:
    settings = {"auth": "plain", "user": "ann", "password": PASSWORDS["ann"], "tls": "on"}
    settings |= {"tls_starttls": "off", "tls_certcheck": "off"}
    with exim(port=SMTP, tls_port=SMTPS, tls=True), recording(path, SMTPS):
        msmtp(SMTPS, messages.note(), settings)


@scene(
    "exim-swaks-starttls-refused.pcap",
    "swaks to Exim",
    "The client wants STARTTLS and the server doesn't offer it: QUIT",
)
def _(path: Path) -> None:
    with exim(port=SMTP), recording(path, SMTP):
        swaks(SMTP, "--tls", message=messages.note())


@scene(
    "postfix-starttls-injection.pcap",
    "Python socket to Postfix",
    "A command in clear text behind STARTTLS, in the same segment; Postfix throws it away",
)
def _(path: Path) -> None:
    with (
        postfix(port=SMTP, tls=True),
        recording(path, SMTP),
        conversation(SMTP) as client,
    ):
        client.expect(220)
        client.ask(f"EHLO {HELO}".encode(), 250)
        client.send(b"STARTTLS\r\nMAIL FROM:<eve@example.net>\r\n")
        client.expect(220)
        client.start_tls()
        client.ask(f"EHLO {HELO}".encode(), 250)
        client.ask(b"RCPT TO:<bob@example.org>", 503)
        client.ask(b"QUIT", 221)


@scene(
    "openssl-key-update-keys.pcapng",
    "OpenSSL's s_client to its s_server, typed; the session's secrets were added with editcap",
    "TLS 1.3 from the first octet; both sides change their keys in the middle (KeyUpdate)",
)
def _(path: Path) -> None:
    with workspace() as directory:
        sealed = directory / "sealed.pcap"
        with (
            s_server(directory, SMTPS) as server,
            recording(sealed, SMTPS),
            s_client(directory, SMTPS, "-tls1_3") as client,
        ):
            _greet(server, client)
            # K wants the other side to do the same, k does not.
            client.command("K", "KEYUPDATE")
            _ask(client, server, f"mail from:<{SENDER}>", "250 2.1.0 sender ok")
            server.command("k")
            _ask(client, server, f"rcpt to:<{RECIPIENT}>", "250 2.1.5 recipient ok")
            _ask(client, server, "rset", "250 2.0.0 flushed")
            _ask(client, server, "quit", "221 2.0.0 bye")
        _inject(server.keys, sealed, path)


@scene(
    "openssl-renegotiation-keys.pcapng",
    "OpenSSL's s_client to its s_server, typed; the session's secrets were added with editcap",
    "TLS 1.2 with AES in CBC mode and SHA-256; the client renegotiates before the envelope",
)
def _(path: Path) -> None:
    suite = ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256")
    with workspace() as directory:
        sealed = directory / "sealed.pcap"
        with (
            s_server(directory, SMTPS, "-client_renegotiation") as server,
            recording(sealed, SMTPS),
            s_client(directory, SMTPS, *suite) as client,
        ):
            _greet(server, client)
            client.command("R", "RENEGOTIATING")
            _ask(client, server, f"mail from:<{SENDER}>", "250 2.1.0 sender ok")
            _ask(client, server, f"rcpt to:<{RECIPIENT}>", "250 2.1.5 recipient ok")
            _ask(client, server, "rset", "250 2.0.0 flushed")
            _ask(client, server, "quit", "221 2.0.0 bye")
        _inject(server.keys, sealed, path)


@scene(
    "openssl-resumed-keys.pcapng",
    "OpenSSL's s_client to its s_server, typed; the session's secrets were added with editcap",
    "Sessions of TLS that go on in a second connection: by ticket and by ID (1.2), by PSK (1.3)",
)
def _(path: Path) -> None:
    kinds = (("-tls1_2",), ("-tls1_2", "-no_ticket"), ("-tls1_3",))
    with workspace() as directory:
        sealed, session = directory / "sealed.pcap", directory / "session"
        with s_server(directory, SMTPS) as server, recording(sealed, SMTPS, connections=6):
            for kind in kinds:
                for option in ("-sess_out", "-sess_in"):
                    options = (*kind, option, str(session))
                    with s_client(directory, SMTPS, *options) as client:
                        _greet(server, client)
                        _ask(client, server, "quit", "221 2.0.0 bye")
        _inject(server.keys, sealed, path)


def _greet(server: Typed, client: Typed) -> None:
    server.say("220 mx.example.org ESMTP s_server", client)
    _ask(client, server, f"ehlo {HELO}", "250 mx.example.org")


def _ask(client: Typed, server: Typed, command: str, reply: str) -> None:
    client.say(command, server)
    server.say(reply, client)
