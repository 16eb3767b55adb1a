"""What of the cached cells a prompt can keep, and what must be evaluated. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Keep the first `n_keep` cells, drop the rest, evaluate these tokens after them."""

    n_keep: int
    evaluate: tuple[int, ...]


def plan(cells: Sequence[int], wanted: Sequence[int]) -> Plan:
    """The longest common prefix is kept: each kept cell was computed from exactly the tokens that
    stand before it. The last wanted token is always evaluated, for its logits."""
    n_keep = min(_common_len(cells, wanted), max(len(wanted) - 1, 0))
    return Plan(n_keep, tuple(wanted[n_keep:]))


def _common_len(left: Sequence[int], right: Sequence[int]) -> int:
    for idx, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return idx
    return min(len(left), len(right))
