"""Newest wins: at most one request of a document is being worked on.

A newer request ends the older one at that moment; the older is still answered, exactly once,
by whoever awaits it. Owned by the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary


class Ticket:
    """The right of one request to be the latest of its document."""

    __slots__ = ("__weakref__", "_end", "is_superseded")

    def __init__(self) -> None:
        self.is_superseded = False
        self._end: Callable[[], None] | None = None

    def end_with(self, end: Callable[[], None]) -> None:
        """`end` is called when a newer request comes; at once if one has come already."""
        self._end = end
        if self.is_superseded:
            end()

    def supersede(self) -> None:
        self.is_superseded = True
        if self._end:
            self._end()


class LatestWins:
    """Tickets by document. One lives as long as the request that holds it."""

    def __init__(self) -> None:
        self._tickets: WeakValueDictionary[int, Ticket] = WeakValueDictionary()

    def take(self, document_id: int) -> Ticket:
        if older := self._tickets.get(document_id):
            older.supersede()
        ticket = self._tickets[document_id] = Ticket()
        return ticket
