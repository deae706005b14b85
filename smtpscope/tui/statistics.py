"""Figures of all sessions that are shown, and plots where people would rather look than read.

Enter on a row shows its sessions: every name and code is a filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rich.cells import cell_len, set_cell_size
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from smtpscope.display import text
from smtpscope.filters import quoted
from smtpscope.index.statistics import Count, Latency, Statistics, Times, statistics
from smtpscope.tui.background import Newest
from smtpscope.tui.pieces import Line, Piece
from smtpscope.tui.rowlist import RowList
from smtpscope.tui.words import amount, date, duration, octets
from smtpscope.tui.wrapped import WrappedList

if TYPE_CHECKING:
    from smtpscope.tui.main import MainScreen

NARROW = 100
"""Columns of the terminal below which one half stands under the other."""
PLOT = 4
"""Lines of a plot."""
MAX_NAME = 200

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_ACROSS = "▏▎▍▌▋▊▉█"


class Figure(NamedTuple):
    """A row, and the filter that shows its sessions ("" for none)."""

    line: Line
    filter: str = ""


def columns_plot(values: Sequence[int], height: int, width: int) -> list[str]:
    """Columns of eighths of a cell, `height` cells high; each value gets as many cells as fit."""
    wide = max(width // max(len(values), 1), 1)
    most = max(values, default=0) or 1
    levels = [max(-(-value * height * 8 // most), 1 if value else 0) for value in values]
    return [
        "".join(_EIGHTHS[min(max(level - row * 8, 0), 8)] * wide for level in levels)
        for row in reversed(range(height))
    ]


def bar(value: int, most: int, width: int) -> str:
    """A bar of eighths of a cell, in `width` cells at most; the least that shows for any value."""
    eighths = max(value * width * 8 // max(most, 1), 1) if value else 0
    full, rest = divmod(eighths, 8)
    return "█" * full + (_ACROSS[rest - 1] if rest else "")


def step_name(nanoseconds: int) -> str:
    """ "5 min": what one column of a plot stands for."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if nanoseconds >= size * 1_000_000_000:
            return f"{nanoseconds // (size * 1_000_000_000)} {unit}"
    return f"{nanoseconds // 1_000_000} ms"


def over_time(found: Statistics, width: int, *, utc: bool) -> Iterator[Figure]:
    """Sessions and messages by the time at which they began."""
    times = found.times
    if not found.sessions:
        return
    yield Figure(
        [Piece("Over time", "head"), Piece(f"  a column is {step_name(times.step)}", "dim")]
    )
    for name, values, style in (
        ("sessions", times.sessions, "bar"),
        ("messages", times.messages, "message"),
    ):
        yield Figure([Piece(f"{name}, {max(values):,} at most", "label")])
        for row in columns_plot(values, PLOT, width):
            yield Figure([Piece(row, style)])
    yield Figure(_ends(times, width, utc))


def _ends(times: Times, width: int, utc: bool) -> Line:
    bars = len(times.sessions)
    first = date(times.start, utc=utc)
    last = date(times.start + bars * times.step, utc=utc)
    wide = min(max(width // bars, 1) * bars, width)
    gap = max(wide - len(first) - len(last), 2)
    return [Piece(first, "time"), Piece(" " * gap), Piece(last, "time")]


def replies(found: Statistics, width: int) -> Iterator[Figure]:
    """How often each reply code came."""
    if found.codes:
        yield Figure([Piece("Replies by code", "head")])
        most = max(count for _, count in found.codes)
        for code, count in found.codes:
            style = f"reply{code[0]}" if code[:1] in "2345" else ""
            line = [
                Piece(f"{code:>4} ", style),
                Piece(f"{count:>10,} ", ""),
                Piece(bar(count, most, max(width - 18, 4)), style or "bar"),
            ]
            yield Figure(line, f"code == {code}")


def latencies(found: list[Latency]) -> Iterator[Figure]:
    """How long servers took to answer."""
    if found:
        yield Figure([Piece("Latency by command", "head")])
        head = f"{'':<11} {'p50':>8} {'p95':>8} {'p99':>8} {'replies':>9}"
        yield Figure([Piece(head, "dim")])
        for verb, count, *percentiles in found:
            shown = " ".join(f"{duration(each):>8}" for each in percentiles)
            words = [Piece(f"{verb:<11} ", "client"), Piece(shown), Piece(f" {count:>9,}", "dim")]
            filter = f"verb == {quoted(verb)}" if verb not in ("(greeting)", "(other)") else ""
            yield Figure(words, filter)


def counted(
    title: str, found: Sequence[Count], width: int, field: str = "", style: str = ""
) -> Iterator[Figure]:
    """The most frequent names, each with a bar; `field` is what it is filtered by."""
    if not found:
        return
    yield Figure([Piece(title, "head")])
    most = max(count for _, count in found)
    room = min(max((cell_len(text(name, MAX_NAME)) for name, _ in found), default=8), width - 26)
    room = max(room, 8)
    for name, count in found:
        shown = text(name, MAX_NAME) if name else "<>" if field == "from" else "(none)"
        if cell_len(shown) > room:
            shown = set_cell_size(shown, room - 1) + "…"
        line = [
            Piece(shown + " " * (room - cell_len(shown) + 1), style),
            Piece(f"{count:>9,} "),
            Piece(bar(count, most, max(width - room - 12, 4)), "bar"),
        ]
        yield Figure(line, f"{field} == {quoted(name)}" if field else "")


def _tls(found: Sequence[Count], width: int) -> Iterator[Figure]:
    for figure, each in zip(
        counted("TLS", found, width, style="tls"), [None, *found], strict=False
    ):
        if each is None:
            yield figure
            continue
        mode, _, version = each.name.partition(" ")
        if mode == "none":
            yield figure._replace(filter="not tls")
        else:
            more = f" and tls.version == {quoted(version)}" if version else " and not tls.version"
            yield figure._replace(filter=f"tls == {mode}{more}")


def spaced(*blocks: Iterator[Figure]) -> Iterator[Figure]:
    """Blocks of rows with an empty one between them."""
    first = True
    for block in blocks:
        for number, figure in enumerate(block):
            if number == 0 and not first:
                yield Figure([])
            first = False
            yield figure


def numbers(found: Statistics, width: int, *, utc: bool) -> Iterator[Figure]:
    """How many, when, with which replies, how fast."""
    if found.sessions:
        blocks = (over_time(found, width, utc=utc), replies(found, width))
        yield from spaced(iter([_total(found)]), *blocks, latencies(found.latencies))


def names(found: Statistics, width: int) -> Iterator[Figure]:
    """Who, and how they ended."""
    yield from spaced(
        _tls(found.tls, width),
        counted("How they ended", found.states, width, "state"),
        counted("Servers", found.servers, width, "server"),
        counted("Clients", found.clients, width, "client"),
        counted("Client names (EHLO, HELO)", found.names, width, "helo"),
        counted("Senders", found.senders, width, "from"),
        counted("Recipients", found.recipients, width, "to"),
    )


class StatisticsPane(Container):
    """Figures in two halves: over time, by code and command; and by name."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "app.focus_next", "Other pane", id="other_pane", show=False),
    ]
    DEFAULT_CSS = """
    StatisticsPane { layout: horizontal; }
    StatisticsPane > RowList { width: 1fr; height: 100%; }
    StatisticsPane > #names { border-left: solid $panel; }
    StatisticsPane.-narrow { layout: vertical; }
    StatisticsPane.-narrow > RowList { width: 100%; height: 1fr; }
    StatisticsPane.-narrow > #names { border-left: none; border-top: solid $panel; }
    """

    def __init__(self, main: MainScreen) -> None:
        super().__init__(id="statistics-pane", classes="-follows-filter -tells-times")
        self._main = main
        self._found: Statistics | None = None
        self._filters: dict[RowList, list[str]] = {}
        self._loader: Newest[Statistics | None] = Newest(self.call_later)

    def compose(self) -> ComposeResult:
        self.numbers = WrappedList(id="numbers", placeholder="counting …")
        self.names = WrappedList(id="names")
        yield self.numbers
        yield self.names

    def on_unmount(self) -> None:
        self._loader.close()

    def on_resize(self) -> None:
        self.set_class(self.size.width < NARROW, "-narrow")

    def enter(self) -> None:
        """Show them: of the sessions that the filter shows."""
        self.refilter()
        self.numbers.focus()

    def refilter(self) -> None:
        """Count anew."""
        if not self.display:
            return
        index, filter = self._main.review.index, self._main.filter

        def job(cancelled: object) -> Statistics | None:
            assert callable(cancelled)
            view = index.view(filter=filter)
            try:
                view.fill()
                return statistics(view, cancelled)
            finally:
                view.close()

        self._loader.run(job, self._show, self._main.scope.failed)

    def freshen(self) -> None:
        """Count what has been found since."""
        if not self._loader.busy:
            self.refilter()

    def retime(self) -> None:
        """Show times in another way."""
        self._lay()

    def _show(self, found: Statistics | None) -> None:
        if found is not None:
            self._found = found
            self._lay()

    def _lay(self) -> None:
        found = self._found
        if found is None:
            return
        utc = self._main.time_mode == "utc"
        self.numbers.placeholder = self._main.none("no sessions")
        self._put(self.numbers, lambda width: list(numbers(found, width, utc=utc)))
        self._put(self.names, lambda width: list(names(found, width)))

    def _put(self, rows: WrappedList, figures: Callable[[int], list[Figure]]) -> None:
        def wrap(width: int) -> list[Line]:
            made = figures(width)
            self._filters[rows] = [figure.filter for figure in made]
            return [figure.line for figure in made]

        rows.show_wrapped(wrap, cursor=rows.cursor)

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        filters = self._filters.get(event.rows, [])
        chosen = filters[event.index] if event.index < len(filters) else ""
        if chosen:
            self._main.narrow(chosen)


def _total(found: Statistics) -> Figure:
    return Figure(
        [
            Piece(amount(found.sessions, "session"), "strong"),
            Piece(f", {amount(found.messages, 'message')}, {octets(found.octets)}"),
        ]
    )
