"""Turns a model's measured speeds into tables, charts and settings. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llmd.cli.eval.report import table
from llmd.cli.report_files import Chart, Dot
from llmd.config import CacheType
from llmd.models import memory_plan

# K, V, flash attention. A quantised V needs flash attention.
_TYPES: tuple[tuple[CacheType, CacheType, bool], ...] = (
    ("q4_0", "f16", False), ("q8_0", "f16", False), ("f16", "f16", False),
    ("f16", "f16", True), ("q8_0", "q8_0", True), ("q4_0", "q4_0", True),
)  # fmt: skip
# A typical request: the prompt of a key after a jump or a new line, and a line of text.
N_PROMPT, N_GENERATED = 64, 12
# Speeds within these ratios count as equal: the smaller cache, batch and number of threads win.
ALIKE, ALIKE_BATCH = 0.97, 0.9
FILL = 64  # tokens in a batch while the cache is filled up to a depth
_MIB = 1 << 20


class EngineVariant(msgspec.Struct, frozen=True):
    """Holds the settings that are compared. `kv_bytes` is the cache's size at the usual context."""

    cache_type_k: CacheType
    cache_type_v: CacheType
    flash_attn: bool
    threads: int
    kv_bytes: int


class BatchSpeed(msgspec.Struct, frozen=True):
    """Holds the speed of a batch of `n_batch` tokens with `depth` cells in the cache."""

    variant: EngineVariant = msgspec.field(name="way")
    depth: int
    n_batch: int
    tokens_per_s: float


def variants(shape: memory_plan.Shape, threads: int) -> list[EngineVariant]:
    can_quantise = shape.head_dim % 32 == 0  # a quantised cache stores blocks of 32 values
    return [
        EngineVariant(
            type_k, type_v, flash, threads,
            memory_plan.kv_bytes(shape, memory_plan.N_CTX, type_k, type_v),
        )
        for type_k, type_v, flash in _TYPES
        if can_quantise or (type_k, type_v) == ("f16", "f16")
    ]  # fmt: skip


def run_time_s(
    token_s: float, fill_s: float, depths: Sequence[int], batches: Sequence[int], repeat: int
) -> float:
    """Estimates how long one variant takes, from the times of a batch of 1 and of FILL tokens.
    The time of a batch grows linearly with its size."""
    per_token_s = (fill_s - token_s) / (FILL - 1)
    batches_s = sum(token_s + per_token_s * (n_batch - 1) for n_batch in batches)
    return max(depths) / FILL * fill_s + len(depths) * repeat * batches_s


def best_variant(speeds: Sequence[BatchSpeed]) -> EngineVariant:
    """Returns the variant that answers a typical request soonest, at the greatest depth."""
    costs_s = {
        variant: typical_key_s(speeds, variant)
        for variant in dict.fromkeys(speed.variant for speed in speeds)
    }
    least_s = min(costs_s.values())
    alike = [variant for variant, spent_s in costs_s.items() if least_s >= ALIKE * spent_s]
    return min(alike, key=lambda variant: (variant.threads, variant.kv_bytes))


def typical_key_s(speeds: Sequence[BatchSpeed], variant: EngineVariant) -> float:
    by_batch = _deepest([speed for speed in speeds if speed.variant == variant])
    nearest = min(by_batch, key=lambda n_batch: abs(n_batch - N_PROMPT))
    return N_PROMPT / by_batch[nearest] + N_GENERATED / by_batch[min(by_batch)]


def decode_speed(speeds: Sequence[BatchSpeed]) -> float:
    """Returns tokens per second, one at a time, of the best variant at the greatest depth."""
    best = best_variant(speeds)
    by_batch = _deepest([speed for speed in speeds if speed.variant == best])
    return by_batch[min(by_batch)]


def best_batch(speeds: Sequence[BatchSpeed]) -> int:
    """Returns the smallest batch that is nearly as fast as any: a cancellation waits for the end
    of a batch."""
    by_batch = _deepest(speeds)
    fastest = max(by_batch.values())
    return min(n for n, tokens_per_s in by_batch.items() if tokens_per_s >= ALIKE_BATCH * fastest)


def _deepest(speeds: Sequence[BatchSpeed]) -> dict[int, float]:
    depth = max(speed.depth for speed in speeds)
    return {speed.n_batch: speed.tokens_per_s for speed in speeds if speed.depth == depth}


def config_lines(speeds: Sequence[BatchSpeed]) -> str:
    """Returns the best settings as lines of config.toml."""
    best = best_variant(speeds)
    n_batch = best_batch([speed for speed in speeds if speed.variant == best])
    return (
        "[engine]\n"
        f'cache_type_k = "{best.cache_type_k}"\n'
        f'cache_type_v = "{best.cache_type_v}"\n'
        f"flash_attn = {'true' if best.flash_attn else 'false'}\n"
        f"n_batch = {n_batch}\n"
        f"threads = {best.threads}\n"
    )


def speed_table(speeds: Sequence[BatchSpeed]) -> str:
    batches = sorted({speed.n_batch for speed in speeds})
    by_key = {(speed.variant, speed.depth, speed.n_batch): speed.tokens_per_s for speed in speeds}
    rows = [["K, V", "flash", "threads", "KV MiB", "depth", *(f"{n} at once" for n in batches)]]
    for variant, depth in dict.fromkeys((speed.variant, speed.depth) for speed in speeds):
        measured = (by_key.get((variant, depth, n)) for n in batches)
        cells = [f"{tokens_per_s:.0f}" if tokens_per_s else "-" for tokens_per_s in measured]
        kv_mib = f"{variant.kv_bytes / _MIB:.0f}"
        rows.append([*_variant_cells(variant), kv_mib, str(depth), *cells])
    return table(rows)


def _variant_cells(variant: EngineVariant) -> tuple[str, str, str]:
    types = f"{variant.cache_type_k}, {variant.cache_type_v}"
    return types, "on" if variant.flash_attn else "off", str(variant.threads)


def speed_charts(speeds: Sequence[BatchSpeed]) -> list[Chart]:
    """Returns charts of the least and the largest batch at the greatest depth."""
    depth = max(speed.depth for speed in speeds)
    batches = sorted({speed.n_batch for speed in speeds})
    charts = []
    for n_batch in dict.fromkeys((batches[0], batches[-1])):
        dots = tuple(
            Dot(" ".join(_variant_cells(speed.variant)), *(speed.tokens_per_s,) * 3)
            for speed in speeds
            if (speed.depth, speed.n_batch) == (depth, n_batch)
        )
        charts.append(Chart(f"tokens/s, {n_batch} at once, depth {depth}", dots))
    return charts
