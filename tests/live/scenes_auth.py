"""Scenes of logging in: AUTH PLAIN, LOGIN and CRAM-MD5, with right and wrong passwords."""

from __future__ import annotations

import contextlib
import smtplib
from pathlib import Path

import messages
from clients import HELO, RECIPIENT, SENDER, conversation, msmtp, swaks
from recording import recording
from scenes import SUBMISSION, scene
from servers import PASSWORDS, exim


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
    "exim-smtplib-auth-all.pcap",
    "Python's smtplib to Exim",
    "A wrong password with CRAM-MD5, PLAIN and LOGIN in turn (535 each), then the right one",
)
def _(path: Path) -> None:
    with (
        exim(port=SUBMISSION),
        recording(path, SUBMISSION),
        smtplib.SMTP("127.0.0.1", SUBMISSION, HELO) as client,
    ):
        with contextlib.suppress(smtplib.SMTPAuthenticationError):
            client.login("bob", "wrong-guess")
        client.login("bob", PASSWORDS["bob"])
        client.sendmail(SENDER, RECIPIENT, messages.note())


@scene(
    "exim-auth-refused.pcap",
    "Python socket to Exim",
    "AUTH in vain: an unknown mechanism (504), a cancelled exchange, what isn't base64 (501)",
)
def _(path: Path) -> None:
    with exim(port=SUBMISSION), recording(path, SUBMISSION), conversation(SUBMISSION) as client:
        client.expect(220)
        client.ask(f"EHLO {HELO}".encode(), 250)
        client.ask(b"AUTH GSSAPI", 504)
        client.ask(b"AUTH LOGIN", 334)
        client.ask(b"*", 501)
        client.ask(b"AUTH PLAIN", 334)
        client.ask(b"not base64!", 501)
        client.ask(b"QUIT", 221)
