"""Who lives here: users, aliases and lists, asked by RCPT, VRFY and EXPN.

Names are compared without case. RFC 5321 §3.4, §3.5, §4.5.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from smtpscope.smtp.serving.settings import STATES, Settings, User
from smtpscope.smtp.values import Path


class Found(NamedTuple):
    """What is said of a name: the key of the reply, the field `target`, and lines to list."""

    key: str
    target: str = ""
    lines: Sequence[str] = ()


class Directory:
    """The users and lists of `settings`, ready to be asked."""

    def __init__(self, settings: Settings) -> None:
        self._host = settings.host
        self._accept_unknown = settings.accept_unknown
        self._domains = frozenset(_folded(each) for each in settings.domains)
        self._null_domains = frozenset(_folded(each) for each in settings.null_domains)
        self._users = {_folded(user.address): user for user in settings.users}
        self._lists = {_folded(name): members for name, members in settings.lists.items()}
        self.open = self._accept_unknown and not (
            self._domains or self._null_domains or self._users
        )

    def recipient(self, path: Path) -> Found:
        """The reply to RCPT for this path; its key is "rcpt" where all is well."""
        local = _folded(path.local.decode("utf-8", "replace"))
        domain = _folded(path.domain.decode("utf-8", "replace"))
        if domain in self._null_domains:
            return Found("rcpt.null-domain")
        if domain and self._domains and domain not in self._domains:
            return Found("rcpt.relay")
        user = self._users.get(f"{local}@{domain}") or self._users.get(local)
        if user is not None:
            return Found(_KEYS_OF_STATES[user.state], user.target)
        known = local == "postmaster" or local in self._lists or f"{local}@{domain}" in self._lists
        return Found("rcpt" if known or self._accept_unknown else "rcpt.unknown")

    def verify(self, text: str) -> Found:
        """The reply to VRFY: by address or local part, else by the words of names."""
        wanted = _folded(_bare(text))
        users = [
            user for key, user in self._users.items() if wanted in (key, key.partition("@")[0])
        ]
        if not users and wanted in self._lists:
            return Found("vrfy", "", [f"<{self._address(wanted)}>"])
        if not users:
            users = [user for user in self._users.values() if wanted in _words(user)]
        if not users:
            return Found("vrfy.unknown")
        if len(users) > 1:
            return Found("vrfy.ambiguous", "", [self._mailbox(user) for user in users])
        (user,) = users
        if user.state in ("forward", "moved"):
            return Found(f"vrfy.{user.state}", user.target)
        return Found("vrfy", "", [self._mailbox(user)])

    def expand(self, text: str) -> Found:
        """The reply to EXPN: a list's members, one a line; a user is a list of one."""
        wanted = _folded(_bare(text))
        members = self._lists.get(wanted)
        if members is None and wanted.endswith("@" + _folded(self._host)):
            members = self._lists.get(wanted.partition("@")[0])
        if members:
            return Found("expn", "", [self._member(each) for each in members])
        found = self.verify(text)
        return Found("expn", "", found.lines) if found.key == "vrfy" else Found("expn.unknown")

    def _member(self, name: str) -> str:
        user = self._users.get(_folded(name))
        return self._mailbox(user) if user is not None else f"<{self._address(name)}>"

    def _mailbox(self, user: User) -> str:
        address = f"<{self._address(user.address)}>"
        return f"{user.name} {address}" if user.name else address

    def _address(self, name: str) -> str:
        return name if "@" in name else f"{name}@{self._host}"


_KEYS_OF_STATES = {state: f"rcpt.{state}" for state in STATES} | {"ok": "rcpt"}


def _folded(name: str) -> str:
    return name.casefold()


def _bare(text: str) -> str:
    text = text.strip()
    return text[1:-1] if text[:1] == "<" and text[-1:] == ">" else text


def _words(user: User) -> list[str]:
    local = user.address.partition("@")[0]
    return [
        *_folded(local).replace(".", " ").split(),
        *_folded(user.name).split(),
        _folded(user.name),
    ]
