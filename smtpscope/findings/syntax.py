"""Rules about the form of commands, replies and message lines.

The grammar tells most of these while it reads; the checks here need to know what the server has
offered. RFC 5321 §2.3.8, §4.1, §4.2, §4.5.3.
"""

from __future__ import annotations

from smtpscope.findings.rule import Checks, Rule

RULES: dict[str, Rule] = {
    "bare-lf": Rule("warning", "a line ends in LF without CR", "RFC 5321 §2.3.8", ""),
    "bare-cr": Rule("warning", "a CR that ends no line", "RFC 5321 §2.3.8", ""),
    "nul": Rule("warning", "a NUL octet in a command", "RFC 5321 §4.1.1.4", ""),
    "eight-bit": Rule("warning", "an 8-bit octet in a command", "RFC 5321 §2.4", ""),
    "line-unfinished": Rule("note", "the last line has no end", "RFC 5321 §2.3.8", ""),
    "unreadable": Rule("warning", "octets that are no command", "RFC 5321 §4.1", ""),
    "unknown-command": Rule("note", "no known command", "RFC 5321 §4.1", ""),
    "path-syntax": Rule("warning", "the path is malformed", "RFC 5321 §4.1.2", ""),
    "path-without-brackets": Rule(
        "warning", "the path has no angle brackets", "RFC 5321 §4.1.2", ""
    ),
    "path-without-domain": Rule("note", "the path has no domain", "RFC 5321 §4.1.2", ""),
    "path-too-long": Rule(
        "warning", "the path is longer than 256 octets", "RFC 5321 §4.5.3.1.3", ""
    ),
    "local-part-too-long": Rule(
        "warning", "the local part is longer than 64 octets", "RFC 5321 §4.5.3.1.1", ""
    ),
    "domain-too-long": Rule(
        "warning", "the domain is longer than 255 octets", "RFC 5321 §4.5.3.1.2", ""
    ),
    "domain-syntax": Rule("note", "the domain is malformed", "RFC 5321 §4.1.2", ""),
    "address-literal-syntax": Rule(
        "warning", "the address literal is malformed", "RFC 5321 §4.1.3", ""
    ),
    "source-route": Rule(
        "note", "a source route, which servers should ignore", "RFC 5321 appendix C", ""
    ),
    "eight-bit-address": Rule(
        "warning", "a non-ASCII address without SMTPUTF8", "RFC 6531 §3.3", ""
    ),
    "space-after-colon": Rule(
        "note", "a space between the colon and the path", "RFC 5321 §3.3", ""
    ),
    "odd-space": Rule("note", "more white space than the grammar has", "RFC 5321 §4.1.2", ""),
    "parameter-syntax": Rule("warning", "a parameter is malformed", "RFC 5321 §4.1.2", ""),
    "parameter-twice": Rule("warning", "a parameter is given twice", "RFC 5321 §4.1.1.11", ""),
    "hello-empty": Rule("warning", "the client does not say who it is", "RFC 5321 §4.1.1.1", ""),
    "hello-bare-ip": Rule("warning", "an IP address without brackets", "RFC 5321 §4.1.3", ""),
    "hello-underscore": Rule("note", "an underscore in a host name", "RFC 5321 §2.3.5", ""),
    "hello-no-dot": Rule("note", "the name is not fully qualified", "RFC 5321 §2.3.5", ""),
    "hello-syntax": Rule("warning", "malformed host name", "RFC 5321 §4.1.2", ""),
    "bdat-syntax": Rule("warning", "the chunk size is malformed", "RFC 3030 §2", ""),
    "reply-syntax": Rule("warning", "no well-formed reply", "RFC 5321 §4.2", ""),
    "reply-codes-differ": Rule(
        "warning", "the lines of one reply have different codes", "RFC 5321 §4.2.1", ""
    ),
    "reply-too-long": Rule("warning", "a reply line without end", "RFC 5321 §4.5.3.1.5", ""),
    "auth-base64": Rule("warning", "no valid base64 in an AUTH exchange", "RFC 4954 §4", ""),
    "auth-response-syntax": Rule(
        "warning", "not the form of a response of this mechanism", "RFC 4954 §4", ""
    ),
    "auth-empty-response": Rule(
        "note", "an empty response where the mechanism has none", "RFC 4954 §4", ""
    ),
    "auth-initial-response": Rule(
        "warning", "an initial response, though the server begins", "RFC 4954 §4", ""
    ),
    "auth-line-too-long": Rule(
        "warning", "an AUTH line longer than 12,288 octets", "RFC 4954 §4", ""
    ),
}

CHECKS = Checks()
