"""Scenes of mail that is delivered, and of recipients, senders and messages that are refused."""

from __future__ import annotations

import smtplib
import socket
from pathlib import Path

import messages
from clients import (
    HELO,
    RECIPIENT,
    SENDER,
    Conversation,
    conversation,
    curl,
    smtp_source,
    swaks,
)
from recording import recording
from scenes import SMTP, scene
from servers import exim, opensmtpd, postfix, scripted


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
    "opensmtpd-smtplib-two-messages.pcap",
    "Python's smtplib to OpenSMTPD",
    "Two messages in one session, with an abandoned envelope (RSET) between them",
)
def _(path: Path) -> None:
    with (
        opensmtpd(port=SMTP),
        recording(path, SMTP),
        smtplib.SMTP("127.0.0.1", SMTP, HELO) as client,
    ):
        client.sendmail(SENDER, RECIPIENT, messages.note())
        client.mail(SENDER)
        client.rcpt("ann@example.org")
        client.rset()
        client.sendmail(SENDER, ["ann@example.org", RECIPIENT], messages.note("A second one"))


@scene("exim-swaks-helo.pcap", "swaks to Exim", "HELO, as before ESMTP")
def _(path: Path) -> None:
    with exim(port=SMTP), recording(path, SMTP):
        swaks(SMTP, "--protocol", "SMTP", message=messages.note())


@scene("exim-swaks-ipv6.pcap", "swaks to Exim", "IPv6: from ::1 to ::1")
def _(path: Path) -> None:
    with exim(port=SMTP), recording(path, SMTP):
        swaks(SMTP, host="::1", message=messages.note())


@scene(
    "postfix-swaks-any.pcap",
    "swaks to Postfix, recorded on `any`",
    "The same over Linux's cooked link layer",
)
def _(path: Path) -> None:
    with postfix(port=SMTP), recording(path, SMTP, interface="any"):
        swaks(SMTP, message=messages.note())


@scene(
    "postfix-smtp-source-nanoseconds.pcap.gz",
    "smtp-source to Postfix",
    "Three sessions side by side, four messages each; times in nanoseconds, compressed with gzip",
)
def _(path: Path) -> None:
    with postfix(port=SMTP), recording(path, SMTP, connections=3, nanoseconds=True):
        smtp_source(SMTP, "-d", "-s", "3", "-m", "12", "-l", "600")


@scene(
    "postfix-curl-long-letter.pcap.gz",
    "curl to Postfix",
    "A message of 80 kB with lines that begin with dots (dot-stuffed), in many segments",
)
def _(path: Path) -> None:
    with postfix(port=SMTP), recording(path, SMTP):
        curl(f"smtp://127.0.0.1:{SMTP}/{HELO}", messages.long_note(80_000))


@scene(
    "postfix-smtplib-smtputf8.pcap",
    "Python's smtplib to Postfix",
    "SMTPUTF8 and BODY=8BITMIME: addresses, header and body in UTF-8",
)
def _(path: Path) -> None:
    with (
        postfix(port=SMTP, settings={"relay_recipient_maps": ""}),
        recording(path, SMTP),
        smtplib.SMTP("127.0.0.1", SMTP, HELO) as client,
    ):
        options = ["SMTPUTF8", "BODY=8BITMIME"]
        to = "\u7528\u6237@example.org"
        client.sendmail("j\u00f6rg@example.net", to, messages.international(), options)


@scene(
    "postfix-smtplib-dsn.pcap",
    "Python's smtplib to Postfix",
    "DSN parameters: RET and ENVID on MAIL, NOTIFY and ORCPT (xtext) on RCPT",
)
def _(path: Path) -> None:
    with (
        postfix(port=SMTP),
        recording(path, SMTP),
        smtplib.SMTP("127.0.0.1", SMTP, HELO) as client,
    ):
        on_mail = ["RET=HDRS", "ENVID=QQ+2B314159"]
        on_rcpt = ["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;Bob+2Bnews@example.org"]
        client.sendmail(SENDER, RECIPIENT, messages.note(), on_mail, on_rcpt)


@scene(
    "exim-swaks-greylisted.pcap",
    "swaks to Exim",
    "Two sessions: the recipient draws 450 4.2.0 at first, and is accepted later",
)
def _(path: Path) -> None:
    delay = """\
  defer message = 450 4.2.0 Greylisted, try again in a minute
        condition = ${if !exists{/tmp/seen}}"""
    with (
        exim(port=SMTP, acl_rcpt=delay) as server,
        recording(path, SMTP, connections=2),
    ):
        swaks(SMTP, message=messages.note())
        (server.directory / "tmp/seen").touch()
        swaks(SMTP, message=messages.note())


@scene(
    "postfix-size-552.pcap",
    "Python socket to Postfix",
    "Too large, twice: 552 for what SIZE announces, and 552 after data that wasn't announced",
)
def _(path: Path) -> None:
    with (
        postfix(port=SMTP, settings={"message_size_limit": "4000"}),
        recording(path, SMTP),
        conversation(SMTP) as client,
    ):
        client.expect(220)
        client.ask(f"EHLO {HELO}".encode(), 250)
        client.ask(b"MAIL FROM:<ann@example.net> SIZE=20000", 552)
        client.ask(b"RSET", 250)
        client.ask(b"MAIL FROM:<ann@example.net>", 250)
        client.ask(b"RCPT TO:<bob@example.org>", 250)
        client.ask(b"DATA", 354)
        client.message(messages.long_note(6000), 552)
        client.ask(b"QUIT", 221)


@scene("exim-swaks-refused-554.pcap", "swaks to Exim", "The server greets with 554")
def _(path: Path) -> None:
    refusal = "  deny message = 554 5.7.1 No mail from you, please"
    with exim(port=SMTP, acl_connect=refusal), recording(path, SMTP):
        swaks(SMTP, message=messages.note())


@scene(
    "opensmtpd-swaks-refused-rcpt.pcap",
    "swaks to OpenSMTPD",
    "Each recipient is refused (550), so no message is sent",
)
def _(path: Path) -> None:
    with opensmtpd(port=SMTP), recording(path, SMTP):
        swaks(SMTP, to="mallory@example.org,bob@example.com", message=messages.note())
