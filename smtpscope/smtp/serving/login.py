"""The server's side of SASL: PLAIN, LOGIN, CRAM-MD5 and SCRAM-SHA-256.

A mechanism is a generator: it yields challenges, takes decoded responses, and returns a `Verdict`.
RFC 4616; draft-murchison-sasl-login; RFC 2195; RFC 5802 and RFC 7677.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import stringprep
import unicodedata
from collections.abc import Callable, Generator
from functools import lru_cache
from typing import NamedTuple

from smtpscope.smtp.serving.settings import Settings


class Verdict(NamedTuple):
    """Who wants in, and whether the proof is right."""

    identity: bytes
    accepted: bool


class MalformedError(Exception):
    """A response is not in the mechanism's form; `key` is that of the reply."""

    def __init__(self, key: str = "auth.base64") -> None:
        super().__init__(key)
        self.key = key


Exchange = Generator[bytes, bytes, Verdict]


class Credentials:
    """What logins are checked against: the passwords, or nothing at all."""

    def __init__(self, settings: Settings) -> None:
        self.host = settings.host.encode()
        self.everybody = settings.auth == "any"
        self.iterations = settings.scram_iterations
        self._salt = settings.scram_salt
        self._passwords = {
            identity.encode(): password.encode()
            for identity, password in settings.passwords.items()
        }

    def password(self, identity: bytes) -> bytes | None:
        return self._passwords.get(identity)

    def accepts(self, identity: bytes, password: bytes) -> bool:
        """Whether this password is right."""
        known = self._passwords.get(identity, b"")
        return hmac.compare_digest(known, password) and identity in self._passwords

    def salt(self, identity: bytes) -> bytes:
        """The salt of SCRAM: the same for an identity each time, even if there is none such."""
        return (
            self._salt or hashlib.sha256(b"salt of %s at %s" % (identity, self.host)).digest()[:16]
        )


def plain(credentials: Credentials, nonce: str) -> Exchange:
    """RFC 4616: authorization identity NUL authentication identity NUL password."""
    response = yield b""
    authzid, _, rest = response.partition(b"\0")
    identity, nul, password = rest.partition(b"\0")
    if not nul or not identity or not password or b"\0" in password:
        raise MalformedError
    acts_as_itself = authzid in (b"", identity)
    right = credentials.everybody or credentials.accepts(identity, password)
    return Verdict(identity, right and acts_as_itself)


def login(credentials: Credentials, nonce: str) -> Exchange:
    """Name and password, asked for one after the other."""
    identity = yield b"Username:"
    password = yield b"Password:"
    right = credentials.everybody or credentials.accepts(identity, password)
    return Verdict(identity, right and bool(identity))


def cram_md5(credentials: Credentials, nonce: str) -> Exchange:
    """RFC 2195: the response is the identity, a space and the keyed digest in hexadecimal."""
    challenge = b"<%s@%s>" % (nonce.encode(), credentials.host)
    response = yield challenge
    identity, space, digest = response.rpartition(b" ")
    if not space or not identity:
        raise MalformedError
    if credentials.everybody:
        return Verdict(identity, True)
    password = credentials.password(identity)
    wanted = hmac.new(password or b"", challenge, "md5").hexdigest().encode()
    right = hmac.compare_digest(wanted, digest.lower())
    return Verdict(identity, right and password is not None)


_FIRST = re.compile(
    rb"((?:n|y|p=[A-Za-z0-9.-]+),(?:a=([^,]+))?,)(n=([^,]+),r=([!-+\--~]+)(?:,.*)?)\Z"
)
_FINAL = re.compile(rb"(c=([A-Za-z0-9+/=]+),r=([!-+\--~]+)(?:,[^p].*)?),p=([A-Za-z0-9+/=]+)\Z")


def scram_sha_256(credentials: Credentials, nonce: str) -> Exchange:
    """RFC 5802 §3 with SHA-256 (RFC 7677): both sides prove that they know the password."""
    response = yield b""
    first = _FIRST.match(response)
    if first is None:
        raise MalformedError
    header, authzid, bare, name, client_nonce = first.groups()
    identity = _saslname(name)
    both = client_nonce + nonce.encode()
    salt = credentials.salt(identity)
    server_first = b"r=%s,s=%s,i=%d" % (both, base64.b64encode(salt), credentials.iterations)
    response = yield server_first
    final = _FINAL.match(response)
    if final is None:
        raise MalformedError
    without_proof, binding, their_nonce, proof = final.groups()
    password = credentials.password(identity)
    client_key, server_key = _keys(password or b"", salt, credentials.iterations)
    stored_key = hashlib.sha256(client_key).digest()
    message = b",".join((bare, server_first, without_proof))
    signature = hmac.digest(stored_key, message, "sha256")
    wanted = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    right = (
        password is not None
        # There is no channel binding without -PLUS.
        and header[:1] != b"p"
        and (authzid is None or _saslname(authzid) == identity)
        and binding == base64.b64encode(header)
        and their_nonce == both
        and hmac.compare_digest(base64.b64encode(wanted), proof)
    )
    if right:
        yield b"v=" + base64.b64encode(hmac.digest(server_key, message, "sha256"))
    return Verdict(identity, right)


class Mechanism(NamedTuple):
    """How a mechanism runs, and who begins. `cleartext`: who listens learns the password."""

    run: Callable[[Credentials, str], Exchange]
    client_first: bool
    initial_allowed: bool
    cleartext: bool


TABLE: dict[str, Mechanism] = {
    "PLAIN": Mechanism(plain, True, True, True),
    # It is the server's turn, but many clients send the name with the command.
    "LOGIN": Mechanism(login, False, True, True),
    "CRAM-MD5": Mechanism(cram_md5, False, False, False),
    "SCRAM-SHA-256": Mechanism(scram_sha_256, True, True, False),
}


def usable(settings: Settings) -> tuple[str, ...]:
    """The mechanisms that `settings` leave, in their order."""
    if settings.auth == "off":
        return ()
    # A SCRAM server has to prove that it knows the password itself.
    names = [name for name in settings.mechanisms if name in TABLE]
    return tuple(name for name in names if settings.passwords or name != "SCRAM-SHA-256")


@lru_cache(maxsize=256)
def _keys(password: bytes, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    prepared = _saslprep(password)
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations)
    return hmac.digest(salted, b"Client Key", "sha256"), hmac.digest(
        salted, b"Server Key", "sha256"
    )


def _saslprep(password: bytes) -> bytes:
    """The mapping and the normalization of RFC 4013; what it forbids is let through."""
    if password.isascii():
        return password
    text = password.decode("utf-8", "surrogateescape")
    kept = [
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    ]
    return unicodedata.normalize("NFKC", "".join(kept)).encode("utf-8", "surrogateescape")


def _saslname(name: bytes) -> bytes:
    return name.replace(b"=2C", b",").replace(b"=3D", b"=")
