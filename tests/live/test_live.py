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

from smtpscope.reading import read_sessions
from smtpscope.session import Session, Severity

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


def the_session(path: Path) -> Session:
    """The recording's only session, which delivered one message and ended as it should."""
    (session,) = read_sessions(path)
    assert session.state == "quit"
    assert [each for each in session.findings if each.severity >= Severity.WARNING] == []
    (transaction,) = session.transactions
    assert transaction.completed
    assert [recipient.refused for recipient in transaction.recipients] == [False]
    return session


def verbs(session: Session) -> list[str]:
    asked = [exchange.command for exchange in session.exchanges]
    return [command.verb for command in asked if command is not None and command.verb != "."]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_delivery_by_each_client_is_read_as_tshark_reads_it(client, record):
    with postfix() as server, record(server.port) as path:
        CLIENTS[client](server.port)
    session = the_session(path)
    assert verbs(session) == commands(path, server.port)
    if client != "smtp-source":
        (message,) = session.messages
        assert message.subject == "Lunch on Friday"


@pytest.mark.parametrize("start", [postfix, exim, opensmtpd], ids=lambda start: start.__name__)
def test_a_delivery_to_each_server_is_read_as_tshark_reads_it(start, record):
    with start() as server, record(server.port) as path:
        clients.swaks(server.port, message=messages.note())
    session = the_session(path)
    assert verbs(session) == commands(path, server.port) == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    (message,) = session.messages
    # As it was handed over, lines ended by CRLF.
    assert message.size >= len(messages.note())
