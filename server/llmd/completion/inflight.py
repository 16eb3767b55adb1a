"""One run of the engine for a document, and the request that it serves: the latest one that it
has answered, or is about to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

from llmd.completion.results import remaining_text
from llmd.context.request import CompletionRequest
from llmd.engine.messages import Done
from llmd.engine.requests import Job


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


Show = Callable[[str], None]

# An editor that cancels mostly asks again at once: so long a prefill goes on that the next request
# may go on with.
CANCEL_PAUSE_S = 0.004


class Generation:
    """`place` is where it was asked for, `text` what it said so far, trimmed."""

    def __init__(self, place: CompletionRequest, asker: Ticket, show: Show | None) -> None:
        self.place = place
        self.asker: Ticket | None = asker
        self.show = show
        self.text = ""
        self.job: Job

    def hear(self, text: str) -> None:
        self.text = text
        if self.show:
            self.show(text)

    def serves(self, place: CompletionRequest) -> bool:
        """Whether what it says goes on from what stands there. An alternative is one place's."""
        if self.place.alternative or place.alternative:
            return False
        may_wait = self.place.invoked or not place.invoked
        is_going = not self.job.answered.done()
        return is_going and may_wait and self.rest(self.text, place) is not None

    def rest(self, text: str, place: CompletionRequest) -> str | None:
        asked = self.place.excerpt
        return remaining_text(text, asked.prefix, asked.prompt_suffix, place.excerpt)

    def serve(self, place: CompletionRequest, asker: Ticket, show: Show | None) -> None:
        """From now on it is the answer to that request."""
        self.asker = asker

        def show_rest(text: str) -> None:
            if show and (rest := self.rest(text, place)):
                show(rest)

        self.show = show_rest
        show_rest(self.text)

    def make_way(self, place: CompletionRequest) -> None:
        """Another request takes its place. A prefill may finish its batch where the two prompts
        begin alike, also where who asked takes his leave."""
        self.asker = None
        mine, theirs = self.place.excerpt, place.excerpt
        n_before = len(mine.prefix) - mine.n_typed
        is_alike = (
            mine.prompt_suffix == theirs.prompt_suffix
            and mine.prefix[:n_before] == theirs.prefix[: len(theirs.prefix) - theirs.n_typed]
        )
        self.job.cancel(gently=is_alike and not self.text)

    def leave(self, asker: Ticket) -> None:
        """Nobody waits for it any more, unless somebody comes within a moment."""

        def end() -> None:
            if self.asker is asker:
                self.job.cancel()

        asyncio.get_running_loop().call_later(CANCEL_PAUSE_S, end)

    async def wait(self, ticket: Ticket) -> Done | None:
        """None: a newer request came first."""
        either = self.job.answered, ticket.superseded
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return None if ticket.is_superseded else self.job.answered.result()
