"""Scenes of dialogues that go another way: questions, errors, cuts, attacks, half recordings."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import messages
from clients import HELO, Conversation, conversation, swaks
from processes import wait_until
from recording import recording
from scenes import SMTP, scene
from servers import exim, opensmtpd, postfix


def greet(client: Conversation) -> None:
    """Await the banner and say EHLO."""
    client.expect(220)
    client.ask(f"EHLO {HELO}".encode(), 250)


def envelope(client: Conversation) -> None:
    """Open a message to bob, up to the reply to DATA."""
    client.ask(b"MAIL FROM:<ann@example.net>", 250)
    client.ask(b"RCPT TO:<bob@example.org>", 250)
    client.ask(b"DATA", 354)


@scene(
    "exim-vrfy-expn.pcap",
    "Python socket to Exim",
    "VRFY of a user, of nobody and EXPN of an alias; HELP and NOOP",
)
def _(path: Path) -> None:
    with exim(port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        greet(client)
        client.ask(b"HELP", 214)
        client.ask(b"VRFY ann@example.org", 250)
        client.ask(b"VRFY mallory@example.org", 550)
        client.ask(b"EXPN friends@example.org", 250)
        client.ask(b"NOOP", 250)
        client.ask(b"QUIT", 221)


@scene(
    "postfix-rset.pcap",
    "Python socket to Postfix",
    "VRFY answered with 252; an envelope abandoned with RSET; then a message",
)
def _(path: Path) -> None:
    with postfix(port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        greet(client)
        client.ask(b"VRFY bob@example.org", 252)
        client.ask(b"MAIL FROM:<eve@example.net>", 250)
        client.ask(b"RCPT TO:<ann@example.org>", 250)
        client.ask(b"RSET", 250)
        envelope(client)
        client.message(messages.note(), 250)
        client.ask(b"QUIT", 221)


@scene(
    "exim-errors.pcap",
    "Python socket to Exim",
    "Commands out of order (503), unknown (500: TURN), malformed (501), until Exim hangs up",
)
def _(path: Path) -> None:
    with exim(port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        client.expect(220)
        client.ask(b"MAIL FROM:<ann@example.net>", 503)
        client.ask(f"EHLO {HELO}".encode(), 250)
        client.ask(b"RCPT TO:<bob@example.org>", 503)
        client.ask(b"TURN", 500)
        client.ask(b"MAIL FROM:ann at example.net", 501)
        client.ask(b"MAIL FROM:<ann@example.net>", 250)
        client.ask(b"MAIL FROM:<ann@example.net>", 503)
        client.wait_for_close()


@scene(
    "opensmtpd-errors.pcap",
    "Python socket to OpenSMTPD",
    "The same mistakes as another server answers them, and DATA without recipients",
)
def _(path: Path) -> None:
    with opensmtpd(port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        greet(client)
        client.ask(b"RCPT TO:<bob@example.org>", 503)
        client.ask(b"TURN", 500)
        client.ask(b"MAIL FROM:ann at example.net", 553)
        client.ask(b"MAIL FROM:<ann@example.net>", 250)
        client.ask(b"MAIL FROM:<ann@example.net>", 503)
        client.ask(b"DATA", 503)
        client.ask(b"QUIT", 221)


@scene(
    "postfix-too-many-errors.pcap",
    "Python socket to Postfix",
    "Three unknown commands, then 421 and the server hangs up",
)
def _(path: Path) -> None:
    settings = {"smtpd_hard_error_limit": "3", "smtpd_error_sleep_time": "0"}
    with (
        postfix(port=SMTP, settings=settings),
        recording(path, SMTP),
        conversation(SMTP) as client,
    ):
        greet(client)
        client.ask(b"XYZZY", 500)
        client.ask(b"PLUGH", 500)
        client.ask(b"PLOVER", 500, 421)
        client.wait_for_close()


@scene(
    "postfix-timeout-421.pcap",
    "Python socket to Postfix",
    "The client falls silent: 421 from the server",
)
def _(path: Path) -> None:
    with (
        postfix(port=SMTP, settings={"smtpd_timeout": "1s"}),
        recording(path, SMTP),
        conversation(SMTP) as client,
    ):
        greet(client)
        client.expect(421)
        client.wait_for_close()


@scene("postfix-http.pcap", "Python socket to Postfix", "A web client at the wrong door")
def _(path: Path) -> None:
    with postfix(port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        client.expect(220)
        client.ask(b"GET / HTTP/1.1\r\nHost: mx.example.org\r\n", 221)
        client.wait_for_close()


@scene(
    "exim-synchronization-error.pcap",
    "Python socket to Exim",
    "The client talks before the banner and is refused with 554",
)
def _(path: Path) -> None:
    with (
        exim(port=SMTP, acl_connect="  warn delay = 1s"),
        recording(path, SMTP),
        conversation(SMTP) as client,
    ):
        client.ask(f"EHLO {HELO}".encode(), 554)
        client.wait_for_close()


@scene(
    "postfix-typed.pcap",
    "Python socket to Postfix",
    "Typed by hand: one octet a segment, lines that end with a bare LF",
)
def _(path: Path) -> None:
    with postfix(port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        client.expect(220)
        for line, code in (
            (b"helo me", 250),
            (b"mail from:<ann@example.net>", 250),
            (b"rcpt to:<bob@example.org>", 250),
            (b"data", 354),
        ):
            client.type(line)
            client.expect(code)
        for line in (b"Subject: hi", b"", b"Typed.", b"."):
            client.type(line)
        client.expect(250)
        client.type(b"quit")
        client.expect(221)


@scene(
    "postfix-reset.pcap",
    "Python socket to Postfix",
    "Cut off by RST in the middle of the data",
)
def _(path: Path) -> None:
    with postfix(port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        greet(client)
        envelope(client)
        client.send(messages.note()[:200])
        client.reset()


@scene(
    "exim-closed.pcap",
    "Python socket to Exim",
    "The client hangs up in the middle of the data, without QUIT; the server's last word is 421",
)
def _(path: Path) -> None:
    with exim(port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        greet(client)
        envelope(client)
        client.send(messages.note()[:200])


@scene(
    "postfix-from-the-middle.pcap",
    "Python socket to Postfix",
    "The recording begins in the middle of a session",
)
def _(path: Path) -> None:
    with postfix(port=SMTP), conversation(SMTP) as client:
        greet(client)
        with recording(path, SMTP):
            envelope(client)
            client.message(messages.note(), 250)
            client.ask(b"QUIT", 221)
            client.wait_for_close()
            client.connection.close()


@scene(
    "postfix-still-open.pcap",
    "Python socket to Postfix",
    "The recording ends while the session goes on",
)
def _(path: Path) -> None:
    with postfix(port=SMTP), ExitStack() as session:
        with recording(path, SMTP, connections=0):
            client = session.enter_context(conversation(SMTP))
            greet(client)
            envelope(client)
            wait_until(
                lambda: b"354 End data" in path.read_bytes(), "the last reply in the recording"
            )
        client.message(messages.note(), 250)
        client.ask(b"QUIT", 221)


@scene(
    "postfix-smuggling.pcap",
    "Python socket to Postfix",
    "SMTP smuggling: this server takes LF . CRLF for the end of the data, and what follows as "
    "commands and a second message",
)
def _(path: Path) -> None:
    hidden = (
        b"MAIL FROM:<eve@example.net>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n"
        b"From: bob@example.org\r\nSubject: Not from bob\r\n\r\nForged.\r\n.\r\n"
    )
    with postfix(port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        greet(client)
        envelope(client)
        client.send(messages.note() + b"\n.\r\n" + hidden)
        client.expect(250, 250, 250, 354, 250)
        client.ask(b"QUIT", 221)


@scene(
    "postfix-bare-lf-refused.pcap",
    "Python socket to Postfix",
    "A bare LF in the data, refused with 550 (smtpd_forbid_bare_newline = reject)",
)
def _(path: Path) -> None:
    strict = {"smtpd_forbid_bare_newline": "reject", "smtpd_forbid_bare_newline_exclusions": ""}
    with (
        postfix(port=SMTP, settings=strict),
        recording(path, SMTP),
        conversation(SMTP) as client,
    ):
        greet(client)
        envelope(client)
        client.send(b"Subject: hi\r\n\r\nbare\nline feed\r\n.\r\n")
        client.expect(550)
        client.ask(b"QUIT", 221)


@scene(
    "postfix-proxy-header.pcap",
    "Python socket to Postfix",
    "A PROXY protocol header from a load balancer before the banner",
)
def _(path: Path) -> None:
    with (
        postfix(port=SMTP, settings={"smtpd_upstream_proxy_protocol": "haproxy"}),
        recording(path, SMTP),
        conversation(SMTP) as client,
    ):
        client.send(b"PROXY TCP4 192.0.2.10 192.0.2.25 40000 25\r\n")
        greet(client)
        client.ask(b"QUIT", 221)


@scene(
    "postfix-swaks-xclient.pcap",
    "swaks to Postfix",
    "XCLIENT tells the server who the client is; a second banner follows",
)
def _(path: Path) -> None:
    allowed = {"smtpd_authorized_xclient_hosts": "127.0.0.1"}
    with postfix(port=SMTP, settings=allowed), recording(path, SMTP):
        swaks(SMTP, "--xclient", "ADDR=192.0.2.10 NAME=mail.example.com", message=messages.note())
