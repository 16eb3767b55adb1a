"""What a replay comes to, by the kind of edit. Pure.

Tokens and times are of the requests that the model answered; what was answered without it is
counted apart.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

from llmd.cli.bench.backend import ReplayOutcome, TokenCounts
from llmd.cli.bench.replay import ReplayResult, ReplayRow
from llmd.cli.bench.trace import KINDS

ALL = "all"


class Distribution(msgspec.Struct, frozen=True):
    p50: float
    mean: float
    p90: float


class KindFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Of `n` requests. `tokens`: prompt tokens evaluated, those to heal among them. None where
    there was nothing to measure. `n_suggestions` have text, of which `n_kept` characters were then
    typed."""

    n: int
    n_model: int
    n_memory: int
    n_suppressed: int
    n_cancelled: int
    n_failed: int
    tokens: Distribution | None
    ttft_ms: Distribution | None
    total_ms: Distribution | None
    outside_ms: Distribution | None  # of total_ms, what was not the engine's
    memory_ms: Distribution | None
    prefill_per_s: float | None  # on the engine's clock
    decode_per_s: float | None
    n_suggestions: int
    n_shown: int
    n_kept: int


class BackendFigures(msgspec.Struct, frozen=True):
    """`kinds` by name, with `all`. `n_cancelled` and `background` as in `Replayed`."""

    name: str
    version: str
    kinds: dict[str, KindFigures]
    n_cancelled: int | None
    background: TokenCounts | None

    @property
    def n_requests(self) -> int:
        return self.kinds[ALL].n if ALL in self.kinds else 0


def backend_figures(name: str, version: str, found: ReplayResult) -> BackendFigures:
    groups = {str(kind): [row for row in found.rows if row.kind == kind] for kind in KINDS}
    groups[ALL] = list(found.rows)
    kinds = {kind: kind_figures(rows) for kind, rows in groups.items() if rows}
    return BackendFigures(name, version, kinds, found.n_cancelled, found.background)


def kind_figures(rows: Sequence[ReplayRow]) -> KindFigures:
    asked, known = _of(rows, "model"), _of(rows, "memory")
    shown = [row for row in rows if row.n_shown]
    return KindFigures(
        n=len(rows),
        n_model=len(asked),
        n_memory=len(known),
        n_suppressed=len(_of(rows, "suppressed")),
        n_cancelled=len(_of(rows, "cancelled")),
        n_failed=len(_of(rows, "failed")),
        tokens=distribution([row.n_prefill + row.n_healed for row in asked]),
        ttft_ms=distribution([row.ttft_ms for row in asked if row.ttft_ms is not None]),
        total_ms=distribution([row.total_ms for row in asked]),
        outside_ms=distribution([row.total_ms - row.engine_ms for row in asked]),
        memory_ms=distribution([row.total_ms for row in known]),
        prefill_per_s=_per_s([row.n_prefill for row in asked], [row.prefill_ms for row in asked]),
        decode_per_s=_decode_per_s(asked),
        n_suggestions=len(shown),
        n_shown=sum(row.n_shown for row in shown),
        n_kept=sum(row.n_kept for row in shown),
    )


def _of(rows: Sequence[ReplayRow], outcome: ReplayOutcome) -> list[ReplayRow]:
    return [row for row in rows if row.outcome == outcome]


def distribution(values: Sequence[float]) -> Distribution | None:
    """Median, mean, and the least value that nine in ten do not exceed."""
    if not values:
        return None
    p90 = sorted(values)[math.ceil(0.9 * len(values)) - 1]
    found = (statistics.median(values), statistics.fmean(values), p90)
    return Distribution(*(round(value, 2) for value in found))


def _decode_per_s(rows: Sequence[ReplayRow]) -> float | None:
    """On the client's clock, of the tokens after the first text."""
    found = [(row.n_decoded - 1, row.total_ms - row.ttft_ms) for row in rows if row.ttft_ms]
    found = [(n_tokens, spent_ms) for n_tokens, spent_ms in found if n_tokens > 0]
    return _per_s([n_tokens for n_tokens, _ in found], [spent_ms for _, spent_ms in found])


def _per_s(counts: Sequence[int], times_ms: Sequence[float]) -> float | None:
    spent_ms = sum(times_ms)
    return round(1e3 * sum(counts) / spent_ms, 1) if spent_ms else None
