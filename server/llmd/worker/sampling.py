"""Samples a token from logits. Pure.

A sample depends only on the logits, the seed and the index of the generated token, so that the same
prompt gives the same text whatever was requested before.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from llmd.config import SamplingConfig
from llmd.errors import EngineError

_MASK = (1 << 64) - 1
# Measured: two evaluations of one prompt never swapped tokens whose logits differed by more.
NEAR_TIE = 0.5
MAX_RUNNERS_UP = 64
MIN_SHARE = 1e-3  # chosen: of the best token's probability; rarer tokens are not suggested
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15  # splitmix64's increment


def sample(logits: npt.NDArray[np.float32], sampling: SamplingConfig, idx: int) -> int:
    """Returns the index of the sampled token in `logits`, shape `(n,)`.

    `idx`: index of the generated token; tokens that only cover healed bytes count down from -1.

    Raises:
        EngineError: the logits are not finite; the model or the backend is broken.
    """
    best = float(np.max(logits))
    if not math.isfinite(best):
        raise EngineError("Logits are not finite; choose another model or `engine.cache_type_k`")
    if sampling.profile == "greedy":
        return int(np.argmax(logits))
    floor = best + math.log(sampling.min_p) if sampling.min_p > 0 else -math.inf
    candidates = np.flatnonzero(logits >= floor)
    weights = np.exp((logits[candidates].astype(np.float64) - best) / sampling.temperature)
    bounds = np.cumsum(weights)
    drawn = np.searchsorted(bounds, uniform(sampling.seed, idx) * bounds[-1], side="right")
    return int(candidates[min(int(drawn), len(candidates) - 1)])


def runners_up(logits: npt.NDArray[np.float32], chosen: int) -> list[int]:
    """Returns the indices of the likely tokens other than `chosen`, likeliest first.

    `logits` has shape `(n,)`. At most MAX_RUNNERS_UP, none rarer than MIN_SHARE.
    """
    n_best = min(len(logits), MAX_RUNNERS_UP)
    best = np.argpartition(logits, len(logits) - n_best)[len(logits) - n_best :]
    floor = np.max(logits) + math.log(MIN_SHARE)
    ordered = best[np.argsort(-logits[best], kind="stable")]
    return [int(idx) for idx in ordered if idx != chosen and logits[idx] >= floor]


def logprob(logits: npt.NDArray[np.float32], chosen: int) -> float:
    """Returns the log-probability, in nats, of index `chosen` at temperature 1."""
    shifted = logits - np.max(logits)
    return float(shifted[chosen]) - math.log(float(np.sum(np.exp(shifted))))


def is_near_tie(logits: npt.NDArray[np.float32]) -> bool:
    """Returns whether a batch of another size might swap the two best tokens."""
    if len(logits) < 2:
        return False
    second, best = np.partition(logits, -2)[-2:]
    return bool(best - second <= NEAR_TIE)


def uniform(seed: int, idx: int) -> float:
    """Returns the `idx`-th output of splitmix64 seeded with `seed`, as a number in [0, 1)."""
    state = (_mix(seed & _MASK) + (idx + 1) * _GOLDEN_GAMMA) & _MASK
    return (_mix(state) >> 11) / (1 << 53)


def _mix(state: int) -> int:
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
