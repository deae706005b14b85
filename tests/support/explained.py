"""What a line of a dialogue that is written down is explained as."""

from __future__ import annotations

from support.samples import review

from smtpscope.explanation import explain, title
from smtpscope.session import Session
from smtpscope.transcript import Row, rows

HELLO = ("S: 220 mx.test ESMTP", "C: EHLO a.test", "S: 250 mx.test")
"""How a dialogue begins in which something else is of interest."""


def row_of(session: Session, begins: str) -> Row:
    """The first row whose text begins so."""
    return next(row for row in rows(session) if row.text.startswith(begins))


def told_of(session: Session, row: Row, *, reveal: bool = False) -> dict[str, str]:
    """The facts about a row by their labels; those of one label are joined by " | "."""
    found: dict[str, str] = {}
    for label, words, _ in explain(session, row, reveal=reveal):
        found[label] = f"{found[label]} | {words}" if label in found else words
    return found


def told(*lines: str, of: str, reveal: bool = False) -> dict[str, str]:
    """The facts about the first row of a dialogue that begins with `of`."""
    (session,) = review(lines)
    return told_of(session, row_of(session, of), reveal=reveal)


def titled(*lines: str, of: str) -> str:
    """The title of the first row of a dialogue that begins with `of`."""
    (session,) = review(lines)
    return title(session, row_of(session, of))
