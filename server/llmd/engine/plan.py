"""Which cells of the KV cache a prompt can keep. Pure.

Invariant: every kept cell was computed from exactly the tokens that now precede it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    n_keep: int  # cells at the start that stay
    evaluate: tuple[int, ...]  # tokens to prefill after them


def plan(cells: Sequence[int], wanted: Sequence[int]) -> Plan:
    """Keeps the common start. The last wanted token is always evaluated: its logits are needed."""
    n_keep = 0
    for held, token in zip(cells, wanted[:-1], strict=False):
        if held != token:
            break
        n_keep += 1
    return Plan(n_keep, tuple(wanted[n_keep:]))
