"""The recordings that nobody named: what lies in the state folder, beside what was open before."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from smtpscope.capture.recording import number_in_series, series_of
from smtpscope.errors import SmtpscopeError
from smtpscope.memory import Recent
from smtpscope.places import recordings_folder

MAX_RECORDINGS = 200
"""Recordings that are listed, the newest ones."""


def with_recordings(recent: Iterable[Recent], folder: Path | None = None) -> list[Recent]:
    """What was opened, and what was recorded (by its last packet), the newest first; each once.

    The files of a rotated recording are one capture. `folder` is that of the recordings.
    """
    try:
        known = _recordings(folder or recordings_folder())
    except SmtpscopeError:
        known = {}
    listed = []
    for each in recent:
        # Of a rotated one the first files may be gone, and others there by now.
        first, *others = {series_of(Path(capture)) for capture in each.captures}
        same = known.pop(first, None) if not others else None
        if same is not None:
            listed.append(Recent(same.captures, max(same.opened, each.opened)))
        else:
            listed.append(each)
    newest = sorted(known.values(), key=lambda each: -each.opened)[:MAX_RECORDINGS]
    return sorted([*listed, *newest], key=lambda each: -each.opened)


def _recordings(folder: Path) -> dict[Path, Recent]:
    """The recordings in a folder by what their files have in common."""
    found: dict[Path, list[tuple[Path, float]]] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.name.endswith(".pcapng") and entry.is_file(follow_symlinks=False):
                    path = Path(entry.path)
                    changed = entry.stat(follow_symlinks=False).st_mtime
                    found.setdefault(series_of(path), []).append((path, changed))
    return {
        series: Recent(
            tuple(str(path) for path, _ in sorted(files, key=lambda file: _place(file[0]))),
            max(changed for _, changed in files),
        )
        for series, files in found.items()
    }


def _place(path: Path) -> tuple[int, str]:
    return number_in_series(path), path.name
