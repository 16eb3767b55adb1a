"""What a person is told whose model does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from llmd.config import EngineConfig
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.placement import LoadPlan, Memory

_GB = 1e9
# What may be set by hand and takes memory, and its own word for "you choose".
FREE: dict[str, Any] = {
    "n_gpu_layers": "all", "n_ctx": "auto", "n_batch": "auto", "n_ubatch": "auto",
    "cache_type_k": "auto", "cache_type_v": "auto", "tensor_split": "auto", "mlock": False,
}  # fmt: skip

Fitting = Callable[[EngineConfig, DescribedMachine, Shape], "LoadPlan | None"]
Least = Callable[[EngineConfig, DescribedMachine, Shape], Memory]


def reason(
    engine: EngineConfig,
    machine: DescribedMachine,
    shape: Shape,
    name: str,
    fitting: Fitting,
    least: Least,
) -> str:
    if named := list(_to_change(engine, machine, shape, fitting)):
        return f"Model file `{name}` does not fit with what the config says: " + "; ".join(named)
    needs = least(engine, machine, shape)
    rest = needs.ram_bytes - shape.weight_bytes if machine.is_unified else 0
    room = machine.ram_free_bytes - machine.ram_reserve_bytes
    beside = "" if machine.is_unified or not machine.gpus else (
        f" beside {_gb(sum(needs.gpu_bytes))} on the GPU")  # fmt: skip
    most = largest_file_bytes(machine, max(rest, 0) or needs.held_bytes + needs.compute_bytes)
    return (
        f"Model file `{name}` needs {_gb(needs.ram_bytes)} of memory{beside}, of which"
        f" {_gb(shape.weight_bytes)} are weights, and {_gb(room)} are free; a model file of at"
        f" most {_gb(most)} would fit: choose a smaller model or quantisation"
    )


def largest_file_bytes(machine: DescribedMachine, n_beside: int) -> int:
    room = machine.ram_free_bytes - machine.ram_reserve_bytes - n_beside
    if not machine.is_unified:
        room += sum(max(0, gpu - n_beside) for gpu in machine.gpu_rooms())
    return max(0, room)


def _to_change(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, fitting: Fitting
) -> Iterator[str]:
    """Each of the user's numbers without which the rest would fit; else all that are set."""
    fixed = [key for key, free in FREE.items() if getattr(engine, key) != free]
    for key in fixed:
        other = msgspec.structs.replace(engine, **{key: FREE[key]})
        if found := fitting(other, machine, shape):
            yield _named(key, engine, found, machine, shape)
            return
    all_free = msgspec.structs.replace(engine, **{key: FREE[key] for key in fixed})
    if len(fixed) > 1 and fitting(all_free, machine, shape):
        keys = ", ".join(f"`engine.{key}`" for key in fixed)
        yield f"{keys} together take too much; set some of them to auto"


def _named(
    key: str, engine: EngineConfig, found: LoadPlan, machine: DescribedMachine, shape: Shape
) -> str:
    said = f"`engine.{key}` is {_shown(getattr(engine, key))}"
    if key == "n_gpu_layers":
        n_layers = shape.n_units if found.n_gpu_layers < 0 else found.n_gpu_layers
        return f"{said}, and {n_layers} fit; set it to that, or to all, which takes what fits"
    return f"{said}; lower it, or set it to {_shown(FREE[key])}"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / _GB:.1f} GB"
