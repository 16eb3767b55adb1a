"""Makes the plan, or explains why a model does not fit and which setting or model would fit."""

from __future__ import annotations

from typing import Any

import msgspec

from llmd.config import EngineConfig
from llmd.errors import BadInput, ModelError, format_bytes
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.placement import LoadPlan
from llmd.models.memory_plan.search import find_plan, least_memory, trial_plans

# Settings that take memory, each with the value that leaves the choice to llmd.
AUTOMATIC: dict[str, Any] = {
    "n_gpu_layers": "all", "n_ctx": "auto", "n_batch": "auto", "n_ubatch": "auto",
    "cache_type_k": "auto", "cache_type_v": "auto", "tensor_split": "auto", "mlock": False,
}  # fmt: skip


def plan_load(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, name: str = ""
) -> LoadPlan:
    """Plans how to load a model. `name` is the model's file in error messages.

    Raises:
        BadInput: the user's settings contradict each other.
        ModelError: the model does not fit; names the setting to change, or a size that would fit.
    """
    if "auto" not in (engine.n_batch, engine.n_ubatch) and engine.n_ubatch > engine.n_batch:  # type: ignore[operator]
        raise BadInput(
            f"Config `engine.n_ubatch` is {engine.n_ubatch}, expected at most the {engine.n_batch}"
            " of `engine.n_batch`; lower it, or set one of them to auto"
        )
    if not machine.is_known:
        return next(trial_plans(engine, machine, shape))
    if plan := _whole_plan(engine, machine, shape) or find_plan(engine, machine, shape):
        return plan
    if conflict := _find_conflict(engine, machine, shape):
        raise ModelError(f"Model file `{name}` does not fit in memory with this config: {conflict}")
    raise ModelError(f"Model file `{name}` {_explain_too_large(engine, machine, shape)}")


def _whole_plan(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> LoadPlan | None:
    """Returns the plan with all layers on the GPU and the whole context if macOS can make room for
    it: half of the layers on the CPU would be half as fast in the same memory."""
    roomy = machine.with_memory_made_free()
    if roomy is None or not (plan := find_plan(engine, roomy, shape)):
        return None
    n_ctx = next(trial_plans(engine, machine, shape)).n_ctx
    is_whole = plan.n_gpu_layers < 0 or plan.n_gpu_layers >= shape.n_offload_units
    return plan if is_whole and plan.n_ctx == n_ctx else None


def _explain_too_large(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> str:
    needs = least_memory(engine, machine, shape)
    on_gpu = "" if machine.is_unified or not machine.gpus else (
        f" and {format_bytes(sum(needs.gpu_bytes))} on the GPU")  # fmt: skip
    other_bytes = needs.ram_bytes - shape.weight_bytes if machine.is_unified else 0
    other_bytes = max(other_bytes, 0) or needs.extra_bytes + needs.compute_bytes
    file_bytes = machine.usable_ram_bytes - other_bytes
    if not machine.is_unified:
        file_bytes += sum(max(0, gpu - other_bytes) for gpu in machine.usable_gpu_bytes())
    return (
        f"needs {format_bytes(needs.ram_bytes)} of memory{on_gpu}, of which"
        f" {format_bytes(shape.weight_bytes)} are weights, and"
        f" {format_bytes(max(0, machine.usable_ram_bytes))} are free; choose a smaller model or"
        f" quantisation, with a file of at most {format_bytes(max(0, file_bytes))}"
    )


def _find_conflict(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> str:
    """Names the first of the user's settings without which the rest would fit, or else all of the
    settings that take memory; empty if the model would not fit without them either."""
    keys = [key for key, free in AUTOMATIC.items() if getattr(engine, key) != free]
    for key in keys:
        other = msgspec.structs.replace(engine, **{key: AUTOMATIC[key]})
        if plan := find_plan(other, machine, shape):
            return _advise(key, engine, plan, shape)
    all_free = msgspec.structs.replace(engine, **{key: AUTOMATIC[key] for key in keys})
    if len(keys) > 1 and find_plan(all_free, machine, shape):
        names = ", ".join(f"`engine.{key}`" for key in keys)
        return f"{names} together take too much; set some of them to auto"
    return ""


def _advise(key: str, engine: EngineConfig, plan: LoadPlan, shape: Shape) -> str:
    value, automatic = (
        str(value).lower() if isinstance(value, bool) else str(value)
        for value in (getattr(engine, key), AUTOMATIC[key])
    )
    if key == "n_gpu_layers":
        n_units = shape.n_offload_units if plan.n_gpu_layers < 0 else plan.n_gpu_layers
        return f"`engine.{key}` is {value}, and {n_units} fit; set it to {n_units}, or to all"
    return f"`engine.{key}` is {value}; lower it, or set it to {automatic}"
