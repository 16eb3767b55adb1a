"""Plans which KV cells a prompt reuses, and tracks which tokens the KV cache holds.

`KvCache` is the only code that changes the cells of the llama.cpp context.

Invariant: `cells[i]` is the token at position i, and llama.cpp computed every cell from exactly
the cells before it. A batch is recorded in `cells` only after its decode returned 0.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from llmd.errors import EngineError
from llmd.worker.llama import StateBytes

DecodeOutcome = Literal["done", "aborted", "full"]
_NO_ROOM = 1  # llama_decode's codes
_ABORTED = 2


@dataclass(frozen=True, slots=True)
class CachePlan:
    """Describes a prefill: keep the first `n_keep` cells, remove the others, evaluate the tokens
    `evaluate`, and compute logits for the last `n_logits` of these tokens."""

    n_keep: int
    evaluate: tuple[int, ...]
    n_logits: int = 1


def plan_cells(
    cells: Sequence[int], wanted: Sequence[int], n_logits: int = 1, can_cut: bool = True
) -> CachePlan:
    """Plans the cheapest prefill that turns `cells` into `wanted`.

    The plan keeps the longest common prefix, but always evaluates the last `n_logits` tokens, since
    their logits are needed. Without `can_cut` the memory cannot drop its last cells alone, so the
    plan keeps either all cells or none.
    """
    n_keep = min(_common_len(cells, wanted), max(len(wanted) - n_logits, 0))
    if not can_cut and n_keep < len(cells):
        n_keep = 0
    return CachePlan(n_keep, tuple(wanted[n_keep:]), n_logits)


def batches(n_tokens: int, n_batch: int, n_logits: int) -> list[int]:
    """Returns the sizes of the batches that evaluate `n_tokens` tokens.

    The last batch has at least `n_logits` tokens, since each decode overwrites the logits of the
    one before. `n_logits` is at most `n_batch`.
    """
    sizes = [min(n_batch, n_tokens - start) for start in range(0, n_tokens, n_batch)]
    if len(sizes) > 1 and (n_short := n_logits - sizes[-1]) > 0:
        sizes[-2:] = [sizes[-2] - n_short, n_logits]
    return sizes


def _common_len(left: Sequence[int], right: Sequence[int]) -> int:
    for idx, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return idx
    return min(len(left), len(right))


class BatchEvaluator(Protocol):
    """Describes the methods of `llama.Context` that the cache uses."""

    n_ctx: int
    n_batch: int

    def decode(self, tokens: Sequence[int], start: int, n_logits: int) -> int: ...
    def failure(self, what: str) -> EngineError: ...
    def seq_rm(self, start: int) -> bool: ...
    def clear(self) -> None: ...
    def state(self) -> StateBytes: ...
    def restore(self, state: StateBytes) -> bool: ...


@dataclass(frozen=True, slots=True, eq=False)
class SavedCells:
    """Holds a copy of the cache's cells. Only the context that made the copy can restore it."""

    cells: array[int]
    state: StateBytes

    @property
    def n_bytes(self) -> int:
        return self.state.nbytes + len(self.cells) * self.cells.itemsize


class KvCache:
    def __init__(
        self, context: BatchEvaluator, can_cut: bool = True, can_save: bool = True
    ) -> None:
        """Starts with an empty cache.

        `can_cut`: the memory can drop its last cells alone. `can_save`: cells restored from a
        copy behave exactly like the original cells.
        """
        self._context = context
        self.can_cut = can_cut
        self.can_save = can_save
        self.cells: list[int] = []

    @property
    def n_ctx(self) -> int:
        return self._context.n_ctx

    def clear(self) -> None:
        self._context.clear()
        self.cells.clear()

    def keep(self, n_keep: int) -> int:
        """Removes the cells from position `n_keep` on. Returns how many cells are left.

        None are left if the model's memory cannot be cut, as in a recurrent model.
        """
        if n_keep < len(self.cells):
            if (self.can_cut or not n_keep) and self._context.seq_rm(n_keep):
                del self.cells[n_keep:]
            else:
                self.clear()
        return len(self.cells)

    def save(self) -> SavedCells:
        """Returns a copy of all cells.

        Raises:
            EngineError: llama.cpp could not copy the cells.
        """
        return SavedCells(array("i", self.cells), self._context.state())

    def restore(self, saved: SavedCells) -> None:
        """Replaces all cells by the saved ones. The cache is empty if llama.cpp fails."""
        self.keep(0)
        if self._context.restore(saved.state):
            self.cells += saved.cells
        else:
            self.clear()

    def prefill(
        self, plan: CachePlan, is_stopped: Callable[[], bool]
    ) -> tuple[DecodeOutcome, int, int]:
        """Applies a plan batch by batch. Returns `(outcome, n_cached, n_evaluated)`.

        `n_evaluated` includes the tokens of an aborted batch. Calls `is_stopped` before each batch;
        the cells of finished batches stay.

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
        """Evaluates one batch after the last cell.

        Raises:
            EngineError: llama.cpp failed; the cache is empty.
        """
        code = self._context.decode(tokens, len(self.cells), n_logits)
        if code == 0:
            self.cells += tokens
            return "done"
        if code == _ABORTED:
            # An aborted batch may leave cells of its own, or a half-updated recurrent state.
            if not (self.can_cut and self.cells and self._context.seq_rm(len(self.cells))):
                self.clear()
            return "aborted"
        self.clear()
        if code == _NO_ROOM:
            return "full"
        raise self._context.failure(f"evaluate {len(tokens)} tokens (code {code})")
