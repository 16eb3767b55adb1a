"""Holds a completion in flight: what was asked, the engine request that serves it, and the one
answer that its caller gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmd.completion.output_processor import remaining_text
from llmd.completion.types import Answer
from llmd.context.request import CompletionRequest
from llmd.document import Document, Position
from llmd.engine.requests import EngineRequest

OnPartial = Callable[[str], None]


class CompletionHandle:
    """Represents one caller's claim on an answer. Owned by the event loop.

    The handle is answered exactly once: with a completion, or early because a newer request came,
    the caller cancelled, or the deadline passed. The engine request behind the handle has a life of
    its own: it continues after a late answer, and a newer handle may take it over.
    """

    def __init__(
        self,
        request: CompletionRequest,
        document: Document,
        cursor: Position,
        on_partial: OnPartial | None,
        on_cancel: Callable[[CompletionHandle], None],
    ) -> None:
        self.request = request
        self.document = document
        self.cursor = cursor
        self.on_partial = on_partial
        self.origin = request  # what `engine_request` was submitted for
        self.engine_request: EngineRequest | None = None
        self.timer: asyncio.TimerHandle | None = None  # of the debounce, then of the deadline
        self._version = document.version
        self._on_cancel = on_cancel
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def result(self) -> Answer:
        """Waits for the answer. Cancelling the waiting task leaves the handle as it is."""
        return await asyncio.shield(self._answer)

    def add_done_callback(self, callback: Callable[[Answer], None]) -> None:
        """Calls `callback` with the answer, in a later turn of the event loop."""
        self._answer.add_done_callback(lambda answer: callback(answer.result()))

    def cancel(self) -> None:
        """Answers now, empty. The engine stops, unless a newer request of the document that may
        continue the same prompt follows at once."""
        if not self.is_answered:
            self._on_cancel(self)

    def answer(self, answer: Answer) -> None:
        if self.timer:
            self.timer.cancel()
        self._answer.set_result(answer)

    @property
    def is_answered(self) -> bool:
        return self._answer.done()

    @property
    def answered(self) -> Answer:
        """Returns the answer that was given. Invariant: `is_answered`."""
        return self._answer.result()

    @property
    def is_owner(self) -> bool:
        """Returns whether the engine request was submitted for this handle."""
        return self.origin is self.request

    def is_current(self) -> bool:
        """Returns whether the document is still the one that was asked about."""
        return self.document.version == self._version

    def remaining(self, text: str, request: CompletionRequest) -> str | None:
        """Returns what of `text`, generated for the origin, is left to show for `request`; None if
        what was typed since is not the beginning of the text."""
        origin = self.origin.excerpt
        return remaining_text(text, origin.prefix, origin.prompt_suffix, request.excerpt)

    def cancel_engine_request(self, newer: CompletionRequest) -> None:
        """Cancels the engine request in favour of a newer one. If both prompts begin alike and
        nothing has been generated yet, the prefill batch in progress is completed, so that its KV
        cells can be reused."""
        if self.engine_request is None:
            return
        mine, theirs = self.origin.excerpt, newer.excerpt
        n_before = len(mine.prefix) - mine.n_typed
        is_alike = (
            mine.prompt_suffix == theirs.prompt_suffix
            and mine.prefix[:n_before] == theirs.prefix[: len(theirs.prefix) - theirs.n_typed]
        )
        self.engine_request.cancel(after_batch=is_alike and not self.engine_request.text)
