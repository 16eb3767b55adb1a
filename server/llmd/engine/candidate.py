"""A worker whose model is loaded beside the one in use, until it takes that one's place."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from llmd import machine
from llmd.config import EngineConfig
from llmd.engine import messages
from llmd.engine.cancel_flags import CancelFlags
from llmd.engine.messages import Loaded
from llmd.engine.process import OnMessage, WorkerProcess
from llmd.errors import EngineError, ModelError
from llmd.models import memory_plan
from llmd.models.gguf.header import check_model, whole_shape

SILENT_S = 600.0  # as long as any model may say nothing while it loads
ASK_S = 30.0
_DESCRIBE = (sys.executable, "-m", "llmd.worker.loader")


class CandidateWorker:
    """Ends with `end`, or lives on in `go_on`."""

    def __init__(
        self, command: Sequence[str], flags: CancelFlags, path: Path, load: messages.Load
    ) -> None:
        self.worker = WorkerProcess(command, flags, path)
        self._loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._on_message: OnMessage = lambda _: None
        self._run = asyncio.create_task(
            self.worker.run(load, lambda frame: self._on_message(frame))
        )

    async def wait_loaded(self, tell: Callable[[float], None]) -> None:
        """`tell` is told the share loaded.

        Raises:
            ModelError: the model could not be loaded.
            EngineError: the worker sent nonsense, died, or said nothing for long.
            OSError: no process could be made.
        """
        try:
            async with asyncio.timeout(SILENT_S) as silence:
                self._on_message = lambda frame: self._on_load_message(frame, tell, silence)
                either: set[asyncio.Future[Any]] = {self._loaded, self._run}
                await asyncio.wait(either, return_when="FIRST_COMPLETED")
        except TimeoutError:
            raise EngineError(f"The engine worker said nothing for {SILENT_S:.0f} s") from None
        if not self._loaded.done():
            raise EngineError(await self._run)

    def _on_load_message(
        self, frame: messages.FromWorker, tell: Callable[[float], None], silence: asyncio.Timeout
    ) -> None:
        if not self._loaded.done():
            silence.reschedule(asyncio.get_running_loop().time() + SILENT_S)
        match frame:
            case messages.Loading(share=share):
                tell(share)
            case messages.Loaded() if not self._loaded.done():
                self._loaded.set_result(frame)
            case messages.LoadFailed(reason=reason):
                raise ModelError(reason)

    async def adopt(self, take: OnMessage) -> str:
        """As WorkerProcess.live, from where it is loaded."""
        self._on_message = take
        take(self._loaded.result())
        return await self._run

    async def end(self) -> None:
        self.worker.end()
        await asyncio.gather(self._run, return_exceptions=True)


def has_room(path: Path, info: Loaded) -> bool:
    """Whether another model can be loaded in full while that of `info` stays, where it is whole
    on its GPU too.

    Raises:
        ModelError: it is no model that llmd takes.
    """
    shape = whole_shape(path, check_model(path))
    if 0 < info.n_gpu_layers < info.n_layers:
        return False
    here = _cpu_machine() if info.backend == "cpu" else _query_machine()
    return here is not None and memory_plan.fits_in_full(
        engine_options(info), _remaining(here, info), shape
    )


def _remaining(here: memory_plan.DescribedMachine, info: Loaded) -> memory_plan.DescribedMachine:
    """Metal tells a process of its own share alone (`currentAllocatedSize`), so what the model in
    use has of the wired limit still looks free."""
    if here.backend != "metal":
        return here
    gpus = (replace(gpu, free_bytes=gpu.free_bytes - info.planned_bytes) for gpu in here.gpus)
    return replace(here, gpus=tuple(gpus))


def engine_options(info: Loaded) -> EngineConfig:
    """What the user set, as far as what is loaded tells: the same will hold for the next one."""
    wishes: dict[str, object] = {"n_gpu_layers": "all" if info.n_gpu_layers else 0}
    if info.n_ctx > memory_plan.N_CTX:
        wishes["n_ctx"] = info.n_ctx
    if info.cache_type_k == info.cache_type_v:  # else mostly automatic, and hardly more
        wishes |= {"cache_type_k": info.cache_type_k, "cache_type_v": info.cache_type_v}
    return msgspec.convert(wishes, EngineConfig)


def _cpu_machine() -> memory_plan.DescribedMachine:
    return memory_plan.DescribedMachine(
        "cpu", machine.n_cores(), 0, machine.memory_bytes(), machine.available_bytes()
    )


def _query_machine() -> memory_plan.DescribedMachine | None:
    """What llama.cpp, which is not loaded here, says of GPUs; None where it says nothing."""
    try:
        done = subprocess.run(_DESCRIBE, capture_output=True, timeout=ASK_S, check=True)  # noqa: S603
        return msgspec.json.decode(done.stdout, type=memory_plan.DescribedMachine)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return None
