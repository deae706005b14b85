"""A network namespace: commands run in it, and sockets are opened in it."""

from __future__ import annotations

import ctypes
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000


class Namespace:
    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def prefix(self) -> list[str]:
        """What a command begins with to run inside."""
        return ["ip", "netns", "exec", self.name]

    def run(self, command: str) -> None:
        subprocess.run([*self.prefix, *shlex.split(command)], check=True, capture_output=True)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets that this thread opens meanwhile are inside, and stay there."""
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            assert libc.setns(there, _CLONE_NEWNET) == 0
            yield
        finally:
            assert libc.setns(home, _CLONE_NEWNET) == 0
            os.close(there)
            os.close(home)

    def udp(self) -> socket.socket:
        with self.inside():
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
