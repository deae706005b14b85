"""The proxy in trouble: killed, filled up with silence, left alone, and asked for too much."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from processes import PATIENCE, free_port, listens, wait_until
from proxying import SERVER_LEGS, Backend, Mx, Wire, backend, proxying, streams, trusting

from smtpscope.filters import FilterError
from smtpscope.live import Showing, record
from smtpscope.recorder import Recorder


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


# -- killed ----------------------------------------------------------------------------------------


class Load:
    """Clients that say different octets without an end, and a server that says what it hears
    back; `up` is what the server got and `down` what the clients got, by the client's port at the
    proxy: a client begins with its port."""

    def __init__(self) -> None:
        self.up: dict[int, bytearray] = {}
        self.down: dict[int, bytearray] = {}
        self._threads: list[threading.Thread] = []

    def serve(self, wire: Wire) -> None:
        got = bytearray()
        with suppress(OSError):
            while len(got) < 4:
                got += wire.end.recv(4 - len(got)) or _gone()
            self.up[int.from_bytes(got, "big")] = got
            while octets := wire.end.recv(1 << 16):
                got += octets
                wire.say(octets[::-1])

    def start(self, connect: Callable[[], Wire], count: int) -> None:
        # All are there before the first one says anything: it may be the last that is heard.
        for wire in [connect() for _ in range(count)]:
            port = wire.end.getsockname()[1]
            self.down[port] = bytearray()
            for work in (self._talk, self._hear):
                thread = threading.Thread(target=work, args=(wire, port))
                self._threads.append(thread)
                thread.start()

    def _talk(self, wire: Wire, port: int) -> None:
        number = 0
        with suppress(OSError):
            wire.say(port.to_bytes(4, "big"))
            while True:
                number += 1
                wire.say(b"%d/%d " % (port, number) * (number % 700 + 1))

    def _hear(self, wire: Wire, port: int) -> None:
        with suppress(OSError):
            while octets := wire.end.recv(1 << 16):
                self.down[port] += octets

    def end(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)

    def total(self) -> int:
        return sum(map(len, self.down.values()))


def _gone() -> bytes:
    raise ConnectionError


@pytest.mark.parametrize("octets", [1, 3_000_000, 12_000_000])
def test_who_is_killed_has_recorded_every_octet_that_either_side_got(
    octets: int, tmp_path: Path
) -> None:
    load = Load()
    with backend(load.serve) as server, proxying(tmp_path, server, starttls="pass") as proxy:
        load.start(proxy.connect, 5)
        wait_until(lambda: load.total() > octets, "the load")
        os.kill(proxy.recorder.pid, signal.SIGKILL)
        load.end()
        wait_until(lambda: not proxy.recorder.alive, "the proxy's death")
        server.close()
    found = streams(proxy.recorder.path)
    clients = {each.client[1]: each for each in found if each.interface != SERVER_LEGS}
    servers = {
        int.from_bytes(each.octets[0][:4], "big"): each
        for each in found
        if each.interface == SERVER_LEGS and len(each.octets[0]) >= 4
    }
    assert load.total() > octets
    for port, got in load.down.items():
        # What a client got was heard of the server before; the last may not have been met at all.
        assert not got or clients[port].octets[1].startswith(got)
        assert not got or servers[port].octets[1].startswith(got)
    for port, got in load.up.items():
        assert servers[port].octets[0].startswith(got)
        assert clients[port].octets[0].startswith(got)


def test_a_recording_that_cannot_go_on_lets_nothing_pass_unrecorded(tmp_path: Path) -> None:
    """The file may have 4 MB: beyond, the proxy ends and says why."""
    load = Load()
    with backend(load.serve) as server, proxying(tmp_path, server, starttls="pass") as proxy:
        limit = 4_000_000
        resource.prlimit(proxy.recorder.pid, resource.RLIMIT_FSIZE, (limit, limit))
        load.start(proxy.connect, 3)
        load.end()
        wait_until(lambda: not proxy.recorder.alive, "the end")
        assert "may not become larger" in str(proxy.recorder.problem)
        server.close()
    found = streams(proxy.recorder.path)
    clients = {each.client[1]: each for each in found if each.interface != SERVER_LEGS}
    for port, got in load.down.items():
        assert not got or clients[port].octets[1].startswith(got)
    for port, got in load.up.items():
        assert clients[port].octets[0].startswith(got)


def _command(folder: Path, server: Backend, *options: str) -> tuple[subprocess.Popen[str], int]:
    """The command that prints, and where it listens."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "smtpscope", "proxy", "--listen", f"127.0.0.1:{port}"),
            *("--upstream", server.url, "--write", str(folder / "r.pcapng")),
            *("--format", "jsonl", *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: listens(port), "the proxy")
    except BaseException:
        process.kill()
        raise
    return process, port


def _wire(port: int) -> Wire:
    return Wire(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))


def test_a_detached_proxy_forwards_on_when_who_started_it_has_left(tmp_path: Path) -> None:
    with backend(Mx()) as server:
        process, port = _command(tmp_path, server, "--detach")
        _, told = process.communicate(timeout=PATIENCE)
        found = re.search(r"process (\d+) records", told)
        assert found is not None, told
        try:
            with _wire(port) as wire, _wire(port) as second:
                assert wire.reply().startswith(b"220")
                assert second.reply().startswith(b"220")
                assert second.ask(b"QUIT").startswith(b"221")
                assert wire.ask(b"QUIT").startswith(b"221")
        finally:
            os.kill(int(found[1]), signal.SIGTERM)
        wait_until(lambda: not listens(port), "the recorder's end")
        recorded = streams(tmp_path / "r.pcapng")
        # Two clients, the probes of this test, and the proxy's own connections.
        assert sum(each.octets[1].endswith(b"bye\r\n") for each in recorded) == 4


def test_who_shows_it_may_be_killed_and_forwarding_goes_on(tmp_path: Path) -> None:
    with backend(Mx()) as server:
        process, port = _command(tmp_path, server)
        recorder = _recorder_of(process)
        try:
            with _wire(port) as wire:
                assert wire.reply().startswith(b"220")
                process.kill()
                process.communicate()
                assert wire.ask(b"NOOP").startswith(b"250")
                # As if it had been started with --detach: a terminal that closes ends nothing.
                os.kill(recorder, signal.SIGHUP)
                with _wire(port) as later:
                    assert later.reply().startswith(b"220")
                    assert later.ask(b"QUIT").startswith(b"221")
                assert os.getsid(recorder) == recorder
                assert wire.ask(b"QUIT").startswith(b"221")
        finally:
            process.kill()
            os.kill(recorder, signal.SIGTERM)
        wait_until(lambda: not listens(port), "the recorder's end")
        recorded = streams(tmp_path / "r.pcapng")
        assert sum(each.octets[1].endswith(b"bye\r\n") for each in recorded) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_who_shows_it_may_end_and_forwarding_ends(number: int, tmp_path: Path) -> None:
    with backend(Mx()) as server:
        process, port = _command(tmp_path, server)
        recorder = _recorder_of(process)
        with _wire(port) as wire:
            assert wire.reply().startswith(b"220")
            assert process.stderr is not None
            assert "Ctrl-C ends it" in process.stderr.readline()
            process.send_signal(number)
            assert wire.is_reset() is False
        process.communicate(timeout=PATIENCE)
        wait_until(lambda: not Path(f"/proc/{recorder}").exists(), "the recorder's end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_who_ends_while_the_recorder_begins_leaves_none_behind(number: int, tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "smtpscope", "proxy", "--listen", f"127.0.0.1:{port}"),
            *("--upstream", "smtp://127.0.0.1:1", "--write", str(tmp_path / "r.pcapng")),
            *("--format", "jsonl"),
        ]
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: bool(children.read_text()), "the recorder's process")
    recorder = Path(f"/proc/{_recorder_of(process)}")
    wait_until(lambda: b"recorders" in (recorder / "cmdline").read_bytes(), "its program")
    # It is told its task at once, and needs some hundred milliseconds to import what it needs.
    wait_until(lambda: _waits(process), "the owner to wait")
    process.send_signal(number)
    assert process.wait(PATIENCE) == (130 if number == signal.SIGINT else 0)
    assert not recorder.exists()
    assert not listens(port)


def _waits(process: subprocess.Popen[bytes]) -> bool:
    """Whether it sleeps, and not because of the processor."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_who_cannot_show_it_leaves_no_recorder_behind(tmp_path: Path) -> None:
    recorder = Recorder("proxy")
    task = {
        "path": str(tmp_path / "r.pcapng"),
        "detach": False,
        "options": {"listen": ["127.0.0.1:0"], "upstream": "smtp://127.0.0.1:1"},
    }
    showing = Showing(frozenset(), "jsonl", False, (), (), None, "code >>", no_tui=True)
    with pytest.raises(FilterError):
        record(recorder, task, showing)
    assert recorder.path
    assert not recorder.alive


def _recorder_of(process: subprocess.Popen[str]) -> int:
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def test_the_command_shows_each_session_once(tmp_path: Path) -> None:
    with backend(Mx()) as server:
        process, port = _command(tmp_path, server, "--autostop", "sessions:2")
        try:
            for _ in range(2):
                with _wire(port) as wire:
                    wire.reply()
                    wire.ask(b"EHLO client.example")
                    assert wire.ask(b"QUIT").startswith(b"221")
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0, err
    sessions = [json.loads(line) for line in out.splitlines()]
    assert [each["state"] for each in sessions] == ["quit", "quit"]


# -- many, and silent ------------------------------------------------------------------------------


def _mx_without_threads() -> tuple[socket.socket, Callable[[], None]]:
    """A server of one thread that greets, and answers everybody in turn; and its end."""
    import selectors

    listener = socket.create_server(("127.0.0.1", 0), backlog=2_000)
    chooser = selectors.DefaultSelector()
    chooser.register(listener, selectors.EVENT_READ)
    ending = threading.Event()

    def run() -> None:
        while not ending.is_set():
            for key, _ in chooser.select(0.1):
                with suppress(OSError):
                    end = key.fileobj
                    assert isinstance(end, socket.socket)
                    if end is listener:
                        accepted = listener.accept()[0]
                        chooser.register(accepted, selectors.EVENT_READ)
                        accepted.sendall(b"220 mx.example\r\n")
                        continue
                    octets = b""
                    with suppress(ConnectionError):
                        octets = end.recv(1 << 16)
                    if octets:
                        end.sendall(b"250 ok\r\n")
                    else:
                        chooser.unregister(end)
                        end.close()
        for key in list(chooser.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        chooser.close()

    thread = threading.Thread(target=run)
    thread.start()

    def end() -> None:
        ending.set()
        thread.join()

    return listener, end


def test_a_thousand_that_say_nothing_do_not_keep_an_honest_client_waiting(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    listener, end = _mx_without_threads()
    try:
        upstream = f"smtp://127.0.0.1:{listener.getsockname()[1]}"
        with proxying(tmp_path, upstream, "127.0.0.1:0", "smtps://127.0.0.1:0") as proxy:
            before = proxy.rss()
            with ExitStack() as stack:
                for number in range(1_000):
                    wire = stack.enter_context(proxy.connect(number % 2))
                    if number % 4 == 2:
                        # Half open: it has said all it will.
                        wire.say(b"EHLO half")
                        wire.shut()
                wait_until(lambda: proxy.sockets() > 1_500, "all connections")
                with proxy.connect() as wire:
                    assert wire.reply().startswith(b"220")
                    assert wire.ask(b"NOOP").startswith(b"250")
                with proxy.connect(1) as wire:
                    wire.secure(trusting(), name="127.0.0.1")
                    assert wire.reply().startswith(b"220")
                assert proxy.rss() - before < 60 << 20
    finally:
        end()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    clients, servers = proxy.streams()
    assert len(clients) == len(servers) == 1_002


def test_too_many_connections_are_told_to_come_again(tmp_path: Path) -> None:
    with (
        backend(Mx()) as server,
        proxying(tmp_path, server, "127.0.0.1:0", "smtps://127.0.0.1:0", connections=2) as proxy,
    ):
        with proxy.connect() as first, proxy.connect() as second:
            assert first.reply()[:3] == second.reply()[:3] == b"220"
            with proxy.connect() as third:
                assert third.all() == b"421 4.3.2 too many connections at once\r\n"
            with proxy.connect(1) as third:
                third.secure(trusting(), name="127.0.0.1")
                assert third.all().startswith(b"421 4.3.2")
            assert first.ask(b"NOOP").startswith(b"250")

        def welcome() -> bool:
            with proxy.connect() as wire:
                return wire.reply().startswith(b"220")

        wait_until(welcome, "room")
        assert server.accepted < 20


def test_silence_ends_both_sides_and_is_told(tmp_path: Path) -> None:
    ends = []

    def serve(wire: Wire) -> None:
        wire.say(b"220 mx\r\n")
        ends.append(wire.is_reset())

    with backend(serve) as server, proxying(tmp_path, server, idle=0.5) as proxy:
        with proxy.connect() as wire:
            wire.reply()
            assert wire.is_reset()
            wait_until(lambda: bool(ends), "the server's end")
        assert ends == [True]
        # One that was told to go, and takes nothing of it.
        with proxy.connect() as wire:
            wire.reply()
        clients, servers = proxy.streams()
        assert {each.ends for each in clients + servers} >= {("", "rst"), ("rst", "")}
        assert "s of silence" in proxy.notes()


def test_a_receiver_that_takes_nothing_is_let_go_of_after_silence(tmp_path: Path) -> None:
    done = threading.Event()

    def serve(wire: Wire) -> None:
        with suppress(OSError):
            wire.end.settimeout(0.5)
            while True:
                wire.say(b"x" * 100_000)
        done.set()

    with (
        backend(serve) as server,
        proxying(tmp_path, server, idle=0.5) as proxy,
        proxy.connect() as wire,
    ):
        wire.end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        assert done.wait(PATIENCE)
        wait_until(lambda: "silence" in proxy.notes(), "the end")


def test_the_owners_end_closes_what_is_open_in_good_order(tmp_path: Path) -> None:
    ends = []

    def serve(wire: Wire) -> None:
        wire.say(b"220 mx\r\n")
        ends.append(wire.is_reset())

    with backend(serve) as server, proxying(tmp_path, server) as proxy, proxy.connect() as wire:
        wire.reply()
        proxy.recorder.ask_to_end()
        assert wire.is_reset() is False
        wait_until(lambda: bool(ends), "the server's end")
        assert ends == [False]
        wire.close()
        clients, servers = proxy.streams()
        assert all("fin" in each.ends for each in clients + servers)


def test_a_flood_of_resets_leaves_nothing_behind(tmp_path: Path) -> None:
    linger = struct.pack("ii", 1, 0)
    with backend(Mx()) as server, proxying(tmp_path, server) as proxy:
        for _ in range(300):
            with proxy.connect() as wire:
                wire.end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        with proxy.connect() as wire:
            assert wire.reply().startswith(b"220")
            assert wire.ask(b"QUIT").startswith(b"221")
