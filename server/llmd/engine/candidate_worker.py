"""Loads a model in a second worker beside the active one, until the second worker replaces it."""

from __future__ import annotations

import asyncio
import subprocess
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
from llmd.models.gguf.validate import check_model, whole_shape
from llmd.processes import FOLDER, child_env, module_command

SILENT_S = 600.0  # a model that is read from a slow disk sends nothing for minutes
ASK_S = 60.0  # a Mac may compile Metal's kernels first
_DESCRIBE = module_command("llmd.worker.loader")


class CandidateWorker:
    """Call `end()` to discard the worker, or `adopt()` to make it the active one."""

    def __init__(
        self, command: Sequence[str], flags: CancelFlags, path: Path, load: messages.Load
    ) -> None:
        self.worker = WorkerProcess(command, flags, path)
        self._loaded: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._on_message: OnMessage = lambda _: None
        self._run = asyncio.create_task(
            self.worker.run(load, lambda message: self._on_message(message))
        )

    async def wait_loaded(self, on_share: Callable[[float], None]) -> None:
        """Waits until the model is loaded; `on_share` gets the share loaded, 0 to 1.

        Raises:
            ModelError: the model could not be loaded.
            EngineError: the worker sent an invalid message, died, or was silent for too long.
            OSError: no process could be made.
        """
        try:
            async with asyncio.timeout(SILENT_S) as silence:
                self._on_message = lambda message: self._on_load_message(message, on_share, silence)
                either: set[asyncio.Future[Any]] = {self._loaded, self._run}
                await asyncio.wait(either, return_when="FIRST_COMPLETED")
        except TimeoutError:
            raise EngineError(f"The engine worker sent nothing for {SILENT_S:.0f} s") from None
        if not self._loaded.done():
            raise EngineError(await self._run)

    def _on_load_message(
        self,
        message: messages.FromWorker,
        on_share: Callable[[float], None],
        silence: asyncio.Timeout,
    ) -> None:
        if not self._loaded.done():
            silence.reschedule(asyncio.get_running_loop().time() + SILENT_S)
        match message:
            case messages.Loading(share=share):
                on_share(share)
            case messages.Loaded() if not self._loaded.done():
                self._loaded.set_result(message)
            case messages.LoadFailed(reason=reason):
                raise ModelError(reason)

    async def adopt(self, on_message: OnMessage) -> str:
        """Passes on messages as `WorkerProcess.run` does, beginning with the loaded model. Returns
        how the worker ended."""
        self._on_message = on_message
        on_message(self._loaded.result())
        return await self._run

    async def end(self) -> None:
        self.worker.end()
        await asyncio.gather(self._run, return_exceptions=True)


def has_room(path: Path, info: Loaded) -> bool:
    """Returns whether another model fits in full while the model of `info` stays loaded. A model
    that is only partly on its GPU leaves no room for another.

    Raises:
        ModelError: the file is not a model that llmd can load.
    """
    shape = whole_shape(path, check_model(path))
    if 0 < info.n_gpu_layers < info.n_layers:
        return False
    host = _cpu_machine() if info.backend == "cpu" else _query_machine()
    return host is not None and memory_plan.fits_in_full(
        engine_options(info), _remaining(host, info), shape
    )


def _remaining(host: memory_plan.DescribedMachine, info: Loaded) -> memory_plan.DescribedMachine:
    """Subtracts what the loaded model uses. Metal reports the allocations of the calling process
    only (`currentAllocatedSize`), so what another process has of the wired limit looks free."""
    if host.backend != "metal":
        return host
    gpus = (replace(gpu, free_bytes=gpu.free_bytes - info.planned_bytes) for gpu in host.gpus)
    return replace(host, gpus=tuple(gpus))


def engine_options(info: Loaded) -> EngineConfig:
    """Infers the user's settings from what is loaded: they will hold for the next model too."""
    options: dict[str, object] = {"n_gpu_layers": "all" if info.n_gpu_layers else 0}
    if info.n_ctx > memory_plan.N_CTX:
        options["n_ctx"] = info.n_ctx
    if info.cache_type_k == info.cache_type_v:  # otherwise mostly chosen automatically
        options |= {"cache_type_k": info.cache_type_k, "cache_type_v": info.cache_type_v}
    return msgspec.convert(options, EngineConfig)


def _cpu_machine() -> memory_plan.DescribedMachine:
    return memory_plan.DescribedMachine(
        "cpu", machine.n_cores(), 0, machine.memory_bytes(), machine.available_bytes()
    )


def _query_machine() -> memory_plan.DescribedMachine | None:
    """Asks a child process that loads llama.cpp about the GPUs; None if there is no answer."""
    try:
        done = subprocess.run(  # noqa: S603
            _DESCRIBE, capture_output=True, timeout=ASK_S, check=True, env=child_env(), cwd=FOLDER
        )
        return msgspec.json.decode(done.stdout, type=memory_plan.DescribedMachine)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError):
        return None
