"""Work that nobody asked for yet: the prompt of a place where the cursor rests, what follows an
acceptance, an anchor that has been left far behind. Any request goes before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmd.completion.engine_request import EngineRequests
from llmd.completion.results import Results
from llmd.completion.trace import Totals, TracePath, trace_of
from llmd.completion.types import Answer
from llmd.context.request import CompletionRequest
from llmd.context.window import MAX_TYPED_CHARS
from llmd.document import Document, Position
from llmd.engine.messages import Done
from llmd.engine.requests import Job

# Nobody accepts sooner, and whoever types on has asked again by then.
PAUSE_S = 0.1
# A longer typed text gets an anchor nearer by once nobody asks.
MAX_IDLE_TYPED_CHARS = MAX_TYPED_CHARS // 2


class CursorSnapshot:
    """A place of a document that may have changed since."""

    def __init__(self, document: Document, cursor: Position) -> None:
        self.document = document
        self.cursor = cursor
        self._version = document.version

    def is_current(self) -> bool:
        return self.document.version == self._version


class Prefetcher:
    """`is_allowed` may be set at any time. `totals` counts the work."""

    def __init__(
        self,
        asker: EngineRequests,
        answers: Results,
        look: Callable[[Document, Position], CompletionRequest],
    ) -> None:
        self.is_allowed = True
        self.totals = Totals()
        self._engine_requests = asker
        self._results = answers
        self._build_request = look
        self._timer: asyncio.TimerHandle | None = None

    def on_cursor_idle(self, spot: CursorSnapshot) -> None:
        """The cursor has come to rest there."""
        if self.is_allowed:
            self._prefill(self._build_request(spot.document, spot.cursor))

    def on_completion(self, place: CompletionRequest, answer: Answer, spot: CursorSnapshot) -> None:
        """What may be asked after that answer."""
        if answer.trace.path == "late":
            self._prefill(place)
        elif answer.text and self._results.config.completion.recall:
            self._schedule(lambda: self._prefetch(place.after_accepting(answer.text), spot))
        else:
            self._schedule(lambda: self._reanchor(spot))

    def cancel_pending(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, work: Callable[[], None]) -> None:
        """Unless somebody asks before."""
        self.cancel_pending()
        if self.is_allowed:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, work)

    def _prefill(self, place: CompletionRequest) -> None:
        if self.is_allowed and not place.skip_reason:
            self._count(self._engine_requests.submit(place, background=True, is_prefill=True))

    def _prefetch(self, place: CompletionRequest, spot: CursorSnapshot) -> None:
        """What follows an acceptance."""
        job = self._engine_requests.submit(place, background=True)
        self._count(job)

        def keep(finished: asyncio.Future[Done]) -> None:
            done = finished.result()
            self._results.store_prefetched(place, done)
            if done.reason != "cancelled":
                self._schedule(lambda: self._reanchor(spot))

        job.finished.add_done_callback(keep)

    def _reanchor(self, spot: CursorSnapshot) -> None:
        bears_lines = self._engine_requests.allows_distant_anchor()
        if bears_lines is None or not spot.is_current():
            return
        document, typed = spot.document, spot.document.typed
        is_far = self._build_request(document, spot.cursor).excerpt.n_typed > MAX_IDLE_TYPED_CHARS
        has_lines = typed is not None and typed.start.line < spot.cursor.line
        if is_far or (has_lines and not bears_lines):
            document.typed = None
            self._prefill(self._build_request(document, spot.cursor))

    def _count(self, job: Job) -> None:
        job.finished.add_done_callback(self._add)

    def _add(self, finished: asyncio.Future[Done]) -> None:
        done = finished.result()
        path: TracePath = "superseded" if done.reason in ("cancelled", "failed") else "prefetched"
        self.totals.add(trace_of(done.cost, path, 0.0))
