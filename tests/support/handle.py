"""A completion handle that the test answers, in the place of the pipeline's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llmd.completion.trace import Trace, TracePath
from llmd.completion.types import Answer


class FakeHandle:
    """What transports use of a `CompletionHandle`."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def result(self) -> Answer:
        return await asyncio.shield(self._answer)

    def add_done_callback(self, callback: Callable[[Answer], None]) -> None:
        self._answer.add_done_callback(lambda answer: callback(answer.result()))

    def cancel(self) -> None:
        self.is_cancelled = True
        self.answer("", "superseded")

    def answer(self, text: str, path: TracePath = "warm") -> None:
        if not self._answer.done():
            self._answer.set_result(Answer(text, Trace(path=path)))
