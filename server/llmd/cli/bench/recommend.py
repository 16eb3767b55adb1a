"""From a model's measured speeds to tables and settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from llmd.cli.chart import Chart, Dot, draw_charts
from llmd.cli.eval.report import table
from llmd.config import CacheType
from llmd.models import memory_plan

# K, V, flash attention. A quantised V needs the last.
_TYPES: tuple[tuple[CacheType, CacheType, bool], ...] = (
    ("q4_0", "f16", False), ("q8_0", "f16", False), ("f16", "f16", False),
    ("f16", "f16", True), ("q8_0", "q8_0", True), ("q4_0", "q4_0", True),
)  # fmt: skip
# A key after a jump or a new line, and a line of text.
N_PROMPT, N_GENERATED = 64, 12
# Speeds so near to each other are alike: then the smaller cache, the smaller batch, fewer threads.
ALIKE, ALIKE_BATCH = 0.97, 0.9
_MIB = 1 << 20


class EngineVariant(msgspec.Struct, frozen=True):
    """`kv_bytes`: for the usual context."""

    cache_type_k: CacheType
    cache_type_v: CacheType
    flash_attn: bool
    threads: int
    kv_bytes: int


class BatchSpeed(msgspec.Struct, frozen=True):
    """With `depth` cells there, `n_batch` tokens at once."""

    variant: EngineVariant = msgspec.field(name="way")
    depth: int
    n_batch: int
    tokens_per_s: float


def variants(shape: memory_plan.Shape, threads: int) -> list[EngineVariant]:
    can_quantise = shape.head_dim % 32 == 0  # values that a quantised cache stores together
    return [
        EngineVariant(
            type_k,
            type_v,
            flash,
            threads,
            memory_plan.kv_bytes(shape, memory_plan.N_CTX, type_k, type_v),
        )
        for type_k, type_v, flash in _TYPES
        if can_quantise or (type_k, type_v) == ("f16", "f16")
    ]


def best_variant(found: Sequence[BatchSpeed]) -> EngineVariant:
    """The one that answers a typical key soonest, at the greatest depth."""
    costs_s = {
        way: typical_key_s(found, way) for way in dict.fromkeys(each.variant for each in found)
    }
    least_s = min(costs_s.values())
    alike = [way for way, spent_s in costs_s.items() if least_s >= ALIKE * spent_s]
    return min(alike, key=lambda way: (way.threads, way.kv_bytes))


def typical_key_s(found: Sequence[BatchSpeed], way: EngineVariant) -> float:
    speeds = _deepest([each for each in found if each.variant == way])
    prefill = speeds[_nearest(speeds, N_PROMPT)]
    return N_PROMPT / prefill + N_GENERATED / speeds[min(speeds)]


def decode_speed(found: Sequence[BatchSpeed]) -> float:
    """Tokens a second, one at a time, of the best way at the greatest depth."""
    speeds = _deepest([each for each in found if each.variant == best_variant(found)])
    return speeds[min(speeds)]


def best_batch(found: Sequence[BatchSpeed]) -> int:
    """The smallest that is nearly as fast as any: so little is lost when it is cancelled."""
    speeds = _deepest(found)
    return min(n for n, speed in speeds.items() if speed >= ALIKE_BATCH * max(speeds.values()))


def _deepest(found: Sequence[BatchSpeed]) -> dict[int, float]:
    depth = max(each.depth for each in found)
    return {each.n_batch: each.tokens_per_s for each in found if each.depth == depth}


def _nearest(speeds: Mapping[int, float], n_batch: int) -> int:
    return min(speeds, key=lambda each: abs(each - n_batch))


def config_lines(found: Sequence[BatchSpeed]) -> str:
    """As lines of config.toml."""
    way = best_variant(found)
    n_batch = best_batch([each for each in found if each.variant == way])
    return (
        "[engine]\n"
        f'cache_type_k = "{way.cache_type_k}"\n'
        f'cache_type_v = "{way.cache_type_v}"\n'
        f"flash_attn = {'true' if way.flash_attn else 'false'}\n"
        f"n_batch = {n_batch}\n"
        f"threads = {way.threads}\n"
    )


def speed_table(found: Sequence[BatchSpeed]) -> str:
    batches = sorted({each.n_batch for each in found})
    by_key = {(each.variant, each.depth, each.n_batch): each.tokens_per_s for each in found}
    rows = [["K, V", "flash", "threads", "KV MiB", "depth", *(f"{n} at once" for n in batches)]]
    for way, depth in dict.fromkeys((each.variant, each.depth) for each in found):
        speeds = (by_key.get((way, depth, n)) for n in batches)
        said = [f"{speed:.0f}" if speed else "-" for speed in speeds]
        kv_mib = f"{way.kv_bytes / _MIB:.0f}"
        rows.append([*_variant_cells(way), kv_mib, str(depth), *said])
    return table(rows)


def _variant_cells(way: EngineVariant) -> tuple[str, str, str]:
    types = f"{way.cache_type_k}, {way.cache_type_v}"
    return types, "on" if way.flash_attn else "off", str(way.threads)


def speed_chart(found: Sequence[BatchSpeed]) -> str:
    """The least and the largest batch at the greatest depth, as SVG."""
    depth = max(each.depth for each in found)
    batches = sorted({each.n_batch for each in found})
    charts = []
    for n_batch in dict.fromkeys((batches[0], batches[-1])):
        dots = tuple(
            Dot(" ".join(_variant_cells(each.variant)), *(each.tokens_per_s,) * 3)
            for each in found
            if (each.depth, each.n_batch) == (depth, n_batch)
        )
        charts.append(Chart(f"tokens/s, {n_batch} at once, depth {depth}", dots))
    return draw_charts(charts)


def speeds_json(setup: Mapping[str, str], found: Sequence[BatchSpeed]) -> str:
    told = {"setup": setup, "speeds": found, "proposal": config_lines(found)}
    return msgspec.json.encode(told).decode()
