"""The mirror of what the KV cache holds, and the only way to change it.

Invariant: `cells[i]` is the token at position i, and every cell was computed from exactly the
cells before it. A batch is recorded once its decode has returned 0.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from llmd.errors import EngineError


@dataclass(frozen=True, slots=True)
class CachePlan:
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


def plan_cells(
    cells: Sequence[int], wanted: Sequence[int], n_logits: int = 1, can_cut: bool = True
) -> CachePlan:
    """The longest common prefix is kept: each kept cell was computed from exactly the tokens that
    stand before it. The last `n_logits` wanted tokens are always evaluated, for their logits.

    Without `can_cut` the cells behind the kept ones cannot be removed alone: all go.
    """
    n_keep = min(_common_len(cells, wanted), max(len(wanted) - n_logits, 0))
    if not can_cut and n_keep < len(cells):
        n_keep = 0
    return CachePlan(n_keep, len(cells) - n_keep, tuple(wanted[n_keep:]), n_logits)


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


DecodeOutcome = Literal["done", "aborted", "full"]
SavedState = npt.NDArray[np.uint8]
_ABORTED = 2  # llama_decode's codes
_NO_ROOM = 1


class BatchEvaluator(Protocol):
    """What the cache needs of a llama.Context."""

    n_ctx: int
    n_batch: int

    def decode(self, tokens: Sequence[int], start: int, n_logits: int) -> int: ...
    def seq_rm(self, start: int) -> bool: ...
    def clear(self) -> None: ...
    def state(self) -> SavedState: ...
    def restore(self, state: SavedState) -> bool: ...


@dataclass(frozen=True, slots=True, eq=False)
class SavedCells:
    """Cells that were taken out of the cache. Of this process and this context only."""

    cells: array[int]
    state: SavedState

    @property
    def n_bytes(self) -> int:
        return self.state.nbytes + len(self.cells) * self.cells.itemsize


class KvCache:
    def __init__(
        self, context: BatchEvaluator, can_cut: bool = True, can_save: bool = True
    ) -> None:
        """`can_cut`: the memory can drop its last cells alone. `can_save`: a copy of it is as good
        as itself."""
        self._context = context
        self.can_cut = can_cut
        self.can_save = can_save
        self.cells: list[int] = []

    @property
    def n_ctx(self) -> int:
        return self._context.n_ctx

    @property
    def is_full(self) -> bool:
        return len(self.cells) >= self._context.n_ctx

    def clear(self) -> None:
        self._context.clear()
        self.cells.clear()

    def keep(self, n_keep: int) -> int:
        """Cuts the cells after `n_keep`. Returns how many are left: fewer where the model's memory
        cannot be cut, as in a recurrent one."""
        if n_keep < len(self.cells):
            if (self.can_cut or not n_keep) and self._context.seq_rm(n_keep):
                del self.cells[n_keep:]
            else:
                self.clear()
        return len(self.cells)

    def save(self) -> SavedCells:
        """A copy of what is held.

        Raises:
            EngineError: llama.cpp could not copy it.
        """
        return SavedCells(array("i", self.cells), self._context.state())

    def restore(self, saved: SavedCells) -> None:
        """In the place of what is held. Where llama.cpp will not, nothing is."""
        self.keep(0)
        if self._context.restore(saved.state):
            self.cells += saved.cells
        else:
            self.clear()

    def prefill(
        self, plan: CachePlan, is_stopped: Callable[[], bool]
    ) -> tuple[DecodeOutcome, int, int]:
        """Applies a plan batch by batch. Returns how it went, the tokens kept and the tokens
        evaluated, those of an aborted batch among them.

        `is_stopped` is asked before each batch; what finished is kept.

        Raises:
            EngineError: llama.cpp failed; the cache is empty.
        """
        wanted = [*self.cells[: plan.n_keep], *plan.evaluate]
        n_cached = self.keep(plan.n_keep)
        n_evaluated = 0
        n_logits = min(plan.n_logits, self._context.n_batch)
        for size in batches(len(wanted) - n_cached, self._context.n_batch, n_logits):
            if is_stopped():
                return "aborted", n_cached, n_evaluated
            batch = wanted[len(self.cells) : len(self.cells) + size]
            n_evaluated += size
            is_last = len(self.cells) + size == len(wanted)
            if (outcome := self.decode(batch, n_logits if is_last else 0)) != "done":
                return outcome, n_cached, n_evaluated
        return "done", n_cached, n_evaluated

    def decode(self, tokens: Sequence[int], n_logits: int = 1) -> DecodeOutcome:
        """Evaluates one batch behind the last cell.

        Raises:
            EngineError: llama.cpp failed; the cache is empty.
        """
        code = self._context.decode(tokens, len(self.cells), n_logits)
        if code == 0:
            self.cells += tokens
            return "done"
        if code == _ABORTED:
            self._drop_unconfirmed()
            return "aborted"
        self.clear()
        if code == _NO_ROOM:
            return "full"
        raise EngineError(f"llama.cpp could not evaluate {len(tokens)} tokens (code {code})")

    def _drop_unconfirmed(self) -> None:
        """An aborted batch may have left cells behind, or half a state."""
        if not (self.can_cut and self.cells and self._context.seq_rm(len(self.cells))):
            self.clear()
