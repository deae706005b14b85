"""One server made ready: what `Settings` mean, worked out once for all its sessions.

It also holds what the sessions share: the fault counter, and whether there is room and TLS now.
RFC 5321 §4.1.1.1 and §4.5.3.1.4, RFC 9422 §4.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from smtpscope import reference
from smtpscope.smtp.grammar import format_reply
from smtpscope.smtp.serving import login, parameters
from smtpscope.smtp.serving.answers import Voice, fill_lines
from smtpscope.smtp.serving.directory import Directory
from smtpscope.smtp.serving.faults import FaultCounter, FaultPlan
from smtpscope.smtp.serving.settings import Settings

AUTH_LINE = 12_288
"""Octets of a line of an AUTH exchange, and of AUTH itself, whose tokens outgrow 512 octets in
practice (RFC 4954 §4)."""

_LIMITS = (
    ("MAILMAX", "max_mails"),
    ("RCPTMAX", "max_recipients"),
    ("RCPTDOMAINMAX", "max_recipient_domains"),
)
_ON: dict[str, Callable[[Settings], bool]] = {
    "STARTTLS": lambda settings: settings.starttls,
    "AUTH": lambda settings: bool(login.usable(settings)),
    "VRFY": lambda settings: settings.vrfy != "off",
    "EXPN": lambda settings: settings.expn != "off",
    "ETRN": lambda settings: settings.etrn,
    "ATRN": lambda settings: settings.atrn,
    "TURN": lambda settings: settings.turn != "off",
    "LIMITS": lambda settings: any(getattr(settings, field) for _, field in _LIMITS),
}
"""The extensions that are of no use until the settings turn them on."""

NEEDS = {"BINARYMIME": "CHUNKING", "SMTPUTF8": "8BITMIME"}
"""Extensions that may not be offered without another one (RFC 3030 §3, RFC 6531 §3.1)."""


class Service:
    """What the sessions of one server have in common.

    `room` and `tls_ready` are the I/O side's to set: false, they make MAIL draw 452 and STARTTLS
    454. `nonce` gives a new printable text each time, without commas.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        counter: FaultCounter | None = None,
        nonce: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self.settings = settings
        self.nonce = nonce
        self.room = True
        self.tls_ready = True
        self.extensions = _extensions(settings)
        self.offered = frozenset(keyword for keyword, _ in self.extensions)
        protocol = "LMTP" if settings.lmtp else "ESMTP"
        constants = {"host": settings.host, "protocol": protocol, "limit": str(settings.max_size)}
        enhanced = "ENHANCEDSTATUSCODES" in self.offered
        self.voice = Voice(settings.replies, constants, enhanced=enhanced)
        self.directory = Directory(settings)
        self.credentials = login.Credentials(settings)
        self.faults = FaultPlan(settings.faults, settings.seed, counter or FaultCounter())
        self.rules = {verb: parameters.known(verb, self.offered) for verb in parameters.RULES}
        self.mechanisms = {tls: self._mechanisms(tls) for tls in (False, True)}
        self.hello = {tls: self._hello_lines(tls) for tls in (False, True)}
        self.longest = self._longest_lines()

    def greet(self, name: bytes, *, tls: bool) -> bytes:
        """The reply to EHLO or LHLO of a client that calls itself `name`."""
        form = self.voice.forms["ehlo"]
        return format_reply(form.code, fill_lines(form, {"name": name}) + self.hello[tls])

    def _mechanisms(self, tls: bool) -> tuple[str, ...]:
        open_too = tls or self.settings.auth_allow_insecure
        return tuple(
            name
            for name in login.usable(self.settings)
            if open_too or not login.TABLE[name].cleartext
        )

    def _hello_lines(self, tls: bool) -> list[bytes]:
        lines = {
            "SIZE": f"SIZE {self.settings.max_size}",
            "AUTH": " ".join(("AUTH", *self.mechanisms[tls])) if self.mechanisms[tls] else "",
            "STARTTLS": "" if tls else "STARTTLS",
            "LIMITS": " ".join(
                ("LIMITS", *(f"{name}={n}" for name, field in _LIMITS if (n := _get(self, field))))
            ),
        }
        shown = [given or lines.get(keyword, keyword) for keyword, given in self.extensions]
        return [line.encode() for line in shown if line]

    def _longest_lines(self) -> dict[str, int]:
        """The longest command line by verb, and under "" that of all others."""
        base = self.settings.max_line or reference.limits()["command line"].value
        longest = {"": base}
        for keyword in self.offered:
            row = reference.extension(keyword)
            for verb, added in (row.length_added if row else {}).items():
                longest[verb] = longest.get(verb, base) + added
        longest["AUTH"] = max(base, AUTH_LINE)
        return longest


def _get(service: Service, field: str) -> int:
    value: int = getattr(service.settings, field)
    return value


def _extensions(settings: Settings) -> list[tuple[str, str]]:
    """The keywords that are offered, in order, each with its line where the settings give one."""
    hidden = {keyword.upper() for keyword in settings.hide}
    offered = []
    for entry in settings.extensions:
        # The old form AUTH=LOGIN counts as AUTH too.
        keyword = entry.replace("=", " ").partition(" ")[0].upper()
        given = "" if keyword == entry.upper() else entry
        if keyword not in hidden and (given or _ON.get(keyword, _always)(settings)):
            offered.append((keyword, given))
    keywords = {keyword for keyword, _ in offered}
    return [each for each in offered if each[0] not in NEEDS or NEEDS[each[0]] in keywords]


def _always(settings: Settings) -> bool:
    return True
