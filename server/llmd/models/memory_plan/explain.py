"""What was decided and why, as sentences."""

from __future__ import annotations

from collections.abc import Iterator

from llmd.config import EngineConfig
from llmd.errors import ModelError
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.placement import LoadPlan, MemoryUse
from llmd.models.memory_plan.planner import plan_load

_GB, _MIB = 1e9, 1 << 20


def explain_plan(
    engine: EngineConfig,
    machine: DescribedMachine,
    shape: Shape,
    plan: LoadPlan,
    has_library_fit: bool = False,
) -> tuple[str, ...]:
    """`has_own_fit`: whether the library could fit parameters itself."""
    return (*_lines(engine, machine, shape, plan), _fitter_line(has_library_fit))


def _fitter_line(has_own_fit: bool) -> str:
    if has_own_fit:
        return (
            "Who fits: this plan, which says beforehand what it takes and changes nothing that you"
            " set; the library's `llama_params_fit` is not asked."
        )
    return (
        "Who fits: this plan; llama.cpp's own fitting is in its command line tools, not in the"
        " library that is loaded here."
    )


def _lines(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan
) -> Iterator[str]:
    memory = plan.memory
    if memory:
        yield f"Memory: {_memory_use(memory, machine)}."
    if memory and (n_reread := memory.paged_bytes(machine)):
        yield f"Disk: {_size(n_reread)} have no room and are read again when they are wanted: slow."
    yield _layers_line(engine, machine, shape, plan)
    if hint := _wired_limit_line(engine, machine, shape, plan):
        yield hint
    if plan.tensor_split and memory:
        split = ", ".join(f"{share:g}" for share in plan.tensor_split)
        yield f"GPUs: layers shared {split}{_set_by_user(engine, 'tensor_split')}."
    yield (f"Context: {plan.n_ctx} tokens{_set_by_user(engine, 'n_ctx')}, what the windows and"
           f" the answer need; the KV cache takes {_size(plan.kv_bytes)}.")  # fmt: skip
    yield _cache_types_line(engine, machine, shape, plan)
    yield (f"Batches: {plan.n_batch} tokens at once{_set_by_user(engine, 'n_batch')}, computed by"
           f" {plan.n_ubatch or plan.n_batch}{_set_by_user(engine, 'n_ubatch')}"
           + (f" in {_size(memory.compute_bytes)}" if memory else "") + ".")  # fmt: skip
    yield _threads_line(engine, machine, plan)
    yield _file_line(plan)
    if plan.prio:
        yield f"Priority: {plan.prio}{_set_by_user(engine, 'prio')}."


def _memory_use(memory: MemoryUse, machine: DescribedMachine) -> str:
    said = f"{_size(memory.ram_bytes)} of {_size(machine.ram_free_bytes)} that are free"
    if machine.is_unified:
        return f"{said}, {_size(sum(memory.gpu_bytes))} of it for the GPU"
    gpus = (
        f"{_size(n)} of {_size(gpu.free_bytes)} on {gpu.name}"
        for n, gpu in zip(memory.gpu_bytes, machine.gpus, strict=True)
        if n
    )
    return "; ".join([said, *gpus])


def _layers_line(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan
) -> str:
    if machine.backend == "cpu":
        return "Layers: all on the CPU, the only backend that this llama.cpp was built with."
    n = shape.n_offload_units if plan.n_gpu_layers < 0 else plan.n_gpu_layers
    why = _set_by_user(engine, "n_gpu_layers", "all")
    if not why:
        why = ": all fit" if n >= shape.n_offload_units else ": no more fit"
    if n >= shape.n_offload_units:
        return f"Layers: all {shape.n_layers} and the output on the GPU{why}."
    return f"Layers: {n} of {shape.n_offload_units} on the GPU, counting the output{why}."


def _wired_limit_line(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan
) -> str:
    """On a Mac whose wired limit is what keeps layers from the GPU."""
    raised_limit = machine.with_raised_wired_limit()
    if raised_limit is None or plan.n_gpu_layers < 0 or engine.n_gpu_layers != "all":
        return ""
    try:
        n_possible = plan_load(engine, raised_limit, shape).n_gpu_layers
    except ModelError:
        return ""
    if 0 <= n_possible <= plan.n_gpu_layers:
        return ""
    n = shape.n_offload_units if n_possible < 0 else n_possible
    limit_mib = raised_limit.gpus[0].total_bytes // _MIB
    return (f"More: with `sudo sysctl iogpu.wired_limit_mb={limit_mib}` it would be {n} layers;"
            f" macOS lets the GPU have {_size(machine.gpus[0].total_bytes)} now.")  # fmt: skip


def _cache_types_line(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan
) -> str:
    types = f"Cache types: K {plan.cache_type_k}{_set_by_user(engine, 'cache_type_k')}, "
    types += f"V {plan.cache_type_v}{_set_by_user(engine, 'cache_type_v')}"
    flash = "with" if plan.flash_attn else "without"
    why = ""
    if shape.is_mla:
        why = "; this model keeps V in K (MLA)"
    elif machine.backend == "cpu" and not plan.flash_attn:
        why = ", which is slow on a CPU; a quantised V would need it"
    return f"{types}, {flash} flash attention{why}."


def _threads_line(engine: EngineConfig, machine: DescribedMachine, plan: LoadPlan) -> str:
    if by := _set_by_user(engine, "threads"):
        return f"Threads: {plan.threads}{by}."
    if 0 < machine.n_fast_cores < machine.n_cores:
        n = f"{machine.n_fast_cores} of {machine.n_cores} cores"
        return f"Threads: {plan.threads}, the fast ones of this machine's {n}."
    return f"Threads: {plan.threads}, one for each core."


def _file_line(plan: LoadPlan) -> str:
    if plan.mlock:
        return "File: locked in memory (`engine.mlock`), so that it never waits for the disk."
    if plan.mmap:
        return "File: mapped; what is short of memory drops pages of it, which are read again."
    return "File: read into memory (`engine.mmap` is false)."


def _set_by_user(engine: EngineConfig, key: str, default: str = "auto") -> str:
    """Whether it was the user."""
    return "" if getattr(engine, key) == default else " (set by you)"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / _GB:.1f} GB" if n_bytes >= _GB else f"{n_bytes / _MIB:.0f} MiB"
