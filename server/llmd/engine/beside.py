"""A worker whose model is loaded beside the one in use, until it takes that one's place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llmd import machine
from llmd.engine import frames
from llmd.engine.flags import CancelFlags
from llmd.engine.frames import Loaded
from llmd.engine.process import Take, WorkerProcess
from llmd.errors import EngineError, ModelError
from llmd.models.header import check_model, whole_shape

SILENT_S = 600.0  # as long as any model may say nothing while it loads
# Beside its weights: what a graph computes in, the KV cache, and what the system must keep.
_EXTRA_SHARE, _EXTRA_BYTES = 0.1, 512 << 20


class Beside:
    """Ends with `end`, or lives on in `go_on`."""

    def __init__(
        self, command: Sequence[str], flags: CancelFlags, path: Path, load: frames.Load
    ) -> None:
        self.worker = WorkerProcess(command, flags, path)
        self._loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._take: Take = lambda _: None
        self._life = asyncio.create_task(self.worker.live(load, lambda frame: self._take(frame)))

    async def until_loaded(self, tell: Callable[[float], None]) -> None:
        """`tell` is told the share loaded.

        Raises:
            ModelError: the model could not be loaded.
            EngineError: the worker sent nonsense, died, or said nothing for long.
            OSError: no process could be made.
        """
        try:
            async with asyncio.timeout(SILENT_S) as silence:
                self._take = lambda frame: self._hear(frame, tell, silence)
                either: set[asyncio.Future[Any]] = {self._loaded, self._life}
                await asyncio.wait(either, return_when="FIRST_COMPLETED")
        except TimeoutError:
            raise EngineError(f"The engine worker said nothing for {SILENT_S:.0f} s") from None
        if not self._loaded.done():
            raise EngineError(await self._life)

    def _hear(
        self, frame: frames.FromWorker, tell: Callable[[float], None], silence: asyncio.Timeout
    ) -> None:
        if not self._loaded.done():
            silence.reschedule(asyncio.get_running_loop().time() + SILENT_S)
        match frame:
            case frames.Loading(share=share):
                tell(share)
            case frames.Loaded() if not self._loaded.done():
                self._loaded.set_result(frame)
            case frames.LoadFailed(reason=reason):
                raise ModelError(reason)

    async def go_on(self, take: Take) -> str:
        """As WorkerProcess.live, from where it is loaded."""
        self._take = take
        take(self._loaded.result())
        return await self._life

    async def end(self) -> None:
        self.worker.end()
        await asyncio.gather(self._life, return_exceptions=True)


def has_room(path: Path, info: Loaded) -> bool:
    """Whether another model can be loaded while that of `info` stays. Of a GPU's own memory
    nothing is known here, so there it cannot.

    Raises:
        ModelError: it is no model that llmd takes.
    """
    header = check_model(path)
    if info.n_gpu_layers and info.backend == "gpu":
        return False
    return needs(whole_shape(path, header).weight_bytes) <= machine.available_bytes()


def needs(n_weight_bytes: int) -> int:
    return round(n_weight_bytes * (1 + _EXTRA_SHARE)) + _EXTRA_BYTES
