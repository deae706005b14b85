"""The keys of one TLS connection: from its hellos and the key log to what opens its records.

It is asked again whenever keys are needed and missing: the hello or the secret may come later.
"""

from __future__ import annotations

from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.tls_ciphers import (
    FIRST_TRAFFIC,
    HANDSHAKE,
    Cipher,
    Opener,
    cipher_of,
    next_secret,
    opener_13,
    openers_12,
)
from smtpscope.capture.tls_hello import ServerHello, version_name
from smtpscope.stream import Direction

MAX_HANDSHAKES = 16
"""Handshakes of one connection whose secrets are looked for."""

_MASTER = b"CLIENT_RANDOM"
_LABELS = (
    (b"CLIENT_HANDSHAKE_TRAFFIC_SECRET", b"CLIENT_TRAFFIC_SECRET_0"),
    (b"SERVER_HANDSHAKE_TRAFFIC_SECRET", b"SERVER_TRAFFIC_SECRET_0"),
)
"""For a handshake and what follows it, by direction."""


class Keys:
    """`used` has the lines of the key log that belong to the connection, up to `MAX_HANDSHAKES`
    random numbers of its client; `problem` says why they are of no use."""

    def __init__(self, log: KeyLog) -> None:
        self.log = log
        self.problem: str | None = None
        self._random = b""
        self._server: ServerHello | None = None
        self._cipher: Cipher | None = None
        self._lines: dict[bytes, bytes] = {}
        self._made: tuple[Opener, Opener] | None = None
        self._latest: dict[Direction, tuple[int, bytes]] = {}
        self._missed: dict[Direction, tuple[int, int]] = {}

    @property
    def used(self) -> bytes:
        return b"".join(self._lines.values())

    @property
    def agreed(self) -> bool:
        """Whether the server has chosen; to ask for another hello is no choice."""
        return self._server is not None

    @property
    def inside(self) -> bool:
        """Whether only records of application data are protected, as in TLS 1.3."""
        return self._server is not None and version_name(self._server.version) == "TLSv1.3"

    def client(self, random: bytes) -> None:
        """A client's hello; another one with the same random is the same handshake's."""
        if random != self._random:
            self._random = random
            self._forget()
            self._server = None

    def server(self, hello: ServerHello) -> None:
        """What the server chose."""
        if not hello.retry:
            self._forget()
            self._server = hello
            self._cipher = cipher_of(hello.cipher or "")

    def opener(self, direction: Direction, stage: int) -> Opener | None:
        """What opens records from the beginning of a stage on; None as long as it is unknown.

        Where the secret of the handshake is missing, it is what opens those behind it.
        """
        server, asked = self._server, (self.log.version, stage)
        if not self._random or server is None or self._missed.get(direction) == asked:
            return None
        secrets = self._secrets()
        made: Opener | None = None
        if secrets and self._cipher is None:
            self.problem = f"{server.cipher} can't be opened here"
        elif secrets and self._cipher is not None:
            try:
                made = self._make(self._cipher, server, secrets, direction, stage)
            except ValueError as error:
                self.problem = str(error)
        if made is None:
            self._missed[direction] = asked
        return made

    def following(self, direction: Direction, opener: Opener) -> Opener | None:
        """What opens records behind the end of a stage (RFC 8446 §7.2), or of the handshake that
        comes to its end under the keys of the one before (RFC 5246 §7.4.1.1)."""
        following = self.opener(direction, opener.stage + self.inside)
        return following if following is not opener else None

    def _forget(self) -> None:
        self._made = None
        self._latest.clear()
        self._missed.clear()

    def _make(
        self,
        cipher: Cipher,
        server: ServerHello,
        secrets: dict[bytes, bytes],
        direction: Direction,
        stage: int,
    ) -> Opener | None:
        if self.inside:
            secret = secrets.get(_LABELS[direction][0]) if stage == HANDSHAKE else None
            if secret is None:
                stage = max(stage, FIRST_TRAFFIC)
                secret = self._traffic(cipher, secrets, direction, stage)
            return opener_13(cipher, secret, stage) if secret is not None else None
        master = secrets.get(_MASTER)
        if self._made is None and master is not None:
            randoms = (self._random, server.random)
            version, behind = version_name(server.version), server.encrypt_then_mac
            self._made = openers_12(cipher, version, master, randoms, mac_behind=behind)
        return self._made[direction] if self._made is not None else None

    def _traffic(
        self, cipher: Cipher, secrets: dict[bytes, bytes], direction: Direction, stage: int
    ) -> bytes | None:
        first = FIRST_TRAFFIC, secrets.get(_LABELS[direction][1])
        at, secret = self._latest.get(direction, first)
        if secret is None:
            return None
        # Hardly ever is an earlier one asked for again.
        if stage < at:
            at, secret = FIRST_TRAFFIC, secrets[_LABELS[direction][1]]
        for _ in range(at, stage):
            secret = next_secret(cipher, secret)
        self._latest[direction] = stage, secret
        return secret

    def _secrets(self) -> dict[bytes, bytes]:
        """What the key log has for the hello in force, by label."""
        found = self.log.find(self._random)
        if not found or (self._random not in self._lines and len(self._lines) >= MAX_HANDSHAKES):
            return {}
        self._lines[self._random] = found
        parts = [line.split() for line in found.splitlines()]
        return {label: bytes.fromhex(secret.decode("ascii")) for label, _, secret in parts}
