"""Types of the KV cache. On a CPU a quantised V costs more than it saves, with the flash attention
that it needs."""

from __future__ import annotations

from llmd.config import CacheType, EngineConfig
from llmd.errors import BadInput
from llmd.models.memory_plan.model_shape import Shape

BLOCK_VALUES = 32  # values that a quantised cache type stores together


def choose_cache_types(
    engine: EngineConfig, is_cpu: bool, shape: Shape
) -> tuple[CacheType, CacheType, bool]:
    """K, V, and whether with flash attention.

    Raises:
        BadInput: what the user set does not go together.
    """
    flash_attn = engine.flash_attn
    if flash_attn == "auto":
        flash_attn = not is_cpu
    type_k, type_v = _resolve_auto(engine, flash_attn and not is_cpu, shape.is_mla)
    if not can_quantise(shape):
        type_k = type_v = "f16"
    if type_v != "f16" and engine.flash_attn is False and not shape.is_mla:
        raise BadInput(
            f"Config `engine.cache_type_v`: {type_v} needs flash attention, which"
            " `engine.flash_attn` switches off; set one of them to auto"
        )
    return type_k, type_v, flash_attn or (type_v != "f16" and not shape.is_mla)


def can_quantise(shape: Shape) -> bool:
    return shape.head_dim % BLOCK_VALUES == 0 and shape.value_dim % BLOCK_VALUES == 0


def _resolve_auto(
    engine: EngineConfig, quantises_v: bool, is_mla: bool
) -> tuple[CacheType, CacheType]:
    set_k, set_v = engine.cache_type_k, engine.cache_type_v
    if not is_mla:
        type_v: CacheType = "q4_0" if quantises_v else "f16"
        return "q4_0" if set_k == "auto" else set_k, type_v if set_v == "auto" else set_v
    if "auto" not in (set_k, set_v) and set_k != set_v:
        raise BadInput(
            f"Config `engine.cache_type_k` is {set_k} and `engine.cache_type_v` {set_v}; this"
            " model keeps both as one (MLA): set them alike, or one of them to auto"
        )
    shared_type: CacheType = "q4_0"
    for asked in (set_k, set_v):
        shared_type = shared_type if asked == "auto" else asked
    return shared_type, shared_type
