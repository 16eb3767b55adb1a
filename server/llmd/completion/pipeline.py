"""Runs a completion request through its stages: eligibility and window, cache, prompt and engine,
post-processing, trace. Runs on the event loop; knows no protocol and no tokens."""

from __future__ import annotations

import asyncio

from llmd.completion.handle import CompletionHandle, OnPartial
from llmd.completion.output_processor import OutputProcessor, since_ms
from llmd.completion.prefetch import Prefetcher
from llmd.completion.submit import Submitter
from llmd.completion.trace import TracePath, trace_of
from llmd.completion.types import Answer
from llmd.config import Config
from llmd.context.request import CompletionRequest, Selected, WorkspaceCheck, build_request
from llmd.document import Document, Position
from llmd.engine.client import EngineClient
from llmd.engine.messages import Cost, Done
from llmd.engine.requests import EngineRequest

# Delay before a cancelled request ends in the engine: an editor that cancels usually asks again at
# once, and the new request may continue the same prefill.
CANCEL_DELAY_S = 0.004


class CompletionPipeline:
    """Runs completion requests from the snapshot to the answer.

    `disabled_rules`: names of `postprocess.stop.RULES` that `llmd eval` leaves out.
    """

    def __init__(
        self,
        config: Config,
        engine: EngineClient,
        check_workspace: WorkspaceCheck,
        disabled_rules: frozenset[str] = frozenset(),
    ) -> None:
        self.debounce_ms = config.completion.debounce_ms
        self.output_processor = OutputProcessor(config, disabled_rules)
        self._submitter = Submitter(config, engine, disabled_rules)
        self.prefetcher = Prefetcher(
            config, self._submitter, self.output_processor, self._build_request
        )
        self.totals, self.history = self.output_processor.totals, self.output_processor.history
        self.background_totals = self.prefetcher.totals
        self._config = config
        self._engine = engine
        self._check_workspace = check_workspace
        self._latest: dict[int, CompletionHandle] = {}  # by document

    def configure(self, config: Config) -> None:
        """Applies `config` from the next request on; earlier suggestions are forgotten."""
        self._config = config
        self.output_processor.configure(config)
        self._submitter.configure(config)
        self.prefetcher.configure(config)

    def forget_suggestions(self) -> None:
        """Drops all cached suggestions: another model would make others."""
        self.output_processor.cache.forget()

    def set_policy(self, debounce_ms: int, may_prefetch: bool) -> None:
        """Applies what battery and memory allow: the pause before a request is sent to the
        engine, and whether the engine may work on what no request has asked for."""
        self.debounce_ms = debounce_ms
        self.prefetcher.is_allowed = may_prefetch

    def complete(
        self,
        document: Document,
        cursor: Position,
        *,
        invoked: bool,
        selected: Selected | None = None,
        on_partial: OnPartial | None = None,
        alternative: int = 0,
    ) -> CompletionHandle:
        """Takes a snapshot of the document, supersedes its older request, and starts. Writes
        `document.window` and `document.typed`; later edits do not affect the request."""
        self.prefetcher.cancel_pending()
        request = build_request(
            document, cursor, self._config, self._check_workspace, invoked=invoked,
            selected=selected, alternative=alternative,
        )  # fmt: skip
        handle = CompletionHandle(request, document, cursor, on_partial, self._cancel)
        older = self._latest.pop(document.number, None)
        is_shared = older is not None and self._replace(older, handle)
        if not is_shared and (answer := self._immediate_answer(request)):
            handle.answer(answer)
            return handle
        self._latest[document.number] = handle
        if is_shared and handle.engine_request:
            self._follow(handle, handle.engine_request)
        elif self.debounce_ms and not invoked:
            loop = asyncio.get_running_loop()
            handle.timer = loop.call_later(self.debounce_ms / 1e3, self._start, handle)
        else:
            self._start(handle)
        return handle

    def cursor_idle(self, document: Document, cursor: Position) -> None:
        """Evaluates the prompt for a cursor that has come to rest, before the first key."""
        if document.number not in self._latest:
            self.prefetcher.on_cursor_idle(document, cursor)

    def document_closed(self, document: Document) -> None:
        self.output_processor.cache.forget(document.number)
        self._engine.forget(document.slot)

    def _build_request(self, document: Document, cursor: Position) -> CompletionRequest:
        return build_request(document, cursor, self._config, self._check_workspace)

    def _immediate_answer(self, request: CompletionRequest) -> Answer | None:
        """Returns an answer that needs no engine: a skipped request, or a cached suggestion. A
        request made by hand wants the model's answer."""
        if request.skip_reason:
            return self.output_processor.record(
                request, "", Cost(), "suppressed", request.skip_reason
            )
        if request.invoked or request.alternative:
            return None
        return self.output_processor.from_cache(request)

    def _replace(self, older: CompletionHandle, newer: CompletionHandle) -> bool:
        """Answers the older handle as superseded. Returns whether the newer handle takes over its
        engine request; if not, that request is cancelled."""
        may_share = self._config.completion.recall and not self._is_judged_whole
        is_shared = may_share and self._can_serve(older, newer.request)
        if is_shared:
            newer.origin, newer.engine_request = older.origin, older.engine_request
        else:
            older.cancel_engine_request(newer.request)
        self._answer_early(older, "superseded")
        return is_shared

    @property
    def _is_judged_whole(self) -> bool:
        """Returns whether nothing is shown, or shared, before the minimum log-probability is
        checked on the finished text, for the request that it was generated for."""
        return self._config.completion.min_logprob != "off"

    def _can_serve(self, handle: CompletionHandle, request: CompletionRequest) -> bool:
        """Returns whether the handle's engine request, still running, generates what was typed
        since, so that the rest of its text answers a newer request of the document. A text for an
        alternative serves its own position only."""
        running, origin = handle.engine_request, handle.origin
        if running is None or running.state not in ("queued", "running") or request.skip_reason:
            return False
        if origin.alternative or request.alternative or (request.invoked and not origin.invoked):
            return False
        return (
            handle.remaining(self.output_processor.trimmed(running.text, origin), request)
            is not None
        )

    def _start(self, handle: CompletionHandle) -> None:
        handle.engine_request = self._submitter.submit(handle.request)
        self._follow(handle, handle.engine_request)

    def _follow(self, handle: CompletionHandle, running: EngineRequest) -> None:
        """Streams, answers and records the handle as its engine request proceeds."""
        if handle.on_partial and not self._is_judged_whole:
            running.listeners.append(lambda _: self._show(handle))
            self._show(handle)  # what a shared request has generated already
        left_ms = handle.request.deadline_ms - since_ms(handle.request.arrived_s)
        loop = asyncio.get_running_loop()
        handle.timer = loop.call_later(max(left_ms, 0) / 1e3, self._answer_late, handle)
        running.finished.add_done_callback(lambda done: self._finish(handle, done.result()))

    def _show(self, handle: CompletionHandle) -> None:
        if handle.on_partial and not handle.is_answered and (text := self._text(handle)):
            handle.on_partial(text)

    def _text(self, handle: CompletionHandle) -> str:
        """Returns what the engine has generated so far, as the handle's position shows it."""
        running = handle.engine_request
        text = self.output_processor.trimmed(running.text if running else "", handle.origin)
        return handle.remaining(text, handle.request) or ""

    def _finish(self, handle: CompletionHandle, done: Done) -> None:
        """Answers the handle with the finished text and records the cost. What a shared engine
        request costs counts for the handle that it was submitted for."""
        if self._latest.get(handle.request.document) is handle:
            del self._latest[handle.request.document]
        if handle.is_answered:
            if handle.is_owner:
                self.output_processor.record_answered_early(handle.request, handle.answered, done)
        elif handle.is_owner:
            handle.answer(self.output_processor.finish(handle.request, done))
            self.prefetcher.on_completion(handle)
        else:
            whole = self.output_processor.finish_shared(handle.origin, done)
            rest = handle.remaining(whole, handle.request) or ""
            handle.answer(self.output_processor.record(handle.request, rest, Cost(), "reused"))

    def _answer_late(self, handle: CompletionHandle) -> None:
        """Answers with the text so far, at the deadline. The engine request continues: its text
        serves the next key, from the cache or by being shared."""
        text = "" if self._is_judged_whole else self._text(handle)
        self._answer_early(handle, "late", "deadline", text)

    def _cancel(self, handle: CompletionHandle) -> None:
        document, running = handle.request.document, handle.engine_request
        self._answer_early(handle, "superseded", "cancelled")
        if running is None:
            self._latest.pop(document, None)
            return

        def end() -> None:
            if self._latest.get(document) is handle:
                running.cancel()

        asyncio.get_running_loop().call_later(CANCEL_DELAY_S, end)

    def _answer_early(
        self, handle: CompletionHandle, path: TracePath, reason: str = "", text: str = ""
    ) -> None:
        """Answers before the engine request has finished. The handle that the engine request was
        submitted for is recorded with its cost once that is known."""
        if handle.is_answered:
            return
        request = handle.request
        if handle.engine_request and handle.is_owner:
            trace = trace_of(Cost(), path, since_ms(request.arrived_s), reason)
            handle.answer(Answer(text, trace))
        else:
            handle.answer(self.output_processor.record(request, text, Cost(), path, reason))
