"""A session's dialogue as rows of the screen: time, side, severity, what was said.

Replies of several lines are folded into one until they are unfolded, but for refusals, and a
finding has a row of its own behind the line that it is about.
"""

from __future__ import annotations

from collections.abc import Iterator

from smtpscope.filters import Filter
from smtpscope.session import Session, Severity
from smtpscope.smtp.values import SENDERS
from smtpscope.transcript import Row, rows
from smtpscope.tui.opening import opening, rules_of
from smtpscope.tui.pieces import SYMBOLS, Line, Piece
from smtpscope.tui.words import clock

TIME_MODES = ("relative", "delta", "clock", "utc")

EVERYTHING = Filter("", None)

CLIENT, SERVER = "▸", "◂"
_TIME_WIDTH = {"relative": 9, "delta": 9, "clock": 12, "utc": 13}


class Dialogue:
    """The rows of a session; `shown` are the indexes (in `rows`) of those that are not folded, and
    `opens_at` is that of the one to begin with."""

    def __init__(
        self,
        session: Session,
        *,
        reveal: bool = False,
        mode: str = "relative",
        filter: Filter = EVERYTHING,
    ) -> None:
        self.session = session
        self.mode = mode
        self.reveal = reveal
        self.rows: list[Row] = list(rows(session, reveal=reveal))
        worst = max([each.severity for each in session.findings], default=Severity.CHAT)
        self._grave = Severity.WARNING if worst >= Severity.WARNING else Severity.NOTE
        self._heads = [0] * len(self.rows)
        self._parts: dict[int, int] = {}
        self._worst: dict[int, Severity] = {}
        self._previous: dict[int, int] = {}
        self._survey()
        # What a refusal says in its last line may be what matters.
        self._unfolded = {head for head in self._parts if self._is_refusal(head)}
        self.shown: list[int] = []
        self._fold()
        self.ask(filter)

    def __len__(self) -> int:
        return len(self.shown)

    def ask(self, filter: Filter) -> None:
        """Point at what a filter asks for: there it opens, and its rules are the findings."""
        self._rules = rules_of(filter)
        self.opens_at = opening(self.session, self.rows, filter)

    def row(self, position: int) -> Row | None:
        """The row at a position on the screen."""
        return self.rows[self.shown[position]] if 0 <= position < len(self.shown) else None

    def position(self, index: int) -> int:
        """Where a row, or the head of its fold, is on the screen."""
        if index < len(self.rows) and not self._visible(index):
            index = self._heads[index]
        try:
            return self.shown.index(index)
        except ValueError:
            return 0

    def toggle(self, position: int) -> bool:
        """Fold or unfold the reply at a position; whether there is something to fold."""
        head = self._heads[self.shown[position]] if position < len(self.shown) else 0
        if head not in self._parts:
            return False
        self._unfolded ^= {head}
        self._fold()
        return True

    def take_folds(self, before: Dialogue) -> None:
        """Fold and unfold as it was in the same session before it had got more."""
        for head in self._parts:
            if head in before._parts and self.rows[head].text == before.rows[head].text:
                self._unfolded -= {head}
                self._unfolded |= {head} & before._unfolded
        self._fold()

    def same_line(self, before: Dialogue, position: int) -> int:
        """Where a line is that stood at a position of the same session before it had got more."""
        old = before.row(position)
        if old is None:
            return 0
        if 0 < position == len(before) - 1:
            # Who went to the end sees what comes.
            return max(len(self) - 1, 0)
        for near in _from(position, len(self)):
            row = self.row(near)
            if row is not None and _identity(row) == _identity(old):
                return near
        return min(position, max(len(self) - 1, 0))

    def next_finding(self, position: int, way: int) -> int | None:
        """The position of the next (1) or previous (-1) finding: one that the filter asks for, else
        what may have broken the mail, or where nothing has, what is of note."""
        positions = range(position + 1, len(self)) if way > 0 else range(position - 1, -1, -1)
        return next((p for p in positions if self._is_grave(p)), None)

    def _is_grave(self, position: int) -> bool:
        finding = self.rows[self.shown[position]].finding
        if finding is None:
            return False
        return finding.rule in self._rules if self._rules else finding.severity >= self._grave

    def message(self, ordinal: int) -> int:
        """The position of the message of a transaction, 0 where it is not shown."""
        indexes = self._envelope(ordinal)
        sent = (i for i in indexes if self.rows[i].kind == "message")
        return self.position(next(sent, indexes.start))

    def finding_of_message(self, ordinal: int) -> int:
        """The position of the first finding about a message or its envelope; where there is none,
        of the message."""
        indexes = self._envelope(ordinal)
        first = self.position(indexes.start)
        for position in range(first, len(self)):
            if self.shown[position] >= indexes.stop:
                break
            if self._is_grave(position):
                return position
        return self.message(ordinal)

    def _envelope(self, ordinal: int) -> range:
        """The rows of a transaction, from its MAIL to the reply to its message."""
        session = self.session
        if ordinal >= len(session.transactions):
            return range(0)
        content = session.transactions[ordinal].content
        sent = [i for i, each in enumerate(session.exchanges) if each.content is content]
        if content is None or not sent:
            return range(0)
        first = sent[0]
        while first and session.exchanges[first].verb not in SENDERS:
            first -= 1
        indexes = [i for i, row in enumerate(self.rows) if first <= row.exchange <= sent[-1]]
        return range(indexes[0], indexes[-1] + 1) if indexes else range(0)

    def line(self, position: int) -> Line:
        """The pieces of a row."""
        index = self.shown[position]
        row = self.rows[index]
        width = _TIME_WIDTH[self.mode]
        if row.finding is not None:
            word = row.finding.severity.word
            said = row.text.split(" ", 1)[1]
            return [
                Piece(" " * (width + 4)),
                Piece(f"{SYMBOLS[word]} {word} ", word),
                Piece(said, word),
                Piece(f"  {row.meaning}", "dim"),
            ]
        worst = self._worst.get(index)
        sign = Piece(SYMBOLS[worst.word], worst.word) if worst is not None else Piece(" ")
        client = row.direction == 0
        said = row.text
        more = self._parts.get(index, 0)
        if more and index not in self._unfolded:
            said += f"  (+{more} {'line' if more == 1 else 'lines'})"
        style = row.kind if row.kind != "command" else "client"
        return [
            Piece(self._time(index, row).rjust(width), "time"),
            Piece(f" {CLIENT if client else SERVER} ", "client" if client else "dim"),
            sign,
            Piece(" "),
            Piece(said, style),
        ]

    def plain(self, position: int) -> str:
        """A row as text, to be copied or searched."""
        return "".join(piece.text for piece in self.line(position)).rstrip()

    def _time(self, index: int, row: Row) -> str:
        if row.time is None:
            return ""
        if self.mode == "clock":
            return clock(row.time)
        if self.mode == "utc":
            return clock(row.time, utc=True) + "Z"
        since = self.session.start if self.mode == "relative" else self._previous[index]
        return f"{(row.time - since) / 1e9:+.3f}"

    def _survey(self) -> None:
        head, before = 0, self.session.start
        spoken = -1
        for index, row in enumerate(self.rows):
            if row.finding is not None:
                self._heads[index] = index
                if spoken >= 0 and row.finding.severity > self._worst.get(spoken, Severity.CHAT):
                    self._worst[spoken] = row.finding.severity
                continue
            if row.part:
                self._parts[head] = self._parts.get(head, 0) + 1
            else:
                head = index
            self._heads[index] = head
            spoken = head
            if row.time is not None:
                self._previous[index] = before
                before = row.time

    def _is_refusal(self, index: int) -> bool:
        return self.rows[index].kind in ("reply4", "reply5")

    def _visible(self, index: int) -> bool:
        head = self._heads[index]
        return head == index or head in self._unfolded

    def _fold(self) -> None:
        self.shown = [index for index in range(len(self.rows)) if self._visible(index)]


def _identity(row: Row) -> tuple[object, ...]:
    """What stays of a row while its session grows: not the size of a message, say."""
    if row.finding is not None:
        return row.finding.rule, row.text
    # What is not of an exchange stands behind all of them.
    exchange = row.exchange if row.kind != "tls" else None
    return exchange, row.kind, row.reply, row.part, row.direction


def _from(position: int, length: int) -> Iterator[int]:
    """All positions, the nearest ones first."""
    for distance in range(max(position, length - position) + 1):
        for near in {position + distance, position - distance}:
            if 0 <= near < length:
                yield near
