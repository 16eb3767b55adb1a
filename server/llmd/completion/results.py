"""What becomes of the engine's text: trimmed, remembered, recorded; and what was said already,
said again. Knows no engine."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from llmd.completion.trace import (
    WARM_MIN_CACHED,
    RequestHistory,
    RequestStages,
    Totals,
    Trace,
    TracePath,
    WindowLines,
    trace_of,
)
from llmd.completion.types import Answer
from llmd.config import Config
from llmd.context.request import CompletionRequest
from llmd.context.window import Excerpt
from llmd.engine.messages import Cost, Done
from llmd.engine.requests import Job
from llmd.postprocess.trim import trim

MAX_DOCUMENTS, MAX_ANSWERS = 32, 16


@dataclass(frozen=True, slots=True)
class CachedSuggestion:
    """`text` as it was shown where `prefix` and `suffix` stood around the cursor; the suffix is
    the model's, without the closers that an editor adds. `is_ahead`: nobody had asked.
    `is_other`: an alternative, which only goes on where some of it has been typed."""

    prefix: str
    suffix: str
    text: str
    is_prefetched: bool = False
    is_alternative: bool = False

    def remaining(self, excerpt: Excerpt) -> str | None:
        """What is still to be shown of it here; None: it says nothing about this place."""
        if self.is_alternative and len(excerpt.prefix) == len(self.prefix):
            return None
        return remaining_text(self.text, self.prefix, self.suffix, excerpt)


def remaining_text(text: str, prefix: str, suffix: str, excerpt: Excerpt) -> str | None:
    """What is left of `text` after what has been typed since; None where that is something else,
    or all of it."""
    n_typed = len(excerpt.prefix) - len(prefix)
    if n_typed < 0 or excerpt.prompt_suffix != suffix or not excerpt.prefix.startswith(prefix):
        return None
    is_said = text.startswith(excerpt.prefix[len(prefix) :])
    return text[n_typed:] if is_said and (n_typed < len(text) or not n_typed) else None


class SuggestionCache:
    """The latest answers of the latest documents. Owned by the event loop."""

    def __init__(self) -> None:
        self._by_document: OrderedDict[int, deque[CachedSuggestion]] = OrderedDict()

    def add(self, document: int, said: CachedSuggestion) -> None:
        kept = self._by_document.setdefault(document, deque(maxlen=MAX_ANSWERS))
        self._by_document.move_to_end(document)
        kept.append(said)
        if len(self._by_document) > MAX_DOCUMENTS:
            self._by_document.popitem(last=False)

    def find(self, document: int, excerpt: Excerpt) -> tuple[CachedSuggestion, str] | None:
        """The newest answer that holds here, and what is left of it."""
        for said in reversed(self._by_document.get(document, ())):
            if (rest := said.remaining(excerpt)) is not None:
                return said, rest
        return None

    def forget(self, document: int | None = None) -> None:
        """One document's, or all."""
        if document is None:
            self._by_document.clear()
        else:
            self._by_document.pop(document, None)


class Results:
    """`config` and `without` as an Asker's. Owned by the event loop."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.disabled_rules: frozenset[str] = frozenset()
        self.totals = Totals()
        self.history = RequestHistory()
        self._cache = SuggestionCache()

    def forget(self, document: int | None = None) -> None:
        """What was said in one document, or in all, is not said again."""
        self._cache.forget(document)

    def trimmed(self, text: str, place: CompletionRequest) -> str:
        return trim(text, place.excerpt, self.disabled_rules)

    def finish(self, place: CompletionRequest, done: Done) -> Answer:
        text = self.trimmed(done.text, place)
        if text and self._is_below_min_logprob(done) and not place.alternative:
            return self.record(place, "", done.cost, "suppressed", "confidence", done)
        self._store(place, text, done)
        reason = done.error or done.reason
        return self.record(place, text, done.cost, _path(done), reason, done)

    def finish_shared(self, asked: CompletionRequest, done: Done) -> str:
        """The whole text of a run that was asked for at another place."""
        whole = self.trimmed(done.text, asked)
        self._store(asked, whole, done)
        return whole

    def from_cache(self, place: CompletionRequest) -> Answer | None:
        found = self._cache.find(place.document, place.excerpt)
        if found is None:
            return None
        said, rest = found
        if place.excerpt.n_closers:  # those that came since stand in it too
            rest = self.trimmed(rest, place)
        return self.record(place, rest, Cost(), "prefetched" if said.is_prefetched else "reused")

    def store_prefetched(self, place: CompletionRequest, done: Done) -> None:
        """Nobody has asked for it yet."""
        if not self._is_below_min_logprob(done):
            self._store(place, self.trimmed(done.text, place), done, is_ahead=True)

    def record_when_finished(self, job: Job, place: CompletionRequest, reason: str = "") -> None:
        """The reply is out; what the engine still spends on it is known when it has stopped."""

        def count(finished: asyncio.Future[Done]) -> None:
            self.record(place, "", finished.result().cost, "superseded", reason)

        job.finished.add_done_callback(count)

    def record(
        self,
        place: CompletionRequest,
        text: str,
        cost: Cost,
        path: TracePath,
        reason: str = "",
        done: Done | None = None,
    ) -> Answer:
        trace = trace_of(cost, path, since_ms(place.arrived_s), reason)
        self.totals.add(trace)
        self.history.add(_stages(place, trace, done, len(text)))
        return Answer(text, trace)

    def _is_below_min_logprob(self, done: Done) -> bool:
        floor = self.config.completion.min_logprob
        return floor != "off" and done.cost.logprob_line < floor

    def _store(
        self, place: CompletionRequest, text: str, done: Done, is_ahead: bool = False
    ) -> None:
        is_whole = done.reason not in ("failed", "deadline", "cancelled")
        if is_whole and place.slot and self.config.completion.recall:
            excerpt = place.excerpt
            is_other = place.alternative > 0
            said = CachedSuggestion(excerpt.prefix, excerpt.prompt_suffix, text, is_ahead, is_other)
            self._cache.add(place.document, said)


def since_ms(start_s: float) -> float:
    return 1e3 * (time.monotonic() - start_s)


def _stages(
    place: CompletionRequest, trace: Trace, done: Done | None, n_shown: int
) -> RequestStages:
    lines, excerpt = place.lines, place.excerpt
    n_prefix, n_suffix = len(excerpt.prefix), len(excerpt.suffix)
    return RequestStages(
        file=place.file,
        line=place.cursor.line + 1,
        col=place.cursor.col + 1,
        invoked=place.invoked,
        gate=place.skip_reason,
        window=WindowLines(lines.first + 1, lines.end, n_prefix, n_suffix) if lines else None,
        trace=trace,
        stop=(done.error or done.reason) if done else trace.reason,
        n_chars_generated=len(done.text) if done else 0,
        n_chars_shown=n_shown,
    )


def _path(done: Done) -> TracePath:
    if done.reason == "failed":
        return "failed"
    if done.reason == "deadline":
        return "late"
    return "warm" if done.cost.n_cached >= WARM_MIN_CACHED else "cold"
