"""Sniffing: what is recorded is what was there, and the recording ends when and as it should."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from namespace import Namespace
from processes import program, running, wait_until
from recorder import Packet, Recorder, packets, recorded, recorder

from smtpscope.capture.pcap import open_capture

pytestmark = pytest.mark.live

PORT = 2525


@contextmanager
def sniffing(namespace: Namespace, path: Path, **task: Any) -> Iterator[Recorder]:
    told = {"interfaces": ["lo"], "filter": f"udp port {PORT}", "path": str(path), **task}
    with recorder(told, prefix=namespace.prefix) as process:
        assert "ready" in process.first, process.first
        yield process


@contextmanager
def mail_server(namespace: Namespace, folder: Path) -> Iterator[None]:
    def listens() -> bool:
        with namespace.inside(), socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", PORT)) == 0

    sink = [*namespace.prefix, program("smtp-sink"), "-u", "nobody", f"127.0.0.1:{PORT}", "100"]
    with running(sink, log=folder / "sink.log", ready=listens):
        yield


def send_mail(namespace: Namespace, messages: int, sessions: int = 1, size: int = 2000) -> None:
    numbers = ["-m", str(messages), "-s", str(sessions), "-l", str(size)]
    argv = [*namespace.prefix, program("smtp-source"), *numbers, f"127.0.0.1:{PORT}"]
    subprocess.run(argv, check=True, timeout=120)


def send(client: socket.socket, *payloads: bytes) -> None:
    for payload in payloads:
        client.sendto(payload, ("127.0.0.1", PORT))


def payloads(path: Path) -> list[bytes]:
    return [packet.octets[42:] for packet in packets(path)]


def comments(path: Path) -> list[str]:
    """The comments of the Interface Statistics Blocks, which our reader passes over."""
    words = [b"went down", b"is up again"]
    octets = path.read_bytes()
    found = sorted((at, word) for word in words for at in _all(octets, word))
    return [word.decode() for _, word in found]


def _all(octets: bytes, word: bytes) -> Iterator[int]:
    at = octets.find(word)
    while at >= 0:
        yield at
        at = octets.find(word, at + 1)


@pytest.mark.parametrize("sessions", [1, 5])
def test_it_records_what_tcpdump_records(sessions: int, folder: Path, namespace: Namespace) -> None:
    theirs, ours = folder / "tcpdump.pcap", folder / "ours.pcapng"
    tcpdump = [program("tcpdump"), "-i", "lo", "-U", "-s", "0", "-B", "32768", "-w", str(theirs)]
    tcpdump += ["--time-stamp-precision=nano", "-Z", "root", f"tcp port {PORT}"]
    log = folder / "tcpdump.log"
    with (
        # What several processors send at once has no order.
        one_processor() if sessions == 1 else nullcontext(),
        mail_server(namespace, folder),
        running(
            [*namespace.prefix, *tcpdump],
            log=log,
            ready=lambda: b"listening" in log.read_bytes(),
            stop_with=signal.SIGINT,
        ),
        sniffing(namespace, ours, filter="", ports=[25, PORT]) as sniff,
    ):
        send_mail(namespace, 50 * sessions, sessions)
        wait_until(lambda: _settled(theirs), "tcpdump")
        ended = sniff.end()
    assert b"\n0 packets dropped by kernel" in log.read_bytes()
    found, wanted = packets(ours), packets(theirs)
    assert len(wanted) > 500
    assert ended == {"ended": "owner", "packets": len(wanted), "dropped": 0}
    if sessions > 1:
        found.sort(key=_direction)
        wanted.sort(key=_direction)
    assert [one.octets for one in found] == [one.octets for one in wanted]
    assert [one.original for one in found] == [one.original for one in wanted]
    assert max(abs(a.time - b.time) for a, b in zip(found, wanted, strict=True)) < 1_000_000
    assert {one.interface for one in found} == {"lo"}
    with open_capture(ours) as reader:
        for _ in reader:
            pass
        assert not reader.problems
        assert reader.statistics[0].received == len(wanted)
        assert reader.statistics[0].dropped_by_system == 0


@contextmanager
def one_processor() -> Iterator[None]:
    """Whatever is started meanwhile shares one."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usual)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


def _direction(packet: Packet) -> bytes:
    """Addresses and ports."""
    return packet.octets[26:38]


def _settled(path: Path) -> bool:
    """Whether nothing has come for longer than packets stay in libpcap (a second)."""
    size = path.stat().st_size
    time.sleep(1.5)
    return path.stat().st_size == size


def test_a_packet_is_in_the_file_at_once(folder: Path, namespace: Namespace) -> None:
    path = folder / "one.pcapng"
    with sniffing(namespace, path), namespace.udp() as client:
        for _ in range(20):
            size = path.stat().st_size
            send(client, b"x")
            # No other one comes that would push it out.
            wait_until(lambda size=size: path.stat().st_size > size, "the packet")  # type: ignore[misc]


def test_loopback_has_no_doubles_and_long_packets_are_whole(
    folder: Path, namespace: Namespace
) -> None:
    path = folder / "one.pcapng"
    sent = [b"one", os.urandom(60_000), b"two", os.urandom(65_507), b"three"]
    with sniffing(namespace, path) as sniff, namespace.udp() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        send(client, *sent)
        ended = sniff.end()
    assert payloads(path) == sent
    assert ended["packets"] == len(sent)
    assert max(packet.original for packet in packets(path)) == 65_507 + 42


def test_segments_longer_than_64_kib_are_whole(folder: Path, namespace: Namespace) -> None:
    path = folder / "one.pcapng"
    # IPv6 jumbograms of the kernel's own making (BIG TCP).
    namespace.run("ip link set lo gso_max_size 180000 gro_max_size 180000")
    letter = os.urandom(8 << 20)
    with namespace.inside(), socket.create_server(("::1", PORT), family=socket.AF_INET6) as server:
        client = socket.create_connection(("::1", PORT))
        there, _ = server.accept()
    with client, there, sniffing(namespace, path, filter="", ports=[PORT]) as sniff:
        there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        client.setblocking(False)
        there.setblocking(False)
        sent, received = 0, b""
        while len(received) < len(letter):
            with suppress(BlockingIOError):
                sent += client.send(letter[sent : sent + (1 << 20)])
            with suppress(BlockingIOError):
                received += there.recv(1 << 20)
        sniff.end()
    found = packets(path)
    assert all(len(packet.octets) == packet.original for packet in found)
    assert max(packet.original for packet in found) > 65_535


def test_what_the_filter_does_not_name_is_never_recorded(
    folder: Path, namespace: Namespace
) -> None:
    path = folder / "one.pcapng"
    noise = [*namespace.prefix, "ping", "-f", "-q", "127.0.0.1"]
    with (
        subprocess.Popen(noise, stdout=subprocess.DEVNULL) as flood,
        sniffing(namespace, path) as sniff,
        namespace.udp() as client,
    ):
        send(client, b"one", b"two")
        sniff.end()
        flood.terminate()
    assert payloads(path) == [b"one", b"two"]


def test_every_reason_to_end_is_told(folder: Path, namespace: Namespace) -> None:
    client = namespace.udp()
    with sniffing(namespace, folder / "packets.pcapng", packets=7) as sniff:
        send(client, *[b"%d" % number for number in range(20)])
        assert sniff.answer() == {"ended": "packets", "packets": 7, "dropped": 0}
        assert sniff.process.wait(5) == 0
    assert payloads(folder / "packets.pcapng") == [b"%d" % number for number in range(7)]
    with sniffing(namespace, folder / "seconds.pcapng", seconds=0.5) as sniff:
        assert sniff.answer() == {"ended": "seconds", "packets": 0, "dropped": 0}
    with sniffing(namespace, folder / "term.pcapng") as sniff:
        send(client, b"one")
        # The owner decides what Ctrl-C means.
        sniff.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        assert sniff.process.poll() is None
        sniff.process.terminate()
        assert sniff.answer() == {"ended": "SIGTERM", "packets": 1, "dropped": 0}
        assert sniff.process.wait(5) == 0
    client.close()


def test_detached_it_goes_on_without_its_owner(folder: Path, namespace: Namespace) -> None:
    path = folder / "one.pcapng"
    with sniffing(namespace, path, detach=True) as sniff, namespace.udp() as client:
        assert os.getsid(sniff.pid) == sniff.pid
        assert sniff.process.stdout is not None
        sniff.process.stdout.close()
        sniff.leave()
        sniff.process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        send(client, b"one")
        wait_until(recorded(path, 1), "a packet")
        assert sniff.process.poll() is None
        sniff.process.send_signal(signal.SIGINT)
        assert sniff.process.wait(5) == 0
    assert payloads(path) == [b"one"]


def test_killed_under_load_it_loses_the_last_block_at_most(
    folder: Path, namespace: Namespace
) -> None:
    path = folder / "one.pcapng"
    with (
        mail_server(namespace, folder),
        sniffing(namespace, path, filter="", ports=[PORT]) as sniff,
    ):
        source = [*namespace.prefix, program("smtp-source"), "-s", "5", "-m", "20000"]
        with subprocess.Popen([*source, f"127.0.0.1:{PORT}"]) as load:
            wait_until(lambda: path.stat().st_size > 3 << 20, "some load")
            sniff.process.kill()
            sniff.process.wait()
            load.terminate()
    found = packets(path)
    with open_capture(path) as reader:
        for _ in reader:
            pass
        assert not reader.problems
        end = path.stat().st_size if reader.truncated is None else reader.truncated
    assert path.stat().st_size - end < 300_000
    assert len(found) > 5_000
    counted = subprocess.run(
        [program("tshark"), "-r", str(path), "-T", "fields", "-e", "frame.number"],
        capture_output=True,
        check=False,
    )
    assert len(counted.stdout.split()) == len(found)


def test_an_interface_may_go_down_and_come_back(folder: Path, namespace: Namespace) -> None:
    path = folder / "one.pcapng"
    with sniffing(namespace, path) as sniff, namespace.udp() as client:
        send(client, b"before")
        wait_until(recorded(path, 1), "a packet")
        namespace.run("ip link set lo down")
        wait_until(lambda: comments(path) == ["went down"], "the news")
        namespace.run("ip link set lo up")
        wait_until(lambda: comments(path) == ["went down", "is up again"], "the news")
        send(client, b"after")
        ended = sniff.end()
    assert payloads(path) == [b"before", b"after"]
    assert ended["packets"] == 2


def pair(namespace: Namespace) -> None:
    namespace.run("ip link add v0 type veth peer name v1")
    for name in ("v0", "v1"):
        namespace.run(f"ip link set {name} up")


def frame(payload: bytes, tag: bytes = b"") -> bytes:
    """An Ethernet frame with UDP from and to PORT."""
    udp = struct.pack(">HHHH", PORT, PORT, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + bytes(8)
    return b"\xff" * 6 + bytes(6) + tag + b"\x08\0" + ip + udp


def transmit(namespace: Namespace, name: str, *frames: bytes) -> None:
    with namespace.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((name, 0))
        for octets in frames:
            raw.send(octets)


def test_an_interface_may_be_made_anew(folder: Path, namespace: Namespace) -> None:
    path = folder / "one.pcapng"
    pair(namespace)
    with sniffing(namespace, path, interfaces=["v1"], promiscuous=True) as sniff:
        transmit(namespace, "v0", frame(b"before"))
        wait_until(recorded(path, 1), "a packet")
        namespace.run("ip link delete v0")
        wait_until(lambda: comments(path) == ["went down"], "the news")
        # Others take the index that it had.
        namespace.run("ip link add other type veth peer name another")
        pair(namespace)
        wait_until(lambda: comments(path) == ["went down", "is up again"], "the news")
        transmit(namespace, "v0", frame(b"after"))
        ended = sniff.end()
    assert payloads(path) == [b"before", b"after"]
    assert ended["packets"] == 2


@pytest.mark.parametrize("tag", [b"\x81\0\x20\7", b"\x88\xa8\0\5"])
def test_vlan_tags_are_recorded(tag: bytes, folder: Path, namespace: Namespace) -> None:
    path, theirs = folder / "one.pcapng", folder / "tcpdump.pcap"
    pair(namespace)
    sent = [frame(b"tagged", tag), frame(b"plain")]
    number = struct.unpack(">H", tag[2:])[0] & 0xFFF
    expressions = {
        "both": f"udp port {PORT} or (vlan and udp port {PORT})",
        "tagged": f"vlan {number} and udp port {PORT}",
    }
    wanted = {"both": sent, "tagged": sent[:1]}
    log = folder / "tcpdump.log"
    for name, expression in expressions.items():
        path = folder / f"{name}.pcapng"
        tcpdump = [
            *namespace.prefix,
            program("tcpdump"),
            "-i",
            "v1",
            "--immediate-mode",
            "-U",
            "-w",
            str(theirs),
        ]
        with (
            running(
                [*tcpdump, "-Z", "root", "udp or vlan"],
                log=log,
                ready=lambda: b"listening" in log.read_bytes(),
                stop_with=signal.SIGINT,
            ),
            sniffing(namespace, path, interfaces=["v1"], filter=expression) as sniff,
        ):
            transmit(namespace, "v0", *sent)
            wait_until(lambda: theirs.exists() and len(packets(theirs)) == 2, "tcpdump")
            sniff.end()
        assert [packet.octets for packet in packets(theirs)] == sent
        assert [packet.octets for packet in packets(path)] == wanted[name]
        assert all(packet.original == len(packet.octets) for packet in packets(path))


def test_any_is_every_interface_that_is_up(folder: Path, namespace: Namespace) -> None:
    path = folder / "one.pcapng"
    pair(namespace)
    with (
        sniffing(namespace, path, interfaces=["any"]) as sniff,
        namespace.udp() as client,
    ):
        assert sorted(sniff.first["interfaces"]) == ["lo", "v0", "v1"]
        send(client, b"one")
        transmit(namespace, "v0", frame(b"two"))
        sniff.end()
    found = {(packet.interface, packet.octets[42:]) for packet in packets(path)}
    # Unlike on loopback, what goes out and what comes in are two packets.
    assert found == {("lo", b"one"), ("v0", b"two"), ("v1", b"two")}


def test_a_tunnel_has_plain_ip_packets(folder: Path, namespace: Namespace) -> None:
    path = folder / "one.pcapng"
    subprocess.run(["ip", "-n", namespace.name, "tuntap", "add", "t0", "mode", "tun"], check=True)
    with namespace.inside():
        import fcntl

        tunnel = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tunnel, 0x400454CA, struct.pack("16sH22x", b"t0", 0x1001))
    namespace.run("ip link set t0 up")
    # IPv6 needs no address of ours to be seen on its way in.
    sent = frame(b"through a tunnel")[14:]
    with sniffing(namespace, path, interfaces=["t0", "lo"]) as sniff:
        os.write(tunnel, sent)
        wait_until(recorded(path, 1), "a packet")
        sniff.end()
    os.close(tunnel)
    assert [packet.octets for packet in packets(path)] == [sent]
    with open_capture(path) as reader:
        (batch,) = reader
        assert batch.interfaces[batch.interface[0]][::2] == (101, "t0")


def test_a_full_disk_is_told(folder: Path, namespace: Namespace) -> None:
    small = folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", small], check=True)
    path = small / "one.pcapng"
    try:
        with sniffing(namespace, path) as sniff, namespace.udp() as client:
            for _ in range(100):
                send(client, bytes(1400))
            failed = sniff.answer()
            assert failed["status"] == 1
            assert "disk is full" in failed["error"]
            assert sniff.process.wait(5) == 1
        assert 20 < len(packets(path)) < 46
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize(
    ("task", "status", "said"),
    [
        ({"filter": "tcp prt 25"}, 2, "syntax error"),
        ({"interfaces": ["lo", "loo"]}, 2, "did you mean lo?"),
        ({"interfaces": []}, 2, "give one with -i"),
        ({"interfaces": ["v0"]}, 1, "bring it up first"),
        ({"filter": "", "ports": []}, 2, "-f"),
        ({"path": "/nowhere/one.pcapng"}, 1, "folder that is missing"),
        ({"rotation": "daily"}, 2, "JSON"),
    ],
)
def test_what_is_wrong_with_a_task_is_told(
    task: dict[str, Any], status: int, said: str, folder: Path, namespace: Namespace
) -> None:
    namespace.run("ip link add v0 type veth peer name v1")
    usual = {"interfaces": ["lo"], "ports": [25], "path": str(folder / "one.pcapng")}
    with recorder({**usual, **task}, prefix=namespace.prefix) as process:
        assert process.first["status"] == status, process.first
        assert said in process.first["error"]
        assert process.process.wait(5) == status
    assert not (folder / "one.pcapng").exists()


def test_packets_of_our_reader_are_those_of_tshark(folder: Path, namespace: Namespace) -> None:
    path = folder / "one.pcapng"
    with sniffing(namespace, path) as sniff, namespace.udp() as client:
        send(client, b"one", b"two")
        sniff.end()
    argv = [program("tshark"), "-r", str(path), "-T", "json", "-e", "frame.time_epoch"]
    said = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    times = [row["_source"]["layers"]["frame.time_epoch"][0] for row in said]
    found: list[Packet] = packets(path)
    assert [int(time.replace(".", "")) for time in times] == [packet.time for packet in found]
