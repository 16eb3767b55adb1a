"""Plans how to load a model on a machine: layers on GPUs, context, batches, cache types, threads.
Pure: takes a described machine, a model's shape and the config; returns a plan and its reasons.

Invariant: a value that the user set is used or refused, never changed. Values for `auto` are chosen
by the measurements in docs/ARCHITECTURE.md.
"""

from llmd.models.memory_plan.explain import explain_plan, gpu_problem, plan_problem
from llmd.models.memory_plan.hardware import DescribedMachine, Gpu
from llmd.models.memory_plan.model_shape import Shape, shape_from_fields
from llmd.models.memory_plan.placement import LoadPlan
from llmd.models.memory_plan.planner import plan_load
from llmd.models.memory_plan.retry import (
    fits_in_full,
    is_out_of_memory,
    retry_smaller,
    smaller_plan,
)
from llmd.models.memory_plan.search import N_CTX
from llmd.models.memory_plan.sizes import kv_bytes

__all__ = [
    "N_CTX",
    "DescribedMachine",
    "Gpu",
    "LoadPlan",
    "Shape",
    "explain_plan",
    "fits_in_full",
    "gpu_problem",
    "is_out_of_memory",
    "kv_bytes",
    "plan_load",
    "plan_problem",
    "retry_smaller",
    "shape_from_fields",
    "smaller_plan",
]
