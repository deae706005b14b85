"""The envelope of one message as a server has accepted it. RFC 5321 §2.3.1, RFC 3848."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from smtpscope.smtp.values import Parameter, Path


class Recipient(NamedTuple):
    """One recipient that was accepted. `name` is the address as it was given, without brackets."""

    path: Path
    parameters: tuple[Parameter, ...] = ()

    @property
    def name(self) -> bytes:
        return self.path.address


@dataclass(slots=True)
class Envelope:
    """Who sends what to whom, and how it came.

    `hello` is what the client called itself, `identity` who logged in. `size` is what SIZE=
    announced, `body` the BODY= value. `via` is DATA or BDAT, "" before either.
    """

    client: str
    hello: bytes
    protocol: str
    identity: bytes | None
    tls: bool
    sender: Path
    parameters: tuple[Parameter, ...] = ()
    recipients: list[Recipient] = field(default_factory=list)
    domains: set[bytes] = field(default_factory=set)
    smtputf8: bool = False
    body: str = ""
    size: int | None = None
    via: str = ""


def protocol_name(base: str, *, utf8: bool, tls: bool, login: bool) -> str:
    """What stands behind "with" in Received: `base` is SMTP, ESMTP or LMTP (RFC 3848, RFC 6531)."""
    if utf8:
        base = "UTF8" + ("LMTP" if base == "LMTP" else "SMTP")
    elif base == "SMTP":
        return base
    return base + "S" * tls + "A" * login
