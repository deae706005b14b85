"""How quickly the screen answers on a list of a million sessions, or while a capture is read.

    .venv/bin/python tests/bench/screen.py [SESSIONS] [--rounds 30] [--keep FOLDER]
    .venv/bin/python tests/bench/screen.py --reading [MB] [--keep FOLDER]

The screen runs without a terminal, in a process and with a home of its own (`listed`, `meanwhile`);
other processes make what it shows (`million`), which is kept where there is a FOLDER. Nothing is
asserted about time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_FOLDERS = ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sessions", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=30, help="how often at least")
    parser.add_argument("--reading", nargs="?", type=int, const=1_000, metavar="MB")
    parser.add_argument("--keep", type=Path, help="where to keep, and to find, what is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smtpscope-bench-") as folder:
        home = options.keep or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        os.environ.update({name: str(home / name.lower()) for name in _FOLDERS})
        # Each where it is needed: what a process imports counts.
        if options.reading is None:
            import listed

            file = _made("index", options.sessions, home)
            return _alone(listed.measure, file, options.rounds)
        import meanwhile

        file = _made("capture", options.reading, home)
        # Without an index, whatever is kept.
        os.environ["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        return _alone(meanwhile.measure, file, time.monotonic())


def _made(what: str, count: int, home: Path) -> Path:
    file = home / f"{what}-{count}.pcap"
    if not file.exists():
        million = Path(__file__).with_name("million.py")
        subprocess.run([sys.executable, million, what, str(count), file], check=True)
    return file


def _alone(measure: Callable[..., None], *arguments: object) -> int:
    process = multiprocessing.get_context("spawn").Process(target=measure, args=arguments)
    process.start()
    process.join()
    return process.exitcode or 0


if __name__ == "__main__":
    sys.exit(main())
