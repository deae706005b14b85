"""Mail servers from Debian packages that may not be installed side by side.

`fetch` downloads a package, with the libraries that the machine lacks, and unpacks it into a
cache; `Jail` copies such a tree into a directory that the server is then chrooted to. So the
server finds its compiled-in paths and users there, and the machine's own stay untouched.

Run as a program it fetches every server that the live tests want.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from processes import MissingProgramError, program, run

CACHE = Path.home() / ".cache" / "smtpscope-live"
PACKAGES = ("exim4-daemon-light", "opensmtpd")

DEVICES = {"null": (1, 3), "zero": (1, 5), "random": (1, 8), "urandom": (1, 9)}


def fetch(package: str) -> Path:
    """The unpacked tree of a package, downloaded from the machine's own apt sources if needed."""
    tree = CACHE / package
    if tree.is_dir():
        return tree
    planned = run(
        [program("apt-get"), "install", "--simulate", "--no-install-recommends", package]
    ).stdout.decode()
    new = re.findall(r"^Inst (\S+) \(", planned, re.MULTILINE)
    wanted = [package, *(name for name in new if name.startswith("lib"))]
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        run([program("apt-get"), "download", *wanted], cwd=Path(scratch))
        unpacked = Path(scratch) / "tree"
        for archive in Path(scratch).glob("*.deb"):
            run([program("dpkg"), "-x", archive, unpacked])
        unpacked.rename(tree)
    return tree


class Jail:
    """A directory tree to chroot a server to: the package, its libraries, users and devices."""

    def __init__(self, root: Path, package: str, *, extra: tuple[str, ...] = ()) -> None:
        """Build the tree in `root`. `extra` are programs of the machine to be had inside as well.

        MissingProgramError when the package has not been fetched.
        """
        tree = CACHE / package
        if not tree.is_dir():
            raise MissingProgramError(
                f"{package} is not unpacked: fetch it with python tests/live/debian.py"
            )
        self.root = root
        self._chroot = program("chroot")
        shutil.copytree(tree, root, symlinks=True)
        root.chmod(0o755)
        for name in ("dev", "etc", "tmp", "run", "var/tmp", "var/log", "var/run"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name, (major, minor) in DEVICES.items():
            node = root / "dev" / name
            os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(major, minor))
            node.chmod(0o666)
        for path in extra:
            self._copy_from_machine(Path(path))
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
        self.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        self.write("etc/group", "root:x:0:\n")
        self._add_libraries([*(root / "usr/sbin").iterdir(), *(root / path[1:] for path in extra)])

    def command(self, *argv: str) -> list[str]:
        """The command line that runs `argv` inside."""
        return [self._chroot, str(self.root), *argv]

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Write a file inside, its name relative to the jail's root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def add_user(self, name: str, number: int, home: str = "/") -> None:
        """A user with a group of the same name and number."""
        with (self.root / "etc/passwd").open("a") as users:
            users.write(f"{name}:x:{number}:{number}::{home}:/bin/false\n")
        with (self.root / "etc/group").open("a") as groups:
            groups.write(f"{name}:x:{number}:\n")

    def _add_libraries(self, programs: list[Path]) -> None:
        own = [str(path) for path in self.root.glob("usr/lib/*-linux-*")]
        found = run(
            [program("ldd"), *(path for path in programs if path.is_file())],
            env={"LD_LIBRARY_PATH": ":".join(own)},
            allowed=None,
        ).stdout.decode()
        for path in sorted(set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", found, re.MULTILINE))):
            if not path.startswith(str(self.root)):
                self._copy_from_machine(Path(path))

    def _copy_from_machine(self, path: Path) -> None:
        inside = self.root / str(path)[1:]
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, inside)


if __name__ == "__main__":
    for name in sys.argv[1:] or PACKAGES:
        print(name, "is in", fetch(name))
