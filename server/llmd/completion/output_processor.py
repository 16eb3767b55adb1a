"""Turns engine output into answers: trims it, keeps it in the suggestion cache, records metrics;
serves later requests from that cache. Owned by the event loop."""

from __future__ import annotations

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
from llmd.postprocess.trim import trim

MAX_DOCUMENTS, MAX_SUGGESTIONS = 32, 16  # cached


@dataclass(frozen=True, slots=True)
class CachedSuggestion:
    """Holds a text as it was shown where `prefix` and `suffix` surrounded the cursor. `suffix` is
    the prompt's, without the closers that an editor adds. An alternative is not shown again at its
    own position, only once some of its text has been typed."""

    prefix: str
    suffix: str
    text: str
    is_prefetched: bool = False
    is_alternative: bool = False

    def remaining(self, excerpt: Excerpt) -> str | None:
        """Returns what is left to show at `excerpt`; None where the suggestion does not apply."""
        if self.is_alternative and len(excerpt.prefix) == len(self.prefix):
            return None
        return remaining_text(self.text, self.prefix, self.suffix, excerpt)


def remaining_text(text: str, prefix: str, suffix: str, excerpt: Excerpt) -> str | None:
    """Returns what is left of `text`, a suggestion between `prefix` and `suffix`, after what has
    been typed since; None if something else was typed, or all of the text."""
    n_typed = len(excerpt.prefix) - len(prefix)
    if n_typed < 0 or excerpt.prompt_suffix != suffix or not excerpt.prefix.startswith(prefix):
        return None
    is_typed = text.startswith(excerpt.prefix[len(prefix) :])
    return text[n_typed:] if is_typed and (n_typed < len(text) or not n_typed) else None


class SuggestionCache:
    """Keeps the latest suggestions of the latest documents."""

    def __init__(self) -> None:
        self._by_document: OrderedDict[int, deque[CachedSuggestion]] = OrderedDict()

    def add(self, document: int, suggestion: CachedSuggestion) -> None:
        suggestions = self._by_document.setdefault(document, deque(maxlen=MAX_SUGGESTIONS))
        self._by_document.move_to_end(document)
        suggestions.append(suggestion)
        if len(self._by_document) > MAX_DOCUMENTS:
            self._by_document.popitem(last=False)

    def find(self, document: int, excerpt: Excerpt) -> tuple[CachedSuggestion, str] | None:
        """Returns the newest suggestion that applies at `excerpt`, and what is left of its text."""
        for suggestion in reversed(self._by_document.get(document, ())):
            if (rest := suggestion.remaining(excerpt)) is not None:
                return suggestion, rest
        return None

    def forget(self, document: int | None = None) -> None:
        """Drops the suggestions of one document, or of all."""
        if document is None:
            self._by_document.clear()
        else:
            self._by_document.pop(document, None)


class OutputProcessor:
    """Finishes requests and keeps their suggestions and figures.

    `disabled_rules`: names of `postprocess.stop.RULES`, for `llmd eval`.
    """

    def __init__(self, config: Config, disabled_rules: frozenset[str] = frozenset()) -> None:
        self.totals = Totals()
        self.history = RequestHistory()
        self._config = config
        self._disabled_rules = disabled_rules
        self.cache = SuggestionCache()

    def configure(self, config: Config) -> None:
        """Applies `config`. Suggestions made under the old one are forgotten."""
        self._config = config
        self.cache.forget()

    def trimmed(self, text: str, request: CompletionRequest) -> str:
        return trim(text, request.excerpt, self._disabled_rules)

    def finish(self, request: CompletionRequest, done: Done) -> Answer:
        """Returns the answer to the request that the engine has finished."""
        text = self.trimmed(done.text, request)
        if text and self._is_below_min_logprob(done) and not request.alternative:
            return self.record(request, "", done.cost, "suppressed", "confidence", done)
        self._store(request, text, done)
        reason = done.error or done.reason
        return self.record(request, text, done.cost, _path(done), reason, done)

    def finish_shared(self, origin: CompletionRequest, done: Done) -> str:
        """Returns the whole text that was generated for `origin`, another request."""
        text = self.trimmed(done.text, origin)
        self._store(origin, text, done)
        return text

    def from_cache(self, request: CompletionRequest) -> Answer | None:
        cached = self.cache.find(request.document, request.excerpt)
        if cached is None:
            return None
        suggestion, text = cached
        if request.excerpt.n_closers:  # closers that an editor added since are in the text too
            text = self.trimmed(text, request)
        path: TracePath = "prefetched" if suggestion.is_prefetched else "reused"
        return self.record(request, text, Cost(), path)

    def store_prefetched(self, request: CompletionRequest, done: Done) -> None:
        """Keeps a text that no request has asked for yet."""
        if not self._is_below_min_logprob(done):
            self._store(request, self.trimmed(done.text, request), done, is_prefetched=True)

    def record_answered_early(self, request: CompletionRequest, answer: Answer, done: Done) -> None:
        """Records a request that was answered before the engine had finished, with its whole cost.
        The text that came too late serves the next request."""
        path, reason = answer.trace.path, answer.trace.reason
        if path == "late" and not self._is_below_min_logprob(done):
            self._store(request, self.trimmed(done.text, request), done)
        self.record(request, answer.text, done.cost, path, reason)

    def record(
        self,
        request: CompletionRequest,
        text: str,
        cost: Cost,
        path: TracePath,
        reason: str = "",
        done: Done | None = None,
    ) -> Answer:
        trace = trace_of(cost, path, since_ms(request.arrived_s), reason)
        self.totals.add(trace)
        self.history.add(_stages(request, trace, done, len(text)))
        return Answer(text, trace)

    def _is_below_min_logprob(self, done: Done) -> bool:
        minimum = self._config.completion.min_logprob
        return minimum != "off" and done.cost.logprob_line < minimum

    def _store(
        self, request: CompletionRequest, text: str, done: Done, is_prefetched: bool = False
    ) -> None:
        is_whole = done.reason not in ("failed", "deadline", "cancelled")
        if is_whole and request.slot and self._config.completion.recall:
            excerpt, is_alternative = request.excerpt, request.alternative > 0
            self.cache.add(
                request.document,
                CachedSuggestion(
                    excerpt.prefix, excerpt.prompt_suffix, text, is_prefetched, is_alternative
                ),
            )


def since_ms(start_s: float) -> float:
    return 1e3 * (time.monotonic() - start_s)


def _stages(
    request: CompletionRequest, trace: Trace, done: Done | None, n_shown: int
) -> RequestStages:
    lines, excerpt = request.lines, request.excerpt
    n_prefix, n_suffix = len(excerpt.prefix), len(excerpt.suffix)
    return RequestStages(
        file=request.file,
        line=request.cursor.line + 1,
        col=request.cursor.col + 1,
        invoked=request.invoked,
        gate=request.skip_reason,
        window=WindowLines(lines.first + 1, lines.end, n_prefix, n_suffix) if lines else None,
        trace=trace,
        stop=(done.error or done.reason) if done else trace.reason,
        n_chars_generated=len(done.text) if done else 0,
        n_chars_shown=n_shown,
    )


def _path(done: Done) -> TracePath:
    if done.reason == "failed":
        return "failed"
    if done.reason in ("deadline", "cancelled"):
        return "late"
    return "warm" if done.cost.n_cached >= WARM_MIN_CACHED else "cold"
