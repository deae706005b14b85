"""Speed and memory of reviewing a capture: `smtpscope read` beside `tshark`, in one command.

    .venv/bin/python tests/bench/review.py [--sessions 20000] [--runs 3] [--keep FILE] [--large MB]

Makes a capture (recorded on loopback with Postfix's smtp-source and smtp-sink where these, tcpdump
and the right to capture are there, else generated), lets the programs read it in turns, and prints
what they took. Wall-clock times suffer from whatever else the machine does, processor times less
so. Nothing is asserted about time; the exit status is 1 if a program fails or the programs disagree
on how many commands there are.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import traffic
from taken import MEGABYTE, Run, run

_SMTPSCOPE = [sys.executable, "-m", "smtpscope"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="the capture; it is made if it does not exist")
    parser.add_argument("--large", type=int, default=0, metavar="MB", help="read one so large, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smtpscope-bench-") as folder:
        file = options.keep or Path(folder, "review.pcap")
        if not file.exists():
            _make_capture(options.sessions, file)
        agreed = _compare(file, options.runs)
        if options.large:
            _read_large(options.large * MEGABYTE, file, Path(folder, "large.pcap"))
    _start(options.runs)
    return 0 if agreed else 1


def _make_capture(sessions: int, file: Path) -> None:
    how = "record" if traffic.can_record() else "generate"
    print(f"{how} {sessions:,} sessions in {file}", file=sys.stderr)
    subprocess.run([sys.executable, traffic.__file__, how, str(sessions), str(file)], check=True)


def _compare(file: Path, runs: int) -> bool:
    ours = _ours(file)
    programs = {"smtpscope read --format jsonl": ours}
    if shutil.which("tshark"):
        plain = ["tshark", "-r", str(file), "-d", f"tcp.port=={traffic.PORT},smtp"]
        fields = ("tcp.stream", "smtp.req.command", "smtp.req.parameter")
        fields += ("smtp.response.code", "smtp.rsp.parameter")
        peer = [*plain, "-Y", "smtp", "-T", "fields", *(f"-e{field}" for field in fields)]
        programs |= {
            "tshark -Y smtp -T fields": peer,
            "tshark, no output": [*plain, "-Y", "frame.number == 0"],
        }
    counts = {
        name: _count(programs[name], _COUNTERS[name]) for name in programs if name in _COUNTERS
    }
    taken: dict[str, list[Run]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, argv in programs.items():
            taken[name].append(run(argv))
    sessions, packets = _size(ours, file)
    size = file.stat().st_size / MEGABYTE
    print(f"{file.name}: {packets:,} packets, {sessions:,} sessions, {size:.1f} MB")
    print(f"{'':30} {'median':>8} {'min':>7} {'max':>7} {'cpu':>7}", end="")
    print(f" {'packets/s':>10} {'sessions/s':>10} {'peak MB':>8} {'ratio':>6}")
    base = statistics.median(each.elapsed for each in taken["smtpscope read --format jsonl"])
    for name, results in taken.items():
        elapsed = [each.elapsed for each in results]
        median = statistics.median(elapsed)
        processor = statistics.median(each.processor for each in results)
        peak = max(each.peak for each in results) / MEGABYTE
        print(f"{name:30} {median:7.2f}s {min(elapsed):6.2f}s {max(elapsed):6.2f}s", end="")
        print(f" {processor:6.2f}s {packets / median:10,.0f} {sessions / median:10,.0f}", end="")
        print(f" {peak:8.0f} {median / base:6.2f}")
    print(
        ", ".join(f"{name.split()[0]} found {count:,} commands" for name, count in counts.items())
    )
    return len(set(counts.values())) == 1


def _read_large(octets: int, small: Path, file: Path) -> None:
    """Whether memory grows with the file: one of other flows, so long as disk allows it."""
    generate = [sys.executable, traffic.__file__, "generate"]
    room = shutil.disk_usage(file.parent).free // 2
    subprocess.run([*generate, "1000", str(file)], check=True)
    sessions = 1000 * min(octets, room) // file.stat().st_size
    subprocess.run([*generate, str(sessions), str(file)], check=True)
    for each in (small, file):
        large = run(_ours(each))
        size = each.stat().st_size / MEGABYTE
        print(
            f"{each.name}, {size:,.0f} MB: {large.elapsed:.2f} s,"
            f" peak {large.peak / MEGABYTE:.0f} MB"
        )


def _start(runs: int) -> None:
    programs = {
        "smtpscope --help": [*_SMTPSCOPE, "--help"],
        "import click": [sys.executable, "-c", "import click"],
    }
    taken = {
        name: statistics.median(run(argv).elapsed for _ in range(3 * runs))
        for name, argv in programs.items()
    }
    shown = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in taken.items())
    ratio = taken["smtpscope --help"] / taken["import click"]
    print(f"start: {shown}, ratio {ratio:.2f}")


def _ours(file: Path) -> list[str]:
    return [*_SMTPSCOPE, "read", "--format", "jsonl", str(file)]


def _count(argv: list[str], commands: Callable[[str], int]) -> int:
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=said, text=True) as process,
    ):
        assert process.stdout is not None
        count = sum(map(commands, process.stdout))
        if process.wait():
            said.seek(0)
            raise RuntimeError(f"{argv[0]} failed: {said.read().decode(errors='replace').strip()}")
    return count


def _in_session(line: str) -> int:
    """The command lines of a session; "." stands for message data."""
    asked = (exchange["command"] for exchange in json.loads(line)["exchanges"])
    return sum(command is not None and command["verb"] != "." for command in asked)


def _in_packet(line: str) -> int:
    verbs = line.split("\t")[1]
    return len(verbs.split(",")) if verbs else 0


_COUNTERS = {
    "smtpscope read --format jsonl": _in_session,
    "tshark -Y smtp -T fields": _in_packet,
}


def _size(ours: list[str], file: Path) -> tuple[int, int]:
    """How many sessions and packets a capture has."""
    packets = subprocess.run(
        [sys.executable, "-c", _COUNT_PACKETS, str(file)],
        check=True,
        capture_output=True,
    )
    return _count(ours, lambda line: 1), int(packets.stdout)


# In a child, for the sake of this process's own memory (see `traffic`).
_COUNT_PACKETS = """
import sys
from smtpscope.capture.pcap import open_capture
with open_capture(sys.argv[1]) as reader:
    print(sum(len(batch) for batch in reader))
"""


if __name__ == "__main__":
    sys.exit(main())
