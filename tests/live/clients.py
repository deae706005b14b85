"""Mail clients for live recordings: swaks, curl, msmtp and smtp-source as programs, and a socket.

Each call is one session (or as many as its options ask for) with a server on loopback. Refusals
are wanted as often as not, so only `Conversation.expect` minds what the server answers.
"""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from processes import PATIENCE, LiveError, program, run, wait_until
from servers import workspace

HELO = "client.example.net"
SENDER = "ann@example.net"
RECIPIENT = "bob@example.org"

Done = subprocess.CompletedProcess


def swaks(
    port: int,
    *options: str,
    host: str = "127.0.0.1",
    to: str = RECIPIENT,
    message: bytes | None = None,
) -> Done[bytes]:
    """One session of swaks; `message` with CRLF line ends in place of its own test message."""
    argv = [program("swaks"), "--server", host, "--port", str(port), "--helo", HELO]
    argv += ["--from", SENDER, "--to", to, *options]
    with workspace() as directory:
        if message is not None:
            path = directory / "message"
            path.write_bytes(message.replace(b"\r\n", b"\n"))
            argv += ["--data", f"@{path}"]
        return run(argv, allowed=None)


def curl(
    url: str, message: bytes, *options: str, env: Mapping[str, str] | None = None
) -> Done[bytes]:
    """One session of curl to smtp:// or smtps://; the URL's path is the name in EHLO."""
    argv = [program("curl"), "--silent", "--show-error", "--noproxy", "*", url]
    argv += ["--mail-from", SENDER, "--mail-rcpt", RECIPIENT, "--upload-file", "-", *options]
    return run(argv, text=message, env=env)


def msmtp(port: int, message: bytes, settings: Mapping[str, str]) -> Done[bytes]:
    """One session of msmtp; `settings` are lines of its configuration file."""
    lines = {
        "account": "loopback",
        "host": "127.0.0.1",
        "port": str(port),
        "domain": HELO,
        "from": SENDER,
        **settings,
    }
    with workspace() as directory:
        configuration = directory / "msmtprc"
        configuration.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        configuration.chmod(0o600)
        argv = [program("msmtp"), "-C", str(configuration), "-a", "loopback", RECIPIENT]
        return run(argv, text=message.replace(b"\r\n", b"\n"), allowed=None)


def smtp_source(port: int, *options: str) -> Done[bytes]:
    """Sessions of Postfix's load generator."""
    argv = [program("smtp-source"), "-f", SENDER, "-t", RECIPIENT, "-M", HELO, *options]
    return run([*argv, f"inet:127.0.0.1:{port}"])


class Conversation:
    """The client's or the server's side of a dialogue, said word for word over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        """Talk over this connection; what is sent leaves at once, in a segment of its own."""
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self._received = b""

    def send(self, octets: bytes) -> None:
        """Send these octets as they are."""
        self.connection.sendall(octets)

    def line(self) -> bytes:
        """The next line received, its end removed. LiveError when the peer closes before it."""
        while b"\n" not in self._received:
            octets = self.connection.recv(65536)
            if not octets:
                raise LiveError(f"closed in the middle of {self._received!r}")
            self._received += octets
        line, self._received = self._received.split(b"\n", 1)
        return line.removesuffix(b"\r")

    def reply(self) -> list[bytes]:
        """The next reply, all its lines."""
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        return lines

    def expect(self, *codes: int) -> None:
        """Receive as many replies as codes; LiveError when one has another code."""
        for code in codes:
            lines = self.reply()
            if lines[-1][:3] != b"%d" % code:
                raise LiveError(f"{code} was expected, not {lines!r}")

    def type(self, line: bytes) -> None:
        """Send a line and its LF octet by octet, each when the one before has been received."""
        for octet in line + b"\n":
            self.send(bytes([octet]))
            wait_until(lambda: not self._unacknowledged(), "the peer to take an octet")

    def ask(self, command: bytes, *codes: int) -> None:
        """Send a command line and expect replies with these codes."""
        self.send(command + b"\r\n")
        self.expect(*codes)

    def message(self, message: bytes, *codes: int) -> None:
        """Send a message, dot-stuffed, with the dot that ends it, and expect these codes."""
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        self.ask(stuffed.removesuffix(b"\r\n") + b"\r\n.", *codes)

    def start_tls(self) -> None:
        """Go on in TLS, whoever the server is."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.connection = context.wrap_socket(self.connection)

    def wait_for_close(self) -> None:
        """Read until the peer closes."""
        while self.connection.recv(65536):
            pass

    def reset(self) -> None:
        """Cut the connection off with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _unacknowledged(self) -> int:
        waiting = fcntl.ioctl(self.connection, termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(waiting, sys.byteorder)


@contextmanager
def conversation(port: int, host: str = "127.0.0.1") -> Iterator[Conversation]:
    """A connection to a server to talk over; closed at the block's end."""
    client = Conversation(socket.create_connection((host, port), timeout=PATIENCE))
    try:
        yield client
    finally:
        client.connection.close()
