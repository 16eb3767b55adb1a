"""The path of a request: gate, window, what was said already, prompt, engine, trim, trace. Each
stage once, in order.

Runs on the event loop; knows no protocol and no tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from llmd.completion.engine_request import EngineRequests
from llmd.completion.inflight import Generation, LatestWins, Show, Ticket
from llmd.completion.prefetch import CursorSnapshot, Prefetcher
from llmd.completion.results import Results, since_ms
from llmd.completion.trace import trace_of
from llmd.completion.types import Answer
from llmd.config import Config
from llmd.context.request import CompletionRequest, Selected, WorkspaceCheck, build_request
from llmd.document import Document, Position
from llmd.engine.client import EngineClient
from llmd.engine.messages import Cost, Done


class CompletionPipeline:
    """`debounce_ms` may be set anew at any time; the next request follows it."""

    def __init__(self, config: Config, engine: EngineClient, refuse: WorkspaceCheck) -> None:
        self.debounce_ms = config.completion.debounce_ms
        self.results = Results(config)
        self._engine_requests = EngineRequests(config, engine)
        self.prefetcher = Prefetcher(self._engine_requests, self.results, self._build_request)
        self._config = config
        self._engine = engine
        self._refuse = refuse
        self._latest = LatestWins()
        self._going: dict[int, Generation] = {}

    def configure(self, config: Config) -> None:
        """The next request follows it. What was said under the old one is not said again."""
        self._config = self._engine_requests.config = self.results.config = config
        self.results.forget()

    def disable_rules(self, rules: frozenset[str]) -> None:
        """Names of `postprocess.rules`, for `eval`."""
        self._engine_requests.disabled_rules = self.results.disabled_rules = rules

    def complete(
        self,
        document: Document,
        cursor: Position,
        *,
        invoked: bool,
        selected: Selected | None = None,
        on_partial: Show | None = None,
        alternative: int = 0,
    ) -> Coroutine[Any, Any, Answer]:
        """Looks at the document and ends its older request now; the coroutine does the rest.

        Cancelling the coroutine's task cancels the engine.
        """
        self.prefetcher.cancel_pending()
        place = build_request(
            document, cursor, self._config, self._refuse, invoked=invoked, selected=selected
        )
        place = replace(place, alternative=alternative)
        ticket, going = self._latest.take(document.number), self._going.get(document.number)
        limits = self._config.completion
        # With a floor nothing is shown before the end, and the first asker's end decides.
        may_share = limits.recall and limits.min_logprob == "off" and not place.skip_reason
        if going and not (may_share and going.serves(place)):
            going.make_way(place)
            going = None
        if going:
            going.serve(place, ticket, on_partial)
            return self._share(going, ticket, place)
        return self._answer(ticket, place, on_partial, CursorSnapshot(document, cursor))

    def cursor_idle(self, document: Document, cursor: Position) -> None:
        """The cursor has come to rest there: its prompt is evaluated before the first key."""
        if document.number not in self._going:
            self.prefetcher.on_cursor_idle(CursorSnapshot(document, cursor))

    def document_closed(self, document: Document) -> None:
        """It was closed."""
        self.results.forget(document.number)
        self._engine.forget(document.slot)

    def _build_request(self, document: Document, cursor: Position) -> CompletionRequest:
        return build_request(document, cursor, self._config, self._refuse)

    async def _answer(
        self,
        ticket: Ticket,
        place: CompletionRequest,
        on_partial: Show | None,
        spot: CursorSnapshot,
    ) -> Answer:
        if place.skip_reason:
            return self.results.record(place, "", Cost(), "suppressed", place.skip_reason)
        is_new = place.invoked or place.alternative  # who asks by hand wants the model
        if not is_new and (answer := self.results.from_cache(place)):
            return answer
        if self.debounce_ms and not place.invoked:
            await asyncio.sleep(self.debounce_ms / 1e3)
        if ticket.is_superseded:
            return self.results.record(place, "", Cost(), "superseded")
        going = self._start(place, ticket, on_partial)
        done = await self._wait(going, ticket, place)
        if done is None:
            self.results.record_when_finished(going.job, place)
            return Answer("", trace_of(Cost(), "superseded", since_ms(place.arrived_s)))
        answer = self.results.finish(place, done)
        self.prefetcher.on_completion(place, answer, spot)
        return answer

    async def _share(self, going: Generation, ticket: Ticket, place: CompletionRequest) -> Answer:
        """The running generation began with what was typed. Its cost is the first asker's."""
        done = await self._wait(going, ticket, place)
        if done is None:
            return self.results.record(place, "", Cost(), "superseded")
        whole = self.results.finish_shared(going.place, done)
        return self.results.record(place, going.rest(whole, place) or "", Cost(), "reused")

    async def _wait(
        self, going: Generation, ticket: Ticket, place: CompletionRequest
    ) -> Done | None:
        try:
            return await going.wait(ticket)
        except asyncio.CancelledError:
            going.leave(ticket)
            if going.place is place:
                self.results.record_when_finished(going.job, place, "cancelled")
            else:
                self.results.record(place, "", Cost(), "superseded", "cancelled")
            raise

    def _start(
        self, place: CompletionRequest, ticket: Ticket, on_partial: Show | None
    ) -> Generation:
        if self._config.completion.min_logprob != "off":  # what may yet be suppressed is not shown
            on_partial = None
        going = self._going[place.document] = Generation(place, ticket, on_partial)
        going.job = self._engine_requests.submit(
            place, lambda text: going.hear(self.results.trimmed(text, place))
        )
        going.job.finished.add_done_callback(lambda _: self._end(going))
        return going

    def _end(self, going: Generation) -> None:
        if self._going.get(going.place.document) is going:
            del self._going[going.place.document]
