"""Rules about the capture itself: what it lacks, and where it contradicts itself.

The decoder's capture stages tell most of these while they read; the checks here are about the
rest. RFC 9293.
"""

from __future__ import annotations

from smtpscope.findings.rule import Checks, Rule

RULES: dict[str, Rule] = {
    "gap": Rule("warning", "octets are missing from the capture", "RFC 9293 §3.4", ""),
    "snaplen-cut": Rule(
        "warning", "the capture's snap length cut octets off", "pcap(3) snaplen", ""
    ),
    "reassembly-bound": Rule(
        "warning", "too much came out of order; octets were dropped", "RFC 9293 §3.4", ""
    ),
    "overlap-disagrees": Rule(
        "warning", "retransmitted octets differ from the first ones", "RFC 9293 §3.10.7", ""
    ),
    "one-direction": Rule(
        "note", "nothing that the other side said was captured", "RFC 5321 §2.1", ""
    ),
    "midstream": Rule(
        "note", "the capture begins in the middle of the connection", "RFC 9293 §3.5", ""
    ),
    "session-bound": Rule(
        "warning", "the session is too long to be kept whole", "RFC 5321 §4.5.3", ""
    ),
    "reply-unfinished": Rule("note", "the reply breaks off", "RFC 5321 §4.2", ""),
}

CHECKS = Checks()
