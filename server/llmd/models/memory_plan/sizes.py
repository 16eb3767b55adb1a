"""How much memory each part of a loaded model takes.

The KV cache is llama-kv-cache.cpp's. Tests hold the whole plan to within 10 % of what a worker
takes with the built-in model, at four contexts and three cache types; no other was measured so.
"""

from __future__ import annotations

from collections.abc import Callable

from llmd.config import CacheType
from llmd.models.memory_plan.model_shape import Shape

N_PAD = 256  # llama.cpp rounds a context up to it
_BYTES_PER_VALUE: dict[CacheType, float] = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
_F32, _F16 = 4, 2
# The worker without a model: interpreter, numpy and llama.cpp; and what it keeps of each token.
WORKER_BYTES = 52 << 20
TOKEN_BYTES = 420


def kv_bytes(shape: Shape, n_ctx: int, type_k: CacheType, type_v: CacheType) -> int:
    per_head = head_bytes(shape, padded(n_ctx), type_k, type_v)
    return round(sum(_heads_kv(shape)) * per_head)


def held_by_layer(shape: Shape, n_ctx: int, type_k: CacheType, type_v: CacheType) -> list[int]:
    """Beside its weights: the KV cache, a recurrent state, its share of the adapters."""
    per_head = head_bytes(shape, padded(n_ctx), type_k, type_v)
    more = shape.state_bytes + shape.adapter_bytes // max(shape.n_layers, 1)
    return [round(n * per_head) + more for n in _heads_kv(shape)]


def head_bytes(shape: Shape, n_ctx: int, type_k: CacheType, type_v: CacheType) -> float:
    """Of all cells of one head in one layer."""
    of_k = shape.head_dim * _BYTES_PER_VALUE[type_k]
    of_v = 0.0 if shape.is_mla else (shape.value_dim or shape.head_dim) * _BYTES_PER_VALUE[type_v]
    return n_ctx * (of_k + of_v)


def _heads_kv(shape: Shape) -> tuple[int, ...]:
    return shape.heads_kv or (shape.n_head_kv,) * shape.n_layers


def padded(n_ctx: int) -> int:
    return -(-n_ctx // N_PAD) * N_PAD


def compute_bytes(shape: Shape, n_ctx: int, n_ubatch: int, flash_attn: bool) -> int:
    """The greatest of what stands at one time: the logits of a whole batch; its attention, which
    without flash attention is each token's with each cell for each head; its feed-forward."""
    hidden, mask = shape.n_embd, padded(n_ctx)
    attention = 1.5 * mask + 5 * hidden if flash_attn else mask * (shape.n_head + 1) + 6 * hidden
    logits, forward = shape.n_vocab + 3 * hidden, 3 * shape.n_ff + 4 * hidden
    return round(_F32 * n_ubatch * max(attention, logits, forward))


def input_bytes(shape: Shape, n_ctx: int, n_ubatch: int) -> int:
    """What goes from the machine's memory to a GPU for each batch."""
    return n_ubatch * (_F32 * shape.n_embd + (_F32 + _F16) * padded(n_ctx))


def worker_bytes(shape: Shape) -> int:
    return WORKER_BYTES + TOKEN_BYTES * shape.n_vocab


def unit_bytes(shape: Shape, held: list[int]) -> list[int]:
    """What each layer takes where it lies, and the output."""
    layers = shape.layer_bytes or (0,) * shape.n_layers
    return [
        *(weights + beside for weights, beside in zip(layers, held, strict=True)),
        shape.output_bytes or shape.input_bytes,
    ]


Placed = tuple[int, ...]  # units on each GPU; together the last ones of the model


def placed(units: list[int], rooms: list[int], most: int) -> Placed:
    """As many of the last units as fit, at most `most`: each GPU takes those that follow each
    other, the last GPU the last of them."""
    counts, end = [0] * len(rooms), len(units)
    first = len(units) - most
    for gpu in reversed(range(len(rooms))):
        left = rooms[gpu]
        while end > first and units[end - 1] <= left:
            left -= units[end - 1]
            counts[gpu] += 1
            end -= 1
    return tuple(counts)


def balanced(units: list[int], rooms: list[int], most: int) -> Placed:
    """As `placed`, and where all fit, with each GPU about as full as the others."""
    found = placed(units, rooms, most)
    if sum(found) < most or len(rooms) < 2:
        return found
    n_steps = 64
    for step in range(1, n_steps):
        tried = placed(units, [room * step // n_steps for room in rooms], most)
        if sum(tried) == most:
            return tried
    return found


def by_split(n_units: int, split: tuple[float, ...], n_gpus: int) -> Placed:
    """As llama.cpp deals units out by proportions."""
    shares = [*split, *[0.0] * n_gpus][:n_gpus]
    total = sum(shares) or 1.0
    sums = [sum(shares[: g + 1]) / total for g in range(n_gpus)]
    counts = [0] * n_gpus
    for unit in range(n_units):
        counts[next((g for g, s in enumerate(sums) if unit / n_units < s), n_gpus - 1)] += 1
    return tuple(counts)


def sums_of(units: list[int], counts: Placed) -> list[int]:
    """Bytes on each GPU."""
    at, found = len(units) - sum(counts), []
    for n in counts:
        found.append(sum(units[at : at + n]))
        at += n
    return found


def most_that(fits: Callable[[int], bool], n_units: int) -> int:
    return next((n for n in range(n_units, 0, -1) if fits(n)), 0)
