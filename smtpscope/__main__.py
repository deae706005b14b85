"""The program's entry point: runs the command line and turns errors into exit statuses."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run `smtpscope`. Exit status: 0 ok, 1 error, 2 usage, 5 no capture, 130 on Ctrl-C."""
    # Imported here so that what is slow stays out of whoever imports the package.
    from smtpscope.cli import run

    # Whoever started us may have closed them (`>&-`): then nobody reads what is written there.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has enough (`| head`): leave quietly, and keep Python's own
        # flush at exit from failing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
