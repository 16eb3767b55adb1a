"""Searches for a plan that fits: tries settings from the best to the smallest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from llmd.config import EngineConfig
from llmd.models.memory_plan.cache_types import choose_cache_types
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.placement import LoadPlan, MemoryUse, estimate_memory, place_units
from llmd.models.memory_plan.sizes import UnitCounts, kv_bytes

N_CTX = 2048  # tokens: more than the prompt's windows and the completion need
# Contexts to try if N_CTX does not fit in memory. The prompt's windows shrink with the context.
_SMALLER_N_CTX = (1280, 768, 512)
_N_BATCH_CPU = 64  # tokens; a cancelled prefill loses at most one batch
_N_BATCH_GPU = 512
_MIN_UBATCH = 16


def find_plan(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> LoadPlan | None:
    """Returns the best plan that fits, or None. First maximises the layers on GPUs with the full
    context, so that less memory never gives more layers; then the context that still fits."""
    trials = list(trial_plans(engine, machine, shape))
    best: tuple[int, UnitCounts] | None = None
    for plan in (trial for trial in trials if trial.n_ctx == trials[0].n_ctx):
        counts = place_units(engine, plan, machine, shape)
        if counts is not None and (best is None or sum(counts) > sum(best[1])):
            best = plan.n_ubatch, counts
    if best is None:
        return None
    max_ubatch, counts = best
    for plan in (trial for trial in trials if trial.n_ubatch <= max_ubatch):
        memory = estimate_memory(plan, counts, machine, shape)
        if memory.fits(machine):
            return _place_plan(engine, plan, shape, memory)
    return None


def least_memory(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> MemoryUse:
    """Returns the memory that the smallest settings need, whether or not the machine has it."""
    *_, plan = trial_plans(engine, machine, shape)
    counts = place_units(engine, plan, machine, shape) or (0,) * len(machine.gpus)
    return estimate_memory(plan, counts, machine, shape)


def trial_plans(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape
) -> Iterator[LoadPlan]:
    """Yields the plans to try, the best first, before layers are placed on GPUs."""
    is_cpu = machine.backend == "cpu"
    type_k, type_v, flash_attn = choose_cache_types(engine, machine, shape)
    n_cores = machine.n_fast_cores or machine.n_cores
    for n_ctx in _context_sizes(engine, shape):
        n_batch = _choose_batch(engine, is_cpu, n_ctx)
        for n_ubatch in _ubatch_sizes(engine, n_batch):
            yield LoadPlan(
                n_ctx=n_ctx,
                n_gpu_layers=-1 if engine.n_gpu_layers == "all" else engine.n_gpu_layers,
                n_batch=n_batch,
                threads=n_cores if engine.threads == "auto" else engine.threads,
                cache_type_k=type_k,
                cache_type_v=type_v,
                flash_attn=flash_attn,
                kv_bytes=kv_bytes(shape, n_ctx, type_k, type_v),
                n_ubatch=n_ubatch,
                tensor_split=() if engine.tensor_split == "auto" else engine.tensor_split,
                mmap=engine.mmap,
                mlock=engine.mlock,
                prio=engine.prio,
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


def _place_plan(engine: EngineConfig, plan: LoadPlan, shape: Shape, memory: MemoryUse) -> LoadPlan:
    counts = memory.units_per_gpu
    n_units = sum(counts)
    if counts and engine.n_gpu_layers == "all" and n_units < shape.n_offload_units:
        plan = replace(plan, n_gpu_layers=n_units)
    if len(counts) > 1 and n_units and engine.tensor_split == "auto":
        plan = replace(plan, tensor_split=tuple(map(float, counts)))
    return replace(plan, memory=memory)
