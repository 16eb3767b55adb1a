"""Makes the plan: tries settings from the best to the smallest, and takes the first that fit."""

from __future__ import annotations

from collections.abc import Iterator

from llmd.config import EngineConfig
from llmd.errors import BadInput, ModelError
from llmd.models.memory_plan import too_large
from llmd.models.memory_plan.cache_types import choose_cache_types
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.placement import (
    LoadPlan,
    MemoryUse,
    TrialSettings,
    estimate_memory,
    place_units,
)
from llmd.models.memory_plan.sizes import UnitCounts, kv_bytes

N_CTX = 2048  # tokens: more than the prompt's windows and the completion need
# Contexts to try if N_CTX does not fit in memory. The prompt's windows shrink with the context.
_SMALLER_N_CTX = (1280, 768, 512)
_N_BATCH_CPU = 64  # tokens; a cancelled prefill loses at most one batch
_N_BATCH_GPU = 512
_MIN_UBATCH = 16


def plan_load(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, name: str = ""
) -> LoadPlan:
    """Plans how to load a model. `name` is the model's file in error messages.

    Raises:
        BadInput: the user's settings contradict each other.
        ModelError: the model does not fit; names the setting to change, or a size that would fit.
    """
    _check_batches(engine)
    if not machine.is_known:
        settings = next(_trial_settings(engine, machine, shape))
        return _build_plan(engine, machine, settings, shape, None)
    if plan := _find_plan(engine, machine, shape):
        return plan
    raise ModelError(
        too_large.explain_too_large(engine, machine, shape, name, _find_plan, _least_memory)
    )


def _find_plan(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> LoadPlan | None:
    """Returns the best plan that fits, or None. First maximises the layers on GPUs with the full
    context, so that less memory never gives more layers; then the context that still fits."""
    trials = list(_trial_settings(engine, machine, shape))
    best: tuple[TrialSettings, UnitCounts] | None = None
    for settings in (trial for trial in trials if trial.n_ctx == trials[0].n_ctx):
        counts = place_units(engine, settings, machine, shape)
        if counts is not None and (best is None or sum(counts) > sum(best[1])):
            best = settings, counts
    if best is None:
        return None
    n_ubatch, counts = best[0].n_ubatch, best[1]
    for settings in trials:
        if settings.n_ubatch > n_ubatch:
            continue
        memory = estimate_memory(settings, counts, machine, shape)
        if memory.fits(machine):
            return _build_plan(engine, machine, settings, shape, memory)
    return None


def _least_memory(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> MemoryUse:
    """Returns the memory that the smallest settings need, whether or not the machine has it."""
    settings = list(_trial_settings(engine, machine, shape))[-1]
    counts = place_units(engine, settings, machine, shape) or (0,) * len(machine.gpus)
    return estimate_memory(settings, counts, machine, shape)


def _trial_settings(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape
) -> Iterator[TrialSettings]:
    """Yields the settings to try, the best first."""
    is_cpu = machine.backend == "cpu"
    type_k, type_v, flash_attn = choose_cache_types(engine, is_cpu, shape)
    for n_ctx in _context_sizes(engine, shape):
        n_batch = _choose_batch(engine, is_cpu, n_ctx)
        for n_ubatch in _ubatch_sizes(engine, n_batch):
            yield TrialSettings(
                n_ctx, n_batch, n_ubatch, type_k, type_v, flash_attn, engine.mmap, engine.mlock
            )


def _context_sizes(engine: EngineConfig, shape: Shape) -> list[int]:
    if engine.n_ctx != "auto":
        return [engine.n_ctx]
    most = min(N_CTX, shape.n_ctx_train or N_CTX)
    return [most, *(n for n in _SMALLER_N_CTX if n < most)]


def _choose_batch(engine: EngineConfig, is_cpu: bool, n_ctx: int) -> int:
    if engine.n_batch != "auto":
        return engine.n_batch
    n_ubatch = 0 if engine.n_ubatch == "auto" else engine.n_ubatch
    return max(n_ubatch, min(_N_BATCH_CPU if is_cpu else _N_BATCH_GPU, n_ctx))


def _ubatch_sizes(engine: EngineConfig, n_batch: int) -> list[int]:
    if engine.n_ubatch != "auto":
        return [engine.n_ubatch]
    halves = (n_batch >> n for n in range(3))
    return [n for n in halves if n >= _MIN_UBATCH] or [n_batch]


def _build_plan(
    engine: EngineConfig,
    machine: DescribedMachine,
    settings: TrialSettings,
    shape: Shape,
    memory: MemoryUse | None,
) -> LoadPlan:
    counts = memory.units_per_gpu if memory else ()
    n_layers = -1 if engine.n_gpu_layers == "all" else engine.n_gpu_layers
    if counts and engine.n_gpu_layers == "all":
        n_layers = -1 if sum(counts) == shape.n_offload_units else sum(counts)
    split = tuple(map(float, counts)) if counts and len(counts) > 1 and sum(counts) else ()
    if engine.tensor_split != "auto":
        split = engine.tensor_split
    n_cores = machine.n_fast_cores or machine.n_cores
    return LoadPlan(
        n_ctx=settings.n_ctx,
        n_gpu_layers=n_layers,
        n_batch=settings.n_batch,
        threads=n_cores if engine.threads == "auto" else engine.threads,
        cache_type_k=settings.type_k,
        cache_type_v=settings.type_v,
        flash_attn=settings.flash_attn,
        kv_bytes=kv_bytes(shape, settings.n_ctx, settings.type_k, settings.type_v),
        n_ubatch=settings.n_ubatch,
        tensor_split=split,
        mmap=engine.mmap,
        mlock=engine.mlock,
        prio=engine.prio,
        memory=memory,
    )


def _check_batches(engine: EngineConfig) -> None:
    if "auto" not in (engine.n_batch, engine.n_ubatch) and engine.n_ubatch > engine.n_batch:  # type: ignore[operator]
        raise BadInput(
            f"Config `engine.n_ubatch` is {engine.n_ubatch}, expected at most the {engine.n_batch}"
            " of `engine.n_batch`; lower it, or set one of them to auto"
        )
