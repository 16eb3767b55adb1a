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
from llmd.models.memory_plan.too_large import FREE

T = TypeVar("T")

_FOR_MEMORY = re.compile(
    r"out ?of ?(device ?)?memory|failed to allocate|unable to allocate|cannot allocate|bad_alloc"
    r"|alloc_buffer.* failed|failed to create .*buffer|insufficient memory",
    re.IGNORECASE,
)
_STEP = 0.85  # of what the plan before was given
_FINEST = 0.9995
MAX_TRIES = 6


def is_for_memory(said: str) -> bool:
    """Whether an error of llama.cpp says that there was not enough."""
    return bool(_FOR_MEMORY.search(said))


def fits_in_full(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> bool:
    """Whether nothing that is automatic has to shrink, and the machine keeps its reserve."""
    try:
        plan = plan_load(engine, machine, shape)
        widest = plan_load(engine, machine.with_plenty(), shape)
    except LlmdError:
        return False
    room = machine.ram_free_bytes - machine.ram_reserve_bytes
    has_room = plan.memory is None or plan.memory.ram_bytes <= room
    return has_room and _size(plan) == _size(widest)


def smaller(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan, name: str = ""
) -> tuple[LoadPlan, DescribedMachine] | None:
    """The next smaller plan, as for a machine with less memory; None where nothing that is
    automatic can shrink."""
    step = _STEP if machine.is_known else 1.0
    while step < _FINEST:
        less = machine.with_share(step)
        try:
            found = plan_load(engine, less, shape, name)
        except ModelError:
            step **= 0.5  # what fits at all lies between
            continue
        if _size(found) != _size(plan):
            return found, less
        machine = less
    return None


def _size(plan: LoadPlan) -> tuple[int, int, int]:
    return plan.n_gpu_layers, plan.n_ctx, plan.n_ubatch


def with_less(
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
            if not is_for_memory(str(error)):
                raise
            less = smaller(engine, machine, shape, plan, name) if n_tried < MAX_TRIES else None
            if less is None:
                raise ModelError(f"{error}; {what_to_change(engine, plan)}") from None
            plan, machine = less
    raise LlmdError("unreachable")


def what_to_change(engine: EngineConfig, plan: LoadPlan) -> str:
    """The user's own numbers that take memory, the greatest first."""
    fixed = [key for key, free in FREE.items() if getattr(engine, key) != free]
    if not fixed:
        return "all that is automatic is as small as it gets: choose a smaller model"
    order = ["n_ctx", "n_gpu_layers"] if _kv_leads(plan) else ["n_gpu_layers", "n_ctx"]
    fixed.sort(key=lambda key: order.index(key) if key in order else len(order))
    key, rest = fixed[0], fixed[1:]
    value = getattr(engine, key)
    also = f" (or {', '.join(f'`engine.{each}`' for each in rest)})" if rest else ""
    return f"lower `engine.{key}`, which is {value} in the config{also}, or set it to {FREE[key]}"


def _kv_leads(plan: LoadPlan) -> bool:
    return plan.memory is None or 2 * plan.kv_bytes > plan.memory.weight_bytes
