"""What a program takes: time, processor time, and memory of all its processes at once."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

MEGABYTE = 1_000_000


class Run(NamedTuple):
    """What one run took: seconds, and octets of all its processes together."""

    elapsed: float
    processor: float
    peak: int


def run(argv: list[str]) -> Run:
    """Run a program with its output thrown away."""
    began = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    peaks = [0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks), daemon=True)
    watcher.start()
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - began
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{argv[0]} failed: {said.decode(errors='replace').strip()}")
    peak = max(peaks[0], usage.ru_maxrss * 1024)
    return Run(elapsed, usage.ru_utime + usage.ru_stime, peak)


def _watch(process: int, peaks: list[int]) -> None:
    """Keep the most that a process and its descendants had in memory at once, while it runs."""
    while resident := _resident(process):
        peaks[0] = max(peaks[0], resident)
        time.sleep(0.05)


def _resident(process: int) -> int:
    folder = Path(f"/proc/{process}")
    try:
        pages = int((folder / "statm").read_text().split()[1])
        children = (folder / f"task/{process}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGESIZE") + sum(_resident(int(child)) for child in children)
