"""TLS through the proxy: STARTTLS by every policy, its failures, and what is said too early."""

from __future__ import annotations

import random
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from proxying import Forwarding, Mx, Pki, Wire, backend, pki, proxying, trusting


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def made(tmp_path: Path) -> Pki:
    return pki(tmp_path / "pki")


def greet(proxy: Forwarding, number: int = 0) -> Wire:
    """A client that has said EHLO."""
    wire = proxy.connect(number)
    assert wire.reply().startswith(b"220")
    assert wire.ask(b"EHLO client.example").startswith(b"250")
    return wire


# -- policies --------------------------------------------------------------------------------------


def test_starttls_is_intercepted_and_both_legs_can_be_read(made: Pki, tmp_path: Path) -> None:
    mx = Mx(made.context)
    with backend(mx) as server, proxying(tmp_path, server, upstream_ca=made.ca) as proxy:
        with greet(proxy) as wire:
            assert wire.ask(b"STARTTLS") == b"220 2.0.0 go ahead\r\n"
            wire.secure(trusting(), name="127.0.0.1")
            for command in (b"EHLO again.example", b"MAIL FROM:<>", b"DATA"):
                assert wire.ask(command)[:1] in b"23"
            assert wire.ask(b"Subject: secret\r\n\r\nhello\r\n.").startswith(b"250")
            assert wire.ask(b"QUIT").startswith(b"221")
        assert mx.heard(secure=False) == [b"EHLO client.example", b"STARTTLS"]
        assert b"Subject: secret" in mx.heard(secure=True)
        (session,) = proxy.sessions()
    assert session.tls_mode == "starttls"
    assert session.messages[0].size == len(b"Subject: secret\r\n\r\nhello\r\n")
    assert b"Subject: secret" not in Path(proxy.recorder.path).read_bytes()


def test_starttls_is_passed_and_the_certificate_is_the_servers(made: Pki, tmp_path: Path) -> None:
    mx = Mx(made.context)
    with backend(mx) as server, proxying(tmp_path, server, starttls="pass") as proxy:
        with greet(proxy) as wire:
            wire.ask(b"STARTTLS")
            # The server's certificate lacks what Python 3.13 asks for.
            context = ssl.create_default_context(cafile=made.ca)
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            wire.secure(context, name="127.0.0.1")
            assert wire.ask(b"QUIT").startswith(b"221")
        clients, servers = proxy.streams()
        assert clients[0].octets == servers[0].octets
        assert not (tmp_path / "state" / "smtpscope" / "ca").exists()


@pytest.mark.parametrize(("policy", "code"), [("strip", b"502"), ("refuse", b"454")])
def test_starttls_is_answered_without_the_server(
    policy: str, code: bytes, made: Pki, tmp_path: Path
) -> None:
    mx = Mx(made.context)
    with backend(mx) as server, proxying(tmp_path, server, starttls=policy) as proxy:
        with proxy.connect() as wire:
            wire.reply()
            offered = b"STARTTLS" in wire.ask(b"EHLO client.example")
            assert offered is (policy == "refuse")
            wire.say(b"NOOP\r\nSTARTTLS\r\nNOOP\r\nstarttls now\r\nQUIT\r\n")
            codes = [wire.reply()[:3] for _ in range(5)]
            assert codes == [b"250", code, b"250", code, b"221"]
        assert [line for line in mx.heard(secure=False) if b"TLS" in line.upper()] == []
        proxy.stop()
        assert proxy.notes().count("answered by the proxy") == 2


def no_recipients(wire: Wire) -> None:
    """A server that answers DATA late and with a refusal, like each line of the message then."""
    wire.say(b"220 mx\r\n")
    while line := wire.line():
        if line.startswith(b"DATA"):
            time.sleep(0.05)
        reply = {b"DATA": b"503 no", b"STARTTLS": b"220 go"}.get(line.strip().upper(), b"500 what")
        wire.say(reply + b"\r\n")


@pytest.mark.parametrize(("policy", "code"), [("strip", b"502"), ("refuse", b"454")])
def test_starttls_behind_a_data_that_is_refused_is_a_command(
    policy: str, code: bytes, tmp_path: Path
) -> None:
    """Though it came before anybody could know."""
    with (
        backend(no_recipients) as server,
        proxying(tmp_path, server, starttls=policy) as proxy,
        proxy.connect() as wire,
    ):
        wire.reply()
        wire.say(b"DATA\r\nSubject: x\r\nSTARTTLS\r\nNOOP\r\n")
        codes = [wire.reply()[:3] for _ in range(4)]
        assert codes == [b"503", b"500", code, b"500"]


def test_a_message_that_does_not_wait_for_the_reply_to_data_goes_on_as_it_is(
    made: Pki, tmp_path: Path
) -> None:
    mx = Mx(made.context)
    with (
        backend(mx) as server,
        proxying(tmp_path, server, upstream_ca=made.ca) as proxy,
        greet(proxy) as wire,
    ):
        wire.say(b"DATA\r\nSTARTTLS\r\n" + b"x" * 998 + b"\r\n.\r\nSTARTTLS\r\n")
        assert [wire.reply()[:3] for _ in range(3)] == [b"354", b"250", b"220"]
        wire.secure(trusting(), name="127.0.0.1")
        assert wire.ask(b"QUIT").startswith(b"221")
        heard = mx.heard(secure=False)
        assert heard == [b"EHLO client.example", b"DATA", b"STARTTLS", b"x" * 998, b"STARTTLS"]


@pytest.mark.parametrize("upstream", ["smtp", "starttls", "smtps"])
def test_every_kind_of_listener_and_server(upstream: str, made: Pki, tmp_path: Path) -> None:
    mx = Mx(made.context if upstream != "smtp" else None, implicit=upstream == "smtps")
    with (
        backend(mx) as server,
        proxying(
            tmp_path,
            f"{upstream}://127.0.0.1:{server.port}",
            "127.0.0.1:0",
            "smtps://127.0.0.1:0",
            upstream_ca=made.ca,
        ) as proxy,
    ):
        for number in range(2):
            with proxy.connect(number) as wire:
                if number:
                    wire.secure(trusting(), name="localhost")
                assert wire.reply().startswith(b"220")
                assert b"STARTTLS" not in wire.ask(b"EHLO client.example")
                assert wire.ask(b"QUIT").startswith(b"221")
                assert wire.all() == b""
        assert mx.heard(secure=upstream == "smtp").count(b"QUIT") == 0
        assert len(proxy.sessions()) == 2


@pytest.mark.parametrize("asked", ["mail.other.example", "*.odd", ""])
def test_before_a_server_without_tls_a_client_gets_the_name_that_it_asks_for(
    asked: str, made: Pki, tmp_path: Path
) -> None:
    with (
        backend(Mx()) as server,
        proxying(tmp_path, server, "smtps://127.0.0.1:0") as proxy,
    ):
        for _ in range(2):
            with proxy.connect() as wire:
                context = trusting()
                context.check_hostname = asked == "mail.other.example"
                wire.secure(context, name=asked)
                assert wire.reply().startswith(b"220")
                assert wire.ask(b"QUIT").startswith(b"221")
        assert [each.state for each in proxy.sessions()] == ["quit"] * 2


# -- octets and ends -------------------------------------------------------------------------------


def test_random_octets_and_half_ends_go_through_two_tls_connections(
    made: Pki, tmp_path: Path
) -> None:
    """Each side says all it has while it hears; a server goes on after the client has ended."""
    chance = random.Random(8)
    up = [chance.randbytes(chance.choice([1, 100, 16_384, 200_000])) for _ in range(30)]
    down = [chance.randbytes(chance.choice([1, 100, 16_384, 200_000])) for _ in range(30)]
    heard = [b"", b""]

    def serve(wire: Wire) -> None:
        wire.secure(made.context, server=True)
        heard[0] = wire.exchange(down, sum(map(len, up)))
        assert wire.some() == b""
        # The client has ended; it hears this all the same.
        wire.say(b"last words" * 10_000)

    with (
        backend(serve) as server,
        proxying(
            tmp_path, f"smtps://127.0.0.1:{server.port}", "smtps://127.0.0.1:0", upstream_ca=made.ca
        ) as proxy,
        proxy.connect() as wire,
    ):
        wire.secure(trusting(), name="127.0.0.1")
        heard[1] = wire.exchange(up, sum(map(len, down)))
        wire.shut()
        last = b""
        while len(last) < 100_000:
            last += wire.more()
    assert heard == [b"".join(up), b"".join(down)]
    assert last == b"last words" * 10_000


# -- plaintext behind STARTTLS ---------------------------------------------------------------------

INJECTED = b"MAIL FROM:<mallory@example.org>\r\n"


@pytest.mark.parametrize("injection", ["drop", "forward", "refuse"])
@pytest.mark.parametrize("legs", ["both", "server"])
def test_plaintext_in_the_segment_of_starttls(
    injection: str, legs: str, made: Pki, tmp_path: Path
) -> None:
    mx = Mx(made.context)
    with (
        backend(mx) as server,
        proxying(tmp_path, server, upstream_ca=made.ca, injection=injection, legs=legs) as proxy,
    ):
        with greet(proxy) as wire:
            answer = wire.ask(b"STARTTLS\r\n" + INJECTED.rstrip())
            if injection == "refuse":
                assert answer.startswith(b"554")
                assert wire.all() == b""
            else:
                assert answer.startswith(b"220")
                assert not wire.rest
                wire.secure(trusting(), name="127.0.0.1")
                assert wire.ask(b"NOOP").startswith(b"250")
                assert wire.ask(b"QUIT").startswith(b"221")
        secure = mx.heard(secure=True)
        assert secure == ([] if injection == "refuse" else [b"NOOP", b"QUIT"])
        clients, servers = proxy.streams()
    if legs == "both":
        assert INJECTED in clients[0].octets[0]
    else:
        servers = clients
    assert (INJECTED in servers[0].octets[0]) is (injection == "forward")
    done = {"drop": "dropped", "forward": "forwarded in the clear", "refuse": "refused"}
    assert f"33 octets of plaintext stood behind STARTTLS: {done[injection]}" in proxy.notes()


@pytest.mark.parametrize("injection", ["drop", "forward", "refuse"])
@pytest.mark.parametrize("size", [1, 10_000])
def test_plaintext_in_a_later_segment(injection: str, size: int, made: Pki, tmp_path: Path) -> None:
    """It comes before the server's 220: 330 kB are more than is kept, and reading goes on."""
    asked, go = threading.Event(), threading.Event()
    mx = Mx(made.context)

    def serve(wire: Wire) -> None:
        wire.say(b"220 mx\r\n")
        assert wire.line().startswith(b"STARTTLS")
        asked.set()
        assert go.wait(20)
        wire.say(b"220 go\r\n")
        wire.secure(made.context, server=True)
        mx.lines += [(wire.line(), True)]
        wire.say(b"250 ok\r\n")

    with (
        backend(serve) as server,
        proxying(tmp_path, server, upstream_ca=made.ca, injection=injection) as proxy,
    ):
        with proxy.connect() as wire:
            wire.reply()
            wire.say(b"STARTTLS\r\n")
            assert asked.wait(20)
            wire.say(INJECTED * size)
            if size > 1:
                # All of it has arrived, however little of it was read.
                wire.end.settimeout(20)
            go.set()
            answer = wire.reply()
            if injection == "refuse":
                assert answer[:3] in (b"554", b"")
            elif answer:
                assert answer == b"220 go\r\n"
                if size == 1:
                    wire.secure(trusting(), name="127.0.0.1")
                    assert wire.ask(b"NOOP").startswith(b"250")
        assert INJECTED.rstrip() not in mx.heard(secure=True)
        clients, servers = proxy.streams()
    assert INJECTED not in servers[0].octets[0]
    assert INJECTED in clients[0].octets[0]
    assert "octets before the handshake: dropped" in proxy.notes()


def test_what_was_forwarded_behind_a_refused_starttls_is_counted(made: Pki, tmp_path: Path) -> None:
    """A later STARTTLS waits for the replies to it."""

    def serve(wire: Wire) -> None:
        wire.say(b"220 mx\r\n")
        assert [wire.line().strip() for _ in range(4)] == [b"STARTTLS", b"NOOP", b"starttls", b"NO"]
        wire.say(b"454 not now\r\n250 noop\r\n454 no\r\n")
        asked.wait(20)
        wire.say(b"500 no\r\n")
        assert wire.line() == b"OP\r\n"
        wire.say(b"500 op\r\n")
        assert wire.line() == b"STARTTLS\r\n"
        wire.say(b"220 go\r\n")
        wire.secure(made.context, server=True)

    asked = threading.Event()
    with (
        backend(serve) as server,
        proxying(tmp_path, server, upstream_ca=made.ca, injection="forward") as proxy,
        proxy.connect() as wire,
    ):
        wire.reply()
        wire.say(b"STARTTLS\r\nNOOP\r\nstarttls\r\nNO\r\n")
        assert [wire.reply()[:3] for _ in range(3)] == [b"454", b"250", b"454"]
        wire.say(b"OP\r\nSTARTTLS\r\n")
        asked.set()
        assert [wire.reply() for _ in range(3)] == [b"500 no\r\n", b"500 op\r\n", b"220 go\r\n"]
        wire.secure(trusting(), name="127.0.0.1")


# -- failures --------------------------------------------------------------------------------------


def _says_454(proxy: Forwarding, reason: str) -> None:
    """STARTTLS fails with the server: the client is told why, and nothing goes on in the clear."""
    with greet(proxy) as wire:
        reply = wire.ask(b"STARTTLS")
        assert reply.startswith(b"454 4.7.0 TLS with the server failed: ")
        assert reason.encode() in reply
        assert wire.ask(b"MAIL FROM:<>").startswith(b"421 4.7.0")
        assert wire.all() == b""
    with greet(proxy) as wire:
        assert wire.ask(b"STARTTLS").startswith(b"454")
        assert wire.ask(b"QUIT").startswith(b"221")
    # One that just goes away leaves nothing behind.
    with greet(proxy) as wire:
        wire.ask(b"STARTTLS")


def _close(wire: Wire) -> None:
    """Close, in the place of a handshake."""


def _hello_and_close(wire: Wire) -> None:
    wire.some()


def _garbage(wire: Wire) -> None:
    wire.say(b"\x16\x03\x03" + b"\xff" * 300)
    wire.all()


def _alert(wire: Wire) -> None:
    wire.some()
    wire.say(b"\x15\x03\x03\0\x02\x02\x28")
    wire.all()


def _words(wire: Wire) -> None:
    wire.say(b"500 5.5.1 what?\r\n")
    wire.all()


def _half(wire: Wire) -> None:
    wire.some()
    wire.say(b"\x16\x03\x03\x01\0\x02")


@pytest.mark.parametrize("instead", [_close, _hello_and_close, _garbage, _alert, _words, _half])
def test_a_handshake_that_fails_with_the_server(instead: object, made: Pki, tmp_path: Path) -> None:
    mx = Mx(made.context)
    mx.instead = instead  # type: ignore[assignment]
    with backend(mx) as server, proxying(tmp_path, server, upstream_ca=made.ca) as proxy:
        _says_454(proxy, "")
        assert mx.heard(secure=False) == [b"EHLO client.example", b"STARTTLS"] * 3
        proxy.stop()
        assert proxy.notes().count("TLS with the server failed") == 3


@pytest.mark.parametrize("insecure", [False, True])
def test_a_certificate_that_ran_out(insecure: bool, tmp_path: Path) -> None:
    old = pki(tmp_path / "pki", days=-1)
    with (
        backend(Mx(old.context)) as server,
        proxying(tmp_path, server, upstream_ca=old.ca, insecure_upstream=insecure) as proxy,
    ):
        if not insecure:
            _says_454(proxy, "certificate has expired")
            return
        with greet(proxy) as wire:
            assert wire.ask(b"STARTTLS").startswith(b"220")


def test_a_certificate_of_nobody_is_refused_ahead_too(made: Pki, tmp_path: Path) -> None:
    for kind in ("starttls", "smtps"):
        mx = Mx(made.context, implicit=kind == "smtps")
        with (
            backend(mx) as server,
            proxying(tmp_path / kind, f"{kind}://127.0.0.1:{server.port}") as proxy,
            proxy.connect() as wire,
        ):
            assert b"the certificate is refused" in wire.all()
            assert mx.heard(secure=True) == []


ANSWERS = [b"454 4.7.0 not now\r\n", b"501-no\r\n501 parameters\r\n", b"250 ok\r\n"]


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_other_than_220_is_the_clients(answer: bytes, made: Pki, tmp_path: Path) -> None:
    mx = Mx(made.context)
    mx.answer = answer
    with (
        backend(mx) as server,
        proxying(tmp_path, server, upstream_ca=made.ca) as proxy,
        greet(proxy) as wire,
    ):
        wire.say(b"STARTTLS\r\nNOOP\r\n")
        assert wire.reply() == answer
        # What was dropped for the sake of TLS that never came would be missed.
        assert wire.reply().startswith(b"250")
        assert wire.ask(b"QUIT").startswith(b"221")
    mx.answer = answer
    with (
        backend(mx) as server,
        proxying(
            tmp_path / "ahead", f"starttls://127.0.0.1:{server.port}", upstream_ca=made.ca
        ) as proxy,
        proxy.connect() as wire,
    ):
        told = wire.all()
        assert told.startswith(b"421 4.4.1 starttls://")
        assert b"STARTTLS was answered" in told
        assert told.count(b"\n") == 1


@pytest.mark.parametrize("answer", [b"nonsense\r\n", b"220", b"220-go\r\n", b""])
def test_an_answer_that_is_none_is_454(answer: bytes, made: Pki, tmp_path: Path) -> None:
    def serve(wire: Wire) -> None:
        wire.say(b"220 mx\r\n")
        wire.line()
        wire.say(b"250 STARTTLS\r\n")
        wire.line()
        wire.say(answer)

    with backend(serve) as server, proxying(tmp_path, server, upstream_ca=made.ca) as proxy:
        _says_454(proxy, "no reply" if answer.startswith(b"n") else "closed")


def test_what_a_server_says_in_the_clear_behind_its_220_is_not_heard(
    made: Pki, tmp_path: Path
) -> None:
    mx = Mx(made.context)
    mx.answer = b"220 go\r\n250 injected\r\n"
    with backend(mx) as server, proxying(tmp_path, server, upstream_ca=made.ca) as proxy:
        with greet(proxy) as wire:
            assert wire.ask(b"STARTTLS") == b"220 go\r\n"
            assert not wire.rest
            wire.secure(trusting(), name="127.0.0.1")
            assert wire.ask(b"NOOP") == b"250 2.0.0 ok\r\n"
        proxy.stop()
        assert "the server said 14 octets before the handshake: dropped" in proxy.notes()


@pytest.mark.parametrize("greeting", [b"554 go away\r\n", b"421-a\r\n421 b\r\n", b"354 x\r\n"])
def test_no_greeting_leads_a_server_with_tls_on_in_the_clear(
    greeting: bytes, tmp_path: Path
) -> None:
    heard = []

    def serve(wire: Wire) -> None:
        wire.say(greeting)
        heard.append(wire.all())

    with (
        backend(serve) as server,
        proxying(tmp_path, f"starttls://127.0.0.1:{server.port}") as proxy,
        proxy.connect() as wire,
    ):
        told = wire.all()
    assert told.startswith(b"421 4.4.1 ")
    assert greeting[:3] in told[4:]
    assert told.count(b"\n") == 1
    assert heard == [b""]


def test_a_server_that_offers_no_starttls_is_no_server_for_us(tmp_path: Path) -> None:
    mx = Mx()
    with (
        backend(mx) as server,
        proxying(tmp_path, f"starttls://127.0.0.1:{server.port}") as proxy,
        proxy.connect() as wire,
    ):
        assert b"does not offer STARTTLS" in wire.all()


def test_a_server_that_wants_a_certificate_refuses_behind_the_handshake(
    made: Pki, tmp_path: Path
) -> None:
    """With TLS 1.3 its alert comes when our handshake is over, and the client's may be."""
    made.context.load_verify_locations(made.ca)
    made.context.verify_mode = ssl.CERT_REQUIRED
    with backend(Mx(made.context)) as server:
        with proxying(tmp_path, server, upstream_ca=made.ca) as proxy:
            with greet(proxy) as wire:
                if wire.ask(b"STARTTLS").startswith(b"220"):
                    try:
                        wire.secure(trusting(), name="127.0.0.1")
                        assert wire.ask(b"NOOP") == b""
                    except (ssl.SSLError, OSError):
                        pass
            proxy.stop()
            assert "TLS with the server failed" in proxy.notes()
        options = {"upstream_cert": made.pem, "upstream_key": made.pem}
        with (
            proxying(tmp_path / "2", server, upstream_ca=made.ca, **options) as proxy,
            greet(proxy) as wire,
        ):
            assert wire.ask(b"STARTTLS").startswith(b"220")
            wire.secure(trusting(), name="127.0.0.1")
            assert wire.ask(b"NOOP").startswith(b"250")


GARBAGE = [
    b"EHLO client.example\r\n",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\xff" * 600,
    b"\x16\x03\x01\xff\xff" + bytes(70_000),
    b"\x15\x03\x01\0\x02\x02\x28",
    b"\0" * 40,
    bytes(range(256)) * 4,
    b"",
    b"\x16\x03",
]


def test_garbage_instead_of_a_hello_ends_both_sides(made: Pki, tmp_path: Path) -> None:
    mx = Mx(made.context)
    with (
        backend(mx) as server,
        proxying(
            tmp_path, server, "127.0.0.1:0", "smtps://127.0.0.1:0", upstream_ca=made.ca
        ) as proxy,
    ):
        for garbage in GARBAGE:
            for number in range(2):
                with proxy.connect(number) as wire:
                    if not number:
                        wire.reply()
                        wire.ask(b"EHLO client.example")
                        assert wire.ask(b"STARTTLS").startswith(b"220")
                    wire.say(garbage)
                    wire.shut()
                    assert b"220" not in wire.all()
        with proxy.connect(1) as wire:
            wire.secure(trusting(), name="127.0.0.1")
            assert wire.reply().startswith(b"220")
        assert not [line for line in mx.heard(secure=True) if line]
        proxy.stop()
        assert proxy.notes().count("TLS with the client failed") == 2 * len(GARBAGE)


def test_a_client_that_distrusts_us_ends_its_own_session_alone(made: Pki, tmp_path: Path) -> None:
    with (
        backend(Mx(made.context)) as server,
        proxying(
            tmp_path, server, "127.0.0.1:0", "smtps://127.0.0.1:0", upstream_ca=made.ca
        ) as proxy,
    ):
        for number in range(2):
            with proxy.connect(number) as wire:
                if not number:
                    wire.reply()
                    wire.ask(b"STARTTLS")
                with pytest.raises(ssl.SSLCertVerificationError):
                    wire.secure(ssl.create_default_context(), name="127.0.0.1")
        with proxy.connect(1) as wire:
            wire.secure(trusting(), name="127.0.0.1")
            assert wire.reply().startswith(b"220")
        proxy.stop()
        assert "TLSV1_ALERT_UNKNOWN_CA" in proxy.notes()


def _shake_hands(
    client: ssl.SSLObject, wire: Wire, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
) -> None:
    """With TLS in memory, so that the test decides what goes out when."""
    while True:
        try:
            client.do_handshake()
            return
        except ssl.SSLWantReadError:
            wire.say(outgoing.read())
            incoming.write(wire.more())


def test_renegotiation_is_refused_and_others_go_on(made: Pki, tmp_path: Path) -> None:
    """By a client of TLS 1.2 that says a second ClientHello, and by garbage under TLS."""
    with (
        backend(Mx()) as server,
        proxying(tmp_path, server, "smtps://127.0.0.1:0") as proxy,
    ):
        context = trusting()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with proxy.connect() as wire:
            client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            _shake_hands(client, wire, incoming, outgoing)
            wire.say(outgoing.read())
            client.write(b"NOOP\r\n")
            # A record of a handshake that is none, behind one that is good.
            wire.say(outgoing.read() + b"\x16\x03\x03\0\x04\x01\0\0\0")
            wire.all()
        with proxy.connect() as wire:
            wire.secure(trusting(), name="127.0.0.1")
            assert wire.reply().startswith(b"220")


def test_plaintext_before_a_fatal_record_goes_on(made: Pki, tmp_path: Path) -> None:
    """Both come at once; what was said in good order is heard."""
    mx = Mx()
    with (
        backend(mx) as server,
        proxying(tmp_path, server, "smtps://127.0.0.1:0") as proxy,
        proxy.connect() as wire,
    ):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        _shake_hands(client, wire, incoming, outgoing)
        # Behind the greeting nothing but the dialogue is waited for.
        wire.say(outgoing.read())
        greeting = b""
        while not greeting:
            incoming.write(wire.more())
            with suppress(ssl.SSLWantReadError):
                greeting = client.read()
        client.write(b"EHLO last.example\r\n")
        wire.say(outgoing.read() + b"\x17\x03\x03\0\x20" + bytes(32))
        wire.all()
    assert mx.heard(secure=False) == [b"EHLO last.example"]
