"""Skips a test whose program is missing; where SMTPSCOPE_CI is set it fails instead."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from processes import MissingProgramError


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """For a conftest.py, whose tests may miss a program while they run."""
    with missing_programs_skip():
        return (yield)


@contextmanager
def missing_programs_skip() -> Iterator[None]:
    try:
        yield
    except MissingProgramError as missing:
        if os.environ.get("SMTPSCOPE_CI"):
            raise
        pytest.skip(str(missing))
