"""The proxy hands on what either side says: every octet, every end, and all of it recorded."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from processes import PATIENCE, wait_until
from proxying import Mx, Wire, backend, pki, proxying, trusting

from smtpscope.capture import recording
from smtpscope.capture.synth import LINKTYPE_RAW
from smtpscope.recorder import RecorderError
from smtpscope.recorders.forwarding import Proxy, ProxySettings, Upstream
from smtpscope.recorders.ledger import Ledger
from smtpscope.recorders.listener import Listener
from smtpscope.recorders.loop import run
from smtpscope.recorders.tls import KeyLog


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


# -- octets ----------------------------------------------------------------------------------------


class Exchange:
    """Two sides that both say random octets in random pieces at once, until both have ended."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.said = [_pieces(chance), _pieces(chance)]
        self.heard = [b"", b""]

    def take_part(self, wire: Wire, side: int) -> None:
        talking = threading.Thread(target=self._talk, args=(wire, side))
        talking.start()
        self.heard[side] = wire.all()
        talking.join()

    def _talk(self, wire: Wire, side: int) -> None:
        for piece in self.said[side]:
            wire.say(piece)
        wire.shut()


def _pieces(chance: random.Random) -> list[bytes]:
    sizes = chance.choices([1, 3, 100, 1_460, 70_000, 300_000], k=chance.randrange(1, 12))
    return [chance.randbytes(chance.randrange(1, each + 1)) for each in sizes]


@pytest.mark.parametrize("policy", ["intercept", "pass"])
def test_random_octets_both_ways_arrive_unchanged_and_are_recorded(
    policy: str, tmp_path: Path
) -> None:
    exchanges = [Exchange(seed) for seed in range(25)]
    coming = iter(exchanges)
    with (
        backend(lambda wire: next(coming).take_part(wire, 1)) as server,
        proxying(tmp_path, server, starttls=policy) as proxy,
    ):
        for exchange in exchanges:
            with proxy.connect() as wire:
                exchange.take_part(wire, 0)
    clients, servers = proxy.streams()
    assert len(clients) == len(servers) == len(exchanges)
    for exchange, client, upstream in zip(exchanges, clients, servers, strict=True):
        said = tuple(b"".join(pieces) for pieces in exchange.said)
        assert (exchange.heard[1], exchange.heard[0]) == said
        assert client.octets == upstream.octets == said
        assert client.ends == upstream.ends == ("fin", "fin")


@pytest.mark.parametrize("family", [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_several_listeners_of_both_families(family: tuple[str, str], tmp_path: Path) -> None:
    near, far = family
    mx = Mx()
    with backend(mx, far) as server:
        host = f"[{far}]" if ":" in far else far
        listen = [f"[{near}]:0" if ":" in near else f"{near}:0", "127.0.0.1:0"]
        with proxying(tmp_path, f"smtp://{host}:{server.port}", *listen) as proxy:
            for number, where in enumerate((near, "127.0.0.1")):
                with proxy.connect(number, where) as wire:
                    assert wire.reply().startswith(b"220")
                    assert wire.ask(b"QUIT").startswith(b"221")
                    assert wire.all() == b""
        clients, servers = proxy.streams()
        assert {each.server[1] for each in clients} == set(proxy.ports)
        assert {each.server for each in servers} == {(far, server.port)}
        assert len(proxy.sessions()) == 2


@pytest.mark.parametrize("legs", ["client", "server", "both"])
def test_the_legs_that_are_asked_for_are_recorded(legs: str, tmp_path: Path) -> None:
    with backend(Mx()) as server, proxying(tmp_path, server, legs=legs) as proxy:
        with proxy.connect() as wire:
            wire.reply()
            wire.ask(b"QUIT")
            wire.all()
        clients, servers = proxy.streams()
        ports = [each.server[1] for each in clients + servers]
        wanted = {"client": [proxy.port], "server": [server.port]}
        assert ports == wanted.get(legs, [proxy.port, server.port])


# -- ends ------------------------------------------------------------------------------------------


def test_a_client_that_has_ended_still_hears_everything(tmp_path: Path) -> None:
    heard = []

    def serve(wire: Wire) -> None:
        heard.append(wire.all())
        wire.say(b"x" * 3_000_000)

    with backend(serve) as server, proxying(tmp_path, server) as proxy, proxy.connect() as wire:
        wire.say(b"STAR")
        wire.shut()
        assert len(wire.all()) == 3_000_000
        assert heard == [b"STAR"]


@pytest.mark.parametrize("policy", ["intercept", "strip"])
def test_a_server_that_has_ended_still_hears_everything(policy: str, tmp_path: Path) -> None:
    heard = []

    def serve(wire: Wire) -> None:
        wire.say(b"220-mx\r\n220 bye, with half a line behi")
        wire.shut()
        heard.append(wire.all())

    with backend(serve) as server, proxying(tmp_path, server, starttls=policy) as proxy:
        with proxy.connect() as wire:
            assert wire.all() == b"220-mx\r\n220 bye, with half a line behi"
            wire.say(b"NOOP\r\n" * 300_000)
            wire.shut()
            wait_until(lambda: bool(heard), "the end")
        assert heard == [b"NOOP\r\n" * 300_000]


TURNS = [b"EHLO a", b"MAIL FROM:<>", b"RCPT TO:<b@example.net>", b"DATA", b"x" * 9_000 + b"\r\n."]


@pytest.mark.parametrize("way", ["client", "server"])
def test_a_reset_at_any_turn_of_a_dialogue_is_passed_on(way: str, tmp_path: Path) -> None:
    turns = range(len(TURNS) + 1)
    resets: list[bool] = []
    coming = iter(turns)

    def serve(wire: Wire) -> None:
        wire.say(b"220 mx\r\n")
        for _ in range(next(coming)):
            wire.line()
            wire.say(b"354 go\r\n")
        if way == "server":
            wire.reset()
        else:
            resets.append(wire.is_reset())

    with backend(serve) as server, proxying(tmp_path, server) as proxy:
        for turn in turns:
            with proxy.connect() as wire:
                wire.reply()
                for command in TURNS[:turn]:
                    wire.ask(command)
                if way == "client":
                    wire.reset()
                else:
                    resets.append(wire.is_reset())
            wait_until(lambda turn=turn: len(resets) > turn, "the reset")  # type: ignore[misc]
    assert resets == [True] * len(turns)
    clients, servers = proxy.streams()
    for each in clients + servers:
        assert "rst" in each.ends


def test_a_reset_before_anything_is_said_is_passed_on(tmp_path: Path) -> None:
    """Whether it comes before the proxy attends to the client or after; the kernel may even count
    it as a connection that failed, which is told in words."""
    with backend(Wire.reset) as server, proxying(tmp_path, server) as proxy:
        for _ in range(30):
            with suppress(ConnectionResetError), proxy.connect() as wire:
                words = wire.end.recv(1 << 16)
                assert b"cannot be used: Connection reset by peer" in words


def test_half_a_dialogue_that_ends_everywhere_leaves_nothing_behind(tmp_path: Path) -> None:
    """By every kind of end, before and behind the greeting, and with STARTTLS in the air."""
    said = [b"", b"EHLO a\r\n", b"STARTTLS\r\n", b"NOOP\r\nSTARTTLS\r\n", b"STARTTLS\r\nNOOP\r\n"]
    said += [b" " * 20 + b"X\r\n", b"DATA\r\n.", b"BDAT 5\r\nab"]
    ways: list[Callable[[Wire], None]] = [Wire.close, Wire.reset, Wire.shut]
    for policy in ("intercept", "strip", "refuse"):
        with (
            backend(Mx()) as server,
            proxying(tmp_path / policy, server, starttls=policy) as proxy,
        ):
            for octets in said:
                for greeted in (False, True):
                    for way in ways:
                        with proxy.connect() as wire:
                            if greeted:
                                wire.reply()
                            wire.say(octets)
                            way(wire)
                            if way is Wire.shut:
                                wire.all()
            with proxy.connect() as wire:
                assert wire.reply().startswith(b"220")


# -- the server ------------------------------------------------------------------------------------


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    port = _closed_port()
    with proxying(
        tmp_path, f"smtp://127.0.0.1:{port}", "127.0.0.1:0", "smtps://127.0.0.1:0"
    ) as proxy:
        words = b"421 4.4.1 smtp://127.0.0.1:%d cannot be used: Connection refused\r\n" % port
        with proxy.connect() as wire:
            assert wire.all() == words
        with proxy.connect(1) as wire:
            wire.secure(trusting(), name="127.0.0.1")
            assert wire.all() == words
    (plain, _), servers = proxy.streams()
    assert plain.octets == (b"", words)
    assert not servers
    assert "Connection refused" in proxy.notes()


def test_who_talks_meanwhile_hears_the_last_words_too(tmp_path: Path) -> None:
    """Closing with octets unread would be a reset, which takes them away."""
    with (
        proxying(tmp_path, f"smtp://127.0.0.1:{_closed_port()}") as proxy,
        proxy.connect() as wire,
    ):
        wire.say(b"x" * 1_000_000)
        assert wire.reply().startswith(b"421 4.4.1 ")
        assert wire.some() == b""
        for _ in range(3):
            time.sleep(0.02)
            wire.say(b"x")
        wire.shut()
        assert not wire.is_reset()


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ("smtp://nowhere.invalid:25", b"421 4.4.1 smtp://nowhere.invalid:25 cannot be used: "),
        ("smtp://192.0.2.1:25", b"421 4.4.1 smtp://192.0.2.1:25 cannot be used: "),
    ],
)
def test_so_is_one_that_nobody_finds(upstream: str, words: bytes, tmp_path: Path) -> None:
    with proxying(tmp_path, upstream, connect_timeout=0.2) as proxy, proxy.connect() as wire:
        reply = wire.all()
        assert reply.startswith(words)
        assert len(reply) > len(words) + 8
        assert reply.count(b"\n") == 1


OWN = [
    (["127.0.0.1"], "127.0.0.1"),
    (["127.0.0.1"], "localhost"),
    (["localhost"], "127.0.0.1"),
    (["::1"], "::1"),
    (["0.0.0.0"], "127.0.0.1"),
    (["0.0.0.0"], "127.0.0.9"),
    (["0.0.0.0"], "localhost"),
    (["::"], "::1"),
    (["127.0.0.1"], "0.0.0.0"),
    (["::1"], "::"),
    (["127.0.0.1"], "::ffff:127.0.0.1"),
    (["0.0.0.0"], "::ffff:127.0.0.1"),
    (["0.0.0.0", "::1"], "::ffff:127.3.0.1"),
]


@pytest.mark.parametrize(("listen", "upstream"), OWN)
def test_a_proxy_refuses_to_be_its_own_server(
    listen: list[str], upstream: str, tmp_path: Path
) -> None:
    port = _closed_port()
    where = [f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in listen]
    host = f"[{upstream}]" if ":" in upstream else upstream
    with (
        pytest.raises(RecorderError, match="where this proxy listens itself") as caught,
        proxying(tmp_path, f"smtp://{host}:{port}", *where),
    ):
        pass
    assert caught.value.exit_status == 2


def test_a_name_that_leads_back_later_makes_no_endless_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_nothing(proxy: Proxy) -> None:
        pass

    async def go() -> None:
        key_log = KeyLog()
        wires = [recording.Wire(name, LINKTYPE_RAW) for name in "ab"]
        ledger = Ledger(tmp_path / "r.pcapng", wires, None, key_log)
        port = _closed_port()
        upstream = Upstream("smtp", "127.0.0.1", port)
        proxy = Proxy(ProxySettings(upstream), ledger, key_log, authority=None)
        await proxy.listen([Listener("smtp", "127.0.0.1", port)])
        serving = asyncio.create_task(proxy.serve())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert b"that is this proxy itself" in await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        for _ in range(500):
            await asyncio.sleep(0)
        proxy.end()
        await serving
        assert proxy.connections < 5

    monkeypatch.setattr(Proxy, "_check_upstream", find_nothing)
    run(go())


def test_another_server_on_the_same_port_is_no_loop(tmp_path: Path) -> None:
    with (
        backend(Mx(), "127.0.0.2") as server,
        proxying(tmp_path, f"smtp://127.0.0.2:{server.port}", f"127.0.0.1:{server.port}") as proxy,
        proxy.connect() as wire,
    ):
        assert wire.reply().startswith(b"220")


def test_the_other_family_on_the_same_port_is_no_loop(tmp_path: Path) -> None:
    with (
        backend(Mx()) as server,
        proxying(tmp_path, server, f"[::]:{server.port}") as proxy,
        proxy.connect(0, "::1") as wire,
    ):
        assert wire.reply().startswith(b"220")


def test_an_upstream_without_a_kind_is_smtp(tmp_path: Path) -> None:
    with (
        backend(lambda wire: wire.say(b"220 here\r\n")) as server,
        proxying(tmp_path, f"127.0.0.1:{server.port}") as proxy,
        proxy.connect() as wire,
    ):
        assert wire.reply() == b"220 here\r\n"


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ("gopher://mx.example", "is no server"),
        ("smtp://:25", "is no server"),
        ("smtp://127.0.0.1:0", "has no port"),
        ("smtp://127.0.0.1:65536", "has no port"),
        ("smtp://a..b:25", "a..b"),
        ("smtps://" + "x" * 70 + ".example", "xxx"),
    ],
)
def test_what_is_no_server_is_told(upstream: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RecorderError) as caught, proxying(tmp_path, upstream):
        pass
    assert words in str(caught.value)
    assert "Error" not in str(caught.value)
    assert caught.value.exit_status == 2


# -- the PROXY protocol ----------------------------------------------------------------------------

V2 = b"\r\n\r\n\0\r\nQUIT\n"
HEADERS = {
    "v1": b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\n",
    "v1-unknown": b"PROXY UNKNOWN\r\n",
    "v1-six": b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 25\r\n",
    "v2": V2 + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 198, 51, 100, 1]) + b"\x0f\xa0\0\x19",
    "v2-local": V2 + b"\x20\0\0\0",
    "v2-more": V2 + b"\x21\x11\x10\0" + bytes([192, 0, 2, 7, 198, 51, 100, 1]) + bytes(4_088),
}


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_proxy_header_stands_before_everything_else(size: int, tmp_path: Path) -> None:
    mx = Mx()
    with backend(mx) as server, proxying(tmp_path, server, proxy_protocol=True) as proxy:
        for header in HEADERS.values():
            with proxy.connect() as wire:
                wire.end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                octets = header + b"EHLO early.example\r\nQUIT\r\n"
                for at in range(0, len(octets), size):
                    wire.say(octets[at : at + size])
                assert wire.all().endswith(b"221 2.0.0 bye\r\n")
        wait_until(lambda: len(mx.lines) == 2 * len(HEADERS), "the commands")
        assert mx.heard(secure=False) == [b"EHLO early.example", b"QUIT"] * len(HEADERS)
        sessions = proxy.sessions()
    assert [each.tunnel.kind[:8] for each in sessions if each.tunnel] == ["proxy-v1"] * 3 + [
        "proxy-v2"
    ] * 3


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO client.example\r\n",
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY " + b"x" * 200,
        V2 + b"\x31\x11\0\0",
        V2[:6] + b"\r\n",
        b"\xff" * 20_000,
        b"\x16\x03\x01\0\x05hello",
    ],
)
def test_without_a_proxy_header_nothing_goes_on(octets: bytes, tmp_path: Path) -> None:
    with (
        backend(Mx()) as server,
        proxying(tmp_path, server, proxy_protocol=True) as proxy,
    ):
        with proxy.connect() as wire:
            wire.say(octets)
            assert b"did not begin with a PROXY header" in wire.all()
        assert not server.accepted
        with proxy.connect() as wire:
            wire.say(octets[:3])
            wire.shut()
            assert wire.all().startswith(b"421 4.")
        assert not server.accepted


# -- back-pressure ---------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
def test_a_slow_receiver_of_a_large_message_costs_no_memory(secure: bool, tmp_path: Path) -> None:
    made = pki(tmp_path / "pki")
    size, piece = (200, random.Random(4).randbytes(1 << 20))
    go = threading.Event()
    got = hashlib.sha256()

    def serve(wire: Wire) -> None:
        if secure:
            wire.secure(made.context, server=True)
        go.wait()
        while octets := wire.end.recv(1 << 18):
            got.update(octets)
        wire.say(b"250 taken\r\n")

    said = hashlib.sha256()
    with (
        backend(serve) as server,
        proxying(
            tmp_path,
            f"smtp{'s' * secure}://127.0.0.1:{server.port}",
            task={"rotation": [20_000_000, None, 2]},
            upstream_ca=made.ca,
        ) as proxy,
        proxy.connect() as wire,
    ):
        before = proxy.rss()
        sent = 0
        # Until nobody takes any more.
        wire.end.settimeout(0.5)
        with suppress(TimeoutError):
            while True:
                sent += wire.end.send(piece[sent % len(piece) :])
        stuck = proxy.rss()
        assert sent < 60_000_000
        go.set()
        wire.end.settimeout(60)
        while sent < size * len(piece):
            sent += wire.end.send(piece[sent % len(piece) :])
        wire.shut()
        assert wire.all() == b"250 taken\r\n"
        for _ in range(size):
            said.update(piece)
        assert got.digest() == said.digest()
        assert stuck - before < 30 << 20
        assert proxy.rss() - before < 30 << 20
