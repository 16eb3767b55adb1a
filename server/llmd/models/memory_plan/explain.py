"""Explains a plan and its reasons, one sentence per line. `llmd status --plan` shows the lines."""

from __future__ import annotations

from collections.abc import Iterator

from llmd.config import EngineConfig
from llmd.errors import ModelError, format_bytes
from llmd.models.memory_plan.attention import api_title, attention_problem
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.placement import LoadPlan, MemoryUse
from llmd.models.memory_plan.planner import plan_load


def explain_plan(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan,
    has_library_fit: bool = False,
) -> tuple[str, ...]:  # fmt: skip
    """Explains a plan in sentences.

    `has_library_fit`: whether the loaded llama.cpp has `llama_params_fit`.
    """
    fitter = (
        "and never changes what you set; the library's `llama_params_fit` is not used"
        if has_library_fit
        else "since llama.cpp's own fitting is in its tools, not in the library that is loaded"
    )
    lines = _lines(engine, machine, shape, plan)
    return *lines, f"Planner: llmd plans the memory before it loads the model, {fitter}."


def _lines(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan
) -> Iterator[str]:
    memory = plan.memory
    if memory:
        yield f"Memory: {_memory_use(memory, machine)}."
        n_paged = memory.paged_bytes(machine)
        if n_paged and plan.n_gpu_layers < 0 and machine.with_memory_made_free():
            yield (f"macOS: {format_bytes(n_paged)} are made free by compressing the memory of"
                   " other programs, since the memory pressure is normal.")  # fmt: skip
        elif n_paged:
            yield (f"Disk: {format_bytes(n_paged)} do not fit in memory and are read from disk"
                   " whenever they are needed, which is slow.")  # fmt: skip
    yield _layers_line(engine, machine, shape, plan)
    yield from _wired_limit_line(engine, machine, shape, plan)
    if plan.tensor_split and memory:
        split = ", ".join(f"{share:g}" for share in plan.tensor_split)
        yield f"GPUs: layers split {split}{_set_by_user(engine, 'tensor_split')}."
    n_ctx = _set_by_user(engine, "n_ctx") or ", for the prompt's windows and the completion"
    yield (f"Context: {plan.n_ctx} tokens{n_ctx}; the KV cache takes"
           f" {format_bytes(plan.kv_bytes)}.")  # fmt: skip
    yield _cache_types_line(engine, machine, shape, plan)
    if problem := plan_problem(machine, shape, plan):
        yield f"Attention: {problem}."
    n_batch = _set_by_user(engine, "n_batch")
    if plan.prefill_per_s and not n_batch:
        batch_ms = 1e3 * plan.n_batch / plan.prefill_per_s
        n_batch = f", {batch_ms:.0f} ms of work at {plan.prefill_per_s:.0f} tokens per second"
    yield (f"Batches: {plan.n_batch} tokens{n_batch}, computed"
           f" {plan.n_ubatch or plan.n_batch} at a time{_set_by_user(engine, 'n_ubatch')}"
           + (f" in {format_bytes(memory.compute_bytes)}" if memory else "") + ".")  # fmt: skip
    yield _threads_line(engine, machine, plan)
    yield _file_line(plan)
    if plan.prio:
        yield f"Priority: {plan.prio}{_set_by_user(engine, 'prio')}."
    if machine.variables:
        yield f"Environment that llmd was started in: {', '.join(machine.variables)}."


def plan_problem(machine: DescribedMachine, shape: Shape, plan: LoadPlan) -> str:
    """Returns what makes a plan slow and should be told, in one sentence; empty: nothing."""
    if plan.n_gpu_layers == 0:
        return ""
    return attention_problem(
        machine.api, shape, plan.cache_type_k, plan.cache_type_v, plan.flash_attn
    )


def gpu_problem(machine: DescribedMachine) -> str:
    """Returns that a build for GPUs found none, and why; empty: it found one, or is for the CPU."""
    if machine.backend != "cpu" or not machine.built_for:
        return ""
    titles = " and ".join(map(api_title, machine.built_for))
    return f"llama.cpp was built for {titles}, which has no GPU to use" + (
        f": {machine.gpu_problem}" if machine.gpu_problem else "; `llmd doctor` says more"
    )


def _memory_use(memory: MemoryUse, machine: DescribedMachine) -> str:
    ram = f"{format_bytes(memory.ram_bytes)} of {format_bytes(machine.ram_free_bytes)} free"
    if machine.is_unified:
        return f"{ram}, {format_bytes(sum(memory.gpu_bytes))} of it for the GPU"
    gpus = (
        f"{format_bytes(n_bytes)} of {format_bytes(gpu.free_bytes)} free on {gpu.name}"
        for n_bytes, gpu in zip(memory.gpu_bytes, machine.gpus, strict=True)
        if n_bytes
    )
    return "; ".join([ram, *gpus])


def _layers_line(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan
) -> str:
    if problem := gpu_problem(machine):
        return f"Layers: all on the CPU; {problem}."
    if machine.backend == "cpu":
        return "Layers: all on the CPU, the only backend in this build of llama.cpp."
    n_units = shape.n_offload_units if plan.n_gpu_layers < 0 else plan.n_gpu_layers
    reason = _set_by_user(engine, "n_gpu_layers", "all")
    if n_units >= shape.n_offload_units:
        return f"Layers: all {shape.n_layers} and the output on the GPU{reason or ': all fit'}."
    reason = reason or ": no more fit"
    return f"Layers: {n_units} of {shape.n_offload_units} on the GPU, output included{reason}."


def _wired_limit_line(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan
) -> Iterator[str]:
    """Yields a hint on a Mac where a higher wired limit would allow more layers on the GPU."""
    raised_limit = machine.with_raised_wired_limit()
    if raised_limit is None or plan.n_gpu_layers < 0 or engine.n_gpu_layers != "all":
        return
    try:
        n_possible = plan_load(engine, raised_limit, shape).n_gpu_layers
    except ModelError:
        return
    if n_possible < 0 or n_possible > plan.n_gpu_layers:
        n_units = shape.n_offload_units if n_possible < 0 else n_possible
        limit_mib = raised_limit.gpus[0].total_bytes >> 20
        yield (f"More: `sudo sysctl iogpu.wired_limit_mb={limit_mib}` would allow {n_units} layers;"
               f" the GPU may use {format_bytes(machine.gpus[0].total_bytes)} now.")  # fmt: skip


def _cache_types_line(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan
) -> str:
    types = f"Cache types: K {plan.cache_type_k}{_set_by_user(engine, 'cache_type_k')}, "
    types += f"V {plan.cache_type_v}{_set_by_user(engine, 'cache_type_v')}"
    flash = "with" if plan.flash_attn else "without"
    reason = ""
    if shape.is_mla:
        reason = "; this model stores V in K (MLA)"
    elif machine.backend == "cpu" and not plan.flash_attn:
        reason = ", which is slow on a CPU and needed for a quantised V only"
    return f"{types}, {flash} flash attention{reason}."


def _threads_line(engine: EngineConfig, machine: DescribedMachine, plan: LoadPlan) -> str:
    reason = _set_by_user(engine, "threads")
    if not reason and 0 < machine.n_fast_cores < machine.n_cores:
        reason = f", one per fast core ({machine.n_fast_cores} of {machine.n_cores} cores)"
    return f"Threads: {plan.threads}{reason or ', one per core'}."


def _file_line(plan: LoadPlan) -> str:
    if plan.mlock:
        return "File: locked in memory (`engine.mlock`), so that no page waits for the disk."
    if plan.mmap:
        return "File: mapped; if memory is short, the system drops pages and reads them again."
    return "File: read into memory (`engine.mmap` is false)."


def _set_by_user(engine: EngineConfig, key: str, default: str = "auto") -> str:
    return "" if getattr(engine, key) == default else " (set by you)"
