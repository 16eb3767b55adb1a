"""Logits to a token. A draw depends on the seed and the index of the generated token only, so
that the same place gives the same text whatever was generated before. Pure."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from llmd.config import Sampling
from llmd.errors import EngineError

Logits = npt.NDArray[np.float32]
_MASK = (1 << 64) - 1


def sample(logits: Logits, index: int, sampling: Sampling) -> int:
    """
    Raises:
        EngineError: the logits are not finite; the KV cache can't be trusted.
    """
    best = int(logits.argmax())
    top = float(logits[best])
    if not math.isfinite(top):
        raise EngineError("The model's logits are not finite; its file or the KV cache is damaged")
    if sampling.profile == "greedy":
        return best
    floor = top + math.log(sampling.min_p) if sampling.min_p > 0 else -math.inf
    kept = np.flatnonzero(logits >= floor)
    weights = np.exp((logits[kept].astype(np.float64) - top) / sampling.temperature)
    sums = weights.cumsum()
    drawn = np.searchsorted(sums, uniform(sampling.seed, index) * sums[-1], side="right")
    return int(kept[min(int(drawn), len(kept) - 1)])


def uniform(seed: int, index: int) -> float:
    """In [0, 1): splitmix64 of the seed at this index (Steele, Lea and Flood 2014)."""
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)
