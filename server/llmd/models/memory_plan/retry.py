"""Shrinks the automatic parts of a plan where memory is short: decides whether they have to shrink,
and retries a load that ran out of memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from llmd.config import EngineConfig
from llmd.errors import EngineError, LlmdError, ModelError
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape
from llmd.models.memory_plan.placement import LoadPlan
from llmd.models.memory_plan.planner import AUTOMATIC, plan_load

T = TypeVar("T")

_OUT_OF_MEMORY = re.compile(
    r"out ?of ?(device ?)?memory|failed to allocate|unable to allocate|cannot allocate|bad_alloc"
    r"|alloc_buffer.* failed|allocation of size \d+ failed|failed to create .*buffer"
    r"|insufficient memory",
    re.IGNORECASE,
)
_SHRINK_FACTOR = 0.85  # chosen: share of the memory that the previous plan was given
_FINEST_FACTOR = 0.9995  # chosen: no finer steps are tried
_MAX_TRIES = 6


def is_out_of_memory(message: str) -> bool:
    """Returns whether an error message of llama.cpp reports a failed allocation."""
    return bool(_OUT_OF_MEMORY.search(message))


def fits_in_full(engine: EngineConfig, machine: DescribedMachine, shape: Shape) -> bool:
    """Returns whether the model fits with the reserve and without shrinking an automatic value."""
    try:
        plan = plan_load(engine, machine, shape)
        unlimited = plan_load(engine, machine.with_unlimited_memory(), shape)
    except LlmdError:
        return False
    has_memory = plan.memory is None or plan.memory.ram_bytes <= machine.usable_ram_bytes
    return has_memory and _shrinkable(plan) == _shrinkable(unlimited)


def smaller_plan(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape, plan: LoadPlan, name: str = ""
) -> tuple[LoadPlan, DescribedMachine] | None:
    """Returns the next smaller plan and the reduced machine that the plan is for, or None if no
    automatic value can shrink any further."""
    factor = _SHRINK_FACTOR if machine.is_known else 1.0
    while factor < _FINEST_FACTOR:
        less_memory = machine.with_memory_share(factor)
        try:
            next_plan = plan_load(engine, less_memory, shape, name)
        except ModelError:
            factor **= 0.5  # a plan that fits may need a smaller reduction
            continue
        if _shrinkable(next_plan) != _shrinkable(plan):
            return next_plan, less_memory
        machine = less_memory
    return None


def _shrinkable(plan: LoadPlan) -> tuple[int, int, int]:
    return plan.n_gpu_layers, plan.n_ctx, plan.n_ubatch


def retry_smaller(
    attempt: Callable[[LoadPlan], T], engine: EngineConfig, machine: DescribedMachine,
    shape: Shape, plan: LoadPlan, name: str = "",
) -> T:  # fmt: skip
    """Tries the plan, then smaller plans while an attempt runs out of memory. Returns what the
    attempt that succeeded returns.

    Raises:
        LlmdError: the attempt's own error; if it ran out of memory, with the settings to change.
    """
    n_tries = 0
    while True:
        try:
            return attempt(plan)
        except (ModelError, EngineError) as error:
            if not is_out_of_memory(str(error)):
                raise
            n_tries += 1
            next_try = smaller_plan(engine, machine, shape, plan, name)
            if next_try is None or n_tries == _MAX_TRIES:
                raise ModelError(f"{error}; {_advise(engine, plan)}") from None
            plan, machine = next_try


def _advise(engine: EngineConfig, plan: LoadPlan) -> str:
    """Names the user's own settings that take memory, the largest first."""
    user_keys = [key for key, free in AUTOMATIC.items() if getattr(engine, key) != free]
    if not user_keys:
        return "no automatic setting can shrink any further: choose a smaller model"
    is_mostly_kv = plan.memory is None or 2 * plan.kv_bytes > plan.memory.weight_bytes
    order = ["n_ctx", "n_gpu_layers"] if is_mostly_kv else ["n_gpu_layers", "n_ctx"]
    user_keys.sort(key=lambda key: order.index(key) if key in order else len(order))
    key, *others = user_keys
    also = f" (or {', '.join(f'`engine.{other}`' for other in others)})" if others else ""
    value = f"{getattr(engine, key)} in the config{also}"
    return f"lower `engine.{key}`, which is {value}, or set it to {AUTOMATIC[key]}"
