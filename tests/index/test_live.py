"""The index of a capture that grows: rows of open sessions, and in the end those of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from support.conversation import connection
from support.packets import Packet, pcap

from smtpscope.capture import growing
from smtpscope.details import Details, Place
from smtpscope.findings.walk import NO_POLICY
from smtpscope.index import live
from smtpscope.index.live import LiveWriter
from smtpscope.index.rows import create
from smtpscope.index.schema import entry_of
from smtpscope.index.views import MESSAGES, Index, MessageRow, SessionRow
from smtpscope.places import bundled_captures
from smtpscope.reading import SMTP_PORTS, read_sessions

SENDING = [
    ("S", b"220 mx.example ESMTP\r\n"),
    ("C", b"EHLO client.example\r\n"),
    ("S", b"250 mx.example\r\n"),
    *(
        turn
        for number in range(3)
        for turn in (
            ("C", b"MAIL FROM:<a%d@example.org>\r\n" % number),
            ("S", b"250 ok\r\n"),
            ("C", b"RCPT TO:<b@example.net>\r\n"),
            ("S", b"250 ok\r\n"),
            ("C", b"DATA\r\n"),
            ("S", b"354 go\r\n"),
            ("C", b"Subject: %d\r\n\r\nhello\r\n.\r\n" % number),
            ("S", b"250 queued\r\n"),
        )
    ),
    ("C", b"QUIT\r\n"),
    ("S", b"221 bye\r\n"),
]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "MOMENT", 0)
    monkeypatch.setattr(live, "PERIOD", -1)
    monkeypatch.setattr(live, "IDLE_PERIOD", -1)
    monkeypatch.setattr(live, "SHARE", 0)


def _grown(tmp_path: Path, packets: list[Packet]) -> Iterator[Index]:
    """The index after each packet, and after the end."""
    capture, path = tmp_path / "a.pcap", tmp_path / "index.sqlite"
    octets = [pcap(packets[:count]) for count in range(len(packets) + 1)]
    capture.write_bytes(octets[0])
    create(path, "key")
    index = Index(path, "key", ["a.pcap"])
    with closing(LiveWriter(path, str(capture), SMTP_PORTS, NO_POLICY)) as writer, closing(index):
        ticks = writer.steps()
        for count in range(1, len(octets)):
            with capture.open("ab") as file:
                file.write(octets[count][len(octets[count - 1]) :])
            while next(ticks):
                pass
            yield index
        writer.stop()
        for _ in ticks:
            pass
        yield index


def _sessions(index: Index) -> list[SessionRow]:
    with closing(index.view()) as view:
        view.fill()
        rows: list[SessionRow] = view.rows(0, 1_000)
        return rows


def _messages(index: Index) -> list[MessageRow]:
    with closing(index.view(MESSAGES)) as view:
        view.fill()
        rows: list[MessageRow] = view.rows(0, 1_000)
        return rows


def test_a_session_has_its_row_from_its_first_packet_on_and_grows(tmp_path: Path) -> None:
    packets = list(connection(SENDING))
    states = []
    messages = []
    for index in _grown(tmp_path, packets):
        (row,) = _sessions(index)
        states.append((row.exchanges, row.state))
        messages.append([(each.subject, each.code) for each in _messages(index)])
    assert states[0] == (0, "open")
    assert [exchanges for exchanges, _ in states] == sorted(exchanges for exchanges, _ in states)
    assert {exchanges for exchanges, _ in states} == set(range(16))
    assert states[-1] == (15, "quit")
    # Each message comes once, with its outcome, and stays.
    assert all(before == after[: len(before)] for before, after in pairwise(messages))
    assert messages[-1] == [("0", 250), ("1", 250), ("2", 250)]


def test_the_dialogue_of_an_open_session_is_told_without_what_is_only_wrong_at_its_end(
    tmp_path: Path,
) -> None:
    packets = list(connection(SENDING))
    said = []
    for index in _grown(tmp_path, packets):
        (row,) = _sessions(index)
        listed, beside, secrets = index.details(row.id)
        goes_on = row.state == "open"
        place = Place(index.parts(), "a.pcap", 1, 25, listed, beside, secrets, goes_on)
        session = Details(place).session()
        assert not {"missing-reply", "data-unfinished"} & {each.rule for each in session.findings}
        said.append(len(session.exchanges))
        assert len(session.exchanges) >= row.exchanges
    assert said == sorted(said)


@pytest.mark.parametrize(
    "path",
    [each for each in bundled_captures() if each.suffix not in (".gz", ".zst")],
    ids=lambda path: path.name,
)
def test_what_is_there_in_the_end_is_what_the_whole_capture_gives(
    path: Path, tmp_path: Path
) -> None:
    target = tmp_path / "index.sqlite"
    create(target, "key")
    with closing(LiveWriter(target, str(path), SMTP_PORTS, NO_POLICY)) as writer:
        writer.stop()
        writer.fill()
    with closing(Index(target, "key", [path.name])) as index:
        rows = _sessions(index)
        wanted = list(read_sessions(path, trails=True))
        assert [row.id for row in rows] == [session.number for session in wanted]
        for row, session in zip(rows, wanted, strict=True):
            entry = entry_of(session)
            assert (row.number, row.start, row.duration) == entry.columns[:3]
            assert (row.state, row.exchanges) == (session.state, len(session.exchanges))
            assert index.details(row.id)[0] == session.packets
        assert not index.complete
        assert index.progress().done
        assert index.progress().open == 0


def test_sessions_that_never_say_anything_have_rows(tmp_path: Path) -> None:
    packets = [
        packet for number in range(20) for packet in connection([], client=10_000 + number, end="")
    ]
    for index in _grown(tmp_path, packets):
        rows = _sessions(index)
    assert len(rows) == 20
    assert {row.state for row in rows} == {"open"}
