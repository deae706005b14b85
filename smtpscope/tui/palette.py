"""The command palette: every action of the screen, and every session."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from functools import partial

from textual.app import SystemCommand
from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.dom import DOMNode
from textual.screen import Screen

from smtpscope.display import text
from smtpscope.filters import FilterError, parse, quoted
from smtpscope.index.views import DamagedError, SessionRow, View
from smtpscope.stream import Endpoint
from smtpscope.tui.keys import MOVING, key_name
from smtpscope.tui.main import MainScreen
from smtpscope.tui.sessionlist import people

MAX_SESSIONS = 20
"""Sessions that are offered at once."""


def screen_commands(screen: Screen[object]) -> Iterator[SystemCommand]:
    """What the keys of a screen do, as commands."""
    told: set[str] = set()
    for node, binding, enabled, _ in screen.active_bindings.values():
        id = binding.id
        if enabled and id is not None and id not in MOVING and binding.description not in told:
            told.add(binding.description)
            yield _command(node, binding)


def _command(node: DOMNode, binding: Binding) -> SystemCommand:
    async def run() -> None:
        await node.app.run_action(binding.action, node)

    return SystemCommand(binding.description, f"Key: {key_name(binding)}", run)


class SessionCommands(Provider):
    """Sessions by number, address or subject."""

    async def discover(self) -> Hits:
        for row in await self._found(""):
            yield DiscoveryHit(Content(_title(row)), partial(self._go, row.id), text=_title(row))

    async def search(self, query: str) -> Hits:
        for score, row in enumerate(await self._found(query.strip())):
            yield Hit(
                1 - score / 100, Content(_title(row)), partial(self._go, row.id), text=_title(row)
            )

    async def _found(self, words: str) -> list[SessionRow]:
        screen = self.screen
        if not isinstance(screen, MainScreen):
            return []
        wanted = f"number == {words[:15]}" if words.isdecimal() else quoted(words)
        try:
            view = screen.review.index.view(filter=parse(wanted if words else ""))
        except (FilterError, DamagedError):
            return []
        # It may have to look at all sessions: whoever types on doesn't wait for it.
        search = asyncio.ensure_future(asyncio.to_thread(_first, view))
        try:
            return await asyncio.shield(search)
        except asyncio.CancelledError:
            view.interrupt()
            raise

    def _go(self, id: int) -> None:
        screen = self.screen
        if isinstance(screen, MainScreen):
            screen.show_session(id)


def _first(view: View) -> list[SessionRow]:
    try:
        return view.first(MAX_SESSIONS)
    except (sqlite3.OperationalError, DamagedError):
        # Interrupted; or whoever shows the list will tell what is wrong.
        return []
    finally:
        view.close()


def _title(row: SessionRow) -> str:
    client = Endpoint(row.client, row.client_port)
    server = Endpoint(row.server, row.port)
    said = f"{people(row.senders, '<>')} → {people(row.recipients)}" if row.senders != "[]" else ""
    return text(f"Session {row.number}: {client} → {server} {said}".rstrip(), 200)
