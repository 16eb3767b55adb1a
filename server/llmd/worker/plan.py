"""What of a slot's cells a prompt can keep, and what must be evaluated. Pure.

The cell at position i holds the token `cells[i]` and was computed from exactly `cells[:i]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations in the order in which they are applied: the first `n_keep` cells are kept, the
    `n_remove` behind them removed, and these tokens evaluated after what is left, the last
    `n_logits` of them with logits."""

    n_keep: int
    n_remove: int
    evaluate: tuple[int, ...]
    n_logits: int = 1

    @property
    def cost_tokens(self) -> int:
        return len(self.evaluate)


def plan(
    cells: Sequence[int], wanted: Sequence[int], n_logits: int = 1, can_cut: bool = True
) -> Plan:
    """The longest common prefix is kept: each kept cell was computed from exactly the tokens that
    stand before it. The last `n_logits` wanted tokens are always evaluated, for their logits.

    Without `can_cut` the cells behind the kept ones cannot be removed alone: all go.
    """
    n_keep = min(_common_len(cells, wanted), max(len(wanted) - n_logits, 0))
    if not can_cut and n_keep < len(cells):
        n_keep = 0
    return Plan(n_keep, len(cells) - n_keep, tuple(wanted[n_keep:]), n_logits)


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
