"""The rows of the list of sessions: columns, and the cells of a session."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from smtpscope.display import text
from smtpscope.index.views import SessionRow
from smtpscope.session import Severity
from smtpscope.stream import Endpoint
from smtpscope.tui.columns import Column
from smtpscope.tui.listing import Listing
from smtpscope.tui.pieces import SYMBOLS, Piece
from smtpscope.tui.words import clock, duration

if TYPE_CHECKING:
    from smtpscope.tui.main import MainScreen

_ENDINGS = re.compile(r"(?<=.)(\.(?:pcap|pcapng|cap|gz|zst))+\Z", re.IGNORECASE)

MAX_SHOWN = 100
"""Characters of one value in the list."""

COLUMNS = (
    Column("number", "#", 5, priority=10, right=True),
    Column("capture", "capture", 14, 2, priority=8),
    Column("start", "start", 12, priority=5),
    Column("client", "client", 15, 1, priority=7),
    Column("server", "server", 14, 1, priority=3),
    Column("from", "from", 12, 2, priority=6, counted=True),
    Column("to", "to", 12, 2, priority=6, counted=True),
    Column("messages", "msgs", 4, priority=2, right=True),
    Column("last", "outcome", 9, priority=9),
    Column("tls", "tls", 5, priority=4),
    Column("duration", "time", 7, priority=5, right=True),
    Column("severity", "!", 4, priority=9),
)


class SessionCells:
    """The rows of the list of sessions."""

    def __init__(self, listing: Listing[SessionRow], main: MainScreen) -> None:
        self._listing = listing
        self._main = main
        self._captures = capture_names(main.review.names)

    def __len__(self) -> int:
        return len(self._listing)

    def marked(self, index: int) -> bool:
        row = self._listing.row(index)
        return row is not None and row.id in self._main.marked

    def cells(self, index: int) -> Sequence[Piece]:
        row = self._listing.row(index)
        if row is None:
            return []
        last = f"{row.last} {row.last_enhanced or ''}".rstrip() if row.last is not None else "-"
        word = Severity(row.severity).word if row.severity > 0 else ""
        return [
            Piece(str(row.number), "dim"),
            Piece(self._captures[row.capture], "dim"),
            Piece(clock(row.start, utc=self._main.time_mode == "utc"), "time"),
            Piece(str(Endpoint(row.client, row.client_port))),
            Piece(str(Endpoint(row.server, row.port))),
            Piece(people(row.senders, "<>")),
            Piece(people(row.recipients)),
            Piece(str(row.messages)),
            Piece(last, f"reply{row.last // 100}" if row.last and row.last >= 400 else ""),
            _tls(row),
            self._duration(row),
            Piece(f"{SYMBOLS[word]}{row.findings}" if word else "", word),
        ]

    def _duration(self, row: SessionRow) -> Piece:
        if row.state == "open" and self._main.review.live and self._main.review.reading:
            return Piece("open", "label")
        return Piece(duration(row.duration))


def capture_names(names: Sequence[str]) -> list[str]:
    """What tells captures from each other: their names, without endings where nothing is lost."""
    stems = [_ENDINGS.sub("", name) for name in names]
    return [text(each, MAX_SHOWN) for each in (stems if len({*stems}) == len(stems) else names)]


def people(listed: str, nobody: str = "") -> str:
    """Addresses of an index, shortened: the first one and how many more."""
    found = json.loads(listed)
    if not found:
        return ""
    first = text(found[0], MAX_SHOWN) or nobody
    return f"{first} +{len(found) - 1}" if len(found) > 1 else first


def _tls(row: SessionRow) -> Piece:
    if row.tls is None:
        return Piece("-", "dim")
    version = (row.tls_version or "").removeprefix("TLSv").removeprefix("TLS ")
    return Piece(text(version, 8) or "yes", "tls")


class Without:
    """Cells of fewer columns than there could be."""

    def __init__(
        self, cells: SessionCells, every: Sequence[Column], kept: Sequence[Column]
    ) -> None:
        self._cells = cells
        self._kept = [index for index, column in enumerate(every) if column in kept]

    def __len__(self) -> int:
        return len(self._cells)

    def marked(self, index: int) -> bool:
        return self._cells.marked(index)

    def cells(self, index: int) -> Sequence[Piece]:
        cells = self._cells.cells(index)
        return [cells[each] for each in self._kept] if cells else []
