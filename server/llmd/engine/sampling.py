"""From logits to a token. Pure.

A draw depends on the seed and the index of the generated token alone, so that the same prompt
gives the same text whatever was asked for before it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from llmd.config import Sampling
from llmd.errors import EngineError

_MASK = (1 << 64) - 1
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15  # splitmix64's increment


def sample(logits: npt.NDArray[np.float32], sampling: Sampling, idx: int) -> int:
    """The `idx`-th generated token.

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


def uniform(seed: int, idx: int) -> float:
    """A number in [0, 1) that only `seed` and `idx` decide (splitmix64, its idx-th output)."""
    state = (_mix(seed & _MASK) + (idx + 1) * _GOLDEN_GAMMA) & _MASK
    return (_mix(state) >> 11) / (1 << 53)


def _mix(state: int) -> int:
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
