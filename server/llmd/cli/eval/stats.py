"""Computes intervals and paired tests. Pure; every random draw has a fixed seed.

All intervals have a confidence of 95 %. A sequence has one value for each place, and both sequences
of a pair have the same order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEED = 3407
N_DRAWS = 4000
# Places times draws in memory at once: 64 MB of 8-byte indices.
_BLOCK = 8_000_000
_Z = 1.959963984540054  # of the normal distribution at 97.5 %

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference(Estimate):
    """Holds the second mean minus the first. `p` is two-sided: the probability of a difference this
    large if there were none."""

    p: float


NOTHING = Estimate(math.nan, math.nan, math.nan)


def share(n_hits: int, n: int) -> Estimate:
    """Returns Wilson's score interval (Wilson 1927), which is valid near 0 and 1 and for small
    `n`."""
    if not n:
        return NOTHING
    share_, spread = n_hits / n, _Z * _Z / n
    middle = (share_ + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share_ * (1 - share_) / n + spread / (4 * n))
    return Estimate(share_, max(0.0, middle - half), min(1.0, middle + half))


def mean(values: Sequence[float]) -> Estimate:
    """Returns the mean; the interval has percentiles of the means of resampled places."""
    return ratio(values, [1.0] * len(values))


def ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """Returns sum over sum, both resampled by place; infinite if `below` sums to 0."""
    if not above:
        return NOTHING
    top, bottom = np.asarray(above, float), np.asarray(below, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(top.sum() / bottom.sum())
        drawn = _resampled(top) / _resampled(bottom)
    return Estimate(value, *_percentiles(drawn))


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compares means place by place: exact McNemar if all values are 0 or 1, else sign flips."""
    if not first:
        return Difference(math.nan, math.nan, math.nan, math.nan)
    gaps = np.asarray(second, float) - np.asarray(first, float)
    are_hits = {*first, *second} <= {0.0, 1.0}
    p = mcnemar(int((gaps > 0).sum()), int((gaps < 0).sum())) if are_hits else sign_flips(gaps)
    return Difference(float(gaps.mean()), *_percentiles(_resampled(gaps) / len(gaps)), p)


def mcnemar(n_gained: int, n_lost: int) -> float:
    """Returns the exact probability that a fair coin is this far from the middle (McNemar 1947)."""
    n = n_gained + n_lost
    tail = sum(math.comb(n, k) for k in range(min(n_gained, n_lost) + 1))
    return min(1.0, 2 * tail / (1 << n))


def sign_flips(gaps: Floats) -> float:
    """Runs a permutation test: if both were equal, each place's gap could as well be negated."""
    rng = np.random.default_rng(SEED)
    limit = abs(float(gaps.sum())) - 1e-9
    n_far = 0
    for shape in _block_shapes(len(gaps)):
        signs = rng.integers(0, 2, shape, dtype=np.int8) * 2.0 - 1.0
        n_far += int((np.abs(signs @ gaps) >= limit).sum())
    return (n_far + 1) / (N_DRAWS + 1)


def _resampled(values: Floats) -> Floats:
    """Returns the sums, shape (N_DRAWS,), of samples with replacement; every call with the same
    number of values draws the same places."""
    rng = np.random.default_rng(SEED)
    blocks = (rng.integers(0, len(values), shape) for shape in _block_shapes(len(values)))
    return np.concatenate([values[block].sum(axis=1) for block in blocks])


def _block_shapes(n_places: int) -> Iterator[tuple[int, int]]:
    """Splits N_DRAWS draws of `n_places` values into blocks that fit in memory."""
    n_rows = max(1, _BLOCK // n_places)
    for start in range(0, N_DRAWS, n_rows):
        yield min(n_rows, N_DRAWS - start), n_places


def _percentiles(drawn: Floats) -> tuple[float, float]:
    numbers = drawn[~np.isnan(drawn)]
    if not len(numbers):
        return math.nan, math.nan
    low, high = np.percentile(numbers, (2.5, 97.5), method="nearest")
    return float(low), float(high)
