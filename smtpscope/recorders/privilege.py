"""Give every privilege up for good: before the first packet is read, and before a file is written.

After `drop` a process has no root id, no supplementary group, no capability in any set, can gain
none by executing something, and leaves no core file (capabilities(7), prctl(2)).
"""

from __future__ import annotations

import codecs
import ctypes
import os
import pwd
import resource
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from smtpscope.errors import SmtpscopeError, UsageError

_PR_SET_DUMPABLE, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 4, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_ID_BOUND = 2**32 - 1
"""The id that means "leave it as it is"."""

CAP_DAC_READ_SEARCH = 1 << 2
"""The capability to read every file."""

_LEFT = ("CapInh", "CapPrm", "CapEff", "CapAmb")


class User(NamedTuple):
    """Whom a recorder goes on as."""

    name: str
    uid: int
    gid: int


def target(
    given: tuple[int, int] | None = None, environment: Mapping[str, str] = os.environ
) -> User | None:
    """Whom root becomes: who is `given`, who called sudo, or nobody; None where we aren't root.

    Raises UsageError where there is no such user.
    """
    if os.geteuid() != 0:
        return None
    if given is not None:
        if not _is_harmless(*given):
            raise UsageError(f"a recorder never goes on as {given[0]}:{given[1]}: name a user")
        return User(_name(given[0]), *given)
    uid, gid = environment.get("SUDO_UID", ""), environment.get("SUDO_GID", "")
    if uid.isdecimal() and gid.isdecimal() and _is_harmless(int(uid), int(gid)):
        return User(_name(int(uid)), int(uid), int(gid))
    with suppress(KeyError):
        nobody = pwd.getpwnam("nobody")
        if _is_harmless(nobody.pw_uid, nobody.pw_gid):
            return User("nobody", nobody.pw_uid, nobody.pw_gid)
    raise UsageError("there is no user nobody to go on as: use sudo as another user")


def prepare() -> None:
    """Load what Python loads when it is first needed: later we may not be allowed to read it."""
    for codec in ("utf-8", "ascii", "latin-1", "idna"):
        codecs.lookup(codec)
    import json
    import traceback

    os.strerror(1)
    json.dumps("ü")
    traceback.format_list([])


def may_read(user: User, path: Path) -> bool:
    """Whether anybody with that user's ids could read a file, by the modes on the way to it."""
    path = path.resolve()
    return all(
        _permits(each.stat(), user, 0o4 if each == path else 0o1) for each in (path, *path.parents)
    )


def may_write(user: User, path: Path) -> bool:
    """The same for writing to it, or for making files in a folder."""
    path = path.resolve()
    wanted = 0o3 if path.is_dir() else 0o2
    return all(
        _permits(each.stat(), user, wanted if each == path else 0o1)
        for each in (path, *path.parents)
    )


def _permits(known: os.stat_result, user: User, wanted: int) -> bool:
    shift = 6 if known.st_uid == user.uid else 3 if known.st_gid == user.gid else 0
    return known.st_mode >> shift & wanted == wanted


def drop(user: User | None, *, keep: int = 0) -> None:
    """Go on as `user` (None: as who we are) with no privilege left but the capabilities `keep`, a
    mask, which our processes have, too.

    Raises SmtpscopeError where anything is left.
    """
    prepare()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    linux = _Linux() if sys.platform == "linux" else None
    if linux:
        if keep:
            # Nothing can be added to what is inherited once the bounding set is empty.
            linux.inherit(keep)
        linux.drop_bounding()
    try:
        if user is not None:
            # Root changes all three ids of each kind with these.
            os.setgroups([])
            os.setgid(user.gid)
            os.setuid(user.uid)
    except OSError as error:
        raise SmtpscopeError(
            f"privileges can't be given up ({error.strerror}): record as another user"
        ) from None
    if linux:
        linux.drop_capabilities(keep)
    left = _left(user, keep)
    if left:
        raise SmtpscopeError(f"privileges can't be given up ({left}): record as another user")


class _Linux:
    """The system calls that Python has no names for."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def drop_bounding(self) -> None:
        """Nothing that is executed later may gain a capability; needs CAP_SETPCAP."""
        number = 0
        while self._prctl(_PR_CAPBSET_READ, number) >= 0:
            self._prctl(_PR_CAPBSET_DROP, number)
            number += 1

    def inherit(self, keep: int) -> None:
        """What root executes has these, whatever the bounding set."""
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        sets = (ctypes.c_uint32 * 6)()
        self._libc.capget(header, sets)
        sets[2] |= keep
        self._libc.capset(header, sets)

    def drop_capabilities(self, keep: int) -> None:
        self._prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        sets = (ctypes.c_uint32 * 6)(keep, keep, keep)
        self._libc.capset(header, sets)
        self._prctl(_PR_SET_NO_NEW_PRIVS, 1)
        # Also keeps others of this user from reading our memory.
        self._prctl(_PR_SET_DUMPABLE, 0)

    def _prctl(self, option: int, value: int) -> int:
        unsigned = ctypes.c_ulong
        return int(self._libc.prctl(option, unsigned(value), unsigned(0), unsigned(0), unsigned(0)))


def _left(user: User | None, keep: int) -> str:
    """What is left of our privileges, in words."""
    if user is not None:
        uids, gids = {os.getuid(), os.geteuid()}, {os.getgid(), os.getegid()}
        if sys.platform == "linux":
            uids, gids = uids | set(os.getresuid()), gids | set(os.getresgid())
        if uids != {user.uid} or gids != {user.gid}:
            return "the ids have not changed"
        if set(os.getgroups()) - {user.gid}:
            return "groups are left"
        with suppress(OSError):
            os.setuid(0)
            return "the way back to root is open"
    if sys.platform == "linux":
        status = Path("/proc/self/status")
        facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
        for name in _LEFT if user is None else (*_LEFT, "CapBnd"):
            if int(facts[name], 16) & ~keep:
                return f"{name} is {facts[name].strip()}"
        if facts.get("NoNewPrivs", "1").strip() != "1":
            return "NoNewPrivs is not set"
    return ""


def _is_harmless(uid: int, gid: int) -> bool:
    return 0 < uid < _ID_BOUND and 0 < gid < _ID_BOUND


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
