"""Real clients talk to real servers on loopback, and tcpdump records them."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from pathlib import Path

import clients
import messages
import pytest
from processes import program, run
from servers import exim, opensmtpd, postfix

pytestmark = pytest.mark.live


def commands(path: Path, port: int) -> list[str]:
    """The command lines of a recording as tshark reads them, upper-cased verbs only."""
    argv = [program("tshark"), "-r", path, "-d", f"tcp.port=={port},smtp", "-Y", "smtp.req"]
    said = run([*argv, "-T", "fields", "-e", "smtp.req.command"]).stdout.decode()
    return said.replace(",", "\n").upper().split()


def with_smtplib(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, clients.HELO) as client:
        client.sendmail(clients.SENDER, clients.RECIPIENT, messages.note())


CLIENTS: dict[str, Callable[[int], object]] = {
    "swaks": lambda port: clients.swaks(port, message=messages.note()),
    "curl": lambda port: clients.curl(f"smtp://127.0.0.1:{port}/{clients.HELO}", messages.note()),
    "msmtp": lambda port: clients.msmtp(port, messages.note(), {"auth": "off", "tls": "off"}),
    "smtplib": with_smtplib,
    "smtp-source": lambda port: clients.smtp_source(port),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_delivery_by_each_client_is_recorded(client, record):
    with postfix() as server, record(server.port) as path:
        CLIENTS[client](server.port)
    said = commands(path, server.port)
    assert said.index("MAIL") < said.index("RCPT") < said.index("DATA") < said.index("QUIT")


@pytest.mark.parametrize("start", [postfix, exim, opensmtpd], ids=lambda start: start.__name__)
def test_a_delivery_to_each_server_is_recorded(start, record):
    with start() as server, record(server.port) as path:
        clients.swaks(server.port, message=messages.note())
    assert commands(path, server.port) == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
