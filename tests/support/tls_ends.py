"""Two endpoints of TLS in memory, and the ciphertext that they exchange."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from smtpscope.recorders.certificates import made
from smtpscope.stream import Direction

SUITES = {
    ssl.TLSVersion.TLSv1_2: (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-ECDSA-AES128-SHA256",
        "ECDHE-ECDSA-AES256-SHA384",
        "ECDHE-ECDSA-AES128-CCM",
    ),
    ssl.TLSVersion.TLSv1_3: ("",),
}
CASES = [(version, suite) for version, suites in SUITES.items() for suite in suites]


class Spoken(NamedTuple):
    """Who said which ciphertext, in turns; the key log; and the plaintext of each side."""

    turns: list[tuple[Direction, bytes]]
    key_log: bytes
    plain: list[bytes]


class Ends:
    """Two endpoints of TLS in memory."""

    def __init__(
        self,
        folder: Path,
        version: ssl.TLSVersion,
        suite: str,
        *,
        curve: str | None = None,
        tickets: bool = True,
    ) -> None:
        certificate, key = made("localhost", folder)[0]
        self.log = folder / "keys.log"
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        if curve is not None:
            server.set_ecdh_curve(curve)
        for context in (server, client):
            context.minimum_version = context.maximum_version = version
            if suite:
                context.set_ciphers(f"{suite}:@SECLEVEL=0")
        if not tickets:
            server.options |= ssl.OP_NO_TICKET
        client.keylog_filename = str(self.log)
        self._contexts = (client, server)
        self.meet()

    def meet(self, *, again: bool = False) -> None:
        """A new connection, on which the session before goes on if it is to be `again`."""
        client, server = self._contexts
        session = None
        if again:
            session = self._ends[Direction.CLIENT].session
            # The server forgets a session that ends without a word.
            for side in Direction:
                self.end(side)
        self.turns: list[tuple[Direction, bytes]] = []
        self.plain = [b"", b""]
        self._in = (ssl.MemoryBIO(), ssl.MemoryBIO())
        self._out = (ssl.MemoryBIO(), ssl.MemoryBIO())
        self._ends = (
            client.wrap_bio(
                self._in[0], self._out[0], server_hostname="localhost", session=session
            ),
            server.wrap_bio(self._in[1], self._out[1], server_side=True),
        )
        for _ in range(4):
            for side in Direction:
                self._shake(side)

    @property
    def resumed(self) -> bool:
        return bool(self._ends[Direction.CLIENT].session_reused)

    def end(self, side: Direction) -> None:
        """One side says that it is done: close_notify."""
        with suppress(ssl.SSLWantReadError):
            self._ends[side].unwrap()
        self._flush(side)

    def _shake(self, side: Direction) -> None:
        with suppress(ssl.SSLWantReadError):
            self._ends[side].do_handshake()
        self._flush(side)

    def _flush(self, side: Direction) -> None:
        octets = self._out[side].read()
        if octets:
            self.turns.append((side, octets))
            self._in[side.other].write(octets)

    def say(self, side: Direction, octets: bytes) -> None:
        self._ends[side].write(octets)
        self._flush(side)
        self.plain[side] += octets
        other = self._ends[side.other]
        got = b""
        while len(got) < len(octets):
            got += other.read(1 << 16)
        assert got == octets


def spoken(folder: Path, version: ssl.TLSVersion, suite: str) -> Spoken:
    ends = Ends(folder, version, suite)
    for number in range(6):
        side = Direction(1 - number % 2)
        ends.say(side, b"line %d\r\n" % number * (1 + 3_000 * (number == 3)))
    return Spoken(ends.turns, ends.log.read_bytes(), ends.plain)
