"""OpenSSL's s_client and s_server, at whose standard inputs both sides of a dialogue are typed.

A line goes out as one record. Lines that begin with some letters are commands to the programs
instead: the client takes Q, R and K, the server the small ones, too (openssl-s_client(1)).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import PATIENCE, listens, program, wait_until
from servers import self_signed


class Typed:
    """A program that is typed to; `keys` is the key log that a server writes."""

    def __init__(self, argv: list[str], log: Path, keys: Path) -> None:
        self.keys = keys
        self._log = log
        self._read = 0
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def say(self, line: str, to: Typed) -> None:
        """Type a line, and wait until the other side has shown it."""
        self._type(line)
        to.shows(line)

    def command(self, letter: str, shown: str | None = None) -> None:
        """Type a command, and wait until the program has shown that it obeys.

        Where it shows nothing, something else is to be waited for before the next line is typed.
        """
        self._type(letter)
        if shown is not None:
            self.shows(shown)

    def shows(self, text: str) -> None:
        """Wait for a text that has not been waited for before."""
        wanted = text.encode()
        wait_until(lambda: wanted in self._log.read_bytes()[self._read :], f"{text!r}")
        self._read = self._log.read_bytes().index(wanted, self._read) + len(wanted)

    def _type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """The end of its input ends a client."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextmanager
def s_server(directory: Path, port: int, *options: str) -> Iterator[Typed]:
    """A server on loopback, until the block ends."""
    certificate, key = self_signed(directory)
    keys = directory / "keys"
    argv = [program("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-crlf"]
    argv += ["-cert", str(certificate), "-key", str(key), "-keylogfile", str(keys), *options]
    server = Typed(argv, directory / "s_server.log", keys)
    try:
        wait_until(lambda: listens(port), "s_server to listen")
        yield server
    finally:
        server.stop()


@contextmanager
def s_client(directory: Path, port: int, *options: str) -> Iterator[Typed]:
    """A client that is connected; at the block's end it says goodbye."""
    argv = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-crlf", *options]
    argv += ["-servername", "mx.example.org"]
    client = Typed(argv, directory / "s_client.log", directory / "keys")
    try:
        client.shows("Verify return code")
        yield client
        client.close()
    finally:
        client.stop()
