"""Intervals and paired tests for what an evaluation counts. Pure; every draw has a fixed seed.

All intervals are of 95 %. Values are one for each place, in the same order on both sides of a pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEED = 3407
N_DRAWS = 4000
# Places times draws held at once: 64 MB of 8-byte indices.
_BLOCK = 8_000_000
_Z = 1.959963984540054  # of the normal distribution at 97.5 %

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Of the second from the first. `p`: two-sided, of a difference as large if there were none."""

    value: float
    low: float
    high: float
    p: float


NOTHING = Estimate(math.nan, math.nan, math.nan)


def share(n_hits: int, n: int) -> Estimate:
    """Wilson's score interval (Wilson 1927), which holds near 0 and 1 and for small `n`."""
    if not n:
        return NOTHING
    found, spread = n_hits / n, _Z * _Z / n
    middle = (found + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(found * (1 - found) / n + spread / (4 * n))
    return Estimate(found, max(0.0, middle - half), min(1.0, middle + half))


def mean(values: Sequence[float]) -> Estimate:
    """The interval is the percentiles of the means of resampled places."""
    return ratio(values, [1.0] * len(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """Sum over sum, both resampled by place; infinite where `below` sums to nothing."""
    if not above:
        return NOTHING
    top, bottom = np.asarray(above, float), np.asarray(below, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(top.sum() / bottom.sum())
        drawn = _resampled(top) / _resampled(bottom)
    low, high = _percentiles(drawn)
    return Estimate(found, low, high)


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Of the means, place by place: exact McNemar where all values are 0 or 1, else sign flips."""
    if not first:
        return Difference(math.nan, math.nan, math.nan, math.nan)
    gaps = np.asarray(second, float) - np.asarray(first, float)
    low, high = _percentiles(_resampled(gaps) / len(gaps))
    if {*first, *second} <= {0.0, 1.0}:
        p = mcnemar(int((gaps > 0).sum()), int((gaps < 0).sum()))
    else:
        p = sign_flips(gaps)
    return Difference(float(gaps.mean()), low, high, p)


def mcnemar(n_gained: int, n_lost: int) -> float:
    """Exact: how likely a fair coin is as far from the middle (McNemar 1947)."""
    n = n_gained + n_lost
    tail = sum(math.comb(n, k) for k in range(min(n_gained, n_lost) + 1))
    return min(1.0, 2 * tail / (1 << n))


def sign_flips(gaps: Floats) -> float:
    """A permutation test: were the sides alike, each place's gap could as well be its negative."""
    rng = np.random.default_rng(SEED)
    limit = abs(float(gaps.sum())) - 1e-9
    n_far, n_left = 0, N_DRAWS
    while n_left:
        n = min(n_left, max(1, _BLOCK // len(gaps)))
        signs = rng.integers(0, 2, (n, len(gaps)), dtype=np.int8) * 2.0 - 1.0
        n_far += int((np.abs(signs @ gaps) >= limit).sum())
        n_left -= n
    return (n_far + 1) / (N_DRAWS + 1)


def _resampled(values: Floats) -> Floats:
    """The sums of N_DRAWS samples with replacement; the same places for every call of a length."""
    rng = np.random.default_rng(SEED)
    sums: list[Floats] = []
    n_left = N_DRAWS
    while n_left:
        n = min(n_left, max(1, _BLOCK // len(values)))
        sums.append(values[rng.integers(0, len(values), (n, len(values)))].sum(axis=1))
        n_left -= n
    return np.concatenate(sums)


def _percentiles(drawn: Floats) -> tuple[float, float]:
    kept = drawn[~np.isnan(drawn)]
    if not len(kept):
        return math.nan, math.nan
    low, high = np.percentile(kept, (2.5, 97.5), method="nearest")
    return float(low), float(high)
