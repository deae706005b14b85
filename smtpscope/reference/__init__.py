"""The documented table of SMTP: look a command, a code, a keyword or a limit up by name.

`rows` are its rows, `table` finds them, `explain` turns them into text for people. The facts and
their sources are the JSON files beside this one.
"""

from __future__ import annotations

from smtpscope.reference.explain import Entry, explain, impossible, nearest, render, unexplained
from smtpscope.reference.rows import (
    CommandRow,
    DocumentedRow,
    EnhancedMeaning,
    ExtensionRow,
    LimitRow,
    MechanismRow,
    ParameterRow,
    ReplyRow,
    WithRow,
)
from smtpscope.reference.table import (
    HTTP_VERBS,
    VERBS,
    allowed_replies,
    command,
    documented,
    enhanced,
    extension,
    limit,
    limits,
    mechanism,
    parameter,
    received_with,
    reply,
    reply_meaning,
)

__all__ = [
    "HTTP_VERBS",
    "VERBS",
    "CommandRow",
    "DocumentedRow",
    "EnhancedMeaning",
    "Entry",
    "ExtensionRow",
    "LimitRow",
    "MechanismRow",
    "ParameterRow",
    "ReplyRow",
    "WithRow",
    "allowed_replies",
    "command",
    "documented",
    "enhanced",
    "explain",
    "extension",
    "impossible",
    "limit",
    "limits",
    "mechanism",
    "nearest",
    "parameter",
    "received_with",
    "render",
    "reply",
    "reply_meaning",
    "unexplained",
]
