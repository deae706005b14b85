"""What share of `smtpscope read`'s processor time the rules take.

    .venv/bin/python tests/bench/rules.py [--sessions 20000] [--runs 5] [--keep FILE]

Makes a capture as `review.py` does and reads it in turns as it is, and with rules that find
nothing, which leaves out what findings cost in the output, too. Nothing is asserted about time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import traffic

_READ = """
import sys
from smtpscope import cli, decode, reading
{silence}
sys.exit(cli.run(["read", "--jobs", "1", "--format", "jsonl", sys.argv[1]]))
"""
_SILENCE = """
decode.judge = lambda *_: []
reading.trace_of = reading.Across.add = reading.join = lambda *_: None
"""

_KINDS = {"with rules": _READ.format(silence=""), "without": _READ.format(silence=_SILENCE)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="the capture; it is made if it does not exist")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smtpscope-bench-") as folder:
        file = options.keep or Path(folder, "rules.pcap")
        if not file.exists():
            how = "record" if traffic.can_record() else "generate"
            make = [sys.executable, traffic.__file__, how, str(options.sessions), str(file)]
            subprocess.run(make, check=True)
        taken: dict[str, list[float]] = {kind: [] for kind in _KINDS}
        for _ in range(options.runs):
            for kind, code in _KINDS.items():
                taken[kind].append(_processor_time(code, file))
    median = {kind: statistics.median(times) for kind, times in taken.items()}
    for kind, times in taken.items():
        print(f"{kind:10}  {median[kind]:6.2f} s  ({min(times):.2f} to {max(times):.2f})")
    # Each round for itself: a machine that others use, too, is now quick and now slow.
    rounds = zip(taken["with rules"], taken["without"], strict=True)
    share = statistics.median(1 - without / rules for rules, without in rounds)
    print(f"the rules take {share:.1%} of read's processor time (median of the rounds)")


def _processor_time(code: str, file: Path) -> float:
    """Seconds that a process of its own needs, with its output thrown away."""
    argv = [sys.executable, "-c", code, str(file)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"reading failed with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
