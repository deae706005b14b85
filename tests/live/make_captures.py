"""Make the captures in captures/ and their README again.

`python tests/live/make_captures.py [NAME…]` wants root. It plays each scene in a network
namespace of its own, where nothing but loopback exists, under a made-up host name. With names
only these captures are recorded anew.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CAPTURES = Path(__file__).resolve().parents[2] / "captures"

HEADING = """\
# Recordings of real mail software

Made for smtpscope and part of it, under its licence (GPL-2.0-or-later).
`sudo .venv/bin/python tests/live/make_captures.py` makes them all again, on Debian 12 with the
packages that `.ci/run` installs; it fetches Exim and OpenSMTPD itself and unpacks them in
`~/.cache/smtpscope-live`.

All names and passwords are made up, and nothing but loopback (with an MTU of 1500) was ever
talked to. tcpdump recorded what names no other recorder.

| file | made with | shows |
|---|---|---|
"""


def main(names: list[str]) -> None:
    """Play the scenes of these names (all without any) and write the README."""
    if os.environ.get("SMTPSCOPE_NAMESPACE") != "yes":
        from debian import PACKAGES as UNPACKED
        from debian import fetch

        for package in UNPACKED:
            fetch(package)
        os.environ["SMTPSCOPE_NAMESPACE"] = "yes"
        os.execvp("unshare", ["unshare", "--net", "--uts", sys.executable, __file__, *names])

    from processes import run
    from scenes import SCENES, load

    run(["hostname", "client.example.net"])
    run(["ip", "link", "set", "lo", "up", "mtu", "1500", "gso_max_segs", "1"])
    load()
    CAPTURES.mkdir(exist_ok=True)
    versions = software_versions()
    lines = []
    for scene in SCENES:
        if not names or scene.name in names:
            print(scene.name, flush=True)
            record(scene.play, CAPTURES / scene.name)
        software = with_versions(scene.software, versions)
        lines.append(f"| {scene.name} | {software} | {scene.shows} |\n")
    (CAPTURES / "README.md").write_text(HEADING + "".join(lines))


def record(play: Callable[[Path], None], path: Path) -> None:
    """Play a scene; what it records is gzipped if its name says so."""
    with tempfile.TemporaryDirectory() as name:
        fresh = Path(name) / path.name.removesuffix(".gz")
        play(fresh)
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(fresh.read_bytes(), mtime=0))
        else:
            shutil.copyfile(fresh, path)


def software_versions() -> dict[str, str]:
    """Each program's name as scenes write it, with its version."""
    from debian import CACHE
    from processes import program, run

    def first(pattern: str, *argv: str) -> str:
        done = run(argv, allowed=None)
        found = re.search(pattern, (done.stdout + done.stderr).decode())
        return found[1] if found else ""

    def inside(pattern: bytes, name: str) -> str:
        found = re.search(pattern, (CACHE / name).read_bytes())
        return found[1].decode() if found else ""

    return {
        "Postfix": first(r"= (\S+)", program("postconf"), "-d", "mail_version"),
        "Exim": inside(rb"\x00(4\.\d+)\x00", "exim4-daemon-light/usr/sbin/exim4"),
        "OpenSMTPD": inside(rb"OpenSMTPD (\d\S+?)[\x00\n]", "opensmtpd/usr/sbin/smtpd"),
        "swaks": first(r"version (\S+)", program("swaks"), "--version"),
        "msmtp": first(r"version (\S+)", program("msmtp"), "--version"),
        "curl": first(r"^curl (\S+)", program("curl"), "--version"),
        "OpenSSL": first(r"OpenSSL (\S+)", program("openssl"), "version"),
        "Python": sys.version.split()[0],
        "dumpcap": first(r"(\d+\.\d+\.\d+)", program("dumpcap"), "--version"),
        "editcap": first(r"(\d+\.\d+\.\d+)", program("editcap"), "--version"),
    }


def with_versions(software: str, versions: dict[str, str]) -> str:
    """The text with a version after each program's name, where it is first named."""
    for name, version in versions.items():
        software = re.sub(rf"\b{name}\b('s \w+)?", rf"\g<0> {version}", software, count=1)
    return software


if __name__ == "__main__":
    main(sys.argv[1:])
