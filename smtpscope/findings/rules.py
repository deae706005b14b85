"""The rules behind the decoder's defects: id → group, severity, summary, source.

Ids are stable: scripts and reports depend on them.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """`severity` is chat, note, warning or error; `spec` is where the rule stands."""

    group: str
    severity: str
    summary: str
    spec: str


RULES: dict[str, Rule] = {
    # -- the capture itself
    "gap": Rule("capture", "warning", "octets are missing from the capture", "RFC 9293 §3.4"),
    "snaplen-cut": Rule(
        "capture", "warning", "the capture's snap length cut octets off", "pcap(3) snaplen"
    ),
    "reassembly-bound": Rule(
        "capture", "warning", "too much came out of order; octets were dropped", "RFC 9293 §3.4"
    ),
    "overlap-disagrees": Rule(
        "capture", "warning", "retransmitted octets differ from the first ones", "RFC 9293 §3.10.7"
    ),
    "one-direction": Rule(
        "capture", "note", "nothing that the other side said was captured", "RFC 5321 §2.1"
    ),
    "midstream": Rule(
        "capture", "note", "the capture begins in the middle of the connection", "RFC 9293 §3.5"
    ),
    "session-bound": Rule(
        "capture", "warning", "the session is too long to be kept whole", "RFC 5321 §4.5.3"
    ),
    # -- the order of things
    "unsolicited-reply": Rule(
        "sequence", "warning", "a reply that nothing asked for", "RFC 5321 §4.2"
    ),
    "missing-reply": Rule("sequence", "note", "no reply was seen", "RFC 5321 §4.2"),
    "reply-lost": Rule(
        "sequence", "note", "the reply is missing from the capture", "RFC 5321 §4.2"
    ),
    "client-speaks-first": Rule(
        "sequence", "warning", "the client did not wait for the greeting", "RFC 5321 §3.1"
    ),
    # -- lines
    "bare-lf": Rule("syntax", "warning", "a line ends in LF without CR", "RFC 5321 §2.3.8"),
    "bare-cr": Rule("syntax", "warning", "a CR that ends no line", "RFC 5321 §2.3.8"),
    "nul": Rule("syntax", "warning", "a NUL octet in a command", "RFC 5321 §4.1.1.4"),
    "eight-bit": Rule("syntax", "warning", "an 8-bit octet in a command", "RFC 5321 §2.4"),
    "line-unfinished": Rule("syntax", "note", "the last line has no end", "RFC 5321 §2.3.8"),
    "unreadable": Rule("syntax", "warning", "octets that are no command", "RFC 5321 §4.1"),
    "unknown-command": Rule("syntax", "note", "no known command", "RFC 5321 §4.1"),
    # -- paths
    "path-syntax": Rule("syntax", "warning", "the path is malformed", "RFC 5321 §4.1.2"),
    "path-without-brackets": Rule(
        "syntax", "warning", "the path has no angle brackets", "RFC 5321 §4.1.2"
    ),
    "path-without-domain": Rule("syntax", "note", "the path has no domain", "RFC 5321 §4.1.2"),
    "path-too-long": Rule(
        "syntax", "warning", "the path is longer than 256 octets", "RFC 5321 §4.5.3.1.3"
    ),
    "local-part-too-long": Rule(
        "syntax", "warning", "the local part is longer than 64 octets", "RFC 5321 §4.5.3.1.1"
    ),
    "domain-too-long": Rule(
        "syntax", "warning", "the domain is longer than 255 octets", "RFC 5321 §4.5.3.1.2"
    ),
    "domain-syntax": Rule("syntax", "note", "the domain is malformed", "RFC 5321 §4.1.2"),
    "address-literal-syntax": Rule(
        "syntax", "warning", "the address literal is malformed", "RFC 5321 §4.1.3"
    ),
    "source-route": Rule(
        "syntax", "note", "a source route, which servers should ignore", "RFC 5321 appendix C"
    ),
    "eight-bit-address": Rule(
        "syntax", "warning", "a non-ASCII address without SMTPUTF8", "RFC 6531 §3.3"
    ),
    "space-after-colon": Rule(
        "syntax", "note", "a space between the colon and the path", "RFC 5321 §3.3"
    ),
    "odd-space": Rule("syntax", "note", "more white space than the grammar has", "RFC 5321 §4.1.2"),
    "parameter-syntax": Rule("syntax", "warning", "a parameter is malformed", "RFC 5321 §4.1.2"),
    "parameter-twice": Rule(
        "syntax", "warning", "a parameter is given twice", "RFC 5321 §4.1.1.11"
    ),
    # -- HELO and EHLO
    "hello-empty": Rule(
        "syntax", "warning", "the client does not say who it is", "RFC 5321 §4.1.1.1"
    ),
    "hello-bare-ip": Rule("syntax", "warning", "an IP address without brackets", "RFC 5321 §4.1.3"),
    "hello-underscore": Rule("syntax", "note", "an underscore in a host name", "RFC 5321 §2.3.5"),
    "hello-no-dot": Rule("syntax", "note", "the name is not fully qualified", "RFC 5321 §2.3.5"),
    "hello-syntax": Rule("syntax", "warning", "malformed host name", "RFC 5321 §4.1.2"),
    # -- message data
    "odd-end-of-data": Rule(
        "security",
        "warning",
        "some servers would take this for the end of the message",
        "RFC 5321 §4.1.1.4",
    ),
    "end-of-data-unseen": Rule(
        "sequence", "warning", "the message has no CRLF.CRLF in the capture", "RFC 5321 §4.1.1.4"
    ),
    "data-unfinished": Rule(
        "sequence", "warning", "the message was not finished", "RFC 5321 §4.1.1.4"
    ),
    "chunk-unfinished": Rule("sequence", "warning", "the chunk was not finished", "RFC 3030 §2"),
    "bdat-syntax": Rule("syntax", "warning", "the chunk size is malformed", "RFC 3030 §2"),
    # -- replies
    "reply-syntax": Rule("syntax", "warning", "no well-formed reply", "RFC 5321 §4.2"),
    "reply-codes-differ": Rule(
        "syntax", "warning", "the lines of one reply have different codes", "RFC 5321 §4.2.1"
    ),
    "reply-too-long": Rule("syntax", "warning", "a reply line without end", "RFC 5321 §4.5.3.1.5"),
    "reply-unfinished": Rule("capture", "note", "the reply breaks off", "RFC 5321 §4.2"),
    # -- AUTH and TLS
    "auth-base64": Rule("syntax", "warning", "no valid base64 in an AUTH exchange", "RFC 4954 §4"),
    "auth-response-syntax": Rule(
        "syntax", "warning", "not the form of a response of this mechanism", "RFC 4954 §4"
    ),
    "auth-empty-response": Rule(
        "syntax", "note", "an empty response where the mechanism has none", "RFC 4954 §4"
    ),
    "auth-initial-response": Rule(
        "syntax", "warning", "an initial response, though the server begins", "RFC 4954 §4"
    ),
    "auth-line-too-long": Rule(
        "syntax", "warning", "an AUTH line longer than 12,288 octets", "RFC 4954 §4"
    ),
    "plaintext-behind-starttls": Rule(
        "security", "warning", "plain text where TLS must begin", "RFC 3207 §4"
    ),
}
