"""How a model is laid out on a machine: layers on GPUs, context, batches, cache types, threads.
Pure: a described machine, what the header says and the user's wishes in, a plan with its reasons
out.

What the user set is obeyed or refused, never changed; what is `auto` is chosen here, by the
measurements that docs/ARCHITECTURE.md keeps.
"""

from llmd.models.memory_plan.explain import explain_plan
from llmd.models.memory_plan.hardware import DescribedMachine, Gpu
from llmd.models.memory_plan.model_shape import Shape, shape_from_fields
from llmd.models.memory_plan.placement import LoadPlan
from llmd.models.memory_plan.planner import N_BATCH_CPU, N_BATCH_GPU, N_CTX, plan_load
from llmd.models.memory_plan.retry import (
    fits_in_full,
    is_out_of_memory,
    retry_smaller,
    smaller_plan,
)
from llmd.models.memory_plan.sizes import compute_bytes, kv_bytes

__all__ = [
    "N_BATCH_CPU",
    "N_BATCH_GPU",
    "N_CTX",
    "DescribedMachine",
    "Gpu",
    "LoadPlan",
    "Shape",
    "compute_bytes",
    "explain_plan",
    "fits_in_full",
    "is_out_of_memory",
    "kv_bytes",
    "plan_load",
    "retry_smaller",
    "shape_from_fields",
    "smaller_plan",
]
