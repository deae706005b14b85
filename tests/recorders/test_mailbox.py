"""Messages on their way into the Maildir: what was reported is there, whole."""

from __future__ import annotations

import asyncio
import errno
import mailbox
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from smtpscope.recorders.mailbox import IN_MEMORY, Delivery, Mailbox

HEAD = b"Return-Path: <>\r\n"
MESSAGE = b"Subject: x\r\n\r\n\0\xff\nbinary\r\n"


@pytest_asyncio.fixture
async def box(tmp_path: Path) -> AsyncIterator[Mailbox]:
    made = Mailbox(tmp_path / "mail")
    yield made
    await made.close()


async def _deliver(box: Mailbox, *pieces: bytes | memoryview) -> str | OSError:
    delivery = box.begin(HEAD)
    for piece in pieces:
        delivery.write(piece)
    return await _commit(delivery)


async def _commit(delivery: Delivery) -> str | OSError:
    done: asyncio.Future[str | OSError] = asyncio.get_running_loop().create_future()
    delivery.commit(done.set_result)
    async with asyncio.timeout(30):
        return await done


def _names(tmp_path: Path, folder: str) -> list[str]:
    return sorted(os.listdir(tmp_path / "mail" / folder))


async def test_a_message_is_kept_octet_by_octet(box: Mailbox, tmp_path: Path) -> None:
    name = await _deliver(box, MESSAGE[:3], memoryview(MESSAGE)[3:])
    assert isinstance(name, str)
    path = tmp_path / "mail" / "new" / name
    assert path.read_bytes() == HEAD + MESSAGE
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "mail").stat().st_mode & 0o777 == 0o700
    assert _names(tmp_path, "tmp") == []


async def test_the_standard_library_reads_it(box: Mailbox, tmp_path: Path) -> None:
    names = {await _deliver(box, b"Subject: %d\r\n\r\nbody\r\n" % number) for number in range(3)}
    with closing(mailbox.Maildir(tmp_path / "mail", create=False)) as library:
        assert set(library.keys()) == names
        assert {each["Subject"] for each in library} == {"0", "1", "2"}
        assert {each["Return-Path"] for each in library} == {"<>"}


async def test_a_view_may_be_used_again(box: Mailbox, tmp_path: Path) -> None:
    delivery = box.begin(b"")
    buffer = bytearray(b"one")
    delivery.write(memoryview(buffer))
    buffer[:] = b"two"
    name = await _commit(delivery)
    assert (tmp_path / "mail" / "new" / str(name)).read_bytes() == b"one"


@pytest.mark.parametrize("size", [1_000, 65_536, IN_MEMORY, IN_MEMORY + 1, 3_000_000])
async def test_large_messages_go_into_their_file_as_they_come(
    size: int, box: Mailbox, tmp_path: Path
) -> None:
    octets = random.Random(6).randbytes(4_000_000)
    delivery = box.begin(HEAD)
    for at in range(0, len(octets), size):
        delivery.write(memoryview(octets)[at : at + size])
        written = min(at + size, len(octets))
        on_disk = sum(path.stat().st_size for path in (tmp_path / "mail" / "tmp").iterdir())
        assert len(HEAD) + written - on_disk <= IN_MEMORY
    name = await _commit(delivery)
    assert (tmp_path / "mail" / "new" / str(name)).read_bytes() == HEAD + octets


async def test_more_than_a_socket_holds_at_once(box: Mailbox, tmp_path: Path) -> None:
    octets = [bytes([number]) * (IN_MEMORY - 100) for number in range(100)]
    names = await asyncio.gather(*[_deliver(box, each) for each in octets])
    for name, each in zip(names, octets, strict=True):
        assert (tmp_path / "mail" / "new" / str(name)).read_bytes() == HEAD + each


async def test_what_is_abandoned_leaves_nothing(box: Mailbox, tmp_path: Path) -> None:
    for size in (10, IN_MEMORY * 2):
        delivery = box.begin(HEAD)
        delivery.write(bytes(size))
        delivery.abandon()
        delivery.abandon()
        delivery.write(bytes(IN_MEMORY * 2))
        with pytest.raises(RuntimeError):
            delivery.commit(print)
    assert _names(tmp_path, "tmp") == _names(tmp_path, "new") == []


async def test_what_was_committed_cannot_be_abandoned(box: Mailbox, tmp_path: Path) -> None:
    delivery = box.begin(HEAD)
    name = await _commit(delivery)
    delivery.abandon()
    assert _names(tmp_path, "new") == [name]


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, IN_MEMORY * 2])
async def test_what_cannot_be_stored_is_told_of_it_alone(
    size: int, box: Mailbox, tmp_path: Path
) -> None:
    assert isinstance(await _deliver(box, MESSAGE), str)
    shutil.rmtree(tmp_path / "mail" / "tmp")
    failed = await _deliver(box, bytes(size), bytes(size))
    assert isinstance(failed, OSError)
    assert failed.errno == errno.ENOENT
    (tmp_path / "mail" / "tmp").mkdir()
    assert isinstance(await _deliver(box, MESSAGE), str)
    assert len(_names(tmp_path, "new")) == 2


async def test_where_the_process_is_killed_its_messages_are_refused_and_others_go_on(
    box: Mailbox, tmp_path: Path
) -> None:
    assert isinstance(await _deliver(box, MESSAGE), str)
    (process,) = _children()
    os.kill(process, signal.SIGSTOP)
    delivering = [asyncio.ensure_future(_deliver(box, MESSAGE)) for _ in range(5)]
    await asyncio.sleep(0)
    os.kill(process, signal.SIGKILL)
    results = await asyncio.gather(*delivering)
    assert [str(each) for each in results] == [
        f"[Errno {errno.EPIPE}] the process that stores messages has ended"
    ] * 5
    assert isinstance(await _deliver(box, MESSAGE), str)
    assert len(_names(tmp_path, "new")) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_what_ends_the_server_does_not_end_the_process(
    number: signal.Signals, box: Mailbox
) -> None:
    assert isinstance(await _deliver(box, MESSAGE), str)
    (process,) = _children()
    os.kill(process, number)
    assert isinstance(await _deliver(box, MESSAGE), str)
    assert _children() == [process]


def _children() -> list[int]:
    """The processes that this one has started and that store messages."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        int(each)
        for each in listed
        if b"smtpscope.recorders.committing" in Path(f"/proc/{each}/cmdline").read_bytes()
    ]


async def test_nothing_is_imported_from_where_the_server_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("socket.py", "runpy.py", "smtpscope.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    box = Mailbox(tmp_path / "mail")
    assert isinstance(await _deliver(box, MESSAGE), str)
    await box.close()


async def test_one_who_is_told_and_raises_keeps_nobody_waiting(box: Mailbox) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["exception"]))

    def wrong(result: str | OSError) -> None:
        raise ValueError

    box.begin(HEAD).commit(wrong)
    assert isinstance(await _deliver(box, MESSAGE), str)
    assert [type(each) for each in told] == [ValueError]


async def test_closing_waits_for_all_and_takes_no_more(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "mail")
    names: list[str | OSError] = []
    for _ in range(300):
        box.begin(HEAD).commit(names.append)
    late = box.begin(HEAD)
    late.write(bytes(IN_MEMORY * 2))
    await box.close()
    await box.close()
    assert _names(tmp_path, "new") == sorted(map(str, names))
    assert len(names) == 300
    result = await _commit(late)
    assert isinstance(result, OSError)
    assert _names(tmp_path, "tmp") == []
    assert _children() == []


# -- kill -9 ---------------------------------------------------------------------------------------

LOAD = """
import asyncio, os, sys
from pathlib import Path
from smtpscope.recorders.mailbox import Mailbox
async def main():
    box = Mailbox(Path(sys.argv[1]))
    room = asyncio.Semaphore(10)
    def done(result):
        os.write(1, f"{result}\\n".encode())
        room.release()
    for number in range(1_000_000):
        await room.acquire()
        size = 400_000 if number % 50 == 0 else 2_000
        delivery = box.begin(b"X-Size: %d\\r\\n" % size)
        delivery.write(b"x" * size)
        delivery.commit(done)
asyncio.run(main())
"""


@pytest.mark.parametrize("turn", range(20))
def test_who_is_killed_has_what_it_reported(turn: int, tmp_path: Path) -> None:
    """Against a killed process, not a power cut: that needs fsync, which is tested elsewhere."""
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
