"""Several processes give what one gives."""

from __future__ import annotations

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from support.packets import Packet, pcap

from smtpscope.capture.pcap import open_capture
from smtpscope.errors import NoCaptureError, SmtpscopeError
from smtpscope.export import jsonl
from smtpscope.parallel import read_rendered, usual_jobs
from smtpscope.reading import SMTP_PORTS
from smtpscope.session import Session

CAPTURES = Path(__file__).parents[1] / "captures"
RENDER = partial(jsonl.dumps, reveal=False)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All bundled recordings that are Ethernet's in one file, a dozen times, packet by packet in
    turns: thousands of sessions at once."""
    recordings = []
    for file in sorted(CAPTURES.glob("*.pcap")):
        with open_capture(file) as reader:
            frames = [
                batch.buffer[at : at + size]
                for batch in reader
                for at, size in zip(batch.offset.tolist(), batch.captured.tolist(), strict=True)
                if {each.linktype for each in batch.interfaces} == {1}
            ]
        if frames:
            recordings.append(frames)
    packets = []
    clock = 1_700_000_000_000_000_000
    for _ in range(12):
        for turn in range(max(map(len, recordings))):
            for frames in recordings:
                if turn < len(frames):
                    clock += 50_000
                    packets.append(Packet(frames[turn], clock))
        clock += 600_000_000_000
    found = tmp_path_factory.mktemp("parallel") / "all.pcap"
    found.write_bytes(pcap(packets))
    return found


@pytest.mark.parametrize("jobs", [2, 7])
def test_the_output_is_the_same_for_any_number_of_processes(capture: Path, jobs: int) -> None:
    expected = list(read_rendered(capture, RENDER, 1))
    assert len(expected) > 400
    assert list(read_rendered(capture, RENDER, jobs)) == expected


def test_ports_notes_and_progress_are_those_of_one_process(tmp_path: Path, capture: Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(capture.read_bytes()[:-7])
    told: list[list[str]] = []
    for jobs in (1, 2):
        notes: list[str] = []
        steps: list[tuple[int, int | None, int]] = []
        found = read_rendered(
            cut,
            RENDER,
            jobs,
            ports=SMTP_PORTS | {2526},
            on_note=notes.append,
            on_progress=lambda *step, steps=steps: steps.append(step),
        )
        count = len(list(found))
        size = cut.stat().st_size
        assert steps[-1] == (size, size, count)
        told.append(notes)
    assert told[0] == told[1]
    assert "cut short" in told[0][0]


def _dies(session: Session) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def test_a_worker_that_dies_is_told(capture: Path) -> None:
    with pytest.raises(SmtpscopeError, match=r"died.*--jobs 1"):
        list(read_rendered(capture, _dies, 2))
    assert not multiprocessing.active_children()


def _dies_once(session: Session, *, marker: Path, at: int) -> str:
    if session.number >= at and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return RENDER(session)


@pytest.mark.parametrize("at", [1, 100, 250, 400])
@pytest.mark.parametrize("jobs", [2, 7])
def test_the_share_of_a_worker_that_dies_is_done_again(
    tmp_path: Path, capture: Path, at: int, jobs: int
) -> None:
    marker = tmp_path / "died"
    notes: list[str] = []
    render = partial(_dies_once, marker=marker, at=at)
    found = list(read_rendered(capture, render, jobs, on_note=notes.append))
    assert marker.exists()
    assert found == list(read_rendered(capture, RENDER, 1))
    assert [note for note in notes if "its share was read again" in note]
    assert not multiprocessing.active_children()


def _refuses(session: Session) -> str:
    raise SmtpscopeError(f"no text for session {session.number}")


def test_what_goes_wrong_in_a_worker_is_raised_here(capture: Path) -> None:
    with pytest.raises(SmtpscopeError, match="no text for session"):
        list(read_rendered(capture, _refuses, 2))
    assert not multiprocessing.active_children()


def test_whoever_has_enough_leaves_no_process_behind(capture: Path) -> None:
    found = read_rendered(capture, RENDER, 2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_what_is_no_capture_is_told_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "text.pcap"
    file.write_text("no capture\n" * 100)
    with pytest.raises(NoCaptureError):
        next(read_rendered(file, RENDER, 2))


def test_only_large_plain_files_are_worth_several_processes(tmp_path: Path, capture: Path) -> None:
    assert usual_jobs(capture) == 1
    assert usual_jobs(tmp_path) == usual_jobs("-") == usual_jobs("no\0file") == 1
    large = tmp_path / "large.pcap"
    with large.open("wb") as out:
        out.truncate(1 << 40)
    assert usual_jobs(large) == max(1, min(os.cpu_count() or 1, len(os.sched_getaffinity(0))))
