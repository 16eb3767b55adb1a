"""From logits to a token. Pure.

A draw depends on the seed and the index of the generated token alone, so that the same prompt
gives the same text whatever was asked for before it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from llmd.config import SamplingConfig
from llmd.errors import EngineError

_MASK = (1 << 64) - 1
NEAR_TIE = 0.5  # measured: no further apart did two evaluations of one prompt disagree
MAX_RUNNERS_UP = 64
MIN_SHARE = 1e-3  # chosen: of the best token's probability; what is rarer is no suggestion
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15  # splitmix64's increment


def sample(logits: npt.NDArray[np.float32], sampling: SamplingConfig, idx: int) -> int:
    """The `idx`-th generated token; those that pay for owed bytes count down from -1.

    Raises:
        EngineError: the logits are not numbers; the model or the backend is broken.
    """
    best = float(np.max(logits))
    if not math.isfinite(best):
        raise EngineError("The model's logits are not finite; try another model or cache type")
    if sampling.profile == "greedy":
        return int(np.argmax(logits))
    floor = best + math.log(sampling.min_p) if sampling.min_p > 0 else -math.inf
    kept = np.flatnonzero(logits >= floor)
    weights = np.exp((logits[kept].astype(np.float64) - best) / sampling.temperature)
    bounds = np.cumsum(weights)
    drawn = np.searchsorted(bounds, uniform(sampling.seed, idx) * bounds[-1], side="right")
    return int(kept[min(int(drawn), len(kept) - 1)])


def runners_up(logits: npt.NDArray[np.float32], chosen: int) -> list[int]:
    """The others, likeliest first, as far as they are worth a look."""
    n_best = min(len(logits), MAX_RUNNERS_UP)
    best = np.argpartition(logits, len(logits) - n_best)[len(logits) - n_best :]
    floor = np.max(logits) + math.log(MIN_SHARE)
    ordered = best[np.argsort(-logits[best], kind="stable")]
    return [int(idx) for idx in ordered if idx != chosen and logits[idx] >= floor]


def logprob(logits: npt.NDArray[np.float32], chosen: int) -> float:
    """The log-probability of one of them at temperature 1."""
    shifted = logits - np.max(logits)
    return float(shifted[chosen]) - math.log(float(np.sum(np.exp(shifted))))


def is_near_tie(logits: npt.NDArray[np.float32]) -> bool:
    """Whether the two best lie so close that a batch of another size may swap them."""
    if len(logits) < 2:
        return False
    second, best = np.partition(logits, -2)[-2:]
    return bool(best - second <= NEAR_TIE)


def uniform(seed: int, idx: int) -> float:
    """A number in [0, 1) that only `seed` and `idx` decide (splitmix64, its idx-th output)."""
    state = (_mix(seed & _MASK) + (idx + 1) * _GOLDEN_GAMMA) & _MASK
    return (_mix(state) >> 11) / (1 << 53)


def _mix(state: int) -> int:
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
