"""Faults: when a server is to misbehave, and how; and the replies that addresses ask for.

`FaultPlan` tells which of the configured faults fire at a command; `sabotage` carries them out.
Whether one fires depends on what came, on counters and on the seed, never on a clock.
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from smtpscope.smtp.serving.answers import Answer

ACTS: dict[str, frozenset[str]] = {
    "reply": frozenset({"code", "enhanced", "text"}),
    "delay": frozenset({"seconds"}),
    "throttle": frozenset({"rate"}),
    "close": frozenset(),
    "reset": frozenset(),
    "partial": frozenset({"octets", "then"}),
    "garbage": frozenset({"garbage", "octets"}),
    "stop-reading": frozenset(),
    "refuse-tls": frozenset(),
    "bad-certificate": frozenset(),
    "drop": frozenset(),
}
"""What a fault may do, and which fields say more of it."""

NEEDED: dict[str, str] = {"reply": "code", "delay": "seconds", "throttle": "rate"}
"""The field without which an act means nothing."""

SCOPES = ("session", "server")
ENDINGS = ("close", "reset", "stall")

ANY = "*"
GREETING, END_OF_DATA, AUTH_LINE, TLS = "(greeting)", ".", "(auth)", "(tls)"

_NO_COMMANDS = frozenset({GREETING, END_OF_DATA, AUTH_LINE, TLS})
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}\Z")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ValueError, beginning with the field's name, where it makes no sense.

    `on`: a verb, "*" (each command), "(greeting)", "." (the end of a message by DATA), "(auth)" (a
    line of an AUTH exchange) or "(tls)" (a handshake). `argument`: a regular expression, looked
    for in the argument; for "." in "FROM:<…> TO:<…> TO:<…>". `client`: an address or a network.
    `nth`: only the n-th time that all of this fits, 0 for each time; `scope` says whether session
    or server counts. Then it fires with this `probability`.

    `act`: reply (a `code` of 400 or more in place of the command, a lower one in place of its
    reply); delay (`seconds`); throttle (`rate` octets a second); close; reset; partial (`octets`
    of the reply, `then` close, reset or stall); garbage (these octets, or `octets` random ones, in
    place of the reply); stop-reading; refuse-tls; bad-certificate; drop (as close: at "." nothing
    is stored).
    """

    act: str
    on: str = ANY
    argument: str = ""
    client: str = ""
    nth: int = 0
    scope: str = "session"
    probability: float = 1.0
    code: int = 0
    enhanced: str = ""
    text: str = "Fault"
    seconds: float = 0.0
    rate: int = 0
    octets: int = 0
    then: str = "close"
    garbage: bytes = b""
    name: str = ""

    def __post_init__(self) -> None:
        for field, fits, wanted in (
            ("act", self.act in ACTS, f"one of {', '.join(ACTS)}"),
            ("scope", self.scope in SCOPES, "session or server"),
            ("then", self.then in ENDINGS, "close, reset or stall"),
            ("nth", self.nth >= 0, "0 or more"),
            ("probability", 0 <= self.probability <= 1, "from 0 to 1"),
            ("code", self.code == 0 or 200 <= self.code <= 599, "from 200 to 599"),
            ("enhanced", not self.enhanced or _ENHANCED.match(self.enhanced), "such as 5.1.1"),
            ("seconds", self.seconds >= 0, "0 or more"),
            ("rate", self.rate >= 0, "0 or more"),
            ("octets", 0 <= self.octets <= 1 << 20, "from 0 to 1048576"),
        ):
            if not fits:
                raise ValueError(f"{field}: must be {wanted}, not {getattr(self, field)!r}")
        needed = NEEDED.get(self.act)
        if needed and not getattr(self, needed):
            raise ValueError(f"{needed}: {self.act} needs it")
        try:
            re.compile(self.argument.encode())
        except re.error as error:
            raise ValueError(f"argument: no regular expression: {error}") from None
        if self.client:
            try:
                ipaddress.ip_network(self.client, strict=False)
            except ValueError:
                raise ValueError(
                    f"client: must be an address or network, not {self.client!r}"
                ) from None

    @property
    def answer(self) -> Answer:
        """The reply that it gives."""
        return Answer(self.code, self.enhanced, self.text)

    def title(self, verb: str) -> str:
        """What is told when it fires."""
        what = f"reply {self.code}" if self.act == "reply" else self.act
        return f"{self.name}: {what} on {verb}" if self.name else f"{what} on {verb}"


class FaultCounter:
    """How often each fault's conditions were met, in all sessions of one server."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}

    def count(self, fault: int) -> int:
        """One more time for fault number `fault`: which one it is, from 1."""
        number = self._met.get(fault, 0) + 1
        self._met[fault] = number
        return number


class _Ready(NamedTuple):
    number: int
    fault: Fault
    argument: re.Pattern[bytes] | None
    client: ipaddress.IPv4Network | ipaddress.IPv6Network | None


class FaultPlan:
    """The faults of one server, ready to be asked; `counter` counts for all its sessions."""

    def __init__(self, faults: Iterable[Fault], seed: int, counter: FaultCounter) -> None:
        self._seed = seed
        self._counter = counter
        self._on: dict[str, list[_Ready]] = {}
        for number, fault in enumerate(faults):
            pattern = re.compile(fault.argument.encode(), re.IGNORECASE | re.DOTALL)
            network = ipaddress.ip_network(fault.client, strict=False) if fault.client else None
            ready = _Ready(number, fault, pattern if fault.argument else None, network)
            # The pseudo-commands in brackets are written small.
            on = fault.on if fault.on in _NO_COMMANDS else fault.on.upper()
            self._on.setdefault(on, []).append(ready)

    def __bool__(self) -> bool:
        return bool(self._on)

    def fire(self, verb: str, argument: bytes, client: str, session: FaultCounter) -> list[Fault]:
        """The faults that fire at this command, in the order in which they were configured."""
        ready = self._on.get(verb, [])
        if ANY in self._on and verb not in _NO_COMMANDS:
            ready = sorted([*ready, *self._on[ANY]])
        return [each.fault for each in ready if self._fires(each, argument, client, session)]

    def random_octets(self, count: int) -> bytes:
        """Octets that are the same whenever the seed is."""
        return random.Random(f"{self._seed}/garbage").randbytes(count)

    def _fires(self, ready: _Ready, argument: bytes, client: str, session: FaultCounter) -> bool:
        number, fault, pattern, network = ready
        if pattern is not None and not pattern.search(argument):
            return False
        if network is not None and not _is_in(client, network):
            return False
        in_server = self._counter.count(number)
        in_session = session.count(number)
        if fault.nth and fault.nth != (in_server if fault.scope == "server" else in_session):
            return False
        if fault.probability >= 1:
            return True
        # The n-th draw is the same in each run, whatever the other faults and sessions do.
        draw = random.Random(f"{self._seed}/{number}/{in_server}").random()
        return draw < fault.probability


def _is_in(client: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address) in network


_CODED = re.compile(
    rb"(mail|rcpt|data|predata)\+([245][0-9]{2})(?:-([245]\.[0-9]{1,3}\.[0-9]{1,3}))?\Z",
    re.IGNORECASE,
)
_CODED_ON = {b"mail": "MAIL", b"rcpt": "RCPT", b"predata": "DATA", b"data": END_OF_DATA}
MAIL_ON, RCPT_ON, DATA_ON = "MAIL", "RCPT", "DATA"


def asked_by(local: bytes) -> tuple[str, Answer] | None:
    """The reply that a local part asks for, and on what: rcpt+550-5.1.1 gives RCPT and 550 5.1.1.

    mail+ is for MAIL, rcpt+ for RCPT, predata+ for DATA and data+ for the end of the message.
    """
    match = _CODED.match(local)
    if match is None:
        return None
    word, code, enhanced = match.groups()
    digits = enhanced.decode() if enhanced else f"{code[:1].decode()}.0.0"
    return _CODED_ON[word.lower()], Answer(int(code), digits, "As the address asked for")
