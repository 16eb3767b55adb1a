"""Tells which attention a backend computes in one kernel (flash attention). What the backend cannot
compute, llama.cpp computes on the CPU without a word, layer by layer, many times slower.

From this llama.cpp's ggml-metal-device.m (supports_op), ggml-cuda/fattn.cu
(get_best_fattn_kernel; ROCm is built from the same file) and ggml-vulkan.cpp.
"""

from __future__ import annotations

from llmd.config import CacheType
from llmd.models.memory_plan.model_shape import Shape

_METAL_HEADS = frozenset({32, 40, 48, 64, 72, 80, 96, 112, 128, 192, 256, 320, 512, 576})
_CUDA_APIS = ("CUDA", "ROCm", "MUSA")
_CUDA_EQUAL_HEADS = frozenset({40, 64, 72, 80, 96, 112, 128, 256, 512})  # K and V of one size
# Sizes of K and V that differ: the query heads that share a K head must be a multiple of this.
_CUDA_UNEQUAL_HEADS = {(192, 128): 8, (320, 256): 32, (576, 512): 2}
_VULKAN_MULTIPLE = 8
API_TITLES = {"MTL": "Metal"}  # where people say another name than ggml


def api_title(api: str) -> str:
    return API_TITLES.get(api, api)


def attends(api: str, shape: Shape, type_k: CacheType, type_v: CacheType) -> bool:
    """Returns whether a backend computes the attention of a model with these cache types itself.

    `api`: ggml's name of the backend, such as `MTL` or `CUDA`. One that is not known here counts
    as able, as does an unknown number of heads.
    """
    k_size, v_size = shape.head_dim, shape.value_dim or shape.head_dim
    n_sharing = shape.n_head // shape.n_head_kv if shape.n_head and shape.n_head_kv else 0
    if api == "MTL":
        is_odd = k_size == 72 and v_size != k_size
        return k_size in _METAL_HEADS and v_size <= k_size and not is_odd and type_k == type_v
    if api in _CUDA_APIS:
        if k_size == v_size:
            return k_size in _CUDA_EQUAL_HEADS and (k_size != 512 or n_sharing != 1)
        multiple = _CUDA_UNEQUAL_HEADS.get((k_size, v_size), 0)
        is_shared = not n_sharing or (n_sharing >= 2 and n_sharing % multiple == 0)
        return bool(multiple) and is_shared
    if api == "Vulkan":
        return k_size % _VULKAN_MULTIPLE == 0 and v_size % _VULKAN_MULTIPLE == 0
    return True


def attention_problem(
    api: str, shape: Shape, type_k: CacheType, type_v: CacheType, flash_attn: bool
) -> str:
    """Returns why attention is slow with these settings, in one sentence; empty: it is not."""
    if not api or not flash_attn:
        return ""
    pair = f"`engine.cache_type_k` {type_k} and `engine.cache_type_v` {type_v}"
    if not attends(api, shape, type_k, type_v):
        can_alike = type_k != type_v and attends(api, shape, type_k, type_k)
        cause = f"for {pair}" if can_alike else "for this model's heads"
        no_flash = "set `engine.flash_attn` and `engine.cache_type_v` to auto"
        fix = "set both to one type" if can_alike else no_flash
        return f"{api_title(api)} has no flash attention {cause}, so the CPU computes it; {fix}"
    if type_k != type_v and api in _CUDA_APIS:
        return f"{api_title(api)} converts {pair} to f16 for each batch; set both to one type"
    return ""
