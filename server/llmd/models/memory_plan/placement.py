"""What settings take on a machine, part by part, and where the layers go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmd.config import CacheType, EngineConfig
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.sizes import (
    Placed,
    balanced,
    by_split,
    compute_bytes,
    held_by_layer,
    input_bytes,
    most_that,
    placed,
    sums_of,
    unit_bytes,
    worker_bytes,
)

# Of experts' weights that have no room so much may be read again: they are seldom wanted.
SELDOM = 5
N_COPIES = 4  # of a batch's input, where several GPUs work one after the other


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

    def units(self, shape: Shape) -> list[int]:
        return unit_bytes(shape, self.held_by_layer(shape))

    def held_by_layer(self, shape: Shape) -> list[int]:
        return held_by_layer(shape, self.n_ctx, self.type_k, self.type_v)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. Where the GPU's memory is the machine's, `ram_bytes` holds it too."""

    counts: Placed  # layers on each GPU, the output among them
    gpu_bytes: tuple[int, ...]
    ram_bytes: int
    mapped_bytes: int  # of these, what the system drops and reads again rather than swaps
    held_bytes: int  # beside the weights: KV cache, recurrent state, adapters
    weight_bytes: int
    compute_bytes: int  # of one device
    sparse_bytes: int  # of experts' weights that are mapped where they lie

    def fits(self, machine: DescribedMachine) -> bool:
        held = self.ram_bytes - self.mapped_bytes
        room = machine.ram_free_bytes - machine.ram_reserve_bytes
        return held <= room and self.reread_bytes(machine) <= self.sparse_bytes // SELDOM

    def reread_bytes(self, machine: DescribedMachine) -> int:
        """What of the mapped file has no room, and comes from the disk each time it is wanted."""
        return max(0, self.ram_bytes - machine.ram_free_bytes)

    @property
    def total_bytes(self) -> int:
        return self.ram_bytes + sum(self.gpu_bytes)


Reserve = Literal["with reserve", "to the last byte"]


def units_on_gpus(
    engine: EngineConfig, settings: TrialSettings, machine: DescribedMachine, shape: Shape
) -> Placed | None:
    """Layers, and the output, on each GPU. None: what the user fixed does not fit."""
    if machine.backend == "cpu" or not machine.gpus:
        return (0,) * len(machine.gpus)
    if engine.n_gpu_layers == "all":
        return _as_many_as_fit(engine, settings, machine, shape)
    wanted = min(engine.n_gpu_layers, shape.n_units)
    found = _placed(engine, settings, machine, shape, wanted, "to the last byte")
    return found if sum(found) == wanted else None


def _as_many_as_fit(
    engine: EngineConfig, settings: TrialSettings, machine: DescribedMachine, shape: Shape
) -> Placed:
    whole = _placed(engine, settings, machine, shape, shape.n_units, "with reserve")
    if sum(whole) == shape.n_units:
        return whole
    return _placed(engine, settings, machine, shape, shape.n_units - 1, "with reserve")


def _placed(
    engine: EngineConfig,
    settings: TrialSettings,
    machine: DescribedMachine,
    shape: Shape,
    most: int,
    how: Reserve,
) -> Placed:
    is_whole, units = most == shape.n_units, settings.units(shape)
    fixed = gpu_fixed_bytes(settings, machine, shape, is_whole)
    rooms = [room - fixed for room in machine.gpu_rooms(how == "with reserve")]
    if engine.tensor_split == "auto":
        return (balanced if is_whole else placed)(units, rooms, most)
    split, n_gpus = engine.tensor_split, len(rooms)

    def fits(n: int) -> bool:
        used = sums_of(units, by_split(n, split, n_gpus))
        return all(n_bytes <= max(room, 0) for n_bytes, room in zip(used, rooms, strict=True))

    return by_split(most_that(fits, most), split, n_gpus)


def gpu_fixed_bytes(
    settings: TrialSettings, machine: DescribedMachine, shape: Shape, is_whole: bool
) -> int:
    """On each GPU in use, beside layers. Of layers that stay behind, a large batch has the GPU
    compute one tensor after the other, which comes to it for that."""
    copies = N_COPIES if is_whole and len(machine.gpus) > 1 else 1
    inputs = input_bytes(shape, settings.n_ctx, settings.n_ubatch)
    staged = 0 if is_whole else shape.largest_bytes
    return settings.compute_bytes(shape) + (copies - 1) * inputs + staged


def memory_of(
    settings: TrialSettings, counts: Placed, machine: DescribedMachine, shape: Shape
) -> Memory:
    units, n_on_gpu = settings.units(shape), sum(counts)
    is_whole = n_on_gpu == shape.n_units
    fixed = gpu_fixed_bytes(settings, machine, shape, is_whole)
    on_gpus = [n and n + fixed for n in sums_of(units, counts)]
    n_behind = max(0, shape.n_layers - n_on_gpu + 1) if n_on_gpu else shape.n_layers
    held = settings.held_by_layer(shape)
    weights_behind = sum(shape.layer_bytes[:n_behind]) + shape.input_bytes
    weights_behind += 0 if n_on_gpu else shape.output_bytes
    computing = (input_bytes(shape, settings.n_ctx, settings.n_ubatch) if is_whole
                 else settings.compute_bytes(shape))  # fmt: skip
    ram = weights_behind + sum(held[:n_behind]) + computing + worker_bytes(shape)
    if machine.is_unified:
        ram += sum(on_gpus)
        if n_on_gpu and not shape.output_bytes:
            ram -= shape.input_bytes  # the same pages of the file
    is_mapped = settings.mmap and not settings.mlock
    return Memory(
        counts=counts,
        gpu_bytes=tuple(on_gpus),
        ram_bytes=ram,
        mapped_bytes=weights_behind if is_mapped else 0,
        held_bytes=sum(held),
        weight_bytes=shape.weight_bytes,
        compute_bytes=settings.compute_bytes(shape),
        sparse_bytes=shape.weight_bytes if is_mapped and shape.n_experts else 0,
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
    memory: Memory | None = None  # None where the machine's is not known
