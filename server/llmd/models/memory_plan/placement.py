"""Places layers on GPUs, and estimates the memory that a model takes with given settings."""

from __future__ import annotations

from dataclasses import dataclass

from llmd.config import CacheType, EngineConfig
from llmd.models.memory_plan import sizes
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.sizes import UnitCounts

# At most 1/5 of a mixture-of-experts model may be paged from disk: few experts work on one token.
_PAGED_EXPERTS_DIVISOR = 5
_N_INPUT_COPIES = 4  # copies of a batch's input where several GPUs work in a pipeline


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Holds the estimated memory use of a loaded model. Where GPU and CPU share their memory,
    `ram_bytes` includes `gpu_bytes`."""

    units_per_gpu: UnitCounts  # layers on each GPU, the output included
    gpu_bytes: tuple[int, ...]
    ram_bytes: int
    mapped_bytes: int  # part of ram_bytes that the system can drop and read again from the file
    extra_bytes: int  # KV cache, recurrent state and adapters
    weight_bytes: int
    compute_bytes: int  # of one device
    expert_bytes: int  # mapped weights of a mixture-of-experts model

    def fits(self, machine: DescribedMachine) -> bool:
        is_held = self.ram_bytes - self.mapped_bytes <= machine.usable_ram_bytes
        return is_held and self.paged_bytes(machine) <= self.expert_bytes // _PAGED_EXPERTS_DIVISOR

    def paged_bytes(self, machine: DescribedMachine) -> int:
        """Returns the part of the mapped file that does not fit in memory and is read from disk
        each time it is needed."""
        return max(0, self.ram_bytes - machine.ram_free_bytes)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """Holds the parameters that a model is loaded with, and the expected memory use."""

    n_ctx: int
    n_gpu_layers: int  # llama.cpp counts the output as one layer more; -1: all
    n_batch: int
    threads: int
    cache_type_k: CacheType
    cache_type_v: CacheType
    flash_attn: bool
    kv_bytes: int
    n_ubatch: int = 0  # 0: same as n_batch
    tensor_split: tuple[float, ...] = ()  # proportions by GPU; empty: llama.cpp's default
    mmap: bool = True
    mlock: bool = False
    prio: int = 0
    prefill_per_s: float = 0.0  # tokens per second of a GPU, measured after the load
    memory: MemoryUse | None = None  # None if the machine's memory is not known


def place_units(
    engine: EngineConfig, plan: LoadPlan, machine: DescribedMachine, shape: Shape
) -> UnitCounts | None:
    """Returns the number of layers, output included, on each GPU, or None if the number that the
    user set does not fit."""
    if machine.backend == "cpu" or not machine.gpus:
        return (0,) * len(machine.gpus)
    if engine.n_gpu_layers != "all":
        n_units = min(engine.n_gpu_layers, shape.n_offload_units)
        counts = _place(engine, plan, machine, shape, n_units, with_reserve=False)
        return counts if sum(counts) == n_units else None
    counts = _place(engine, plan, machine, shape, shape.n_offload_units)
    if sum(counts) == shape.n_offload_units:
        return counts
    return _place(engine, plan, machine, shape, shape.n_offload_units - 1)


def _place(
    engine: EngineConfig, plan: LoadPlan, machine: DescribedMachine, shape: Shape,
    max_units: int, with_reserve: bool = True,
) -> UnitCounts:  # fmt: skip
    is_whole = max_units == shape.n_offload_units
    units = sizes.unit_bytes(shape, _extra_bytes_by_layer(plan, shape))
    fixed_bytes = _gpu_fixed_bytes(plan, machine, shape, is_whole)
    usable_bytes = [n_bytes - fixed_bytes for n_bytes in machine.usable_gpu_bytes(with_reserve)]
    if machine.backend == "metal" and plan.mmap and len(usable_bytes) == 1:
        (usable,) = usable_bytes
        for n_units in range(max_units, 0, -1):
            unneeded_bytes = _unneeded_bytes(machine, plan, shape, n_units)
            if sum(units[-n_units:]) + unneeded_bytes <= usable:
                return (n_units,)
        return (0,)
    if engine.tensor_split == "auto":
        place = sizes.place_evenly if is_whole else sizes.place_last_units
        return place(units, usable_bytes, max_units)
    for n_units in range(max_units, 0, -1):
        counts = sizes.split_units(n_units, engine.tensor_split, len(usable_bytes))
        used_bytes = sizes.bytes_per_gpu(units, counts)
        if all(n <= max(usable, 0) for n, usable in zip(used_bytes, usable_bytes, strict=True)):
            return counts
    return (0,) * len(usable_bytes)


def _unneeded_bytes(machine: DescribedMachine, plan: LoadPlan, shape: Shape, n_units: int) -> int:
    """Returns the bytes of the file between the tensors of the last units: Metal wires them too."""
    if machine.backend != "metal" or not plan.mmap or not n_units:
        return 0
    n_needed = sum(sizes.unit_bytes(shape, [0] * shape.n_layers)[-n_units:])
    return max(0, sizes.mapped_bytes(shape, n_units) - n_needed)


def _gpu_fixed_bytes(
    plan: LoadPlan, machine: DescribedMachine, shape: Shape, is_whole: bool
) -> int:
    """Returns the bytes that each GPU in use needs besides its layers. If layers stay on the CPU,
    llama.cpp copies their tensors to the GPU one by one to compute a large batch."""
    n_copies = _N_INPUT_COPIES if is_whole and len(machine.gpus) > 1 else 1
    inputs = sizes.batch_input_bytes(shape, plan.n_ctx, plan.n_ubatch)
    staged = 0 if is_whole else shape.largest_bytes
    return _compute_bytes(plan, shape) + (n_copies - 1) * inputs + staged


def _compute_bytes(plan: LoadPlan, shape: Shape) -> int:
    return sizes.compute_bytes(shape, plan.n_ctx, plan.n_ubatch, plan.flash_attn)


def _extra_bytes_by_layer(plan: LoadPlan, shape: Shape) -> list[int]:
    return sizes.extra_bytes_by_layer(shape, plan.n_ctx, plan.cache_type_k, plan.cache_type_v)


def estimate_memory(
    plan: LoadPlan, units_per_gpu: UnitCounts, machine: DescribedMachine, shape: Shape
) -> MemoryUse:
    n_on_gpu = sum(units_per_gpu)
    is_whole = n_on_gpu == shape.n_offload_units
    fixed_bytes = _gpu_fixed_bytes(plan, machine, shape, is_whole)
    extra_bytes = _extra_bytes_by_layer(plan, shape)
    layers_bytes = sizes.bytes_per_gpu(sizes.unit_bytes(shape, extra_bytes), units_per_gpu)
    unneeded_bytes = _unneeded_bytes(machine, plan, shape, n_on_gpu)
    fixed_bytes += unneeded_bytes
    gpu_bytes = [n_bytes and n_bytes + fixed_bytes for n_bytes in layers_bytes]
    n_cpu_layers = max(0, shape.n_layers - n_on_gpu + 1) if n_on_gpu else shape.n_layers
    cpu_weights = sum(shape.layer_bytes[:n_cpu_layers]) + shape.input_bytes
    cpu_weights += 0 if n_on_gpu else shape.output_bytes
    computing_bytes = _compute_bytes(plan, shape)
    inputs_bytes = sizes.batch_input_bytes(shape, plan.n_ctx, plan.n_ubatch)
    batch_bytes = inputs_bytes if is_whole else computing_bytes
    ram_bytes = cpu_weights + batch_bytes + sizes.worker_bytes(shape)
    ram_bytes += sum(extra_bytes[:n_cpu_layers])
    if machine.is_unified:
        ram_bytes += sum(gpu_bytes) - unneeded_bytes  # counted among the CPU's weights
        if n_on_gpu and not shape.output_bytes:
            ram_bytes -= shape.input_bytes  # input and output are the same pages of the file
    is_mapped = plan.mmap and not plan.mlock
    return MemoryUse(
        units_per_gpu=units_per_gpu,
        gpu_bytes=tuple(gpu_bytes),
        ram_bytes=ram_bytes,
        mapped_bytes=max(0, cpu_weights - unneeded_bytes) if is_mapped else 0,
        extra_bytes=sum(extra_bytes),
        weight_bytes=shape.weight_bytes,
        compute_bytes=computing_bytes,
        expert_bytes=shape.weight_bytes if is_mapped and shape.n_experts else 0,
    )
