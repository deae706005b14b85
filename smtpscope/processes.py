"""How processes of our own are started: at once where that is safe, from scratch elsewhere."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_RUN = (
    "import runpy, sys; sys.path.append(sys.argv.pop());"
    " runpy.run_module(sys.argv.pop(), run_name='__main__')"
)


def quick_context() -> BaseContext:
    """Forking where this process has one thread alone (a copy of a lock that another thread holds
    would stay locked), which takes no time; spawning elsewhere, which imports everything again.

    A forked process has this one's open files, too.
    """
    forks = sys.platform == "linux" and threading.active_count() == 1
    return multiprocessing.get_context("fork" if forks else "spawn")


def command_of(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours from scratch, `arguments` in its sys.argv.

    The folder in which it is started is nothing to import from: it may be anybody's.
    """
    root = Path(__file__).parent.parent
    return [sys.executable, "-P", "-c", _RUN, *arguments, module, str(root)]


def start(target: Callable[[Any], None], argument: Any) -> BaseProcess:
    """Start a process of our own, as quickly as is safe. Raises OSError."""
    context = quick_context()
    process: BaseProcess = context.Process(target=target, args=(argument,))  # type: ignore[attr-defined]
    shown = sys.stderr
    # Textual puts something without a descriptor there, which spawning trips over.
    sys.stderr = sys.__stderr__
    try:
        process.start()
    finally:
        sys.stderr = shown
    return process
