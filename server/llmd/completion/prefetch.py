"""Works ahead of the user: evaluates the prompt where the cursor rests, generates what follows an
acceptance, and moves an anchor that has been left far behind. Any request cancels such work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmd.completion.handle import CompletionHandle
from llmd.completion.output_processor import OutputProcessor
from llmd.completion.submit import Submitter
from llmd.completion.trace import Totals, TracePath, trace_of
from llmd.config import Config
from llmd.context.request import CompletionRequest
from llmd.context.window import MAX_TYPED_CHARS
from llmd.document import Document, Position
from llmd.engine.messages import Done
from llmd.engine.requests import EngineRequest

# Delay before prefetching. Accepting takes longer than this, and a user who keeps typing has
# already sent a new request.
PAUSE_S = 0.1
# A longer typed text gets a nearer anchor once no request is pending.
MAX_IDLE_TYPED_CHARS = MAX_TYPED_CHARS // 2

BuildRequest = Callable[[Document, Position], CompletionRequest]


class Prefetcher:
    """Submits background requests.

    `totals` counts the prefetched work. `is_allowed` holds from the next request on.
    """

    def __init__(
        self,
        config: Config,
        submitter: Submitter,
        output_processor: OutputProcessor,
        build_request: BuildRequest,
    ) -> None:
        self.is_allowed = True
        self.totals = Totals()
        self._config = config
        self._submitter = submitter
        self._output_processor = output_processor
        self._build_request = build_request
        self._timer: asyncio.TimerHandle | None = None

    def configure(self, config: Config) -> None:
        self._config = config

    def on_cursor_idle(self, document: Document, cursor: Position) -> None:
        if self.is_allowed:
            self._prefill(self._build_request(document, cursor))

    def on_completion(self, handle: CompletionHandle) -> None:
        """Schedules what may be asked next, once the handle has been answered."""
        text = handle.answered.text
        if text and self._config.completion.recall:
            accepted = handle.request.after_accepting(text)
            self._schedule(lambda: self._prefetch(accepted, handle))
        else:
            self._schedule(lambda: self._reanchor(handle))

    def cancel_pending(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, work: Callable[[], None]) -> None:
        """Runs `work` after a pause, unless a request comes first."""
        self.cancel_pending()
        if self.is_allowed:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, work)

    def _prefill(self, request: CompletionRequest) -> None:
        if not request.skip_reason:
            self._count(self._submitter.submit(request, background=True, is_prefill=True))

    def _prefetch(self, accepted: CompletionRequest, handle: CompletionHandle) -> None:
        """Generates what follows once the handle's answer has been accepted."""
        running = self._submitter.submit(accepted, background=True)
        self._count(running)

        def store(finished: asyncio.Future[Done]) -> None:
            done = finished.result()
            self._output_processor.store_prefetched(accepted, done)
            if done.reason != "cancelled":
                self._schedule(lambda: self._reanchor(handle))

        running.finished.add_done_callback(store)

    def _reanchor(self, handle: CompletionHandle) -> None:
        allows_lines = self._submitter.allows_distant_anchor()
        if allows_lines is None or not handle.is_current():
            return
        document, cursor = handle.document, handle.cursor
        typed = document.typed
        is_far = self._build_request(document, cursor).excerpt.n_typed > MAX_IDLE_TYPED_CHARS
        has_lines = typed is not None and typed.start.line < cursor.line
        if is_far or (has_lines and not allows_lines):
            document.typed = None
            self._prefill(self._build_request(document, cursor))

    def _count(self, running: EngineRequest) -> None:
        def add(finished: asyncio.Future[Done]) -> None:
            done = finished.result()
            is_lost = done.reason in ("cancelled", "failed")
            path: TracePath = "superseded" if is_lost else "prefetched"
            self.totals.add(trace_of(done.cost, path, 0.0))

        running.finished.add_done_callback(add)
