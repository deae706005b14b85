"""Rules about the capture itself: what it lacks, and where it contradicts itself.

The decoder's capture stages tell most of these while they read; the checks here are about the
rest. RFC 9293.
"""

from __future__ import annotations

from collections.abc import Iterable

from smtpscope.findings.rule import Checks, Rule
from smtpscope.findings.walk import State
from smtpscope.session import Session
from smtpscope.stream import Defect, Direction, Span

RULES: dict[str, Rule] = {
    "gap": Rule(
        "warning",
        "octets are missing from the capture",
        "RFC 9293 §3.4",
        "The peers had them: do not blame them for what is missing here. Capture again with a"
        " larger buffer (tcpdump -B) or closer to one of the hosts.",
    ),
    "snaplen-cut": Rule(
        "warning",
        "the capture's snap length cut octets off",
        "pcap(3) snaplen",
        "Capture again with whole packets (tcpdump -s 0).",
    ),
    "reassembly-bound": Rule(
        "warning",
        "too much came out of order; octets were dropped",
        "RFC 9293 §3.4",
        "Look at the packets themselves: a hole that was never filled, or segments sent to exhaust"
        " whoever reassembles them.",
    ),
    "overlap-disagrees": Rule(
        "warning",
        "retransmitted octets differ from the first ones",
        "RFC 9293 §3.10.7",
        "Somebody may inject segments, or a broken middlebox rewrites them: what is shown here is"
        " what came first, and the host may have read the other. Compare with a capture from the"
        " other end.",
    ),
    "one-direction": Rule(
        "note",
        "nothing that the other side said was captured",
        "RFC 5321 §2.1",
        "Capture where both directions pass: a mirror port set to both, or one of the two hosts,"
        " where routing is asymmetric.",
    ),
    "midstream": Rule(
        "note",
        "the capture begins in the middle of the connection",
        "RFC 9293 §3.5",
        "What was agreed before (EHLO, TLS, login) is not known. Begin the capture before the"
        " connection to see it.",
    ),
    "tls-not-opened": Rule(
        "note",
        "there are secrets for this TLS session, but not all of it could be opened",
        "RFC 8446 §5.2",
        "Octets may be missing from the capture, or secrets from the key log. What is shown is"
        " right as far as it goes.",
    ),
    "packet-comment": Rule(
        "note",
        "the capture has a comment on this packet",
        "draft-ietf-opsawg-pcapng §3.5",
        "It is the word of whoever recorded it: a person, or a recorder that tells what it did, as"
        " a server of ours that misbehaved because it was asked to.",
    ),
    "capture-ends-here": Rule(
        "note",
        "the capture ends in the middle of what the client sent",
        "RFC 9293 §3.6",
        "Nothing is wrong as far as this can be seen. Look at the next file of a capture that"
        " rolls, joined to this one (mergecap), or let the capture run on.",
    ),
    "session-bound": Rule(
        "warning",
        "the session is too long to be kept whole",
        "RFC 5321 §4.5.3",
        "Look at the capture in parts to see what was left out; no honest session is so long.",
    ),
    "reply-unfinished": Rule(
        "note",
        "the reply breaks off",
        "RFC 5321 §4.2",
        "See whether the capture or the connection ends there: the client may have had the rest"
        " only in the former case.",
    ),
    "retransmissions": Rule(
        "chat",
        "segments were sent again",
        "RFC 9293 §3.8.1",
        "A few are normal. Many mean loss on the way, which the network's administrator looks for;"
        " all of them mean that the capture has each packet twice.",
    ),
    "clock-backwards": Rule(
        "warning",
        "a later packet has an earlier time",
        "RFC 8633 §3",
        "Do not trust latencies here. Whoever captures lets NTP slew the clock rather than step"
        " it, and merges captures by time (mergecap).",
    ),
    "no-time": Rule(
        "note",
        "the capture has no times",
        "draft-ietf-opsawg-pcapng §4.4",
        "Latencies and delays can't be told. Capture with a tool that writes packets with times"
        " (Enhanced Packet Blocks).",
    ),
}


def _times(session: Session, state: State) -> Iterable[Defect]:
    if session.end:
        return ()
    return (Defect("no-time", Span(Direction.CLIENT, 0, 0)),)


CHECKS = Checks(session=(_times,))
