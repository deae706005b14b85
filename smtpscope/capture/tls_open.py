"""Opens the records of one TLS connection with the secrets of a key log: ciphertext to plaintext.

In: the octets of both directions, in order and in any chunking. Out: `Data` events of what the
application said, whose offsets go on where the clear text before TLS ended. Behind a hole the next
record that opens is looked for; what can't be opened otherwise ends its direction, and `problems`
say why. RFC 8446 §4.4.4, §4.6.3, §5.1; RFC 5246 §6.2, §7.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from smtpscope.capture.keylog import KeyLog
from smtpscope.capture.tls import MAX_RECORD, TlsInfo
from smtpscope.capture.tls_ciphers import FIRST_TRAFFIC, HANDSHAKE, Content, Opener
from smtpscope.capture.tls_hello import Fields, chosen_protocol, client_hello, server_hello
from smtpscope.capture.tls_keys import Keys
from smtpscope.capture.tls_search import HEADER, Candidate, Found, Record, Search, numbers
from smtpscope.capture.tls_side import Side
from smtpscope.stream import Data, Direction, Gap, Mark

MAX_WAITING = 1 << 16
"""Octets of records that wait for the other side's hello, or for their secrets."""
MAX_HOPELESS = 1 << 14
"""The same as long as there are no secrets at all."""
MAX_MESSAGES = 1 << 17
"""Octets of handshake messages that are put together."""
MAX_LOST = 16
"""Records that may be missing before the next one that can be opened, or behind a hole in one."""

_CHANGE, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_CLIENT_HELLO, _SERVER_HELLO, _EXTENSIONS, _CERTIFICATE = 1, 2, 8, 11
_FINISHED, _KEY_UPDATE = 20, 24


class TlsOpener:
    """What is found beside plaintext goes into `info`.

    `problems` say by direction why nothing (more) is opened, `ends` where its plaintext ends.
    """

    def __init__(self, log: KeyLog, info: TlsInfo) -> None:
        self.keys = Keys(log)
        self._info = info
        self._log = log
        self._sides = (Side(Direction.CLIENT), Side(Direction.SERVER))

    @property
    def problems(self) -> list[str | None]:
        return [
            side.problem or ("octets are missing" if side.search is not None else None)
            for side in self._sides
        ]

    @property
    def ends(self) -> tuple[int, int]:
        client, server = self._sides
        return max(client.offset, 0), max(server.offset, 0)

    def feed(self, data: Data) -> list[Data | Gap]:
        """Take the next octets of one direction; what they, and what waited for them, say."""
        side = self._sides[data.direction]
        side.begin(data.offset)
        if side.problem is None:
            self._cut(side, data)
        found = self._go_on()
        # Only what waits for keys is counted: much may come at once.
        if side.held > (MAX_WAITING if self._log.hopeful else MAX_HOPELESS):
            side.give_up("the key log has no secrets for it")
        return found

    def gap(self, gap: Gap) -> list[Data | Gap]:
        """Octets are missing. Within a record they cost that record; elsewhere it is not known
        where the next one begins."""
        side = self._sides[gap.direction]
        side.begin(gap.offset)
        found = self._go_on()
        if side.problem is not None:
            return found
        missing = side.wanted - len(side.buffer)
        # What waits was sent before; what waits for its keys may be of any kind.
        known = not side.waiting and (side.sealed or side.buffer[:1] != bytes((_DATA,)))
        if side.search is not None:
            side.search.hole()
        elif gap.length <= side.lost:
            side.lost -= gap.length
        elif known and len(side.buffer) >= HEADER and gap.length <= missing:
            side.lost = missing - gap.length
            if side.sealed and not (self.keys.inside and side.buffer[0] == _CHANGE):
                mark = Mark(gap.offset, gap.time, gap.packet)
                self._lose(side, side.buffer[0], side.wanted - HEADER, mark, found)
                if side.opener is not None:
                    side.opener.follow(b"")
            side.restart()
        else:
            begin = gap.offset - len(side.buffer)
            side.lost = 0
            side.restart()
            if known and not self.keys.agreed:
                # There is nothing to look for yet; records of hellos may begin right behind it.
                return found
            side.search = Search(begin, side.budget)
        return found

    def _go_on(self) -> list[Data | Gap]:
        """Open what can be opened now, of both sides in turn: hellos are asked for by the other."""
        found: list[Data | Gap] = []
        moved = True
        while moved:
            moved = False
            for side in self._sides:
                while self._step(side, found):
                    moved = True
        return found

    def _step(self, side: Side, found: list[Data | Gap]) -> bool:
        """Whether a record was dealt with."""
        if side.waiting:
            if not self._open(side, side.waiting[0], found):
                return False
            side.octets_waiting -= HEADER + len(side.waiting.popleft().payload)
            return True
        return side.search is not None and self._resume(side, side.search, found)

    def _cut(self, side: Side, data: Data) -> None:
        """Cut octets into records."""
        if side.search is not None:
            side.search.feed(data)
            return
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
            if side.wanted == HEADER:
                length = int.from_bytes(buffer[3:5], "big")
                if length > MAX_RECORD or buffer[0] not in range(20, 25) or buffer[1] != 3:
                    side.give_up("what follows is no record of TLS")
                    return
                side.wanted = HEADER + length
                if length:
                    continue
            mark = data.mark_at(data.offset + at - 1)
            side.waiting.append(Record(bytes(buffer[:HEADER]), bytes(buffer[HEADER:]), mark))
            side.octets_waiting += len(buffer)
            buffer.clear()
            side.wanted = HEADER

    def _open(self, side: Side, record: Record, found: list[Data | Gap]) -> bool:
        """Deal with a record; False where it has to wait."""
        kind = record.header[0]
        if side.sealed and kind == _CHANGE and self.keys.inside:
            # For middleboxes (RFC 8446 appendix D.4): it is never sealed.
            return True
        # What TLS 1.3 has sealed is all of one kind: an alert may come before (RFC 8446 §5.1).
        if kind != _DATA and (not side.sealed or self.keys.inside):
            self._take(side, Content(kind, record.payload), record.mark, found)
            return True
        opener = self._opener(side)
        if opener is None:
            return False
        content = self._opened(side, opener, record)
        if content is not None:
            self._take_opened(side, content, record, found)
        elif 0 < side.torn <= MAX_LOST:
            # It may need what stood in the hole (RFC 2246 §6.2.3.2).
            self._lose(side, kind, len(record.payload), record.mark, found)
            opener.follow(record.payload)
        else:
            side.give_up("a record can't be opened")
            return False
        return True

    def _opener(self, side: Side) -> Opener | None:
        """What opens the next record; None where its keys are missing."""
        if side.opener is None:
            self._log.refresh()
            side.opener = self.keys.opener(side.direction, side.stage)
            if side.opener is not None:
                side.stage = side.opener.stage
                side.around = side.opener.around
            elif self.keys.problem is not None:
                side.give_up(self.keys.problem)
        return side.opener

    def _candidates(self, side: Side, opener: Opener) -> Iterator[Candidate]:
        """Keys that the next record may have been sealed with, where some may be missing."""
        yield Candidate(opener, side.sequence, side.told)
        following = self.keys.following(side.direction, opener)
        if following is not None:
            yield Candidate(following, 0, None)

    def _opened(self, side: Side, opener: Opener, record: Record) -> Content | None:
        header, payload, _ = record
        for each, first, told in self._candidates(side, opener):
            for sequence in numbers(each.number(payload), told, first, MAX_LOST):
                content = each.open(header, payload, sequence)
                if content is not None:
                    side.use(each, sequence, payload)
                    return content
        return None

    def _resume(self, side: Side, search: Search, found: list[Data | Gap]) -> bool:
        """Look for the next record behind a hole; whether there is one."""
        opener = self._opener(side)
        if opener is None:
            return False
        hit = search.look(list(self._candidates(side, opener)))
        side.budget = search.budget
        if hit is None:
            if search.budget <= 0:
                side.give_up("octets are missing, and nothing that opens was found behind them")
            return False
        side.search = None
        length = self._spoken(side, hit)
        if length:
            mark = hit.record.mark
            found.append(Gap(side.direction, side.offset, length, mark.time, mark.packet, "lost"))
            side.offset += length
        side.use(hit.opener, hit.sequence, hit.record.payload)
        self._take_opened(side, hit.content, hit.record, found)
        self._cut(side, hit.rest)
        return True

    def _spoken(self, side: Side, hit: Found) -> int:
        """About how many octets were said in records that are missing before one that was found."""
        same = hit.opener is side.opener
        records = hit.sequence - side.sequence if same else hit.sequence
        # The first one behind a ChangeCipherSpec is Finished.
        records -= not side.sealed
        if records <= 0 or hit.opener.stage < FIRST_TRAFFIC:
            return 0
        return max(hit.missed - records * (HEADER + hit.opener.around), 1)

    def _lose(self, side: Side, kind: int, size: int, mark: Mark, found: list[Data | Gap]) -> None:
        """A sealed record of which `size` octets were to be the payload can't be opened."""
        length = max(size - side.around, 0)
        if length and kind == _DATA and side.stage >= FIRST_TRAFFIC:
            found.append(Gap(side.direction, side.offset, length, mark.time, mark.packet, "lost"))
            side.offset += length
        side.sequence += 1
        if side.told is not None:
            side.told += 1
        side.torn += 1

    def _take_opened(
        self, side: Side, content: Content, record: Record, found: list[Data | Gap]
    ) -> None:
        info = self._info
        info.decrypted = True
        side.spoke = side.spoke or content.kind == _DATA
        info.established = info.established or all(each.spoke for each in self._sides)
        if content.kind == _ALERT:
            info.take_alert(side.direction, content.octets, opened=True)
        self._take(side, content, record.mark, found)

    def _take(self, side: Side, content: Content, mark: Mark, found: list[Data | Gap]) -> None:
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

    def _take_handshake(self, side: Side, octets: bytes) -> None:
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

    def _take_message(self, side: Side, kind: int, body: bytes) -> None:
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
        elif kind in (_FINISHED, _KEY_UPDATE) and side.opener is not None and keys.inside:
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
