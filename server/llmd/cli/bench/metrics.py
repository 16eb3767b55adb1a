"""Computes the figures of a replay for each kind of edit. Pure.

Tokens and times are those of the requests that the model answered. Requests that were answered
from memory are counted separately.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from llmd.cli.bench.backend import OUTCOMES, TokenCounts
from llmd.cli.bench.edit_script import KINDS
from llmd.cli.bench.replay import ReplayResult, ReplayRow

ALL = "all"


class Distribution(msgspec.Struct, frozen=True):
    p50: float
    mean: float
    p90: float


class KindFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Describes `n` requests. `tokens` counts prompt tokens evaluated, including healed tokens.
    `n_suggestions` requests had a text; `n_kept` of its `n_shown` characters were then typed.
    None: there was nothing to measure."""

    n: int
    n_model: int
    n_memory: int
    n_suppressed: int
    n_cancelled: int
    n_failed: int
    tokens: Distribution | None
    ttft_ms: Distribution | None
    total_ms: Distribution | None
    outside_ms: Distribution | None  # the part of total_ms that was not spent in the engine
    memory_ms: Distribution | None
    prefill_per_s: float | None  # on the engine's clock
    decode_per_s: float | None
    n_suggestions: int
    n_shown: int
    n_kept: int


class BackendFigures(msgspec.Struct, frozen=True):
    """Holds the figures of a backend by the name of a kind, with `all`. `n_cancelled` and
    `background` are those of `ReplayResult`."""

    name: str
    version: str
    kinds: dict[str, KindFigures]
    n_cancelled: int | None
    background: TokenCounts | None


def backend_figures(name: str, version: str, result: ReplayResult) -> BackendFigures:
    groups = {str(kind): [row for row in result.rows if row.kind == kind] for kind in KINDS}
    groups[ALL] = list(result.rows)
    kinds = {kind: kind_figures(rows) for kind, rows in groups.items() if rows}
    return BackendFigures(name, version, kinds, result.n_cancelled, result.background)


def kind_figures(rows: Sequence[ReplayRow]) -> KindFigures:
    outcomes = [row.outcome for row in rows]
    n_by_outcome: dict[str, Any] = {f"n_{name}": outcomes.count(name) for name in OUTCOMES}
    model = [row for row in rows if row.outcome == "model"]
    memory = [row for row in rows if row.outcome == "memory"]
    shown = [row for row in rows if row.n_shown]
    # Tokens after the first text, and the time that they took on the client's clock.
    decoded = [(row.n_decoded - 1, row.total_ms - row.ttft_ms) for row in model if row.ttft_ms]
    decoded = [(n_tokens, spent_ms) for n_tokens, spent_ms in decoded if n_tokens > 0]
    return KindFigures(
        n=len(rows),
        **n_by_outcome,
        tokens=distribution([row.n_prefill + row.n_healed for row in model]),
        ttft_ms=distribution([row.ttft_ms for row in model if row.ttft_ms is not None]),
        total_ms=distribution([row.total_ms for row in model]),
        outside_ms=distribution([row.total_ms - row.engine_ms for row in model]),
        memory_ms=distribution([row.total_ms for row in memory]),
        prefill_per_s=_per_s([(row.n_prefill, row.prefill_ms) for row in model]),
        decode_per_s=_per_s(decoded),
        n_suggestions=len(shown),
        n_shown=sum(row.n_shown for row in shown),
        n_kept=sum(row.n_kept for row in shown),
    )


def distribution(values: Sequence[float]) -> Distribution | None:
    """Returns the median, the mean, and the least value that nine in ten do not exceed."""
    if not values:
        return None
    p90 = sorted(values)[math.ceil(0.9 * len(values)) - 1]
    figures = (statistics.median(values), statistics.fmean(values), p90)
    return Distribution(*(round(value, 2) for value in figures))


def _per_s(tokens_and_ms: Sequence[tuple[int, float]]) -> float | None:
    spent_ms = sum(ms for _, ms in tokens_and_ms)
    return round(1e3 * sum(n for n, _ in tokens_and_ms) / spent_ms, 1) if spent_ms else None
