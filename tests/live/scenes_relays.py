"""Scenes of one server handing mail on to another: ESMTP between MTAs, BDAT, PRDR and LMTP."""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Sequence
from pathlib import Path

import messages
from clients import HELO, RECIPIENT, SENDER, Conversation, conversation
from recording import recording
from scenes import LMTP, SMTP, SUBMISSION, scene
from servers import exim, postfix, scripted


def submit(message: bytes, to: Sequence[str] = (RECIPIENT,), port: int = SUBMISSION) -> None:
    """Hand a message to the first server, on a port that is not recorded."""
    with smtplib.SMTP("127.0.0.1", port, HELO) as client:
        client.sendmail(SENDER, to, message)


@scene(
    "postfix-exim-bdat.pcap",
    "Exim to Postfix",
    "CHUNKING: a message of 30 kB in two BDAT chunks, the first in one segment with the envelope",
)
def _(path: Path) -> None:
    with (
        postfix(port=SMTP),
        exim(port=SUBMISSION, onwards=("127.0.0.1", SMTP)),
        recording(path, SMTP),
    ):
        submit(messages.long_note(30_000))


@scene(
    "exim-postfix-pipeline.pcap",
    "Postfix to Exim",
    "PIPELINING between MTAs: three recipients, one of them refused, QUIT right behind the dot",
)
def _(path: Path) -> None:
    # Postfix takes port 25 of its own address, and a greeting with its own name, for a mail loop.
    onwards = {
        "myhostname": HELO,
        "relay_transport": f"smtp:[127.0.0.1]:{SUBMISSION}",
        "relay_recipient_maps": "",
    }
    with (
        exim(port=SUBMISSION),
        postfix(port=SMTP, settings=onwards),
        recording(path, SUBMISSION),
    ):
        to = ["ann@example.org", "mallory@example.org", RECIPIENT]
        submit(messages.note(), to, SMTP)


@scene(
    "exim-exim-prdr.pcap",
    "Exim to Exim",
    "PRDR: after the data a reply for each recipient (one refuses), then one for the message",
)
def _(path: Path) -> None:
    with (
        exim(port=SMTP, main="prdr_enable = true"),
        exim(port=SUBMISSION, onwards=("127.0.0.1", SMTP)),
        recording(path, SMTP),
    ):
        submit(messages.note(), ["ann@example.org", "eve@example.org", RECIPIENT])


@scene(
    "postfix-lmtp.pcap",
    "Postfix's LMTP client to Python sockets",
    "LMTP: one of four recipients refused; after the dot the others get a reply each",
)
def _(path: Path) -> None:
    onwards = {"relay_transport": f"lmtp:inet:127.0.0.1:{LMTP}", "relay_recipient_maps": ""}
    with (
        scripted(take_lmtp, port=LMTP),
        postfix(port=SUBMISSION, settings=onwards),
        recording(path, LMTP),
    ):
        to = ["ann@example.org", "mallory@example.org", RECIPIENT, "eve@example.org"]
        submit(messages.note(), to)


def take_lmtp(connection: socket.socket) -> None:
    """An LMTP server's side: mallory is unknown to it, and eve's mailbox is full."""
    talk = Conversation(connection)
    talk.send(b"220 store.example.org LMTP\r\n")
    accepted: list[bytes] = []
    while True:
        line = talk.line()
        verb = line[:4].upper()
        if verb == b"LHLO":
            talk.send(
                b"250-store.example.org\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n"
                b"250 8BITMIME\r\n"
            )
        elif verb == b"RCPT" and b"mallory" in line:
            talk.send(b"550 5.1.1 No mallory here\r\n")
        elif verb == b"RCPT":
            accepted.append(line)
            talk.send(b"250 2.1.5 Recipient ok\r\n")
        elif verb == b"DATA":
            talk.send(b"354 Go on\r\n")
            while talk.line() != b".":
                continue
            for recipient in accepted:
                full = b"eve" in recipient
                talk.send(b"452 4.2.2 Mailbox full\r\n" if full else b"250 2.0.0 Delivered\r\n")
        elif verb == b"QUIT":
            talk.send(b"221 2.0.0 Bye\r\n")
            return
        else:
            talk.send(b"250 2.0.0 Ok\r\n")


@scene(
    "postfix-bdat-zero-last.pcap",
    "Python socket to Postfix",
    "BDAT with a lone dot inside a chunk, ended by BDAT 0 LAST; then a size that is none (521)",
)
def _(path: Path) -> None:
    body = messages.note(body="A lone dot:\n.\nends nothing here.\n")
    with postfix(port=SMTP), recording(path, SMTP), conversation(SMTP) as client:
        client.expect(220)
        client.ask(f"EHLO {HELO}".encode(), 250)
        client.ask(b"MAIL FROM:<ann@example.net>", 250)
        client.ask(b"RCPT TO:<bob@example.org>", 250)
        for start in range(0, len(body), 100):
            chunk = body[start : start + 100]
            client.send(b"BDAT %d\r\n" % len(chunk) + chunk)
            client.expect(250)
        client.ask(b"BDAT 0 LAST", 250)
        client.ask(b"MAIL FROM:<ann@example.net>", 250)
        client.ask(b"RCPT TO:<bob@example.org>", 250)
        client.ask(b"BDAT many", 521)
        client.wait_for_close()
