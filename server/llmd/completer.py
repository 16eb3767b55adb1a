"""The path of a request: gate, window, what was said already, prompt, engine, trim, trace. Each
stage once, in order.

Runs on the event loop; knows no protocol and no tokens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from llmd.ahead import Ahead
from llmd.config import Config
from llmd.context.window import MAX_TYPED_CHARS
from llmd.document.store import Document
from llmd.document.text import Position
from llmd.engine.frames import Done, Loaded
from llmd.engine.job import Job
from llmd.engine.service import EngineService
from llmd.generation import Generation, Show
from llmd.look import Place, Refuse, look
from llmd.postprocess.stop import rule_for
from llmd.postprocess.trim import trim
from llmd.prompt.build import Piece, build
from llmd.prompt.families import by_name, typed_of
from llmd.recall import Recall, Said
from llmd.requests import LatestWins, Ticket
from llmd.stages import Journal, Stages, Window
from llmd.trace import WARM_MIN_CACHED, Cost, Path, Totals, Trace, of_cost
from llmd.transport.service import Answer, Selected

# A longer typed text gets an anchor nearer by once nobody asks.
MAX_IDLE_TYPED_CHARS = MAX_TYPED_CHARS // 2
AHEAD_DEADLINE_MS = 60_000  # nobody waits for it


class Completer:
    """`debounce_ms` may be set anew at any time; the next request follows it."""

    def __init__(self, config: Config, engine: EngineService, refuse: Refuse) -> None:
        self.debounce_ms = config.completion.debounce_ms
        self.totals = Totals()
        self.journal = Journal()
        self.ahead = Ahead()
        self.without: frozenset[str] = frozenset()  # rules of `postprocess.rules`, for `eval`
        self._config = config
        self._engine = engine
        self._refuse = refuse
        self._latest = LatestWins()
        self._recall = Recall()
        self._going: dict[int, Generation] = {}

    def configure(self, config: Config) -> None:
        """The next request follows it. What was said under the old one is not said again."""
        self._config = config
        self._recall.forget()

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
        self.ahead.stand_down()
        place = look(
            document, cursor, self._config, self._refuse, invoked=invoked, selected=selected
        )
        place = replace(place, alternative=alternative)
        ticket, going = self._latest.take(document.number), self._going.get(document.number)
        limits = self._config.completion
        # With a floor nothing is shown before the end, and the first asker's end decides.
        may_share = limits.recall and limits.min_logprob == "off" and not place.refusal
        if going and not (may_share and going.serves(place)):
            going.make_way(place)
            going = None
        if going:
            going.serve(place, ticket, on_partial)
            return self._share(going, ticket, place)
        again = _Again(document, cursor)
        return self._answer(ticket, place, on_partial, again)

    def rest(self, document: Document, cursor: Position) -> None:
        """The cursor has come to rest there: its prompt is evaluated before the first key."""
        if not self.ahead.is_allowed or document.number in self._going:
            return
        self._prefill(look(document, cursor, self._config, self._refuse))

    def forget(self, document: Document) -> None:
        """It was closed."""
        self._recall.forget(document.number)
        self._engine.forget(document.slot)

    async def _answer(
        self, ticket: Ticket, place: Place, on_partial: Show | None, again: _Again
    ) -> Answer:
        if place.refusal:
            return self._record(place, "", Cost(), "suppressed", place.refusal)
        is_new = place.invoked or place.alternative  # who asks by hand wants the model
        if not is_new and (found := self._recall.find(place.document, place.excerpt)):
            return self._say_again(place, *found)
        if self.debounce_ms and not place.invoked:
            await asyncio.sleep(self.debounce_ms / 1e3)
        if ticket.is_superseded:
            return self._record(place, "", Cost(), "superseded")
        going = self._start(place, ticket, on_partial)
        done = await self._wait(going, ticket, place)
        if done is None:
            self._count_when_finished(going.job, place)
            return Answer("", of_cost(Cost(), "superseded", _since_ms(place.arrived_s)))
        answer = self._show(place, done)
        self._go_ahead(place, answer, again)
        return answer

    async def _share(self, going: Generation, ticket: Ticket, place: Place) -> Answer:
        """The running generation began with what was typed. Its cost is the first asker's."""
        done = await self._wait(going, ticket, place)
        if done is None:
            return self._record(place, "", Cost(), "superseded")
        whole = trim(done.text, going.place.excerpt, self.without)
        self._remember(going.place, whole, done)
        return self._record(place, going.rest(whole, place) or "", Cost(), "reused")

    async def _wait(self, going: Generation, ticket: Ticket, place: Place) -> Done | None:
        try:
            return await going.wait(ticket)
        except asyncio.CancelledError:
            going.leave(ticket)
            if going.place is place:
                self._count_when_finished(going.job, place, "cancelled")
            else:
                self._record(place, "", Cost(), "superseded", "cancelled")
            raise

    def _start(self, place: Place, ticket: Ticket, on_partial: Show | None) -> Generation:
        if self._config.completion.min_logprob != "off":  # what may yet be suppressed is not shown
            on_partial = None
        going = self._going[place.document] = Generation(place, ticket, on_partial)
        going.job = self._ask(
            place, lambda text: going.hear(trim(text, place.excerpt, self.without))
        )
        going.job.finished.add_done_callback(lambda _: self._end(going))
        return going

    def _end(self, going: Generation) -> None:
        if self._going.get(going.place.document) is going:
            del self._going[going.place.document]

    def _ask(
        self,
        place: Place,
        hear: Show | None = None,
        *,
        background: bool = False,
        is_prefill: bool = False,
    ) -> Job:
        limits, fim, without = self._config.completion, self._config.fim, self.without
        deadline_ms = AHEAD_DEADLINE_MS if background else place.deadline_ms
        rule = rule_for(place.excerpt, limits.max_tokens, limits.max_lines, deadline_ms, without)

        def pieces(model: Loaded) -> tuple[Piece, ...]:
            family = by_name(model.family)
            typed = typed_of(family, model.order, fim.typed)
            return build(family, model.order, place.excerpt, place.file_name, typed, fim.heal)

        return self._engine.infer(
            pieces,
            rule,
            self._config.sampling,
            hear,
            slot=place.slot,
            background=background,
            is_prefill=is_prefill,
            alternative=place.alternative,
        )

    # -- answers

    def _show(self, place: Place, done: Done) -> Answer:
        text = trim(done.text, place.excerpt, self.without)
        if text and self._is_unsure(done) and not place.alternative:
            return self._record(place, "", done.cost, "suppressed", "confidence", done)
        self._remember(place, text, done)
        reason = done.error or done.reason
        return self._record(place, text, done.cost, _path(done), reason, done)

    def _is_unsure(self, done: Done) -> bool:
        floor = self._config.completion.min_logprob
        return floor != "off" and done.cost.logprob_line < floor

    def _remember(self, place: Place, text: str, done: Done, is_ahead: bool = False) -> None:
        is_whole = done.reason not in ("failed", "deadline", "cancelled")
        if is_whole and place.slot and self._config.completion.recall:
            excerpt = place.excerpt
            is_other = place.alternative > 0
            said = Said(excerpt.prefix, excerpt.shown_suffix, text, is_ahead, is_other)
            self._recall.add(place.document, said)

    def _say_again(self, place: Place, said: Said, rest: str) -> Answer:
        if place.excerpt.n_closers:  # those that came since stand in it too
            rest = trim(rest, place.excerpt, self.without)
        return self._record(place, rest, Cost(), "prefetched" if said.is_ahead else "reused")

    def _count_when_finished(self, job: Job, place: Place, reason: str = "") -> None:
        """The reply is out; what the engine still spends on it is known when it has stopped."""

        def count(finished: asyncio.Future[Done]) -> None:
            self._record(place, "", finished.result().cost, "superseded", reason)

        job.finished.add_done_callback(count)

    def _record(
        self,
        place: Place,
        text: str,
        cost: Cost,
        path: Path,
        reason: str = "",
        done: Done | None = None,
    ) -> Answer:
        trace = of_cost(cost, path, _since_ms(place.arrived_s), reason)
        self.totals.add(trace)
        self.journal.add(_stages(place, trace, done, len(text)))
        return Answer(text, trace)

    # -- ahead of the key

    def _go_ahead(self, place: Place, answer: Answer, again: _Again) -> None:
        if answer.trace.path == "late":
            self._prefill(place)
        elif answer.text and self._config.completion.recall:
            self.ahead.soon(lambda: self._prefetch(place.accepted(answer.text), again))
        else:
            self.ahead.soon(lambda: self._anchor_anew(again))

    def _prefill(self, place: Place) -> None:
        if self.ahead.is_allowed and not place.refusal:
            self.ahead.count(self._ask(place, background=True, is_prefill=True))

    def _prefetch(self, place: Place, again: _Again) -> None:
        """What follows an acceptance."""
        job = self._ask(place, background=True)
        self.ahead.count(job)

        def keep(finished: asyncio.Future[Done]) -> None:
            done = finished.result()
            if not self._is_unsure(done):
                self._remember(place, trim(done.text, place.excerpt, self.without), done, True)
            if done.reason != "cancelled":
                self.ahead.soon(lambda: self._anchor_anew(again))

        job.finished.add_done_callback(keep)

    def _anchor_anew(self, again: _Again) -> None:
        model = self._engine.info
        if model is None or not again.is_current():
            return
        document, family = again.document, by_name(model.family)
        if typed_of(family, model.order, self._config.fim.typed) != "after_mid":
            return
        typed = document.typed
        place = look(document, again.cursor, self._config, self._refuse)
        is_far = place.excerpt.n_typed > MAX_IDLE_TYPED_CHARS
        has_lines = typed is not None and typed.start.line < again.cursor.line
        if is_far or (has_lines and not family.typed):
            document.typed = None
            self._prefill(look(document, again.cursor, self._config, self._refuse))


class _Again:
    """A place of a document that may have changed since."""

    def __init__(self, document: Document, cursor: Position) -> None:
        self.document = document
        self.cursor = cursor
        self._version = document.version

    def is_current(self) -> bool:
        return self.document.version == self._version


def _stages(place: Place, trace: Trace, done: Done | None, n_shown: int) -> Stages:
    lines, excerpt = place.lines, place.excerpt
    n_prefix, n_suffix = len(excerpt.prefix), len(excerpt.suffix)
    return Stages(
        file=place.file,
        line=place.cursor.line + 1,
        col=place.cursor.col + 1,
        invoked=place.invoked,
        gate=place.refusal,
        window=Window(lines.first + 1, lines.end, n_prefix, n_suffix) if lines else None,
        trace=trace,
        stop=(done.error or done.reason) if done else trace.reason,
        n_chars_generated=len(done.text) if done else 0,
        n_chars_shown=n_shown,
    )


def _path(done: Done) -> Path:
    if done.reason == "failed":
        return "failed"
    if done.reason == "deadline":
        return "late"
    return "warm" if done.cost.n_cached >= WARM_MIN_CACHED else "cold"


def _since_ms(start_s: float) -> float:
    return 1e3 * (time.monotonic() - start_s)
