"""The KV cache and the mirror of what it holds.

Invariant: `cells` are the tokens of the cache's positions 0, 1, 2, … at every return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from llmd.engine.plan import Plan
from llmd.errors import EngineError

ABORTED = 2


class Evaluator(Protocol):
    """What the cache needs of llama.Context."""

    n_ctx: int
    n_batch: int

    def decode(self, tokens: Sequence[int], start: int) -> int: ...
    def remove_from(self, start: int) -> bool: ...
    def clear(self) -> None: ...


class KvCache:
    def __init__(self, context: Evaluator) -> None:
        self._context = context
        self.cells: list[int] = []

    def keep(self, n_cells: int) -> None:
        """Removes all after the first `n_cells`; everything, where the model can't be cut."""
        if n_cells == len(self.cells):
            return
        if n_cells and self._context.remove_from(n_cells):
            del self.cells[n_cells:]
        else:
            self.clear()

    def clear(self) -> None:
        self._context.clear()
        self.cells.clear()

    def apply(self, plan: Plan) -> tuple[int, ...]:
        """Cuts to the plan's cells; returns the tokens to evaluate, more if it had to clear."""
        held = tuple(self.cells[: plan.n_keep])
        self.keep(plan.n_keep)
        return plan.evaluate if self.cells else held + plan.evaluate

    def evaluate(self, tokens: Sequence[int], is_over: Callable[[], bool]) -> int:
        """Evaluates in batches until done or `is_over`. Returns the tokens that were sent.

        The batches that finished stay when one is aborted.

        Raises:
            EngineError: llama_decode failed; the cache is empty then.
        """
        n_sent = 0
        for start in range(0, len(tokens), self._context.n_batch):
            if is_over():
                break
            batch = tokens[start : start + self._context.n_batch]
            n_sent += len(batch)
            code = self._context.decode(batch, len(self.cells))
            if code == ABORTED:
                # llama.cpp keeps what it had finished of the batch; we don't know how much.
                if not self._context.remove_from(len(self.cells)):
                    self.clear()
                break
            if code != 0:
                self.clear()
                raise EngineError(f"llama_decode failed with {code}; the KV cache was dropped")
            self.cells.extend(batch)
        return n_sent
