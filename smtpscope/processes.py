"""How processes of our own are started: at once where that is safe, from scratch elsewhere."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from multiprocessing.context import BaseContext


def quick_context() -> BaseContext:
    """Forking where this process has one thread alone (a copy of a lock that another thread holds
    would stay locked), which takes no time; spawning elsewhere, which imports everything again.

    A forked process has this one's open files, too.
    """
    forks = sys.platform == "linux" and threading.active_count() == 1
    return multiprocessing.get_context("fork" if forks else "spawn")
