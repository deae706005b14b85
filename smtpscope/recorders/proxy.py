"""The recorder that stands between clients and a server: `python -m smtpscope.recorders.proxy`.

Its task's `options` say where to listen and where the server is. It ends like every recorder
(`owner`), and goes on where its owner was killed.
"""

from __future__ import annotations

import socket

from smtpscope.capture.recording import Wire
from smtpscope.capture.synth import LINKTYPE_RAW, SERVER_LEGS
from smtpscope.errors import UsageError
from smtpscope.places import state_folder
from smtpscope.recorders.forwarding import Proxy, ProxySettings, Upstream
from smtpscope.recorders.ledger import Ledger
from smtpscope.recorders.listener import Listener
from smtpscope.recorders.loop import allow_descriptors, attend, run
from smtpscope.recorders.owner import Owner, Task, serve
from smtpscope.recorders.privilege import drop
from smtpscope.recorders.tls import KeyLog


def record(owner: Owner) -> None:
    """Forward until there is a reason to end."""
    task = owner.task()
    options = dict(task.options)
    try:
        listeners = [_listener(each) for each in options.pop("listen")]
        settings = ProxySettings(Upstream.parse(options.pop("upstream")), **options)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if settings.upstream.kind == "starttls":
        # Asking for it takes its time where there is no answer.
        settings = settings._replace(host=_own_name())
    allow_descriptors()
    run(_forward(owner, task, listeners, settings))


def _listener(text: str) -> Listener:
    """Of "127.0.0.1:2525" or "smtps://127.0.0.1:2465". Raises ValueError."""
    listener = Listener.parse(text)
    if listener.kind == "starttls":
        raise ValueError(
            f"{text!r}: whether there is STARTTLS is the server's matter; listen on"
            f" smtp://{text.partition('://')[2]}"
        )
    return listener


def _own_name() -> str:
    name = socket.getfqdn()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "proxy"


async def _forward(
    owner: Owner, task: Task, listeners: list[Listener], settings: ProxySettings
) -> None:
    key_log = KeyLog()
    intercepts = settings.starttls == "intercept" or any(each.kind == "smtps" for each in listeners)
    wires = [Wire("proxy", LINKTYPE_RAW)]
    if settings.legs == "both":
        wires.append(
            Wire(
                SERVER_LEGS,
                LINKTYPE_RAW,
                description="the proxy's own connections to the server, for the sessions of proxy",
            )
        )
    ledger = Ledger(task.path, wires, task.rotation, key_log)
    ledger.settle()
    proxy = Proxy(
        settings, ledger, key_log, authority=state_folder() / "ca" if intercepts else None
    )
    heard = await proxy.listen(listeners)
    # Ports below 1024 are open by now: nothing else needs a capability.
    drop(None)
    # Clients and servers do not know of who looks on.
    owner.attend(task, outlive=True)
    owner.start_clock(task.seconds)
    attend(owner, proxy.loop, proxy.end)
    owner.tell(
        ready=str(ledger.path),
        offset=ledger.offset,
        interfaces=[f"{', '.join(map(_shown, heard))} → {settings.upstream}"],
        ports=[each.port for each in heard],
        how="proxy",
    )
    await proxy.serve()
    if proxy.failure is not None:
        raise proxy.failure
    ledger.close()
    owner.tell(
        ended=owner.reason or "owner",
        packets=ledger.packets,
        dropped=0,
        connections=proxy.connections,
    )


def _shown(listener: Listener) -> str:
    return str(listener).removeprefix("smtp://")


if __name__ == "__main__":
    serve(record)
