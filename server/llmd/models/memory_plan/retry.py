"""What was automatic shrinks where memory is short: whether it has to, and where a load fails for
memory after all, how it is tried again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from llmd.config import EngineConfig
from llmd.errors import EngineError, LlmdError, ModelError
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.placement import LoadPlan
from llmd.models.memory_plan.planner import plan_load
from llmd.models.memory_plan.too_large import AUTOMATIC

T = TypeVar("T")

_OUT_OF_MEMORY = re.compile(
    r"out ?of ?(device ?)?memory|failed to allocate|unable to allocate|cannot allocate|bad_alloc"
    r"|alloc_buffer.* failed|failed to create .*buffer|insufficient memory",
    re.IGNORECASE,
)
_SHRINK_FACTOR = 0.85  # of what the plan before was given
_FINEST_FACTOR = 0.9995
MAX_TRIES = 6


def is_out_of_memory(message: str) -> bool:
    """Whether an error of llama.cpp says that there was not enough."""
    return bool(_OUT_OF_MEMORY.search(message))


def fits_in_full(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> bool:
    """Whether nothing that is automatic has to shrink, and the machine keeps its reserve."""
    try:
        plan = plan_load(engine, machine, shape)
        unlimited = plan_load(engine, machine.with_unlimited_memory(), shape)
    except LlmdError:
        return False
    room = machine.ram_free_bytes - machine.ram_reserve_bytes
    has_room = plan.memory is None or plan.memory.ram_bytes <= room
    return has_room and _shrinkable(plan) == _shrinkable(unlimited)


def smaller_plan(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan, name: str = ""
) -> tuple[LoadPlan, DescribedMachine] | None:
    """The next smaller plan, as for a machine with less memory; None where nothing that is
    automatic can shrink."""
    factor = _SHRINK_FACTOR if machine.is_known else 1.0
    while factor < _FINEST_FACTOR:
        less_memory = machine.with_memory_share(factor)
        try:
            next_plan = plan_load(engine, less_memory, shape, name)
        except ModelError:
            factor **= 0.5  # what fits at all lies between
            continue
        if _shrinkable(next_plan) != _shrinkable(plan):
            return next_plan, less_memory
        machine = less_memory
    return None


def _shrinkable(plan: LoadPlan) -> tuple[int, int, int]:
    return plan.n_gpu_layers, plan.n_ctx, plan.n_ubatch


def retry_smaller(
    attempt: Callable[[LoadPlan], T],
    engine: EngineConfig,
    machine: DescribedMachine,
    shape: Shape,
    plan: LoadPlan,
    name: str = "",
) -> tuple[T, LoadPlan]:
    """Tries the plan, then smaller ones as long as an attempt fails for memory.

    Raises:
        LlmdError: what the attempt raised, with the numbers to change where it was for memory.
    """
    for n_tried in range(1, MAX_TRIES + 1):
        try:
            return attempt(plan), plan
        except (ModelError, EngineError) as error:
            if not is_out_of_memory(str(error)):
                raise
            next_try = (
                smaller_plan(engine, machine, shape, plan, name) if n_tried < MAX_TRIES else None
            )
            if next_try is None:
                raise ModelError(f"{error}; {_advise(engine, plan)}") from None
            plan, machine = next_try
    raise LlmdError("unreachable")


def _advise(engine: EngineConfig, plan: LoadPlan) -> str:
    """The user's own numbers that take memory, the greatest first."""
    user_keys = [key for key, free in AUTOMATIC.items() if getattr(engine, key) != free]
    if not user_keys:
        return "all that is automatic is as small as it gets: choose a smaller model"
    order = ["n_ctx", "n_gpu_layers"] if _is_mostly_kv(plan) else ["n_gpu_layers", "n_ctx"]
    user_keys.sort(key=lambda key: order.index(key) if key in order else len(order))
    key, rest = user_keys[0], user_keys[1:]
    value = getattr(engine, key)
    also = f" (or {', '.join(f'`engine.{each}`' for each in rest)})" if rest else ""
    return (
        f"lower `engine.{key}`, which is {value} in the config{also}, or set it to {AUTOMATIC[key]}"
    )


def _is_mostly_kv(plan: LoadPlan) -> bool:
    return plan.memory is None or 2 * plan.kv_bytes > plan.memory.weight_bytes
