"""Opens the records of one TLS connection with the secrets of a key log: ciphertext to plaintext.

In: the octets of both directions, in order and in any chunking. Out: `Data` events of what the
application said, whose offsets go on where the clear text before TLS ended. What can't be opened
ends its direction, and `problems` say why. RFC 8446 §4.4.4, §4.6.3, §5.1; RFC 5246 §6.2, §7.1.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.tls import MAX_RECORD, TlsInfo
from smtpscope.capture.tls_ciphers import HANDSHAKE, Content, Opener
from smtpscope.capture.tls_hello import Fields, chosen_protocol, client_hello, server_hello
from smtpscope.capture.tls_keys import Keys
from smtpscope.stream import Data, Direction, Gap, Mark

MAX_WAITING = 1 << 16
"""Octets of records that wait for the other side's hello, or for their secrets."""
MAX_HOPELESS = 1 << 14
"""The same as long as there are no secrets at all."""
MAX_MESSAGES = 1 << 17
"""Octets of handshake messages that are put together."""
MAX_LOST = 16
"""Records that may be missing before the next one that can be opened."""

_CHANGE, _HANDSHAKE, _DATA = 20, 22, 23
_CLIENT_HELLO, _SERVER_HELLO, _EXTENSIONS, _CERTIFICATE = 1, 2, 8, 11
_FINISHED, _KEY_UPDATE = 20, 24
_HEADER = 5


class _Record(NamedTuple):
    header: bytes
    payload: bytes
    mark: Mark


class TlsOpener:
    """What is found beside plaintext goes into `info`.

    `problems` say by direction why nothing (more) is opened, `ends` where its plaintext ends.
    """

    def __init__(self, log: KeyLog, info: TlsInfo) -> None:
        self.keys = Keys(log)
        self.problems: list[str | None] = [None, None]
        self._info = info
        self._log = log
        self._sides = (_Side(Direction.CLIENT), _Side(Direction.SERVER))

    @property
    def ends(self) -> tuple[int, int]:
        client, server = self._sides
        return max(client.offset, 0), max(server.offset, 0)

    def feed(self, data: Data) -> list[Data | Gap]:
        """Take the next octets of one direction; what they, and what waited for them, say."""
        side = self._sides[data.direction]
        side.begin(data.offset)
        if self.problems[data.direction] is None:
            self._cut(side, data)
        found = self._go_on()
        # Only what waits for keys is counted: much may come at once.
        if side.octets_waiting > (MAX_WAITING if self._log.hopeful else MAX_HOPELESS):
            self._give_up(side.direction, "the key log has no secrets for it")
            side.drop()
        return found

    def gap(self, gap: Gap) -> list[Data | Gap]:
        """Octets are missing. Within a record they cost that record, elsewhere the direction."""
        side = self._sides[gap.direction]
        side.begin(gap.offset)
        found = self._go_on()
        missing = side.wanted - len(side.buffer)
        if self.problems[gap.direction] is None:
            if len(side.buffer) >= _HEADER and gap.length <= missing and not side.waiting:
                side.lost = missing - gap.length
                length = max(side.wanted - _HEADER - side.around, 0)
                found.append(Gap(gap.direction, side.offset, length, gap.time, gap.packet, "lost"))
                side.offset += length
                side.sequence += 1
                if side.told is not None:
                    side.told += 1
                side.buffer.clear()
                side.wanted = _HEADER
            else:
                self._give_up(gap.direction, "octets are missing")
        return found

    def _go_on(self) -> list[Data | Gap]:
        """Open what can be opened now, of both sides in turn: hellos are asked for by the other."""
        found: list[Data | Gap] = []
        moved = True
        while moved:
            moved = False
            for side in self._sides:
                while side.waiting and self._open(side, side.waiting[0], found):
                    record = side.waiting.popleft()
                    side.octets_waiting -= _HEADER + len(record.payload)
                    moved = True
                if self.problems[side.direction] is not None:
                    side.drop()
        return found

    def _cut(self, side: _Side, data: Data) -> None:
        """Cut octets into records."""
        octets, at = data.data, 0
        if side.lost:
            at = min(side.lost, len(octets))
            side.lost -= at
        buffer = side.buffer
        while at < len(octets):
            taken = min(side.wanted - len(buffer), len(octets) - at)
            buffer += octets[at : at + taken]
            at += taken
            if len(buffer) < side.wanted:
                return
            if side.wanted == _HEADER:
                length = int.from_bytes(buffer[3:5], "big")
                if length > MAX_RECORD or buffer[0] not in range(20, 25) or buffer[1] != 3:
                    self._give_up(side.direction, "what follows is no record of TLS")
                    return
                side.wanted = _HEADER + length
                if length:
                    continue
            mark = data.mark_at(data.offset + at - 1)
            side.waiting.append(_Record(bytes(buffer[:_HEADER]), bytes(buffer[_HEADER:]), mark))
            side.octets_waiting += len(buffer)
            buffer.clear()
            side.wanted = _HEADER

    def _open(self, side: _Side, record: _Record, found: list[Data | Gap]) -> bool:
        """Deal with a record; False where it has to wait."""
        if self.problems[side.direction] is not None:
            return False
        kind = record.header[0]
        if not side.sealed and kind != _DATA:
            self._take(side, Content(kind, record.payload), record.mark, found)
            return True
        if kind == _CHANGE and self.keys.inside:
            # For middleboxes (RFC 8446 appendix D.4): it is never sealed.
            return True
        if side.opener is None:
            self._log.refresh()
            side.opener = self.keys.opener(side.direction, side.stage)
            if side.opener is None:
                if self.keys.problem is not None:
                    self._give_up(side.direction, self.keys.problem)
                return False
            side.stage = side.opener.stage
            side.around = side.opener.around
        content = self._opened(side, side.opener, record)
        if content is None:
            self._give_up(side.direction, "a record can't be opened")
            return False
        self._info.decrypted = True
        self._take(side, content, record.mark, found)
        return True

    def _opened(self, side: _Side, opener: Opener, record: _Record) -> Content | None:
        header, payload, _ = record
        first = side.sequence
        told = opener.number(payload)
        # A sender may count from anywhere, but then by one.
        if told is not None and side.told is not None and told > side.told:
            first = side.sequence + told - side.told - 1
        for sequence in range(first, first + MAX_LOST):
            content = opener.open(header, payload, sequence)
            if content is not None:
                side.sequence = sequence + 1
                side.told = told
                opener.follow(payload)
                return content
        return None

    def _take(self, side: _Side, content: Content, mark: Mark, found: list[Data | Gap]) -> None:
        kind, octets = content
        if kind == _DATA:
            if octets:
                own = Mark(side.offset, mark.time, mark.packet)
                found.append(Data(side.direction, side.offset, octets, (own,)))
                side.offset += len(octets)
        elif kind == _HANDSHAKE:
            self._take_handshake(side, octets)
        elif kind == _CHANGE and self.keys.agreed and not self.keys.inside:
            side.seal(HANDSHAKE + 1)

    def _take_handshake(self, side: _Side, octets: bytes) -> None:
        messages = side.messages
        messages += octets
        while len(messages) >= 4:
            end = 4 + int.from_bytes(messages[1:4], "big")
            if end > MAX_MESSAGES:
                messages.clear()
                return
            if len(messages) < end:
                return
            kind, body = messages[0], bytes(messages[4:end])
            del messages[:end]
            self._take_message(side, kind, body)

    def _take_message(self, side: _Side, kind: int, body: bytes) -> None:
        keys = self.keys
        if kind == _CLIENT_HELLO and side.direction is Direction.CLIENT:
            hello = client_hello(body)
            if hello is not None:
                keys.client(hello.random)
        elif kind == _SERVER_HELLO and side.direction is Direction.SERVER:
            chosen = server_hello(body)
            if chosen is not None:
                keys.server(chosen)
                if keys.inside and not chosen.retry:
                    for each in self._sides:
                        each.seal(HANDSHAKE)
        elif kind in (_FINISHED, _KEY_UPDATE) and side.opener is not None:
            following = keys.following(side.direction, side.opener)
            if following is not None:
                side.seal(following.stage)
                side.opener = following
        elif side.direction is Direction.SERVER and keys.inside:
            self._take_hidden(kind, body)

    def _take_hidden(self, kind: int, body: bytes) -> None:
        """What up to TLS 1.2 stands in clear."""
        info = self._info
        if kind == _EXTENSIONS:
            info.alpn = chosen_protocol(dict(Fields(body).extensions())) or info.alpn
        elif kind == _CERTIFICATE:
            fields = Fields(body)
            fields.vector(1)
            info.take_certificates(fields.vector(3))

    def _give_up(self, direction: Direction, problem: str) -> None:
        self.problems[direction] = self.problems[direction] or problem


class _Side:
    """One direction: the record at hand, those that wait, and the keys that are in force.

    `lost` octets of a record that has a hole are still to come.
    """

    __slots__ = (
        "around",
        "buffer",
        "direction",
        "lost",
        "messages",
        "octets_waiting",
        "offset",
        "opener",
        "sealed",
        "sequence",
        "stage",
        "told",
        "waiting",
        "wanted",
    )

    def __init__(self, direction: Direction) -> None:
        self.direction = direction
        self.offset = -1
        self.buffer = bytearray()
        self.wanted = _HEADER
        self.lost = 0
        self.waiting: deque[_Record] = deque()
        self.octets_waiting = 0
        self.messages = bytearray()
        self.sealed = False
        self.stage = HANDSHAKE
        self.opener: Opener | None = None
        self.sequence = 0
        self.told: int | None = None
        self.around = 0

    def begin(self, offset: int) -> None:
        """The plaintext begins where the ciphertext does."""
        if self.offset < 0:
            self.offset = offset

    def drop(self) -> None:
        """Nothing that waits will be opened."""
        self.waiting.clear()
        self.octets_waiting = 0

    def seal(self, stage: int) -> None:
        """From the next record on other keys are in force."""
        self.sealed = True
        self.stage = stage
        self.opener = None
        self.sequence = 0
        self.told = None
        self.messages.clear()
