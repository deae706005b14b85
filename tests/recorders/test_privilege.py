"""Privilege: whom root becomes, and that nothing is left of it once a recorder is ready."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from namespace import Namespace
from processes import program, wait_until
from recorder import as_nobody, packets, recorded, recorder

import smtpscope
from smtpscope.errors import UsageError
from smtpscope.recorders.privilege import User, target

NOBODY = pwd.getpwnam("nobody")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@needs_root
def test_root_becomes_who_called_sudo() -> None:
    who = target(environment={"SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": str(NOBODY.pw_gid)})
    assert who == User("nobody", NOBODY.pw_uid, NOBODY.pw_gid)
    who = target(environment={"SUDO_UID": "54321", "SUDO_GID": "54322"})
    assert who == User("user 54321", 54321, 54322)


@needs_root
@pytest.mark.parametrize(
    "said", [("0", "0"), ("0", "7"), ("7", "0"), ("-1", "7"), ("x", "7"), ("4294967295", "7")]
)
def test_what_sudo_can_not_have_said_makes_it_nobody(said: tuple[str, str]) -> None:
    who = target(environment={"SUDO_UID": said[0], "SUDO_GID": said[1]})
    assert who == User("nobody", NOBODY.pw_uid, NOBODY.pw_gid)
    assert target(environment={}) == who


@needs_root
def test_root_never_stays_root() -> None:
    assert target((1234, 1235)) == User("user 1234", 1234, 1235)
    for given in ((0, 0), (0, 1), (1, 0), (-1, 1)):
        with pytest.raises(UsageError, match="never goes on as"):
            target(given)


@pytest.mark.live
@pytest.mark.parametrize(
    ("env", "user", "ids"),
    [
        ({}, None, (NOBODY.pw_uid, NOBODY.pw_gid)),
        ({"SUDO_UID": "54321", "SUDO_GID": "54322"}, None, (54321, 54322)),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, None, (NOBODY.pw_uid, NOBODY.pw_gid)),
        ({"SUDO_UID": "54321", "SUDO_GID": "54322"}, [54323, 54324], (54323, 54324)),
    ],
)
def test_nothing_is_left_when_a_recorder_is_ready(
    env: dict[str, str], user: list[int] | None, ids: tuple[int, int], folder: Path
) -> None:
    path = folder / "one.pcapng"
    task = {"interfaces": ["lo"], "ports": [25], "path": str(path), "user": user}
    with recorder(task, env=env) as running:
        assert "ready" in running.first
        status = running.status()
        assert status["Uid"].split() == [str(ids[0])] * 4
        assert status["Gid"].split() == [str(ids[1])] * 4
        assert not status["Groups"]
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"):
            assert int(status[name], 16) == 0, name
        assert status["NoNewPrivs"] == "1"
        limits = Path(f"/proc/{running.pid}/limits").read_text()
        assert "Max core file size        0                    0" in limits
        assert (path.stat().st_uid, path.stat().st_gid) == ids
        assert path.stat().st_mode & 0o777 == 0o600
        running.end()


@pytest.mark.live
def test_who_records_a_pipe_stays_who_it_is_without_capabilities(folder: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
    task = {"path": str(folder / "one.pcapng"), "fd": reading}
    with recorder(task, module="pipe", pass_fds=[reading]) as running:
        assert "ready" in running.first
        status = running.status()
        assert status["Uid"].split() == [str(os.getuid())] * 4
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"):
            assert int(status[name], 16) == 0, name
        running.end()
    os.close(reading)
    os.close(writing)


@pytest.mark.live
def test_capabilities_without_root_are_dropped_too(folder: Path) -> None:
    allowed = ["--inh-caps=+dac_read_search,+net_raw", "--ambient-caps=+dac_read_search,+net_raw"]
    ids = ["--reuid=65534", "--regid=65534", "--clear-groups"]
    task = {"interfaces": ["lo"], "ports": [25], "path": str(folder / "one.pcapng")}
    with recorder(task, prefix=[program("setpriv"), *ids, *allowed]) as running:
        assert running.first["how"] == "socket"
        status = running.status()
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[name], 16) == 0, name
        assert status["NoNewPrivs"] == "1"
        running.end()


@pytest.mark.live
def test_without_permission_the_three_ways_are_told(folder: Path) -> None:
    for env in ({"PATH": os.environ["PATH"]}, {"PATH": str(folder)}):
        task = {"interfaces": ["lo"], "ports": [25], "path": str(folder / "one.pcapng")}
        with recorder(task, prefix=as_nobody(), env=env) as running:
            assert running.first["status"] == 4
            said = running.first["error"]
            assert "\n" not in said
            for way in ("sudo", "| smtpscope -", "group wireshark"):
                assert way in said
            assert running.process.wait(10) == 4
        assert not (folder / "one.pcapng").exists()


@pytest.mark.live
def test_dumpcap_is_used_where_it_may_capture(folder: Path, namespace: Namespace) -> None:
    copy = folder / "dumpcap"
    shutil.copy(program("dumpcap"), copy)
    copy.chmod(0o755)
    subprocess.run([program("setcap"), "cap_net_raw,cap_net_admin+eip", copy], check=True)
    path = folder / "one.pcapng"
    task = {"interfaces": ["lo"], "filter": "udp port 2525", "path": str(path)}
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    with (
        namespace.udp() as client,
        recorder(task, prefix=[*namespace.prefix, *as_nobody()], env=env) as running,
    ):
        assert running.first == {
            "ready": str(path),
            "offset": 0,
            "interfaces": ["lo"],
            "how": "dumpcap",
        }
        for number in range(100):
            client.sendto(b"%d" % number, ("127.0.0.1", 2525))
        wait_until(recorded(path, 100), "dumpcap's packets")
        status = running.status()
        assert int(status["CapEff"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        client.sendto(b"last", ("127.0.0.1", 2525))
        ended = running.end()
    found = packets(path)
    # ICMP's answers aside, which no filter of ports matches.
    assert [packet.octets[42:] for packet in found] == [*(b"%d" % n for n in range(100)), b"last"]
    assert ended == {"ended": "owner", "packets": 101, "dropped": 0}

    with recorder({**task, "filter": "udp prt 1"}, prefix=as_nobody(), env=env) as running:
        assert running.first["status"] == 2
        assert "syntax error" in running.first["error"]


@pytest.mark.live
def test_a_folder_that_is_not_the_users_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    task = {"interfaces": ["lo"], "ports": [25], "path": str(tmp_path / "one.pcapng")}
    with recorder(task) as running:
        assert running.first["status"] == 1
        assert "goes on as nobody" in running.first["error"]
        assert "/var/tmp" in running.first["error"]


@pytest.mark.live
def test_the_program_is_not_needed_any_more_once_privileges_are_gone(
    tmp_path: Path, folder: Path, namespace: Namespace
) -> None:
    # A checkout that root alone may read, as under sudo.
    tmp_path.chmod(0o700)
    package = Path(smtpscope.__file__).parent
    shutil.copytree(package, tmp_path / "smtpscope", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "one.pcapng"
    task = {
        "interfaces": ["lo"],
        "filter": "udp port 2525",
        "path": str(path),
        "rotation": [4096, None, 3],
    }
    with (
        namespace.udp() as client,
        recorder(task, prefix=namespace.prefix, cwd=tmp_path, env={"PYTHONPATH": None}) as running,
    ):
        assert running.first["ready"] == str(folder / "one-00001.pcapng")
        for _ in range(40):
            client.sendto(bytes(1000), ("127.0.0.1", 2525))
            wait_until(lambda: sum(1 for _ in folder.iterdir()) > 0, "a file")
        running.process.send_signal(signal.SIGTERM)
        ended = running.answer()
        assert running.process.wait(10) == 0
    assert ended == {"ended": "SIGTERM", "packets": 40, "dropped": 0}
    assert sys.executable


@pytest.mark.live
def test_what_it_needs_of_libpcap_and_python_is_there_before(folder: Path) -> None:
    """Errors behind the drop are told like any other: nothing is loaded for them."""
    (folder / "one.pcapng").write_bytes(b"no capture at all" * 10)
    (folder / "one.pcapng").chmod(0o666)
    task = {"interfaces": ["lo"], "ports": [25], "path": str(folder / "one.pcapng")}
    with recorder(task) as running:
        assert running.first["status"] == 1
        assert "is no pcapng recording" in running.first["error"]
