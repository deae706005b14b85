"""What the recorders' tests share: recorders, namespaces, folders, and when to skip.

They need root, AF_PACKET and the programs that they name. Without them they are skipped and say
why, but where SMTPSCOPE_CI is set they fail, so that a run which tested nothing can't look green.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "live"))

from namespace import Namespace
from processes import MissingProgramError, program
from skipping import missing_programs_skip, pytest_runtest_call

__all__ = ["pytest_runtest_call"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    with missing_programs_skip():
        if item.get_closest_marker("live") and os.geteuid() != 0:
            raise MissingProgramError("capturing needs root")
        return (yield)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may write to: pytest's own is root's alone."""
    path = Path(tempfile.mkdtemp(prefix="smtpscope-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A network namespace of its own, in which `lo` is up."""
    program("ip")
    name = f"smtpscope-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    made = Namespace(name)
    try:
        made.run("ip link set lo up")
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
