"""The recordings that are shipped: each scene plays one dialogue between real programs.

A scene gets a path and leaves a capture there. Its name is the capture's, and what it says of
itself becomes its line in captures/README.md. Scenes use the well-known ports, so they are to
be played in a network namespace of their own (make_captures.py sees to that).
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import messages
from clients import (
    HELO,
    RECIPIENT,
    SENDER,
    Conversation,
    conversation,
    curl,
    msmtp,
    smtp_source,
    swaks,
)
from processes import free_port, program, run, wait_until
from recording import recording
from servers import PASSWORDS, exim, opensmtpd, postfix, scripted, workspace

SMTP, SMTPS, SUBMISSION, LMTP = 25, 465, 587, 24


@dataclass(frozen=True)
class Scene:
    """One capture to be made: its file name, who talks to whom, what it shows, and how to play it."""

    name: str
    software: str
    shows: str
    play: Callable[[Path], None]


SCENES: list[Scene] = []


def scene(name: str, software: str, shows: str) -> Callable[[Callable[[Path], None]], None]:
    """Enter the function below into SCENES."""

    def enter(play: Callable[[Path], None]) -> None:
        SCENES.append(Scene(name, software, shows, play))

    return enter


@scene(
    "sample-dialogue.pcap",
    "Python sockets on both sides",
    "The documented sample dialogue, word for word: EHLO, paths without angle brackets, RSET, QUIT",
)
def _(path: Path) -> None:
    dialogue = [
        ("", ["220 Postini ESMTP 235 y6_19_2c0 ready. US Business and Professions Code Section"
              " 17538.45 forbids use of this system for unsolicited electronic mail"
              " advertisements."]),
        ("EHLO adminsky.org",
         ["250-Postini says hello back", "250-STARTTLS", "250-8BITMIME", "250 HELP"]),
        ("MAIL FROM:test@adminsky.org", ["250 Ok"]),
        ("RCPT TO:webmaster@adminsky.org", ["250 Ok"]),
        ("RSET", ["250 Ok"]),
        ("QUIT", ["221 Catch you later"]),
    ]  # fmt: skip

    def serve(connection: socket.socket) -> None:
        talk = Conversation(connection)
        for command, reply in dialogue:
            if command:
                assert talk.line() == command.encode()
            talk.send("".join(f"{line}\r\n" for line in reply).encode())

    with scripted(serve, port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        for command, reply in dialogue:
            if command:
                client.send(f"{command}\r\n".encode())
            assert client.reply() == [line.encode() for line in reply]
        client.wait_for_close()


@scene("postfix-swaks.pcap", "swaks to Postfix", "One message, one command at a time")
def _(path: Path) -> None:
    with postfix(port=SMTP), recording(path, SMTP):
        swaks(SMTP, message=messages.note())


@scene(
    "postfix-swaks-pipeline.pcap",
    "swaks to Postfix",
    "PIPELINING: MAIL, three RCPT and DATA in one segment; one recipient is refused with 550",
)
def _(path: Path) -> None:
    to = "ann@example.org,mallory@example.org,bob@example.org"
    with postfix(port=SMTP), recording(path, SMTP):
        swaks(SMTP, "--pipeline", to=to, message=messages.note())


@scene(
    "postfix-curl-attachments.pcapng",
    "curl to Postfix, recorded with dumpcap",
    "A message with text and HTML alternatives and three attachments, a PNG and an RFC 2231 "
    "file name among them",
)
def _(path: Path) -> None:
    with postfix(port=SMTP), recording(path, SMTP):
        curl(f"smtp://127.0.0.1:{SMTP}/{HELO}", messages.with_attachments())


@scene(
    "exim-msmtp-cram-md5.pcap",
    "msmtp to Exim",
    "AUTH CRAM-MD5 that succeeds, then a message",
)
def _(path: Path) -> None:
    settings = {"auth": "cram-md5", "user": "ann", "password": PASSWORDS["ann"], "tls": "off"}
    with exim(port=SUBMISSION), recording(path, SUBMISSION):
        msmtp(SUBMISSION, messages.note(), settings)


@scene(
    "exim-swaks-auth-plain.pcap",
    "swaks to Exim",
    "AUTH PLAIN without TLS, its secret in the initial response",
)
def _(path: Path) -> None:
    login = ["--auth", "PLAIN", "--auth-user", "ann", "--auth-password", PASSWORDS["ann"]]
    with exim(port=SUBMISSION), recording(path, SUBMISSION):
        swaks(SUBMISSION, *login, message=messages.note())


@scene(
    "exim-swaks-auth-login.pcapng",
    "swaks to Exim, recorded with dumpcap",
    "AUTH LOGIN, two sessions: a wrong password (535), then the right one",
)
def _(path: Path) -> None:
    with exim(port=SUBMISSION), recording(path, SUBMISSION, connections=2):
        for password in ("wrong-guess", PASSWORDS["bob"]):
            login = ["--auth", "LOGIN", "--auth-user", "bob", "--auth-password", password]
            swaks(SUBMISSION, *login, message=messages.note())


@scene(
    "opensmtpd-smtplib-two-messages.pcap",
    "Python's smtplib to OpenSMTPD",
    "Two messages in one session, with an abandoned envelope (RSET) between them",
)
def _(path: Path) -> None:
    with opensmtpd(port=SMTP), recording(path, SMTP):
        with smtplib.SMTP("127.0.0.1", SMTP, HELO) as client:
            client.sendmail(SENDER, RECIPIENT, messages.note())
            client.mail(SENDER)
            client.rcpt("ann@example.org")
            client.rset()
            client.sendmail(SENDER, ["ann@example.org", RECIPIENT], messages.note("A second one"))


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
        with postfix(port=SMTP, tls_port=SMTPS, tls=True), recording(sealed, SMTPS):
            with smtplib.SMTP_SSL("127.0.0.1", SMTPS, HELO, context=context) as client:
                client.sendmail(SENDER, RECIPIENT, messages.note())
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
