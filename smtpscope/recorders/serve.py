"""The recorder that is a server itself: `python -m smtpscope.recorders.serve`.

Its task's `options` say where to listen and how to behave; files of settings are read here, and
what is wrong in them is told. It ends like every recorder (`owner`), and after so many messages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smtpscope.capture.recording import Wire
from smtpscope.capture.synth import LINKTYPE_RAW
from smtpscope.errors import UsageError
from smtpscope.places import state_folder
from smtpscope.recorders.certificates import Certificates
from smtpscope.recorders.ledger import Ledger
from smtpscope.recorders.listener import Listener
from smtpscope.recorders.loop import allow_descriptors, attend, run
from smtpscope.recorders.mailbox import Mailbox
from smtpscope.recorders.owner import Owner, Task, serve
from smtpscope.recorders.privilege import drop
from smtpscope.recorders.queue import Queue
from smtpscope.recorders.serve_settings import Configured, read_settings
from smtpscope.recorders.server import Limits, Server
from smtpscope.recorders.tls import KeyLog


def record(owner: Owner) -> None:
    """Serve until there is a reason to end."""
    task = owner.task()
    options = task.options
    try:
        listeners = [Listener.parse(url, "starttls") for url in options["listen"]]
    except ValueError as error:
        raise UsageError(str(error)) from None
    configured = read_settings(
        _path(options.get("config")),
        _path(options.get("faults")),
        _path(options.get("persona")),
        options.get("settings", {}),
    )
    allow_descriptors()
    run(_serve(owner, task, listeners, configured))


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
    ledger = Ledger(task.path, [Wire("serve", LINKTYPE_RAW)], task.rotation, key_log)
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
    mailbox.start()
    owner.attend(task)
    owner.start_clock(task.seconds)
    attend(owner, server.loop, server.end)
    owner.tell(
        ready=str(ledger.path),
        offset=ledger.offset,
        interfaces=[str(each) for each in heard],
        ports=[each.port for each in heard],
        how="serve",
    )
    try:
        await server.serve()
    finally:
        await mailbox.close()
        if server.failure is None:
            ledger.close()
    if server.failure is not None:
        raise server.failure
    reason = owner.reason or "messages"
    owner.tell(ended=reason, packets=ledger.packets, dropped=0, messages=server.messages)


def _path(name: Any) -> Path | None:
    return Path(name) if name else None


if __name__ == "__main__":
    serve(record)
