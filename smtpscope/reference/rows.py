"""The rows of the documented table: one class a data file, with its fields in the field's terms.

Every row quotes its `source` (an RFC and section, a draft, or "vendor: …") and says by `checked`
whether somebody compared it with that source.
"""

from __future__ import annotations

from typing import NamedTuple


class DocumentedRow(NamedTuple):
    """A row of the documented table: what it says, and where the RFCs differ (may be empty)."""

    kind: str
    name: str
    syntax: str
    documented: str
    differs: str
    source: str
    checked: bool


class CommandRow(NamedTuple):
    """A command, or a pseudo-command: "." (end of data), "(auth)", "(greeting)", "(unreadable)".

    `short` is `meaning` in a few words. `status`: core, extension, lmtp, obsolete, vendor, probe,
    http, preamble or pseudo.
    `pipelining`: "any" place in a group, "last" only, or empty where nobody says.
    `answers_as`: the verb whose reply meanings it shares, if any.
    """

    verb: str
    syntax: str
    short: str
    meaning: str
    status: str
    source: str
    extension: str
    success: tuple[int, ...]
    intermediate: tuple[int, ...]
    failure: tuple[int, ...]
    pipelining: str
    answers_as: str
    notes: str
    checked: bool


class ReplyRow(NamedTuple):
    """A reply code. `by` has its meaning for each verb that it may answer; `short` is the rest's.

    `next`: what a client does, and `next_by` where that depends on the verb. `status`: standard,
    experimental, registry-only or non-standard.
    """

    code: int
    short: str
    meaning: str
    next: str
    next_by: dict[str, str]
    status: str
    source: str
    by: dict[str, str]
    notes: str
    checked: bool


class ExtensionRow(NamedTuple):
    """An EHLO keyword. `length_added`: octets by verb that it adds to the command line limit."""

    keyword: str
    meaning: str
    parameters: str
    verbs: tuple[str, ...]
    mail_parameters: tuple[str, ...]
    rcpt_parameters: tuple[str, ...]
    length_added: dict[str, int]
    status: str
    source: str
    notes: str
    checked: bool


class ParameterRow(NamedTuple):
    """A parameter of MAIL or RCPT. `sensitive` is "identity" where the value names a person."""

    keyword: str
    commands: tuple[str, ...]
    extension: str
    syntax: str
    meaning: str
    source: str
    sensitive: str
    notes: str
    checked: bool


class MechanismRow(NamedTuple):
    """A SASL mechanism. `secret`: what an eavesdropper gains. `client_first`: None if unknown."""

    name: str
    meaning: str
    source: str
    client_first: bool | None
    secret: str
    usage: str
    exchange: str
    notes: str
    checked: bool


class LimitRow(NamedTuple):
    """A size (octets, recipients), a timeout (seconds) or a port (tcp), by `unit`."""

    name: str
    value: int
    unit: str
    meaning: str
    source: str
    checked: bool


class WithRow(NamedTuple):
    """A protocol name behind "with" in a Received header (RFC 3848)."""

    keyword: str
    meaning: str
    source: str
    checked: bool


class EnhancedMeaning(NamedTuple):
    """What an enhanced status code means, and how well it is known.

    `level`: "vendor" (this very code), "detail" (X.subject.detail), "subject", "class" or "none".
    `severity` is the class in words. `basic`: the reply codes that the registry pairs with it.
    """

    code: str
    text: str
    level: str
    severity: str
    basic: tuple[str, ...]
    notes: str
    source: str
    checked: bool


class Digits(NamedTuple):
    """What the digits of a reply code say by themselves (RFC 5321 §4.2.1).

    `severity` and `category` are words; `first` and `second` sentences; `next`: the client's move.
    """

    severity: str
    first: str
    category: str
    second: str
    next: str
