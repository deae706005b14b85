"""How one server behaves: data only, every field with its usual value.

By default it keeps to the standard, takes mail for everybody and tells nothing about anybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from smtpscope.smtp.serving.answers import ANSWERS, Answer
from smtpscope.smtp.serving.faults import Fault

MAX_HOST = 255
"""Characters of a host's name (RFC 5321 §4.5.3.1.2)."""

EXTENSIONS = (
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "SMTPUTF8",
    "CHUNKING",
    "BINARYMIME",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "LIMITS",
    "STARTTLS",
    "AUTH",
    "VRFY",
    "EXPN",
    "ETRN",
    "ATRN",
    "TURN",
    "HELP",
)
"""All that can be offered, in the order of the EHLO reply; what is off or of no use is left out."""

STATES = ("ok", "busy", "full", "disabled", "not-allowed", "forward", "moved")

MECHANISMS = ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN")

TOLERATED = frozenset(
    {"space-after-colon", "odd-space", "source-route", "hello-underscore", "hello-bare-ip"}
)
"""Defects of a command that do not make a server refuse it: common, and harmless. `grammar` has
the names; path-without-brackets is one that old servers tolerated too."""


@dataclass(frozen=True, slots=True)
class User:
    """A mailbox: `address` is local@domain, or a local part for every domain; `name` is a person's.

    `state`: ok, busy (450), full (552), disabled (550), not-allowed (553), forward (251) or moved
    (551); the last two go to `target`.
    """

    address: str
    name: str = ""
    state: str = "ok"
    target: str = ""

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"state: must be one of {', '.join(STATES)}, not {self.state!r}")


@dataclass(frozen=True, slots=True)
class Settings:
    """One server. ValueError, beginning with the field's name, where it makes no sense.

    `host` is what it calls itself: in replies, and in the certificate that is made for it.

    `extensions` are keywords, or whole lines where the parameters are given too ("SIZE 1000");
    `hide` takes keywords out. `disabled` are verbs answered with 502. `replies` stand in for rows
    of `answers.ANSWERS`, `greeting` is the key of the first reply: "greeting", "greeting.refused"
    (554) or "greeting.no-mail" (521).

    `auth`: off, users (who are in `passwords`) or any (everybody). `logins` has for an identity
    the key of the reply that its login draws: auth.transition (432), auth.weak (534),
    auth.temporary (454), auth.failed (535).

    `lists` are aliases and lists by name. With `accept_unknown` whoever is no user may receive
    too. Without `domains` each domain is local; those of `null_domains` take no mail (556).

    `vrfy`, `expn`: on, off (252) or auth. `turn`: off, auth or insecure.

    The limits: octets (0: none), recipients, domains and transactions (0: none); `max_line` 0 is
    the RFC's limit of a command line. `bare_lf`: reject or accept-and-flag.
    """

    host: str = "localhost"
    lmtp: bool = False
    extensions: tuple[str, ...] = EXTENSIONS
    hide: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()
    replies: Mapping[str, Answer] = field(default_factory=dict)
    greeting: str = "greeting"
    tolerate: frozenset[str] = TOLERATED
    starttls: bool = False
    require_tls: bool = False
    require_auth: bool = False
    auth: str = "off"
    auth_allow_insecure: bool = False
    mechanisms: tuple[str, ...] = MECHANISMS
    passwords: Mapping[str, str] = field(default_factory=dict)
    logins: Mapping[str, str] = field(default_factory=dict)
    scram_iterations: int = 4096
    scram_salt: bytes = b""
    users: tuple[User, ...] = ()
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    accept_unknown: bool = True
    domains: frozenset[str] = frozenset()
    null_domains: frozenset[str] = frozenset()
    vrfy: str = "off"
    expn: str = "off"
    turn: str = "off"
    atrn: bool = False
    etrn: bool = False
    max_size: int = 100_000_000
    max_recipients: int = 1_000
    max_recipient_domains: int = 0
    max_mails: int = 0
    max_errors: int = 20
    max_line: int = 0
    bare_lf: str = "reject"
    faults: tuple[Fault, ...] = ()
    address_faults: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.host):
            raise ValueError(
                f"host: must be 1 to {MAX_HOST} visible ASCII characters without spaces, such as"
                f" mx.example.org, not {_shortened(self.host)}"
            )
        for field_, choices in _CHOICES.items():
            value = getattr(self, field_)
            if value not in choices:
                raise ValueError(f"{field_}: must be one of {', '.join(choices)}, not {value!r}")
        for field_, keys in (
            ("replies", self.replies),
            ("logins", self.logins.values()),
            ("greeting", (self.greeting,)),
        ):
            for key in keys:
                if key not in ANSWERS:
                    raise ValueError(f"{field_}: no reply has the key {key!r}")
        for key, answer in self.replies.items():
            if not 200 <= answer.code <= 599:
                raise ValueError(f"replies: {key}: {answer.code} is no reply code")


def _shortened(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= 2 * _SHOWN else f"{shown[:_SHOWN]}… ({len(text)} characters)"


_SHOWN = 40
_HOST = re.compile(rf"[!-~]{{1,{MAX_HOST}}}")
_CHOICES = {
    "auth": ("off", "users", "any"),
    "vrfy": ("off", "on", "auth"),
    "expn": ("off", "on", "auth"),
    "turn": ("off", "auth", "insecure"),
    "bare_lf": ("reject", "accept-and-flag"),
}
