"""Chooses the types of the KV cache. On a CPU a quantised V costs more time than it saves, because
a quantised V needs flash attention."""

from __future__ import annotations

from llmd.config import CacheType, EngineConfig
from llmd.errors import BadInput
from llmd.models.memory_plan.model_shape import Shape

_BLOCK_VALUES = 32  # values per block of a quantised cache type


def choose_cache_types(
    engine: EngineConfig, is_cpu: bool, shape: Shape
) -> tuple[CacheType, CacheType, bool]:
    """Returns the types of K and V, and whether to use flash attention.

    Raises:
        BadInput: the user's settings contradict each other.
    """
    flash_attn = engine.flash_attn
    if flash_attn == "auto":
        flash_attn = not is_cpu
    type_k, type_v = _resolve_auto(engine, flash_attn and not is_cpu, shape.is_mla)
    if shape.head_dim % _BLOCK_VALUES or shape.value_dim % _BLOCK_VALUES:
        type_k = type_v = "f16"  # a quantised type needs whole blocks
    if type_v != "f16" and engine.flash_attn is False and not shape.is_mla:
        raise BadInput(
            f"Config `engine.cache_type_v` is {type_v}, which needs flash attention, but"
            " `engine.flash_attn` is false; set one of them to auto"
        )
    return type_k, type_v, flash_attn or (type_v != "f16" and not shape.is_mla)


def _resolve_auto(
    engine: EngineConfig, quantises_v: bool, is_mla: bool
) -> tuple[CacheType, CacheType]:
    set_k, set_v = engine.cache_type_k, engine.cache_type_v
    if not is_mla:
        type_v: CacheType = "q4_0" if quantises_v else "f16"
        return "q4_0" if set_k == "auto" else set_k, type_v if set_v == "auto" else set_v
    if "auto" not in (set_k, set_v) and set_k != set_v:
        raise BadInput(
            f"Config `engine.cache_type_k` is {set_k} and `engine.cache_type_v` is {set_v},"
            " expected equal types, since this model stores V in K (MLA); set one of them to auto"
        )
    shared_type: CacheType = "q4_0" if set_k == "auto" else set_k
    shared_type = shared_type if set_v == "auto" else set_v
    return shared_type, shared_type
