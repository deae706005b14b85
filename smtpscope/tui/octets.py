"""The octets of a line of the dialogue, by the packets that brought them; a packet in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from smtpscope.details import MAX_OCTETS, Packet
from smtpscope.details import Piece as Octets
from smtpscope.display import text
from smtpscope.errors import SmtpscopeError
from smtpscope.index.views import SessionRow
from smtpscope.review import Review
from smtpscope.session import Session
from smtpscope.stream import Span
from smtpscope.transcript import Row
from smtpscope.tui.background import Newest
from smtpscope.tui.hexdump import dump, packet_rule
from smtpscope.tui.pieces import Line, Piece
from smtpscope.tui.rowlist import Lines, RowList
from smtpscope.tui.views import ViewScreen
from smtpscope.tui.words import date

WIDE = 90
"""Columns from which on a row has 16 octets."""


class OctetsScreen(ViewScreen[None]):
    """Octets; Enter on a row shows its packet."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "packet", "The packet in full", id="packet"),
    ]
    hints: tuple[tuple[str, str], ...] = (("choose", "packet in full"),)
    DEFAULT_CSS = """
    OctetsScreen RowList { height: 1fr; }
    """

    def __init__(
        self, review: Review, row: SessionRow, session: Session, line: Row, reveal: bool
    ) -> None:
        super().__init__()
        self._review = review
        self._row = row
        self._session = session
        self._line = line
        self._reveal = reveal
        spans = secret_spans(session)
        self._secret = not reveal and any(_overlap(each, line.span) for each in spans)
        self._packets: list[int] = []
        self._loader: Newest[list[Octets]] = Newest(self.call_later)
        self.heading = f"Octets: {line.text}"[:100]

    def body(self) -> Iterator[Any]:
        self.rows = RowList(placeholder="reading …")
        yield self.rows

    def on_mount(self) -> None:
        span = self._line.span
        assert span is not None
        if self._secret:
            # There is nothing to open.
            self.hints = ()
            self.rows.placeholder = "these octets hold a secret: R in the dialogue reveals it"
            return
        self._loader.run(
            lambda cancelled: self._review.details(self._row, cancelled).octets(span),
            self._show,
            self._failed,
        )

    def on_unmount(self) -> None:
        self._loader.close()

    def _failed(self, error: SmtpscopeError) -> None:
        self.rows.tell(text(str(error), 500))

    def _show(self, pieces: list[Octets]) -> None:
        width = 16 if self.size.width >= WIDE else 8
        span = self._line.span
        assert span is not None
        lines: list[Line] = []
        self._packets = []
        for offset, octets, packet, time in pieces:
            rows = [packet_rule(packet, time - self._session.start), *dump(octets, offset, width)]
            lines += rows
            self._packets += [packet] * len(rows)
        if span.end - span.start > MAX_OCTETS:
            lines.append([Piece(f"… the first {MAX_OCTETS:,} octets are shown", "dim")])
            self._packets.append(self._packets[-1] if self._packets else 0)
        self.rows.placeholder = "none of these octets is in the capture as it is read here"
        self.rows.show(Lines(lines))

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        self.action_packet()

    def action_packet(self) -> None:
        """Show the packet of the row."""
        if self.rows.cursor < len(self._packets):
            number = self._packets[self.rows.cursor]
            secrets = [] if self._reveal else secret_spans(self._session)
            self.app.push_screen(PacketScreen(self._review, self._row, number, secrets))


class PacketScreen(ViewScreen[None]):
    """A packet: all its layers, and its octets. Left and right go to the session's others."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "other(-1)", "Previous packet", id="packet_previous"),
        Binding("right_square_bracket", "other(1)", "Next packet", id="packet_next"),
    ]
    hints = (("packet_previous", "previous packet"), ("packet_next", "next packet"))
    DEFAULT_CSS = """
    PacketScreen RowList { height: 1fr; }
    """

    def __init__(
        self, review: Review, row: SessionRow, number: int, secrets: Sequence[Span]
    ) -> None:
        """`secrets`: the packets that brought these octets are not shown in full."""
        super().__init__()
        self._secrets = secrets
        self._review = review
        self._row = row
        self._number = number
        self._numbers: list[int] = []
        self._loader: Newest[tuple[Packet, list[tuple[int, str, str | None]], list[int]]] = Newest(
            self.call_later
        )
        self.heading = f"Packet {number:,}"

    def body(self) -> Iterator[Any]:
        self.rows = RowList(placeholder="dissecting …")
        yield self.rows

    def on_mount(self) -> None:
        self._load(self._number)

    def on_unmount(self) -> None:
        self._loader.close()

    def _load(self, number: int) -> None:
        def job(cancelled: Any) -> Any:
            details = self._review.details(self._row, cancelled)
            packet = details.packet(number)
            brought = {each.packet for span in self._secrets for each in details.octets(span)}
            layers = details.layers(packet)
            if number in brought:
                # Its headers alone.
                heads = [at for at, (_, name, value) in enumerate(layers) if value is None]
                kept = layers[: heads[3]] if len(heads) > 3 else []
                note = (1, "payload", "hidden, for it holds a secret: R in the dialogue reveals it")
                return packet._replace(frame=b""), [*kept, note], details.packets
            return packet, layers, details.packets

        self._loader.run(job, self._show, self._failed)

    def _failed(self, error: SmtpscopeError) -> None:
        self.rows.tell(text(str(error), 500))

    def _show(self, found: tuple[Packet, list[tuple[int, str, str | None]], list[int]]) -> None:
        packet, layers, self._numbers = found
        self._number = packet.number
        self.retitle(f"Packet {packet.number:,} · {date(packet.time)}")
        lines: list[Line] = [[Piece(f"{packet.original:,} octets on the wire", "dim")]]
        for depth, name, value in layers:
            if value is None:
                lines += [[], [Piece(name, "head")]]
            else:
                lines.append([Piece("  " * depth), Piece(f"{name:<14} ", "label"), Piece(value)])
        if packet.frame:
            lines += [[], [Piece("Octets", "head")]]
            lines += dump(packet.frame, 0, 16 if self.size.width >= WIDE else 8)
        self.rows.show(Lines(lines))

    def action_other(self, way: int) -> None:
        """Go to the next (1) or previous (-1) packet of the session."""
        if self._number in self._numbers:
            at = self._numbers.index(self._number) + way
            if 0 <= at < len(self._numbers):
                self._load(self._numbers[at])


def secret_spans(session: Session) -> list[Span]:
    """The octets of what is redacted in a dialogue."""
    found = []
    for exchange in session.exchanges:
        command = exchange.command
        if command is not None and command.redacted is not None:
            found.append(command.span)
        if exchange.auth is not None:
            found += [reply.span for reply in exchange.replies if reply.code == 334]
        found += [reply.span for reply in exchange.replies if reply.unmasked is not None]
    return found


def _overlap(one: Span, other: Span | None) -> bool:
    if other is None:
        return False
    return one.direction is other.direction and one.start < other.end and other.start < one.end
