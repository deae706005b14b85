"""The title of the main screen: what is shown, how far it has come, what is wrong with it."""

from __future__ import annotations

import re

from smtpscope.display import text
from smtpscope.index.rows import Progress
from smtpscope.review import Review
from smtpscope.tui.bars import Item
from smtpscope.tui.pieces import SYMBOLS
from smtpscope.tui.words import amount, left, octets

STOPS = Item(" · Esc stops", "dim")
PAUSED = Item(" · paused", "warning")

_CLAUSE = re.compile(r"[;:] | \(")


def title(
    review: Review, progress: Progress, *, reading: bool, paused: bool, wrong: int
) -> tuple[list[Item], list[Item]]:
    """What stands at the left and at the right; `wrong` sessions have a warning or an error."""
    names = review.names
    name = text(names[0], 60) if len(names) == 1 else f"{len(names)} captures"
    if review.live:
        name = text(review.doing, 60)
    shown = [Item(" smtpscope ", "head"), Item("▸ ", "dim"), Item(name, "strong")]
    right = [Item(amount(progress.sessions, "session"))]
    if wrong:
        right.append(Item(f" · {wrong:,} {SYMBOLS['warning']}", "warning"))
    if review.live:
        shown += _mail(progress) if review.serves else _traffic(progress)
        right += _live(review, reading, paused)
    else:
        right.append(Item(f" · {octets(progress.size or progress.consumed)}", "dim"))
        right += _progress(review, progress, reading, paused)
    return shown, [*right, Item(" ")]


def _mail(progress: Progress) -> list[Item]:
    """What a server of ours has taken."""
    found = [Item(f" · {amount(progress.messages, 'message')}", "dim")]
    if progress.open:
        found.append(Item(f" · {progress.open:,} open", "label"))
    return found


def _traffic(progress: Progress) -> list[Item]:
    """What a recorder got, and what it could not get."""
    found = [
        Item(f" · {amount(progress.packets, 'packet')}", "dim"),
        Item(" · ", "dim"),
        Item(f"{progress.dropped:,} dropped", "warning" if progress.dropped else "dim"),
    ]
    if progress.open:
        found.append(Item(f" · {progress.open:,} open", "label"))
    return [*found, Item(f" · {octets(progress.consumed)}", "dim")]


def _live(review: Review, reading: bool, paused: bool) -> list[Item]:
    if paused:
        return [PAUSED]
    if reading:
        return [Item(" · live", "label")]
    failure = review.failure()
    if failure is not None:
        return [Item(f" · ended: {text(clause(failure), 60)}", "error")]
    return [Item(" · ended", "warning")]


def _progress(review: Review, progress: Progress, reading: bool, paused: bool) -> list[Item]:
    if not reading:
        return [Item(" · stopped", "warning")] if review.stopped else []
    part = progress.consumed / progress.size if progress.size else 0
    found = [Item(f" · {part:.0%}", "label")]
    if 0 < part < 1 and progress.seconds > 0.5:
        found.append(Item(f" · {left(progress.seconds * (1 - part) / part)} left"))
    return [*found, PAUSED if paused else STOPS]


def clause(message: str) -> str:
    """What a message says first: what has happened, without what to do next."""
    return _CLAUSE.split(message, maxsplit=1)[0]
