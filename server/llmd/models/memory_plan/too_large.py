"""What a person is told whose model does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from llmd.config import EngineConfig
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.placement import LoadPlan, MemoryUse

_GB = 1e9
# What may be set by hand and takes memory, and its own word for "you choose".
AUTOMATIC: dict[str, Any] = {
    "n_gpu_layers": "all", "n_ctx": "auto", "n_batch": "auto", "n_ubatch": "auto",
    "cache_type_k": "auto", "cache_type_v": "auto", "tensor_split": "auto", "mlock": False,
}  # fmt: skip

FindPlan = Callable[[EngineConfig, DescribedMachine, Shape], "LoadPlan | None"]
EstimateLeast = Callable[[EngineConfig, DescribedMachine, Shape], MemoryUse]


def explain_too_large(
    engine: EngineConfig,
    machine: DescribedMachine,
    shape: Shape,
    name: str,
    find_plan: FindPlan,
    estimate_least: EstimateLeast,
) -> str:
    if conflicts := list(_conflicting_settings(engine, machine, shape, find_plan)):
        return f"Model file `{name}` does not fit with what the config says: " + "; ".join(
            conflicts
        )
    needs = estimate_least(engine, machine, shape)
    other_bytes = needs.ram_bytes - shape.weight_bytes if machine.is_unified else 0
    usable = machine.ram_free_bytes - machine.ram_reserve_bytes
    on_gpu = "" if machine.is_unified or not machine.gpus else (
        f" beside {_gb(sum(needs.gpu_bytes))} on the GPU")  # fmt: skip
    max_file_bytes = _largest_file_bytes(
        machine, max(other_bytes, 0) or needs.extra_bytes + needs.compute_bytes
    )
    return (
        f"Model file `{name}` needs {_gb(needs.ram_bytes)} of memory{on_gpu}, of which"
        f" {_gb(shape.weight_bytes)} are weights, and {_gb(usable)} are free; a model file of at"
        f" most {_gb(max_file_bytes)} would fit: choose a smaller model or quantisation"
    )


def _largest_file_bytes(machine: DescribedMachine, n_beside: int) -> int:
    room = machine.ram_free_bytes - machine.ram_reserve_bytes - n_beside
    if not machine.is_unified:
        room += sum(max(0, gpu - n_beside) for gpu in machine.usable_gpu_bytes())
    return max(0, room)


def _conflicting_settings(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, find_plan: FindPlan
) -> Iterator[str]:
    """Each of the user's numbers without which the rest would fit; else all that are set."""
    fixed = [key for key, free in AUTOMATIC.items() if getattr(engine, key) != free]
    for key in fixed:
        other = msgspec.structs.replace(engine, **{key: AUTOMATIC[key]})
        if plan := find_plan(other, machine, shape):
            yield _advise(key, engine, plan, machine, shape)
            return
    all_free = msgspec.structs.replace(engine, **{key: AUTOMATIC[key] for key in fixed})
    if len(fixed) > 1 and find_plan(all_free, machine, shape):
        keys = ", ".join(f"`engine.{key}`" for key in fixed)
        yield f"{keys} together take too much; set some of them to auto"


def _advise(
    key: str, engine: EngineConfig, plan: LoadPlan, machine: DescribedMachine, shape: Shape
) -> str:
    setting = f"`engine.{key}` is {_shown(getattr(engine, key))}"
    if key == "n_gpu_layers":
        n_layers = shape.n_offload_units if plan.n_gpu_layers < 0 else plan.n_gpu_layers
        return f"{setting}, and {n_layers} fit; set it to that, or to all, which takes what fits"
    return f"{setting}; lower it, or set it to {_shown(AUTOMATIC[key])}"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / _GB:.1f} GB"
