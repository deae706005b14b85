"""A proxy as its owner starts it, between clients and servers that a test is made of."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from processes import PATIENCE, wait_until
from recorder import packets

from smtpscope.capture.pcap import open_capture
from smtpscope.places import state_folder
from smtpscope.reading import read_sessions
from smtpscope.recorder import Recorder
from smtpscope.recorders.authority import Authority
from smtpscope.session import Session

SERVER_LEGS = "smtpscope-server-legs"
_RESET = struct.pack("ii", 1, 0)


# -- servers and clients ---------------------------------------------------------------------------


class Wire:
    """One end of a connection, blocking; `got` are all octets that came, before TLS takes them."""

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(PATIENCE)
        self.end = end
        self.rest = b""

    def say(self, octets: bytes) -> None:
        self.end.sendall(octets)

    def some(self) -> bytes:
        """What comes next; b"" at the end."""
        if self.rest:
            octets, self.rest = self.rest, b""
            return octets
        return self.end.recv(1 << 16)

    def more(self) -> bytes:
        """What comes next, where something has to."""
        octets = self.some()
        if not octets:
            raise ConnectionError("the other side has ended too early")
        return octets

    def exchange(self, pieces: Iterable[bytes], wanted: int) -> bytes:
        """Say all these while `wanted` octets are heard, by one thread: two at once would break a
        TLS connection of Python's."""
        waiting = deque(map(memoryview, pieces))
        heard = bytearray()
        blocked = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self.end.setblocking(False)
        while waiting or len(heard) < wanted:
            with suppress(*blocked):
                while len(heard) < wanted:
                    heard += self.more()
            with suppress(*blocked):
                while waiting:
                    waiting[0] = waiting[0][self.end.send(waiting[0]) :]
                    if not waiting[0]:
                        waiting.popleft()
            if waiting or len(heard) < wanted:
                writing = [self.end] if waiting else []
                ready = select.select([self.end], writing, [], PATIENCE)
                assert any(ready), "nothing moves any more"
        self.end.settimeout(PATIENCE)
        return bytes(heard)

    def line(self) -> bytes:
        while b"\n" not in self.rest:
            octets = self.end.recv(1 << 16)
            if not octets:
                break
            self.rest += octets
        line, feed, self.rest = self.rest.partition(b"\n")
        return line + feed

    def reply(self) -> bytes:
        """All lines of the next reply, b"" where the other side has ended."""
        said = b""
        while line := self.line():
            said += line
            if line[3:4] != b"-":
                break
        return said

    def ask(self, command: bytes) -> bytes:
        self.say(command + b"\r\n")
        return self.reply()

    def all(self) -> bytes:
        """Everything up to the end, which may be a reset."""
        octets = b""
        with suppress(ConnectionError, ssl.SSLError):
            while piece := self.some():
                octets += piece
        return octets

    def secure(self, context: ssl.SSLContext, *, server: bool = False, name: str = "") -> None:
        """Speak TLS from here on; nothing that came before is part of it."""
        assert not self.rest
        self.end = context.wrap_socket(
            self.end,
            server_side=server,
            server_hostname=name or None,
            suppress_ragged_eofs=False,
        )

    def shut(self) -> None:
        # Python's TLS sockets would forget that they speak TLS.
        socket.socket.shutdown(self.end, socket.SHUT_WR)

    def reset(self) -> None:
        self.end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.end.close()

    def is_reset(self) -> bool:
        """Wait for the end: whether it is a reset."""
        try:
            while self.end.recv(1 << 16):
                pass
        except ConnectionResetError:
            return True
        return False

    def close(self) -> None:
        self.end.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Backend:
    """A server: `serve` is called with each connection, in a thread of its own."""

    def __init__(self, serve: Callable[[Wire], None], host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=1_000)
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self.problems: list[BaseException] = []
        self._serve = serve
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                end, _ = self._listener.accept()
                self.accepted += 1
                thread = threading.Thread(target=self._run, args=(Wire(end),), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, wire: Wire) -> None:
        with wire:
            try:
                self._serve(wire)
            except (ConnectionError, ssl.SSLError, BrokenPipeError):
                pass
            except BaseException as error:
                self.problems.append(error)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not self.problems, self.problems


@contextmanager
def backend(serve: Callable[[Wire], None], host: str = "127.0.0.1") -> Iterator[Backend]:
    made = Backend(serve, host)
    with closing(made):
        yield made


class Mx:
    """A plain SMTP server, which offers STARTTLS where it has a `context`.

    `lines` are what clients said, each with whether it came through TLS; `tls` overrides the
    answer to STARTTLS.
    """

    def __init__(self, context: ssl.SSLContext | None = None, *, implicit: bool = False) -> None:
        self.context = context
        self.implicit = implicit
        self.answer: bytes | None = None
        self.lines: list[tuple[bytes, bool]] = []
        self.instead: Callable[[Wire], None] | None = None
        """Called in the place of a handshake."""

    def __call__(self, wire: Wire) -> None:
        secure = self.implicit
        if secure:
            assert self.context is not None
            wire.secure(self.context, server=True)
        wire.say(b"220 mx.example ESMTP\r\n")
        while line := wire.line():
            self.lines.append((line, secure))
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"EHLO":
                offer = b"250-STARTTLS\r\n" if self.context is not None and not secure else b""
                wire.say(b"250-mx.example\r\n" + offer + b"250 SIZE\r\n")
            elif verb == b"STARTTLS" and (self.context is not None or self.answer):
                wire.say(self.answer or b"220 2.0.0 go ahead\r\n")
                if self.instead is not None:
                    self.instead(wire)
                    return
                if self.answer is None or self.answer.startswith(b"220"):
                    assert self.context is not None
                    wire.rest = b""
                    wire.secure(self.context, server=True)
                    secure = True
            elif verb == b"DATA":
                wire.say(b"354 go ahead\r\n")
                while (line := wire.line()) not in (b".\r\n", b""):
                    self.lines.append((line, secure))
                wire.say(b"250 2.0.0 taken\r\n")
            elif verb == b"QUIT":
                wire.say(b"221 2.0.0 bye\r\n")
                return
            else:
                wire.say(b"250 2.0.0 ok\r\n")

    def heard(self, *, secure: bool) -> list[bytes]:
        return [line.rstrip() for line, how in self.lines if how is secure]


# -- certificates ----------------------------------------------------------------------------------


class Pki(NamedTuple):
    """A CA in a file and what a server of 127.0.0.1 shakes hands with."""

    ca: str
    context: ssl.SSLContext
    pem: str
    """The server's certificate and key: good for a client, too."""


def pki(folder: Path, *, days: int = 1) -> Pki:
    """A new one; with negative `days` the server's certificate ran out so long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)])
        for each in ("A test's CA", "mx.example")
    ]
    made = []
    for which in range(2):
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[which])
            .issuer_name(names[0])
            .public_key(keys[which].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1_000))
            .not_valid_after(now + timedelta(days=days if which else 10))
            .add_extension(x509.BasicConstraints(ca=not which, path_length=None), critical=True)
        )
        if which:
            own = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1")]
            alternatives = x509.SubjectAlternativeName([*own, x509.DNSName("mx.example")])
            builder = builder.add_extension(alternatives, critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()))
    ca, leaf = (each.public_bytes(serialization.Encoding.PEM) for each in made)
    (folder / "ca.pem").write_bytes(ca)
    key = keys[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "leaf.pem").write_bytes(leaf + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem")
    return Pki(str(folder / "ca.pem"), context, str(folder / "leaf.pem"))


# -- the proxy -------------------------------------------------------------------------------------


class Stream(NamedTuple):
    """One recorded connection. Pairs are the client's and the server's."""

    interface: str
    client: tuple[str, int]
    server: tuple[str, int]
    octets: tuple[bytes, bytes]
    ends: tuple[str, str]
    """ "fin", "rst" or ""."""


def streams(path: str | Path) -> list[Stream]:
    """The connections of a recording, in their order: read without the code under test."""
    found: dict[tuple[str, tuple[str, int], tuple[str, int]], list[Any]] = {}
    done: list[list[Any]] = []
    for packet in packets(Path(path)):
        octets = packet.octets
        if octets[0] >> 4 == 4:
            source, target = (
                socket.inet_ntop(socket.AF_INET, octets[at : at + 4]) for at in (12, 16)
            )
            tcp = octets[20:]
        else:
            source, target = (
                socket.inet_ntop(socket.AF_INET6, octets[at : at + 16]) for at in (8, 24)
            )
            tcp = octets[40:]
        ports = struct.unpack(">HH", tcp[:4])
        seq, _, offset, flags = struct.unpack(">IIBB", tcp[4:14])
        ends = (source, ports[0]), (target, ports[1])
        key = (packet.interface, *ends)
        back = (packet.interface, *reversed(ends))
        if flags & 2 and not flags & 16:
            found[key] = [packet.interface, *ends, [[], []], ["", ""], [seq + 1, None]]
            found.pop(back, None)
            done.append(found[key])
            continue
        own = key in found
        entry = found[key] if own else found[back]
        way = 0 if own else 1
        if flags & 2:
            entry[5][1] = seq + 1
            continue
        payload = tcp[(offset >> 4) * 4 :]
        # In order, without holes: what a program has seen of a socket.
        assert seq == entry[5][way] & 0xFFFFFFFF
        entry[5][way] += len(payload)
        assert not (payload and entry[4][way])
        entry[3][way].append(payload)
        if flags & 5:
            entry[4][way] = "rst" if flags & 4 else "fin"
    return [
        Stream(each[0], each[1], each[2], tuple(map(b"".join, each[3])), tuple(each[4]))
        for each in done
    ]


def notes(path: str | Path) -> list[str]:
    """The comments of a recording."""
    with open_capture(Path(path)) as reader:
        for _ in reader:
            pass
        return [text.decode() for _, text in reader.comments]


class Forwarding:
    """A running proxy; `ports` in the order of its listeners."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.ports: list[int] = recorder.told["ports"]

    @property
    def port(self) -> int:
        return self.ports[0]

    def connect(self, number: int = 0, host: str = "127.0.0.1") -> Wire:
        return Wire(socket.create_connection((host, self.ports[number]), timeout=PATIENCE))

    def sockets(self) -> int:
        """How many the proxy has open."""
        folder = f"/proc/{self.recorder.pid}/fd"
        count = 0
        for each in os.listdir(folder):
            with suppress(OSError):
                count += os.readlink(f"{folder}/{each}").startswith("socket:")
        return count

    def rss(self) -> int:
        """Resident octets, the most that there ever were."""
        status = Path(f"/proc/{self.recorder.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10

    def stop(self) -> None:
        self.recorder.stop()
        assert self.recorder.problem is None, self.recorder.problem

    def streams(self) -> tuple[list[Stream], list[Stream]]:
        """What was recorded of clients and of servers, after the proxy has ended."""
        self.stop()
        every = streams(self.recorder.path)
        servers = [each for each in every if each.interface == SERVER_LEGS]
        return [each for each in every if each.interface != SERVER_LEGS], servers

    def notes(self) -> str:
        """What the recording says of its packets."""
        return "\n".join(notes(self.recorder.path))

    def sessions(self) -> list[Session]:
        self.stop()
        return list(read_sessions(self.recorder.path, ports=frozenset(self.ports)))


@contextmanager
def proxying(
    folder: Path,
    upstream: str | Backend,
    *listen: str,
    task: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[Forwarding]:
    """A proxy on ports of its own; `options` as its task has them. It has to be left without any
    connection to anybody: whatever was opened is closed at the end."""
    recorder = Recorder("proxy")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        recorder.begin(
            {
                "path": str(folder / "r.pcapng"),
                **(task or {}),
                "options": {
                    "listen": list(listen) or ["127.0.0.1:0"],
                    "upstream": upstream if isinstance(upstream, str) else upstream.url,
                    **options,
                },
            }
        )
        proxy = Forwarding(recorder)
        idle = proxy.sockets()
        yield proxy
        if recorder.alive:
            wait_until(lambda: proxy.sockets() <= idle, "connections of nobody to be closed")
    finally:
        recorder.stop()


def trusting() -> ssl.SSLContext:
    """What a client needs that trusts the proxy's CA."""
    return ssl.create_default_context(cadata=Authority(state_folder() / "ca").pem().decode())
