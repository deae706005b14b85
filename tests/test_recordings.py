"""Recordings beside what was open before: the newest first, each once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smtpscope.memory import Recent
from smtpscope.recordings import MAX_RECORDINGS, with_recordings


def recorded(folder: Path, name: str, at: int) -> str:
    path = folder / name
    path.write_bytes(b"")
    os.utime(path, (at, at))
    return str(path)


def test_recordings_stand_among_the_captures_by_their_time(tmp_path: Path) -> None:
    old = recorded(tmp_path, "sniff-20230101-000000-7.pcapng", 100)
    new = recorded(tmp_path, "pipe-20230101-000000-8.pcapng", 300)
    opened = Recent(("/captures/a.pcap",), 200.0)
    assert with_recordings([opened], tmp_path) == [
        Recent((new,), 300.0),
        opened,
        Recent((old,), 100.0),
    ]


def test_a_recording_that_was_open_is_listed_once(tmp_path: Path) -> None:
    path = recorded(tmp_path, "sniff-20230101-000000-7.pcapng", 100)
    assert with_recordings([Recent((path,), 500.0)], tmp_path) == [Recent((path,), 500.0)]


def test_the_files_of_a_rotated_recording_are_one_capture(tmp_path: Path) -> None:
    files = [recorded(tmp_path, f"sniff-1-77-0000{n}.pcapng", 100 + n) for n in (3, 2, 4)]
    other = recorded(tmp_path, "sniff-2-78-00001.pcapng", 50)
    gone = str(tmp_path / "sniff-1-77-00001.pcapng")
    ordered = (files[1], files[0], files[2])
    assert with_recordings([], tmp_path) == [Recent(ordered, 104.0), Recent((other,), 50.0)]
    # It was open when its first file was there.
    listed = with_recordings([Recent((gone,), 90.0)], tmp_path)
    assert listed == [Recent(ordered, 104.0), Recent((other,), 50.0)]


def test_captures_opened_together_stay_together(tmp_path: Path) -> None:
    one = recorded(tmp_path, "sniff-1-7.pcapng", 100)
    two = recorded(tmp_path, "sniff-2-8.pcapng", 200)
    both = Recent((one, two), 300.0)
    assert with_recordings([both], tmp_path) == [
        both,
        Recent((two,), 200.0),
        Recent((one,), 100.0),
    ]


@pytest.mark.parametrize("name", ["notes.txt", "folder.pcapng", "link.pcapng"])
def test_what_is_no_recording_is_not_listed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if "folder" in name:
        path.mkdir()
    elif "link" in name:
        path.symlink_to("/etc/passwd")
    else:
        path.write_text("")
    assert with_recordings([], tmp_path) == []


def test_a_folder_that_is_missing_and_one_that_is_full_are_no_trouble(tmp_path: Path) -> None:
    assert with_recordings([], tmp_path / "missing") == []
    for number in range(MAX_RECORDINGS + 5):
        recorded(tmp_path, f"sniff-{number}-7.pcapng", number)
    listed = with_recordings([], tmp_path)
    assert len(listed) == MAX_RECORDINGS
    assert listed[0].opened == MAX_RECORDINGS + 4
