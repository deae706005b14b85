"""Starts recorders for the command line and for the screen: of network interfaces, and others.

Who may capture gives that privilege up before anything is shown: one recorder that has it is
started first, and waits. Who may not starts as many as are wanted, which dumpcap may help.
"""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from smtpscope.errors import RecordingError, SmtpscopeError
from smtpscope.options import DEFAULT_KEPT, DEFAULT_ROTATION, DEFAULT_SIZE, tell
from smtpscope.places import new_recording, recordings_folder
from smtpscope.recorder import Recorder

if TYPE_CHECKING:
    from smtpscope.recorders.interfaces import InterfaceInfo
    from smtpscope.recorders.privilege import User

ANY = "any"

_SUDO = "leave smtpscope and start it again, as `sudo smtpscope` or `sudo smtpscope sniff`"
_USED = (
    "one recording can be made each time that smtpscope is started like this, for its privileges"
    " are given up then: to record again, leave smtpscope and start it again"
)
_SHOWN = f"who may capture and looks at captures does not record: to record, {_SUDO}"


class Wanted(NamedTuple):
    """What is to be recorded; `path` "" is a new file in the state folder, and `rotation` as a
    recorder's task has it. `packets` and `seconds` end the recording, None never."""

    interfaces: tuple[str, ...] = (ANY,)
    filter: str = ""
    promiscuous: bool = False
    path: str = ""
    rotation: list[float | None] | None = None
    packets: int | None = None
    seconds: float | None = None
    detach: bool = False


class Sniffer:
    """Starts recorders; `ports` are for SMTP beside the usual ones.

    `refusal` says why there can be no recorder now, "" where there can be one, and `told` what
    else is to be known. A context manager, which tells in the end what has been recorded.
    """

    rotation = (
        f"another file is begun at {DEFAULT_SIZE // 1_000_000} MB, the newest {DEFAULT_KEPT}"
        " are kept"
    )

    def __init__(self, ports: Iterable[int] = ()) -> None:
        self.privileged = _is_privileged()
        self.refusal = _SHOWN if self.privileged else ""
        self.told = ""
        self._ports = frozenset(ports)
        self._waiting: Recorder | None = None
        self._user: User | None = None
        self._folder: Path | None = None
        self._started: list[Recorder] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        from smtpscope.live import tell_end

        self.close()
        for recorder in self._started:
            try:
                tell_end(recorder)
            except SmtpscopeError as problem:
                tell(str(problem))

    def give_up(self, *, detached: bool = False) -> None:
        """Go on without any privilege, for good; a recorder that has what there was waits.

        Raises `SmtpscopeError`.
        """
        from smtpscope.recorders import privilege

        self._user = privilege.target()
        self._waiting = Recorder("sniff", detached=detached)
        # Nothing from here on has more rights than that user.
        self._folder = _become(self._user)
        self.refusal = ""

    def ready(self) -> None:
        """Give up what privilege there is, so that captures can be looked at and recorded; where
        that can't be, recording is refused."""
        if not self.privileged:
            return
        try:
            self.give_up()
        except SmtpscopeError as error:
            self.close()
            self.refusal = str(error)
        else:
            if self._user is not None and "SUDO_UID" not in os.environ and os.geteuid():
                self.told = (
                    f"This goes on as {self._user.name}, who can open few files of root: to open"
                    " them, name them when smtpscope is started."
                )

    def close(self) -> None:
        """End the recorder that waits."""
        if self._waiting is not None:
            self._waiting.stop()
            self._waiting = None
        if self._folder is not None:
            with suppress(OSError):
                # Where nothing was recorded nothing is left behind.
                self._folder.rmdir()

    def interfaces(self) -> list[InterfaceInfo]:
        """The interfaces of this machine. It takes a moment."""
        from smtpscope.recorders.interfaces import list_interfaces

        return list_interfaces()

    @property
    def folder(self) -> str:
        """Where recordings lie that nobody named."""
        try:
            return str(self._folder or recordings_folder())
        except SmtpscopeError:
            return tempfile.gettempdir()

    def take(self) -> Recorder:
        """A recorder that waits for its task. Raises `SmtpscopeError` where there can be none."""
        recorder, self._waiting = self._waiting, None
        if recorder is not None:
            self.refusal = f"{_USED} with sudo" if self.privileged else _USED
            return recorder
        if self.refusal:
            raise SmtpscopeError(self.refusal)
        return Recorder("sniff")

    def task(self, wanted: Wanted) -> dict[str, Any]:
        """The task of a recorder."""
        from smtpscope.reading import SMTP_PORTS

        user = self._user
        named = os.path.abspath(wanted.path) if wanted.path else None
        return {
            "interfaces": list(wanted.interfaces) or [ANY],
            "filter": wanted.filter,
            "ports": sorted(SMTP_PORTS | self._ports),
            "promiscuous": wanted.promiscuous,
            "path": named or str(new_recording("sniff", self._folder)),
            "rotation": wanted.rotation,
            "packets": wanted.packets,
            "seconds": wanted.seconds,
            "detach": wanted.detach,
            "user": [user.uid, user.gid] if user is not None else None,
        }

    def start(self, interface: str, filter: str = "", path: str = "") -> Recorder:
        """Record an interface; it takes a moment. Raises `SmtpscopeError`, of which
        `RecorderError` with exit status 4 says that it is not permitted."""
        named = os.path.expanduser(path.strip())
        rotation = None if named else DEFAULT_ROTATION
        task = self.task(Wanted((interface,), filter.strip(), path=named, rotation=rotation))
        if self._waiting is not None:
            # There is no other one, and what is wrong ends it.
            _check(task, self._user)
        recorder = self.take()
        recorder.begin(task)
        self._started.append(recorder)
        return recorder

    def launch(
        self,
        name: str,
        options: Sequence[tuple[str, str]],
        more: str,
        warn: Callable[[str], None],
    ) -> Recorder:
        """Begin as a proxy or a server, which takes no privilege: see `launching`."""
        from smtpscope.launching import launch

        recorder = launch(name, options, more, warn)
        self._started.append(recorder)
        return recorder


def _is_privileged() -> bool:
    """Whether this process has root's rights, or some of them."""
    if os.geteuid() == 0:
        return True
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        held = next(line for line in lines if line.startswith("CapPrm:"))
        return int(held.split()[1], 16) != 0
    return False


def _check(task: dict[str, Any], user: User | None) -> None:
    """Raises `SmtpscopeError` where a recorder would end as soon as it begins."""
    from smtpscope.recorders import bpf
    from smtpscope.recorders.interfaces import choose_interfaces

    interfaces = choose_interfaces(task["interfaces"])
    if task["filter"] and sys.platform == "linux":
        for interface in interfaces:
            bpf.expression_program(task["filter"], interface)
    _check_file(Path(task["path"]), user)


def _check_file(path: Path, user: User | None) -> None:
    if user is not None and os.geteuid() != user.uid:
        # Where we may write is not where the recorder may.
        from smtpscope.recorders.privilege import may_write

        if not may_write(user, path if path.exists() else path.parent):
            raise RecordingError(f"{path} cannot be written by {user.name}; name another file")
        return
    try:
        there = path.exists()
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | (0 if there else os.O_CREAT | os.O_EXCL)
        descriptor = os.open(path, flags, 0o600)
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
        os.close(descriptor)
        if not there:
            path.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecordingError(f"{path} cannot be written ({reason}); name another file") from None
    if not plain:
        raise RecordingError(f"{path} is no ordinary file; name another file")


def _become(user: User | None) -> Path | None:
    """Go on without privileges: as the one who called sudo or as nobody, with their home.

    Returns the folder for recordings where the usual one would not do.
    """
    import pwd

    from smtpscope.recorders import privilege

    if user is None:
        # Who may read this Python only by a capability keeps that one.
        own = privilege.User("", os.getuid(), os.getgid())
        readable = all(privilege.may_read(own, path) for path in _needed())
        privilege.drop(None, keep=0 if readable else privilege.CAP_DAC_READ_SEARCH)
        return None
    hidden = next((path for path in _needed() if not privilege.may_read(user, path)), None)
    if hidden is not None:
        tell(
            f"what shows the recording goes on as root, for {user.name} may not read"
            f" {hidden.resolve()}: install smtpscope for all users, or run it with sudo from an"
            " account of your own"
        )
        folder = tempfile.mkdtemp(prefix="smtpscope-")
        os.chown(folder, user.uid, user.gid)
        privilege.drop(None, keep=privilege.CAP_DAC_READ_SEARCH)
        return Path(folder)
    privilege.drop(user)
    try:
        home = pwd.getpwuid(user.uid).pw_dir
    except KeyError:
        home = "/nonexistent"
    os.environ |= {"HOME": home, "USER": user.name, "LOGNAME": user.name}
    if os.path.isdir(home):
        return None
    # Nobody has no home; recordings, mail, a CA have to lie somewhere.
    folder = tempfile.mkdtemp(prefix="smtpscope-")
    os.environ |= {"XDG_STATE_HOME": folder, "XDG_CACHE_HOME": folder}
    return Path(folder)


def _needed() -> list[Path]:
    """What must be readable to go on: this package, Python, and what was installed with it."""
    numpy = importlib.util.find_spec("numpy")
    found = [__file__, sys.executable, os.__file__, numpy.origin if numpy else None]
    return [Path(each) for each in found if each]
