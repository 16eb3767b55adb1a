"""Types of the KV cache. On a CPU a quantised V costs more than it saves, with the flash attention
that it needs."""

from __future__ import annotations

from llmd.config import CacheType, EngineConfig
from llmd.errors import BadInput
from llmd.models.memory_plan.model_shape import Shape

BLOCK = 32  # values that a quantised cache type stores together


def cache_types(
    engine: EngineConfig, is_cpu: bool, shape: Shape
) -> tuple[CacheType, CacheType, bool]:
    """K, V, and whether with flash attention.

    Raises:
        BadInput: what the user set does not go together.
    """
    wants_flash = engine.flash_attn
    if wants_flash == "auto":
        wants_flash = not is_cpu
    type_k, type_v = _asked(engine, wants_flash and not is_cpu, shape.is_mla)
    if not can_quantise(shape):
        type_k = type_v = "f16"
    if type_v != "f16" and engine.flash_attn is False and not shape.is_mla:
        raise BadInput(
            f"Config `engine.cache_type_v`: {type_v} needs flash attention, which"
            " `engine.flash_attn` switches off; set one of them to auto"
        )
    return type_k, type_v, wants_flash or (type_v != "f16" and not shape.is_mla)


def can_quantise(shape: Shape) -> bool:
    return shape.head_dim % BLOCK == 0 and shape.value_dim % BLOCK == 0


def _asked(engine: EngineConfig, is_fast: bool, is_mla: bool) -> tuple[CacheType, CacheType]:
    asked_k, asked_v = engine.cache_type_k, engine.cache_type_v
    if not is_mla:
        type_v: CacheType = "q4_0" if is_fast else "f16"
        return "q4_0" if asked_k == "auto" else asked_k, type_v if asked_v == "auto" else asked_v
    if "auto" not in (asked_k, asked_v) and asked_k != asked_v:
        raise BadInput(
            f"Config `engine.cache_type_k` is {asked_k} and `engine.cache_type_v` {asked_v}; this"
            " model keeps both as one (MLA): set them alike, or one of them to auto"
        )
    both: CacheType = "q4_0"
    for asked in (asked_k, asked_v):
        both = both if asked == "auto" else asked
    return both, both
