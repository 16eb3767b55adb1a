"""Newest wins: at most one request of a document is being worked on.

A newer request ends the older one at that moment; the older is still answered, exactly once,
by whoever awaits it. Owned by the event loop.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Ticket:
    """The right of one request to be the latest of its document."""

    __slots__ = ("__weakref__", "superseded")

    def __init__(self) -> None:
        self.superseded: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_superseded(self) -> bool:
        return self.superseded.done()


class LatestWins:
    """Tickets by document. One lives as long as the request that holds it."""

    def __init__(self) -> None:
        self._tickets: WeakValueDictionary[int, Ticket] = WeakValueDictionary()

    def take(self, document: int) -> Ticket:
        if older := self._tickets.get(document):
            older.superseded.set_result(None)
        ticket = self._tickets[document] = Ticket()
        return ticket
