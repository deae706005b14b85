"""TLS that real endpoints have spoken is opened with their key log, however it arrives."""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.conversation import connection
from support.packets import pcap
from support.tls_ends import CASES, SUITES, Ends, Spoken, spoken

from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.parts import Part
from smtpscope.capture.pcap import open_capture
from smtpscope.capture.recording import RecordingWriter, Wire
from smtpscope.capture.tls import Alert, TlsInfo
from smtpscope.capture.tls_open import TlsOpener
from smtpscope.capture.tls_stage import TlsStage
from smtpscope.details import Details, Place
from smtpscope.export import jsonl
from smtpscope.parallel import read_rendered
from smtpscope.reading import read_sessions
from smtpscope.session import Session
from smtpscope.stream import Data, Direction, Gap, Mark


def opened(
    spoken: Spoken, sizes: Sequence[int] = (), log: bytes | None = None
) -> tuple[list[bytes], TlsOpener, TlsInfo]:
    """What is opened of it, cut into pieces of these sizes again and again."""
    key_log, info = KeyLog(), TlsInfo()
    key_log.add(spoken.key_log if log is None else log)
    opener = TlsOpener(key_log, info)
    plain = [b"", b""]
    offsets = [100, 200]
    bases = tuple(offsets)
    for number, (side, octets) in enumerate(spoken.turns):
        for piece in _pieces(octets, sizes):
            event = Data(side, offsets[side], piece, (Mark(offsets[side], number, number + 1),))
            offsets[side] += len(piece)
            for found in opener.feed(event):
                assert isinstance(found, Data)
                assert found.offset == bases[found.direction] + len(plain[found.direction])
                plain[found.direction] += found.data
    return plain, opener, info


def _pieces(octets: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    at = number = 0
    while at < len(octets):
        size = sizes[number % len(sizes)] if sizes else len(octets)
        yield octets[at : at + size]
        at += size
        number += 1


@pytest.mark.parametrize(("version", "suite"), CASES, ids=lambda case: str(case))
def test_every_suite_is_opened_in_every_chunking(
    version: ssl.TLSVersion, suite: str, tmp_path: Path
) -> None:
    said = spoken(tmp_path, version, suite)
    for sizes in ((), (1,), (5, 1, 700), (16_000,)):
        plain, opener, info = opened(said, sizes)
        assert plain == said.plain
        assert opener.problems == [None, None]
        assert info.decrypted
    assert opener.keys.used
    if version is ssl.TLSVersion.TLSv1_3:
        # Up to TLS 1.2 the observer sees it in clear.
        assert info.certificate is not None


@pytest.mark.parametrize("version", list(SUITES))
def test_much_that_comes_at_once_is_opened_whole(version: ssl.TLSVersion, tmp_path: Path) -> None:
    ends = Ends(tmp_path, version, SUITES[version][0])
    ends.say(Direction.CLIENT, bytes(300_000))
    for _ in range(14_000):
        ends.say(Direction.CLIENT, b"x")
    ends.say(Direction.SERVER, b"250 ok\r\n")
    said = Spoken(ends.turns, ends.log.read_bytes(), ends.plain)
    for sizes in ((), (70_000,)):
        plain, opener, _ = opened(said, sizes)
        assert plain == said.plain
        assert opener.problems == [None, None]


def test_a_server_that_asks_for_another_hello_is_followed(tmp_path: Path) -> None:
    ends = Ends(tmp_path, ssl.TLSVersion.TLSv1_3, "", curve="secp384r1")
    ends.say(Direction.SERVER, b"220 mx\r\n")
    ends.say(Direction.CLIENT, b"QUIT\r\n")
    # Two hellos of the client, and the server's answer to each.
    assert len(ends.turns) > 6
    said = Spoken(ends.turns, ends.log.read_bytes(), ends.plain)
    for sizes in ((), (1,)):
        plain, opener, _ = opened(said, sizes)
        assert plain == said.plain
        assert opener.problems == [None, None]


@pytest.mark.parametrize(
    ("version", "tickets"),
    [
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_2, False),
        (ssl.TLSVersion.TLSv1_3, True),
        (ssl.TLSVersion.TLSv1_3, False),
    ],
    ids=["1.2 by ticket", "1.2 by session id", "1.3 by ticket", "1.3 by stateful ticket"],
)
def test_a_session_that_goes_on_is_opened(
    version: ssl.TLSVersion, tickets: bool, tmp_path: Path
) -> None:
    # RFC 5077, RFC 5246 §7.3, RFC 8446 §2.2
    ends = Ends(tmp_path, version, "", tickets=tickets)
    ends.say(Direction.SERVER, b"220 mx\r\n")
    ends.meet(again=True)
    assert ends.resumed
    ends.say(Direction.SERVER, b"220 mx again\r\n")
    ends.say(Direction.CLIENT, b"QUIT\r\n")
    said = Spoken(ends.turns, ends.log.read_bytes(), ends.plain)
    for sizes in ((), (1,)):
        plain, opener, info = opened(said, sizes)
        assert plain == said.plain
        assert opener.problems == [None, None]
        assert info.decrypted


@pytest.mark.parametrize("version", list(SUITES))
def test_alerts_have_their_names_once_they_are_opened(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    ends = Ends(tmp_path, version, "")
    ends.say(Direction.SERVER, b"220 mx\r\n")
    ends.end(Direction.CLIENT)
    ends.end(Direction.SERVER)
    stages = TlsStage(KeyLog()), TlsStage(KeyLog([ends.log]))
    at = [0, 0]
    for side, octets in ends.turns:
        for stage in stages:
            stage.feed(Data(side, at[side], octets, (Mark(at[side], 0, 1),)))
        at[side] += len(octets)
    closed, known = [stage.observer.info.alerts for stage in stages if stage.observer]
    # In TLS 1.3 even that it is an alert is encrypted (RFC 8446 §5.2).
    sides = list(Direction) if version is ssl.TLSVersion.TLSv1_2 else []
    assert closed == [Alert(side, None, None) for side in sides]
    assert known == [Alert(side, "warning", "close_notify") for side in Direction]


def test_without_its_secrets_nothing_is_opened_and_little_is_kept(tmp_path: Path) -> None:
    said = spoken(tmp_path, ssl.TLSVersion.TLSv1_3, "")
    other = said.key_log.replace(b"0", b"1")
    for log in (b"", other, b"CLIENT_RANDOM 00 11\n\ngarbage\xff\n"):
        plain, opener, info = opened(said, log=log)
        assert plain == [b"", b""]
        assert not info.decrypted
        assert not opener.keys.used


def test_a_record_with_a_hole_is_lost_alone(tmp_path: Path) -> None:
    for version, suite in CASES:
        ends = Ends(tmp_path, version, suite)
        before = len(ends.turns)
        for number in range(3):
            ends.say(Direction.CLIENT, b"line %d\r\n" % number)
        log, info = KeyLog(), TlsInfo()
        log.add(ends.log.read_bytes())
        opener = TlsOpener(log, info)
        found: list[Data | Gap] = []
        at = 0
        for number, (side, octets) in enumerate(ends.turns):
            if number == before + 1:
                head, tail = octets[:7], octets[12:]
                found += opener.feed(Data(side, at, head, (Mark(at, 0, 1),)))
                found += opener.gap(Gap(side, at + 7, 5, 0, 1, "lost"))
                found += opener.feed(Data(side, at + 12, tail, (Mark(at + 12, 0, 1),)))
            else:
                found += opener.feed(Data(side, at, octets, (Mark(at, 0, 1),)))
            at += len(octets)
        said = [each.data for each in found if isinstance(each, Data)]
        assert said == [b"line 0\r\n", b"line 2\r\n"], suite
        assert [type(each) for each in found] == [Data, Gap, Data]


@pytest.mark.parametrize("version", list(SUITES))
def test_damage_anywhere_raises_nothing(version: ssl.TLSVersion, tmp_path: Path) -> None:
    said = spoken(tmp_path, version, SUITES[version][0])
    chance = random.Random(7)
    for _ in range(300):
        turns = [(side, bytearray(octets)) for side, octets in said.turns]
        for _ in range(chance.randrange(1, 4)):
            _, octets = chance.choice(turns)
            octets[chance.randrange(len(octets))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.3:
            turns.pop(chance.randrange(len(turns)))
        damaged = said._replace(turns=[(side, bytes(octets)) for side, octets in turns])
        plain, _, _ = opened(damaged, (chance.choice((1, 50, 9_999)),))
        for side in Direction:
            # What is shown is what was said.
            assert len(plain[side]) <= len(said.plain[side])
            if version is ssl.TLSVersion.TLSv1_3:
                assert said.plain[side].startswith(plain[side][:1])


# -- in a capture ----------------------------------------------------------------------------------

DIALOGUE = (
    ("S", b"220 mx.example ESMTP\r\n"),
    ("C", b"EHLO client.example\r\n"),
    ("S", b"250-mx.example\r\n250 AUTH PLAIN\r\n"),
    ("C", b"AUTH PLAIN AGFubgBoaWRkZW4=\r\n"),
    ("S", b"235 ok\r\n"),
    ("C", b"MAIL FROM:<a@example.org>\r\n"),
    ("S", b"250 ok\r\n"),
    ("C", b"RCPT TO:<b@example.net>\r\n"),
    ("S", b"250 ok\r\n"),
    ("C", b"DATA\r\n"),
    ("S", b"354 go\r\n"),
    ("C", b"Subject: hidden\r\n\r\n" + 500 * b"a line of text\r\n" + b".\r\n"),
    ("S", b"250 2.0.0 queued\r\n"),
    ("C", b"QUIT\r\n"),
    ("S", b"221 bye\r\n"),
)
UPGRADE = (
    ("S", b"220 mx.example ESMTP\r\n"),
    ("C", b"EHLO client.example\r\n"),
    ("S", b"250-mx.example\r\n250 STARTTLS\r\n"),
    ("C", b"STARTTLS\r\n"),
    ("S", b"220 go\r\n"),
)


def _captured(folder: Path, *, upgrade: bool) -> tuple[Path, Path]:
    """A capture of the dialogue under TLS, and its key log."""
    ends = Ends(folder, ssl.TLSVersion.TLSv1_3, "")
    for side, octets in DIALOGUE[1:] if upgrade else DIALOGUE:
        ends.say(Direction.CLIENT if side == "C" else Direction.SERVER, octets)
    turns = [("C" if side is Direction.CLIENT else "S", octets) for side, octets in ends.turns]
    packets = connection([*(UPGRADE if upgrade else ()), *turns], server=25 if upgrade else 465)
    path = folder / "a.pcap"
    path.write_bytes(pcap(packets))
    return path, ends.log


def _checked(session: Session, *, upgrade: bool) -> None:
    verbs = [each.command.verb for each in session.exchanges if each.command is not None]
    head = ["EHLO", "STARTTLS"] if upgrade else []
    assert verbs == [*head, "EHLO", "AUTH", "MAIL", "RCPT", "DATA", ".", "QUIT"]
    assert session.state == "quit"
    assert session.messages[0].subject == "hidden"
    assert session.tls is not None
    assert session.tls.decrypted
    assert not {"auth-in-cleartext", "missing-reply"} & {each.rule for each in session.findings}


@pytest.mark.parametrize("upgrade", [False, True])
def test_the_dialogue_under_tls_is_read_like_any_other(upgrade: bool, tmp_path: Path) -> None:
    path, log = _captured(tmp_path, upgrade=upgrade)
    (hidden,) = read_sessions(path)
    assert not hidden.tls or not hidden.tls.decrypted
    assert not hidden.messages
    (session,) = read_sessions(path, key_logs=[str(log)], trails=True)
    _checked(session, upgrade=upgrade)
    assert "hidden" not in jsonl.dumps(session).replace('"hidden"', "")
    # One session again from its packets, with the secrets that the index keeps.
    place = Place(
        [Part(0, str(path))], "a.pcap", 1, session.server.port, session.packets, "", session.secrets
    )
    details = Details(place)
    again = details.session()
    _checked(again, upgrade=upgrade)
    command = again.exchanges[-1].command
    assert command is not None
    assert b"".join(piece.octets for piece in details.octets(command.span)) == b"QUIT\r\n"
    (piece,) = details.octets(command.span)
    assert piece.packet in details.packets
    # In several processes.
    rendered = read_rendered(path, jsonl.dumps, 2, key_logs=[str(log)], trails=True)
    assert [each.what for each in rendered] == [jsonl.dumps(session)]


def test_secrets_in_the_capture_itself_are_used(tmp_path: Path) -> None:
    path, log = _captured(tmp_path, upgrade=True)
    recording = tmp_path / "a.pcapng"
    with (
        open_capture(path) as reader,
        RecordingWriter(
            recording,
            [Wire("x", reader.interfaces[0].linktype)] if reader.interfaces else [Wire("x")],
        ) as writer,
    ):
        writer.secrets(log.read_bytes())
        for batch in reader:
            for row, at in enumerate(batch.offset.tolist()):
                octets = batch.buffer[at : at + int(batch.captured[row])]
                writer.packet(0, int(batch.time[row]), octets)
    (session,) = read_sessions(recording)
    _checked(session, upgrade=True)


def test_what_could_be_opened_and_was_not_is_told(tmp_path: Path) -> None:
    path, log = _captured(tmp_path, upgrade=True)
    octets = bytearray(path.read_bytes())
    # The last record of all, which says goodbye.
    octets[octets.rindex(b"\x17\x03\x03") + 8] ^= 1
    path.write_bytes(octets)
    (session,) = read_sessions(path, key_logs=[str(log)])
    (told,) = [each for each in session.findings if each.rule == "tls-not-opened"]
    assert "a record can't be opened" in told.summary
    assert len(session.exchanges) > 5
