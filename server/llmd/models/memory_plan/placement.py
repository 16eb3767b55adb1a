"""What settings take on a machine, part by part, and where the layers go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmd.config import CacheType, EngineConfig
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.sizes import (
    UnitCounts,
    batch_input_bytes,
    bytes_per_gpu,
    compute_bytes,
    extra_bytes_by_layer,
    most_that,
    place_evenly,
    place_last_units,
    split_units,
    unit_bytes,
    worker_bytes,
)

# Of experts' weights that have no room so much may be read again: they are seldom wanted.
PAGED_EXPERTS_DIVISOR = 5
N_INPUT_COPIES = 4  # of a batch's input, where several GPUs work one after the other


@dataclass(frozen=True, slots=True)
class TrialSettings:
    n_ctx: int
    n_batch: int
    n_ubatch: int
    type_k: CacheType
    type_v: CacheType
    flash_attn: bool
    mmap: bool
    mlock: bool

    def compute_bytes(self, shape: Shape) -> int:
        return compute_bytes(shape, self.n_ctx, self.n_ubatch, self.flash_attn)

    def unit_bytes(self, shape: Shape) -> list[int]:
        return unit_bytes(shape, self.extra_bytes_by_layer(shape))

    def extra_bytes_by_layer(self, shape: Shape) -> list[int]:
        return extra_bytes_by_layer(shape, self.n_ctx, self.type_k, self.type_v)


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes. Where the GPU's memory is the machine's, `ram_bytes` holds it too."""

    units_per_gpu: UnitCounts  # layers on each GPU, the output among them
    gpu_bytes: tuple[int, ...]
    ram_bytes: int
    mapped_bytes: int  # of these, what the system drops and reads again rather than swaps
    extra_bytes: int  # beside the weights: KV cache, recurrent state, adapters
    weight_bytes: int
    compute_bytes: int  # of one device
    expert_bytes: int  # of experts' weights that are mapped where they lie

    def fits(self, machine: DescribedMachine) -> bool:
        unmappable = self.ram_bytes - self.mapped_bytes
        usable = machine.ram_free_bytes - machine.ram_reserve_bytes
        return (
            unmappable <= usable
            and self.paged_bytes(machine) <= self.expert_bytes // PAGED_EXPERTS_DIVISOR
        )

    def paged_bytes(self, machine: DescribedMachine) -> int:
        """What of the mapped file has no room, and comes from the disk each time it is wanted."""
        return max(0, self.ram_bytes - machine.ram_free_bytes)

    @property
    def total_bytes(self) -> int:
        return self.ram_bytes + sum(self.gpu_bytes)


Reserve = Literal["with reserve", "to the last byte"]


def place_units(
    engine: EngineConfig, settings: TrialSettings, machine: DescribedMachine, shape: Shape
) -> UnitCounts | None:
    """Layers, and the output, on each GPU. None: what the user fixed does not fit."""
    if machine.backend == "cpu" or not machine.gpus:
        return (0,) * len(machine.gpus)
    if engine.n_gpu_layers == "all":
        return _place_all_that_fit(engine, settings, machine, shape)
    n_units = min(engine.n_gpu_layers, shape.n_offload_units)
    units_per_gpu = _place(engine, settings, machine, shape, n_units, "to the last byte")
    return units_per_gpu if sum(units_per_gpu) == n_units else None


def _place_all_that_fit(
    engine: EngineConfig, settings: TrialSettings, machine: DescribedMachine, shape: Shape
) -> UnitCounts:
    whole = _place(engine, settings, machine, shape, shape.n_offload_units, "with reserve")
    if sum(whole) == shape.n_offload_units:
        return whole
    return _place(engine, settings, machine, shape, shape.n_offload_units - 1, "with reserve")


def _place(
    engine: EngineConfig,
    settings: TrialSettings,
    machine: DescribedMachine,
    shape: Shape,
    max_units: int,
    how: Reserve,
) -> UnitCounts:
    is_whole, units = max_units == shape.n_offload_units, settings.unit_bytes(shape)
    fixed = _gpu_fixed_bytes(settings, machine, shape, is_whole)
    usable_bytes = [room - fixed for room in machine.usable_gpu_bytes(how == "with reserve")]
    if engine.tensor_split == "auto":
        return (place_evenly if is_whole else place_last_units)(units, usable_bytes, max_units)
    split, n_gpus = engine.tensor_split, len(usable_bytes)

    def fits(n: int) -> bool:
        used = bytes_per_gpu(units, split_units(n, split, n_gpus))
        return all(
            n_bytes <= max(room, 0) for n_bytes, room in zip(used, usable_bytes, strict=True)
        )

    return split_units(most_that(fits, max_units), split, n_gpus)


def _gpu_fixed_bytes(
    settings: TrialSettings, machine: DescribedMachine, shape: Shape, is_whole: bool
) -> int:
    """On each GPU in use, beside layers. Of layers that stay behind, a large batch has the GPU
    compute one tensor after the other, which comes to it for that."""
    n_copies = N_INPUT_COPIES if is_whole and len(machine.gpus) > 1 else 1
    inputs = batch_input_bytes(shape, settings.n_ctx, settings.n_ubatch)
    staged = 0 if is_whole else shape.largest_bytes
    return settings.compute_bytes(shape) + (n_copies - 1) * inputs + staged


def estimate_memory(
    settings: TrialSettings, units_per_gpu: UnitCounts, machine: DescribedMachine, shape: Shape
) -> MemoryUse:
    units, n_on_gpu = settings.unit_bytes(shape), sum(units_per_gpu)
    is_whole = n_on_gpu == shape.n_offload_units
    fixed = _gpu_fixed_bytes(settings, machine, shape, is_whole)
    gpu_bytes = [n and n + fixed for n in bytes_per_gpu(units, units_per_gpu)]
    n_cpu_layers = max(0, shape.n_layers - n_on_gpu + 1) if n_on_gpu else shape.n_layers
    extra_bytes = settings.extra_bytes_by_layer(shape)
    cpu_weights = sum(shape.layer_bytes[:n_cpu_layers]) + shape.input_bytes
    cpu_weights += 0 if n_on_gpu else shape.output_bytes
    batch_bytes = (batch_input_bytes(shape, settings.n_ctx, settings.n_ubatch) if is_whole
                 else settings.compute_bytes(shape))  # fmt: skip
    ram_bytes = cpu_weights + sum(extra_bytes[:n_cpu_layers]) + batch_bytes + worker_bytes(shape)
    if machine.is_unified:
        ram_bytes += sum(gpu_bytes)
        if n_on_gpu and not shape.output_bytes:
            ram_bytes -= shape.input_bytes  # the same pages of the file
    is_mapped = settings.mmap and not settings.mlock
    return MemoryUse(
        units_per_gpu=units_per_gpu,
        gpu_bytes=tuple(gpu_bytes),
        ram_bytes=ram_bytes,
        mapped_bytes=cpu_weights if is_mapped else 0,
        extra_bytes=sum(extra_bytes),
        weight_bytes=shape.weight_bytes,
        compute_bytes=settings.compute_bytes(shape),
        expert_bytes=shape.weight_bytes if is_mapped and shape.n_experts else 0,
    )


@dataclass(frozen=True, slots=True)
class LoadPlan:
    n_ctx: int
    n_gpu_layers: int  # as llama.cpp counts: the output is one more than the layers; -1: all
    n_batch: int
    threads: int
    cache_type_k: CacheType
    cache_type_v: CacheType
    flash_attn: bool
    kv_bytes: int
    n_ubatch: int = 0  # 0: n_batch
    tensor_split: tuple[float, ...] = ()  # by GPU; empty: as llama.cpp does
    mmap: bool = True
    mlock: bool = False
    prio: int = 0
    memory: MemoryUse | None = None  # None where the machine's is not known
