"""The engine's service in this process, with a worker of tests.support.fault_worker."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from llmd.config import Config, SamplingConfig
from llmd.engine.client import EngineClient
from llmd.engine.messages import Done
from llmd.engine.requests import EngineRequest
from llmd.postprocess.stop import StopRule
from llmd.prompt.build import Piece
from tests.support import fault_worker
from tests.support.fault_worker import STARTS

LONG_MS = 60_000  # a deadline that no test reaches
PATIENCE_S = 30.0


def starts() -> list[str]:
    path = Path(os.environ[STARTS])
    return path.read_text().split() if path.exists() else []


@asynccontextmanager
async def running(mode: str, folder: Path) -> AsyncIterator[EngineClient]:
    model = folder / "model.gguf"
    model.touch()
    command = (sys.executable, fault_worker.__file__, mode)
    engine = EngineClient(Config(model=str(model)), command=command)
    living = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)


async def until(condition: Callable[[], object], what: str) -> None:
    """Gives the loop its turns, where `wait_until` would block it."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"not within {PATIENCE_S:.0f} s: {what}"
        await asyncio.sleep(0.01)


async def ready(engine: EngineClient, than: int | None = None) -> int:
    """The pid of a worker that has loaded, another one `than` the one given."""
    await until(
        lambda: engine.state == "ready" and engine.worker_pid not in (None, than), "a new worker"
    )
    assert engine.worker_pid
    return engine.worker_pid


class Asked:
    """A request, and how often it finished."""

    def __init__(self, engine: EngineClient, time_limit_ms: int = LONG_MS) -> None:
        rule = StopRule(8, 1, 0, "", time_limit_ms)
        self.n_answers = 0
        pieces = (Piece("prefix", "x"),)
        self.request: EngineRequest = engine.add_request(lambda _: pieces, rule, SamplingConfig())
        self.request.finished.add_done_callback(self._count)

    def _count(self, _: asyncio.Future[Done]) -> None:
        self.n_answers += 1

    async def answer(self) -> Done:
        done = await asyncio.wait_for(asyncio.shield(self.request.finished), PATIENCE_S)
        await asyncio.sleep(0)
        assert self.n_answers == 1
        return done
