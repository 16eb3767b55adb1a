"""How much memory each part of a loaded model takes.

The KV cache is llama-kv-cache.cpp's. Tests hold the whole plan to within 10 % of what a worker
takes with the built-in model, at four contexts and three cache types; no other was measured so.
"""

from __future__ import annotations

from collections.abc import Callable

from llmd.config import CacheType
from llmd.models.memory_plan.model_shape import Shape

CONTEXT_MULTIPLE = 256  # llama.cpp rounds a context up to it
_BYTES_PER_VALUE: dict[CacheType, float] = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
_F32_BYTES, _F16_BYTES = 4, 2
# The worker without a model: interpreter, numpy and llama.cpp; and what it keeps of each token.
WORKER_BYTES = 52 << 20
VOCABULARY_TOKEN_BYTES = 420


def kv_bytes(shape: Shape, n_ctx: int, type_k: CacheType, type_v: CacheType) -> int:
    per_head = _head_bytes(shape, pad_context(n_ctx), type_k, type_v)
    return round(sum(_heads_kv(shape)) * per_head)


def extra_bytes_by_layer(
    shape: Shape, n_ctx: int, type_k: CacheType, type_v: CacheType
) -> list[int]:
    """Beside its weights: the KV cache, a recurrent state, its share of the adapters."""
    per_head = _head_bytes(shape, pad_context(n_ctx), type_k, type_v)
    fixed_bytes = shape.state_bytes + shape.adapter_bytes // max(shape.n_layers, 1)
    return [round(n * per_head) + fixed_bytes for n in _heads_kv(shape)]


def _head_bytes(shape: Shape, n_ctx: int, type_k: CacheType, type_v: CacheType) -> float:
    """Of all cells of one head in one layer."""
    k_bytes = shape.head_dim * _BYTES_PER_VALUE[type_k]
    v_bytes = (
        0.0 if shape.is_mla else (shape.value_dim or shape.head_dim) * _BYTES_PER_VALUE[type_v]
    )
    return n_ctx * (k_bytes + v_bytes)


def _heads_kv(shape: Shape) -> tuple[int, ...]:
    return shape.heads_kv_by_layer or (shape.n_head_kv,) * shape.n_layers


def pad_context(n_ctx: int) -> int:
    return -(-n_ctx // CONTEXT_MULTIPLE) * CONTEXT_MULTIPLE


def compute_bytes(shape: Shape, n_ctx: int, n_ubatch: int, flash_attn: bool) -> int:
    """The greatest of what stands at one time: the logits of a whole batch; its attention, which
    without flash attention is each token's with each cell for each head; its feed-forward."""
    hidden, mask = shape.n_embd, pad_context(n_ctx)
    attention = 1.5 * mask + 5 * hidden if flash_attn else mask * (shape.n_head + 1) + 6 * hidden
    logits, forward = shape.n_vocab + 3 * hidden, 3 * shape.n_ff + 4 * hidden
    return round(_F32_BYTES * n_ubatch * max(attention, logits, forward))


def batch_input_bytes(shape: Shape, n_ctx: int, n_ubatch: int) -> int:
    """What goes from the machine's memory to a GPU for each batch."""
    return n_ubatch * (_F32_BYTES * shape.n_embd + (_F32_BYTES + _F16_BYTES) * pad_context(n_ctx))


def worker_bytes(shape: Shape) -> int:
    return WORKER_BYTES + VOCABULARY_TOKEN_BYTES * shape.n_vocab


def unit_bytes(shape: Shape, extra_bytes: list[int]) -> list[int]:
    """What each layer takes where it lies, and the output."""
    layers = shape.layer_bytes or (0,) * shape.n_layers
    return [
        *(weights + beside for weights, beside in zip(layers, extra_bytes, strict=True)),
        shape.output_bytes or shape.input_bytes,
    ]


UnitCounts = tuple[int, ...]  # units on each GPU; together the last ones of the model


def place_last_units(units: list[int], usable_bytes: list[int], max_units: int) -> UnitCounts:
    """As many of the last units as fit, at most `most`: each GPU takes those that follow each
    other, the last GPU the last of them."""
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
    """As `placed`, and where all fit, with each GPU about as full as the others."""
    counts = place_last_units(units, usable_bytes, max_units)
    if sum(counts) < max_units or len(usable_bytes) < 2:
        return counts
    n_steps = 64
    for step in range(1, n_steps):
        trial = place_last_units(
            units, [room * step // n_steps for room in usable_bytes], max_units
        )
        if sum(trial) == max_units:
            return trial
    return counts


def split_units(n_units: int, split: tuple[float, ...], n_gpus: int) -> UnitCounts:
    """As llama.cpp deals units out by proportions."""
    shares = [*split, *[0.0] * n_gpus][:n_gpus]
    total = sum(shares) or 1.0
    sums = [sum(shares[: g + 1]) / total for g in range(n_gpus)]
    counts = [0] * n_gpus
    for unit in range(n_units):
        counts[next((g for g, s in enumerate(sums) if unit / n_units < s), n_gpus - 1)] += 1
    return tuple(counts)


def bytes_per_gpu(units: list[int], counts: UnitCounts) -> list[int]:
    """Bytes on each GPU."""
    start, sums = len(units) - sum(counts), []
    for n in counts:
        sums.append(sum(units[start : start + n]))
        start += n
    return sums


def most_that(fits: Callable[[int], bool], n_units: int) -> int:
    return next((n for n in range(n_units, 0, -1) if fits(n)), 0)
