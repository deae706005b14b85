"""Opens protected records of TLS: from a secret of the key log to the content of a record.

The key schedule of TLS 1.0 to 1.2 (RFC 5246 §5 and §6.3, RFC 4346) and of 1.3 (RFC 8446 §7.1 to
§7.3); AES in GCM (RFC 5288), CCM (RFC 6655) and CBC mode, with the MAC before or behind the
encryption (RFC 5246 §6.2.3.2, RFC 7366), and ChaCha20-Poly1305 (RFC 7905).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple, Protocol

from smtpscope.stream import Direction

HANDSHAKE, FIRST_TRAFFIC = 0, 1
"""Stages of the keys of TLS 1.3; each KeyUpdate makes another one. Up to 1.2 there is one."""

_BLOCK = 16
_OLD = ("TLSv1.0", "TLSv1.1")


class Cipher(NamedTuple):
    """How a suite protects: `mode`, octets of its key, and the hash of its key schedule.

    `tag` are the octets of an AEAD's tag; `mac` is the hash that CBC suites are authenticated
    with.
    """

    mode: str
    key: int
    hash: str = "sha256"
    tag: int = 16
    mac: str = ""


_CIPHERS = {
    "AES_128_GCM_SHA256": Cipher("gcm", 16),
    "AES_256_GCM_SHA384": Cipher("gcm", 32, "sha384"),
    "CHACHA20_POLY1305_SHA256": Cipher("chacha20", 32),
    "AES_128_CCM": Cipher("ccm", 16),
    "AES_256_CCM": Cipher("ccm", 32),
    "AES_128_CCM_8": Cipher("ccm", 16, tag=8),
    "AES_256_CCM_8": Cipher("ccm", 32, tag=8),
    "AES_128_CCM_SHA256": Cipher("ccm", 16),
    "AES_128_CCM_8_SHA256": Cipher("ccm", 16, tag=8),
    "AES_128_CBC_SHA": Cipher("cbc", 16, mac="sha1"),
    "AES_256_CBC_SHA": Cipher("cbc", 32, mac="sha1"),
    "AES_128_CBC_SHA256": Cipher("cbc", 16, mac="sha256"),
    "AES_256_CBC_SHA256": Cipher("cbc", 32, mac="sha256"),
    "AES_128_CBC_SHA384": Cipher("cbc", 16, "sha384", mac="sha384"),
    "AES_256_CBC_SHA384": Cipher("cbc", 32, "sha384", mac="sha384"),
}


def cipher_of(suite: str) -> Cipher | None:
    """How a suite of this name (IANA's) protects; None where it can't be opened here."""
    _, named, cipher = suite.partition("_WITH_")
    return _CIPHERS.get(cipher if named else suite.removeprefix("TLS_"))


class Content(NamedTuple):
    """What a record holds: its content type, and the octets."""

    kind: int
    octets: bytes


class Opener(Protocol):
    """Opens the records of one direction under one set of keys.

    `before` are the octets of a record's payload that stand before the content, `around` those
    that are beside it at least. `stage` tells which keys these are.
    """

    before: int
    around: int
    stage: int

    def open(self, header: bytes, payload: bytes | memoryview, sequence: int) -> Content | None:
        """The content of the record with this number; None where it is not what was sealed."""

    def number(self, payload: bytes | memoryview) -> int | None:
        """What a record says of its own number: differences from one to the next count."""

    def follow(self, octets: bytes | memoryview) -> None:
        """These octets stand right before the next record; none where they are missing."""


# -- TLS 1.3 ---------------------------------------------------------------------------------------


def opener_13(cipher: Cipher, secret: bytes, stage: int) -> Opener:
    """For a traffic secret (RFC 8446 §7.3). Raises ValueError where it is of no use."""
    if len(secret) != hashlib.new(cipher.hash).digest_size or cipher.mode == "cbc":
        raise ValueError("a secret of another suite")
    key = expand_label(cipher.hash, secret, b"key", cipher.key)
    return _Sealed13(
        _aead(cipher, key), expand_label(cipher.hash, secret, b"iv", 12), cipher, stage
    )


def next_secret(cipher: Cipher, secret: bytes) -> bytes:
    """The traffic secret behind a KeyUpdate (RFC 8446 §7.2)."""
    return expand_label(cipher.hash, secret, b"traffic upd", len(secret))


def expand_label(hash: str, secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with no context (RFC 8446 §7.1)."""
    name = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes((len(name),)) + name + b"\0"
    made, block, number = b"", b"", 0
    while len(made) < length:
        number += 1
        block = hmac.digest(secret, block + info + bytes((number,)), hash)
        made += block
    return made[:length]


class _Aead(Protocol):
    def decrypt(
        self,
        nonce: bytes | memoryview,
        data: bytes | memoryview,
        associated_data: bytes | memoryview | None,
    ) -> bytes: ...


def _aead(cipher: Cipher, key: bytes) -> _Aead:
    # The import takes longer than most reviews.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers import aead

    try:
        if cipher.mode == "gcm":
            return aead.AESGCM(key)
        if cipher.mode == "ccm":
            return aead.AESCCM(key, cipher.tag)
        return aead.ChaCha20Poly1305(key)
    except UnsupportedAlgorithm as error:
        # Not every build of OpenSSL has all of them.
        raise ValueError(f"{cipher.mode} is not to be had here") from error


class _Sealed:
    """An AEAD's records: what is common to all versions."""

    before = 0

    def __init__(self, aead: _Aead, iv: bytes, cipher: Cipher, stage: int) -> None:
        from cryptography.exceptions import InvalidTag

        self.stage = stage
        self.around = cipher.tag
        self._decrypt = aead.decrypt
        self._iv = int.from_bytes(iv, "big")
        self._refused = (InvalidTag, ValueError, OverflowError)

    def number(self, payload: bytes | memoryview) -> int | None:
        return None

    def follow(self, octets: bytes | memoryview) -> None:
        """Every record stands for itself."""


class _Sealed13(_Sealed):
    """RFC 8446 §5.2: the content type is inside, behind it is padding of any length."""

    def __init__(self, aead: _Aead, iv: bytes, cipher: Cipher, stage: int) -> None:
        super().__init__(aead, iv, cipher, stage)
        self.around += 1

    def open(self, header: bytes, payload: bytes | memoryview, sequence: int) -> Content | None:
        nonce = (self._iv ^ sequence).to_bytes(12, "big")
        try:
            inner = self._decrypt(nonce, payload, header)
        except self._refused:
            return None
        if not inner or not inner[-1]:
            inner = inner.rstrip(b"\0")
        return Content(inner[-1], inner[:-1]) if inner else Content(0, b"")


# -- TLS 1.0 to 1.2 --------------------------------------------------------------------------------


def openers_12(
    cipher: Cipher, version: str, master: bytes, randoms: tuple[bytes, bytes], *, mac_behind: bool
) -> tuple[Opener, Opener]:
    """For a master secret, by `Direction` (RFC 5246 §6.3); `randoms` are both sides' ones.

    `mac_behind`: encrypt-then-MAC was agreed. Raises ValueError where it is of no use.
    """
    if cipher.mode != "cbc" and version != "TLSv1.2":
        raise ValueError("a suite of another version")
    mac = hashlib.new(cipher.mac).digest_size if cipher.mac else 0
    explicit = version != "TLSv1.0"
    iv = {"cbc": 0 if explicit else _BLOCK, "chacha20": 12}.get(cipher.mode, 4)
    client, server = randoms
    wanted = 2 * (mac + cipher.key + iv)
    block = _expand(version, cipher.hash, master, b"key expansion" + server + client, wanted)
    parts, at = [], 0
    for length in (mac, mac, cipher.key, cipher.key, iv, iv):
        parts.append(block[at : at + length])
        at += length
    made: list[Opener] = []
    for side in Direction:
        mac_key, key, own_iv = parts[side], parts[2 + side], parts[4 + side]
        if cipher.mode == "cbc":
            chain = None if explicit else own_iv
            made.append(_Chained(cipher.mac, mac_key, key, chain, mac_behind=mac_behind))
        elif cipher.mode == "chacha20":
            made.append(_Sealed12(_aead(cipher, key), own_iv, cipher))
        else:
            made.append(_SealedExplicit(_aead(cipher, key), own_iv, cipher))
    return made[0], made[1]


def _expand(version: str, hash: str, secret: bytes, seed: bytes, length: int) -> bytes:
    """The pseudorandom function (RFC 5246 §5; up to 1.1 RFC 4346 §5)."""
    if version not in _OLD:
        return _p_hash(hash, secret, seed, length)
    half = (len(secret) + 1) // 2
    first = _p_hash("md5", secret[:half], seed, length)
    second = _p_hash("sha1", secret[-half:], seed, length)
    mixed = int.from_bytes(first, "big") ^ int.from_bytes(second, "big")
    return mixed.to_bytes(length, "big")


def _p_hash(hash: str, secret: bytes, seed: bytes, length: int) -> bytes:
    made, block = b"", seed
    while len(made) < length:
        block = hmac.digest(secret, block, hash)
        made += hmac.digest(secret, block + seed, hash)
    return made[:length]


def _told(header: bytes, sequence: int, length: int) -> bytes:
    """What is authenticated beside the content (RFC 5246 §6.2.3.3)."""
    return sequence.to_bytes(8, "big") + header[:3] + length.to_bytes(2, "big")


class _Sealed12(_Sealed):
    """RFC 7905: the nonce is made of the record's number."""

    def __init__(self, aead: _Aead, iv: bytes, cipher: Cipher) -> None:
        super().__init__(aead, iv, cipher, FIRST_TRAFFIC)

    def open(self, header: bytes, payload: bytes | memoryview, sequence: int) -> Content | None:
        length = len(payload) - self.around
        if length < 0:
            return None
        nonce = (self._iv ^ sequence).to_bytes(12, "big")
        try:
            octets = self._decrypt(nonce, payload, _told(header, sequence, length))
        except self._refused:
            return None
        return Content(header[0], octets)


class _SealedExplicit(_Sealed12):
    """RFC 5288 §3: the last 8 octets of the nonce stand before the content."""

    before = 8

    def __init__(self, aead: _Aead, iv: bytes, cipher: Cipher) -> None:
        super().__init__(aead, iv, cipher)
        self.around += self.before
        self._salt = iv

    def open(self, header: bytes, payload: bytes | memoryview, sequence: int) -> Content | None:
        length = len(payload) - self.around
        if length < 0:
            return None
        nonce = self._salt + bytes(payload[:8])
        try:
            octets = self._decrypt(nonce, payload[8:], _told(header, sequence, length))
        except self._refused:
            return None
        return Content(header[0], octets)

    def number(self, payload: bytes | memoryview) -> int | None:
        return int.from_bytes(payload[:8], "big")


class _Chained:
    """CBC and HMAC; from TLS 1.1 on each record begins with its own initialization vector."""

    stage = FIRST_TRAFFIC

    def __init__(
        self, mac: str, mac_key: bytes, key: bytes, chain: bytes | None, *, mac_behind: bool
    ) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        self._algorithm = algorithms.AES(key)
        self._cipher, self._mode = Cipher, modes.CBC
        self._mac, self._mac_key, self._mac_behind = mac, mac_key, mac_behind
        self._mac_size = hashlib.new(mac).digest_size
        self._chain = chain
        self.before = _BLOCK if chain is None else 0
        self.around = self.before + self._mac_size + 1

    def open(self, header: bytes, payload: bytes | memoryview, sequence: int) -> Content | None:
        sealed = bytes(payload)
        if self._mac_behind:
            split = max(len(sealed) - self._mac_size, 0)
            sealed, mac = sealed[:split], sealed[split:]
            if not self._is_own(mac, header, sequence, sealed):
                return None
        iv = self._chain if self._chain is not None else sealed[:_BLOCK]
        if len(sealed) <= self.before or len(sealed) % _BLOCK or len(iv) != _BLOCK:
            return None
        decryptor = self._cipher(self._algorithm, self._mode(iv)).decryptor()
        padded = decryptor.update(sealed[self.before :])
        padding = padded[-1] + 1
        size = len(padded) - padding - (0 if self._mac_behind else self._mac_size)
        if size < 0 or padded[-padding:] != padded[-1:] * padding:
            return None
        octets = padded[:size]
        if not self._mac_behind:
            mac = padded[size : size + self._mac_size]
            if not self._is_own(mac, header, sequence, octets):
                return None
        return Content(header[0], octets)

    def _is_own(self, mac: bytes, header: bytes, sequence: int, octets: bytes) -> bool:
        told = _told(header, sequence, len(octets))
        return hmac.digest(self._mac_key, told + octets, self._mac) == mac

    def number(self, payload: bytes | memoryview) -> int | None:
        return None

    def follow(self, octets: bytes | memoryview) -> None:
        if self._chain is not None:
            # With the MAC behind, the last block of the ciphertext stands before it. A MAC that is
            # right does not tell that this block is.
            end = max(len(octets) - (self._mac_size if self._mac_behind else 0), 0)
            self._chain = bytes(octets[max(end - _BLOCK, 0) : end])
