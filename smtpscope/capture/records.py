"""What a capture file holds, whatever its format: records as columns, and what is said about them.

`pcap` and `pcapng` fill these values from the octets of a file; `packets` reads the columns.
Everything that a file can make grow without end has a bound here, and reaching one is told.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

RECORD_BOUND = 262_144
"""Octets that a record may always have; Wireshark allows the same."""
SNAPLEN_BOUND = 64 << 20
"""Octets that a record may have where the file declares a greater snap length."""
INTERFACE_BOUND = 4_096
SECRETS_BOUND = 64 << 20
"""Octets of decryption secrets kept of one file."""
COMMENT_BOUND = 4_096
"""Comments kept of one file, and octets kept of each."""
PROBLEM_BOUND = 256
KIND_BOUND = 256
"""Block types that are counted apart."""

Octets = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Interface(NamedTuple):
    """Where packets were captured. `snaplen` 0 is unlimited; `linktype` as in the LINKTYPE list."""

    linktype: int
    snaplen: int
    name: str | None


class Secret(NamedTuple):
    """One Decryption Secrets Block. `kind` 0x544c534b is a TLS key log (pcapng draft §4.7)."""

    kind: int
    data: bytes


class Comment(NamedTuple):
    """A comment on packet number `packet`, or on a section or an interface where that is 0."""

    packet: int
    text: bytes


class Statistics(NamedTuple):
    """An interface's counters since its capture began; None where the file is silent."""

    received: int | None
    dropped: int | None
    dropped_by_system: int | None


class Records(NamedTuple):
    """Complete records of a piece of a file: one entry in each column for each packet.

    `used` is the number of octets dealt with; what is behind them has to be offered again.
    `time` is in nanoseconds since the epoch.
    """

    used: int
    offset: Longs
    captured: Longs
    original: Longs
    time: Longs
    interface: npt.NDArray[np.int32]


@dataclass(slots=True)
class Notes:
    """What a file says besides packets, and what is wrong with it.

    `statistics` has the last word on each interface, by its index in `interfaces`. `skipped`
    counts the blocks of each type that were passed over.
    """

    interfaces: list[Interface] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    statistics: dict[int, Statistics] = field(default_factory=dict)
    skipped: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    _secret_octets: int = 0

    def problem(self, text: str, offset: int) -> None:
        """Keep a one-line description of what is wrong at `offset` of the uncompressed file."""
        if len(self.problems) < PROBLEM_BOUND:
            self.problems.append(f"{text} at octet {offset}")
        elif len(self.problems) == PROBLEM_BOUND:
            self.problems.append("more problems than are listed")

    def skip(self, kind: int) -> None:
        """Count a block that is passed over; what is beyond the bound counts as type 0."""
        self.skipped[kind if kind in self.skipped or len(self.skipped) < KIND_BOUND else 0] += 1

    def comment(self, packet: int, text: bytes) -> None:
        """Keep a comment, as long as there is room."""
        if len(self.comments) < COMMENT_BOUND:
            self.comments.append(Comment(packet, text[:COMMENT_BOUND]))

    def secret(self, kind: int, data: bytes, offset: int) -> None:
        """Keep decryption secrets, as long as there is room."""
        if self._secret_octets + len(data) > SECRETS_BOUND:
            self.problem(f"secrets beyond {SECRETS_BOUND} octets are left out", offset)
            return
        self._secret_octets += len(data)
        self.secrets.append(Secret(kind, data))


def record_bound(snaplen: int) -> int:
    """The captured length beyond which a record's length is taken for damage."""
    if snaplen == 0:
        return SNAPLEN_BOUND
    return max(RECORD_BOUND, min(snaplen, SNAPLEN_BOUND))


def windows(buffer: bytes, at: Longs, size: int) -> Octets:
    """The `size` octets at each of the offsets `at`, a row each; those beyond the end are zero.

    The rows are contiguous, so that a view as wider integers reads header fields.
    """
    last = len(buffer) - size
    if last < 0:
        return windows(buffer.ljust(size, b"\0"), at, size)
    found = _view(buffer, size)[np.minimum(at, last)]
    beyond = at > last
    if beyond.any():
        found[beyond] = _view(buffer[last:] + bytes(size), size)[
            np.minimum(at[beyond] - last, size)
        ]
    return found.view(np.uint8).reshape(-1, size)


def _view(buffer: bytes, size: int) -> npt.NDArray[np.void]:
    # One opaque item at every offset: indexing such a view copies a header in one go, many times
    # faster than a two-dimensional index of octets.
    shape = (len(buffer) - size + 1,)
    return np.ndarray(shape=shape, dtype=f"V{size}", buffer=buffer, strides=(1,))
