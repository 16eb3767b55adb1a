"""Computes the memory that each part of a loaded model takes.

The KV cache is computed as in llama-kv-cache.cpp. Tests compare the whole plan with the memory of a
worker with the built-in model (within 10 %, four contexts, three cache types). No other model was
measured this way.
"""

from __future__ import annotations

from llmd.config import CacheType
from llmd.models.memory_plan.model_shape import Shape

UnitCounts = tuple[int, ...]  # units on each GPU; together they are the last units of the model

_CONTEXT_MULTIPLE = 256  # llama.cpp rounds a context up to a multiple of this
_BYTES_PER_VALUE: dict[CacheType, float] = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
_F32_BYTES, _F16_BYTES = 4, 2
# Measured: a worker without a model (interpreter, numpy, llama.cpp), and per vocabulary token.
_WORKER_BYTES = 52 << 20
_VOCABULARY_TOKEN_BYTES = 420
_EVEN_STEPS = 64  # chosen: trial fill levels when units are spread evenly over GPUs


def kv_bytes(shape: Shape, n_ctx: int, type_k: CacheType, type_v: CacheType) -> int:
    """Returns the size of the KV cache of all layers."""
    return round(sum(_heads_kv(shape)) * _head_bytes(shape, n_ctx, type_k, type_v))


def extra_bytes_by_layer(
    shape: Shape, n_ctx: int, type_k: CacheType, type_v: CacheType
) -> list[int]:
    """Returns the bytes that each layer takes besides its weights: KV cache, recurrent state and a
    share of the adapters."""
    per_head = _head_bytes(shape, n_ctx, type_k, type_v)
    fixed_bytes = shape.state_bytes + shape.adapter_bytes // max(shape.n_layers, 1)
    return [round(n * per_head) + fixed_bytes for n in _heads_kv(shape)]


def _head_bytes(shape: Shape, n_ctx: int, type_k: CacheType, type_v: CacheType) -> float:
    """Returns the bytes of all KV cells of one head in one layer."""
    k_bytes = shape.head_dim * _BYTES_PER_VALUE[type_k]
    value_dim = 0 if shape.is_mla else shape.value_dim or shape.head_dim
    v_bytes = value_dim * _BYTES_PER_VALUE[type_v]
    return _pad_context(n_ctx) * (k_bytes + v_bytes)


def _heads_kv(shape: Shape) -> tuple[int, ...]:
    return shape.heads_kv_by_layer or (shape.n_head_kv,) * shape.n_layers


def _pad_context(n_ctx: int) -> int:
    return -(-n_ctx // _CONTEXT_MULTIPLE) * _CONTEXT_MULTIPLE


def compute_bytes(shape: Shape, n_ctx: int, n_ubatch: int, flash_attn: bool) -> int:
    """Returns the size of the compute buffer: the largest of a batch's logits, attention and
    feed-forward. Without flash attention the attention has a score per token, cell and head."""
    hidden, mask = shape.n_embd, _pad_context(n_ctx)
    attention = 1.5 * mask + 5 * hidden if flash_attn else mask * (shape.n_head + 1) + 6 * hidden
    logits, forward = shape.n_vocab + 3 * hidden, 3 * shape.n_ff + 4 * hidden
    return round(_F32_BYTES * n_ubatch * max(attention, logits, forward))


def batch_input_bytes(shape: Shape, n_ctx: int, n_ubatch: int) -> int:
    """Returns the bytes that are copied from memory to a GPU for each batch."""
    return n_ubatch * (_F32_BYTES * shape.n_embd + (_F32_BYTES + _F16_BYTES) * _pad_context(n_ctx))


def worker_bytes(shape: Shape) -> int:
    return _WORKER_BYTES + _VOCABULARY_TOKEN_BYTES * shape.n_vocab


def unit_bytes(shape: Shape, extra_bytes: list[int]) -> list[int]:
    """Returns the bytes of each layer and, as the last item, of the output."""
    layers = shape.layer_bytes or (0,) * shape.n_layers
    units = [weights + extra for weights, extra in zip(layers, extra_bytes, strict=True)]
    return [*units, shape.output_bytes or shape.input_bytes]


def place_last_units(units: list[int], usable_bytes: list[int], max_units: int) -> UnitCounts:
    """Places as many of the last units as fit, at most `max_units`. Each GPU takes consecutive
    units, and the last GPU the last ones."""
    counts, end = [0] * len(usable_bytes), len(units)
    first_unit = len(units) - max_units
    for gpu in reversed(range(len(usable_bytes))):
        n_left_bytes = usable_bytes[gpu]
        while end > first_unit and units[end - 1] <= n_left_bytes:
            n_left_bytes -= units[end - 1]
            counts[gpu] += 1
            end -= 1
    return tuple(counts)


def place_evenly(units: list[int], usable_bytes: list[int], max_units: int) -> UnitCounts:
    """Places units like `place_last_units`, but fills all GPUs to about the same share if all units
    fit."""
    counts = place_last_units(units, usable_bytes, max_units)
    if sum(counts) < max_units or len(usable_bytes) < 2:
        return counts
    for step in range(1, _EVEN_STEPS):
        share_bytes = [n_bytes * step // _EVEN_STEPS for n_bytes in usable_bytes]
        trial = place_last_units(units, share_bytes, max_units)
        if sum(trial) == max_units:
            return trial
    return counts


def split_units(n_units: int, split: tuple[float, ...], n_gpus: int) -> UnitCounts:
    """Distributes units by proportions, as llama.cpp does."""
    shares = [*split, *[0.0] * n_gpus][:n_gpus]
    total = sum(shares) or 1.0
    sums = [sum(shares[: g + 1]) / total for g in range(n_gpus)]
    counts = [0] * n_gpus
    for unit in range(n_units):
        counts[next((g for g, s in enumerate(sums) if unit / n_units < s), n_gpus - 1)] += 1
    return tuple(counts)


def bytes_per_gpu(units: list[int], counts: UnitCounts) -> list[int]:
    """Returns the bytes of the units on each GPU."""
    start, sums = len(units) - sum(counts), []
    for n in counts:
        sums.append(sum(units[start : start + n]))
        start += n
    return sums


def mapped_bytes(shape: Shape, n_units: int) -> int:
    """Returns the length of the file from the first to the last tensor of the last `n_units` units,
    which is what llama.cpp maps for Metal (llama-model.cpp); 0: not known."""
    spans = shape.unit_spans[len(shape.unit_spans) - n_units :] if n_units else ()
    return max(end for _, end in spans) - min(start for start, _ in spans) if spans else 0
