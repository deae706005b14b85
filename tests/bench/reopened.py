"""Measures what a viewer waits for, in a process of its own: the first rows of an index that is
there, and the details of a session of a large capture.

Run by `decoding.py` as a program of its own, `reopened.py rows|details FILE`.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from multiprocessing.connection import Connection

_ROWS = 40
_RUNS = 5


def rows(file: str, pipe: Connection) -> None:
    """Open the index of `file` and read a screenful of rows; what is imported counts."""
    began = time.perf_counter()
    from smtpscope.review import Review

    review = Review([file])
    assert not review.reading, "there is no index"
    view = review.index.view()
    view.fill()
    found = view.rows(0, _ROWS)
    pipe.send((time.perf_counter() - began, len(view), len(found)))
    view.close()
    review.close()


def details(file: str, pipe: Connection) -> None:
    """Make the index of `file`, and decode one session in its middle again."""
    from smtpscope.review import Review

    began = time.perf_counter()
    review = Review([file])
    while review.reading:
        time.sleep(0.05)
    indexed = time.perf_counter() - began
    view = review.index.view()
    view.fill()
    (row,) = view.rows(len(view) // 2, 1)
    began = time.perf_counter()
    session = review.details(row).session()
    pipe.send((time.perf_counter() - began, indexed, len(session.exchanges)))
    view.close()
    review.close()


def main() -> None:
    what, file = sys.argv[1:]
    context = multiprocessing.get_context("spawn")
    taken = []
    for _ in range(_RUNS):
        ours, theirs = context.Pipe()
        process = context.Process(
            target={"rows": rows, "details": details}[what], args=(file, theirs)
        )
        process.start()
        theirs.close()
        taken.append(ours.recv())
        process.join()
    median = statistics.median(each[0] for each in taken)
    if what == "rows":
        print(f"  {taken[0][2]} rows of {taken[0][1]:,} after {median:.3f} s")
    else:
        print(f"  indexed in {taken[0][1]:.1f} s; a session of {taken[0][2]} exchanges", end="")
        print(f" after {median:.3f} s")


if __name__ == "__main__":
    main()
