"""One direction of TLS that is to be opened: the record at hand, what waits, and the keys."""

from __future__ import annotations

from collections import deque

from smtpscope.capture.tls_ciphers import HANDSHAKE, Opener
from smtpscope.capture.tls_search import BUDGET, HEADER, Record, Search
from smtpscope.stream import Direction


class Side:
    """`lost` octets of a record that has a hole are still to come; `torn` counts the records that
    were lost since one was opened. `search` looks for the next record behind a larger hole, within
    the `budget` that is left. `spoke`: data was opened. `problem` says why nothing more is opened.
    """

    __slots__ = (
        "around",
        "budget",
        "buffer",
        "direction",
        "lost",
        "messages",
        "octets_waiting",
        "offset",
        "opener",
        "problem",
        "sealed",
        "search",
        "sequence",
        "spoke",
        "stage",
        "told",
        "torn",
        "waiting",
        "wanted",
    )

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.offset = -1
        self.buffer = bytearray()
        self.wanted = HEADER
        self.lost = 0
        self.waiting: deque[Record] = deque()
        self.octets_waiting = 0
        self.messages = bytearray()
        self.sealed = False
        self.stage = HANDSHAKE
        self.opener: Opener | None = None
        self.sequence = 0
        self.told: int | None = None
        self.around = 0
        self.torn = 0
        self.spoke = False
        self.search: Search | None = None
        self.budget = BUDGET
        self.problem: str | None = None

    @property
    def held(self) -> int:
        """Octets that wait."""
        return self.octets_waiting + (self.search.held if self.search is not None else 0)

    def begin(self, offset: int) -> None:
        """The plaintext begins where the ciphertext does."""
        if self.offset < 0:
            self.offset = offset

    def restart(self) -> None:
        """What was begun is not continued."""
        self.buffer.clear()
        self.wanted = HEADER
        self.messages.clear()

    def give_up(self, problem: str) -> None:
        """Nothing that waits, and nothing that comes, will be opened."""
        self.problem = problem
        self.search = None
        self.waiting.clear()
        self.octets_waiting = 0

    def use(self, opener: Opener, sequence: int, payload: bytes) -> None:
        """A record with this number was opened."""
        if opener is not self.opener:
            self.seal(opener.stage)
            self.opener = opener
            self.around = opener.around
        self.sealed = True
        self.sequence = sequence + 1
        self.told = opener.number(payload)
        self.torn = 0
        opener.follow(payload)

    def seal(self, stage: int) -> None:
        """From the next record on other keys are in force."""
        self.sealed = True
        self.stage = stage
        self.opener = None
        self.sequence = 0
        self.told = None
        self.messages.clear()
