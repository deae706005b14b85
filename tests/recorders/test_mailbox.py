"""The Maildir: what was reported is there, whole; what failed has left nothing."""

from __future__ import annotations

import errno
import mailbox
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from smtpscope.errors import SmtpscopeError
from smtpscope.recorders.mailbox import IN_MEMORY, STALE, Delivery, Mailbox, head_of
from smtpscope.smtp.serving.envelope import Envelope, Recipient
from smtpscope.smtp.values import Parameter
from smtpscope.smtp.values import Path as Address

HEAD = b"Return-Path: <>\r\n"
MESSAGE = b"Subject: x\r\n\r\n\0\xff\nbinary\r\n"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Mailbox]:
    with closing(Mailbox(tmp_path / "mail")) as made:
        yield made


def _deliver(box: Mailbox, *pieces: bytes | memoryview) -> str | OSError:
    delivery = box.begin(HEAD)
    for piece in pieces:
        delivery.write(piece)
    return _commit(delivery)


def _commit(delivery: Delivery) -> str | OSError:
    results: list[str | OSError] = []
    done = threading.Event()

    def take(result: str | OSError) -> None:
        results.append(result)
        done.set()

    delivery.commit(take)
    assert done.wait(30)
    (result,) = results
    return result


def _names(tmp_path: Path, folder: str) -> list[str]:
    return sorted(os.listdir(tmp_path / "mail" / folder))


def test_a_message_is_kept_octet_by_octet(box: Mailbox, tmp_path: Path) -> None:
    name = _deliver(box, MESSAGE[:3], memoryview(MESSAGE)[3:])
    assert isinstance(name, str)
    path = tmp_path / "mail" / "new" / name
    assert path.read_bytes() == HEAD + MESSAGE
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "mail").stat().st_mode & 0o777 == 0o700
    assert _names(tmp_path, "tmp") == []


def test_the_standard_library_reads_it(box: Mailbox, tmp_path: Path) -> None:
    names = {_deliver(box, b"Subject: %d\r\n\r\nbody\r\n" % number) for number in range(3)}
    with closing(mailbox.Maildir(tmp_path / "mail", create=False)) as library:
        assert set(library.keys()) == names
        assert {each["Subject"] for each in library} == {"0", "1", "2"}
        assert {each["Return-Path"] for each in library} == {"<>"}


def test_a_view_may_be_used_again(box: Mailbox, tmp_path: Path) -> None:
    delivery = box.begin(b"")
    buffer = bytearray(b"one")
    delivery.write(memoryview(buffer))
    buffer[:] = b"two"
    name = _commit(delivery)
    assert (tmp_path / "mail" / "new" / str(name)).read_bytes() == b"one"


@pytest.mark.parametrize("size", [1_000, 65_536, IN_MEMORY, IN_MEMORY + 1, 3_000_000])
def test_large_messages_go_into_their_file_as_they_come(
    size: int, box: Mailbox, tmp_path: Path
) -> None:
    octets = random.Random(6).randbytes(4_000_000)
    delivery = box.begin(HEAD)
    for at in range(0, len(octets), size):
        delivery.write(memoryview(octets)[at : at + size])
        written = min(at + size, len(octets))
        on_disk = sum(path.stat().st_size for path in (tmp_path / "mail" / "tmp").iterdir())
        assert len(HEAD) + written - on_disk <= IN_MEMORY
    name = _commit(delivery)
    assert (tmp_path / "mail" / "new" / str(name)).read_bytes() == HEAD + octets


def test_what_is_abandoned_leaves_nothing(box: Mailbox, tmp_path: Path) -> None:
    for size in (10, IN_MEMORY * 2):
        delivery = box.begin(HEAD)
        delivery.write(bytes(size))
        delivery.abandon()
        delivery.abandon()
        delivery.write(bytes(IN_MEMORY * 2))
        with pytest.raises(RuntimeError):
            delivery.commit(print)
    assert _names(tmp_path, "tmp") == _names(tmp_path, "new") == []


def test_what_was_committed_cannot_be_abandoned(box: Mailbox, tmp_path: Path) -> None:
    delivery = box.begin(HEAD)
    name = _commit(delivery)
    delivery.abandon()
    assert _names(tmp_path, "new") == [name]


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["open", "write", "fsync", "close", "rename"])
@pytest.mark.parametrize("size", [10, IN_MEMORY * 2])
def test_who_fails_fails_alone_and_leaves_nothing(
    call: str, size: int, box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = getattr(os, call)
    victim = box.begin(HEAD)
    threads = {threading.current_thread().name, "mailbox"}

    def failing(first: Any, *others: Any, **more: Any) -> Any:
        ours = threading.current_thread().name in threads
        if ours and victim.name in _name_of(first):
            if call == "close":
                real(first)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(first, *others, **more)

    monkeypatch.setattr(os, call, failing)
    victim.write(bytes(size))
    victim.write(bytes(size))
    results: dict[str, str | OSError] = {}
    done = threading.Event()

    def take(name: str, result: str | OSError) -> None:
        results[name] = result
        if len(results) == 11:
            done.set()

    good = [box.begin(HEAD) for _ in range(10)]
    for delivery in [*good[:5], victim, *good[5:]]:
        delivery.commit(lambda result, name=delivery.name: take(name, result))
    assert done.wait(30)
    error = results.pop(victim.name)
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    assert list(results) == list(results.values()) == [each.name for each in good]
    assert _names(tmp_path, "new") == sorted(results)
    assert _names(tmp_path, "tmp") == []


def _name_of(first: Any) -> str:
    """The path of a file, or of a descriptor."""
    if isinstance(first, int):
        try:
            return os.readlink(f"/proc/self/fd/{first}")
        except OSError:
            return ""
    return str(first)


def test_names_that_may_not_be_on_disk_are_taken_back(
    box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def failing(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/new"):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        assert isinstance(_deliver(box, MESSAGE), OSError)
    assert _names(tmp_path, "new") == _names(tmp_path, "tmp") == []
    assert isinstance(_deliver(box, MESSAGE), str)


def test_one_who_is_told_and_raises_keeps_nobody_waiting(
    box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def wrong(result: str | OSError) -> None:
        raise ValueError

    box.begin(HEAD).commit(wrong)
    assert isinstance(_deliver(box, MESSAGE), str)
    assert [each.exc_type for each in told] == [ValueError]


def test_closing_waits_for_all_and_takes_no_more(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "mail")
    names: list[str | OSError] = []
    for _ in range(300):
        box.begin(HEAD).commit(names.append)
    late = box.begin(HEAD)
    late.write(bytes(IN_MEMORY * 2))
    box.close()
    box.close()
    assert _names(tmp_path, "new") == sorted(map(str, names))
    assert len(names) == 300
    result = _commit(late)
    assert isinstance(result, OSError)
    assert _names(tmp_path, "tmp") == []


def test_only_what_is_old_is_tidied(tmp_path: Path) -> None:
    Mailbox(tmp_path / "mail").close()
    for name, age in (("old", STALE + 60), ("new", STALE - 60)):
        path = tmp_path / "mail" / "tmp" / name
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    Mailbox(tmp_path / "mail").close()
    assert _names(tmp_path, "tmp") == ["new"]


def test_what_can_be_no_maildir_is_told(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "new").touch()
    with pytest.raises(SmtpscopeError, match="name another folder"):
        Mailbox(tmp_path / "mail")


# -- kill -9 ---------------------------------------------------------------------------------------

LOAD = """
import os, sys, threading
from pathlib import Path
from smtpscope.recorders.mailbox import Mailbox
box = Mailbox(Path(sys.argv[1]))
room = threading.Semaphore(10)
def done(result):
    os.write(1, f"{result}\\n".encode())
    room.release()
for number in range(1_000_000):
    room.acquire()
    size = 400_000 if number % 50 == 0 else 2_000
    delivery = box.begin(b"X-Size: %d\\r\\n" % size)
    delivery.write(b"x" * size)
    delivery.commit(done)
"""


@pytest.mark.parametrize("turn", range(20))
def test_who_is_killed_has_what_it_reported(turn: int, tmp_path: Path) -> None:
    """Against a killed process, not a power cut: that needs fsync, which is tested above."""
    command = [sys.executable, "-c", LOAD, str(tmp_path / "mail")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(random.Random(turn).uniform(0.01, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        reported = [first, *process.stdout]
    for line in reported:
        if line.endswith(b"\n"):
            octets = (tmp_path / "mail" / "new" / line.decode().strip()).read_bytes()
            _is_whole(octets)
    # What nobody has heard of is whole, or is not there.
    for path in (tmp_path / "mail" / "new").iterdir():
        _is_whole(path.read_bytes())


def _is_whole(octets: bytes) -> None:
    head, body = octets.split(b"\r\n", 1)
    assert len(body) == int(head.split()[1])


# -- the header lines ------------------------------------------------------------------------------


def _address(octets: bytes) -> Address:
    local, _, domain = octets.rpartition(b"@")
    return Address(octets, local, domain)


def _envelope(**changes: Any) -> Envelope:
    usual: dict[str, Any] = {
        "client": "192.0.2.1",
        "hello": b"client.example",
        "protocol": "ESMTPSA",
        "identity": b"ann",
        "tls": True,
        "sender": _address(b"ann@example.org"),
        "parameters": (
            Parameter("SIZE", b"100"),
            Parameter("SMTPUTF8", None),
            Parameter("ENVID", b"a+2Bb"),
        ),
        "recipients": [
            Recipient(_address(b"bob@example.net"), (Parameter("NOTIFY", b"NEVER"),)),
            Recipient(_address("jürgen@example.net".encode())),
        ],
    }
    return Envelope(**{**usual, **changes})


def test_the_envelope_stands_in_front_of_the_message() -> None:
    head = head_of(_envelope(), "mx.example")
    date = head.split(b"ESMTPSA;\r\n\t")[1].split(b"\r\n")[0]
    expected = """\
Return-Path: <ann@example.org>
Received: from client.example ([192.0.2.1])
\tby mx.example with ESMTPSA;
\tDATE
X-Smtpscope-Client: 192.0.2.1
X-Smtpscope-Hello: client.example
X-Smtpscope-From: <ann@example.org>
\tSIZE=100
\tSMTPUTF8
\tENVID=a+2Bb
X-Smtpscope-To: <bob@example.net>
\tNOTIFY=NEVER
X-Smtpscope-To: <jürgen@example.net>
X-Smtpscope-Login: ann
"""
    assert head.replace(date, b"DATE") == expected.replace("\n", "\r\n").encode()


def test_received_names_the_only_recipient_and_an_ipv6_client() -> None:
    only = [Recipient(_address(b"bob@example.net"))]
    head = head_of(_envelope(client="2001:db8::1", recipients=only, identity=None), "mx.example")
    assert b"([IPv6:2001:db8::1])" in head
    assert b"\r\n\tfor <bob@example.net>;" in head
    assert b"X-Smtpscope-Login" not in head


HOSTILE = st.binary(max_size=30) | st.sampled_from(
    [b"x" * 5_000, b"\r\nBcc: x", b"a\0b", b"(;<", "\u202e\u2028".encode(), "ü".encode() * 700]
)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
@effort(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_what_comes_from_the_wire_makes_no_line_of_its_own(
    hello: bytes, sender: bytes, identity: bytes, value: bytes
) -> None:
    head = head_of(
        _envelope(
            hello=hello,
            sender=_address(sender),
            identity=identity,
            parameters=(Parameter("AUTH", value),),
            recipients=[Recipient(_address(value), (Parameter("ORCPT", sender),))],
        ),
        "mx.example",
    )
    assert head.decode().replace("\r\n", "").replace("\t", "").isprintable()
    lines = head.removesuffix(b"\r\n").split(b"\r\n")
    assert all(len(line) < 998 for line in lines)
    names = [line.split(b":")[0] for line in lines if line[:1] not in (b"\t", b" ")]
    assert names == [
        *(b"Return-Path", b"Received", b"X-Smtpscope-Client", b"X-Smtpscope-Hello"),
        *(b"X-Smtpscope-From", b"X-Smtpscope-To", b"X-Smtpscope-Login"),
    ]


def test_a_long_value_is_whole_when_it_is_unfolded() -> None:
    head = head_of(_envelope(sender=_address(b"x" * 1_500 + b"@y")), "mx.example")
    assert b"<" + b"x" * 1_500 + b"@y>" in head.replace(b"\r\n ", b"")
