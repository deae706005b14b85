"""Runs the newest of several jobs in a thread: what was asked for before is given up."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

from smtpscope.errors import SmtpscopeError

_T = TypeVar("_T")
Job = Callable[[Callable[[], bool]], _T]
"""Takes what tells whether the job has been given up."""
Failed = Callable[[SmtpscopeError], None]


class Newest(Generic[_T]):
    """`call` hands a function over to the thread of the screen."""

    def __init__(self, call: Callable[[Callable[[], None]], Any]) -> None:
        self._call = call
        self._changed = Condition()
        self._wanted: tuple[int, Job[_T], Callable[[_T], None], Failed] | None = None
        self._number = 0
        self._closed = False
        self._thread: Thread | None = None

    @property
    def busy(self) -> bool:
        """Something is asked for that has not been shown."""
        return self._wanted is not None

    def run(self, job: Job[_T], done: Callable[[_T], None], failed: Failed) -> None:
        """Run `job` next, and hand what it gives to `done`, or why it could not to `failed`."""
        with self._changed:
            self._number += 1
            self._wanted = (self._number, job, done, failed)
            if self._thread is None:
                self._thread = Thread(target=self._work, daemon=True)
                self._thread.start()
            self._changed.notify()

    def cancel(self) -> None:
        """Nothing is asked for any more."""
        with self._changed:
            self._number += 1
            self._wanted = None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._number += 1
            self._changed.notify()

    def _work(self) -> None:
        done_with = 0
        while True:
            with self._changed:
                while not self._closed and (self._wanted is None or self._wanted[0] == done_with):
                    self._changed.wait()
                if self._closed or self._wanted is None:
                    return
                number, job, done, failed = self._wanted
            try:
                result = job(lambda number=number: number != self._number)  # type: ignore[misc]
            except SmtpscopeError as error:
                self._hand(number, failed, error)
            except sqlite3.Error:
                # What it looked at was closed or interrupted meanwhile: nobody wants it any more.
                self._hand(number, lambda nothing: None, None)
            except Exception as error:
                # A fault of ours is not to vanish with the thread.
                self._hand(number, _raise, error)
            else:
                self._hand(number, done, result)
            done_with = number

    def _hand(self, number: int, function: Callable[[Any], None], value: Any) -> None:
        def show() -> None:
            if number == self._number:
                self._wanted = None
                function(value)

        if number == self._number and not self._closed:
            self._call(show)


def _raise(error: Exception) -> None:
    raise error
