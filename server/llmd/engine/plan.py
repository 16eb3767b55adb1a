"""What of the cached cells a prompt can keep, and what must be evaluated. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Keep the first `n_keep` cells, drop the rest, evaluate these tokens after them, the last
    `n_logits` of them with logits."""

    n_keep: int
    evaluate: tuple[int, ...]
    n_logits: int = 1


def plan(cells: Sequence[int], wanted: Sequence[int], n_logits: int = 1) -> Plan:
    """The longest common prefix is kept: each kept cell was computed from exactly the tokens that
    stand before it. The last `n_logits` wanted tokens are always evaluated, for their logits."""
    n_keep = min(_common_len(cells, wanted), max(len(wanted) - n_logits, 0))
    return Plan(n_keep, tuple(wanted[n_keep:]), n_logits)


def batches(n_tokens: int, n_batch: int, n_logits: int) -> list[int]:
    """The sizes of the batches that evaluate `n_tokens`. All logits are asked of the last one,
    since the next decode overwrites them; `n_logits` is at most `n_batch`."""
    sizes = [min(n_batch, n_tokens - start) for start in range(0, n_tokens, n_batch)]
    if len(sizes) > 1 and (n_short := n_logits - sizes[-1]) > 0:
        sizes[-2:] = [sizes[-2] - n_short, n_logits]
    return sizes


def _common_len(left: Sequence[int], right: Sequence[int]) -> int:
    for idx, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return idx
    return min(len(left), len(right))
