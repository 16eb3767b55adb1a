"""Chooses the types of the KV cache. On a CPU a quantised V costs more time than it saves, because
a quantised V needs flash attention. On a GPU an unset type follows the set one: the kernels for K
and V of one type are the best, and Metal has no others."""

from __future__ import annotations

from llmd.config import CacheType, EngineConfig
from llmd.errors import BadInput
from llmd.models.memory_plan.attention import attends
from llmd.models.memory_plan.hardware import DescribedMachine
from llmd.models.memory_plan.model_shape import Shape

_BLOCK_VALUES = 32  # values per block of a quantised cache type


def choose_cache_types(
    engine: EngineConfig, machine: DescribedMachine, shape: Shape
) -> tuple[CacheType, CacheType, bool]:
    """Returns the types of K and V, and whether to use flash attention.

    Raises:
        BadInput: the user's settings contradict each other.
    """
    on_gpu = machine.backend != "cpu"
    is_wanted = on_gpu if engine.flash_attn == "auto" else engine.flash_attn
    type_k, type_v = _resolve_auto(engine, on_gpu, is_wanted, shape.is_mla)
    if shape.head_dim % _BLOCK_VALUES or shape.value_dim % _BLOCK_VALUES:
        type_k = type_v = "f16"  # a quantised type needs whole blocks
    if on_gpu and engine.flash_attn == "auto" and not attends(machine.api, shape, type_k, type_v):
        is_wanted = False
        type_k = type_k if engine.cache_type_k == type_k else "f16"
        type_v = type_v if engine.cache_type_v == type_v else "f16"
    if type_v != "f16" and engine.flash_attn is False and not shape.is_mla:
        raise BadInput(
            f"Config `engine.cache_type_v` is {type_v}, which needs flash attention, but"
            " `engine.flash_attn` is false; set one of them to auto"
        )
    return type_k, type_v, is_wanted or (type_v != "f16" and not shape.is_mla)


def _resolve_auto(
    engine: EngineConfig, on_gpu: bool, uses_flash_attn: bool, is_mla: bool
) -> tuple[CacheType, CacheType]:
    set_k, set_v = engine.cache_type_k, engine.cache_type_v
    if is_mla and "auto" not in (set_k, set_v) and set_k != set_v:
        raise BadInput(
            f"Config `engine.cache_type_k` is {set_k} and `engine.cache_type_v` is {set_v},"
            " expected equal types, since this model stores V in K (MLA); set one of them to auto"
        )
    follows = is_mla or (on_gpu and uses_flash_attn)
    best_v: CacheType = "q4_0" if follows else "f16"
    default_k: CacheType = set_v if follows and set_v != "auto" else "q4_0"
    default_v: CacheType = set_k if follows and set_k != "auto" else best_v
    return default_k if set_k == "auto" else set_k, default_v if set_v == "auto" else set_v
