"""What the live tests share: the modules of this folder, recordings, and when to skip.

A live test needs root and the programs that it names. Without them it is skipped and says why,
but where SMTPSCOPE_CI is set it fails, so that a run which tested nothing can't look green.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from processes import MissingProgramError, program
from recording import recording
from skipping import missing_programs_skip, pytest_runtest_call

__all__ = ["pytest_runtest_call"]

Record = Callable[..., AbstractContextManager[Path]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    with missing_programs_skip():
        if item.get_closest_marker("live"):
            if os.geteuid() != 0:
                raise MissingProgramError("recording and the servers' own users need root")
            program("tcpdump")
            program("tshark")
        return (yield)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """`with record(port, …) as path:` records these ports; the path is complete after the block.

    `connections` says how many have to be closed before the recording ends (one if not given);
    `name` names the file, and ends in .pcapng to record that.
    """

    @contextmanager
    def recorded(*ports: int, connections: int = 1, name: str = "live.pcap") -> Iterator[Path]:
        path = tmp_path / name
        with recording(path, *ports, connections=connections):
            yield path

    return recorded
