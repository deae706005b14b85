"""The recorder that is a server itself: `python -m smtpscope.recorders.serve`.

Its task's `options` say where to listen and how to behave; files of settings are read here, and
what is wrong in them is told. It ends like every recorder (`owner`), and after so many messages.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

from smtpscope.errors import UsageError
from smtpscope.places import state_folder
from smtpscope.recorders.certificates import Certificates
from smtpscope.recorders.ledger import Ledger
from smtpscope.recorders.loop import run
from smtpscope.recorders.mailbox import Mailbox
from smtpscope.recorders.owner import Owner, Task, serve
from smtpscope.recorders.privilege import drop
from smtpscope.recorders.queue import Queue
from smtpscope.recorders.serve_settings import Configured, read_settings
from smtpscope.recorders.server import Limits, Listener, Server
from smtpscope.recorders.tls import KeyLog


def record(owner: Owner) -> None:
    """Serve until there is a reason to end."""
    task = owner.task()
    options = task.options
    try:
        listeners = [Listener.parse(url) for url in options["listen"]]
    except ValueError as error:
        raise UsageError(str(error)) from None
    configured = read_settings(
        _path(options.get("config")),
        _path(options.get("faults")),
        _path(options.get("persona")),
        options.get("settings", {}),
    )
    _allow_descriptors()
    run(_serve(owner, task, listeners, configured))


def _allow_descriptors() -> None:
    """Each connection needs one; what is usual on Linux is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems call more than they allow infinite.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(
    owner: Owner, task: Task, listeners: list[Listener], configured: Configured
) -> None:
    options, settings = task.options, configured.settings
    key_log = KeyLog()
    given = options.get("certificate")
    certificates = Certificates(
        settings.host,
        state_folder() / "serve",
        key_log,
        (Path(given[0]), Path(given[1])) if given else None,
    )
    mailbox = Mailbox(Path(options["maildir"]))
    queue = Queue(Path(options.get("queue") or state_folder() / "queue"))
    ledger = Ledger(task.path, "serve", task.rotation, key_log)
    ledger.settle()
    server = Server(
        settings,
        Limits(**options.get("limits", {})),
        ledger,
        mailbox,
        queue,
        certificates,
        etrn_hosts=dict(configured.etrn_hosts),
        exit_after=int(options.get("exit_after") or 0),
    )
    heard = await server.listen(listeners)
    # Ports below 1024 are open by now: nothing else needs a capability.
    drop(None)
    owner.attend(task)
    owner.start_clock(task.seconds)
    _listen_to(owner, server)
    owner.tell(
        ready=str(ledger.path),
        interfaces=[str(each) for each in heard],
        ports=[each.port for each in heard],
        how="serve",
    )
    try:
        await server.serve()
    finally:
        mailbox.close()
        if server.failure is None:
            ledger.close()
    if server.failure is not None:
        raise server.failure
    reason = owner.reason or "messages"
    owner.tell(ended=reason, packets=ledger.packets, dropped=0, messages=server.messages)


def _listen_to(owner: Owner, server: Server) -> None:
    """End when the owner says so."""
    loop = server.loop

    def hear(descriptor: int) -> None:
        if owner.listen(lambda each: each == descriptor):
            for each in (*owner.descriptors, descriptor):
                loop.remove_reader(each)
            server.end()

    for descriptor in owner.descriptors:
        loop.add_reader(descriptor, hear, descriptor)
    if owner.left != float("inf"):
        loop.call_later(max(owner.left, 0), server.end)


def _path(name: Any) -> Path | None:
    return Path(name) if name else None


if __name__ == "__main__":
    serve(record)
