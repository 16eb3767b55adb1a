"""One request to the engine, as the daemon holds it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmd.engine import messages
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.messages import Done, Loaded


class Job:
    """One request to the engine.

    `answered` is done when the asker may go on, `finished` when the engine has stopped working.
    """

    def __init__(
        self,
        id_: int,
        flags: CancelFlags,
        make: Callable[[Loaded], messages.Infer],
        on_partial: Callable[[str], None] | None,
        slot: int = 0,
        background: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.id = id_
        self.make = make
        self.slot = slot
        self.background = background
        self.answered: asyncio.Future[Done] = loop.create_future()
        self.finished: asyncio.Future[Done] = loop.create_future()
        self._flags = flags
        self._on_partial = on_partial
        flags.clear(id_)

    def cancel(self, reason: messages.StopReason = "cancelled", gently: bool = False) -> None:
        """Answers now. The engine stops within one decode step, or, gently, after the batch that
        it is at, whose cells are kept."""
        if not self.finished.done():
            self._flags.set(self.id, gently)
        if not self.answered.done():
            self.answered.set_result(messages.unanswered(self.id, reason))

    def show(self, text: str) -> None:
        if self._on_partial and not self.answered.done():
            self._on_partial(text)

    def finish(self, done: Done) -> None:
        for future in (self.answered, self.finished):
            if not future.done():
                future.set_result(done)
